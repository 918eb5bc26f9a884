package importer

import (
	"context"
	"errors"

	"github.com/arbiterhq/arbiter/cluster/router"
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
}

// parcel is a batch on its way, and how many records of the body it stands for: more than its
// writes, when a subject occurred twice.
type parcel struct {
	writes  []router.SubjectWrite
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
		if err != nil {
			c.err = err
			close(c.failed)
			return
		}
		c.accepted += p.records
	}
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
