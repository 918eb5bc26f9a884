package fsm

import (
	"github.com/arbiterhq/arbiter/cluster/command"
)

// stagePlugin and activatePlugin hand the operation to the registry, with the proposer's time.

func (c *Control) stagePlugin(at At, body []byte) (Result, error) {
	var op command.StagePlugin
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	op.Plugin.PushedAt = atTime(at)
	next, record, changed, err := c.next.Plugins.Stage(op.Plugin)
	if err != nil {
		return Result{Err: err}, nil
	}
	if changed {
		c.next.Plugins, c.dirty[partPlugins] = next, true
	}
	return Result{Value: record, Created: changed, Duplicate: !changed}, nil
}

func (c *Control) activatePlugin(at At, body []byte) (Result, error) {
	var op command.ActivatePlugin
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	next, record, changed, err := c.next.Plugins.Activate(op.Name, op.Version, atTime(at))
	if err != nil {
		return Result{Err: err}, nil
	}
	if changed {
		c.next.Plugins, c.dirty[partPlugins] = next, true
		c.setRollouts(c.next.Rollouts.Activated(record.Name, record.Digest, atTime(at)))
	}
	return Result{Value: record, Created: changed, Duplicate: !changed}, nil
}
