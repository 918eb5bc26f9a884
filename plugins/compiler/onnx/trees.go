package onnx

import (
	"math"
	"slices"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

func treeEnsembleRegressor(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	targets := n.int("n_targets", 1)
	if targets < 1 || targets > maxClasses {
		return nil, b.errorf("it has %d targets, not between 1 and %d", targets, maxClasses)
	}
	f, err := b.listedForest(n, "target", int(targets))
	if err != nil {
		return nil, err
	}
	if err := b.aggregate(f, n.text("aggregate_function", "SUM")); err != nil {
		return nil, err
	}
	scores, err := b.sum(f, in[0], elemFloat)
	if err != nil {
		return nil, err
	}
	out, err := b.postTransform(scores, n.text("post_transform", "NONE"))
	if err != nil {
		return nil, err
	}
	return one(out)
}

func (b *builder) aggregate(f *forest, function string) error {
	switch {
	case function == "AVERAGE":
		f.average = true
	case function == "SUM" || len(f.roots) == 1 && (function == "MIN" || function == "MAX"):
	default:
		return b.errorf("its aggregate_function %q is not supported; use SUM or AVERAGE", clip(function))
	}
	return nil
}

func treeEnsembleClassifier(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	labels := nodeLabels(n)
	if len(labels) == 0 || len(labels) > maxClasses {
		return nil, b.errorf("it has %d class labels, not between 1 and %d", len(labels), maxClasses)
	}
	f, err := b.listedForest(n, "class", len(labels))
	if err != nil {
		return nil, err
	}
	transform := n.text("post_transform", "NONE")
	if single, column := f.single(); single && len(labels) == 2 {
		// One score for two classes. Where it is that of the second class, a single base value
		// belongs to the first, and two of them are read differently by different runtimes.
		if len(f.base) > 1 || column == 1 && len(f.base) == 1 {
			return nil, b.errorf("it has one score for two classes and %d base values, which ONNX does not define; add the base to the leaves", len(f.base))
		}
		for i := range f.nodes {
			for k := range f.nodes[i].weights {
				f.nodes[i].weights[k].target = 0
			}
		}
		f.targets = 1
		score, err := b.sum(f, in[0], elemFloat)
		if err != nil {
			return nil, err
		}
		return b.twoClasses(score, transform, labels)
	}
	if len(labels) == 1 && transform != "NONE" {
		return nil, b.errorf("it has one class and the post_transform %q, which ONNX does not define; train with two classes", clip(transform))
	}
	scores, err := b.sum(f, in[0], elemFloat)
	if err != nil {
		return nil, err
	}
	out, err := b.postTransform(scores, transform)
	if err != nil {
		return nil, err
	}
	return b.classified(out, labels)
}

// single tells whether all leaves add to the same target.
func (f *forest) single() (bool, int) {
	target := -1
	for i := range f.nodes {
		for _, w := range f.nodes[i].weights {
			if target >= 0 && target != w.target {
				return false, 0
			}
			target = w.target
		}
	}
	return target >= 0, target
}

// treeEnsemble is the operator of version 5, which replaces the other two.
func treeEnsemble(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	f, err := b.indexedForest(n)
	if err != nil {
		return nil, err
	}
	functions := []string{"AVERAGE", "SUM", "MIN", "MAX"}
	function := n.int("aggregate_function", 1)
	transforms := []string{"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"}
	transform := n.int("post_transform", 0)
	if function < 0 || function >= int64(len(functions)) || transform < 0 || transform >= int64(len(transforms)) {
		return nil, b.errorf("its aggregate_function or post_transform is unknown")
	}
	if err := b.aggregate(f, functions[function]); err != nil {
		return nil, err
	}
	e := in[0].elem
	if e != elemDouble {
		e = elemFloat
	}
	scores, err := b.sum(f, in[0], e)
	if err != nil {
		return nil, err
	}
	out, err := b.postTransform(scores, transforms[transform])
	if err != nil {
		return nil, err
	}
	return one(out)
}

// sum adds the trees up: in their order, and the base values last, as onnxruntime does.
func (b *builder) sum(f *forest, v *value, e elem) (*value, error) {
	if v.elem != elemDouble {
		v = b.asFloat(v)
	}
	if v.size() != v.last() {
		return nil, b.errorf("it scores more than one row; export the model with a first dimension of None")
	}
	if len(f.base) != 0 && len(f.base) != f.targets {
		return nil, b.errorf("it has %d base values for %d targets, which ONNX does not define", len(f.base), f.targets)
	}
	width := v.elem.width()
	s := &ir.Trees{In: b.ref(v), Row: width, Acc: width, Outputs: f.targets}
	if err := b.memberColumns(f, v, s); err != nil {
		return nil, err
	}
	t := planter{b: b, f: f, s: s, columns: int64(v.last()), seen: make([]bool, len(f.nodes)),
		low: make([]float64, f.targets), high: make([]float64, f.targets)}
	for i, root := range f.roots {
		if err := t.plant(i, root); err != nil {
			return nil, err
		}
	}
	switch {
	case len(s.Trees) == 0:
		return nil, b.errorf("it has no trees; train at least one")
	case slices.Contains(t.seen, false):
		return nil, b.errorf("a node cannot be reached from the root of its tree")
	}
	if slices.ContainsFunc(append(slices.Clone(s.Leaves), f.base...), func(w float64) bool { return float64(float32(w)) != w }) {
		s.Acc = ir.F64
	}
	return b.scores(f, s, &t, e)
}

// scores finishes the sums of trees: the average, the base values, and the type of the result.
func (b *builder) scores(f *forest, s *ir.Trees, t *planter, e elem) (*value, error) {
	internal := elemFloat
	if s.Acc == ir.F64 {
		internal = elemDouble
	}
	out := computed(internal, []int{1, f.targets}, b.emit(s)).between(slices.Min(t.low), slices.Max(t.high))
	var err error
	if f.average {
		if out, err = b.arith(ir.Div, out, numbers(internal, nil, []float64{float64(len(f.roots))})); err != nil {
			return nil, err
		}
	}
	if len(f.base) > 0 {
		if out, err = b.arith(ir.Add, out, numbers(internal, []int{1, f.targets}, f.base)); err != nil {
			return nil, err
		}
	}
	if internal == elemDouble && e == elemFloat {
		out = b.asFloat(out)
	}
	return out, nil
}

// memberColumns adds to the row, for each feature of which some split asks for members of a set, a
// column with the rank of its value among all members: sets are of whole numbers, members need not be.
func (b *builder) memberColumns(f *forest, v *value, s *ir.Trees) error {
	if !f.members {
		return nil
	}
	var all []float64
	columns := map[int64]int64{}
	pick := &ir.Gather{In: s.In}
	for i := range f.nodes {
		n := &f.nodes[i]
		if n.compare != ir.In {
			continue
		}
		all = append(all, n.members...)
		if n.feature < 0 || n.feature >= int64(v.last()) {
			return b.errorf("a split asks for column %d of %d", n.feature, v.last())
		}
		if _, ok := columns[n.feature]; !ok {
			columns[n.feature] = int64(v.last() + len(columns))
			pick.Columns = append(pick.Columns, int(n.feature))
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if len(all) > ir.MaxCategory {
		return b.errorf("its sets have more than %d members; use fewer categories", ir.MaxCategory)
	}
	ranks := &ir.Lookup{In: b.emit(pick), Keys: all, Values: make([]float64, len(all)), Default: -1, Missing: math.NaN()}
	for i := range ranks.Values {
		ranks.Values[i] = float64(i)
	}
	s.In = b.emit(&ir.Concat{Parts: []ir.Ref{s.In, b.emit(ranks)}})
	for i := range f.nodes {
		n := &f.nodes[i]
		if n.compare != ir.In {
			continue
		}
		n.feature = columns[n.feature]
		set := make([]int32, 0, len(n.members))
		for _, m := range n.members {
			rank, _ := slices.BinarySearch(all, m)
			set = append(set, int32(rank))
		}
		slices.Sort(set)
		s.Sets = append(s.Sets, slices.Compact(set))
		n.value = float64(len(s.Sets) - 1)
	}
	return nil
}

// planter copies trees into a step.
type planter struct {
	b         *builder
	f         *forest
	s         *ir.Trees
	columns   int64
	seen      []bool
	low, high []float64 // bounds of the sums
}

// plant copies what is reachable from a root, in breadth-first order.
func (p *planter) plant(index int, root int32) error {
	queue := []int32{root}
	tree := ir.Tree{Output: p.output(root)}
	low, high := slices.Repeat([]float64{math.Inf(1)}, p.f.targets), slices.Repeat([]float64{math.Inf(-1)}, p.f.targets)
	for i := 0; i < len(queue); i++ {
		if p.seen[queue[i]] {
			return p.b.errorf("tree %d: a node has two parents, or is its own", index)
		}
		p.seen[queue[i]] = true
		n := &p.f.nodes[queue[i]]
		if n.compare == ir.Leaf {
			leaf, err := p.leaf(tree.Output, n, low, high)
			if err != nil {
				return err
			}
			tree.Nodes = append(tree.Nodes, ir.Node{Leaf: leaf})
			continue
		}
		if len(queue)+2 > ir.MaxTreeNodes {
			return p.b.errorf("tree %d has more than %d nodes; train with a maximum depth", index, ir.MaxTreeNodes)
		}
		node := ir.Node{Left: int32(len(queue)), Right: int32(len(queue) + 1)}
		if n.compare == ir.In {
			node.Split = ir.Split{Feature: int32(n.feature), Compare: ir.In, Set: int32(n.value), Default: n.missingTrue}
		} else {
			if n.feature < 0 || n.feature >= p.columns {
				return p.b.errorf("tree %d: a split asks for column %d of %d", index, n.feature, p.columns)
			}
			// NaN differs from everything, so it is not equal, less or greater.
			node.Split = ir.Split{Feature: int32(n.feature), Compare: n.compare, Value: n.value, Default: n.missingTrue || n.compare == ir.NE}
		}
		queue = append(queue, n.yes, n.no)
		tree.Nodes = append(tree.Nodes, node)
	}
	for k := range low {
		if low[k] <= high[k] { // else the tree adds nothing to it
			p.low[k], p.high[k] = p.low[k]+low[k], p.high[k]+high[k]
		}
	}
	if len(p.s.Trees) >= ir.MaxTrees {
		return p.b.errorf("it has more than %d trees; train fewer", ir.MaxTrees)
	}
	p.s.Trees = append(p.s.Trees, tree)
	return nil
}

// output is the one target that the leaves below root add to, or AllOutputs.
func (p *planter) output(root int32) int32 {
	if p.f.targets == 1 {
		return 0
	}
	target := int32(-1)
	visited := 0
	for stack := []int32{root}; len(stack) > 0 && visited <= len(p.f.nodes); visited++ {
		n := &p.f.nodes[stack[len(stack)-1]]
		stack = stack[:len(stack)-1]
		if n.compare != ir.Leaf {
			stack = append(stack, n.yes, n.no)
			continue
		}
		for _, w := range n.weights {
			if target >= 0 && target != int32(w.target) {
				return ir.AllOutputs
			}
			target = int32(w.target)
		}
	}
	return max(target, 0)
}

// leaf stores what a leaf adds and returns where.
func (p *planter) leaf(output int32, n *treeNode, low, high []float64) (int32, error) {
	at := len(p.s.Leaves)
	first, count := 0, p.f.targets
	if output != ir.AllOutputs {
		first, count = int(output), 1
	}
	if at+count > maxLeafValues {
		return 0, p.b.errorf("its leaves have more than %d values; train fewer or shallower trees", maxLeafValues)
	}
	p.s.Leaves = append(p.s.Leaves, make([]float64, count)...)
	values := p.s.Leaves[at:]
	for i, w := range n.weights {
		if slices.ContainsFunc(n.weights[:i], func(o leafWeight) bool { return o.target == w.target }) {
			return 0, p.b.errorf("a leaf has two weights for one target")
		}
		if math.IsNaN(w.value) || math.IsInf(w.value, 0) {
			return 0, p.b.errorf("the weight of a leaf is not finite; train again on clean data")
		}
		values[w.target-first] = w.value
	}
	for k, v := range values {
		low[first+k], high[first+k] = min(low[first+k], v), max(high[first+k], v)
	}
	return int32(at), nil
}
