package router

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/peer"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// replica is a group's copy on this node: a *raftgroup.Group, or a double in tests.
type replica interface {
	Submit(ctx context.Context, op raftgroup.Operation) (fsm.Result, error)
	SubmitBatch(ctx context.Context, ops [][]byte) ([]raftgroup.Answer, error)
	Propose(ctx context.Context, entry []byte) (fsm.Results, error)
	Ready() error
	Leading() bool
	Leader() (node string, ok bool)
	Confirm(ctx context.Context) error
	Age() (time.Duration, bool)
	TransferLeadership(ctx context.Context, to string) error
	Status() raftgroup.Status
}

// machine is the state of a replica.
type machine interface {
	Position() fsm.Position
	Store() *store.Store
}

// shard is one group as this node sees it: its own replica, if it keeps one, and the way to the one
// that leads.
type shard struct {
	name    string
	number  uint64                 // 0 is the control group, i+1 data group i
	placed  atomic.Pointer[placed] // nil alone
	local   replica                // nil when this node keeps none
	machine machine                // nil with local
	net     *network               // nil alone
	forward forwarder
	// hint is the node that another one named as leader last. It is asked first where there is no
	// replica that knows better, and while that has not noticed.
	hint atomic.Pointer[string]
	// gone is set when the replica here is about to be dropped.
	gone atomic.Bool
}

// placed is where a group is kept. It is immutable.
type placed struct {
	keepers   []string // the nodes that shall keep it, sorted
	preferred string   // the one that should lead it
}

// keepers are the nodes that shall keep the group, sorted; none alone. While replicas move, others may do
// so still.
func (s *shard) keepers() []string {
	if p := s.placed.Load(); p != nil {
		return p.keepers
	}
	return nil
}

// preferred is the node that should lead the group.
func (s *shard) preferred() string {
	if p := s.placed.Load(); p != nil {
		return p.preferred
	}
	return ""
}

// votes tells whether the replica here is more than one that is on its way.
func (s *shard) votes() bool {
	group, ok := s.local.(*raftgroup.Group)
	if !ok {
		return true
	}
	seats := group.Seats()
	return slices.Contains(seats.Voters, s.self())
}

// follows tells whether the replica here knows a leader that it can ask.
func (s *shard) follows() bool {
	if s.local == nil || s.gone.Load() {
		return false
	}
	_, ok := s.local.Leader()
	return ok
}

// How long a call looks for a leader when its caller sets no bound, and how often it looks.
const (
	maxLook   = 10 * time.Second
	firstLook = 2 * time.Millisecond
	longLook  = 25 * time.Millisecond
)

// submit replicates one operation, here or through the leader, and returns its answer. Where it is
// certain that nothing happened it looks for the new leader until ctx ends. again tells that the
// operation may also be repeated when that is not certain, since applying it twice changes nothing.
func (s *shard) submit(ctx context.Context, op raftgroup.Operation, again bool) (fsm.Result, error) {
	if s.net == nil {
		return s.local.Submit(ctx, op)
	}
	if s.local != nil && s.local.Leading() {
		result, err := s.local.Submit(ctx, op)
		if err == nil || !retriable(err, again) {
			return result, err
		}
	}
	encoded, err := op.Append(nil)
	if err != nil {
		return fsm.Result{}, err
	}
	var result fsm.Result
	err = s.atLeader(ctx, again, func() error {
		answers, err := s.local.SubmitBatch(ctx, [][]byte{encoded})
		if err == nil {
			result, err = answers[0].Result, answers[0].Err
		}
		return err
	}, func(node string) (err error) {
		result, err = s.forward.submit(ctx, s, node, encoded)
		return err
	})
	return result, err
}

// submitAll is submit for encoded operations, in their order, each with an answer of its own.
func (s *shard) submitAll(ctx context.Context, ops [][]byte) (answers []raftgroup.Answer, err error) {
	if s.net == nil {
		return s.local.SubmitBatch(ctx, ops)
	}
	err = s.atLeader(ctx, false, func() (err error) {
		answers, err = s.local.SubmitBatch(ctx, ops)
		return err
	}, func(node string) (err error) {
		answers, err = s.net.submit(s, node, ops)
		return err
	})
	return answers, err
}

// propose replicates a whole entry of operations, here or through the leader.
func (s *shard) propose(ctx context.Context, entry []byte) (fsm.Results, error) {
	if s.net == nil {
		return s.local.Propose(ctx, entry)
	}
	var results fsm.Results
	err := s.atLeader(ctx, false, func() (err error) {
		results, err = s.local.Propose(ctx, entry)
		return err
	}, func(node string) (err error) {
		results, err = s.net.propose(ctx, s, node, entry)
		return err
	})
	return results, err
}

// atLeader is try with the node that leads the group.
func (s *shard) atLeader(ctx context.Context, again bool, here func() error, there func(node string) error) error {
	return s.try(ctx, again, s.leader, here, there)
}

// try runs here if pick names this node, else there with the node it names. While the answer is that
// nothing happened, it waits and tries again; with again, also while that is uncertain.
func (s *shard) try(ctx context.Context, again bool, pick func() (node string, ok bool), here func() error, there func(node string) error) error {
	ctx, cancel := context.WithTimeout(ctx, maxLook)
	defer cancel()
	var last error
	for pause := firstLook; ; pause = min(2*pause, longLook) {
		node, ok := pick()
		switch {
		case !ok:
			last = s.errLeaderless()
		case node == s.self():
			last = here()
		default:
			last = there(node)
		}
		if last == nil || !retriable(last, again) {
			return s.shown(last)
		}
		if moved, ok := errors.AsType[*raftgroup.NotLeader](last); ok {
			s.learn(node, moved.Leader)
		}
		select {
		case <-ctx.Done():
			return s.settle(last)
		case <-time.After(pause):
		}
	}
}

// settle is what a caller is told when the time is over.
func (s *shard) settle(last error) error {
	if nba.CodeOf(last) == nba.CodeInternal {
		return s.errLeaderless()
	}
	return s.shown(last)
}

// shown says what became of a call to another node, without that node's address and the like.
func (s *shard) shown(err error) error {
	switch {
	case errors.Is(err, peer.ErrUncertain) && nba.CodeOf(err) == nba.CodeTimeout:
		return nba.Errorf(nba.CodeTimeout, "the deadline passed before the node that leads group %s answered; what was asked may still happen", s.name)
	case errors.Is(err, peer.ErrUncertain):
		return nba.Errorf(nba.CodeUnavailable, "the node that leads group %s was lost before it answered; what was asked may or may not have happened: read before you retry", s.name)
	case errors.Is(err, peer.ErrUnreachable):
		return nba.Errorf(nba.CodeUnavailable, "the node that leads group %s cannot be reached: retry shortly", s.name)
	}
	return err
}

func (s *shard) errLeaderless() error {
	return raftgroup.ErrNotLeader(s.name, "")
}

func (s *shard) self() string {
	if s.net == nil {
		return ""
	}
	return s.net.self
}

// leader is the node to send to; ok is false while none is known.
func (s *shard) leader() (node string, ok bool) {
	if s.net == nil {
		return "", true
	}
	if s.local != nil && !s.gone.Load() {
		if s.local.Leading() {
			return s.net.self, true
		}
		if hint := s.hint.Swap(nil); hint != nil && s.net.reachable(*hint) {
			return *hint, true // said just now, by the node that was thought to lead
		}
		node, ok = s.local.Leader()
		if ok || s.heard() {
			// A leader here that is not Leading yet has still to apply what was before.
			return node, ok && node != s.net.self
		}
		// The replica here hears nothing any more, or not yet: ask as a node without one does.
	}
	if hint := s.hint.Load(); hint != nil && s.net.reachable(*hint) {
		return *hint, true
	}
	if preferred := s.preferred(); preferred != s.net.self && s.net.reachable(preferred) {
		return preferred, true
	}
	for _, keeper := range s.keepers() {
		if keeper != s.net.self && s.net.reachable(keeper) {
			return keeper, true
		}
	}
	return "", false
}

// heard tells whether the replica here is one that learns who leads.
func (s *shard) heard() bool {
	role := s.local.Status().Role
	return role != raftgroup.RoleStopped && role != raftgroup.RoleNewborn
}

// learn takes in that asked does not lead the group, and whom it named.
func (s *shard) learn(asked, named string) {
	if s.net == nil {
		return
	}
	if keepers := s.keepers(); named == "" && len(keepers) > 0 && (s.local == nil || s.gone.Load() || !s.heard()) {
		// It does not know either: ask another one next.
		for i := range keepers {
			if node := keepers[(slices.Index(keepers, asked)+1+i)%len(keepers)]; node != s.net.self && s.net.reachable(node) {
				named = node
				break
			}
		}
	}
	if named == asked || named == s.net.self || !slices.Contains(s.net.nodes(), named) {
		return
	}
	s.hint.Store(&named)
}

// applied is the index of the last entry that the replica here applied.
func (s *shard) applied() uint64 {
	if s.machine == nil {
		return 0
	}
	return s.machine.Position().Index
}

// leads tells whether calls on this group are answered here.
func (s *shard) leads() bool {
	return s.net == nil || s.local != nil && s.local.Leading() && !s.gone.Load()
}

// retriable tells whether an operation may be tried again after this error.
func retriable(err error, again bool) bool {
	if _, ok := errors.AsType[*raftgroup.NotLeader](err); ok {
		return true
	}
	if errors.Is(err, peer.ErrUnreachable) && !errors.Is(err, peer.ErrUncertain) {
		return true
	}
	return again && nba.CodeOf(err) == nba.CodeUnavailable
}
