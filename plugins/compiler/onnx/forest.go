package onnx

import (
	"math"
	"slices"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// forest is an ensemble as any of the three tree operators describes it.
type forest struct {
	nodes   []treeNode
	roots   []int32
	targets int
	base    []float64
	average bool
	members bool // some split asks for members of a set
}

// treeNode is a split, or a leaf with what it adds to the targets.
type treeNode struct {
	compare     ir.Compare // Leaf for leaves
	feature     int64
	value       float64
	yes, no     int32
	missingTrue bool
	members     []float64 // of an In split
	weights     []leafWeight
}

type leafWeight struct {
	target int
	value  float64
}

// maxLeafValues bounds the leaves of an ensemble times its targets.
const maxLeafValues = 8_000_000

// modes are the values of nodes_modes, in the order in which the operator TreeEnsemble numbers them.
func modes() []string {
	return []string{"BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER"}
}

func compareOf(mode int) ir.Compare {
	return [...]ir.Compare{ir.LE, ir.LT, ir.GE, ir.GT, ir.EQ, ir.NE, ir.In}[mode]
}

// eitherFloats is an attribute of 32-bit numbers or its twin of 64-bit ones.
func (n *node) eitherFloats(name string) []float64 {
	if v := n.tensor(name + "_as_tensor"); len(v) > 0 {
		return v
	}
	return n.floats(name)
}

// listedForest reads what TreeEnsembleClassifier and TreeEnsembleRegressor have in common: parallel
// lists of nodes, and lists of weights whose names begin with prefix.
func (b *builder) listedForest(n *node, prefix string, targets int) (*forest, error) {
	f := &forest{targets: targets, base: n.eitherFloats("base_values")}
	trees, ids := n.ints("nodes_treeids"), n.ints("nodes_nodeids")
	features, yes, no := n.ints("nodes_featureids"), n.ints("nodes_truenodeids"), n.ints("nodes_falsenodeids")
	kinds, values, missing := n.strings("nodes_modes"), n.eitherFloats("nodes_values"), n.ints("nodes_missing_value_tracks_true")
	count := len(ids)
	for _, l := range [...]int{len(trees), len(features), len(yes), len(no), len(kinds), len(values)} {
		if l != count {
			return nil, b.errorf("its lists of nodes differ in length")
		}
	}
	if count == 0 || count > ir.MaxNodes || len(missing) != 0 && len(missing) != count {
		return nil, b.errorf("it has %d nodes, not between 1 and %d, or its lists of nodes differ in length", count, ir.MaxNodes)
	}
	at := make(map[[2]int64]int32, count)
	for i := range ids {
		key := [2]int64{trees[i], ids[i]}
		if _, twice := at[key]; twice {
			return nil, b.errorf("node %d of tree %d is there twice", ids[i], trees[i])
		}
		at[key] = int32(i)
	}
	f.nodes = make([]treeNode, count)
	child := make([]bool, count)
	names := modes()
	for i := range ids {
		t := &f.nodes[i]
		if kinds[i] == "LEAF" {
			continue
		}
		mode := slices.Index(names[:6], kinds[i])
		left, okLeft := at[[2]int64{trees[i], yes[i]}]
		right, okRight := at[[2]int64{trees[i], no[i]}]
		if mode < 0 || !okLeft || !okRight {
			return nil, b.errorf("node %d of tree %d has an unknown mode or no children", ids[i], trees[i])
		}
		*t = treeNode{compare: compareOf(mode), feature: features[i], value: values[i], yes: left, no: right}
		t.missingTrue = len(missing) > 0 && missing[i] != 0
		child[left], child[right] = true, true
	}
	last := map[int64]bool{}
	for i := range ids {
		if !child[i] {
			if last[trees[i]] {
				return nil, b.errorf("tree %d has several roots", trees[i])
			}
			last[trees[i]] = true
			f.roots = append(f.roots, int32(i))
		}
	}
	return f, b.listedWeights(n, f, prefix, at)
}

func (b *builder) listedWeights(n *node, f *forest, prefix string, at map[[2]int64]int32) error {
	trees, ids, targets := n.ints(prefix+"_treeids"), n.ints(prefix+"_nodeids"), n.ints(prefix+"_ids")
	weights := n.eitherFloats(prefix + "_weights")
	if len(trees) != len(weights) || len(ids) != len(weights) || len(targets) != len(weights) {
		return b.errorf("its lists of weights differ in length")
	}
	for i, w := range weights {
		node, ok := at[[2]int64{trees[i], ids[i]}]
		if !ok || f.nodes[node].compare != ir.Leaf {
			return b.errorf("a weight is for node %d of tree %d, which is no leaf", ids[i], trees[i])
		}
		if targets[i] < 0 || targets[i] >= int64(f.targets) {
			return b.errorf("a weight is for target %d of %d", targets[i], f.targets)
		}
		if len(f.nodes[node].weights) >= f.targets {
			return b.errorf("a leaf has two weights for one target")
		}
		f.nodes[node].weights = append(f.nodes[node].weights, leafWeight{target: int(targets[i]), value: w})
	}
	return nil
}

// indexedForest reads the lists of TreeEnsemble. Leaves have a list of their own, and may be shared.
func (b *builder) indexedForest(n *node) (*forest, error) {
	splits, kinds := n.tensor("nodes_splits"), n.tensor("nodes_modes")
	features, yes, no := n.ints("nodes_featureids"), n.ints("nodes_truenodeids"), n.ints("nodes_falsenodeids")
	yesLeaf, noLeaf, missing := n.ints("nodes_trueleafs"), n.ints("nodes_falseleafs"), n.ints("nodes_missing_value_tracks_true")
	count := len(features)
	for _, l := range [...]int{len(splits), len(kinds), len(yes), len(no), len(yesLeaf), len(noLeaf)} {
		if l != count {
			return nil, b.errorf("its lists of nodes differ in length")
		}
	}
	leafTargets, leafWeights := n.ints("leaf_targetids"), n.tensor("leaf_weights")
	targets := n.int("n_targets", 1)
	switch {
	case count == 0 || count > ir.MaxNodes || len(missing) != 0 && len(missing) != count:
		return nil, b.errorf("it has %d nodes, not between 1 and %d, or its lists of nodes differ in length", count, ir.MaxNodes)
	case len(leafTargets) != len(leafWeights) || len(leafWeights) > ir.MaxNodes:
		return nil, b.errorf("its lists of leaves differ in length")
	case targets < 1 || targets > maxClasses:
		return nil, b.errorf("it has %d targets, not between 1 and %d", targets, maxClasses)
	}
	f := &forest{targets: int(targets), nodes: make([]treeNode, count, min(2*count+1, ir.MaxNodes))}
	branch := func(to, leaf int64) (int32, error) {
		if leaf == 0 {
			if to < 0 || to >= int64(count) {
				return 0, b.errorf("a child is not there")
			}
			return int32(to), nil
		}
		if to < 0 || to >= int64(len(leafWeights)) || leafTargets[to] < 0 || leafTargets[to] >= targets {
			return 0, b.errorf("a leaf or its target is not there")
		}
		f.nodes = append(f.nodes, treeNode{weights: []leafWeight{{target: int(leafTargets[to]), value: leafWeights[to]}}})
		return int32(len(f.nodes) - 1), nil
	}
	members := n.tensor("membership_values")
	for i := range count {
		if !(kinds[i] >= 0 && kinds[i] < float64(len(modes()))) {
			return nil, b.errorf("node %d has an unknown mode", i)
		}
		mode := int(kinds[i])
		t := treeNode{compare: compareOf(mode), feature: features[i], value: splits[i], missingTrue: len(missing) > 0 && missing[i] != 0}
		if t.compare == ir.In {
			end := slices.IndexFunc(members, math.IsNaN)
			if end < 0 {
				end = len(members)
			}
			t.members, members = members[:end], members[min(end+1, len(members)):]
			f.members = true
		}
		var err error
		if t.yes, err = branch(yes[i], yesLeaf[i]); err != nil {
			return nil, err
		}
		if t.no, err = branch(no[i], noLeaf[i]); err != nil {
			return nil, err
		}
		f.nodes[i] = t
	}
	for _, r := range n.ints("tree_roots") {
		if r < 0 || r >= int64(count) {
			return nil, b.errorf("the root of a tree is not there")
		}
		f.roots = append(f.roots, int32(r))
	}
	return f, nil
}
