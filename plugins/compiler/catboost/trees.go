package catboost

import (
	"bytes"
	"encoding/json"
	"math"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// outputs finds how many numbers the model gives.
func (r *reader) outputs() error {
	if len(r.file.Oblivious) > 0 {
		t := &r.file.Oblivious[0]
		if len(t.Splits) <= maxLevels {
			r.width = len(t.Leaves) >> len(t.Splits)
		}
	} else {
		n, depth := r.file.Trees[0], 0
		for ; n != nil && n.Split != nil && depth <= maxTreeDepth; depth++ {
			n = n.Left
		}
		if n != nil {
			values, err := n.values()
			if err != nil {
				return err
			}
			r.width = len(values)
		}
	}
	if r.width < 1 || r.width > maxOutputs {
		return invalid("the first tree has no leaf values that fit its splits (or more than %d a leaf); %s", maxOutputs, remedy)
	}
	return nil
}

func (r *reader) trees() error {
	if len(r.file.Oblivious) > 0 {
		return r.oblivious()
	}
	return r.nonSymmetric()
}

// oblivious reads symmetric trees: bit d of the index of a leaf is the answer to split d, and a leaf's
// values for the outputs stand next to each other.
func (r *reader) oblivious() error {
	step := &ir.Oblivious{In: ir.Input, Row: ir.F32, Acc: ir.F64, Outputs: r.width}
	numbers := map[ir.Split]int32{}
	for i := range r.file.Oblivious {
		from := &r.file.Oblivious[i]
		r.splits += len(from.Splits)
		r.leaves += len(from.Leaves)
		switch {
		case len(from.Splits) > maxLevels:
			return invalid("tree %d is deeper than %d levels; train with a smaller depth", i, maxLevels)
		case len(from.Leaves) != r.width<<len(from.Splits):
			return invalid("tree %d has %d leaf values where its %d splits need %d; %s", i, len(from.Leaves), len(from.Splits), r.width<<len(from.Splits), remedy)
		case r.leaves > maxLeafValues || r.splits > maxNodes:
			return invalid("the model has more than %d leaf values or %d splits; train fewer or shallower trees", maxLeafValues, maxNodes)
		}
		tree := ir.ObliviousTree{Leaves: from.Leaves}
		for d := range from.Splits {
			split, err := r.split(&from.Splits[d], i)
			if err != nil {
				return err
			}
			number, ok := numbers[split]
			if !ok {
				number = int32(len(step.Splits))
				numbers[split] = number
				step.Splits = append(step.Splits, split)
			}
			tree.Splits = append(tree.Splits, number)
		}
		step.Trees = append(step.Trees, tree)
	}
	r.sum = r.model.Append(step)
	return nil
}

// split reads one question, whose true side has bit 1 in symmetric trees and is the right side of
// others.
func (r *reader) split(s *treeSplit, tree int) (ir.Split, error) {
	switch s.Type {
	case "FloatFeature":
		if s.Float == nil || s.Border == nil {
			break
		}
		f, ok := r.numbers[*s.Float]
		if !ok {
			return ir.Split{}, invalid("tree %d asks for a numeric feature that features_info does not list; %s", tree, remedy)
		}
		border := float64(float32(*s.Border))
		// NaN counts as +Inf where it counts as greater.
		return ir.Split{Feature: f.column, Compare: ir.GT, Missing: ir.MissingNaN,
			Default: f.missingGreater && !math.IsInf(border, 1), Value: border}, nil
	case "OneHotFeature":
		if s.Category == nil || s.Value == nil {
			break
		}
		c, ok := r.categories[*s.Category]
		if !ok {
			return ir.Split{}, invalid("tree %d asks for a categorical feature that features_info does not list; %s", tree, remedy)
		}
		code, ok := c.codes[*s.Value]
		if !ok {
			return ir.Split{}, invalid("tree %d compares a categorical feature with a value that features_info does not list; %s", tree, remedy)
		}
		return ir.Split{Feature: c.column, Compare: ir.EQ, Missing: ir.MissingNaN, Value: float64(code)}, nil
	case "OnlineCtr":
		return ir.Split{}, invalid("tree %d asks for target statistics of a categorical feature (CTR), which are not supported; train with one_hot_max_size of at least the number of categories", tree)
	}
	return ir.Split{}, invalid("tree %d has a split of an unknown kind or without its feature and value; %s", tree, remedy)
}

// nonSymmetric reads trees of nested nodes. CatBoost goes right where the answer is yes, the
// intermediate form goes left.
func (r *reader) nonSymmetric() error {
	step := &ir.Trees{In: ir.Input, Row: ir.F32, Acc: ir.F64, Outputs: r.width}
	output := int32(0)
	if r.width > 1 {
		output = ir.AllOutputs
	}
	for i, root := range r.file.Trees {
		b := treeBuilder{reader: r, step: step, number: i, tree: ir.Tree{Output: output}}
		if _, err := b.add(root, 0); err != nil {
			return err
		}
		step.Trees = append(step.Trees, b.tree)
	}
	r.sum = r.model.Append(step)
	return nil
}

type treeBuilder struct {
	*reader
	step   *ir.Trees
	number int
	tree   ir.Tree
}

// add appends a node with all below it and returns its index.
func (b *treeBuilder) add(n *treeNode, depth int) (int32, error) {
	at := int32(len(b.tree.Nodes))
	b.splits++
	switch {
	case n == nil || n.Split == nil && len(n.Value) == 0 || n.Split != nil && (n.Left == nil || n.Right == nil):
		return 0, invalid("tree %d has a node that is neither a leaf with a value nor a split with two sides; %s", b.number, remedy)
	case depth > maxTreeDepth:
		return 0, invalid("tree %d is deeper than %d levels; train with a smaller max_depth", b.number, maxTreeDepth)
	case b.splits > maxNodes:
		return 0, invalid("the model has more than %d nodes; train fewer or shallower trees", maxNodes)
	case n.Split == nil:
		return at, b.leaf(n)
	}
	split, err := b.split(n.Split, b.number)
	if err != nil {
		return 0, err
	}
	b.tree.Nodes = append(b.tree.Nodes, ir.Node{Split: split})
	left, err := b.add(n.Right, depth+1)
	if err != nil {
		return 0, err
	}
	right, err := b.add(n.Left, depth+1)
	if err != nil {
		return 0, err
	}
	b.tree.Nodes[at].Left, b.tree.Nodes[at].Right = left, right
	return at, nil
}

func (b *treeBuilder) leaf(n *treeNode) error {
	values, err := n.values()
	if err != nil {
		return err
	}
	if len(values) != b.width {
		return invalid("tree %d has a leaf with %d values where the first has %d; %s", b.number, len(values), b.width, remedy)
	}
	b.tree.Nodes = append(b.tree.Nodes, ir.Node{Leaf: int32(len(b.step.Leaves))})
	b.step.Leaves = append(b.step.Leaves, values...)
	return nil
}

// values are those of a leaf: one number, or a list of one for each output.
func (n *treeNode) values() ([]float64, error) {
	raw := bytes.TrimSpace(n.Value)
	if len(raw) > 0 && raw[0] == '[' {
		var values []float64
		if err := json.Unmarshal(raw, &values); err != nil {
			return nil, malformed(err)
		}
		return values, nil
	}
	var value float64
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil, malformed(err)
	}
	return []float64{value}, nil
}

// scaleAndBias ends the raw score: scale × sum + bias.
func (r *reader) scaleAndBias() error {
	scale, bias := 1.0, []float64(nil)
	if list := r.file.ScaleAndBias; len(list) > 0 {
		if len(list) != 2 || json.Unmarshal(list[0], &scale) != nil {
			return invalid("scale_and_bias is not a scale and a list of biases; %s", remedy)
		}
		// Models of CatBoost before 0.25 have one bias that is no list.
		var one float64
		if json.Unmarshal(list[1], &one) == nil {
			bias = []float64{one}
		} else if json.Unmarshal(list[1], &bias) != nil {
			return invalid("scale_and_bias is not a scale and a list of biases; %s", remedy)
		}
	}
	zero := true
	for _, b := range bias {
		zero = zero && b == 0
	}
	if scale != 1 {
		r.sum = r.model.Append(&ir.Affine{In: r.sum, Offset: []float64{0}, Scale: []float64{scale}})
	}
	if !zero {
		if len(bias) != 1 && len(bias) != r.width {
			return invalid("scale_and_bias has %d biases for %d outputs; %s", len(bias), r.width, remedy)
		}
		r.sum = r.model.Append(&ir.Arith{Op: ir.Add, A: r.sum, B: r.model.Append(&ir.Const{Values: bias})})
	}
	return nil
}
