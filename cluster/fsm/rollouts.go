package fsm

import (
	"fmt"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/plugins/registry"
	"github.com/arbiterhq/arbiter/plugins/rollout"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The operations on rollouts hand over to plugins/rollout, with the proposer's time. What makes a version
// active changes the registry in the same operation, so every node sees both at one index.

func (c *Control) startRollout(at At, body []byte) (Result, error) {
	var op command.StartRollout
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	version, err := c.next.Plugins.Version(op.Plugin, op.Version)
	if err != nil {
		return Result{Err: err}, nil
	}
	candidate := rollout.Candidate{Plugin: op.Plugin, Version: op.Version, Digest: version.Digest}
	if active, ok := activeVersion(c.next.Plugins, op.Plugin); ok {
		candidate.Incumbent, candidate.IncumbentDigest = active.Version, active.Digest
	}
	start := rollout.Start{ID: fmt.Sprintf("%s-%d", op.Plugin, at.Index), Candidate: candidate, Spec: op.Spec, At: atTime(at)}
	next, id, changed, err := c.next.Rollouts.Start(start)
	if err != nil {
		return Result{Err: err}, nil
	}
	c.setRollouts(next, changed)
	return Result{Value: id, Created: changed, Duplicate: !changed}, nil
}

func activeVersion(plugins *registry.State, name string) (nba.PluginVersion, bool) {
	for i := range plugins.Plugins {
		if plugins.Plugins[i].Name == name {
			return plugins.Plugins[i].Active()
		}
	}
	return nba.PluginVersion{}, false
}

func (c *Control) acknowledgeRollout(at At, body []byte) (Result, error) {
	var op command.AcknowledgeRollout
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	next, changed, err := c.next.Rollouts.Acknowledge(op.Rollout, op.Ready, c.next.Features.Members, atTime(at))
	if err != nil {
		return Result{Err: err}, nil
	}
	c.setRollouts(next, changed)
	return Result{Duplicate: !changed}, nil
}

func (c *Control) changeRollout(at At, body []byte) (Result, error) {
	var op command.ChangeRollout
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	next, effect, changed, err := c.next.Rollouts.Change(rollout.Change{
		ID: op.Rollout, Verb: op.Verb, Request: op.Request, IfRevision: op.IfRevision, Force: op.Force, Auto: op.Auto,
		Checks: op.Checks, Members: c.next.Features.Members, At: atTime(at),
	})
	if err != nil {
		return Result{Err: err}, nil
	}
	if effect.Plugin != "" {
		plugins, _, swapped, err := c.next.Plugins.Activate(effect.Plugin, effect.Version, atTime(at))
		if err != nil {
			return Result{Err: err}, nil
		}
		if swapped {
			c.next.Plugins, c.dirty[partPlugins] = plugins, true
		}
	}
	c.setRollouts(next, changed)
	return Result{Duplicate: !changed}, nil
}

func (c *Control) countRollout(at At, body []byte) (Result, error) {
	var op command.CountRollout
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	next, changed, err := c.next.Rollouts.Count(&op.Report, c.next.Features.Members, atTime(at))
	if err != nil {
		return Result{Err: err}, nil
	}
	c.setRollouts(next, changed)
	return Result{Duplicate: !changed}, nil
}

func (c *Control) setRollouts(next *rollout.State, changed bool) {
	if changed {
		c.next.Rollouts, c.dirty[partRollouts] = next, true
	}
}
