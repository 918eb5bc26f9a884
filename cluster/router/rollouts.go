package router

import (
	"context"
	"fmt"
	"slices"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/plugins/rollout"
)

// Member is the name of this node among the members of the cluster, also of one that stands alone.
func (r *Router) Member() string {
	if r.net == nil {
		return aloneID
	}
	return r.net.self
}

// Prefers tells whether this node is the one that should lead the group of a slot, whether it does or not.
func (r *Router) Prefers(slot int) bool {
	return r.net == nil || r.bySlot(slot).preferred() == r.net.self
}

// Leads tells whether this node leads the control group now.
func (c *Control) Leads() bool { return c.leads() }

// StartRollout begins to roll a version out, and returns the id of the rollout. Asking for the one that is
// under way gives its id.
func (c *Control) StartRollout(ctx context.Context, op *command.StartRollout) (id string, err error) {
	if err := c.rollOut(ctx, command.RolloutStarted, op); err != nil {
		return "", err
	}
	if err := c.Sync(ctx); err != nil {
		return "", err
	}
	for _, r := range slices.Backward(c.State().Rollouts.Rollouts) { // it may be over by now
		if r.Plugin == op.Plugin && r.Version == op.Version {
			return r.ID, nil
		}
	}
	return "", fmt.Errorf("the rollout of plugin %s is forgotten already", op.Plugin)
}

// AcknowledgeRollout tells whether a node has the version of a rollout ready.
func (c *Control) AcknowledgeRollout(ctx context.Context, id string, ready rollout.NodeReady) error {
	return c.rollOut(ctx, command.RolloutAcknowledged, &command.AcknowledgeRollout{Rollout: id, Ready: ready})
}

// ChangeRollout changes a rollout. The Request of op makes repeating it harmless.
func (c *Control) ChangeRollout(ctx context.Context, op *command.ChangeRollout) error {
	return c.rollOut(ctx, command.RolloutChanged, op)
}

// CountRollout adds what a node counted. The sequence of the report makes repeating it harmless.
func (c *Control) CountRollout(ctx context.Context, report *rollout.Report) error {
	return c.rollOut(ctx, command.RolloutCounted, &command.CountRollout{Report: *report})
}

func (c *Control) rollOut(ctx context.Context, kind command.Kind, op raftgroup.Operation) error {
	if err := c.State().Features.Allows(kind, 1); err != nil {
		return err
	}
	_, err := c.submit(ctx, op, true)
	return err
}
