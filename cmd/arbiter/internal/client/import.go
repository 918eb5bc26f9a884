package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// maxResultLineBytes bounds one line of the answer to an import.
const maxResultLineBytes = 1 << 20

// ImportRequest is one chunk of subjects.
type ImportRequest struct {
	// ContentType is text/csv or application/x-ndjson.
	ContentType string
	// Mapping is the mapping document, YAML; empty means the canonical columns or documents.
	Mapping []byte
	// Header is sent before Data: the header of a CSV file. Both are whole records.
	Header, Data []byte
}

// ImportResult is one line that was not accepted. Lines count from 1 in what was sent.
type ImportResult struct {
	Line   int      `json:"line"`
	Column string   `json:"column,omitempty"`
	Code   nba.Code `json:"code"`
	Reason string   `json:"reason"`
}

// ImportSummary counts what became of the records of one request; see importer.Summary.
type ImportSummary struct {
	Read       int   `json:"read"`
	Accepted   int   `json:"accepted"`
	Rejected   int   `json:"rejected"`
	Blank      int   `json:"blank"`
	Duplicates int   `json:"duplicates"`
	Bytes      int64 `json:"bytes"`
}

// ImportSubjects sends one chunk and returns when all of it that is acceptable is durable. It may be
// repeated: importing a subject twice leaves it as importing it once.
func (c *Client) ImportSubjects(ctx context.Context, in ImportRequest) (ImportSummary, []ImportResult, error) {
	contentType, body, size, err := in.encode()
	if err != nil {
		return ImportSummary{}, nil, err
	}
	u := c.base.JoinPath("/v1/subjects/import")
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), body)
	if err != nil {
		return ImportSummary{}, nil, fmt.Errorf("building the request: %w", err)
	}
	req.ContentLength = size
	req.Header.Set("User-Agent", c.agent)
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Accept", "application/x-ndjson, application/problem+json")
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ImportSummary{}, nil, ctx.Err()
		}
		return ImportSummary{}, nil, &Unreachable{Addr: c.Addr(), Cause: err}
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return ImportSummary{}, nil, readProblem(resp)
	}
	return c.readResults(ctx, resp.Body)
}

// encode frames the chunk: multipart with the mapping first, or the bare records when there is none.
func (in ImportRequest) encode() (contentType string, body io.Reader, size int64, err error) {
	if len(in.Mapping) == 0 {
		return in.ContentType, io.MultiReader(bytes.NewReader(in.Header), bytes.NewReader(in.Data)),
			int64(len(in.Header) + len(in.Data)), nil
	}
	var frame bytes.Buffer
	w := multipart.NewWriter(&frame)
	part := func(name, file, media string) {
		h := textproto.MIMEHeader{}
		h.Set("Content-Disposition", fmt.Sprintf(`form-data; name=%q; filename=%q`, name, file))
		h.Set("Content-Type", media)
		_, partErr := w.CreatePart(h)
		err = errors.Join(err, partErr)
	}
	part("mapping", "mapping.yaml", "application/yaml")
	frame.Write(in.Mapping)
	part("file", "subjects", in.ContentType)
	head := bytes.Clone(frame.Bytes())
	frame.Reset()
	err = errors.Join(err, w.Close())
	if err != nil {
		return "", nil, 0, fmt.Errorf("framing the chunk: %w", err)
	}
	parts := [][]byte{head, in.Header, in.Data, frame.Bytes()}
	readers := make([]io.Reader, len(parts))
	for i, p := range parts {
		readers[i] = bytes.NewReader(p)
		size += int64(len(p))
	}
	return w.FormDataContentType(), io.MultiReader(readers...), size, nil
}

// readResults reads the lines of the answer. Without a summary at its end the answer was cut off,
// and nobody knows what became of the chunk.
func (c *Client) readResults(ctx context.Context, body io.Reader) (ImportSummary, []ImportResult, error) {
	var results []ImportResult
	lines := bufio.NewScanner(body)
	lines.Buffer(make([]byte, 0, 64<<10), maxResultLineBytes)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var line struct {
			ImportResult
			Summary *ImportSummary `json:"summary"`
			Problem *Problem       `json:"problem"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return ImportSummary{}, nil, &Unreachable{Addr: c.Addr(), Cause: errors.New("the answer is not one JSON object a line")}
		}
		switch {
		case line.Problem != nil: // also has a summary, of what is durable all the same
			return ImportSummary{}, nil, line.Problem
		case line.Summary != nil:
			return *line.Summary, results, nil
		default:
			results = append(results, line.ImportResult)
		}
	}
	if ctx.Err() != nil {
		return ImportSummary{}, nil, ctx.Err()
	}
	return ImportSummary{}, nil, &Unreachable{Addr: c.Addr(), Cause: errors.New("the answer ended before its summary")}
}

// subjectPath is the path of one subject; its type travels as a query parameter.
func subjectPath(ref nba.SubjectRef, rest string) (string, url.Values) {
	q := url.Values{}
	if ref.Type != "" && ref.Type != nba.DefaultSubjectType {
		q.Set("type", string(ref.Type))
	}
	return "/v1/subjects/" + url.PathEscape(ref.ID) + rest, q
}
