package xgboost

import (
	"math"
	"slices"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// rawTree is one tree as the file has it: parallel arrays by node.
type rawTree struct {
	left, right, feature, defaultLeft, splitType []int32
	condition                                    []float32
	// The categories of the splits that have some: those of node catNodes[i] are categories from
	// catSegments[i], catSizes[i] of them.
	categories, catNodes, catSegments, catSizes []int32
	// Vector leaves: in base for every node, or since 3.1 in leaves for every leaf, whose right child
	// is its number.
	base, leaves []float32
	parameters   map[string]string
}

// tree is a tree whose reachable nodes are in breadth-first order.
type tree struct {
	nodes  []ir.Node
	leaves []float32 // by ir.Node.Leaf
	sets   [][]int32 // by ir.Split.Set
	vector int       // how many values a leaf has
}

// tree reads one tree.
func (f *modelFile) tree() {
	d, r := f.d, &f.raw
	r.reset()
	index := len(f.trees)
	if index >= ir.MaxTrees {
		d.stop(ir.Invalid("the model has more than %d trees; train fewer", ir.MaxTrees))
		return
	}
	d.object(func(key string) { r.field(d, key) })
	if d.mistake() != nil {
		return
	}
	t, err := r.tree(index)
	if err != nil {
		d.stop(err)
		return
	}
	if f.nodes += len(t.nodes); f.nodes > ir.MaxNodes {
		d.stop(ir.Invalid("the model has more than %d nodes; train fewer or shallower trees", ir.MaxNodes))
		return
	}
	f.trees = append(f.trees, t)
}

// reset empties the arrays and keeps their memory.
func (r *rawTree) reset() {
	for _, a := range [...]*[]int32{&r.left, &r.right, &r.feature, &r.defaultLeft, &r.splitType, &r.categories, &r.catNodes, &r.catSegments, &r.catSizes} {
		*a = (*a)[:0]
	}
	r.condition, r.base, r.leaves, r.parameters = r.condition[:0], r.base[:0], r.leaves[:0], nil
}

func (r *rawTree) field(d decoder, key string) {
	switch key {
	case "left_children":
		r.left = integers(d, r.left)
	case "right_children":
		r.right = integers(d, r.right)
	case "split_indices":
		r.feature = integers(d, r.feature)
	case "split_conditions":
		r.condition = floats(d, r.condition)
	case "default_left":
		r.defaultLeft = integers(d, r.defaultLeft)
	case "split_type":
		r.splitType = integers(d, r.splitType)
	case "categories":
		r.categories = integers(d, r.categories)
	case "categories_nodes":
		r.catNodes = integers(d, r.catNodes)
	case "categories_segments":
		r.catSegments = integers(d, r.catSegments)
	case "categories_sizes":
		r.catSizes = integers(d, r.catSizes)
	case "base_weights":
		r.base = floats(d, r.base)
	case "leaf_weights":
		r.leaves = floats(d, r.leaves)
	case "tree_param":
		r.parameters = texts(d)
	default:
		d.skip()
	}
}

// tree checks the arrays and copies what is reachable from the root.
func (r *rawTree) tree(index int) (tree, error) {
	n := len(r.left)
	if n == 0 || len(r.right) != n || len(r.feature) != n || len(r.condition) != n || len(r.defaultLeft) != n || len(r.splitType) != 0 && len(r.splitType) != n {
		return tree{}, ir.Invalid("tree %d: its arrays of children, splits and conditions are missing or differ in length; %s", index, remedy)
	}
	if n > ir.MaxTreeNodes {
		return tree{}, ir.Invalid("tree %d has more than %d nodes; train with a smaller max_depth or max_leaves", index, ir.MaxTreeNodes)
	}
	t := tree{vector: 1}
	switch size := r.parameters["size_leaf_vector"]; size {
	case "", "0", "1":
	default:
		if t.vector = number(size); t.vector < 1 || t.vector > ir.MaxOutputs {
			return tree{}, ir.Invalid("tree %d has leaves of a size that is no number up to %d; train for fewer targets", index, ir.MaxOutputs)
		}
	}
	sets, err := r.sets(index)
	if err != nil {
		return tree{}, err
	}
	return t, r.breadthFirst(&t, sets, index)
}

// sets are the categories of the nodes that have some, by node.
func (r *rawTree) sets(index int) (map[int32][]int32, error) {
	if len(r.catSegments) != len(r.catNodes) || len(r.catSizes) != len(r.catNodes) {
		return nil, ir.Invalid("tree %d: its arrays of categories differ in length; %s", index, remedy)
	}
	sets, total := make(map[int32][]int32, len(r.catNodes)), int64(0)
	for i, node := range r.catNodes {
		from, size := int64(r.catSegments[i]), int64(r.catSizes[i])
		if total += size; from < 0 || size < 0 || from+size > int64(len(r.categories)) || total > int64(len(r.categories)) || sets[node] != nil {
			return nil, ir.Invalid("tree %d, node %d: its categories are out of range or there twice; %s", index, node, remedy)
		}
		set := slices.Clone(r.categories[from : from+size])
		slices.Sort(set)
		set = slices.Compact(set)
		if size > 0 && (set[0] < 0 || set[len(set)-1] > ir.MaxCategory) {
			return nil, ir.Invalid("tree %d, node %d: a category is negative or beyond %d; number the categories of a column from 0 before training", index, node, ir.MaxCategory)
		}
		sets[node] = append([]int32{}, set...)
	}
	return sets, nil
}

// breadthFirst appends the nodes that the root reaches.
func (r *rawTree) breadthFirst(t *tree, sets map[int32][]int32, index int) error {
	t.nodes = make([]ir.Node, 0, len(r.left))
	queue := make([]int32, 1, len(r.left)) // the numbers in the file, in the new order
	seen := make([]bool, len(r.left))
	seen[0] = true
	for i := 0; i < len(queue); i++ {
		at := queue[i]
		left, right := r.left[at], r.right[at]
		if left == -1 {
			if err := r.leaf(t, at, index); err != nil {
				return err
			}
			continue
		}
		for _, child := range [...]int32{left, right} {
			if child <= 0 || int(child) >= len(r.left) || seen[child] {
				return ir.Invalid("tree %d, node %d: a child is missing, out of range or has two parents; %s", index, at, remedy)
			}
			seen[child] = true
		}
		split, err := r.split(t, sets, at, index)
		if err != nil {
			return err
		}
		t.nodes = append(t.nodes, ir.Node{Split: split, Left: int32(len(queue)), Right: int32(len(queue) + 1)})
		queue = append(queue, left, right)
	}
	return nil
}

// split is the question of a node: a row goes left when its value is less than the condition, or when
// it is not in the set of categories.
func (r *rawTree) split(t *tree, sets map[int32][]int32, at int32, index int) (ir.Split, error) {
	s := ir.Split{Feature: r.feature[at], Compare: ir.LT, Missing: ir.MissingNaN, Default: r.defaultLeft[at] != 0}
	if s.Feature < 0 {
		return s, ir.Invalid("tree %d, node %d: its feature index is negative; %s", index, at, remedy)
	}
	kind := int32(0)
	if len(r.splitType) > 0 {
		kind = r.splitType[at]
	}
	switch kind {
	case 0:
		if s.Value = float64(r.condition[at]); math.IsNaN(s.Value) {
			return s, ir.Invalid("tree %d, node %d: its threshold is not a number; train again on clean data", index, at)
		}
	case 1:
		set, ok := sets[at]
		if !ok {
			return s, ir.Invalid("tree %d, node %d: it splits on categories but has none; %s", index, at, remedy)
		}
		s.Compare, s.Set = ir.NotIn, int32(len(t.sets))
		t.sets = append(t.sets, set)
	default:
		return s, ir.Invalid("tree %d, node %d: its split is of an unknown type; %s", index, at, remedy)
	}
	return s, nil
}

// leaf appends a leaf with its value or values.
func (r *rawTree) leaf(t *tree, at int32, index int) error {
	n := ir.Node{Leaf: int32(len(t.leaves))}
	values := r.condition[at : at+1]
	if t.vector > 1 {
		from, all := int(at), r.base
		if len(r.leaves) > 0 {
			from, all = int(r.right[at]), r.leaves
		}
		if from < 0 || (from+1)*t.vector > len(all) {
			return ir.Invalid("tree %d, leaf %d: its values are missing; %s", index, at, remedy)
		}
		values = all[from*t.vector : (from+1)*t.vector]
	} else if r.right[at] != -1 {
		return ir.Invalid("tree %d, node %d: it has one child; %s", index, at, remedy)
	}
	for _, v := range values {
		if !finite(v) {
			return ir.Invalid("tree %d, leaf %d: its value is not finite; train again on clean data", index, at)
		}
	}
	t.leaves = append(t.leaves, values...)
	t.nodes = append(t.nodes, n)
	return nil
}
