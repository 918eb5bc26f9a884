package lightgbm

import (
	"math"
	"math/bits"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// rawTree is one tree as the file has it: splits are numbered from 0, and a child below 0 is leaf
// number -child-1.
type rawTree struct {
	number                      int // from 0
	leaves, sets                int
	linear                      bool
	value, constant, threshold  []float64
	feature, left, right        []int
	decision, boundaries        []int
	words                       []uint32
	known                       []int32 // of each set its index in the model + 1; 0 before it is read
	linearCount, linearFeatures []int
	coefficients                []float64
	linearStart                 []int // of each leaf in linearFeatures
}

// The bits of a decision type.
const (
	decisionCategorical = 1
	decisionDefaultLeft = 2
	decisionMissing     = 2 // how far the kind of missing values is shifted
)

// maxTreeLines bounds the lines of a tree.
const maxTreeLines = 64

// readTree reads lines of key=value up to an empty one and appends the tree.
func (f *modelFile) readTree() error {
	n := len(f.trees.Trees)
	if n >= ir.MaxTrees {
		return ir.Invalid("the model has more than %d trees; train fewer", ir.MaxTrees)
	}
	r := &f.raw
	*r = rawTree{number: n}
	keys := make(map[string]string, 24)
	for {
		line, ok := f.next()
		if !ok || len(line) == 0 {
			break
		}
		key, value, found := strings.Cut(string(line), "=")
		if _, twice := keys[key]; !found || twice || len(keys) >= maxTreeLines {
			return f.malformed("tree %d has a line that is no key=value, or a key twice", n)
		}
		keys[key] = value
	}
	if err := r.parse(keys); err != nil {
		return err
	}
	return f.addTree(r)
}

// invalid is a mistake in this tree.
func (r *rawTree) invalid(format string, args ...any) error {
	return ir.Invalid("tree %d: "+format+"; "+remedy, append([]any{r.number}, args...)...)
}

// parse reads the values of a tree.
func (r *rawTree) parse(keys map[string]string) (err error) {
	if r.leaves, err = r.count(keys, "num_leaves", 1, ir.MaxTreeNodes/2+1); err != nil {
		return err
	}
	if r.sets, err = r.count(keys, "num_cat", 0, r.leaves); err != nil {
		return err
	}
	r.linear = keys["is_linear"] == "1"
	splits := r.leaves - 1
	r.value, err = r.floats(keys, "leaf_value", r.leaves, err)
	if r.linear {
		err = r.parseLinear(keys, err)
	}
	if splits == 0 || err != nil {
		return err
	}
	r.left, err = r.whole(keys, "left_child", splits, err)
	r.right, err = r.whole(keys, "right_child", splits, err)
	r.feature, err = r.whole(keys, "split_feature", splits, err)
	r.threshold, err = r.floats(keys, "threshold", splits, err)
	if _, ok := keys["decision_type"]; ok {
		r.decision, err = r.whole(keys, "decision_type", splits, err)
	} else {
		r.decision = make([]int, splits)
	}
	if r.sets == 0 || err != nil {
		return err
	}
	r.boundaries, err = r.whole(keys, "cat_boundaries", r.sets+1, err)
	if err != nil {
		return err
	}
	for i, b := range r.boundaries {
		if b < 0 || i > 0 && b < r.boundaries[i-1] || b > len(keys["cat_threshold"]) {
			return r.invalid("cat_boundaries do not ascend, or lie beyond cat_threshold")
		}
	}
	words, ok := fields(keys["cat_threshold"], r.boundaries[r.sets])
	if !ok || len(words) != r.boundaries[r.sets] {
		return r.invalid("cat_threshold has %d numbers, not %d", len(words), r.boundaries[r.sets])
	}
	r.known = make([]int32, r.sets)
	for _, text := range words {
		w, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return r.invalid("cat_threshold has what is no number of 32 bits")
		}
		r.words = append(r.words, uint32(w))
	}
	return nil
}

// parseLinear reads the linear models of the leaves.
func (r *rawTree) parseLinear(keys map[string]string, err error) error {
	r.constant, err = r.floats(keys, "leaf_const", r.leaves, err)
	r.linearCount, err = r.whole(keys, "num_features", r.leaves, err)
	if err != nil {
		return err
	}
	total := 0
	for _, n := range r.linearCount {
		if n < 0 || n > ir.MaxInputs {
			return r.invalid("a leaf has a negative number of features, or more than %d", ir.MaxInputs)
		}
		r.linearStart = append(r.linearStart, total)
		total += n
	}
	// LightGBM writes two spaces where a leaf has no features.
	keys["leaf_features"] = strings.Join(strings.Fields(keys["leaf_features"]), " ")
	keys["leaf_coeff"] = strings.Join(strings.Fields(keys["leaf_coeff"]), " ")
	r.linearFeatures, err = r.whole(keys, "leaf_features", total, err)
	r.coefficients, err = r.floats(keys, "leaf_coeff", total, err)
	return err
}

func (r *rawTree) count(keys map[string]string, key string, least, most int) (int, error) {
	n, err := strconv.Atoi(keys[key])
	if err != nil || n < least || n > most {
		return 0, r.invalid("%s is missing or not between %d and %d", key, least, most)
	}
	return n, nil
}

// whole reads n whole numbers of 32 bits, unless there was a mistake before.
func (r *rawTree) whole(keys map[string]string, key string, n int, err error) ([]int, error) {
	words, ok := fields(keys[key], n)
	if err != nil || !ok || len(words) != n {
		return nil, r.sooner(err, key, len(words), n)
	}
	out := make([]int, n)
	for i, w := range words {
		v, err := strconv.ParseInt(w, 10, 32)
		if err != nil {
			return nil, r.invalid("%s has what is no whole number of 32 bits", key)
		}
		out[i] = int(v)
	}
	return out, nil
}

// floats reads n numbers of 64 bits, unless there was a mistake before. Numbers beyond the greatest
// are infinite, as they are for LightGBM.
func (r *rawTree) floats(keys map[string]string, key string, n int, err error) ([]float64, error) {
	words, ok := fields(keys[key], n)
	if err != nil || !ok || len(words) != n {
		return nil, r.sooner(err, key, len(words), n)
	}
	out := make([]float64, n)
	for i, w := range words {
		v, err := strconv.ParseFloat(w, 64)
		if err != nil && !math.IsInf(v, 0) || strings.ContainsAny(w, "xX_") {
			return nil, r.invalid("%s has what is no number", key)
		}
		out[i] = v
	}
	return out, nil
}

func (r *rawTree) sooner(err error, key string, got, want int) error {
	if err != nil {
		return err
	}
	return r.invalid("%s is missing or has %d values, not %d", key, got, want)
}

// addTree appends the nodes that the root reaches in breadth-first order.
func (f *modelFile) addTree(r *rawTree) error {
	splits := r.leaves - 1
	t := ir.Tree{Nodes: make([]ir.Node, 0, 2*splits+1)}
	queue := make([]int, 1, 2*splits+1) // numbers in the file, in the new order
	if splits == 0 {
		queue[0] = -1
	}
	seen := make([]bool, 2*splits+1) // splits, then leaves
	for i := 0; i < len(queue); i++ {
		at := queue[i]
		if at < 0 {
			n, err := f.leaf(r, -at-1)
			if err != nil {
				return err
			}
			t.Nodes = append(t.Nodes, n)
			continue
		}
		for _, child := range [...]int{r.left[at], r.right[at]} {
			place := child
			if child < 0 {
				place = splits - child - 1
			}
			if child == 0 || child >= splits || place >= len(seen) || seen[place] {
				return r.invalid("split %d: a child is out of range or has two parents", at)
			}
			seen[place] = true
		}
		s, err := f.split(r, at)
		if err != nil {
			return err
		}
		t.Nodes = append(t.Nodes, ir.Node{Split: s, Left: int32(len(queue)), Right: int32(len(queue) + 1)})
		queue = append(queue, r.left[at], r.right[at])
	}
	if f.nodes += len(t.Nodes); f.nodes > ir.MaxNodes {
		return ir.Invalid("the model has more than %d nodes; train fewer or smaller trees", ir.MaxNodes)
	}
	f.trees.Trees = append(f.trees.Trees, t)
	return nil
}

// leaf is a leaf with its value or linear model.
func (f *modelFile) leaf(r *rawTree, number int) (ir.Node, error) {
	n := ir.Node{Leaf: int32(len(f.trees.Leaves))}
	v := r.value[number]
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return n, r.invalid("leaf %d: its value is not finite", number)
	}
	f.trees.Leaves = append(f.trees.Leaves, v)
	if !r.linear {
		return n, nil
	}
	l := ir.LinearLeaf{Constant: r.constant[number]}
	from := r.linearStart[number]
	for i := from; i < from+r.linearCount[number]; i++ {
		if c := r.linearFeatures[i]; c < 0 || c >= f.columns {
			return n, r.invalid("leaf %d: it reads a column that the model does not have", number)
		}
		l.Features = append(l.Features, int32(r.linearFeatures[i]))
		l.Coefficients = append(l.Coefficients, r.coefficients[i])
	}
	for _, c := range append([]float64{l.Constant}, l.Coefficients...) {
		if math.IsNaN(c) || math.IsInf(c, 0) {
			return n, r.invalid("leaf %d: a coefficient is not finite", number)
		}
	}
	f.trees.LinearLeaves = append(f.trees.LinearLeaves, l)
	n.Linear = int32(len(f.trees.LinearLeaves))
	return n, nil
}

// split is the question of a split: a row goes left when its value is at most the threshold, or when it
// is in the set of categories; a missing category always goes right.
func (f *modelFile) split(r *rawTree, at int) (ir.Split, error) {
	decision := r.decision[at]
	if c := r.feature[at]; c < 0 || c >= f.columns {
		return ir.Split{}, r.invalid("split %d: it reads a column that the model does not have", at)
	}
	s := ir.Split{Feature: int32(r.feature[at]), Compare: ir.LE, Default: decision&decisionDefaultLeft != 0}
	if decision&decisionCategorical != 0 {
		s.Compare, s.Missing, s.Default = ir.In, ir.MissingNaN, false
		f.categorical = f.categorical || decision>>decisionMissing != 2
		var err error
		s.Set, err = f.set(r, at)
		return s, err
	}
	switch decision >> decisionMissing {
	case 0:
		s.Missing = ir.MissingNone
	case 1:
		s.Missing = ir.MissingZero
	case 2:
		s.Missing = ir.MissingNaN
	default:
		return s, r.invalid("split %d: its decision type is unknown", at)
	}
	if s.Value = r.threshold[at]; math.IsNaN(s.Value) {
		return s, r.invalid("split %d: its threshold is not a number", at)
	}
	s.Value = beyondZero(s.Value)
	return s, nil
}

// beyondZero moves a threshold out of the range that LightGBM takes for zero: it drops values of a
// magnitude up to 1e-35 (in 32 bits) from every row before it compares, so that they are 0 for each
// threshold. Of rows with 0 in their place the moved threshold says the same.
func beyondZero(t float64) float64 {
	switch {
	case t >= -ir.ZeroThreshold && t < 0:
		return math.Nextafter(-ir.ZeroThreshold, math.Inf(-1))
	case t >= 0 && t < ir.ZeroThreshold:
		return ir.ZeroThreshold
	default:
		return t
	}
}

// set is the index of the categories of a split: its threshold is the number of a bit set.
func (f *modelFile) set(r *rawTree, at int) (int32, error) {
	i := r.threshold[at]
	if !(i >= 0 && i < float64(r.sets)) || i != math.Trunc(i) {
		return 0, r.invalid("split %d: its set of categories is not there", at)
	}
	known := &r.known[int(i)]
	if *known > 0 {
		return *known - 1, nil
	}
	var set []int32
	for w, word := range r.words[r.boundaries[int(i)]:r.boundaries[int(i)+1]] {
		for ; word != 0; word &= word - 1 {
			c := w*32 + bits.TrailingZeros32(word)
			if c > ir.MaxCategory {
				return 0, ir.Invalid("tree %d, split %d: a category is beyond %d; number the categories of a column from 0 before training", r.number, at, ir.MaxCategory)
			}
			set = append(set, int32(c))
		}
	}
	if f.members += len(set); f.members > maxMembers {
		return 0, ir.Invalid("the sets of categories have more than %d members together; use fewer categories", maxMembers)
	}
	*known = f.share(set) + 1
	return *known - 1, nil
}

// share is the index of a set among those of the model, which it joins if it is new.
func (f *modelFile) share(set []int32) int32 {
	key := make([]byte, 0, 4*len(set))
	for _, c := range set {
		key = append(key, byte(c), byte(c>>8), byte(c>>16), byte(c>>24))
	}
	i, ok := f.sets[string(key)]
	if !ok {
		i = int32(len(f.trees.Sets))
		f.trees.Sets = append(f.trees.Sets, set)
		f.sets[string(key)] = i
	}
	return i
}
