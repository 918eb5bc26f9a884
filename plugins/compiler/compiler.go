// Package compiler turns a trained model file into a plugin artifact: a WebAssembly module with its
// manifest.
//
// Compile finds out by its content what the file is, has the package of that format read it into the
// intermediate form of package ir, whose interpreter is the oracle, and has package emit write the
// module. The module imports nothing, its memory is of fixed size, and its raw scores are bit for bit
// those of the library that trained the model. Rows with their scores are embedded, so that every node
// that admits the artifact checks this again.
//
// It does not run modules; that is runtime/wasm.
package compiler

import (
	"fmt"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/compiler/emit"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
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
	// Class is the label of the class to score, or the name of the target. "" is the last class of a
	// model of two, and an error for a model of more.
	Class string
	// Golden are rows with the library's own outputs. All must agree; some are embedded.
	Golden *Golden
	// Progress, if set, is told what is being done and how far it is, often and on the caller's
	// goroutine; total is 0 when it is not known.
	Progress func(doing string, done, total int)
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

	compiled *compilation
}

// Compile compiles a model file. Errors are *nba.Error with CodeModelInvalid (the model, its features
// or its golden rows), CodeTooLarge, or CodePluginRefused (name and version).
func Compile(model []byte, opts Options) (*Output, error) {
	c := &compilation{opts: &opts}
	if err := c.load(model); err != nil {
		return nil, err
	}
	checked, golden, err := opts.Golden.arrange(c)
	if err != nil {
		return nil, err
	}
	features, order := subjectFirst(c.features)
	reorder(c.model, order)
	m := &artifact.Manifest{
		Name: opts.Name, Version: opts.Version, Kind: artifact.KindScorer, ABI: artifact.ABIVersion,
		Purpose: opts.purpose(), Output: artifact.OutputValue, Features: features,
	}
	if m.Version == "" {
		m.Version = "1.0.0"
	}
	if c.model.Probability {
		m.Output = artifact.OutputProbability
	}
	c.progress("writing the module", 0, 0)
	out, err := emit.Emit(withoutClasses(c.model), m.SubjectFeatures())
	if err != nil {
		return nil, err
	}
	if limits := wasmbin.DefaultLimits(); len(out.Bytes) > limits.DataBytes || out.Limits.MemoryPages > artifact.MaxMemoryPages {
		return nil, nba.Errorf(nba.CodeTooLarge, "the compiled model would have %d bytes, more than the %d allowed; train fewer or shallower trees", len(out.Bytes), limits.DataBytes)
	}
	m.Limits = out.Limits
	if err := c.interpret(); err != nil {
		return nil, err
	}
	for _, row := range golden {
		if g, ok := c.golden(permute(row, order)); ok {
			m.Golden = append(m.Golden, g)
		}
	}
	m.Golden = append(m.Golden, c.boundaryRows()...)
	size := measure(c.model)
	m.Source = &artifact.Source{Class: c.class, Classes: c.classesToKeep(), Order: permutation(order), Format: c.model.Source.Format, Library: c.model.Source.Library, Digest: artifact.Digest(model),
		Objective: c.model.Source.Objective, Trees: size.trees, MaxDepth: size.depth, Nodes: size.nodes, Layouts: out.Layouts}
	module, err := artifact.Embed(out.Bytes, m)
	if err != nil {
		return nil, err
	}
	if m, err = artifact.Parse(module); err != nil {
		return nil, fmt.Errorf("reading back the manifest: %w", err)
	}
	return &Output{Module: module, Manifest: m, Digest: artifact.Digest(module), GoldenChecked: checked, Warnings: append(c.warnings, c.model.Warnings...), compiled: c}, nil
}

// compilation is a model on its way to an artifact.
type compilation struct {
	opts  *Options
	model *ir.Model
	// classes are all that the model has, class is the one that is scored, "" when there are none.
	classes    []string
	class      string
	classIndex int
	warnings   []string
	features   []artifact.Feature
	oracle     *ir.Interpreter
}

// load reads the model, makes recipes for its inputs and picks the output.
func (c *compilation) load(file []byte) (err error) {
	c.progress("reading the model", 0, 0)
	if c.model, err = read(file); err != nil {
		return err
	}
	for i := range c.model.Inputs {
		if name := c.model.Inputs[i].Name; len(name) > artifact.MaxTextBytes {
			return invalidModel("the name of feature %d is longer than %d bytes; rename it before training", i, artifact.MaxTextBytes)
		}
	}
	if c.features, err = c.opts.Features.resolve(inputNames(c.model)); err != nil {
		return err
	}
	if err = codeCategories(c.model, c.features); err != nil {
		return err
	}
	index, err := choose(c.model, c.opts.Class)
	if err != nil {
		return err
	}
	if c.classes, c.classIndex = c.model.Classes, index; len(c.classes) > 0 {
		c.class = c.classes[index]
	}
	return c.interpret()
}

func (c *compilation) warn(text string) { c.warnings = append(c.warnings, text) }

func (c *compilation) progress(doing string, done, total int) {
	if c.opts.Progress != nil {
		c.opts.Progress(doing, done, total)
	}
}

// classesToKeep are the classes as the manifest lists them, nil when they are too many or too long.
func (c *compilation) classesToKeep() []string {
	if len(c.classes) > artifact.MaxLevels {
		return nil
	}
	size := 0
	for _, class := range c.classes {
		size += len(class)
	}
	if size > 1<<16 {
		return nil
	}
	return c.classes
}

// permutation is order, nil when it changes nothing.
func permutation(order []int) []int {
	for i, to := range order {
		if i != to {
			return order
		}
	}
	return nil
}

// interpret makes the oracle anew.
func (c *compilation) interpret() (err error) {
	c.oracle, err = ir.NewInterpreter(withoutClasses(c.model))
	return err
}

// withoutClasses is m once its output is one number.
func withoutClasses(m *ir.Model) *ir.Model {
	one := *m
	one.Classes = nil
	return &one
}

// run scores a row.
func (c *compilation) run(row []float64) (raw, output float64) {
	r, o := c.oracle.Run(row)
	return r[0], o[0]
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
