package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/arbiterhq/arbiter/cluster/node"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/api"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/pki"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/telemetry"
	"github.com/prometheus/client_golang/prometheus"
)

// serveOptions say how to run a node.
type serveOptions struct {
	apiAddr, adminAddr string
	node               node.Config
	api                api.Options
	log                *slog.Logger
	// tls secures all listeners; nil: none.
	tls *pki.Files
	// guarded nodes, whose callers prove who they are over TLS, may listen beyond loopback.
	guarded bool
	// clusterAddr is where the node listens for the others of node.Cluster; empty alone.
	clusterAddr string
	// drain is how long /readyz says no before connections are refused, so that a load balancer can
	// look elsewhere.
	drain time.Duration
	// shutdown bounds how long requests under way may take after that.
	shutdown time.Duration
}

// scheme is how the addresses of the node's listeners begin.
func (o *serveOptions) scheme() string {
	if o.tls != nil {
		return "https://"
	}
	return "http://"
}

// drainable is a node that can say that it is not prepared yet, or about to leave. It answers all
// the same: what prepares it comes through the API.
type drainable struct {
	api.Core
	prepared, leaving atomic.Bool
}

// Ready is nil when the node can serve and will go on to.
func (d *drainable) Ready(ctx context.Context) error {
	switch {
	case d.leaving.Load():
		return nba.Errorf(nba.CodeUnavailable, "the node is shutting down")
	case !d.prepared.Load():
		return nba.Errorf(nba.CodeUnavailable, "the node is loading its first data")
	}
	return d.Core.Ready(ctx)
}

// handOverTimeout bounds how long a node that is told to stop tries to give what it leads to others.
const handOverTimeout = 5 * time.Second

// gcPercent is how far the heap grows above what is live before it is collected. A node's live heap is small, tens of
// megabytes: twice as much saves no time of the processor that could be measured, and half of the memory counts.
const gcPercent = 120

// serve runs a node until ctx ends, then lets the requests under way finish. prepare is called, in a
// goroutine of its own, when the node answers; its error ends the node. The node says that it is ready
// once prepare calls its ready. The ctx of prepare ends with the node, and serve waits for it.
func (a *app) serve(ctx context.Context, opts serveOptions, prepare func(ctx context.Context, at endpoints, ready func()) error) (err error) {
	if a.getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	apiLn, adminLn, err := listen(opts.apiAddr, opts.adminAddr, opts.guarded)
	if err != nil {
		return err
	}
	if opts.clusterAddr != "" {
		reach := listenLoopback
		if opts.tls != nil { // the nodes prove to each other who they are
			reach = listenOn
		}
		if opts.node.Cluster.Listener, err = reach(opts.clusterAddr, "--cluster-addr"); err != nil {
			return errors.Join(err, apiLn.Close(), adminLn.Close())
		}
	}
	registry := telemetry.NewRegistry()
	opts.node.Registry, opts.node.Logger = registry, opts.log
	opts.node.CompileWith = compileWith()
	opts.api.Registry, opts.api.Logger = registry, opts.log
	n, err := node.Open(ctx, opts.node)
	if err != nil {
		return errors.Join(err, apiLn.Close(), adminLn.Close())
	}
	defer func() { err = errors.Join(err, n.Close()) }()

	at := endpoints{api: apiLn.Addr().String(), admin: adminLn.Addr().String()}
	if opts.tls != nil {
		secureUntil(registry, opts.tls)
		apiLn, adminLn = tls.NewListener(apiLn, opts.tls.Server()), tls.NewListener(adminLn, opts.tls.Server())
	}
	core := &drainable{Core: n}
	public, admin := api.New(core, opts.api), api.NewAdmin(core, registry, opts.api)
	work, stopWork := context.WithCancel(ctx)
	defer stopWork()
	ended := make(chan error, 2)
	go func() { ended <- public.Serve(apiLn) }()
	go func() { ended <- admin.Serve(adminLn) }()
	prepared := make(chan error, 1)
	go func() {
		prepared <- prepare(work, at, func() { core.prepared.Store(true) })
	}()

	running := 2
	var workErr error
	for leave := false; !leave; {
		select {
		case <-ctx.Done():
			opts.log.Info("shutting down", "drain", opts.drain)
			leave = true
		case err = <-ended: // a listener failed
			running--
			leave = true
		case workErr = <-prepared:
			prepared, leave = nil, workErr != nil
		}
	}
	core.leaving.Store(true)
	handOver, cancelHandOver := context.WithTimeout(context.WithoutCancel(ctx), handOverTimeout)
	n.HandOver(handOver)
	cancelHandOver()
	stopWork()
	if prepared != nil {
		workErr = <-prepared
	}
	if errors.Is(workErr, context.Canceled) {
		workErr = nil
	}
	if ctx.Err() != nil && opts.drain > 0 {
		time.Sleep(opts.drain)
	}
	shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), opts.shutdown)
	defer cancel()
	err = errors.Join(err, workErr, public.Shutdown(shutdown), admin.Shutdown(shutdown))
	for range running {
		err = errors.Join(err, <-ended)
	}
	return err
}

// endpoints are the addresses a node listens on.
type endpoints struct{ api, admin string }

// listen takes both ports before anything is opened: a port in use is the most frequent mistake, and
// the cheapest to find.
func listen(apiAddr, adminAddr string, guarded bool) (apiLn, adminLn net.Listener, err error) {
	reach := listenLoopback
	if guarded {
		reach = listenOn
	}
	if apiLn, err = reach(apiAddr, "--addr"); err != nil {
		return nil, nil, err
	}
	if adminLn, err = reach(adminAddr, "--admin-addr"); err != nil {
		return nil, nil, errors.Join(err, apiLn.Close())
	}
	return apiLn, adminLn, nil
}

func listenLoopback(addr, flag string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, &usageError{message: fmt.Sprintf("%s: use HOST:PORT, like 127.0.0.1:8080", flag)}
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return nil, withHint(&usageError{message: fmt.Sprintf("%s: a node without TLS and authentication listens on loopback only, not on %s", flag, addr)},
			"use 127.0.0.1 or ::1, or set --tls-cert, --tls-key and --auth-required true")
	}
	return listenOn(addr, flag)
}

// secureUntil publishes when the certificate in use ends.
func secureUntil(registry *prometheus.Registry, files *pki.Files) {
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "arbiter_certificate_expiry_timestamp_seconds", Help: "When the certificate in use ends, in seconds since 1970.",
	}, func() float64 { return float64(files.NotAfter().Unix()) }))
}

func listenOn(addr, flag string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, withHint(fmt.Errorf("another program listens on %s already", addr),
			"end it, or choose another port with %s HOST:PORT; port 0 takes a free one", flag)
	}
	if err != nil {
		return nil, withHint(fmt.Errorf("listening on %s: %w", addr, err), "choose another address with %s", flag)
	}
	return ln, nil
}
