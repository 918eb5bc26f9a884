package onnx

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// targets are the tensors that are the score: the one output of numbers; of several the one called
// after probabilities, or all when they are single columns beside a label (skl2onnx with zipmap
// "columns"); where there is only a label, the scores of the classifier that made it.
func (b *builder) targets(made map[string]*node) ([]string, error) {
	if b.rows != oneRow && len(b.f.graph.outputs) == 1 {
		return []string{b.f.graph.outputs[0].name}, nil
	}
	var scores, likely []string
	columns := false // a label
	for _, v := range b.f.graph.outputs {
		columns = columns || v.elem == elemText || v.elem.integer()
	}
	for _, v := range b.f.graph.outputs {
		n := made[v.name]
		switch {
		case n != nil && n.op == "ZipMap" && len(n.inputs) == 1:
			scores = append(scores, v.name)
			likely = append(likely, v.name)
		case v.elem == elemFloat || v.elem == elemDouble:
			scores = append(scores, v.name)
			columns = columns && len(v.dims) == 1
			if strings.Contains(strings.ToLower(v.name), "prob") {
				likely = append(likely, v.name)
			}
		}
	}
	switch {
	case len(scores) == 1:
		return scores, nil
	case len(likely) == 1:
		return likely, nil
	case columns && len(scores) > 1:
		return scores, nil
	case len(scores) > 1:
		return nil, ir.Invalid("the model has %d outputs of numbers, and none or several are called probabilities; export it with one", len(scores))
	}
	for _, v := range b.f.graph.outputs {
		if n := classifier(made[v.name]); n != nil {
			return n.outputs[1:2], nil
		}
	}
	return nil, ir.Invalid("the model gives only a label and no score; export a pipeline that ends in a classifier with predict_proba, or in a regressor")
}

// classifier is n when it is an operator that makes a label and scores.
func classifier(n *node) *node {
	if n != nil && (n.op == "LinearClassifier" || n.op == "TreeEnsembleClassifier") && len(n.outputs) > 1 && n.outputs[1] != "" {
		return n
	}
	return nil
}

// score is the value of the targets, side by side.
func (b *builder) score(targets []string) (*value, error) {
	var parts []*value
	for _, name := range targets {
		v := b.values[name]
		switch {
		case v == nil:
			return nil, ir.Invalid("the output %q is not computed by any node; %s", clip(name), remedy)
		case len(targets) == 1:
			return v, nil
		case v.opaque != "" || v.constant() || v.elem == elemText || v.size() != 1:
			return nil, ir.Invalid("the output %q is not one score; export the model with one output of probabilities", clip(name))
		}
		parts = append(parts, b.reshaped(v, []int{1, 1}))
	}
	out, err := b.join(parts, 1)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// slack is how far sums of rounded weights may lie beyond 1 and still be probabilities.
const slack = 1e-3

// finish makes v the output of the model.
func (b *builder) finish(v *value, made map[string]*node, name string) error {
	switch {
	case v.opaque != "":
		return ir.Invalid("the output %q is %s", clip(name), v.opaque)
	case v.constant():
		return ir.Invalid("the output %q does not depend on the inputs; %s", clip(name), remedy)
	case v.elem == elemText:
		return ir.Invalid("the output %q is text, not a score; export a classifier with predict_proba", clip(name))
	case b.fixed && len(v.dims) > 1 && v.dims[0] != 1:
		return ir.Invalid("the output %q is for several rows; export the model with a first dimension of None", clip(name))
	case len(b.m.Inputs) == 0:
		return ir.Invalid("the model has no inputs; %s", remedy)
	}
	n := v.size()
	if n < 1 || n > maxClasses {
		return ir.Invalid("the output %q has %d values, not between 1 and %d; train one model per target", clip(name), n, maxClasses)
	}
	labels, known := v.labels, true
	if len(labels) != n {
		labels, known = b.findLabels(made, n)
	}
	raw := v
	if v.raw != nil && v.raw.size() == n {
		raw = v.raw
	}
	if len(labels) == 2 && n == 2 {
		raw, v = b.move(raw, []int{1}, []int{1}), b.move(v, []int{1}, []int{1})
		n = 1
	}
	switch {
	case n > 1 || len(labels) == 2:
		b.m.Classes = labels
		if len(labels) != n && n > 1 {
			b.m.Classes = nil
			for i := range n {
				b.m.Classes = append(b.m.Classes, strconv.Itoa(i))
			}
		}
		if !known && n > 1 {
			b.warn("the model does not name its outputs: they are called 0, 1, …")
		}
	}
	b.m.Raw, b.m.Output = raw.ref, v.ref
	// Where sums are divided by sums the bounds are not known; then the name of the output counts.
	called := strings.Contains(strings.ToLower(name), "prob") || made[name] != nil && made[name].op == "ZipMap"
	if v.low >= -slack && (v.high <= 1+slack || called && len(labels) > 0) {
		b.m.Probability = true
		b.clamp(v)
	} else if n == 1 && len(b.m.Classes) == 2 {
		b.warn(fmt.Sprintf("the score is no probability: it is the decision value for the class %q", clip(b.m.Classes[1])))
		b.m.Classes = nil
	}
	return nil
}

// clamp keeps the output between 0 and 1, where rounding could lead it out.
func (b *builder) clamp(v *value) {
	if v.high > 1 {
		b.m.Output = b.emit(&ir.Arith{Op: ir.Min, A: b.m.Output, B: b.emit(&ir.Const{Values: []float64{1}}), Width: v.elem.width()})
	}
	if v.low < 0 {
		b.m.Output = b.emit(&ir.Arith{Op: ir.Max, A: b.m.Output, B: b.emit(&ir.Const{Values: []float64{0}}), Width: v.elem.width()})
	}
}

// findLabels looks for n class labels (for one score: two) on the way to the label output: those of a
// classifier, or a constant from which one is picked.
func (b *builder) findLabels(made map[string]*node, n int) ([]string, bool) {
	want := max(n, 2)
	seen := map[*node]bool{}
	var queue []*node
	push := func(name string) {
		if p := made[name]; p != nil && !seen[p] {
			seen[p] = true
			queue = append(queue, p)
		}
	}
	for _, v := range b.f.graph.outputs {
		if v.elem == elemText || v.elem.integer() || v.elem == elemBool {
			push(v.name)
		}
	}
	for ; len(queue) > 0; queue = queue[1:] {
		p := queue[0]
		if labels := nodeLabels(p); len(labels) == want && distinct(labels) {
			return labels, true
		}
		if p.op == "ArrayFeatureExtractor" || p.op == "Gather" {
			if v := b.values[p.firstInput()]; v != nil && v.constant() && v.size() == want {
				if labels := v.lit.labels(); distinct(labels) {
					return labels, true
				}
			}
		}
		for _, name := range p.inputs {
			push(name)
		}
	}
	return nil, false
}

func (n *node) firstInput() string {
	if len(n.inputs) == 0 {
		return ""
	}
	return n.inputs[0]
}

func distinct(labels []string) bool {
	seen := map[string]bool{}
	for _, l := range labels {
		if seen[l] {
			return false
		}
		seen[l] = true
	}
	return true
}

// nodeLabels are the class labels that an operator names in its attributes.
func nodeLabels(n *node) []string {
	if a := n.attributes["classlabels_strings"]; a != nil && len(a.strings) > 0 {
		return a.strings
	}
	for _, name := range [...]string{"classlabels_int64s", "classlabels_ints"} {
		if a := n.attributes[name]; a != nil && len(a.ints) > 0 {
			return integerLabels(a.ints)
		}
	}
	return nil
}

func integerLabels(ints []int64) []string {
	out := make([]string, len(ints))
	for i, v := range ints {
		out[i] = strconv.FormatInt(v, 10)
	}
	return out
}

// labels are the elements of a constant as texts.
func (l *literal) labels() []string {
	if l.elem == elemText {
		return l.texts
	}
	out := make([]string, len(l.nums))
	for i, v := range l.nums {
		out[i] = fmt.Sprint(v)
		if v == float64(int64(v)) {
			out[i] = strconv.FormatInt(int64(v), 10)
		}
	}
	return out
}
