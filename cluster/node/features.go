package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"

	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Features makes rows of features by the code that scores, so that a model can be trained on exactly
// what it will be handed. Nothing is recorded.
func (n *Node) Features(ctx context.Context, req *nba.FeatureRequest) (*nba.FeatureTable, error) {
	if err := n.serving(); err != nil {
		return nil, err
	}
	if len(req.Rows) > nba.MaxFeatureRows {
		return nil, nba.Invalid("/rows", fmt.Sprintf("one request makes at most %d rows: ask for fewer at a time", nba.MaxFeatureRows))
	}
	v := n.acquire()
	defer v.release()
	features, purpose, err := n.featuresOf(ctx, req)
	if err != nil {
		return nil, err
	}
	bound, err := serving.BindFeatures(features, purpose, v.state.Dictionary)
	if err != nil {
		return nil, err
	}
	m := &featureMaker{node: n, view: v, bound: bound, request: req, actions: map[string]*catalog.Action{}}
	if v.catalog != nil {
		for _, a := range v.catalog.Actions {
			m.actions[a.Name] = a
		}
	}
	table := &nba.FeatureTable{Names: bound.Names(), Rows: make([][]*float64, len(req.Rows))}
	for i := range req.Rows {
		if table.Rows[i], err = m.row(ctx, i); err != nil {
			return nil, err
		}
	}
	return table, nil
}

// featuresOf are the features that a request lists, or those of the plugin that it names.
func (n *Node) featuresOf(ctx context.Context, req *nba.FeatureRequest) (features []artifact.Feature, purpose string, err error) {
	switch {
	case (req.Plugin == "") == (len(req.Features) == 0):
		return nil, "", nba.Invalid("/features", "name a plugin or list features, one of the two")
	case req.Plugin == "":
		decoder := json.NewDecoder(bytes.NewReader(req.Features))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&features); err != nil || len(features) == 0 || len(features) > artifact.MaxFeatures {
			return nil, "", nba.Invalid("/features", fmt.Sprintf("features are a list of 1 to %d objects with name and recipe, as in the manifest of a plugin", artifact.MaxFeatures))
		}
		return features, req.Purpose, nil
	}
	version := req.Version
	if version == "" {
		for _, known := range n.router.Control().State().Plugins.Versions() {
			if known.Name == req.Plugin && known.State == nba.StateActive {
				version = known.Version
			}
		}
	}
	known, err := n.Plugin(ctx, req.Plugin, version)
	if err != nil {
		return nil, "", err
	}
	var m artifact.Manifest
	if err := json.Unmarshal(known.Manifest, &m); err != nil {
		return nil, "", fmt.Errorf("reading the manifest of %s %s: %w", known.Name, known.Version, err)
	}
	return m.Features, m.Purpose, nil
}

// featureMaker makes the rows of one request.
type featureMaker struct {
	node    *Node
	view    *view
	bound   *serving.Features
	request *nba.FeatureRequest
	actions map[string]*catalog.Action
}

// row makes row i where its subject is led; nil for a subject that is unknown.
func (m *featureMaker) row(ctx context.Context, i int) (row []*float64, err error) {
	r := &m.request.Rows[i]
	subject, err := r.Subject.Normalize()
	if err != nil {
		return nil, placed(i, err)
	}
	call := engine.ScoreCall{Now: m.node.clock.Now(), Contexts: r.Contexts}
	if r.At != nil {
		call.Now = *r.At
	}
	if r.Action != "" {
		action, ok := m.actions[r.Action]
		if !ok {
			return nil, placed(i, nba.Errorf(nba.CodeActionUnknown, "the active catalog has no such action"))
		}
		call.Candidates = []engine.Candidate{action}
	}
	read, err := nba.Read{}.Normalize()
	if err != nil {
		return nil, err
	}
	err = m.node.router.AtReader(ctx, router.Slot(subject), read, func() error {
		row, err = m.here(ctx, subject, read, &call)
		return err
	}, func(node string) error {
		row, err = m.node.featuresAt(ctx, node, m.request, i)
		return err
	})
	if nba.CodeOf(err) == nba.CodeSubjectUnknown {
		return nil, nil
	}
	return row, placed(i, err)
}

// here makes a row from the record on this node.
func (m *featureMaker) here(ctx context.Context, subject nba.SubjectRef, read nba.Read, call *engine.ScoreCall) ([]*float64, error) {
	reading, _, err := m.node.router.AcquireRead(ctx, subject, read)
	if err != nil {
		return nil, err
	}
	defer reading.Release()
	call.Subject, call.Mask = reading, consent.MaskAt(m.view.state.Dictionary, reading, call.Now, m.view.catalog != nil && m.view.catalog.Consent.AllowPurposes)
	values, err := m.bound.Row(call, nil)
	if err != nil {
		return nil, err
	}
	row := make([]*float64, len(values))
	for i := range values {
		if !math.IsNaN(values[i]) {
			row[i] = &values[i]
		}
	}
	return row, nil
}

// placed points an error that is for the caller at row i.
func placed(i int, err error) error {
	ours, ok := err.(*nba.Error)
	if !ok || ours.Code == nba.CodeUnavailable || ours.Code == nba.CodeTimeout {
		return err
	}
	return &nba.Error{Code: ours.Code, Message: ours.Message,
		Details: []nba.Detail{{Pointer: fmt.Sprintf("/rows/%d", i), Code: ours.Code, Detail: ours.Message}}}
}

// featuresAt has one row made by another node.
func (n *Node) featuresAt(ctx context.Context, node string, req *nba.FeatureRequest, i int) ([]*float64, error) {
	one := *req
	one.Rows = req.Rows[i : i+1]
	request, err := json.Marshal(&one)
	if err != nil {
		return nil, fmt.Errorf("asking for features: %w", err)
	}
	var p packer
	p.uint(n.router.Control().State().Index)
	p.text(string(request))
	u, err := n.ask(ctx, node, methodFeatures, p.b)
	if err != nil {
		return nil, err
	}
	var table nba.FeatureTable
	if err := json.Unmarshal([]byte(u.text()), &table); err != nil || u.bad || len(table.Rows) != 1 {
		return nil, errWire
	}
	return table.Rows[0], nil
}

// serveFeatures makes rows for another node.
func (n *Node) serveFeatures(ctx context.Context, _ string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	index, text := u.uint(), u.text()
	if err := u.err(); err != nil {
		return nil, err
	}
	if err := n.router.Control().Wait(ctx, index); err != nil {
		return nil, err
	}
	var req nba.FeatureRequest
	if err := json.Unmarshal([]byte(text), &req); err != nil {
		return nil, errWire
	}
	table, err := n.Features(ctx, &req)
	return answer(err, func(p *packer) error {
		encoded, err := json.Marshal(table)
		p.text(string(encoded))
		return err
	})
}
