package router

import (
	"context"
	"errors"
	"time"

	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// errTooOld is wrapped by the refusal of a stale read.
var errTooOld = errors.New("the replica is too old")

// readable is nil when the replica here leads the group and has applied what was before.
func (s *shard) readable() error {
	if s.local != nil && s.local.Leading() {
		return nil
	}
	if s.net == nil {
		return s.local.Ready()
	}
	node, _ := s.leader()
	return raftgroup.ErrNotLeader(s.name, node)
}

// current is nil when the replica here may answer read, and tells how old its state may be.
func (s *shard) current(ctx context.Context, read nba.Read) (age time.Duration, err error) {
	switch {
	case s.local == nil:
		return 0, s.readable()
	case read.Consistency == nba.ConsistencyStale && s.net != nil:
		age, known := s.local.Age()
		switch {
		case !known:
			return 0, nba.Errorf(nba.CodeUnavailable, "the replica here has not heard from its leader yet: retry shortly (%w)", errTooOld)
		case age > read.MaxAge:
			return age, nba.Errorf(nba.CodeUnavailable, "the replica here may be older than maxAge allows: retry shortly, or allow more (%w)", errTooOld)
		}
		return age, nil
	case read.Consistency == nba.ConsistencyLinearizable && s.net != nil:
		return 0, s.local.Confirm(ctx)
	default:
		return 0, s.readable()
	}
}

// AtReader has a read answered: here, which uses AcquireRead or History, or there by the node named.
// It waits out an election. read is normalized.
func (r *Router) AtReader(ctx context.Context, slot int, read nba.Read, here func() error, there func(node string) error) error {
	s := &r.bySlot(slot).shard
	switch {
	case s.net == nil:
		return here()
	case read.Consistency == nba.ConsistencyStale:
		return s.atKeeper(here, there)
	case read.Consistency == nba.ConsistencyLinearizable && s.follows():
		return s.try(ctx, true, func() (string, bool) { return s.net.self, true }, here, there)
	default:
		return s.try(ctx, true, s.leader, here, there)
	}
}

// AtLeader has a call answered by the node that leads the group of a slot: here if it is this one, else
// there. It waits out an election, and tries again when the leader was lost on the way: the call must
// be one that may be repeated.
func (r *Router) AtLeader(ctx context.Context, slot int, here func() error, there func(node string) error) error {
	s := &r.bySlot(slot).shard
	if s.net == nil {
		return here()
	}
	return s.try(ctx, true, s.leader, here, there)
}

// Keeps tells whether this node has a replica of the group of a slot.
func (r *Router) Keeps(slot int) bool { return r.bySlot(slot).local != nil }

// Leads tells whether this node leads the group of a slot.
func (r *Router) Leads(slot int) bool { return r.bySlot(slot).leads() }

// atKeeper asks the replica here, and then the others as long as they are too old.
func (s *shard) atKeeper(here func() error, there func(node string) error) error {
	err := here()
	for _, node := range s.keepers() {
		old := errors.Is(err, errTooOld)
		if _, moved := errors.AsType[*raftgroup.NotLeader](err); !old && !moved {
			return err
		}
		if node == s.net.self || !s.net.reachable(node) {
			continue
		}
		if other := there(node); other == nil || nba.CodeOf(other) != nba.CodeUnavailable {
			return other
		}
	}
	return err
}
