package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Handler answers a call of node from. ctx ends at the caller's deadline, when it gives up, and with
// the connection. The request is the handler's to keep. An *nba.Error arrives at the caller as such;
// of any other error, the text.
type Handler func(ctx context.Context, from string, request []byte) (answer []byte, err error)

// Reply answers a call of an inline handler: once, from any goroutine.
type Reply func(answer []byte, err error)

// InlineHandler answers a call through reply, now or later. Calls of one connection are handed over
// in their order, one at a time, so it must be quick and never wait.
type InlineHandler func(from string, request []byte, reply Reply)

type handling struct {
	handler Handler
	inline  InlineHandler
}

// Handle sets who answers a method. Each call has a goroutine of its own. Call it before Start.
func (p *Port) Handle(m Method, h Handler) { p.handlers[m] = handling{handler: h} }

// HandleInline sets who answers a method. Call it before Start.
func (p *Port) HandleInline(m Method, h InlineHandler) { p.handlers[m] = handling{inline: h} }

// accept takes the connections of others.
func (p *Port) accept() {
	defer p.workers.Done()
	pause := 5 * time.Millisecond
	for {
		nc, err := p.config.Listener.Accept()
		if err != nil {
			select {
			case <-p.quit:
				return
			case <-time.After(pause):
			}
			p.logger.Error("accepting a connection between nodes", "error", err)
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		p.mu.Lock()
		if p.closed {
			p.mu.Unlock()
			_ = nc.Close()
			return
		}
		full := len(p.accepted)+len(p.raw) >= p.limits.MaxConnections
		p.raw[nc] = struct{}{}
		p.workers.Add(1)
		p.mu.Unlock()
		go p.welcome(nc, full)
	}
}

// welcome answers the preamble and serves the connection.
func (p *Port) welcome(nc net.Conn, full bool) {
	defer p.workers.Done()
	defer func() {
		_ = nc.Close()
		p.mu.Lock()
		delete(p.raw, nc)
		p.mu.Unlock()
	}()
	secured, hello, err := p.checkGreeting(nc, full)
	if err != nil {
		p.logger.Warn("refused a connection between nodes", "from", nc.RemoteAddr(), "error", err)
		return
	}
	if hello.lane == laneStream {
		p.serveStream(hello.from, secured)
		return
	}
	if hello.lane == laneStranger {
		p.serveStranger(hello.from, secured)
		return
	}
	p.serve(hello, secured)
}

func (p *Port) checkGreeting(nc net.Conn, full bool) (net.Conn, greeting, error) {
	if err := nc.SetDeadline(time.Now().Add(p.limits.DialTimeout)); err != nil {
		return nil, greeting{}, err
	}
	var secured *tls.Conn
	if p.config.TLS != nil {
		config := p.config.TLS().Clone()
		config.ClientAuth = tls.RequireAndVerifyClientCert
		secured = tls.Server(nc, config)
		if err := secured.HandshakeContext(p.ctx); err != nil {
			return nil, greeting{}, fmt.Errorf("securing it: %w", err)
		}
		nc = secured
	}
	hello, err := readGreeting(nc, false)
	if err != nil {
		return nil, greeting{}, fmt.Errorf("reading the preamble: %w", err)
	}
	status, problem := p.judge(hello, full)
	if problem == nil && secured != nil {
		problem = secured.ConnectionState().PeerCertificates[0].VerifyHostname(hello.from)
		if problem != nil {
			return nil, greeting{}, problem
		}
	}
	answer := appendGreeting(nil, greeting{version: version, lane: lane(status), cluster: p.config.ClusterID, from: p.config.NodeID}, true)
	if _, err := nc.Write(answer); err != nil {
		return nil, greeting{}, errors.Join(problem, fmt.Errorf("answering the preamble: %w", err))
	}
	return nc, hello, errors.Join(problem, nc.SetDeadline(time.Time{}))
}

func (p *Port) judge(hello greeting, full bool) (status byte, problem error) {
	switch {
	case hello.version != version:
		return statusVersion, fmt.Errorf("it speaks version %d of the protocol and this node %d", hello.version, version)
	case hello.lane == laneStranger && p.stranger != nil && hello.from != "":
		if full {
			return statusFull, fmt.Errorf("there are %d connections already", p.limits.MaxConnections)
		}
		return statusOK, nil
	case hello.cluster != p.config.ClusterID:
		return statusCluster, fmt.Errorf("it belongs to cluster %s", hello.cluster)
	case hello.to != p.config.NodeID:
		return statusNotMe, fmt.Errorf("it looks for node %s", hello.to)
	case p.link(hello.from) == nil && (p.config.Welcome == nil || !p.config.Welcome(hello.from)):
		return statusStranger, fmt.Errorf("node %s is not in the list of nodes", hello.from)
	case hello.lane < laneUrgent || hello.lane > laneStream:
		return statusVersion, fmt.Errorf("it asks for the unknown kind %d of connection", hello.lane)
	case full:
		return statusFull, fmt.Errorf("there are %d connections already", p.limits.MaxConnections)
	}
	return statusOK, nil
}

// inbound is a connection that another node made, and the calls on it that are handled.
type inbound struct {
	*conn
	mu      sync.Mutex
	cancels map[uint64]context.CancelFunc
	ctx     context.Context
}

func (p *Port) serve(hello greeting, nc net.Conn) {
	c := newConn(p, hello.from, hello.lane, nc)
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return
	}
	p.accepted[c] = struct{}{}
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(p.ctx)
	in := &inbound{conn: c, cancels: make(map[uint64]context.CancelFunc), ctx: ctx}
	var writing sync.WaitGroup
	writing.Go(c.write)
	c.read(in.handle)
	cancel()
	writing.Wait()
	p.mu.Lock()
	delete(p.accepted, c)
	p.mu.Unlock()
}

func (in *inbound) handle(f frame) error {
	switch f.kind {
	case frameCancel:
		in.mu.Lock()
		cancel := in.cancels[f.id]
		in.mu.Unlock()
		if cancel != nil {
			cancel()
		}
		return nil
	case frameRequest:
	default:
		return fmt.Errorf("%w: kind %d is no request", errFrame, f.kind)
	}
	ms, trace, request, err := parseRequest(f.body)
	if err != nil {
		return err
	}
	h, ok := in.port.handlers[f.method]
	switch {
	case !ok || f.method.lane() != in.lane:
		in.reply(f, nil, nba.Errorf(nba.CodeUnavailable, "node %s does not know method %d: it may run an older version", in.port.config.NodeID, f.method))
	case h.inline != nil:
		h.inline(in.node, request, func(answer []byte, err error) { in.reply(f, answer, err) })
	default:
		in.begin(f, h.handler, ms, trace, request)
	}
	return nil
}

// begin handles a call in a goroutine of its own.
func (in *inbound) begin(f frame, h Handler, ms uint32, trace string, request []byte) {
	p := in.port
	select {
	case p.running <- struct{}{}:
	default:
		in.reply(f, nil, nba.Errorf(nba.CodeOverloaded, "node %s handles %d calls of other nodes already: retry with a delay", p.config.NodeID, p.limits.MaxConcurrent))
		return
	}
	ctx := in.ctx
	if trace != "" {
		ctx = WithTrace(ctx, trace)
	}
	var cancel context.CancelFunc
	if ms > 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(ms)*time.Millisecond)
	} else {
		ctx, cancel = context.WithCancel(ctx)
	}
	in.mu.Lock()
	in.cancels[f.id] = cancel
	in.mu.Unlock()
	p.serving.Go(func() {
		defer func() {
			in.mu.Lock()
			delete(in.cancels, f.id)
			in.mu.Unlock()
			cancel()
			<-p.running
		}()
		answer, err := p.guarded(ctx, h, in.node, f.method, request)
		in.reply(f, answer, err)
	})
}

// guarded turns a panic of a handler into an error: it must not end the node.
func (p *Port) guarded(ctx context.Context, h Handler, from string, m Method, request []byte) (answer []byte, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			p.logger.Error("a call of another node panicked", "method", m, "panic", fault, "stack", string(debug.Stack()))
			err = errors.New("the call failed")
		}
	}()
	answer, err = h(ctx, from, request)
	if _, ok := errors.AsType[*nba.Error](err); !ok && errors.Is(err, context.DeadlineExceeded) {
		err = nba.Errorf(nba.CodeTimeout, "node %s did not answer in time; it may have done what was asked", p.config.NodeID)
	}
	return answer, err
}

func (in *inbound) reply(f frame, answer []byte, err error) {
	limit := in.port.limits.MaxFrameBytes
	if in.lane == laneUrgent {
		limit = MaxUrgentBytes
	}
	if err == nil && len(answer) > limit {
		err = nba.Errorf(nba.CodeTooLarge, "the answer of node %s has %d bytes: at most %d", in.port.config.NodeID, len(answer), limit)
	}
	_ = in.sendNow(func(dst []byte) []byte { // a connection that closed has no caller any more
		if err != nil {
			return appendError(dst, f.method, f.id, err)
		}
		return appendFrame(dst, frameAnswer, f.method, f.id, answer)
	})
}

// handlePing answers with who is down, and the pulse.
func (p *Port) handlePing(from string, request []byte, reply Reply) {
	names, _, err := parseNames(request)
	if err != nil {
		reply(nil, err)
		return
	}
	if l := p.link(from); l != nil {
		l.report(names)
	}
	answer := appendNames(nil, p.downNodes())
	if p.pulse != nil {
		answer = p.pulse.Answer(answer, from)
	}
	reply(answer, nil)
}
