package api

import (
	"bytes"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/valyala/fasthttp"
)

// upload is a path whose body may be larger, and take longer, than others.
type upload struct {
	path  []byte
	limit int
}

// uploads gives large bodies a place, so that they cannot fill the memory together: fasthttp reads a
// body as a whole before any handler runs. A place belongs to the header of a request, which is the
// only thing that all hooks of fasthttp see.
type uploads struct {
	paths  []upload
	common int // body limit of other paths, and size up to which an upload needs no place
	places int
	life   time.Duration // after which a place is free even if nobody gave it back

	taken atomic.Int64 // len(held), for those who only ask whether there is any
	mu    sync.Mutex
	held  map[*fasthttp.RequestHeader]time.Time // to when it ends
}

// limit is the body limit of a request.
func (u *uploads) limit(header *fasthttp.RequestHeader) int {
	path := header.RequestURI()
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	for i := range u.paths {
		if bytes.Equal(path, u.paths[i].path) {
			return u.paths[i].limit
		}
	}
	return u.common
}

// needsPlace tells whether a request may carry a body that is larger than common.
func (u *uploads) needsPlace(header *fasthttp.RequestHeader) bool {
	length := header.ContentLength()
	return (length > u.common || length == chunked) && u.limit(header) > u.common
}

// chunked is what fasthttp gives for the length of a body that comes in chunks.
const chunked = -1

// take gives the request a place, or tells that there is none.
func (u *uploads) take(header *fasthttp.RequestHeader) bool {
	now := time.Now()
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.held, header) // of an earlier request in the same memory, whose end nobody saw
	if len(u.held) >= u.places {
		for other, end := range u.held {
			if now.After(end) {
				delete(u.held, other)
			}
		}
	}
	ok := len(u.held) < u.places
	if ok {
		u.held[header] = now.Add(u.life)
	}
	u.taken.Store(int64(len(u.held)))
	return ok
}

// giveBack frees the place of the request, if it has one.
func (u *uploads) giveBack(header *fasthttp.RequestHeader) {
	if u.taken.Load() == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.held, header)
	u.taken.Store(int64(len(u.held)))
}

// has tells whether the request has a place.
func (u *uploads) has(header *fasthttp.RequestHeader) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.held[header]
	return ok
}

// refusal is why a body is not read. fasthttp knows one reason, that it is too large; a body that
// fits was refused for want of a place.
func (u *uploads) refusal(header *fasthttp.RequestHeader) error {
	limit := u.limit(header)
	if length := header.ContentLength(); length <= limit && u.needsPlace(header) && !u.has(header) {
		return nba.Errorf(nba.CodeOverloaded, "%d large bodies are being received already: send this one again later", u.places)
	}
	return bodyTooLarge(limit)
}

// headerReceived gives uploads their own body limit and time. fasthttp calls it before it reads the
// body.
func (s *Server) headerReceived(header *fasthttp.RequestHeader) fasthttp.RequestConfig {
	if s.uploads.limit(header) == s.uploads.common {
		return fasthttp.RequestConfig{}
	}
	config := fasthttp.RequestConfig{MaxRequestBodySize: s.uploads.limit(header), ReadTimeout: s.options.Timeouts.UploadRead}
	tooLarge := header.ContentLength() > config.MaxRequestBodySize // refused anyway
	if s.uploads.needsPlace(header) && !tooLarge && !s.uploads.take(header) {
		config.MaxRequestBodySize = 1 // makes fasthttp refuse any body; refusal tells why
	}
	return config
}

// expect answers Expect: 100-continue before the body is sent.
func (s *Server) expect(ctx *fasthttp.RequestCtx) int {
	header := &ctx.Request.Header
	needs := s.uploads.needsPlace(header)
	if header.ContentLength() <= s.uploads.limit(header) && (!needs || s.uploads.has(header)) {
		return http.StatusContinue
	}
	id := assignRequestID(ctx)
	p, _ := problemOf(s.uploads.refusal(header), id.String())
	write(ctx, p.reply())
	return p.Status
}
