package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// traceKey is the context key of the trace.
type traceKey struct{}

// WithTrace gives calls made with the context a trace id, of at most 128 bytes, which the other
// node's handler finds with Trace.
func WithTrace(ctx context.Context, trace string) context.Context {
	return context.WithValue(ctx, traceKey{}, trace)
}

// Trace is the trace id of a call, or empty.
func Trace(ctx context.Context) string {
	trace, _ := ctx.Value(traceKey{}).(string)
	return trace
}

// Call asks a node and returns its answer, which is the caller's to keep. The deadline of ctx and its
// trace travel with it. An *nba.Error of the handler arrives as such. If the node cannot be reached
// the error has CodeUnavailable and wraps ErrUnreachable; if it may nevertheless have handled the
// call, also ErrUncertain, as a call does whose ctx ended. The request must not change before Call
// returns.
func (p *Port) Call(ctx context.Context, node string, m Method, request []byte) ([]byte, error) {
	type outcome struct {
		answer []byte
		err    error
	}
	done := make(chan outcome, 1)
	c, id, err := p.begin(ctx, node, m, nil, request, func(answer []byte, err error) { done <- outcome{answer, err} })
	if err != nil {
		return nil, err
	}
	select {
	case o := <-done:
		return o.answer, o.err
	case <-ctx.Done():
		c.forget(id)
		return nil, nba.Errorf(nba.CodeTimeout, "node %s did not answer in time (%w)", node, errors.Join(ctx.Err(), ErrUncertain))
	}
}

// Go sends a request of head and body, one after the other, and calls done once, when the answer or
// an error is there; it is not called if Go returns an error. done must be quick: it holds up the
// connection. Requests of one goroutine to one node arrive in their order, and inline handlers see
// them in it. Go waits while too much is on its way, until ctx ends; afterwards ctx only gives the
// deadline that travels.
func (p *Port) Go(ctx context.Context, node string, m Method, head, body []byte, done func(answer []byte, err error)) error {
	_, _, err := p.begin(ctx, node, m, head, body, done)
	return err
}

func (p *Port) begin(ctx context.Context, node string, m Method, head, body []byte, done func([]byte, error)) (*conn, uint64, error) {
	l := p.link(node)
	if l == nil {
		return nil, 0, errDown(node, errors.New("it is not in the list of nodes"))
	}
	limit := p.limits.MaxFrameBytes
	if m.lane() == laneUrgent {
		limit = MaxUrgentBytes
	}
	if n := len(head) + len(body); n > limit {
		return nil, 0, nba.Errorf(nba.CodeTooLarge, "a message between nodes has %d bytes: at most %d", n, limit)
	}
	if err := ctx.Err(); err != nil {
		return nil, 0, nba.Errorf(nba.CodeTimeout, "the deadline passed before node %s was asked (%w)", node, err)
	}
	c, err := l.acquire(ctx, m.lane())
	if err != nil {
		return nil, 0, err
	}
	id, err := c.call(ctx, m, head, body, done)
	if err != nil {
		if ctx.Err() != nil {
			err = nba.Errorf(nba.CodeTimeout, "the deadline passed before node %s was asked (%w)", node, ctx.Err())
		}
		return nil, 0, err
	}
	return c, id, nil
}

// wireError is an *nba.Error on the wire.
type wireError struct {
	Code    nba.Code     `json:"code"`
	Message string       `json:"message"`
	Details []nba.Detail `json:"details,omitempty"`
}

const maxErrorText = 64 << 10

// appendError appends the frame that answers with an error.
func appendError(dst []byte, m Method, id uint64, err error) []byte {
	if shown, ok := errors.AsType[*nba.Error](err); ok {
		body, problem := json.Marshal(wireError{shown.Code, shown.Message, shown.Details})
		if problem == nil && len(body) <= maxErrorText {
			return appendFrame(dst, frameError, m, id, body)
		}
	}
	text := err.Error()
	return appendFrame(dst, frameFault, m, id, []byte(text[:min(len(text), maxErrorText)]))
}

func remoteError(f frame, node string) error {
	if f.kind == frameError {
		var w wireError
		if err := json.Unmarshal(f.body, &w); err != nil || w.Code == "" {
			return fmt.Errorf("node %s answered with an error that cannot be read", node)
		}
		return &nba.Error{Code: w.Code, Message: w.Message, Details: w.Details}
	}
	return fmt.Errorf("node %s: %s", node, f.body)
}
