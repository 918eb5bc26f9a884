package router

import (
	"context"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TrustKey adds a key whose signatures of artifacts are trusted. One that is there stays as it is.
func (c *Control) TrustKey(ctx context.Context, key nba.PluginKey) error {
	if err := c.State().Features.Allows(command.SignerTrusted, 1); err != nil {
		return err
	}
	_, err := c.submit(ctx, &command.TrustKey{Key: key}, true)
	return err
}

// DistrustKey removes a trusted key by its id or name.
func (c *Control) DistrustKey(ctx context.Context, key string) error {
	if err := c.State().Features.Allows(command.SignerDistrusted, 1); err != nil {
		return err
	}
	_, err := c.submit(ctx, &command.DistrustKey{Key: key}, false)
	return err
}

// RemovePlugin forgets a version of a plugin, or all of them for version "". What is active, or part of a
// rollout, is an *nba.Error with CodeConflict.
func (c *Control) RemovePlugin(ctx context.Context, name, version string) error {
	if err := c.State().Features.Allows(command.PluginRemoved, 1); err != nil {
		return err
	}
	_, err := c.submit(ctx, &command.RemovePlugin{Name: name, Version: version}, false)
	return err
}

// DeactivatePlugin retires the active version of a plugin.
func (c *Control) DeactivatePlugin(ctx context.Context, name string) error {
	if err := c.State().Features.Allows(command.PluginDeactivated, 1); err != nil {
		return err
	}
	_, err := c.submit(ctx, &command.DeactivatePlugin{Name: name}, true)
	return err
}
