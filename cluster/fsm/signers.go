package fsm

import (
	"github.com/arbiterhq/arbiter/cluster/command"
)

// trustKey, distrustKey, removePlugin and deactivatePlugin hand the operation to the registry.

func (c *Control) trustKey(at At, body []byte) (Result, error) {
	var op command.TrustKey
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	next, record, changed, err := c.next.Signers.Trust(op.Key, atTime(at))
	if err != nil {
		return Result{Err: err}, nil
	}
	if changed {
		c.next.Signers, c.dirty[partSigners] = next, true
	}
	return Result{Value: record, Created: changed, Duplicate: !changed}, nil
}

func (c *Control) distrustKey(body []byte) (Result, error) {
	var op command.DistrustKey
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	next, err := c.next.Signers.Distrust(op.Key)
	if err != nil {
		return Result{Err: err}, nil
	}
	c.next.Signers, c.dirty[partSigners] = next, true
	return Result{}, nil
}

func (c *Control) removePlugin(body []byte) (Result, error) {
	var op command.RemovePlugin
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	next, removed, err := c.next.Plugins.Remove(op.Name, op.Version, c.next.Rollouts.Uses)
	if err != nil {
		return Result{Err: err}, nil
	}
	c.next.Plugins, c.dirty[partPlugins] = next, true
	return Result{Value: removed}, nil
}

func (c *Control) deactivatePlugin(at At, body []byte) (Result, error) {
	var op command.DeactivatePlugin
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	next, changed, err := c.next.Plugins.Deactivate(op.Name)
	if err != nil {
		return Result{Err: err}, nil
	}
	if changed {
		c.next.Plugins, c.dirty[partPlugins] = next, true
		c.setRollouts(c.next.Rollouts.Activated(op.Name, "", atTime(at)))
	}
	return Result{Duplicate: !changed}, nil
}
