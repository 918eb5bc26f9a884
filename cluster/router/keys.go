package router

import (
	"context"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/runtime/auth"
)

// submit replicates an operation, under the attribution of the call in ctx if there is one.
func (c *Control) submit(ctx context.Context, op raftgroup.Operation, again bool) (fsm.Result, error) {
	call := auth.From(ctx)
	if call == nil || c.State().Features.Allows(command.Attributed, 1) != nil {
		return c.shard.submit(ctx, op, again)
	}
	encoded, err := op.Append(nil)
	if err != nil {
		return fsm.Result{}, err
	}
	by := command.Attribution{Actor: *call.Principal, Action: call.Action, Object: call.Object, Request: call.Request}
	return c.shard.submit(ctx, &command.AttributedOp{By: by, Op: encoded}, again)
}

// CreateKey keeps an API key. founding demands that there never was one: else an *nba.Error with
// CodeConflict.
func (c *Control) CreateKey(ctx context.Context, key auth.Key, founding bool) (auth.View, error) {
	if err := c.State().Features.Allows(command.KeyCreated, 1); err != nil {
		return auth.View{}, err
	}
	result, err := c.submit(ctx, &command.CreateKey{Key: key, Founding: founding}, false)
	if err != nil {
		return auth.View{}, err
	}
	if view, ok := result.Value.(auth.View); ok { // on the node that leads
		return view, nil
	}
	return key.View(), nil
}

// RevokeKey removes an API key: from then on it proves nothing.
func (c *Control) RevokeKey(ctx context.Context, id string) error {
	_, err := c.submit(ctx, &command.RevokeKey{ID: id}, false)
	return err
}

// Audit gives up to limit records of changes after one of them, oldest first, and the end of their chain,
// as this node knows them.
func (c *Control) Audit(after uint64, limit int) ([]fsm.AuditRecord, fsm.AuditHead, error) {
	records, head, err := c.machine.Audit(after, limit)
	if err != nil {
		err = storeError(err)
	}
	return records, head, err
}
