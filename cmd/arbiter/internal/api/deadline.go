package api

import (
	"context"
	"sync"
	"time"
)

// deadlineContext is a context with a deadline that costs one allocation until somebody waits for it.
// A decision rarely does: it compares the time at its steps. The first call of Done makes a real
// context with its timer.
type deadlineContext struct {
	parent   context.Context
	deadline time.Time

	mu     sync.Mutex
	real   context.Context //nolint:containedctx // it is this context, made late
	cancel context.CancelFunc
	ended  bool
}

func newDeadline(parent context.Context, deadline time.Time) *deadlineContext {
	return &deadlineContext{parent: parent, deadline: deadline}
}

// end cancels the context. Whoever made it calls end once its work is done.
func (c *deadlineContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}

// Deadline implements context.Context.
func (c *deadlineContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done implements context.Context.
func (c *deadlineContext) Done() <-chan struct{} { return c.materialise().Done() }

// materialise returns the real context.
func (c *deadlineContext) materialise() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.real == nil {
		c.real, c.cancel = context.WithDeadline(c.parent, c.deadline)
		if c.ended {
			c.cancel()
		}
	}
	return c.real
}

// Err implements context.Context.
func (c *deadlineContext) Err() error {
	c.mu.Lock()
	real, ended := c.real, c.ended
	c.mu.Unlock()
	switch {
	case real != nil:
		return real.Err() //nolint:wrapcheck // the contract of Err
	case c.parent.Err() != nil:
		return c.parent.Err() //nolint:wrapcheck // the contract of Err
	case !time.Now().Before(c.deadline):
		return context.DeadlineExceeded
	case ended:
		return context.Canceled
	default:
		return nil
	}
}

// Value implements context.Context. Asking the real context lets package context recognise it and
// hang children on it without a goroutine each.
func (c *deadlineContext) Value(key any) any {
	c.mu.Lock()
	real := c.real
	c.mu.Unlock()
	if real != nil {
		return real.Value(key)
	}
	return c.parent.Value(key)
}
