package node

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Model describes a version of a plugin that scores; "" is the active version.
func (n *Node) Model(ctx context.Context, name, version string) (nba.ModelMetadata, error) {
	if err := n.serving(); err != nil {
		return nba.ModelMetadata{}, err
	}
	known, err := n.modelVersion(ctx, name, version)
	if err != nil {
		return nba.ModelMetadata{}, err
	}
	var m artifact.Manifest
	if err := json.Unmarshal(known.Manifest, &m); err != nil {
		return nba.ModelMetadata{}, fmt.Errorf("reading the manifest of %s %s: %w", known.Name, known.Version, err)
	}
	out := nba.ModelMetadata{Name: known.Name, Version: known.Version, Digest: known.Digest, Output: m.Output, Ready: n.host.Prepared(known.Digest)}
	if m.Adapter != nil {
		out.Adapter = m.Adapter.Kind
	}
	if out.Output == "" {
		out.Output = artifact.OutputProbability
	}
	for i := range m.Features {
		out.Features = append(out.Features, m.Features[i].Name)
	}
	for _, other := range n.router.Control().State().Plugins.Versions() {
		if other.Name == name && n.host.Prepared(other.Digest) {
			out.Versions = append(out.Versions, other.Version)
		}
	}
	return out, nil
}

// modelVersion is a version of a plugin that scores; "" is the active one.
func (n *Node) modelVersion(ctx context.Context, name, version string) (nba.PluginVersion, error) {
	if version == "" {
		for _, known := range n.router.Control().State().Plugins.Versions() {
			if known.Name == name && known.State == nba.StateActive {
				version = known.Version
			}
		}
	}
	if version == "" {
		return nba.PluginVersion{}, nba.Errorf(nba.CodePluginUnknown, "no version of this plugin is active: arbiter plugin list shows what there is")
	}
	known, err := n.Plugin(ctx, name, version)
	if err == nil && known.Kind != artifact.KindScorer {
		err = nba.Errorf(nba.CodeInvalid, "plugin %s is a %s: only a scorer takes rows of features", known.Name, known.Kind)
	}
	return known, err
}

// Infer has a version of a plugin score rows of features as they are, in the order of its manifest; NaN is
// missing. It is to try a model: no subject is read, and nothing is recorded. The version must be loaded
// on this node, as those are that are active, on trial, or were lately.
func (n *Node) Infer(ctx context.Context, name, version string, rows [][]float64) (nba.Inference, error) {
	if err := n.serving(); err != nil {
		return nba.Inference{}, err
	}
	known, err := n.modelVersion(ctx, name, version)
	if err != nil {
		return nba.Inference{}, err
	}
	out := nba.Inference{Name: known.Name, Version: known.Version, Scores: make([]float64, len(rows))}
	if !n.host.Prepared(known.Digest) {
		return out, nba.Errorf(nba.CodeUnavailable, "version %s of %s is not loaded on this node: versions that are active, on trial or were lately are", known.Version, known.Name)
	}
	set, err := n.host.NewSetAside(map[string]string{known.Name: known.Digest}, n.Dictionary(ctx))
	if err != nil {
		return out, err
	}
	defer set.Release()
	return out, set.Infer(ctx, known.Name, rows, out.Scores)
}
