package router

import (
	"context"
	"encoding/binary"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Groups is the number of data groups, which are numbered from 0.
func (r *Router) Groups() int { return len(r.groups()) }

// GroupOfKey is the data group of a subject key.
func (r *Router) GroupOfKey(key []byte) int { return groupOf(slotOfKey(key), r.Groups()) }

// GroupOfHash is the data group that keeps what belongs to no subject.
func (r *Router) GroupOfHash(hash [command.HashBytes]byte) int {
	return int(binary.LittleEndian.Uint64(hash[:]) % uint64(r.Groups()))
}

// LeaderOfGroup is the node that leads a data group as this node knows; here tells that it is this one, and
// ok is false while none is known.
func (r *Router) LeaderOfGroup(group int) (node string, here, ok bool) {
	s := &r.groups()[group].shard
	if s.leads() {
		return "", true, true
	}
	node, ok = s.leader()
	return node, ok && node == s.self(), ok
}

// LeadsGroup tells whether this node leads a data group.
func (r *Router) LeadsGroup(group int) bool { return r.groups()[group].leads() }

// ApplyEvents replicates events of a data group that this node leads, and tells what became of each. done tells
// that the cursor of their stream was moved before, so that nobody can tell any more. The error has CodeConflict
// when that cursor stands elsewhere.
func (r *Router) ApplyEvents(ctx context.Context, group int, op *command.ApplyEvents) (applied fsm.AppliedEvents, done bool, err error) {
	if err := r.control.State().Features.Allows(command.EventsApplied, 1); err != nil {
		return applied, false, err
	}
	d := r.groups()[group]
	if err := d.readable(); err != nil {
		return applied, false, err
	}
	result, err := d.local.Submit(ctx, op)
	if err != nil || result.Duplicate {
		return applied, result.Duplicate, err
	}
	applied, _ = result.Value.(fsm.AppliedEvents)
	return applied, false, nil
}

// NoteStreams moves cursors in a data group that need no events.
func (r *Router) NoteStreams(ctx context.Context, group int, op *command.NoteStreams) error {
	if err := r.control.State().Features.Allows(command.StreamsNoted, 1); err != nil {
		return err
	}
	_, err := r.groups()[group].submit(ctx, op, true)
	return err
}

// RemoveLetters removes dead letters of a data group and tells how many there were. When the answer to it was
// lost and it was tried again, that may be fewer than it removed.
func (r *Router) RemoveLetters(ctx context.Context, group int, numbers []uint64) (removed int, err error) {
	result, err := r.groups()[group].submit(ctx, &command.RemoveLetters{Numbers: numbers}, true)
	return int(result.Version), err
}

// EventReader reads what is kept of events in a data group that this node leads.
func (r *Router) EventReader(group int) (*fsm.Data, error) {
	d := r.groups()[group]
	if err := d.readable(); err != nil {
		return nil, err
	}
	return d.machine, nil
}

// StoreError is what a caller is told of an error of a reader of EventReader.
func StoreError(err error) error { return storeError(err) }

const (
	forgetAtOnce = 256
	forgetRounds = 16 // in one round of keeping
)

// forgetEvents removes what is older than the retention of events from a group that this node leads, a bounded
// number.
func (r *Router) forgetEvents(ctx context.Context, d *dataGroup, now time.Time) error {
	if r.control.State().Features.Allows(command.EventsApplied, 1) != nil {
		return nil
	}
	op := command.ApplyEvents{Forget: forgetOf(r.control.State().Retention, now, r.Groups())}
	for range forgetRounds {
		due, err := d.machine.EventsDue(op.Forget)
		if err != nil {
			return storeError(err)
		}
		if !due {
			return nil
		}
		if _, err := d.submit(ctx, raftgroup.Operation(&op), true); err != nil {
			return err
		}
	}
	return nil
}

// forgetOf is what a retention leaves of events in one of several groups.
func forgetOf(retention nba.Retention, now time.Time, groups int) *command.ForgetEvents {
	days := func(n int) int64 { return now.Add(-time.Duration(n) * 24 * time.Hour).UnixMilli() }
	events := retention.OfEvents()
	share := func(n int) uint64 { return uint64((n + groups - 1) / groups) }
	return &command.ForgetEvents{
		SeenMS: days(events.DuplicateDays), KeptMS: days(min(events.MaxAgeDays, events.DuplicateDays)), MaxKept: share(events.MaxEvents),
		LettersMS: days(events.LetterDays), MaxLetters: share(events.MaxLetters), Limit: forgetAtOnce,
	}
}
