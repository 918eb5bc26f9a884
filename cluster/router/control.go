package router

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/arbiterhq/arbiter/cluster/blob"
	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/membership"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Control gives the control group a typed face. It is safe for concurrent use. Each write returns
// after its state is durable, in State, and announced to OnControl.
type Control struct {
	shard
	machine *fsm.Control
	group   *raftgroup.Group
	state   *raftgroup.State
	blobs   *blob.Store

	mu        sync.Mutex
	announced uint64        // index of the last state that OnControl was called with; guarded by mu
	news      chan struct{} // closed at the next; guarded by mu
}

func (r *Router) openControl() (*Control, error) {
	dir := r.folder.Control()
	state, err := raftgroup.OpenState(dir, r.options.Store, r.options.Logger)
	if err != nil {
		return nil, fmt.Errorf("group control: %w", err)
	}
	c := &Control{shard: shard{name: "control", number: controlGroup, net: r.net}, state: state, blobs: r.blobs, news: make(chan struct{})}
	var seats membership.Seats
	if r.net != nil { // decisions on every node depend on it
		seats = foundingVoters(r.folder.Node().Nodes)
		c.placed.Store(&placed{keepers: r.net.nodes(), preferred: seats.Voters[0]})
		r.net.waitControl = c.Wait
	}
	if c.machine, err = fsm.NewControl(state.Store, func(state *fsm.ControlState) { c.announce(state, r.options.OnControl) }); err == nil {
		c.announced = c.machine.Position().Index
		config := r.groupConfig(&c.shard, dir)
		config.Voters, config.Followers, config.Join = seats.Voters, seats.Followers, r.folder.Node().Joined
		config.Options.MaxEntryOps = 1 // the index of the entry is the version of what it stores
		c.group, err = raftgroup.Open(config, c.machine)
	}
	if err != nil {
		return nil, errors.Join(err, state.Close())
	}
	c.local, c.shard.machine = c.group, c.machine
	return c, nil
}

// announce tells a new state, and then those who wait for it.
func (c *Control) announce(state *fsm.ControlState, tell func(*fsm.ControlState)) {
	if tell != nil {
		tell(state)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.announced = state.Index
	close(c.news)
	c.news = make(chan struct{})
}

// Wait waits until the state here was announced up to an index of the control log.
func (c *Control) Wait(ctx context.Context, index uint64) error {
	for {
		c.mu.Lock()
		announced, news := c.announced, c.news
		c.mu.Unlock()
		if announced >= index {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nba.Errorf(nba.CodeUnavailable, "this node is behind the others and has not caught up in time: retry shortly (%w)", ctx.Err())
		}
	}
}

// State is what is agreed on now. It is immutable.
func (c *Control) State() *fsm.ControlState { return c.machine.State() }

// Sync makes the state here as new as anything that was acknowledged before the call.
func (c *Control) Sync(ctx context.Context) error {
	if c.net == nil {
		return nil
	}
	if err := c.local.Confirm(ctx); err != nil {
		return err
	}
	return c.Wait(ctx, c.machine.Position().Index)
}

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
	_, err := c.submit(ctx, &command.DeclareAttributes{Attributes: attributes}, true)
	return err
}

// StoreCatalog stores a validated document, staged, and returns its version. ifHead, if not nil, must
// be the version of the newest document, 0 for none; otherwise the error has CodePrecondition. A
// document equal to the newest is not stored again.
func (c *Control) StoreCatalog(ctx context.Context, name, digest string, document []byte, ifHead *uint64) (version uint64, err error) {
	result, err := c.submit(ctx, &command.StoreCatalog{Name: name, Digest: digest, Document: document, IfHead: ifHead}, ifHead == nil)
	return result.Version, err
}

// ActivateCatalog makes a stored document the active one and returns its catalogVersion. One that is
// active stays as it is. An unknown version is an *nba.Error with CodeCatalogUnknown.
// The note is kept with the activation once every node knows of notes.
func (c *Control) ActivateCatalog(ctx context.Context, version uint64, note string) (catalogVersion uint64, err error) {
	op := &command.ActivateCatalog{Version: version}
	if c.State().Features.Allows(command.CatalogActivated, 2) == nil {
		op.Note, op.Dated = note, true
	}
	result, err := c.submit(ctx, op, true)
	return result.Version, err
}

// StagePlugin stores the description of an admitted plugin version, staged; when it was pushed is
// filled in. Its module must be in the blobs. The same artifact again changes nothing; another one
// under the same name and version is an *nba.Error with CodeConflict.
func (c *Control) StagePlugin(ctx context.Context, plugin nba.PluginVersion) error {
	if !c.blobs.Has(plugin.Digest) {
		return fmt.Errorf("staging plugin %s: its module is not in the blobs", plugin.Name)
	}
	_, err := c.submit(ctx, &command.StagePlugin{Plugin: plugin}, true)
	return err
}

// ActivatePlugin makes a version the active one of its plugin. One that is active stays as it is.
func (c *Control) ActivatePlugin(ctx context.Context, name, version string) error {
	_, err := c.submit(ctx, &command.ActivatePlugin{Name: name, Version: version}, true)
	return err
}
