package router

import (
	"context"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// write replicates an operation on a subject or a decision. If ctx has an idempotency key, it takes effect
// once for that key: scope is whom the key belongs to, a subject key or a decision id. again is as for
// shard.submit; with a key, everything may be repeated.
func (r *Router) write(ctx context.Context, s *shard, op raftgroup.Operation, scope []byte, again bool) (fsm.Result, error) {
	key := nba.IdempotencyOf(ctx)
	if err := r.allowed(op); err != nil {
		return fsm.Result{}, err
	}
	if key != nil {
		encoded, err := op.Append(nil)
		if err != nil {
			return fsm.Result{}, err
		}
		kind, _ := command.KindOf(encoded)
		op = &command.KeyedOp{
			ID: command.KeyID(kind, scope, key.Part, key.Key), Fingerprint: key.Fingerprint,
			TTL: uint64(r.control.State().Retention.IdempotencyTTL().Milliseconds()), Op: encoded,
		}
		again = true
		if err := r.allowed(op); err != nil {
			return fsm.Result{}, err
		}
	}
	result, err := s.submit(ctx, op, again)
	if err == nil && result.Replayed {
		key.SetReplayed()
	}
	return result, err
}

// allowed is nil when every node can apply the operation.
func (r *Router) allowed(op raftgroup.Operation) error {
	features := &r.control.State().Features
	switch op := op.(type) {
	case *command.Put:
		return features.Allows(command.SubjectPut, op.Version())
	case *command.Patch:
		return features.Allows(command.SubjectPatch, op.Version())
	case *command.KeyedOp:
		return features.Allows(command.Keyed, 1)
	case *command.Decision:
		return features.Allows(command.DecisionRecorded, op.Version())
	case *command.Expire:
		return features.Allows(command.Expired, 1)
	case *command.Reserve:
		return features.Allows(command.ContactsReserved, 1)
	case *command.Elapse:
		return features.Allows(command.TimeElapsed, 1)
	case *command.LeaseVolume:
		return features.Allows(command.VolumeLeased, 1)
	case *command.Mark:
		return features.Allows(command.StateMarked, 1)
	case *command.SetRetention:
		return features.Allows(command.RetentionSet, 1)
	}
	return nil // known to the first release
}

// Replayed looks up what the idempotency key in ctx answered to a decision for the subject. ok is false
// when there is no key, or none that was used: the log then decides. It reads the replica here, which must
// lead the group of the subject.
func (r *Router) Replayed(ctx context.Context, ref nba.SubjectRef) (decisionID string, ok bool, err error) {
	key := nba.IdempotencyOf(ctx)
	if key == nil {
		return "", false, nil
	}
	if ref, err = ref.Normalize(); err != nil {
		return "", false, err
	}
	d := r.byRef(ref)
	if err := d.readable(); err != nil {
		return "", false, err
	}
	id := command.KeyID(command.DecisionRecorded, command.AppendSubjectKey(nil, ref), key.Part, key.Key)
	entry, ok, err := d.machine.Keyed(id, time.Now().UnixMilli())
	if err != nil || !ok {
		return "", false, storeError(err)
	}
	result, reused := entry.Answer(key.Fingerprint)
	if reused != nil {
		return "", false, reused
	}
	key.SetReplayed()
	return result.Decision.String(), true, nil
}

// SetRetention sets how long interactions and idempotency keys are kept.
func (c *Control) SetRetention(ctx context.Context, retention nba.Retention) error {
	if err := c.State().Features.Allows(command.RetentionSet, 1); err != nil {
		return err
	}
	if retention.Events != nil {
		if err := c.State().Features.Allows(command.EventsApplied, 1); err != nil {
			return err
		}
	}
	_, err := c.submit(ctx, &command.SetRetention{Retention: retention}, true)
	return err
}
