package router

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"time"
)

// Every group has a node that should lead it, so that the leaders are spread evenly. After that node
// was away another one leads; the balancer there gives the group back once the node has been in touch
// for a while.
const (
	balanceEvery = time.Second
	// steadyFor is how long a node must have answered before groups are given to it.
	steadyFor = 3 * time.Second
	// leavingFor is how long a node that said that it is leaving is given nothing.
	leavingFor = 30 * time.Second
	// transferTimeout bounds one transfer.
	transferTimeout = 2 * time.Second
)

// balance runs until the router closes.
func (r *Router) balance() {
	defer r.net.end()
	ticker := time.NewTicker(balanceEvery)
	defer ticker.Stop()
	since := map[string]time.Time{} // since when each node has answered
	for {
		select {
		case <-r.net.ctx.Done():
			return
		case now := <-ticker.C:
			for _, node := range r.net.nodes() {
				switch _, known := since[node]; {
				case !r.net.reachable(node):
					delete(since, node)
				case !known:
					since[node] = now
				}
			}
			if r.handingOver.Load() {
				r.handOverAll(r.net.ctx) // what was taken since
			} else {
				r.giveBack(now, since)
			}
		}
	}
}

// giveBack transfers at most one group, so that a wave of transfers never stops all of them at once.
func (r *Router) giveBack(now time.Time, since map[string]time.Time) {
	for _, s := range r.shards() {
		if s.local == nil || !s.local.Leading() || s.preferred() == r.net.self {
			continue
		}
		if from, ok := since[s.preferred()]; !ok || now.Sub(from) < steadyFor || r.net.isLeaving(s.preferred()) {
			continue
		}
		err := r.askReady(s.preferred())
		if err == nil {
			err = r.transfer(r.net.ctx, s, s.preferred())
		}
		if err != nil {
			r.options.Logger.Debug("giving a group back", "group", s.name, "to", s.preferred(), "error", err)
			continue
		}
		return
	}
}

// askReady is nil when a node can serve everything: it has caught up, and loaded what it needs.
func (r *Router) askReady(node string) error {
	ctx, cancel := context.WithTimeout(r.net.ctx, transferTimeout)
	defer cancel()
	_, err := r.net.remote.Call(ctx, node, MethodReady, nil)
	return err
}

func (r *Router) transfer(ctx context.Context, s *shard, to string) error {
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	return s.local.TransferLeadership(ctx, to)
}

func (n *network) isLeaving(node string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	said, ok := n.leaving[node]
	return ok && time.Since(said) < leavingFor
}

// cameBack forgets that a node was leaving.
func (n *network) cameBack(node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.leaving, node)
}

// HandOver gives the groups this node leads to others, and returns when that is done or ctx ended.
// What it cannot give, since nobody else is up to date, it keeps.
func (r *Router) HandOver(ctx context.Context) {
	if r.net == nil {
		return
	}
	r.handingOver.Store(true)
	r.tellOthers(ctx, MethodLeaving, nil)
	r.handOverAll(ctx)
}

func (r *Router) handOverAll(ctx context.Context) {
	var transfers sync.WaitGroup
	for _, s := range r.shards() {
		if s.local != nil {
			transfers.Go(func() { r.handOver(ctx, s) })
		}
	}
	transfers.Wait()
}

// handOver tries until another node leads the group, nobody is there who could, or ctx ended.
func (r *Router) handOver(ctx context.Context, s *shard) {
	for pause := firstLook; s.local.Leading() && ctx.Err() == nil; pause = min(2*pause, longLook) {
		heirs := r.heirs(s)
		if len(heirs) == 0 {
			return
		}
		for _, to := range heirs {
			err := r.transfer(ctx, s, to)
			if err == nil || !s.local.Leading() {
				break
			}
			r.options.Logger.Info("handing a group over", "group", s.name, "to", to, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// heirs are the nodes that may lead a group instead of this one, those that lead less first by chance
// of the group's number.
func (r *Router) heirs(s *shard) []string {
	heirs := slices.DeleteFunc(slices.Clone(s.keepers()), func(node string) bool {
		return node == r.net.self || !r.net.reachable(node) || r.net.isLeaving(node)
	})
	if len(heirs) > 1 && s.number%2 == 1 {
		slices.Reverse(heirs)
	}
	return heirs
}

// tellOthers sends one message to all other nodes and waits for their answers, whatever they are.
func (r *Router) tellOthers(ctx context.Context, method Method, message []byte) {
	ctx, cancel := context.WithTimeout(ctx, transferTimeout)
	defer cancel()
	var calls sync.WaitGroup
	for _, node := range r.net.others() {
		calls.Go(func() {
			if _, err := r.net.remote.Call(ctx, node, method, message); err != nil {
				r.options.Logger.Debug("telling a node", "node", node, "error", err)
			}
		})
	}
	calls.Wait()
}

// SettleControl waits until the other nodes that answer have applied the control log up to an index, or
// ctx ended.
func (r *Router) SettleControl(ctx context.Context, index uint64) {
	if r.net != nil {
		r.tellOthers(ctx, MethodControl, binary.AppendUvarint(nil, index))
	}
}
