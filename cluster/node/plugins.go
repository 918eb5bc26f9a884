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
	if len(module) > n.cfg.MaxModuleBytes {
		return nba.PluginVersion{}, nba.Errorf(nba.CodeTooLarge, "the artifact has more than %d bytes", n.cfg.MaxModuleBytes)
	}
	digest := artifact.Digest(module)
	if err := n.host.Prepare(ctx, digest, module); err != nil {
		return nba.PluginVersion{}, err
	}
	manifest, err := artifact.Parse(module)
	if err != nil {
		return nba.PluginVersion{}, err
	}
	if err := serving.CheckBinding(manifest, n.Dictionary(ctx)); err != nil {
		return nba.PluginVersion{}, err
	}
	if err := n.checkNames(manifest); err != nil {
		return nba.PluginVersion{}, err
	}
	if err := n.router.Blobs().Put(digest, module); err != nil {
		return nba.PluginVersion{}, fmt.Errorf("keeping module %s: %w", digest, err)
	}
	if err := n.spread(ctx, digest); err != nil {
		return nba.PluginVersion{}, err
	}
	described, err := json.Marshal(manifest)
	if err != nil {
		return nba.PluginVersion{}, fmt.Errorf("describing module %s: %w", digest, err)
	}
	staged := nba.PluginVersion{
		Name: manifest.Name, Version: manifest.Version, Kind: manifest.Kind, Digest: digest,
		SizeBytes: len(module), Features: len(manifest.Features), Manifest: described,
	}
	if err := n.router.Control().StagePlugin(ctx, staged); err != nil {
		return nba.PluginVersion{}, err
	}
	if activate {
		return n.ActivatePlugin(ctx, manifest.Name, manifest.Version)
	}
	return n.Plugin(ctx, manifest.Name, manifest.Version)
}

// checkNames holds what a manifest reads besides attributes against the active catalog, once there is one.
func (n *Node) checkNames(manifest *artifact.Manifest) error {
	v := n.acquire()
	defer v.release()
	if v.catalog == nil {
		return nil
	}
	return serving.CheckNames(manifest, serving.Names{
		Properties: v.catalog.PropertyNames(), Actions: v.catalog.ActionNames(), Channels: v.catalog.ChannelNames()})
}

// Plugins lists all versions of all plugins.
func (n *Node) Plugins(ctx context.Context) ([]nba.PluginVersion, error) {
	n.catchUp(ctx)
	return n.router.Control().State().Plugins.Versions(), nil
}

// Plugin reads one version.
func (n *Node) Plugin(ctx context.Context, name, version string) (nba.PluginVersion, error) {
	n.catchUp(ctx)
	return n.router.Control().State().Plugins.Version(name, version)
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
