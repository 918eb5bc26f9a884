package api

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// listener remembers the open connections, so that a shutdown whose time is over can close them.
type listener struct {
	net.Listener

	mu    sync.Mutex
	conns map[*conn]struct{}
}

func newListener(ln net.Listener) *listener {
	return &listener{Listener: ln, conns: map[*conn]struct{}{}}
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	inner, err := l.Listener.Accept()
	if err != nil {
		return nil, err //nolint:wrapcheck // the server looks for net.ErrClosed and Temporary
	}
	c := &conn{Conn: inner, owner: l}
	l.mu.Lock()
	l.conns[c] = struct{}{}
	l.mu.Unlock()
	return c, nil
}

func (l *listener) forget(c *conn) {
	l.mu.Lock()
	delete(l.conns, c)
	l.mu.Unlock()
}

func (l *listener) closeAll() {
	_ = l.Listener.Close() // closed already when the server ran
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.conns {
		_ = c.Conn.Close() // its goroutine sees the error and ends
	}
}

// How long, and for how much, a refused body is read on.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 64 << 20
)

// conn is a connection that can be closed with patience: when the answer was sent before the whole
// body was read, closing at once would reset the connection and take the answer from a client that is
// still writing. With linger set, Close says so to the client and reads on for a while.
type conn struct {
	net.Conn

	owner  *listener
	linger atomic.Bool
}

// lingerOn makes the connection of ctx wait for a client that may still be writing.
func lingerOn(ctx *fasthttp.RequestCtx) {
	if c, ok := ctx.Conn().(*conn); ok {
		c.linger.Store(true)
	}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.owner.forget(c)
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok && c.linger.Swap(false) {
		if half.CloseWrite() == nil && c.Conn.SetReadDeadline(time.Now().Add(lingerTime)) == nil {
			_, _ = io.CopyN(io.Discard, c.Conn, lingerBytes) // whatever ends it, the connection is closed next
		}
	}
	return c.Conn.Close() //nolint:wrapcheck // the server's own error
}
