package router

import (
	"context"
	"errors"
	"fmt"

	"github.com/arbiterhq/arbiter/cluster/blob"
	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Control gives the control group a typed face. It is safe for concurrent use. Each write returns
// after its state is durable, in State, and announced to OnControl.
type Control struct {
	machine *fsm.Control
	group   *raftgroup.Group
	state   *raftgroup.State
	blobs   *blob.Store
}

func (r *Router) openControl() (*Control, error) {
	dir := r.folder.Control()
	options := r.options.Store
	options.Sync = true
	state, err := raftgroup.OpenState(dir, r.options.BootIDPath, options, r.options.Logger)
	if err != nil {
		return nil, fmt.Errorf("group control: %w", err)
	}
	c := &Control{state: state, blobs: r.blobs}
	if c.machine, err = fsm.NewControl(state.Store, r.options.OnControl); err == nil {
		config := r.groupConfig("control", dir)
		config.Options.MaxEntryOps = 1 // the index of the entry is the version of what it stores
		c.group, err = raftgroup.Open(config, c.machine)
	}
	if err != nil {
		return nil, errors.Join(err, state.Close())
	}
	return c, nil
}

// State is what is agreed on now. It is immutable.
func (c *Control) State() *fsm.ControlState { return c.machine.State() }

// Document is the text of a stored catalog document; ok is false if there is none of this version.
func (c *Control) Document(version uint64) (document []byte, ok bool, err error) {
	document, ok, err = c.machine.Document(version)
	if err != nil {
		err = storeError(err)
	}
	return document, ok, err
}

// DeclareAttributes adds attributes to the dictionary. Those that are there already, with the same
// type and purposes, change nothing.
func (c *Control) DeclareAttributes(ctx context.Context, attributes []nba.AttributeDeclaration) error {
	_, err := c.group.Submit(ctx, &command.DeclareAttributes{Attributes: attributes})
	return err
}

// StoreCatalog stores a validated document, staged, and returns its version. ifHead, if not nil, must
// be the version of the newest document, 0 for none; otherwise the error has CodePrecondition. A
// document equal to the newest is not stored again.
func (c *Control) StoreCatalog(ctx context.Context, name, digest string, document []byte, ifHead *uint64) (version uint64, err error) {
	result, err := c.group.Submit(ctx, &command.StoreCatalog{Name: name, Digest: digest, Document: document, IfHead: ifHead})
	return result.Version, err
}

// ActivateCatalog makes a stored document the active one and returns its catalogVersion. One that is
// active stays as it is. An unknown version is an *nba.Error with CodeCatalogUnknown.
func (c *Control) ActivateCatalog(ctx context.Context, version uint64) (catalogVersion uint64, err error) {
	result, err := c.group.Submit(ctx, &command.ActivateCatalog{Version: version})
	return result.Version, err
}

// StagePlugin stores the description of an admitted plugin version, staged; when it was pushed is
// filled in. Its module must be in the blobs. The same artifact again changes nothing; another one
// under the same name and version is an *nba.Error with CodeConflict.
func (c *Control) StagePlugin(ctx context.Context, plugin nba.PluginVersion) error {
	if !c.blobs.Has(plugin.Digest) {
		return fmt.Errorf("staging plugin %s: its module is not in the blobs", plugin.Name)
	}
	_, err := c.group.Submit(ctx, &command.StagePlugin{Plugin: plugin})
	return err
}

// ActivatePlugin makes a version the active one of its plugin. One that is active stays as it is.
func (c *Control) ActivatePlugin(ctx context.Context, name, version string) error {
	_, err := c.group.Submit(ctx, &command.ActivatePlugin{Name: name, Version: version})
	return err
}
