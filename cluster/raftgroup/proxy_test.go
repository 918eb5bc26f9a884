package raftgroup

import (
	"net"
	"sync"
	"testing"
)

// proxies stand between the nodes of a test's cluster, one for each direction of calls of each pair, so
// that the network between two nodes can be cut.
type proxies struct {
	t       testing.TB
	targets map[string]string // by node
	open    map[[2]string]*proxy
}

func newProxies(t testing.TB, targets map[string]string) *proxies {
	p := &proxies{t: t, targets: targets, open: map[[2]string]*proxy{}}
	t.Cleanup(p.close)
	for from := range targets {
		for to := range targets {
			if from == to {
				continue
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			x := &proxy{listener: listener, target: targets[to], conns: map[net.Conn]struct{}{}}
			x.cond = sync.NewCond(&x.mu)
			x.work.Go(x.accept)
			p.open[[2]string{from, to}] = x
		}
	}
	return p
}

// addresses are those that a node finds the others at.
func (p *proxies) addresses(from string) map[string]string {
	found := map[string]string{from: p.targets[from]}
	for pair, x := range p.open {
		if pair[0] == from {
			found[pair[1]] = x.listener.Addr().String()
		}
	}
	return found
}

// cut makes nothing arrive between two nodes any more, without a sign; mend ends that.
func (p *proxies) cut(a, b string)  { p.set(a, b, true) }
func (p *proxies) mend(a, b string) { p.set(a, b, false) }

func (p *proxies) set(a, b string, cut bool) {
	for _, pair := range [][2]string{{a, b}, {b, a}} {
		x := p.open[pair]
		x.mu.Lock()
		x.cut = cut
		x.cond.Broadcast()
		x.mu.Unlock()
	}
}

func (p *proxies) close() {
	for _, x := range p.open {
		x.mu.Lock()
		x.closed = true
		x.cond.Broadcast()
		for c := range x.conns {
			_ = c.Close()
		}
		x.mu.Unlock()
		if err := x.listener.Close(); err != nil {
			p.t.Error(err)
		}
		x.work.Wait()
	}
}

type proxy struct {
	listener net.Listener
	target   string
	work     sync.WaitGroup

	mu     sync.Mutex
	cond   *sync.Cond
	cut    bool
	closed bool
	conns  map[net.Conn]struct{}
}

func (x *proxy) accept() {
	for {
		in, err := x.listener.Accept()
		if err != nil {
			return
		}
		x.work.Go(func() {
			if !x.pass() {
				_ = in.Close()
				return
			}
			out, err := net.Dial("tcp", x.target)
			if err != nil {
				_ = in.Close()
				return
			}
			x.mu.Lock()
			x.conns[in], x.conns[out] = struct{}{}, struct{}{}
			if x.closed {
				_, _ = in.Close(), out.Close()
			}
			x.mu.Unlock()
			x.work.Go(func() { x.copy(out, in) })
			x.copy(in, out)
			x.mu.Lock()
			delete(x.conns, in)
			delete(x.conns, out)
			x.mu.Unlock()
		})
	}
}

// pass waits while the way is cut. It is false once the proxy is closed.
func (x *proxy) pass() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for x.cut && !x.closed {
		x.cond.Wait()
	}
	return !x.closed
}

func (x *proxy) copy(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !x.pass() {
				break
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_, _ = to.Close(), from.Close()
}
