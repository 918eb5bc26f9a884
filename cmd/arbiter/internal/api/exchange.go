package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/url"
	"slices"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// request is what a handler may know of one HTTP request. Its strings and its body are the
// handler's to keep.
type request struct {
	id     string // of the request, not of a resource
	param  func(name string) (string, error)
	query  url.Values
	header func(name string) string
	// headers calls yield with every header of the request.
	headers func(yield func(name, value string))
	media   string            // media type, lower case, without parameters
	params  map[string]string // parameters of the media type
	body    []byte
}

// reply is what a handler answers.
type reply struct {
	status      int
	contentType string
	body        []byte
	etag        string // with quotes; empty for none
	location    string
	retryAfter  string
	age         string // of what a stale read gives
	replay      string // of a decision that was made again: identical or differs
	replayed    string // "true" for the answer of an earlier request with the same key
	allow       string
	resultCount string // of a TMF list: how many are in it
	totalCount  string // and how many there are
	challenge   string // how to prove who one is
	fault       error  // internal, to be logged; body tells the caller
}

// handler serves one operation. It runs in the goroutine of its request; ctx has the operation's
// deadline.
type handler func(ctx context.Context, core Core, in *request) (reply, error)

// jsonReply encodes v, which must be made for JSON.
func jsonReply(status int, v any) (reply, error) {
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return reply{}, fmt.Errorf("encoding the answer: %w", err)
	}
	return reply{status: status, contentType: contentTypeJSON, body: buf.Bytes()}, nil
}

// The headers of TMF lists.
const (
	headerResultCount = "X-Result-Count"
	headerTotalCount  = "X-Total-Count"
)

// The media types of bodies.
const (
	contentTypeJSON       = "application/json"
	contentTypeMergePatch = "application/merge-patch+json"
	contentTypeYAML       = "application/yaml"
	contentTypeWASM       = "application/wasm"
	contentTypeNDJSON     = "application/x-ndjson"
	contentTypeCSV        = "text/csv"
	contentTypeMultipart  = "multipart/form-data"
)

// checkMedia fills in.media and in.params and refuses a body of another type than the operation
// takes, or one that is compressed: a small body must not become a large one.
func (op *operation) checkMedia(in *request, hasBody bool) error {
	if len(op.consumes) == 0 {
		return nil
	}
	if encoding := in.header("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nba.Errorf(nba.CodeUnsupportedMedia, "a compressed body is not accepted: send it without Content-Encoding")
	}
	text := in.header("Content-Type")
	if text == "" && !hasBody {
		return nba.Errorf(nba.CodeMalformed, "the request body is missing")
	}
	if text == "" && op.untyped {
		text = op.consumes[0]
	}
	media, params, err := mime.ParseMediaType(text)
	if op.anyMedia != nil && op.anyMedia(in) {
		in.media = media
		return nil
	}
	if err != nil || !slices.Contains(op.consumes, media) {
		return nba.Errorf(nba.CodeUnsupportedMedia, "the Content-Type of this request must be %s", strings.Join(op.consumes, " or "))
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return nba.Errorf(nba.CodeUnsupportedMedia, "the charset of the body must be UTF-8")
	}
	in.media, in.params = media, params
	return nil
}

// checkQuery parses the query and refuses a parameter that the operation does not know or that is
// given twice: a typing error must not be taken for a default.
func (op *operation) checkQuery(raw string) (url.Values, error) {
	if raw == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, nba.Errorf(nba.CodeMalformed, "the query cannot be parsed: percent-encode its values")
	}
	for name, given := range values {
		if !slices.Contains(op.query, name) {
			if len(op.query) == 0 {
				return nil, nba.Errorf(nba.CodeInvalid, "this operation takes no query parameters")
			}
			return nil, nba.Errorf(nba.CodeInvalid, "unknown query parameter: this operation takes %s", strings.Join(op.query, ", "))
		}
		if len(given) > 1 {
			return nil, nba.Errorf(nba.CodeInvalid, "query parameter %s is given more than once", name)
		}
	}
	return values, nil
}

// unescape decodes one path segment.
func unescape(segment string) (string, error) {
	text, err := url.PathUnescape(segment)
	if err != nil {
		return "", nba.Errorf(nba.CodeMalformed, "the path cannot be parsed: percent-encode its segments")
	}
	return text, nil
}

// notFound is the problem of a path without a route.
func notFound() error {
	return nba.Errorf(nba.CodeNotFound, "no such path: GET /openapi.yaml lists all operations")
}

func methodNotAllowed(allow string) error {
	return nba.Errorf(codeMethodNotAllowed, "the methods of this path are %s", allow)
}

func bodyTooLarge(limit int) error {
	return nba.Errorf(nba.CodeTooLarge, "the request body is larger than %d bytes", limit)
}
