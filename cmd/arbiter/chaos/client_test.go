package chaos

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// fate is what a client knows about a change it asked for.
type fate int

const (
	applied  fate = iota // acknowledged
	refused              // certainly not applied
	doubtful             // perhaps applied, now or later
)

// answer is what came of one request.
type answer struct {
	fate    fate
	status  int // 0 without an answer
	version uint64
	body    []byte
	err     error
}

// do sends one request. What may be said of a change follows from the status alone, so that a status
// that promises too much is found by the checkers.
func (n *node) do(method, path string, body any, headers ...string) answer {
	var reader io.Reader
	contentType := "application/json"
	switch b := body.(type) {
	case nil:
	case []byte:
		reader, contentType = bytes.NewReader(b), "application/x-ndjson"
	case string:
		reader, contentType = strings.NewReader(b), "application/yaml"
	default:
		encoded, err := json.Marshal(body)
		if err != nil {
			return answer{fate: refused, err: err}
		}
		reader = bytes.NewReader(encoded)
	}
	req, err := http.NewRequest(method, "http://"+n.api+path, reader)
	if err != nil {
		return answer{fate: refused, err: err}
	}
	if reader != nil {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := n.client.Do(req)
	if err != nil {
		return answer{fate: fateOfFailure(err), err: err}
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return answer{fate: doubtful, err: err}
	}
	a.fate = fateOf(a.status)
	if etag, ok := strings.CutPrefix(resp.Header.Get("ETag"), `"v`); ok {
		a.version, _ = strconv.ParseUint(strings.TrimSuffix(etag, `"`), 10, 64)
	}
	return a
}

// fateOf is the promise of a status: 2xx has happened, what the client did wrong or the node had no
// room for has not, and everything else leaves it open.
func fateOf(status int) fate {
	switch {
	case status/100 == 2:
		return applied
	case status == http.StatusRequestTimeout:
		return doubtful
	case status/100 == 4:
		return refused
	}
	return doubtful
}

// fateOfFailure: only a connection that never came about is certain.
func fateOfFailure(err error) fate {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return refused
	}
	return doubtful
}

// register is a subject as the workloads read it.
type register struct {
	exists  bool
	version uint64
	value   int64
}

// read reads a register; consistency "" asks for the default. The fate is refused when there was no
// answer that says anything.
func (n *node) read(key, consistency string) (register, answer) {
	path := "/v1/subjects/" + key
	if consistency != "" {
		path += "?consistency=" + consistency
	}
	a := n.do(http.MethodGet, path, nil)
	switch a.status {
	case http.StatusNotFound:
		if !bytes.Contains(a.body, []byte(`"SUBJECT_UNKNOWN"`)) {
			return register{}, a
		}
		a.fate = applied
		return register{}, a
	case http.StatusOK:
	default:
		a.fate = refused
		return register{}, a
	}
	var doc struct {
		Version    uint64 `json:"version"`
		Attributes struct {
			Value int64 `json:"value"`
		} `json:"attributes"`
	}
	if err := json.Unmarshal(a.body, &doc); err != nil {
		a.fate, a.err = refused, err
		return register{}, a
	}
	return register{exists: true, version: doc.Version, value: doc.Attributes.Value}, a
}

// valueBody is a subject document whose register has this value.
func valueBody(value int64) map[string]any {
	return map[string]any{"attributes": map[string]any{"value": value}}
}

// put writes a register whatever it was, or only when it has ifVersion.
func (n *node) put(key string, value int64, ifVersion *uint64) answer {
	if ifVersion == nil {
		return n.do(http.MethodPut, "/v1/subjects/"+key, valueBody(value))
	}
	if *ifVersion == 0 {
		return n.do(http.MethodPut, "/v1/subjects/"+key, valueBody(value), "If-None-Match", "*")
	}
	return n.do(http.MethodPut, "/v1/subjects/"+key, valueBody(value), "If-Match", `"v`+strconv.FormatUint(*ifVersion, 10)+`"`)
}

// patch changes the register's value; it must exist.
func (n *node) patch(key string, value int64) answer {
	return n.do(http.MethodPatch, "/v1/subjects/"+key, valueBody(value))
}

func (n *node) delete(key string) answer {
	return n.do(http.MethodDelete, "/v1/subjects/"+key, nil)
}
