package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/runtime/auth"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// Server is the public API on Fiber.
type Server struct {
	app     *fiber.App
	core    Core
	options Options
	metrics *metrics
	calls   sync.Pool // of *decisionCall
	uploads uploads
	access  *access

	ctx    context.Context // ends when the server is down; parent of every request's ctx
	cancel context.CancelFunc

	mu       sync.Mutex
	listener *listener
	down     bool
}

// New makes a server of core. It serves once Serve is called.
func New(core Core, options Options) *Server {
	s := newServer(core, options)
	table := operations(&s.options)
	s.metrics = newMetrics(options.Registry, "api", table)
	s.access = newAccess(core, &s.options)
	for i := range table {
		op := &table[i]
		serve := s.serve(op)
		if op.id == "decide" {
			serve = s.timed(op, s.decide(op))
		}
		s.app.Add(op.method, op.fiberPath(), serve)
		if op.method == http.MethodGet {
			s.app.Add(http.MethodHead, op.fiberPath(), serve)
		}
		if op.limit != limitBody {
			s.uploads.paths = append(s.uploads.paths, upload{path: []byte(op.path), limit: op.limit.bytes(&s.options.Limits)})
		}
	}
	return s
}

// newServer sets Fiber up, without routes.
func newServer(core Core, options Options) *Server {
	s := &Server{core: core, options: options, calls: sync.Pool{New: func() any { return new(decisionCall) }}}
	s.uploads = uploads{common: options.Limits.BodyBytes, places: options.Limits.Uploads,
		life: options.Timeouts.UploadRead + options.Timeouts.Import, held: map[*fasthttp.RequestHeader]time.Time{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.app = fiber.New(fiber.Config{
		// Without Immutable, strings that Fiber hands out are views of a buffer that the next request
		// of the connection overwrites: one customer's id would turn into another's.
		Immutable:     true,
		StrictRouting: true, CaseSensitive: true,
		BodyLimit: options.Limits.BodyBytes, ReadBufferSize: options.Limits.HeaderBytes,
		Concurrency: options.Limits.Connections,
		ReadTimeout: options.Timeouts.Read, WriteTimeout: options.Timeouts.Write, IdleTimeout: options.Timeouts.Idle,
		DisableStartupMessage: true, DisablePreParseMultipartForm: true,
		ErrorHandler: s.connectionError,
	})
	server := s.app.Server()
	server.CloseOnShutdown = true
	server.SecureErrorLogMessage = true
	server.HeaderReceived = s.headerReceived
	server.ExpectHandler = s.expect
	s.app.Use(s.guard)
	return s
}

// Serve answers the connections of ln until Shutdown, then returns nil. It closes ln.
func (s *Server) Serve(ln net.Listener) error {
	wrapped := newListener(ln)
	s.mu.Lock()
	if s.down {
		s.mu.Unlock()
		return ln.Close()
	}
	s.listener = wrapped
	s.mu.Unlock()
	if err := s.app.Listener(wrapped); err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.down && errors.Is(err, net.ErrClosed) {
			return nil
		}
		return fmt.Errorf("serving the API: %w", err)
	}
	return nil
}

// Shutdown stops accepting, lets the requests under way finish and closes their connections. When ctx
// ends first, it closes them all and returns the error of ctx. Drain the node through /readyz before.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.down = true
	ln := s.listener
	s.mu.Unlock()
	defer s.cancel()
	if ln == nil {
		return nil
	}
	err := s.app.ShutdownWithContext(ctx)
	ln.closeAll()
	if err != nil {
		return fmt.Errorf("shutting the API down: %w", err)
	}
	return nil
}

// guard is around every route: it gives the request its id, refuses ambiguous framing, turns panics
// and errors into problems.
func (s *Server) guard(c *fiber.Ctx) error {
	ctx := c.Context()
	defer s.uploads.giveBack(&ctx.Request.Header)
	id := assignRequestID(ctx)
	if fault := framingFault(&ctx.Request.Header); fault != "" {
		ctx.Response.SetConnectionClose()
		lingerOn(ctx)
		s.metrics.refused.WithLabelValues("framing").Inc()
		return s.fail(c, nba.Errorf(nba.CodeMalformed, "%s", fault), id)
	}
	if err := s.next(c, id); err != nil {
		return s.fail(c, err, id)
	}
	return nil
}

// next runs the route and catches its panic: without, one bad request would end the process.
func (s *Server) next(c *fiber.Ctx, id requestID) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.options.Logger.Error("handler panicked", "requestId", id.String(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = nba.Errorf(nba.CodeInternal, "panic")
			err = loggedError{err}
		}
	}()
	return c.Next()
}

// loggedError is an internal error that is in the log already.
type loggedError struct{ error }

func (e loggedError) Unwrap() error { return e.error }

// fail answers with the problem of err.
func (s *Server) fail(c *fiber.Ctx, err error, id requestID) error {
	if fe, ok := errors.AsType[*fiber.Error](err); ok {
		if err = s.fromFiber(c, fe); nba.CodeOf(err) == nba.CodeNotFound || nba.CodeOf(err) == codeMethodNotAllowed {
			s.metrics.refused.WithLabelValues("no_route").Inc()
		}
	}
	p, internal := problemOf(err, id.String())
	if internal {
		logInternal(s.options.Logger, err, id.String(), c.Route().Path)
	}
	write(c.Context(), p.replyFor(string(c.Context().Path())))
	return nil
}

func logInternal(log *slog.Logger, err error, id, route string) {
	if _, logged := errors.AsType[loggedError](err); !logged {
		log.Error("request failed", "requestId", id, "route", route, "error", err)
	}
}

// fromFiber names what Fiber and fasthttp found wrong before a route ran.
func (s *Server) fromFiber(c *fiber.Ctx, err *fiber.Error) error {
	switch err.Code {
	case http.StatusNotFound:
		return notFound()
	case http.StatusMethodNotAllowed:
		return methodNotAllowed(string(c.Context().Response.Header.Peek(fiber.HeaderAllow)))
	case http.StatusRequestEntityTooLarge:
		return s.uploads.refusal(&c.Context().Request.Header)
	case http.StatusRequestHeaderFieldsTooLarge:
		return nba.Errorf(codeHeadersTooLarge, "the request line and headers are larger than %d bytes", s.options.Limits.HeaderBytes)
	case http.StatusRequestTimeout:
		return nba.Errorf(codeRequestTimeout, "the request did not arrive within the read timeout")
	default:
		return nba.Errorf(nba.CodeMalformed, "the HTTP request cannot be parsed")
	}
}

// connectionError answers what fasthttp could not make a request of; the connection is closed after.
func (s *Server) connectionError(c *fiber.Ctx, err error) error {
	ctx := c.Context()
	defer s.uploads.giveBack(&ctx.Request.Header)
	if fe, ok := errors.AsType[*fiber.Error](err); ok {
		s.metrics.refused.WithLabelValues(refusal(fe.Code)).Inc()
		if fe.Code != http.StatusRequestTimeout {
			lingerOn(ctx)
		}
	}
	return s.fail(c, err, assignRequestID(ctx))
}

func refusal(status int) string {
	switch status {
	case http.StatusRequestEntityTooLarge:
		return "body_too_large"
	case http.StatusRequestHeaderFieldsTooLarge:
		return "headers_too_large"
	case http.StatusRequestTimeout:
		return "timeout"
	default:
		return "malformed"
	}
}

// serve is op's Fiber handler.
func (s *Server) serve(op *operation) fiber.Handler {
	return s.timed(op, func(c *fiber.Ctx) error {
		in, err := newRequest(op, c)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(s.ctx, op.budget.timeout(&s.options.Timeouts))
		defer cancel()
		out, err := op.keyed(attribute(ctx, op, c, in.id), s.core, in)
		if err != nil {
			return err
		}
		if out.fault != nil {
			logInternal(s.options.Logger, out.fault, in.id, op.path)
		}
		write(c.Context(), out)
		return nil
	})
}

// timed counts op and measures it. Errors and panics end in guard, so their status is worked out here.
func (s *Server) timed(op *operation, next fiber.Handler) fiber.Handler {
	figures := s.metrics.of(op)
	return func(c *fiber.Ctx) error {
		start := time.Now()
		s.metrics.inFlight.Inc()
		status := http.StatusInternalServerError // unless next returns
		defer func() {
			s.metrics.inFlight.Dec()
			figures.observe(status, time.Since(start))
		}()
		err := s.admit(op, c)
		if err == nil {
			err = next(c)
		}
		if err != nil {
			p, _ := problemOf(err, "")
			status = p.Status
			return err
		}
		status = c.Context().Response.StatusCode()
		return nil
	}
}

// localsPrincipal is where admit leaves who calls.
const localsPrincipal = "principal"

// admit refuses a call that its caller may not make.
func (s *Server) admit(op *operation, c *fiber.Ctx) error {
	if op.local && !c.Context().RemoteIP().IsLoopback() {
		return onlyLocal()
	}
	if s.access == nil || op.quick || op.local {
		return nil
	}
	principal, err := s.access.admit(s.ctx, string(c.Context().Request.Header.Peek(fiber.HeaderAuthorization)), op)
	if err == nil {
		c.Locals(localsPrincipal, principal)
	}
	return err
}

// attribute puts who calls into the ctx of an operation that may be put on record or wants to know.
func attribute(ctx context.Context, op *operation, c *fiber.Ctx, id string) context.Context {
	principal, known := c.Locals(localsPrincipal).(*auth.Principal)
	if !known && !op.changes() {
		return ctx
	}
	return auth.With(ctx, callOf(op, principal, c.Path(), id))
}

// newRequest copies what a handler may need: its strings outlive the request.
func newRequest(op *operation, c *fiber.Ctx) (*request, error) {
	ctx := c.Context()
	in := &request{
		id:     string(ctx.Response.Header.Peek(headerRequestID)),
		header: func(name string) string { return string(ctx.Request.Header.Peek(name)) },
		param:  func(name string) (string, error) { return unescape(c.Params(name)) },
		headers: func(yield func(name, value string)) {
			for name, value := range ctx.Request.Header.All() {
				yield(string(name), string(value))
			}
		},
	}
	// Request.Body, not Ctx.Body: the latter decompresses without any limit.
	body := ctx.Request.Body()
	if err := op.checkMedia(in, len(body) > 0); err != nil {
		return nil, err
	}
	var err error
	if in.query, err = op.checkQuery(string(ctx.URI().QueryString())); err != nil {
		return nil, err
	}
	switch {
	case op.limit == limitImport:
		in.body = body // up to 32 MiB, and an import keeps nothing of it
	case len(op.consumes) > 0:
		in.body = bytes.Clone(body)
	}
	return in, nil
}

// write puts r into the response. r.body must not be changed after.
func write(ctx *fasthttp.RequestCtx, r reply) {
	header := &ctx.Response.Header
	ctx.Response.SetStatusCode(r.status)
	for _, h := range [...]struct{ name, value string }{
		{fiber.HeaderETag, r.etag}, {fiber.HeaderLocation, r.location}, {fiber.HeaderRetryAfter, r.retryAfter}, {fiber.HeaderAllow, r.allow}, {headerAge, r.age},
		{headerReplayed, r.replayed}, {headerResultCount, r.resultCount}, {headerTotalCount, r.totalCount}, {fiber.HeaderWWWAuthenticate, r.challenge}, {headerReplay, r.replay},
	} {
		if h.value != "" {
			header.Set(h.name, h.value)
		}
	}
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set(fiber.HeaderCacheControl, "no-store")
	if r.status == http.StatusNoContent || r.status == http.StatusNotModified {
		return
	}
	header.SetContentType(r.contentType)
	ctx.Response.SetBodyRaw(r.body)
}

// locate is the path of a resource whose names are escaped.
func locate(format string, names ...string) string {
	escaped := make([]any, len(names))
	for i, name := range names {
		escaped[i] = strings.ReplaceAll(url.PathEscape(name), ":", "%3A")
	}
	return fmt.Sprintf(format, escaped...)
}
