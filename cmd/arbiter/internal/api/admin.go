package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"runtime/debug"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/runtime/auth"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Admin is the operator's listener on net/http: health, metrics, profiles and the uploads that are
// too large for the API port. Callers prove who they are as on the API port.
type Admin struct {
	server  *http.Server
	core    Core
	options Options
	metrics *metrics
	mux     *http.ServeMux
	access  *access

	ctx    context.Context // ends at shutdown; parent of what outlives no request
	cancel context.CancelFunc
}

// NewAdmin makes an admin server of core that shows the metrics of registry.
func NewAdmin(core Core, registry *prometheus.Registry, options Options) *Admin {
	a := &Admin{core: core, options: options, mux: http.NewServeMux()}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	a.access = newAccess(core, &a.options)
	table := operations(&a.options)
	a.metrics = newMetrics(registry, "admin", table)
	allowed := map[string][]string{}
	for i := range table {
		op := &table[i]
		if !op.admin {
			continue
		}
		handle := a.serve(op)
		if op.limit == limitImport {
			handle = a.streamImport(op)
		}
		if op.stream != nil {
			handle = op.stream(a, op)
		}
		a.mux.Handle(op.method+" "+op.path, a.guard(op, handle))
		allowed[op.path] = append(allowed[op.path], op.method)
	}
	for path, methods := range allowed {
		a.mux.Handle(path, a.answer(methodNotAllowed(strings.Join(methods, ", ")), strings.Join(methods, ", ")))
	}
	a.mux.Handle("GET /metrics", a.need(auth.ReadCluster,
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: options.Timeouts.Write})))
	for path, show := range map[string]http.HandlerFunc{
		"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
	} {
		a.mux.Handle("GET /debug/pprof/"+path, a.need(auth.Operate, show))
	}
	a.mux.Handle("/", a.answer(nba.Errorf(nba.CodeNotFound,
		"no such path: the admin listener has /healthz, /readyz, /metrics, /debug/pprof/ and the uploads; the API has a port of its own"), ""))
	a.server = &http.Server{
		Handler: a.mux, ReadHeaderTimeout: options.Timeouts.Read, IdleTimeout: options.Timeouts.Idle,
		MaxHeaderBytes: options.Limits.HeaderBytes,
		ErrorLog:       slog.NewLogLogger(options.Logger.Handler(), slog.LevelWarn),
		BaseContext:    func(net.Listener) context.Context { return a.ctx },
	}
	return a
}

// Serve answers the connections of ln until Shutdown, then returns nil. It closes ln.
func (a *Admin) Serve(ln net.Listener) error {
	if err := a.server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the admin listener: %w", err)
	}
	return nil
}

// Shutdown stops accepting and lets the requests under way finish. When ctx ends first, it closes
// their connections and returns the error of ctx.
func (a *Admin) Shutdown(ctx context.Context) error {
	defer a.cancel()
	if err := a.server.Shutdown(ctx); err != nil {
		a.cancel()
		_ = a.server.Close() // the error of ctx is the one that matters
		return fmt.Errorf("shutting the admin listener down: %w", err)
	}
	return nil
}

// netHandler serves one operation; what it returns as error becomes a problem, unless it began to
// write.
type netHandler func(w *trackingWriter, r *http.Request, id string) error

// trackingWriter remembers the status, and whether anything was sent.
type trackingWriter struct {
	http.ResponseWriter

	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *trackingWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *trackingWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p) //nolint:wrapcheck // a pass-through
}

// Unwrap lets http.ResponseController find the connection.
func (w *trackingWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// guard gives each request its id, its problem and its figures, and catches a panic.
func (a *Admin) guard(op *operation, next netHandler) http.Handler {
	figures := a.metrics.of(op)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		start := time.Now()
		a.metrics.inFlight.Inc()
		id := r.Header.Get(headerRequestID)
		if !validRequestID([]byte(id)) {
			id = newRequestID()
		}
		w := &trackingWriter{ResponseWriter: rw}
		w.Header().Set(headerRequestID, id)
		defer func() {
			a.metrics.inFlight.Dec()
			figures.observe(w.status, time.Since(start))
		}()
		defer func() {
			if p := recover(); p != nil && p != http.ErrAbortHandler { //nolint:errorlint // a panic value, not an error chain
				a.options.Logger.Error("handler panicked", "requestId", id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				a.fail(w, loggedError{nba.Errorf(nba.CodeInternal, "panic")}, id, op.path)
			} else if p != nil {
				panic(p)
			}
		}()
		r, err := a.admit(op, r, id)
		if err == nil {
			err = next(w, r, id)
		}
		if err != nil {
			a.fail(w, err, id, op.path)
		}
	})
}

// admit refuses a call that its caller may not make, and puts who calls into the request's context.
func (a *Admin) admit(op *operation, r *http.Request, id string) (*http.Request, error) {
	var principal *auth.Principal
	switch {
	case op.local && !fromHere(r):
		return r, onlyLocal()
	case a.access != nil && !op.quick && !op.local:
		var err error
		if principal, err = a.access.admit(r.Context(), r.Header.Get("Authorization"), op); err != nil {
			return r, err
		}
	}
	if principal == nil && !op.changes() {
		return r, nil
	}
	return r.WithContext(auth.With(r.Context(), callOf(op, principal, r.URL.Path, id))), nil
}

// fromHere tells whether a request comes from this machine.
func fromHere(r *http.Request) bool {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && at.Addr().Unmap().IsLoopback()
}

// need guards what is no operation of the API.
func (a *Admin) need(permission auth.Permission, next http.Handler) http.Handler {
	if a.access == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a.access.check(r.Context(), r.Header.Get("Authorization"), permission); err != nil {
			a.answer(err, "").ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// fail answers with the problem of err. Once an answer has begun, cutting the connection is the only
// way left to say that it is not whole.
func (a *Admin) fail(w *trackingWriter, err error, id, route string) {
	p, internal := problemOf(err, id)
	if internal {
		logInternal(a.options.Logger, err, id, route)
	}
	if w.status != 0 {
		panic(http.ErrAbortHandler)
	}
	writeNet(w, p.reply())
}

func writeNet(w http.ResponseWriter, r reply) {
	header := w.Header()
	for _, h := range [...]struct{ name, value string }{
		{"Content-Type", r.contentType}, {"ETag", r.etag}, {"Location", r.location}, {"Retry-After", r.retryAfter},
		{"Allow", r.allow}, {"WWW-Authenticate", r.challenge}, {"X-Content-Type-Options", "nosniff"}, {"Cache-Control", "no-store"},
	} {
		if h.value != "" {
			header.Set(h.name, h.value)
		}
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(r.body) // an error means that the client is gone
}

// answer is a handler that always answers with the problem of err.
func (a *Admin) answer(err error, allow string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		id := newRequestID()
		p, _ := problemOf(err, id)
		w.Header().Set(headerRequestID, id)
		out := p.reply()
		out.allow = allow
		writeNet(w, out)
	})
}

// netRequest reads what a handler may know, without the body.
func netRequest(op *operation, r *http.Request, id string) (*request, error) {
	in := &request{id: id, header: r.Header.Get, param: func(name string) (string, error) { return r.PathValue(name), nil }}
	in.headers = func(yield func(name, value string)) {
		for name, values := range r.Header {
			for _, value := range values {
				yield(name, value)
			}
		}
	}
	if err := op.checkMedia(in, r.ContentLength != 0); err != nil {
		return nil, err
	}
	var err error
	in.query, err = op.checkQuery(r.URL.RawQuery)
	return in, err
}

// serve answers an operation whose body is read into memory, within its limit.
func (a *Admin) serve(op *operation) netHandler {
	return func(w *trackingWriter, r *http.Request, id string) error {
		in, err := netRequest(op, r, id)
		if err != nil {
			return err
		}
		if len(op.consumes) > 0 {
			limit := op.limit.bytes(&a.options.Limits)
			control := http.NewResponseController(w)
			if err := control.SetReadDeadline(time.Now().Add(a.options.Timeouts.UploadRead)); err != nil {
				return fmt.Errorf("setting the read deadline: %w", err)
			}
			in.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
			if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
				return bodyTooLarge(limit)
			}
			if err != nil {
				return nba.Errorf(nba.CodeMalformed, "the request body ended early or arrived too slowly")
			}
		}
		ctx, cancel := context.WithTimeout(r.Context(), op.budget.timeout(&a.options.Timeouts))
		defer cancel()
		out, err := op.handle(ctx, a.core, in)
		if err != nil {
			return err
		}
		writeNet(w, out)
		return nil
	}
}

// streamImport answers an import of any length: it reads the body as it comes and sends each bad
// line as it is found. The client must read while it writes.
func (a *Admin) streamImport(op *operation) netHandler {
	return func(w *trackingWriter, r *http.Request, id string) error {
		in, err := netRequest(op, r, id)
		if err != nil {
			return err
		}
		control := http.NewResponseController(w)
		if err := control.EnableFullDuplex(); err != nil {
			return fmt.Errorf("enabling full duplex: %w", err)
		}
		body := &patientReader{body: r.Body, control: control, stall: a.options.Timeouts.ImportStall}
		plan, err := planImport(in, body)
		if err != nil {
			return err
		}
		// Lines gather in the server's write buffer, so that a client that sends everything before it
		// reads anything is not answered, and blocked, line by line.
		begin := func() {
			if w.status == 0 {
				w.Header().Set("Content-Type", contentTypeNDJSON)
				w.Header().Set("X-Content-Type-Options", "nosniff")
				w.WriteHeader(http.StatusOK)
			}
		}
		encoder := newLineEncoder(w)
		summary, err := a.core.ImportSubjects(r.Context(), plan.body, plan.spec, func(result importer.Result) error {
			if err := control.SetWriteDeadline(time.Now().Add(a.options.Timeouts.ImportStall)); err != nil {
				return fmt.Errorf("setting the write deadline: %w", err)
			}
			begin()
			return encoder.Encode(result)
		})
		if body.stalled {
			err = nba.Errorf(codeRequestTimeout, "the import body stalled for more than %s", a.options.Timeouts.ImportStall)
		}
		if err != nil && w.status == 0 && summary.Accepted == 0 {
			return err
		}
		begin()
		if err == nil {
			return encoder.Encode(importSummary{Summary: summary})
		}
		p, internal := problemOf(err, id)
		if internal {
			logInternal(a.options.Logger, fmt.Errorf("importing subjects: %w", err), id, op.path)
		}
		return encoder.Encode(importFailure{Problem: p, Summary: summary})
	}
}

// patientReader reads a body of any length but gives up on a sender who is silent for longer than
// stall.
type patientReader struct {
	body    io.Reader
	control *http.ResponseController
	stall   time.Duration
	stalled bool
}

// Read implements io.Reader.
func (p *patientReader) Read(b []byte) (int, error) {
	if err := p.control.SetReadDeadline(time.Now().Add(p.stall)); err != nil {
		return 0, fmt.Errorf("setting the read deadline: %w", err)
	}
	n, err := p.body.Read(b)
	if netErr, ok := errors.AsType[net.Error](err); ok && netErr.Timeout() {
		p.stalled = true
	}
	return n, err //nolint:wrapcheck // io.EOF must stay bare
}
