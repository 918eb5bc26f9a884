package emit

import (
	"encoding/binary"
	"math"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// tree holds its nodes in breadth-first order with siblings side by side; node 0 is the root.
type tree struct {
	nodes  []node
	depth  int // edges on the longest path
	output int32
}

// node is a split, or a leaf where split is nil.
type node struct {
	split *ir.Split
	q     question
	low   int32 // the low child; the high one follows
	leaf  *ir.Node
}

// leafKind is how a leaf's value is found.
type leafKind uint8

const (
	leafInline  leafKind = iota // in place of the key
	leafIndexed                 // the key is the address of one 64-bit value
	leafVector                  // the key is the address of one for each output
	leafLinear                  // the key is the address of a linear model
)

// treeForest is a forest of ordinary trees.
type treeForest struct {
	*forest
	step       *ir.Trees
	trees      []tree
	groups     []group
	kind       leafKind
	leaves     int // address of the leaves' values
	linear     *wasmbin.Function
	linearCost int64
	answered   *answered // nil for tables of keys
}

// group are the trees that add to one output, in order; with vectors there is one group.
type group struct {
	output int
	trees  []*tree
	roots  int // address of the table of the group
	count  int // a multiple of lanes
}

// arrange brings a tree into breadth-first order.
func arrange(t *ir.Tree) tree {
	out := tree{nodes: make([]node, 0, len(t.Nodes)), output: t.Output}
	queue := make([]int32, 1, len(t.Nodes))
	level, levelEnd := 0, 1
	for i := 0; i < len(queue); i++ {
		if i == levelEnd {
			level, levelEnd = level+1, len(queue)
		}
		n := &t.Nodes[queue[i]]
		if n.Compare == ir.Leaf {
			out.nodes = append(out.nodes, node{leaf: n})
			continue
		}
		low, high := n.Left, n.Right
		switch n.Compare {
		case ir.GT, ir.GE, ir.NE, ir.NotIn:
			low, high = high, low
		}
		out.nodes = append(out.nodes, node{split: &n.Split, low: int32(len(queue))})
		queue = append(queue, low, high)
	}
	out.depth = level
	return out
}

// newTrees plans a step of trees.
func (g *generator) newTrees(ref ir.Ref, s *ir.Trees) *treeForest {
	t := &treeForest{forest: g.newForest(ref, s.In, s.Row, s.Acc, s.Outputs, s.Base), step: s}
	t.negative = s.NegativeZero
	t.intern(s.Sets)
	vector := false
	t.trees = make([]tree, len(s.Trees))
	for i := range s.Trees {
		t.trees[i] = arrange(&s.Trees[i])
		if t.trees[i].output == ir.AllOutputs && s.Outputs == 1 {
			t.trees[i].output = 0
		}
		vector = vector || t.trees[i].output == ir.AllOutputs
	}
	questions := t.layOut(func() []question {
		var all []question
		for i := range t.trees {
			for j := range t.trees[i].nodes {
				if n := &t.trees[i].nodes[j]; n.split != nil {
					n.q = t.ask(n.split)
					all = append(all, n.q)
				}
			}
		}
		return all
	})
	switch {
	case len(s.LinearLeaves) > 0:
		t.kind = leafLinear
	case vector:
		t.kind = leafVector
	case t.wide || s.Acc == ir.F32:
		t.kind = leafInline
	default:
		t.kind = leafIndexed
	}
	t.group(vector)
	t.answered = t.chooseAnswers(questions)
	return t
}

// group sorts the trees by output.
func (t *treeForest) group(vector bool) {
	if vector {
		t.groups = make([]group, 1)
		for i := range t.trees {
			t.groups[0].trees = append(t.groups[0].trees, &t.trees[i])
		}
	} else {
		t.groups = make([]group, t.outputs)
		for i := range t.trees {
			g := &t.groups[t.trees[i].output]
			g.trees = append(g.trees, &t.trees[i])
		}
	}
	for k := range t.groups {
		t.groups[k].output = k
		t.groups[k].count = (len(t.groups[k].trees) + lanes - 1) / lanes * lanes
	}
}

func (t *treeForest) nodeCount() int {
	n := 0
	for i := range t.trees {
		n += len(t.trees[i].nodes)
	}
	return n
}

func (t *treeForest) depth() int {
	d := 0
	for i := range t.trees {
		d = max(d, t.trees[i].depth)
	}
	return d
}

// leafTable writes the values that leaves name by address.
func (t *treeForest) leafTable() {
	b, s := &t.g.b, t.step
	var content []byte
	number := func(v float64) { content = binary.LittleEndian.AppendUint64(content, math.Float64bits(v)) }
	switch t.kind {
	case leafInline:
		return
	case leafIndexed:
		for _, v := range s.Leaves {
			number(v)
		}
		number(math.Copysign(0, -1)) // of trees that only fill up: adding -0 changes no sum
		t.leaves = b.Reserve(len(content), 64)
	case leafVector:
		for range t.outputs {
			number(math.Copysign(0, -1))
		}
		for i := range t.trees {
			for j := range t.trees[i].nodes {
				if n := &t.trees[i].nodes[j]; n.leaf != nil {
					for k := range t.outputs {
						switch {
						case t.trees[i].output == ir.AllOutputs:
							number(s.Leaves[int(n.leaf.Leaf)+k])
						case k == int(t.trees[i].output):
							number(s.Leaves[n.leaf.Leaf])
						default:
							number(math.Copysign(0, -1))
						}
					}
				}
			}
		}
		t.leaves = b.Reserve(len(content), 64)
	case leafLinear:
		content = t.linearTable()
		t.leaves = b.Reserve(len(content), 64)
	}
	b.Data(t.leaves, content)
}

// The layout of a linear leaf: the value when a feature is missing, the constant, the number of
// features, then pairs of coefficient and offset of the feature in the frame.
const (
	linearHeader = 24
	linearTerm   = 16
)

func (t *treeForest) linearTable() []byte {
	var content []byte
	record := func(value, constant float64, l *ir.LinearLeaf) {
		content = binary.LittleEndian.AppendUint64(content, math.Float64bits(value))
		content = binary.LittleEndian.AppendUint64(content, math.Float64bits(constant))
		if l == nil {
			content = binary.LittleEndian.AppendUint64(content, 0)
			return
		}
		content = binary.LittleEndian.AppendUint64(content, uint64(len(l.Features)))
		for i, f := range l.Features {
			content = binary.LittleEndian.AppendUint64(content, math.Float64bits(l.Coefficients[i]))
			content = binary.LittleEndian.AppendUint64(content, uint64(8*f))
		}
	}
	none := math.Copysign(0, -1)
	record(none, none, nil)
	for i := range t.trees {
		for j := range t.trees[i].nodes {
			n := &t.trees[i].nodes[j]
			if n.leaf == nil {
				continue
			}
			value := t.step.Leaves[n.leaf.Leaf]
			if n.leaf.Linear == 0 {
				record(value, value, nil)
			} else {
				l := &t.step.LinearLeaves[n.leaf.Linear-1]
				record(value, l.Constant, l)
			}
		}
	}
	return content
}

// leafAddresses calls set for each leaf, in the order of the tables, with the address of its value.
// fill is the address of the value of trees that only fill up.
func (t *treeForest) leafAddresses() (fill int, next func(n *node) int) {
	switch t.kind {
	case leafIndexed:
		return t.leaves + 8*len(t.step.Leaves), func(n *node) int { return t.leaves + 8*int(n.leaf.Leaf) }
	case leafVector:
		at := t.leaves
		return t.leaves, func(*node) int { at += 8 * t.outputs; return at }
	case leafLinear:
		at, size := t.leaves, linearHeader
		return t.leaves, func(n *node) int {
			at += size
			size = linearHeader
			if n.leaf.Linear > 0 {
				size += linearTerm * len(t.step.LinearLeaves[n.leaf.Linear-1].Features)
			}
			return at
		}
	default:
		return 0, func(*node) int { return 0 }
	}
}

// linearFunction writes (leaf, row) -> value.
func (t *treeForest) linearFunction() {
	f := t.g.b.Function([]byte{wasmbin.I32, wasmbin.I32}, []byte{wasmbin.F64})
	leaf, row := f.Param(0), f.Param(1)
	sum, x, n := f.Local(wasmbin.F64), f.Local(wasmbin.F64), f.Local(wasmbin.I32)
	at := f.Local(wasmbin.I32)
	f.Get(leaf).Memory(opF64Load, 3, 8).Set(sum)
	f.Get(leaf).Memory(opI32Load, 2, 16).Tee(n).If()
	f.Get(leaf).Set(at)
	before := f.Fuel()
	f.Loop()
	f.Get(row).Get(at).Memory(opI32Load, 2, linearHeader+8).Op(opI32Add).Memory(opF64Load, 3, 0).Tee(x)
	f.Get(x).Op(opF64Ne).If().Get(leaf).Memory(opF64Load, 3, 0).Return().End()
	f.Get(sum).Get(at).Memory(opF64Load, 3, linearHeader).Get(x).Op(opF64Mul).Op(opF64Add).Set(sum)
	f.Get(at).I32(linearTerm).Op(opI32Add).Set(at)
	f.Get(n).I32(1).Op(opI32Sub).Tee(n).BrIf(0).End()
	longest := 1
	for i := range t.step.LinearLeaves {
		longest = max(longest, len(t.step.LinearLeaves[i].Features))
	}
	loop := f.Fuel() - before
	f.End().Get(sum)
	t.linear, t.linearCost = f, f.EntryFuel()+f.Fuel()+loop*int64(longest)
}

// prefersHeap tells whether filling the trees up to perfect ones costs little enough memory: a walk of
// known length is faster.
func (t *treeForest) prefersHeap() bool {
	if t.wide || t.kind != leafInline || t.depth() > maxHeapDepth {
		return false
	}
	size := heapBytes(len(t.trees), max(1, t.depth()))
	return size <= heapFreeBytes || size <= heapExcess*8*(t.nodeCount()+1)
}

// The table of perfect trees may be this much larger than the plain one, or up to this many bytes,
// which fit the second-level cache beside the rest.
const (
	heapExcess    = 3
	heapFreeBytes = 256 << 10
	maxHeapDepth  = 8
)

// build writes the tables and the functions.
func (t *treeForest) build() error {
	if err := t.expanders(); err != nil {
		return err
	}
	if t.answered != nil {
		t.answered.build()
		return nil
	}
	if t.g.sliced {
		return errNoSlices
	}
	t.leafTable()
	if t.kind == leafLinear {
		t.linearFunction()
	}
	t.walkers.one = t.g.b.Function(nil, nil)
	one := t.walkers.one
	eight := t.kind == leafInline && t.g.lanes > 1 || t.kind == leafIndexed && t.g.lanes > 1
	if eight {
		t.walkers.eight = t.g.b.Function(nil, nil)
	}
	heap := t.prefersHeap() && t.g.mode != modePlain
	if heap {
		t.g.layout("heap8")
		t.heapTables()
	} else {
		t.g.layout("loop8")
		t.loopTables()
	}
	if eight {
		t.g.layout("rows8")
	}
	if t.kind == leafVector {
		for k := range t.outputs {
			one.I32(t.target(0, k)).F64(t.base[k]).Memory(opF64Store, 3, 0)
		}
	}
	var cost, cost8 int64
	for i := range t.groups {
		g := &t.groups[i]
		if len(g.trees) == 0 {
			if t.kind != leafVector {
				for lane := range t.g.lanes {
					one.I32(t.target(0, g.output)).F64(t.base[g.output]).Memory(opF64Store, 3, 0)
					if eight {
						t.walkers.eight.I32(t.target(lane, g.output)).F64(t.base[g.output]).Memory(opF64Store, 3, 0)
					}
				}
			}
			continue
		}
		f := t.g.b.Function(nil, nil)
		if heap {
			cost += t.heapOne(f, g)
		} else {
			cost += t.loopOne(f, g)
		}
		one.Call(f)
		if !eight {
			continue
		}
		f = t.g.b.Function(nil, nil)
		if heap {
			cost8 += t.heapEight(f, g)
		} else {
			cost8 += t.loopEight(f, g)
		}
		t.walkers.eight.Call(f)
	}
	t.walkers.oneCost = cost + one.EntryFuel() + one.Fuel()
	if eight {
		t.walkers.eight8 = cost8 + t.walkers.eight.EntryFuel() + t.walkers.eight.Fuel()
	}
	return nil
}
