package importer

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"

	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// committer owns the goroutine that hands batches to the sink: one is committed and one waits while
// the caller reads a third.
type committer struct {
	work   chan parcel
	failed chan struct{} // closed when err is set
	done   chan struct{} // closed when the goroutine ended

	// Written by the goroutine before failed or done is closed, read after.
	err      error
	accepted int

	mu      sync.Mutex
	refused []Result // by the store, not yet reported
}

// parcel is a batch on its way.
type parcel struct {
	writes []router.SubjectWrite
	lines  []int // of each write
	// records is how many records of the body the writes stand for: more than the writes, when a
	// subject occurred twice.
	records int
}

// errStopped tells that the committer gave up; why is its err.
var errStopped = errors.New("the import stopped")

func startCommitter(ctx context.Context, sink Sink) *committer {
	c := &committer{work: make(chan parcel, 1), failed: make(chan struct{}), done: make(chan struct{})}
	go c.run(ctx, sink)
	return c
}

func (c *committer) run(ctx context.Context, sink Sink) {
	defer close(c.done)
	for p := range c.work {
		err := ctx.Err()
		if err == nil {
			err = sink.Import(ctx, p.writes)
		}
		refused, ok := refusals(err, p.lines)
		if !ok {
			c.err = err
			close(c.failed)
			return
		}
		c.accepted += p.records - len(refused)
		if len(refused) > 0 {
			c.mu.Lock()
			c.refused = append(c.refused, refused...)
			c.mu.Unlock()
		}
	}
}

// refusals takes from a sink's error the writes that were refused while the others were stored. ok is
// false for any other error.
func refusals(err error, lines []int) (refused []Result, ok bool) {
	if err == nil {
		return nil, true
	}
	e, isError := errors.AsType[*nba.Error](err)
	if !isError || len(e.Details) == 0 {
		return nil, false
	}
	for _, d := range e.Details {
		text, isPointer := strings.CutPrefix(d.Pointer, "/")
		i, convErr := strconv.Atoi(text)
		if !isPointer || convErr != nil || i < 0 || i >= len(lines) {
			return nil, false
		}
		refused = append(refused, Result{Line: lines[i], Code: d.Code, Reason: d.Detail})
	}
	return refused, true
}

// takeRefused returns the results of refused writes that are new since the last call.
func (c *committer) takeRefused() []Result {
	c.mu.Lock()
	defer c.mu.Unlock()
	refused := c.refused
	c.refused = nil
	return refused
}

// commit hands a batch over. It waits while two others are under way.
func (c *committer) commit(p parcel) error {
	if len(p.writes) == 0 {
		return nil
	}
	select {
	case c.work <- p:
		return nil
	case <-c.failed:
		return errStopped
	}
}

// close waits for the batches handed over and returns how many records became durable.
func (c *committer) close() (accepted int, err error) {
	close(c.work)
	<-c.done
	return c.accepted, c.err
}
