package api

import (
	"bytes"
	"math/rand/v2"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/valyala/fasthttp"
)

// framingFault tells why the request can be read in two ways, or "". fasthttp lets a Content-Length
// stand beside a Transfer-Encoding, a Transfer-Encoding in HTTP/1.0, lines that end in a bare newline
// and headers that go on on the next line. A proxy in front that reads such a request the other way
// takes the rest of the body for a request of its own (RFC 9112 §2.2, §5.2, §6.1). The connection must
// be closed after.
func framingFault(header *fasthttp.RequestHeader) string {
	hasLength, hasEncoding, hasHost := false, false, false
	for raw := header.RawHeaders(); len(raw) > 0; {
		end := bytes.IndexByte(raw, '\n')
		if end < 1 || raw[end-1] != '\r' {
			return "a header line does not end in carriage return and newline"
		}
		line := raw[:end-1]
		raw = raw[end+1:]
		if len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
			return "a header goes on on the next line: write it on one"
		}
		if len(line) < len("host:") {
			continue
		}
		switch line[0] | 0x20 {
		case 'c':
			hasLength = hasLength || named(line, "content-length")
		case 't':
			hasEncoding = hasEncoding || named(line, "transfer-encoding")
		case 'h':
			hasHost = hasHost || named(line, "host")
		}
	}
	switch {
	case hasLength && hasEncoding:
		return "the request has both a Content-Length and a Transfer-Encoding: send one of them"
	case hasEncoding && !header.IsHTTP11():
		return "a Transfer-Encoding needs HTTP/1.1"
	case !hasHost && header.IsHTTP11():
		return "the Host header is missing"
	}
	return ""
}

// named tells whether a header line has the given name, which is lower case.
func named(line []byte, name string) bool {
	if len(line) <= len(name) {
		return false
	}
	for i := range len(name) {
		c := line[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != name[i] {
			return false
		}
	}
	return line[len(name)] == ':' || line[len(name)] == ' ' || line[len(name)] == '\t'
}

const headerRequestID = "X-Request-Id"

// requestID names a request in its problem and in the log.
type requestID struct {
	text [maxRequestIDBytes]byte
	n    int
}

const maxRequestIDBytes = 64

// String is the id.
func (id *requestID) String() string { return string(id.text[:id.n]) }

// assignRequestID takes the caller's X-Request-Id when it is fit for a log line, else makes a ULID, and
// sends it back.
func assignRequestID(ctx *fasthttp.RequestCtx) requestID {
	var id requestID
	if given := ctx.Request.Header.Peek(headerRequestID); validRequestID(given) {
		id.n = copy(id.text[:], given)
	} else {
		id.n = copy(id.text[:], newRequestID())
	}
	ctx.Response.Header.SetBytesV(headerRequestID, id.text[:id.n])
	return id
}

func validRequestID(id []byte) bool {
	if len(id) == 0 || len(id) > maxRequestIDBytes {
		return false
	}
	for _, c := range id {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return true
}

// newRequestID is a ULID. It need not be secret, so its chance comes from the cheap generator.
func newRequestID() string {
	var id ulid.ULID
	if err := id.SetTime(uint64(time.Now().UnixMilli())); err != nil {
		panic(err) // a bug of ours: the clock stands beyond the year 10889
	}
	high, low := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		id[6+i] = byte(high >> (8 * i))
	}
	id[14], id[15] = byte(low), byte(low>>8)
	return id.String()
}
