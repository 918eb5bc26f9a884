package raftgroup

import (
	"context"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Answer is what one operation of SubmitBatch came to.
type Answer struct {
	Result fsm.Result
	// Err is that of Submit.
	Err error
}

// SubmitBatch is Submit for operations that are encoded already, as Operation.Append made them and
// another node sent them. They are packed with those of other callers, in their order, and copied
// before SubmitBatch returns. The error is that of all: nothing was submitted.
func (g *Group) SubmitBatch(ctx context.Context, ops [][]byte) ([]Answer, error) {
	if err := g.writable(); err != nil {
		return nil, err
	}
	answers := make([]Answer, len(ops))
	waiting := make([]*call, len(ops))
	for i, op := range ops {
		if len(op) > command.MaxOpBytes {
			answers[i].Err = nba.Errorf(nba.CodeTooLarge, "the write is larger than %d bytes", command.MaxOpBytes)
			continue
		}
		c := g.calls.Get().(*call)
		c.op = append(c.op[:0], op...)
		if err := g.enqueue(c); err != nil {
			answers[i].Err = err
			g.calls.Put(c)
			continue
		}
		waiting[i] = c
	}
	for i, c := range waiting {
		if c == nil {
			continue
		}
		select {
		case <-c.done:
			answers[i] = Answer{c.result, c.err}
			c.result, c.err = fsm.Result{}, nil
			g.calls.Put(c)
			if answers[i].Err == nil {
				answers[i].Err = answers[i].Result.Err
			}
		case <-ctx.Done():
			late := nba.Errorf(nba.CodeTimeout, "the deadline passed while the write was under way; it may still happen (%w)", ctx.Err())
			for j := range waiting[i:] {
				if waiting[i+j] != nil {
					answers[i+j].Err = late
				}
			}
			return answers, nil
		}
	}
	return answers, nil
}
