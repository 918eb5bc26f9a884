package compiler

import "math"

// ensemble is a sum of decision trees over one row of 32-bit floats, with a link at its end. It is the
// form between a model file and a module, and its methods are the oracle the module is held against.
type ensemble struct {
	format, library, objective string
	names                      []string // of the features, in the order of node.feature
	trees                      []tree
	base                       float32 // the margin before the first tree
	link                       link
	warnings                   []string
}

// tree holds its nodes in breadth-first order with siblings side by side; node 0 is the root.
type tree struct {
	nodes []node
	depth int // edges on the longest path
}

// node is a split, or a leaf when feature is negative. A row goes left when its value is less than
// value, to the default side when the value is missing, else right.
type node struct {
	feature     int32
	left        int32   // the right child is left+1
	value       float32 // threshold, or what the leaf adds
	defaultLeft bool
}

func (n *node) leaf() bool { return n.feature < 0 }

// link turns the margin into the output.
type link int

const (
	linkIdentity link = iota
	linkSigmoid
	linkExp
)

// margin is the raw sum for row: values are rounded to 32 bits first, and the leaves are added in the
// order of the trees, as XGBoost does (predictor/cpu_predictor.cc).
func (e *ensemble) margin(row []float64) float32 {
	sum := e.base
	for i := range e.trees {
		sum += e.trees[i].find(row)
	}
	return sum
}

func (t *tree) find(row []float64) float32 {
	n := &t.nodes[0]
	for !n.leaf() {
		x := float32(row[n.feature])
		next := n.left
		if x != x {
			if !n.defaultLeft {
				next++
			}
		} else if !(x < n.value) {
			next++
		}
		n = &t.nodes[next]
	}
	return n.value
}

// output applies the link.
func (e *ensemble) output(margin float32) float64 {
	switch e.link {
	case linkSigmoid:
		return float64(sigmoid(margin))
	case linkExp:
		return float64(float32(exp(float64(margin))))
	default:
		return float64(margin)
	}
}

// sigmoid is XGBoost's: 1 / (1 + exp(-x) + 1e-16) in 32 bits with the exponent clipped at 88.7
// (common/math.h).
func sigmoid(x float32) float32 {
	e := float32(exp(math.Min(-float64(x), sigmoidClip)))
	d := e + 1
	d += sigmoidEpsilon
	return 1 / d
}

const (
	sigmoidClip    = float64(float32(88.7))
	sigmoidEpsilon = float32(1e-16)

	// The exponent is kept where its power of two is a normal 64-bit float.
	expMin = -700
	expMax = 700

	log2E    = 1.4426950408889634
	ln2High  = 6.93147180369123816490e-01 // fdlibm e_exp.c: trailing zeros make k×ln2High exact
	ln2Low   = 1.90821492927058770002e-10
	expTerms = 11
)

// exp is e^x with a relative error below 1e-13: x = k ln 2 + r with |r| <= ln(2)/2, e^r by its Taylor
// series, scaled by 2^k. The module computes the same operations in the same order; the conversions
// keep the Go compiler from fusing them.
func exp(x float64) float64 {
	if x != x {
		return x
	}
	x = math.Max(math.Min(x, expMax), expMin)
	k := math.RoundToEven(float64(x * log2E))
	r := x - float64(k*ln2High)
	r -= float64(k * ln2Low)
	p := expCoefficient(expTerms - 1)
	for i := expTerms - 2; i >= 0; i-- {
		p = float64(p*r) + expCoefficient(i)
	}
	return p * math.Float64frombits(uint64(int64(k)+1023)<<52)
}

// expCoefficient is 1/i!.
func expCoefficient(i int) float64 {
	f := 1.0
	for ; i > 1; i-- {
		f *= float64(i)
	}
	return 1 / f
}

// nodes counts the splits and leaves of all trees.
func (e *ensemble) nodes() int {
	n := 0
	for i := range e.trees {
		n += len(e.trees[i].nodes)
	}
	return n
}

// depth is that of the deepest tree.
func (e *ensemble) depth() int {
	d := 0
	for i := range e.trees {
		d = max(d, e.trees[i].depth)
	}
	return d
}

// reorder renumbers the features: the new number of feature i is to[i].
func (e *ensemble) reorder(to []int) {
	names := make([]string, len(e.names))
	for i, name := range e.names {
		names[to[i]] = name
	}
	e.names = names
	for i := range e.trees {
		for j := range e.trees[i].nodes {
			if n := &e.trees[i].nodes[j]; !n.leaf() {
				n.feature = int32(to[n.feature])
			}
		}
	}
}
