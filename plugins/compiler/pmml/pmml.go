// Package pmml reads PMML documents, versions 3 and 4, into the compiler's intermediate form.
//
// It reads trees, regressions, scorecards, neural networks and mining models of these (sum, average,
// weighted average, majority and weighted majority vote, maximum, select first, model chain), with
// their derived fields, their treatment of missing, invalid and outlying values, and the normalisation
// of regressions. Everything else is refused with the element and its line.
//
// PMML fixes no order and no width of sums. This package adds in the order of the document in 64 bits,
// or in 32 bits where the model says x-mathContext="float", as JPMML does. A prediction that PMML calls
// missing or invalid is NaN.
//
// Texts are inputs with categories: the Values of their DataField, or else the texts that the model
// compares them with. A text that is not among them is missing, because it has no code.
//
// The source is the specification at dmg.org, checked with documents of JPMML-SparkML, JPMML-R,
// JPMML-TensorFlow and R's pmml package.
package pmml

import (
	"fmt"
	"math"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/compiler/inflate"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// Format is the name of the format in ir.Source.
const Format = "pmml"

// Read reads a document, plain or gzipped. Errors are *nba.Error with CodeModelInvalid or CodeTooLarge;
// they name the element and its line and quote only names.
func Read(file []byte) (*ir.Model, error) {
	file, err := inflate.Bytes(file, maxFileBytes)
	if err != nil {
		return nil, err
	}
	root, err := parse(file)
	if err != nil {
		return nil, err
	}
	d := &document{root: root, data: map[string]*element{}, model: &ir.Model{Source: ir.Source{Format: Format, Library: library(root)}}, treated: map[treatment]*field{}}
	if err := d.read(); err != nil {
		return nil, err
	}
	if err := d.model.Validate(); err != nil {
		return nil, err
	}
	return d.model, nil
}

// document carries what is common to all models of a document.
type document struct {
	root  *element
	model *ir.Model
	// data are the DataFields by name.
	data map[string]*element
	// inputs are the fields of the model's inputs before any treatment.
	inputs  []*field
	treated map[treatment]*field
	// guards are 0 for rows that PMML calls invalid, else 1.
	guards []ir.Ref
	nodes  int    // of all trees
	round  ir.Ref // the inputs in 32 bits, 0 when none are
	depth  int    // of models inside each other
	// unbounded tells that a classification is not normalised, so that its results may be no
	// probabilities.
	unbounded bool
	named     map[string]bool // fields that something reads, once reads was asked
}

// library is what the header tells about who wrote the document.
func library(root *element) string {
	h := root.child("Header")
	if h == nil {
		return "pmml"
	}
	a := h.child("Application")
	if a == nil {
		return "pmml"
	}
	return strings.TrimSpace(shorten(a.attr("name") + " " + a.attr("version")))
}

// modelNames are the elements that are models and can be read.
func isModel(name string) bool {
	switch name {
	case "TreeModel", "RegressionModel", "MiningModel", "Scorecard", "NeuralNetwork":
		return true
	}
	return false
}

// notModels are the children of PMML that are no models.
func notModel(name string) bool {
	switch name {
	case "Header", "MiningBuildTask", "DataDictionary", "TransformationDictionary", "Extension":
		return true
	}
	return false
}

func (d *document) read() error {
	model, dictionary := d.root, d.root.child("DataDictionary")
	if d.root.name == "PMML" {
		model = nil
		for _, e := range d.root.kids {
			switch {
			case notModel(e.name):
			case !isModel(e.name):
				return e.unsupported()
			case model != nil:
				return e.fail("the document has several models; keep one")
			default:
				model = e
			}
		}
		if model == nil {
			return d.root.fail("it has no model")
		}
		if dictionary == nil {
			return d.root.fail("it has no DataDictionary")
		}
	} else if !isModel(model.name) {
		return model.fail("this is no PMML document")
	} else {
		dictionary = nil
		d.warn("the file is a bare %s without a DataDictionary; the types of its fields are told by how they are compared", model.name)
	}
	if dictionary != nil {
		for _, e := range dictionary.all("DataField") {
			d.data[e.attr("name")] = e
		}
	}
	s := &scope{d: d, fields: map[string]*field{}}
	if err := s.inputs(dictionary, model); err != nil {
		return err
	}
	if err := s.schema(model, dictionary); err != nil {
		return err
	}
	if t := d.root.child("TransformationDictionary"); t != nil {
		// Derived fields read the treated inputs of the model that uses them.
		if err := s.derive(t); err != nil {
			return err
		}
	}
	r, err := d.evaluate(s, model)
	if err != nil {
		return err
	}
	d.finish(r, model)
	return nil
}

// finish makes the result of the model the output, NaN for invalid rows, and names the inputs' texts.
func (d *document) finish(r *result, model *element) {
	m := d.model
	m.Raw, m.Output, m.Classes, m.Probability = r.raw, r.value, r.classes, len(r.classes) > 0 && !d.unbounded
	m.Source.Objective = strings.TrimSpace(model.name + " " + model.attr("functionName") + " " + shorten(model.attr("normalizationMethod")))
	for _, g := range d.guards {
		nan := d.constant(math.NaN())
		same := m.Raw == m.Output
		m.Output = m.Append(&ir.Where{Cond: g, A: m.Output, B: nan})
		if m.Raw = m.Append(&ir.Where{Cond: g, A: m.Raw, B: nan}); same {
			m.Raw = m.Output
		}
	}
	d.nameInputs()
}

// nameInputs hands the texts to the inputs.
func (d *document) nameInputs() {
	for i, f := range d.inputs {
		if f.text() {
			if len(f.set.list) == 0 {
				// Only asked whether it is missing: any text will do.
				f.set.code("any")
				d.warn("the field %q is a text of which the model only asks whether it is there", shorten(f.name))
			}
			d.model.Inputs[i].Categories = f.set.list
		}
	}
}

// reads tells whether an element other than a MiningSchema or a dictionary names a field.
func (d *document) reads(name string) bool {
	if d.named == nil {
		d.named = map[string]bool{}
		d.root.walk(func(e *element) {
			switch e.name {
			case "MiningField", "DataField", "OutputField", "DerivedField", "Target":
				return
			}
			for _, a := range [...]string{"field", "name"} {
				if v, ok := e.lookup(a); ok {
					d.named[v] = true
				}
			}
		})
	}
	return d.named[name]
}

func (d *document) warn(format string, args ...any) {
	d.model.Warnings = append(d.model.Warnings, fmt.Sprintf(format, args...))
}

// rounded is the row of inputs in 32 bits.
func (d *document) rounded() ir.Ref {
	if d.round == 0 {
		d.round = d.model.Append(&ir.Cast{In: ir.Input, To: ir.ToF32})
	}
	return d.round
}

func (d *document) constant(v ...float64) ir.Ref { return d.model.Append(&ir.Const{Values: v}) }

// vector is the one number of a field as a vector. Only the row of inputs and its rounded form hold
// several fields.
func (d *document) vector(f *field) ir.Ref {
	if f.ref == ir.Input || f.ref == d.round {
		return d.model.Append(&ir.Gather{In: f.ref, Columns: []int{f.column}})
	}
	return f.ref
}

// gather puts the fields into one vector. It is the row of inputs itself where that will do.
func (d *document) gather(fields []*field) (in ir.Ref, columns []int32) {
	columns = make([]int32, len(fields))
	plain := true
	for i, f := range fields {
		columns[i] = int32(f.column)
		plain = plain && f.ref == fields[0].ref
	}
	switch {
	case len(fields) == 0:
		return ir.Input, columns
	case plain:
		return fields[0].ref, columns
	}
	// Concat each vector once.
	var parts []ir.Ref
	starts := map[ir.Ref]int32{}
	next := int32(0)
	for i, f := range fields {
		start, ok := starts[f.ref]
		if !ok {
			start = next
			starts[f.ref] = start
			parts = append(parts, f.ref)
			if next++; f.ref == ir.Input || f.ref == d.round {
				next += int32(len(d.inputs)) - 1
			}
		}
		columns[i] = start + int32(f.column)
	}
	return d.model.Append(&ir.Concat{Parts: parts}), columns
}

// indicator is one number told by a predicate.
func (d *document) indicator(e *element, p *predicate, yes, no, unknown float64) (ir.Ref, error) {
	return d.choose(e, []choice{{p, yes}}, no, unknown)
}

// choice is the value of the first predicate that holds.
type choice struct {
	when  *predicate
	value float64
}

// choose is the value of the first choice whose predicate holds, or otherwise; unknown when the first
// predicate that does not fail cannot be told.
func (d *document) choose(e *element, choices []choice, otherwise, unknown float64) (ir.Ref, error) {
	b := newBuilder(d, 1, ir.F64)
	leaf := func(v float64) way { return b.way(func() (int32, error) { return b.leaf([]float64{v}) }) }
	last := leaf(otherwise)
	lost := leaf(unknown)
	if unknown == otherwise || unknown != unknown && otherwise != otherwise {
		lost = last
	}
	var from func(i int) (int32, error)
	from = func(i int) (int32, error) {
		if i == len(choices) {
			return last.on()
		}
		next := last
		if i+1 < len(choices) {
			next = b.way(func() (int32, error) { return from(i + 1) })
		}
		return b.ask(choices[i].when, leaf(choices[i].value), next, lost)
	}
	if err := b.tree(e, func() (int32, error) { return from(0) }); err != nil {
		return 0, err
	}
	return d.model.Append(b.step(nil)), nil
}
