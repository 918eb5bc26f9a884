package onnx

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// builder turns a graph into a program.
type builder struct {
	f      *file
	rows   batch
	m      *ir.Model
	values map[string]*value
	lifted map[*value]ir.Ref // constants that stand in the program
	codes  []map[string]int  // of the texts of each input
	texts  int
	moved  int   // elements that were moved or multiplied so far
	fixed  bool  // the graph is for several rows, of which one is taken
	node   *node // what is being read, for messages
}

// The versions of the operators that are read.
const (
	minOpset       = 1
	broadcastOpset = 7 // before, shapes went together by other rules
	maxOpset       = 30
	maxML          = 5
)

func newBuilder(f *file, rows batch) (*builder, error) {
	b := &builder{f: f, rows: rows, m: &ir.Model{}, values: map[string]*value{}, lifted: map[*value]ir.Ref{}}
	if v, ok := f.opsets[""]; ok && (v < minOpset || v > maxOpset) {
		return nil, ir.Invalid("the model uses version %d of the ONNX operators, not one between %d and %d; %s", v, minOpset, maxOpset, remedy)
	}
	if v, ok := f.opsets["ai.onnx.ml"]; ok && (v < 1 || v > maxML) {
		return nil, ir.Invalid("the model uses version %d of the ai.onnx.ml operators, not one between 1 and %d; %s", v, maxML, remedy)
	}
	if len(f.opsets) == 0 {
		return nil, ir.Invalid("the model does not say which ONNX operators it uses; %s", remedy)
	}
	for name, l := range f.graph.initializers {
		b.values[name] = literalValue(l)
	}
	return b, nil
}

// emit adds a step to the program.
func (b *builder) emit(s ir.Step) ir.Ref { return b.m.Append(s) }

// ref is where v stands in the program.
func (b *builder) ref(v *value) ir.Ref {
	if !v.constant() {
		return v.ref
	}
	if r, ok := b.lifted[v]; ok {
		return r
	}
	r := b.emit(&ir.Const{Values: v.lit.nums})
	b.lifted[v] = r
	return r
}

// errorf is about the node that is being read.
func (b *builder) errorf(format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if b.node == nil {
		return ir.Invalid("%s", what)
	}
	return ir.Invalid("%s: %s", b.node.describe(), what)
}

func (n *node) describe() string {
	op := n.op
	if n.domain != "" {
		op = n.domain + "." + op
	}
	name := n.name
	if name == "" && len(n.outputs) > 0 {
		name = n.outputs[0]
	}
	return fmt.Sprintf("node %q (operator %s)", clip(name), clip(op))
}

// clip bounds how much of a file's own names a message repeats.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// model reads the graph from its inputs to the output that is the score.
func (b *builder) model() (*ir.Model, error) {
	g := &b.f.graph
	if len(g.outputs) == 0 {
		return nil, ir.Invalid("the ONNX graph has no output; %s", remedy)
	}
	made, err := b.producers()
	if err != nil {
		return nil, err
	}
	targets, err := b.targets(made)
	if err != nil {
		return nil, err
	}
	needed, reads := b.needed(made, targets)
	if err := b.declare(reads); err != nil {
		return nil, err
	}
	for _, n := range g.nodes {
		if !needed[n] {
			continue
		}
		if err := b.apply(n); err != nil {
			return nil, err
		}
	}
	b.node = nil
	out, err := b.score(targets)
	if err != nil {
		return nil, err
	}
	b.m.Source = ir.Source{Format: Format, Library: strings.TrimSpace(b.f.producer + " " + b.f.version), Objective: b.objective(needed)}
	return b.m, b.finish(out, made, targets[0])
}

// producers tells which node makes each tensor.
func (b *builder) producers() (map[string]*node, error) {
	made := map[string]*node{}
	for _, n := range b.f.graph.nodes {
		for _, name := range n.outputs {
			if name == "" {
				continue
			}
			if made[name] != nil || b.values[name] != nil {
				return nil, ir.Invalid("two nodes make the tensor %q; %s", clip(name), remedy)
			}
			made[name] = n
		}
	}
	return made, nil
}

// needed is the nodes, and the graph inputs, that the outputs need.
func (b *builder) needed(made map[string]*node, outputs []string) (nodes map[*node]bool, reads map[string]bool) {
	nodes, reads = map[*node]bool{}, map[string]bool{}
	for queue := slices.Clone(outputs); len(queue) > 0; {
		name := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		n := made[name]
		if n == nil {
			reads[name] = true
			continue
		}
		if !nodes[n] {
			nodes[n] = true
			queue = append(queue, n.inputs...)
		}
	}
	return nodes, reads
}

// objective names the operator that makes the score out of features: the last one that learns.
func (b *builder) objective(needed map[*node]bool) string {
	for _, n := range slices.Backward(b.f.graph.nodes) {
		if needed[n] && (strings.HasPrefix(n.op, "Linear") || strings.HasPrefix(n.op, "TreeEnsemble") || n.op == "MatMul" || n.op == "Gemm") {
			if a := n.attributes["post_transform"]; a != nil && a.s != "" && a.s != "NONE" {
				return n.op + " " + a.s
			}
			return n.op
		}
	}
	return ""
}

// declare makes the inputs of the graph that are needed the inputs of the model.
func (b *builder) declare(reads map[string]bool) error {
	var used []info
	var unused []string
	for _, v := range b.f.graph.inputs {
		if b.values[v.name] != nil {
			continue // a constant that could be replaced
		}
		if !reads[v.name] {
			unused = append(unused, fmt.Sprintf("%q", clip(v.name)))
			continue
		}
		if err := b.checkInput(&v); err != nil {
			return err
		}
		used = append(used, v)
	}
	if len(unused) > 0 {
		b.warn("inputs that the score does not need are left out: " + strings.Join(unused, ", "))
	}
	total := 0
	for _, v := range used {
		n, _ := product(v.dims)
		if total += n; total > ir.MaxInputs || n == 0 {
			return ir.Invalid("the model has no input, or more than %d; select features before training", ir.MaxInputs)
		}
	}
	names := b.featureNames(used, total)
	at := 0
	for _, v := range used {
		n, _ := product(v.dims)
		columns := make([]int, n)
		for i := range columns {
			columns[i] = at + i
			b.m.Inputs = append(b.m.Inputs, ir.Variable{Name: names[at+i]})
		}
		b.codes = append(b.codes, make([]map[string]int, n)...)
		b.values[v.name] = b.input(v, columns, total)
		at += n
	}
	return nil
}

// checkInput checks the type of an input and fixes its dimensions.
func (b *builder) checkInput(v *info) error {
	switch {
	case !v.tensor:
		return ir.Invalid("the input %q is no tensor; %s", clip(v.name), remedy)
	case !v.elem.known():
		return ir.Invalid("the input %q has a type of elements that is not supported; export the model with inputs of 32 or 64 bits", clip(v.name))
	case !v.shaped:
		return ir.Invalid("the input %q has no shape; give initial_types with the number of columns when exporting", clip(v.name))
	}
	for i, d := range v.dims {
		switch {
		case i == 0 && d < 0:
			v.dims[i] = 1
		case d < 0:
			return ir.Invalid("the input %q has a dimension of unknown size; give initial_types with the number of columns when exporting", clip(v.name))
		case d > 1 && i == 0 && len(v.dims) > 1 && b.rows != wholeSet:
			b.warn(fmt.Sprintf("the input %q is fixed to %d rows, which are taken for rows of their own", clip(v.name), d))
			v.dims[i], b.fixed = 1, true
		}
	}
	if n, ok := product(v.dims); !ok || n > ir.MaxInputs {
		return ir.Invalid("the input %q has more than %d columns; select features before training", clip(v.name), ir.MaxInputs)
	}
	return nil
}

// featureNames names the columns: an input of one column by its own name, the columns of a single
// matrix f0, f1, …, those of several matrices by name and index. The metadata entry feature_names, a
// JSON list, goes before.
func (b *builder) featureNames(used []info, total int) []string {
	var given []string
	if text := b.f.metadata["feature_names"]; text != "" {
		if json.Unmarshal([]byte(text), &given) == nil && len(given) == total {
			return given
		}
		b.warn("the metadata entry feature_names is no JSON list of the model's features, and is not used")
	}
	var names []string
	for _, v := range used {
		n, _ := product(v.dims)
		for i := range n {
			switch {
			case n == 1:
				names = append(names, v.name)
			case len(used) == 1:
				names = append(names, fmt.Sprintf("f%d", i))
			default:
				names = append(names, fmt.Sprintf("%s_%d", v.name, i))
			}
		}
	}
	return names
}

// input is the value of a graph input: rounded to 32 bits where it is a tensor of such numbers.
func (b *builder) input(v info, columns []int, total int) *value {
	out := computed(v.elem, v.dims, ir.Input)
	if len(columns) != total {
		out.ref = b.emit(&ir.Gather{In: ir.Input, Columns: columns})
	}
	switch v.elem {
	case elemText:
		out.columns = columns
	case elemFloat:
		out.ref = b.emit(&ir.Cast{In: out.ref, To: ir.ToF32})
	case elemBool:
		out.between(0, 1)
	}
	return out
}

func (b *builder) warn(text string) { b.m.Warnings = append(b.m.Warnings, text) }

// code is the code of a text of an input column, which learns it when it is new.
func (b *builder) code(column int, text string) (float64, error) {
	codes := b.codes[column]
	if codes == nil {
		codes = map[string]int{}
		b.codes[column] = codes
	}
	c, ok := codes[text]
	if !ok {
		if b.texts++; b.texts > maxCategories {
			return 0, b.errorf("the columns of text have more than %d categories together; group rare ones before training", maxCategories)
		}
		c = len(codes)
		codes[text] = c
		b.m.Inputs[column].Categories = append(b.m.Inputs[column].Categories, text)
	}
	return float64(c), nil
}

// apply reads one node.
func (b *builder) apply(n *node) error {
	b.node = n
	op := operator(n.domain, n.op)
	if op == nil {
		return b.errorf("the operator is not supported; leave this part out of the pipeline or do it before the model")
	}
	if n.domain == "" && b.f.opsets[""] < broadcastOpset && n.attributes["broadcast"] != nil {
		return b.errorf("its attribute broadcast is of an early version of ONNX; %s", remedy)
	}
	in := make([]*value, len(n.inputs))
	fold := len(in) > 0
	for i, name := range n.inputs {
		if name == "" {
			continue
		}
		v := b.values[name]
		if v == nil {
			return b.errorf("it reads %q before it is made; %s", clip(name), remedy)
		}
		if v.opaque != "" {
			return b.errorf("it reads %q, %s", clip(name), v.opaque)
		}
		if !v.elem.known() {
			return b.errorf("it reads %q, whose elements have a type that is not supported", clip(name))
		}
		in[i], fold = v, fold && v.constant()
	}
	for name, a := range n.attributes {
		if a.graph {
			return b.errorf("its attribute %q is a graph, which is not supported", clip(name))
		}
	}
	run := op
	if fold {
		run = func(b *builder, n *node, in []*value) ([]*value, error) { return b.fold(op, n, in) }
	}
	out, err := run(b, n, in)
	if err != nil {
		return err
	}
	if b.moved > maxMoved {
		return b.errorf("the model moves more than %d numbers about; simplify the pipeline", maxMoved)
	}
	if len(b.m.Steps) > ir.MaxSteps {
		return b.errorf("the model has more than %d steps; simplify the pipeline", ir.MaxSteps)
	}
	for i, name := range n.outputs {
		if name == "" {
			continue
		}
		if i >= len(out) || out[i] == nil {
			return b.errorf("its output %d is not supported", i)
		}
		b.values[name] = out[i]
	}
	return nil
}

// fold runs an operator on constants, in a program of its own.
func (b *builder) fold(op operation, n *node, in []*value) ([]*value, error) {
	aside := *b
	aside.m = &ir.Model{Inputs: []ir.Variable{{Name: "x"}}}
	aside.lifted = map[*value]ir.Ref{}
	out, err := op(&aside, n, in)
	b.moved = aside.moved
	if err != nil || len(aside.m.Steps) == 0 {
		return out, err
	}
	run, err := ir.NewInterpreter(aside.m)
	if err != nil {
		return nil, b.errorf("%v", err)
	}
	run.Run([]float64{0})
	for i, v := range out {
		if v != nil && v.opaque == "" && !v.constant() {
			out[i] = numbers(v.elem, v.dims, slices.Clone(run.Value(v.ref)))
			out[i].labels = v.labels
		}
	}
	return out, nil
}
