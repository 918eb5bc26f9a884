package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// conn writes the frames of one connection, those that wait together, and on the side that made it
// finds the caller of each answer.
type conn struct {
	port *Port
	node string // the other side
	lane lane
	net  net.Conn

	mu      sync.Mutex
	pending []byte        // waits to be written
	space   chan struct{} // not nil while someone waits for it; closed when there is some
	calls   map[uint64]*waiting
	nextID  uint64
	closed  bool
	err     error // why it closed

	wake chan struct{} // one token: there is something to write
	done chan struct{} // closed with it
}

// waiting is a call that waits for its answer.
type waiting struct {
	method Method
	done   func(answer []byte, err error)
}

func newConn(p *Port, node string, l lane, c net.Conn) *conn {
	return &conn{
		port: p, node: node, lane: l, net: c, calls: make(map[uint64]*waiting),
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
}

// send queues a frame that build appends. It waits while too much is pending, until ctx ends.
func (c *conn) send(ctx context.Context, build func(dst []byte) []byte) error {
	return c.queue(ctx, true, build)
}

// sendNow is send without a wait, for what the other side waits for.
func (c *conn) sendNow(build func(dst []byte) []byte) error {
	return c.queue(context.Background(), false, build)
}

func (c *conn) queue(ctx context.Context, wait bool, build func(dst []byte) []byte) error {
	c.mu.Lock()
	for !c.closed && wait && len(c.pending) > c.port.limits.MaxPendingBytes {
		if c.space == nil {
			c.space = make(chan struct{})
		}
		space := c.space
		c.mu.Unlock()
		select {
		case <-space:
		case <-c.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		c.mu.Lock()
	}
	defer c.mu.Unlock()
	if c.closed {
		return errDown(c.node, errClosedConn)
	}
	idle := len(c.pending) == 0
	c.pending = build(c.pending)
	if idle {
		select {
		case c.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// call queues a request. done is called once, by another goroutine, and must be quick; unless call
// returns an error.
func (c *conn) call(ctx context.Context, m Method, head, body []byte, done func([]byte, error)) (id uint64, err error) {
	ms := uint32(0)
	if deadline, ok := ctx.Deadline(); ok {
		ms = uint32(max(1, min(time.Until(deadline).Milliseconds(), 1<<31)))
	}
	trace := Trace(ctx)
	err = c.send(ctx, func(dst []byte) []byte {
		c.nextID++
		id = c.nextID
		c.calls[id] = &waiting{m, done}
		return appendRequest(dst, m, id, ms, trace, head, body)
	})
	return id, err
}

// forget gives a call up and tells the other side.
func (c *conn) forget(id uint64) {
	c.mu.Lock()
	_, ok := c.calls[id]
	delete(c.calls, id)
	c.mu.Unlock()
	if ok {
		_ = c.sendNow(func(dst []byte) []byte { return appendFrame(dst, frameCancel, 0, id, nil) })
	}
}

// write runs until the connection closes.
func (c *conn) write() {
	var spare []byte
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
		for {
			c.mu.Lock()
			out := c.pending
			if len(out) == 0 || c.closed {
				c.mu.Unlock()
				break
			}
			c.pending = spare[:0]
			if c.space != nil {
				close(c.space)
				c.space = nil
			}
			c.mu.Unlock()
			if err := c.writeAll(out); err != nil {
				c.close(fmt.Errorf("writing to node %s: %w", c.node, err))
				return
			}
			c.port.metrics.sent(c.node, len(out))
			if spare = out; cap(spare) > 1<<20 {
				spare = nil
			}
		}
	}
}

// writeAll writes in pieces, each of which must make progress in time.
func (c *conn) writeAll(out []byte) error {
	for len(out) > 0 {
		piece := out[:min(len(out), 1<<20)]
		if err := c.net.SetWriteDeadline(time.Now().Add(c.port.limits.StallTimeout)); err != nil {
			return err
		}
		if _, err := c.net.Write(piece); err != nil {
			return err
		}
		out = out[len(piece):]
	}
	return nil
}

// read hands every frame to handle until the connection closes.
func (c *conn) read(handle func(frame) error) {
	limit := c.port.limits.MaxFrameBytes
	if c.lane == laneUrgent {
		limit = MaxUrgentBytes + 1024
	}
	r := bufio.NewReaderSize(c.net, 64<<10)
	for {
		f, err := readFrame(r, limit)
		if err == nil {
			c.port.metrics.received(c.node, len(f.body)+frameHead+frameRest)
			err = handle(f)
		}
		if err != nil {
			c.close(fmt.Errorf("reading from node %s: %w", c.node, err))
			return
		}
	}
}

// answered gives a frame to the call it answers.
func (c *conn) answered(f frame) error {
	c.mu.Lock()
	w := c.calls[f.id]
	delete(c.calls, f.id)
	c.mu.Unlock()
	if w == nil {
		return nil // given up
	}
	switch f.kind {
	case frameAnswer:
		w.done(f.body, nil)
	case frameError, frameFault:
		w.done(nil, remoteError(f, c.node))
	default:
		w.done(nil, errFrame)
		return fmt.Errorf("%w: kind %d is no answer", errFrame, f.kind)
	}
	return nil
}

// close ends the connection and every call on it.
func (c *conn) close(err error) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed, c.err = true, errInterrupted(c.node, err)
	calls := c.calls
	c.calls = nil
	c.pending = nil
	c.mu.Unlock()
	close(c.done)
	_ = c.net.Close() // it is of no use any more
	for _, w := range calls {
		w.done(nil, c.err)
	}
}

// ErrUnreachable is wrapped by the errors of calls that were not sent, or whose answer will not come,
// because the other node cannot be reached.
var ErrUnreachable = errors.New("node unreachable")

// errClosedConn is the cause of a call that came after the connection broke.
var errClosedConn = errors.New("the connection is closed")

func errInterrupted(node string, cause error) error {
	return nba.Errorf(nba.CodeUnavailable, "the connection to node %s was interrupted: what was asked of it may or may not have happened (%w)",
		node, errors.Join(ErrUnreachable, ErrUncertain, cause))
}

func errDown(node string, cause error) error {
	return nba.Errorf(nba.CodeUnavailable, "node %s cannot be reached: retry shortly (%w)", node, errors.Join(ErrUnreachable, cause))
}

// ErrUncertain is wrapped by the errors of calls that may have reached the other node.
var ErrUncertain = errors.New("the call may have happened")
