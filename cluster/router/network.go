package router

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/peer"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// remote reaches the other nodes: a *peer.Port, or a double in tests.
type remote interface {
	Call(ctx context.Context, node string, method Method, request []byte) ([]byte, error)
	Alive(node string) bool
}

// callTimeout bounds one message to another node and its answer, where the caller sets no bound.
const callTimeout = 5 * time.Second

// network is the other nodes as a router sees them.
type network struct {
	self   string
	known  atomic.Pointer[[]string] // see nodes
	remote remote
	// waitControl waits until the control state here is as new as the index.
	waitControl func(ctx context.Context, index uint64) error

	ctx     context.Context //nolint:containedctx // ends with the router; parent of what outlives its callers
	cancel  context.CancelFunc
	mu      sync.Mutex
	closing bool
	work    sync.WaitGroup // guarded by mu for Add
	leaving map[string]time.Time
}

func newNetwork(self string, nodes []string, remote remote) *network {
	n := &network{self: self, remote: remote, leaving: map[string]time.Time{}}
	n.known.Store(&nodes)
	n.ctx, n.cancel = context.WithCancel(context.Background())
	return n
}

// nodes are all nodes of the cluster as far as this one knows, itself too, sorted.
func (n *network) nodes() []string { return *n.known.Load() }

// begin counts a goroutine that close waits for; false means that the router ends.
func (n *network) begin() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closing {
		n.work.Add(1)
	}
	return !n.closing
}

func (n *network) end() { n.work.Done() }

// close ends what is under way to other nodes and waits for it.
func (n *network) close() {
	n.mu.Lock()
	n.closing = true
	n.mu.Unlock()
	n.cancel()
	n.work.Wait()
}

func errClosing() error {
	return nba.Errorf(nba.CodeUnavailable, "the node is shutting down: nothing was written")
}

// reachable tells whether a node answers, as far as is known.
func (n *network) reachable(node string) bool { return node == n.self || n.remote.Alive(node) }

// submit sends operations of one group to the node that leads it.
func (n *network) submit(s *shard, node string, ops [][]byte) ([]raftgroup.Answer, error) {
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	answers, err := n.answers(ctx, s, node, MethodSubmit, appendSubmit(nil, s.number, ops), len(ops))
	if err == nil || n.ctx.Err() == nil {
		return answers, err
	}
	// It was not the caller's deadline that passed: whoever moved the call here asks another node.
	if errors.Is(err, peer.ErrUncertain) {
		return nil, nba.Errorf(nba.CodeUnavailable, "the node is shutting down: the write may still happen (%w)", peer.ErrUncertain)
	}
	return nil, errClosing()
}

// propose sends a whole entry to the node that leads the group.
func (n *network) propose(ctx context.Context, s *shard, node string, entry []byte) (fsm.Results, error) {
	answers, err := n.answers(ctx, s, node, MethodPropose, appendPropose(nil, s.number, entry), -1)
	if err != nil {
		return nil, err
	}
	results := make(fsm.Results, len(answers))
	for i := range answers {
		results[i] = answers[i].Result
		if answers[i].Err != nil {
			results[i].Err = answers[i].Err
		}
	}
	return results, nil
}

func (n *network) answers(ctx context.Context, s *shard, node string, method Method, request []byte, ops int) ([]raftgroup.Answer, error) {
	reply, err := n.remote.Call(ctx, node, method, request)
	if err != nil {
		return nil, err
	}
	answers, applied, err := parseAnswers(reply, s.name, ops)
	if err == nil && s.number == controlGroup {
		err = n.waitControl(ctx, applied) // a write returns once its caller can see it
	}
	if errors.Is(err, errWire) {
		return nil, fmt.Errorf("node %s: %w", node, err)
	}
	return answers, err
}

// others are the nodes that answer, without this one.
func (n *network) others() []string {
	return slices.DeleteFunc(slices.Clone(n.nodes()), func(node string) bool { return node == n.self || !n.remote.Alive(node) })
}
