package node

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// PushPlugin admits an artifact, keeps its bytes, and stages it; it activates it if told. Pushing the
// same bytes again changes nothing.
func (n *Node) PushPlugin(ctx context.Context, module []byte, activate bool) (nba.PluginVersion, error) {
	if err := n.serving(); err != nil {
		return nba.PluginVersion{}, err
	}
	staged, err := n.examine(ctx, module)
	if err != nil {
		return nba.PluginVersion{}, err
	}
	if err := n.stage(ctx, staged, module); err != nil {
		return nba.PluginVersion{}, err
	}
	if activate {
		return n.ActivatePlugin(ctx, staged.Name, staged.Version)
	}
	return n.Plugin(ctx, staged.Name, staged.Version)
}

// examine runs everything that an artifact must pass before it may be staged, and describes it.
func (n *Node) examine(ctx context.Context, module []byte) (staged nba.PluginVersion, err error) {
	if len(module) > n.cfg.MaxModuleBytes {
		return staged, nba.Errorf(nba.CodeTooLarge, "the artifact has more than %d bytes", n.cfg.MaxModuleBytes)
	}
	signedBy, err := n.accept(module)
	if err != nil {
		return staged, err
	}
	digest := artifact.Digest(module)
	if err := n.host.Prepare(ctx, digest, module); err != nil {
		return staged, err
	}
	manifest, err := artifact.Parse(module)
	if err != nil {
		return staged, err
	}
	if err := serving.CheckBinding(manifest, n.Dictionary(ctx)); err != nil {
		return staged, err
	}
	if err := n.checkNames(manifest); err != nil {
		return staged, err
	}
	described, err := json.Marshal(manifest)
	if err != nil {
		return staged, fmt.Errorf("describing module %s: %w", digest, err)
	}
	return nba.PluginVersion{
		Name: manifest.Name, Version: manifest.Version, Kind: manifest.Kind, Digest: digest, SignedBy: signedBy,
		SizeBytes: len(module), Features: len(manifest.Features), State: nba.StateStaged, Manifest: described,
	}, nil
}

// stage keeps an artifact on a majority of the nodes and its description in the log.
func (n *Node) stage(ctx context.Context, staged nba.PluginVersion, module []byte) error {
	n.collector.pushing.RLock() // what is kept and not staged yet is not to be collected
	defer n.collector.pushing.RUnlock()
	if err := n.router.Blobs().Put(staged.Digest, module); err != nil {
		return fmt.Errorf("keeping module %s: %w", staged.Digest, err)
	}
	if err := n.spread(ctx, staged.Digest); err != nil {
		return err
	}
	return n.router.Control().StagePlugin(ctx, staged)
}

// checkNames holds what a manifest reads besides attributes against the active catalog, once there is one.
func (n *Node) checkNames(manifest *artifact.Manifest) error {
	v := n.acquire()
	defer v.release()
	if v.catalog == nil {
		return nil
	}
	return serving.CheckNames(manifest, serving.Names{
		Properties: v.catalog.PropertyNames(), Actions: v.catalog.ActionNames(), Channels: v.catalog.ChannelNames(),
		EventStrategies: v.catalog.EventStrategyNames()})
}

// Plugins lists all versions of all plugins.
func (n *Node) Plugins(ctx context.Context) ([]nba.PluginVersion, error) {
	n.catchUp(ctx)
	return n.withHealth(n.router.Control().State().Plugins.Versions()), nil
}

// Plugin reads one version.
func (n *Node) Plugin(ctx context.Context, name, version string) (nba.PluginVersion, error) {
	n.catchUp(ctx)
	known, err := n.router.Control().State().Plugins.Version(name, version)
	if err != nil {
		return known, err
	}
	return n.withHealth([]nba.PluginVersion{known})[0], nil
}

// ActivatePlugin makes a version the active one of its plugin. The version is loaded before the
// entry that activates it is proposed, so that applying it is the swap of a pointer.
func (n *Node) ActivatePlugin(ctx context.Context, name, version string) (nba.PluginVersion, error) {
	if err := n.serving(); err != nil {
		return nba.PluginVersion{}, err
	}
	known, err := n.Plugin(ctx, name, version)
	if err != nil {
		return nba.PluginVersion{}, err
	}
	if err := n.load(ctx, known.Digest); err != nil {
		return nba.PluginVersion{}, err
	}
	if err := n.acceptStored(known.Digest); err != nil {
		return nba.PluginVersion{}, err
	}
	if err := n.prepareOthers(ctx, preparation{digest: known.Digest}); err != nil {
		return nba.PluginVersion{}, err
	}
	if err := n.router.Control().ActivatePlugin(ctx, name, version); err != nil {
		return nba.PluginVersion{}, err
	}
	n.settle(ctx)
	n.metrics.activations.Inc()
	return n.Plugin(ctx, name, version)
}

// load prepares a module for serving, which it fetches from another node if it is not here.
func (n *Node) load(ctx context.Context, digest string) error {
	if n.host.Prepared(digest) {
		return nil
	}
	if err := n.router.Fetch(ctx, digest, ""); err != nil {
		return err
	}
	module, err := n.router.Blobs().Get(digest)
	if err != nil {
		return fmt.Errorf("reading module %s: %w", digest, err)
	}
	return n.host.Prepare(ctx, digest, module)
}
