package api

import (
	"context"
	"fmt"

	"github.com/arbiterhq/arbiter/plugins/rollout"
)

// The rollouts of memCore are those of the real state machine, of a cluster of one node.

func (m *memCore) StartRollout(ctx context.Context, req rollout.Request) (rollout.View, error) {
	known, err := m.Plugin(ctx, req.Plugin, req.Version)
	if err != nil {
		return rollout.View{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index++
	if m.rollouts == nil {
		m.rollouts = &rollout.State{}
	}
	next, id, _, err := m.rollouts.Start(rollout.Start{ID: fmt.Sprintf("%s-%d", req.Plugin, m.index), Spec: req.Spec, At: memTime,
		Candidate: rollout.Candidate{Plugin: req.Plugin, Version: req.Version, Digest: known.Digest, Incumbent: "0.9.0", IncumbentDigest: "sha256:" + fmt.Sprintf("%064d", 9)}})
	if err != nil {
		return rollout.View{}, err
	}
	if m.rollouts, _, err = next.Acknowledge(id, rollout.NodeReady{Node: "n1"}, []string{"n1"}, memTime); err != nil {
		return rollout.View{}, err
	}
	return m.seeRollout(id)
}

func (m *memCore) seeRollout(id string) (rollout.View, error) {
	if m.rollouts == nil {
		m.rollouts = &rollout.State{}
	}
	r, err := m.rollouts.Find(id)
	if err != nil {
		return rollout.View{}, err
	}
	return rollout.See(r, []string{"n1"}), nil
}

func (m *memCore) Rollouts(context.Context) ([]rollout.View, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	views := []rollout.View{}
	if m.rollouts != nil {
		for i := range m.rollouts.Rollouts {
			views = append(views, rollout.See(&m.rollouts.Rollouts[i], []string{"n1"}))
		}
	}
	return views, nil
}

func (m *memCore) Rollout(_ context.Context, id string) (rollout.View, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.seeRollout(id)
}

func (m *memCore) ChangeRollout(_ context.Context, id string, verb rollout.Verb, force bool) (rollout.View, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.seeRollout(id); err != nil {
		return rollout.View{}, err
	}
	next, _, _, err := m.rollouts.Change(rollout.Change{ID: id, Verb: verb, Force: force, Members: []string{"n1"}, At: memTime})
	if err != nil {
		return rollout.View{}, err
	}
	m.rollouts = next
	return m.seeRollout(id)
}
