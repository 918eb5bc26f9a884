package ir

// Compare is how a split compares a value with its threshold or set.
type Compare uint8

// The comparisons: a row goes left, to the true side, where the comparison holds.
const (
	Leaf  Compare = iota // not a split
	LT                   // value < threshold
	LE                   // value <= threshold
	GT                   // value > threshold
	GE                   // value >= threshold
	EQ                   // value == threshold
	NE                   // value != threshold
	In                   // the value, rounded toward zero, is in the set
	NotIn                // it is not
)

// Missing tells which values take the default side of a split instead of being compared.
type Missing uint8

// The kinds of missing values.
const (
	MissingNaN  Missing = iota // NaN
	MissingZero                // NaN, and |value| <= 1e-35 in 32 bits (LightGBM's zero)
	MissingNone                // none: NaN is compared as 0
)

// ZeroThreshold is the greatest magnitude that MissingZero takes for 0: 1e-35 in 32 bits.
const ZeroThreshold = float64(float32(1e-35))

// Split is a question to one column.
type Split struct {
	Feature int32 // column of the step's In
	Compare Compare
	Missing Missing
	Default bool    // whether missing values go left
	Value   float64 // the threshold, exact: never rounded to fewer bits
	Set     int32   // of In and NotIn: index in Sets
}

// Node is a split, or with Compare Leaf a leaf. Node 0 of a tree is its root; the children of a split
// come after it, and each node but the root is the child of exactly one.
type Node struct {
	Split
	Left, Right int32
	// Leaf is what a leaf adds: the index in Leaves of the first of the tree's values. For a tree with
	// a single Output that is one value, else Outputs values.
	Leaf int32
	// Linear is the index + 1 in LinearLeaves of a leaf with a linear model; 0 for none. Its tree has
	// a single Output.
	Linear int32
}

// Tree is a decision tree.
type Tree struct {
	// Output is the output that the leaves add to, or AllOutputs where each leaf adds to all.
	Output int32
	Nodes  []Node
}

// AllOutputs marks a tree whose leaves add one value to every output.
const AllOutputs = -1

// LinearLeaf is a leaf's linear model: Constant plus the products in order, or the leaf's own value
// when one of the features is missing. It is computed in 64 bits.
type LinearLeaf struct {
	Constant     float64
	Features     []int32
	Coefficients []float64
}

// Trees sums decision trees: each output starts with its Base (0 when Base is empty), then the trees
// are added in order, rounding to Acc after each. Dividing by the number of trees, bases that are
// added last and links are steps of their own.
type Trees struct {
	In  Ref
	Row Width // what values are rounded to before they are compared
	Acc Width // of the sums; bases and leaves must fit
	// Outputs is the number of sums.
	Outputs int
	Base    []float64
	Trees   []Tree
	Leaves  []float64
	// Sets are the sets of categories of In and NotIn splits, each ascending, from 0 to MaxCategory.
	// Values below 0, beyond MaxCategory and infinite ones are in none; so is, unless NegativeZero is
	// set, a value between -1 and 0, which is otherwise rounded to 0.
	Sets         [][]int32
	NegativeZero bool
	LinearLeaves []LinearLeaf
}

// Oblivious sums trees that ask the same question everywhere on a level: bit d of the index of a leaf
// is the answer to the d-th split of its tree. Sums are as in Trees.
type Oblivious struct {
	In       Ref
	Row, Acc Width
	Outputs  int
	Base     []float64
	Splits   []Split // shared by the trees; no In or NotIn
	Trees    []ObliviousTree
}

// ObliviousTree names its splits by index; Leaves has Outputs values for each of its 2^len(Splits)
// leaves.
type ObliviousTree struct {
	Splits []int32
	Leaves []float64
}
