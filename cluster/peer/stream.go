package peer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// StreamHandler takes a transfer of node from: data ends with io.EOF when it came whole, and with any
// other error if it did not. ctx ends with the connection.
type StreamHandler func(ctx context.Context, from string, header []byte, data io.Reader) (answer []byte, err error)

// HandleStream sets who takes the transfers of a method. Call it before Start.
func (p *Port) HandleStream(m Method, h StreamHandler) { p.streams[m] = h }

// chunkBytes is the size of the pieces of a transfer.
const chunkBytes = 128 << 10

// maxHeader bounds the header of a transfer.
const maxHeader = 64 << 10

// Send transfers data of any size to a node, over a connection of its own, and returns what its
// handler answers. An error of data, or of ctx, breaks the transfer off: the handler then sees that
// it is not whole.
func (p *Port) Send(ctx context.Context, node string, m Method, header []byte, data io.Reader) ([]byte, error) {
	l := p.link(node)
	if l == nil || !l.up.Load() {
		return nil, errDown(node, p.Reason(node))
	}
	if len(header) > maxHeader {
		return nil, nba.Errorf(nba.CodeTooLarge, "the header of a transfer between nodes has %d bytes: at most %d", len(header), maxHeader)
	}
	nc, err := p.dial(node, *l.address.Load(), laneStream, p.quit)
	if err != nil {
		return nil, errDown(node, err)
	}
	if !p.track(nc) {
		return nil, errors.Join(errDown(node, errPortClosed), nc.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.Close() })
	defer func() {
		stop()
		_ = nc.Close()
		p.untrack(nc)
	}()
	answer, err := p.transfer(ctx, node, nc, m, header, data)
	if ctx.Err() != nil && err != nil {
		return nil, nba.Errorf(nba.CodeTimeout, "the transfer to node %s was not complete in time (%w)", node, errors.Join(ctx.Err(), ErrUncertain))
	}
	return answer, err
}

func (p *Port) track(nc net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.raw[nc] = struct{}{}
	return true
}

func (p *Port) untrack(nc net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.raw, nc)
}

func (p *Port) transfer(ctx context.Context, node string, nc net.Conn, m Method, header []byte, data io.Reader) ([]byte, error) {
	out := appendRequest(nil, m, 1, 0, Trace(ctx), header, nil)
	piece := make([]byte, chunkBytes)
	for {
		n, err := io.ReadFull(data, piece)
		if n > 0 {
			out = appendFrame(out, frameChunk, m, 1, piece[:n])
		}
		whole := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !whole {
			return nil, fmt.Errorf("reading what to transfer: %w", err)
		}
		if whole {
			out = appendFrame(out, frameEnd, m, 1, nil)
		}
		if err := p.write(nc, out); err != nil {
			// It may have been refused: the answer tells why.
			if f, problem := p.readAnswer(nc); problem == nil && f.kind != frameAnswer {
				return nil, remoteError(f, node)
			}
			return nil, errInterrupted(node, err)
		}
		p.metrics.sent(node, len(out))
		out = out[:0]
		if whole {
			break
		}
	}
	f, err := p.readAnswer(nc)
	if err != nil {
		return nil, errInterrupted(node, err)
	}
	if f.kind == frameAnswer {
		return f.body, nil
	}
	return nil, remoteError(f, node)
}

func (p *Port) write(nc net.Conn, out []byte) error {
	if err := nc.SetWriteDeadline(time.Now().Add(p.limits.StallTimeout)); err != nil {
		return err
	}
	_, err := nc.Write(out)
	return err
}

// readAnswer waits as long as the connection lives: what the handler does may take long.
func (p *Port) readAnswer(nc net.Conn) (frame, error) {
	f, err := readFrame(bufio.NewReader(nc), maxErrorText)
	if err == nil && f.kind != frameAnswer && f.kind != frameError && f.kind != frameFault {
		err = errFrame
	}
	return f, err
}

// serveStream takes one transfer.
func (p *Port) serveStream(from string, nc net.Conn) {
	r := bufio.NewReaderSize(nc, 64<<10)
	if err := nc.SetReadDeadline(time.Now().Add(p.limits.StallTimeout)); err != nil {
		return
	}
	f, err := readFrame(r, maxHeader+maxTrace+8)
	if err != nil || f.kind != frameRequest {
		p.logger.Warn("a transfer between nodes began wrongly", "node", from, "error", err)
		return
	}
	_, trace, header, err := parseRequest(f.body)
	if err != nil {
		p.logger.Warn("a transfer between nodes began wrongly", "node", from, "error", err)
		return
	}
	h := p.streams[f.method]
	if h == nil {
		_ = p.write(nc, appendError(nil, f.method, f.id, nba.Errorf(nba.CodeUnavailable,
			"node %s does not know the transfer %d: it may run an older version", p.config.NodeID, f.method)))
		return
	}
	ctx, cancel := context.WithCancel(p.ctx)
	defer cancel()
	if trace != "" {
		ctx = WithTrace(ctx, trace)
	}
	data := &transferReader{port: p, conn: nc, r: r}
	answer, err := p.guarded(ctx, func(ctx context.Context, from string, header []byte) ([]byte, error) {
		return h(ctx, from, header, data)
	}, from, f.method, header)
	if err == nil && len(answer) > maxErrorText {
		err = fmt.Errorf("the answer to a transfer has %d bytes: at most %d", len(answer), maxErrorText)
	}
	if err != nil {
		_ = p.write(nc, appendError(nil, f.method, f.id, err)) // it is too late if that fails
		return
	}
	_ = p.write(nc, appendFrame(nil, frameAnswer, f.method, f.id, answer))
}

// transferReader reads the chunks of a transfer.
type transferReader struct {
	port *Port
	conn net.Conn
	r    *bufio.Reader
	rest []byte
	err  error
}

// Read implements io.Reader.
func (t *transferReader) Read(b []byte) (int, error) {
	for len(t.rest) == 0 && t.err == nil {
		t.next()
	}
	if len(t.rest) == 0 {
		return 0, t.err
	}
	n := copy(b, t.rest)
	t.rest = t.rest[n:]
	return n, nil
}

func (t *transferReader) next() {
	if t.err = t.conn.SetReadDeadline(time.Now().Add(t.port.limits.StallTimeout)); t.err != nil {
		return
	}
	f, err := readFrame(t.r, chunkBytes)
	switch {
	case errors.Is(err, io.EOF):
		t.err = io.ErrUnexpectedEOF
	case err != nil:
		t.err = err
	case f.kind == frameEnd:
		t.err = io.EOF
	case f.kind != frameChunk:
		t.err = errFrame
	default:
		t.rest = f.body
	}
}
