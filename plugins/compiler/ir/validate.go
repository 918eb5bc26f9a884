package ir

import (
	"fmt"
	"math"
	"slices"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The limits of a model.
const (
	MaxInputs    = 4096
	MaxSteps     = 4096
	MaxLength    = 65_536    // numbers of one vector
	MaxWeights   = 4_000_000 // constants of all steps but trees
	MaxTrees     = 20_000
	MaxNodes     = 2_000_000 // of all trees
	MaxTreeNodes = 65_535
	MaxTreeDepth = 256
	MaxOutputs   = 1024    // of one step of trees
	MaxCategory  = 1 << 23 // the greatest category of a set
	MaxSetBytes  = 8 << 20 // all sets together, as bits
	MaxLevels    = 16      // of an oblivious tree
)

// Invalid is an error with CodeModelInvalid.
func Invalid(format string, args ...any) error {
	return nba.Errorf(nba.CodeModelInvalid, format, args...)
}

// Validate checks that the program is well-formed and within the limits, and that every tree is one.
// Errors are *nba.Error with CodeModelInvalid.
func (m *Model) Validate() error {
	if len(m.Inputs) == 0 || len(m.Inputs) > MaxInputs {
		return Invalid("the model has %d inputs, not between 1 and %d; select features before training", len(m.Inputs), MaxInputs)
	}
	if len(m.Steps) > MaxSteps {
		return Invalid("the model has %d steps, more than %d; simplify the pipeline", len(m.Steps), MaxSteps)
	}
	if err := m.uniqueNames(); err != nil {
		return err
	}
	lengths, err := m.Lengths()
	if err != nil {
		return err
	}
	if err := m.checkTotals(); err != nil {
		return err
	}
	for _, r := range [...]Ref{m.Raw, m.Output} {
		if r < 0 || int(r) >= len(lengths) {
			return Invalid("the model's output is no step of it")
		}
		n, classes := lengths[r], len(m.Classes)
		if n == 0 || n != classes && !(n == 1 && (classes == 0 || classes == 2)) {
			return Invalid("the model has %d outputs and %d classes", n, classes)
		}
	}
	return nil
}

func (m *Model) uniqueNames() error {
	seen := make(map[string]bool, len(m.Inputs))
	for i, v := range m.Inputs {
		if v.Name == "" || seen[v.Name] {
			return Invalid("the name of feature %d is empty or repeated; rename it before training", i)
		}
		seen[v.Name] = true
	}
	classes := make(map[string]bool, len(m.Classes))
	for _, c := range m.Classes {
		if classes[c] {
			return Invalid("the class %q is there twice", c)
		}
		classes[c] = true
	}
	return nil
}

// Lengths tells how many numbers each vector has, by Ref, and checks each step.
func (m *Model) Lengths() ([]int, error) {
	lengths := make([]int, 1, len(m.Steps)+1)
	lengths[0] = len(m.Inputs)
	var refs []Ref
	for i, s := range m.Steps {
		if s == nil {
			return nil, Invalid("step %d is missing", i+1)
		}
		refs = s.From(refs[:0])
		for _, r := range refs {
			if r < 0 || int(r) >= len(lengths) {
				return nil, Invalid("step %d reads a later step", i+1)
			}
		}
		n, err := s.length(func(r Ref) int { return lengths[r] })
		if err != nil {
			return nil, Invalid("step %d (%T): %v", i+1, s, err)
		}
		if n < 1 || n > MaxLength {
			return nil, Invalid("step %d (%T) has %d values, not between 1 and %d", i+1, s, n, MaxLength)
		}
		lengths = append(lengths, n)
	}
	return lengths, nil
}

// checkTotals checks the limits that hold for all steps together.
func (m *Model) checkTotals() error {
	weights, trees, nodes, sets := 0, 0, 0, 0
	for _, s := range m.Steps {
		switch s := s.(type) {
		case *Trees:
			trees += len(s.Trees)
			for i := range s.Trees {
				nodes += len(s.Trees[i].Nodes)
			}
			for _, set := range s.Sets {
				if len(set) > 0 {
					sets += int(set[len(set)-1])/8 + 1
				}
			}
			for i := range s.LinearLeaves {
				nodes += len(s.LinearLeaves[i].Features)
			}
		case *Oblivious:
			trees += len(s.Trees)
			for i := range s.Trees {
				nodes += 1 << len(s.Trees[i].Splits)
			}
		case *Linear:
			if len(s.Weights) > 0 {
				weights += len(s.Weights) * len(s.Weights[0])
			}
		case *Lookup:
			weights += len(s.Keys)
		case *Const:
			weights += len(s.Values)
		case *OneHot:
			for _, c := range s.Categories {
				weights += len(c)
			}
		case *Bucket:
			for _, c := range s.Bounds {
				weights += len(c)
			}
		}
	}
	switch {
	case trees > MaxTrees:
		return Invalid("the model has %d trees, more than %d; train fewer", trees, MaxTrees)
	case nodes > MaxNodes:
		return Invalid("the model has %d nodes, more than %d; train fewer or shallower trees", nodes, MaxNodes)
	case sets > MaxSetBytes:
		return Invalid("the sets of categories need %d bytes, more than %d; use fewer categories", sets, MaxSetBytes)
	case weights > MaxWeights:
		return Invalid("the model has %d weights, more than %d; train a smaller one", weights, MaxWeights)
	}
	return nil
}

// per checks that there is one value, or one for each of n.
func per(what string, values, n int) error {
	if values != 1 && values != n {
		return fmt.Errorf("there are %d values of %s for %d columns", values, what, n)
	}
	return nil
}

func (s *Gather) length(of func(Ref) int) (int, error) {
	for _, c := range s.Columns {
		if c < 0 || c >= of(s.In) {
			return 0, fmt.Errorf("column %d is not there", c)
		}
	}
	return len(s.Columns), nil
}

func (s *Concat) length(of func(Ref) int) (n int, err error) {
	for _, r := range s.Parts {
		n += of(r)
	}
	return n, nil
}

func (s *Const) length(func(Ref) int) (int, error) { return len(s.Values), nil }

func (s *Cast) length(of func(Ref) int) (int, error) {
	if s.To > ToRounded {
		return 0, fmt.Errorf("unknown cast %d", s.To)
	}
	return of(s.In), nil
}

func (s *Impute) length(of func(Ref) int) (int, error) {
	return of(s.In), per("the replacement", len(s.Values), of(s.In))
}

func (s *Affine) length(of func(Ref) int) (int, error) {
	if err := per("the offset", len(s.Offset), of(s.In)); err != nil {
		return 0, err
	}
	return of(s.In), per("the scale", len(s.Scale), of(s.In))
}

func (s *OneHot) length(of func(Ref) int) (n int, err error) {
	if len(s.Categories) != of(s.In) {
		return 0, fmt.Errorf("there are categories for %d of %d columns", len(s.Categories), of(s.In))
	}
	for _, c := range s.Categories {
		n += len(c)
	}
	return n, nil
}

func (s *Lookup) length(of func(Ref) int) (int, error) {
	if len(s.Keys) != len(s.Values) || !ascending(s.Keys) {
		return 0, fmt.Errorf("the keys are not ascending, or there is not one value for each")
	}
	return of(s.In), nil
}

func (s *Bucket) length(of func(Ref) int) (int, error) {
	if len(s.Bounds) != of(s.In) {
		return 0, fmt.Errorf("there are bounds for %d of %d columns", len(s.Bounds), of(s.In))
	}
	for _, b := range s.Bounds {
		if !ascending(b) {
			return 0, fmt.Errorf("the bounds are not ascending")
		}
	}
	return of(s.In), nil
}

// ascending tells whether each value is greater than the one before, and none is NaN.
func ascending(values []float64) bool {
	for i, v := range values {
		if v != v || i > 0 && !(v > values[i-1]) {
			return false
		}
	}
	return true
}

func (s *Linear) length(of func(Ref) int) (int, error) {
	if len(s.Bias) != 0 && len(s.Bias) != len(s.Weights) {
		return 0, fmt.Errorf("there are %d biases for %d rows of weights", len(s.Bias), len(s.Weights))
	}
	for _, w := range s.Weights {
		if len(w) != of(s.In) {
			return 0, fmt.Errorf("there are %d weights for %d columns", len(w), of(s.In))
		}
	}
	return len(s.Weights), nil
}

// broadcast is the common length of vectors of which some may have length 1.
func broadcast(lengths ...int) (int, error) {
	n := slices.Max(lengths)
	for _, l := range lengths {
		if l != n && l != 1 {
			return 0, fmt.Errorf("vectors of %d and %d values do not go together", l, n)
		}
	}
	return n, nil
}

func (s *Arith) length(of func(Ref) int) (int, error) {
	if s.Op > NotEqual {
		return 0, fmt.Errorf("unknown operation %d", s.Op)
	}
	return broadcast(of(s.A), of(s.B))
}

func (s *Where) length(of func(Ref) int) (int, error) {
	return broadcast(of(s.Cond), of(s.A), of(s.B))
}

func (s *Activation) length(of func(Ref) int) (int, error) {
	if s.Func > CLogLog {
		return 0, fmt.Errorf("unknown function %d", s.Func)
	}
	return of(s.In), nil
}

func (s *Normalize) length(of func(Ref) int) (int, error) {
	if s.Norm > NormSum {
		return 0, fmt.Errorf("unknown norm %d", s.Norm)
	}
	return of(s.In), nil
}

func (s *Reduce) length(of func(Ref) int) (int, error) {
	if s.By > ReduceArgMax {
		return 0, fmt.Errorf("unknown reduction %d", s.By)
	}
	return 1, nil
}

// fits32 tells whether v needs no more than 32 bits.
func fits32(v float64) bool { return v != v || float64(float32(v)) == v }

// sums checks what Trees and Oblivious have in common.
func sums(outputs int, base []float64, acc Width) error {
	if outputs < 1 || outputs > MaxOutputs {
		return fmt.Errorf("there are %d outputs, not between 1 and %d", outputs, MaxOutputs)
	}
	if len(base) != 0 && len(base) != outputs {
		return fmt.Errorf("there are %d bases for %d outputs", len(base), outputs)
	}
	return accumulates(base, acc)
}

func accumulates(values []float64, acc Width) error {
	if acc == F32 && !slices.ContainsFunc(values, func(v float64) bool { return !fits32(v) }) || acc == F64 {
		return nil
	}
	return fmt.Errorf("a value that is summed in 32 bits has more")
}

func (s *Split) check(columns, sets int) error {
	switch {
	case s.Compare < LT || s.Compare > NotIn || s.Missing > MissingNone:
		return fmt.Errorf("a split is of an unknown kind")
	case s.Feature < 0 || int(s.Feature) >= columns:
		return fmt.Errorf("a split asks for a column that is not there")
	case s.Compare >= In && (s.Set < 0 || int(s.Set) >= sets):
		return fmt.Errorf("a split asks for a set that is not there")
	case s.Compare < In && math.IsNaN(s.Value):
		return fmt.Errorf("a threshold is not a number")
	}
	return nil
}

func (s *Trees) length(of func(Ref) int) (int, error) {
	if err := sums(s.Outputs, s.Base, s.Acc); err != nil {
		return 0, err
	}
	if err := accumulates(s.Leaves, s.Acc); err != nil {
		return 0, err
	}
	for _, set := range s.Sets {
		for i, c := range set {
			if c < 0 || c > MaxCategory || i > 0 && c <= set[i-1] {
				return 0, fmt.Errorf("a set of categories is not ascending or has one beyond %d", MaxCategory)
			}
		}
	}
	if len(s.LinearLeaves) > 0 && s.Acc != F64 {
		return 0, fmt.Errorf("linear leaves are summed in 32 bits")
	}
	for i := range s.LinearLeaves {
		l := &s.LinearLeaves[i]
		if len(l.Features) != len(l.Coefficients) || len(l.Features) > MaxInputs {
			return 0, fmt.Errorf("a linear leaf has %d features and %d coefficients", len(l.Features), len(l.Coefficients))
		}
		for _, f := range l.Features {
			if f < 0 || int(f) >= of(s.In) {
				return 0, fmt.Errorf("a linear leaf reads a column that is not there")
			}
		}
	}
	for i := range s.Trees {
		if err := s.checkTree(&s.Trees[i], of(s.In)); err != nil {
			return 0, fmt.Errorf("tree %d: %w", i, err)
		}
	}
	return s.Outputs, nil
}

// checkTree checks one tree: children come after their parent and have one parent, all nodes are
// reached, no path is too long.
func (s *Trees) checkTree(t *Tree, columns int) error {
	n := len(t.Nodes)
	if n == 0 || n > MaxTreeNodes {
		return fmt.Errorf("it has %d nodes, not between 1 and %d", n, MaxTreeNodes)
	}
	values := 1
	if t.Output == AllOutputs {
		values = s.Outputs
	} else if t.Output < 0 || int(t.Output) >= s.Outputs {
		return fmt.Errorf("it adds to an output that is not there")
	}
	depth := make([]int16, n) // plus one; 0 is not reached
	depth[0] = 1
	for i := range t.Nodes {
		node := &t.Nodes[i]
		if depth[i] == 0 {
			return fmt.Errorf("node %d has no parent before it", i)
		}
		if node.Compare == Leaf {
			if node.Leaf < 0 || int(node.Leaf)+values > len(s.Leaves) || node.Linear < 0 || int(node.Linear) > len(s.LinearLeaves) || node.Linear > 0 && t.Output == AllOutputs {
				return fmt.Errorf("leaf %d has no value", i)
			}
			continue
		}
		if err := node.check(columns, len(s.Sets)); err != nil {
			return fmt.Errorf("node %d: %w", i, err)
		}
		for _, child := range [...]int32{node.Left, node.Right} {
			if int(child) <= i || int(child) >= n || depth[child] != 0 {
				return fmt.Errorf("node %d: a child is missing, comes before it or has two parents", i)
			}
			if depth[child] = depth[i] + 1; depth[child] > MaxTreeDepth+1 {
				return fmt.Errorf("it is deeper than %d; train with a maximum depth", MaxTreeDepth)
			}
		}
	}
	return nil
}

func (s *Oblivious) length(of func(Ref) int) (int, error) {
	if err := sums(s.Outputs, s.Base, s.Acc); err != nil {
		return 0, err
	}
	for i := range s.Splits {
		if s.Splits[i].Compare >= In {
			return 0, fmt.Errorf("split %d asks for a set", i)
		}
		if err := s.Splits[i].check(of(s.In), 0); err != nil {
			return 0, fmt.Errorf("split %d: %w", i, err)
		}
	}
	for i := range s.Trees {
		t := &s.Trees[i]
		if len(t.Splits) > MaxLevels || len(t.Leaves) != s.Outputs<<len(t.Splits) {
			return 0, fmt.Errorf("tree %d has %d levels and %d leaf values", i, len(t.Splits), len(t.Leaves))
		}
		for _, d := range t.Splits {
			if d < 0 || int(d) >= len(s.Splits) {
				return 0, fmt.Errorf("tree %d asks a split that is not there", i)
			}
		}
		if err := accumulates(t.Leaves, s.Acc); err != nil {
			return 0, err
		}
	}
	return s.Outputs, nil
}
