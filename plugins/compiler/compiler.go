// Package compiler turns a trained model file into a plugin artifact: a WebAssembly module with its
// manifest.
//
// Compile reads the file into an ensemble of trees, whose Go interpreter is the oracle, and writes a
// module that walks eight trees, or eight rows, in lockstep over tables in memory. The module imports
// nothing, its memory is of fixed size, and its raw scores are bit for bit those of the library that
// trained the model. Rows with their scores are embedded, so that every node that admits the artifact
// checks this again.
//
// It reads XGBoost JSON (gbtree with one output). It does not run modules; that is runtime/wasm.
package compiler

import (
	"fmt"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Options tell what the model file does not.
type Options struct {
	// Name and Version become those of the plugin; Version "" means 1.0.0.
	Name    string
	Version string
	// Purpose is the purpose whose consent the features need; "" means that of Features, or else
	// artifact.DefaultPurpose.
	Purpose string
	// Features tell how each feature is made; nil makes each the subject attribute of the same name.
	Features *FeatureSpec
	// Golden are rows with the library's own outputs. All must agree; some are embedded.
	Golden *Golden
}

// Output is a compiled model.
type Output struct {
	// Module is the artifact: push these bytes.
	Module   []byte
	Manifest *artifact.Manifest
	Digest   string
	// GoldenChecked counts the golden rows that agreed.
	GoldenChecked int
	// Warnings are for the person who compiles; none makes the module wrong.
	Warnings []string
}

// Compile compiles a model file. Errors are *nba.Error with CodeModelInvalid (the model, its features
// or its golden rows), CodeTooLarge, or CodePluginRefused (name and version).
func Compile(model []byte, opts Options) (*Output, error) {
	e, err := xgboost(model)
	if err != nil {
		return nil, err
	}
	features, err := opts.Features.resolve(e.names)
	if err != nil {
		return nil, err
	}
	checked, golden, err := opts.Golden.arrange(e)
	if err != nil {
		return nil, err
	}
	features, order := subjectFirst(features)
	e.reorder(order)
	m := &artifact.Manifest{
		Name: opts.Name, Version: opts.Version, Kind: artifact.KindScorer, ABI: artifact.ABIVersion,
		Purpose: opts.purpose(), Output: artifact.OutputValue, Features: features,
	}
	if m.Version == "" {
		m.Version = "1.0.0"
	}
	if e.link == linkSigmoid {
		m.Output = artifact.OutputProbability
	}
	subject := m.SubjectFeatures()
	out := emit(e, subject)
	if limits := wasmbin.DefaultLimits(); len(out.module) > limits.DataBytes || out.limits.MemoryPages > artifact.MaxMemoryPages {
		return nil, nba.Errorf(nba.CodeTooLarge, "the compiled model would have %d bytes, more than the %d allowed; train fewer or shallower trees", len(out.module), limits.DataBytes)
	}
	m.Limits = out.limits
	for _, row := range golden {
		m.Golden = append(m.Golden, e.golden(permute(row, order)))
	}
	m.Golden = append(m.Golden, boundaryRows(e)...)
	m.Source = &artifact.Source{Format: e.format, Library: e.library, Digest: artifact.Digest(model), Objective: e.objective,
		Trees: len(e.trees), MaxDepth: e.depth(), Nodes: e.nodes(), Layouts: out.layouts}
	module, err := artifact.Embed(out.module, m)
	if err != nil {
		return nil, err
	}
	if m, err = artifact.Parse(module); err != nil {
		return nil, fmt.Errorf("reading back the manifest: %w", err)
	}
	return &Output{Module: module, Manifest: m, Digest: artifact.Digest(module), GoldenChecked: checked, Warnings: e.warnings}, nil
}

func (o *Options) purpose() string {
	if o.Purpose == "" && o.Features != nil {
		return o.Features.Purpose
	}
	return o.Purpose
}

// subjectFirst moves the features of the subject before those of the candidate, as the contract wants.
// Feature i of the model becomes feature order[i].
func subjectFirst(features []artifact.Feature) (sorted []artifact.Feature, order []int) {
	order = make([]int, len(features))
	for _, scope := range [...]string{artifact.ScopeSubject, artifact.ScopeCandidate} {
		for i := range features {
			if features[i].Scope == scope {
				order[i] = len(sorted)
				sorted = append(sorted, features[i])
			}
		}
	}
	return sorted, order
}

// permute moves value i to order[i].
func permute(values []float64, order []int) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[order[i]] = v
	}
	return out
}

// Summary describes an artifact for people.
type Summary struct {
	Name              string           `json:"name"`
	Version           string           `json:"version"`
	Kind              string           `json:"kind"`
	Purpose           string           `json:"purpose"`
	Output            string           `json:"output,omitempty"`
	Digest            string           `json:"digest"`
	SizeBytes         int              `json:"sizeBytes"`
	MemoryBytes       int              `json:"memoryBytes"`
	DataBytes         int              `json:"dataBytes"`
	Features          []InputSummary   `json:"features"`
	SubjectFeatures   int              `json:"subjectFeatures"`
	CandidateFeatures int              `json:"candidateFeatures"`
	GoldenRows        int              `json:"goldenRows"`
	Limits            artifact.Limits  `json:"limits"`
	Source            *artifact.Source `json:"source,omitempty"`
}

// InputSummary is one feature and where it comes from, in words.
type InputSummary struct {
	Name  string `json:"name"`
	Scope string `json:"scope"`
	From  string `json:"from"`
}

// Inspect describes an artifact from its manifest and outline, without running it.
func Inspect(module []byte) (*Summary, error) {
	m, err := artifact.Parse(module)
	if err != nil {
		return nil, err
	}
	outline, err := wasmbin.Decode(module)
	if err != nil {
		return nil, err
	}
	s := &Summary{Name: m.Name, Version: m.Version, Kind: m.Kind, Purpose: m.Purpose, Output: m.Output,
		Digest: artifact.Digest(module), SizeBytes: len(module), DataBytes: outline.DataBytes,
		SubjectFeatures: m.SubjectFeatures(), CandidateFeatures: m.CandidateFeatures(),
		GoldenRows: len(m.Golden), Limits: m.Limits, Source: m.Source}
	for _, memory := range outline.Memories {
		s.MemoryBytes += int(memory.Min) * wasmbin.PageBytes
	}
	for i := range m.Features {
		f := &m.Features[i]
		s.Features = append(s.Features, InputSummary{Name: f.Name, Scope: f.Scope, From: describe(&f.Recipe)})
	}
	return s, nil
}

// describe puts a recipe in words.
func describe(r *artifact.Recipe) string {
	text := ""
	switch {
	case r.OneHot != nil:
		text = fmt.Sprintf("attribute %s is %q", r.OneHot.Attribute, r.OneHot.Level)
	case r.Bucket != nil:
		text = fmt.Sprintf("attribute %s in %d buckets", r.Bucket.Attribute, len(r.Bucket.Bounds)+1)
	case r.ActionProperty != "":
		text = "action property " + r.ActionProperty
	case r.Context != "":
		text = "context " + r.Context
	case len(r.Levels) > 0:
		text = fmt.Sprintf("attribute %s as one of %d levels", r.Attribute, len(r.Levels))
	default:
		text = "attribute " + r.Attribute
	}
	if r.Default != nil {
		text += fmt.Sprintf(", or %g", *r.Default)
	}
	return text
}
