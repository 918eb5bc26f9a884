package xgboost

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// number is a whole number of decimal digits, or -1.
func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// model checks what the file says about the model as a whole and makes the program.
func (f *modelFile) model() (*ir.Model, error) {
	switch {
	case !f.learner && f.dump:
		return nil, ir.Invalid("this is LightGBM's dump_model, which is no model file; save the booster with booster.save_model(\"model.txt\")")
	case !f.learner:
		return nil, ir.Invalid("the file has no learner, so it is no XGBoost model; %s", remedy)
	}
	m := &ir.Model{Source: ir.Source{Format: f.format, Library: f.library(), Objective: f.objective}}
	outputs, err := f.outputCount()
	if err != nil {
		return nil, err
	}
	o, ok := objectiveOf(f.objective)
	if !ok {
		return nil, ir.Invalid("the objective is missing or not supported; train with binary:logistic or multi:softprob for propensities, or with reg:squarederror, reg:absoluteerror, reg:quantileerror, count:poisson, reg:gamma, reg:tweedie, survival:cox or survival:aft for a value")
	}
	base, err := f.base(o, outputs)
	if err != nil {
		return nil, err
	}
	switch f.booster {
	case "gbtree", "dart":
		m.Raw, err = f.addTrees(m, base)
	case "gblinear":
		m.Raw, err = f.addLinear(m, base)
	default:
		err = ir.Invalid("the booster is missing or unknown; train with gbtree, dart or gblinear and %s", remedy)
	}
	if err != nil {
		return nil, err
	}
	if err := f.link(m, o, outputs); err != nil {
		return nil, err
	}
	f.warn(m, outputs)
	return m, nil
}

// outputCount is the number of classes, or of targets.
func (f *modelFile) outputCount() (int, error) {
	classes, err := f.parameter("num_class", 0)
	if err != nil {
		return 0, err
	}
	targets, err := f.parameter("num_target", 1)
	if err != nil {
		return 0, err
	}
	n := max(classes, targets, 1)
	if classes > 1 && targets > 1 || n > ir.MaxOutputs {
		return 0, ir.Invalid("the model has several classes for several targets, or more than %d outputs; train one model per target", ir.MaxOutputs)
	}
	return n, nil
}

const (
	// maxColumns bounds the columns of a file; those that no tree reads do not count as inputs.
	maxColumns = 1 << 20
	// compactAbove is the greatest category of a column up to which tables by category are small enough.
	compactAbove = 1 << 14
)

// columnCount is the number of columns that the model was trained on.
func (f *modelFile) columnCount() (int, error) {
	n, err := f.parameter("num_feature", 0)
	if err != nil || n < 1 || n > maxColumns {
		return 0, ir.Invalid("num_feature is missing or not between 1 and %d; select features before training and save the model again", maxColumns)
	}
	if len(f.names) != 0 && len(f.names) != n || len(f.columns) > n {
		return 0, ir.Invalid("the file names %d features but the model has %d; %s", max(len(f.names), len(f.columns)), n, remedy)
	}
	return n, nil
}

// inputs sets the variables of the model and gives the vector that it reads. s are its trees, nil for a
// linear model. Columns of texts are numbered by the host; columns of numbers that were categories of a
// data frame are numbered here, and so are categories that are far apart.
func (f *modelFile) inputs(m *ir.Model, n int, s *ir.Trees) (ir.Ref, error) {
	kept := make([]int, n)
	for i := range kept {
		kept[i] = i
	}
	if n > ir.MaxInputs && s != nil {
		kept = s.KeepUsed()
		m.Warnings = append(m.Warnings, fmt.Sprintf("the model was trained on %d columns and reads %d of them; the others are left out", n, len(kept)))
	}
	recoded := make([]*ir.Recoding, len(kept))
	for i, c := range kept {
		v := ir.Variable{Name: fmt.Sprintf("f%d", c)} // as XGBoost calls them
		if len(f.names) > 0 {
			v.Name = f.names[c]
		}
		if c < len(f.columns) {
			v.Categories = f.columns[c].texts
			codes, err := ir.Codes(f.columns[c].numbers)
			if err != nil {
				return 0, ir.Invalid("feature %d: its categories are there twice; %s", c, remedy)
			}
			if codes != nil {
				recoded[i] = &ir.Recoding{Codes: codes}
			}
		}
		m.Inputs = append(m.Inputs, v)
	}
	if len(f.columns) == 0 && s != nil {
		for c, r := range s.Compact(compactAbove) {
			recoded[c] = r
		}
	}
	return m.Recode(recoded), nil
}

// base is the margin before the first tree, for each output: base_score goes through the inverse of
// the link. Since 3.1 it is a vector.
func (f *modelFile) base(o objective, outputs int) ([]float32, error) {
	text, ok := f.parameters["base_score"]
	if !ok {
		return nil, ir.Invalid("base_score is missing; %s", remedy)
	}
	text = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(text), "["), "]")
	parts := strings.Split(text, ",")
	if len(parts) != 1 && len(parts) != outputs {
		return nil, ir.Invalid("base_score has %d values for %d outputs; %s", len(parts), outputs, remedy)
	}
	base := make([]float32, outputs)
	for i := range base {
		value, err := strconv.ParseFloat(strings.TrimSpace(parts[min(i, len(parts)-1)]), 32)
		b := float32(value)
		if err != nil || !finite(b) {
			return nil, ir.Invalid("base_score is not a finite number; %s", remedy)
		}
		if base[i], err = o.margin(b, f.since(3, 1)); err != nil {
			return nil, err
		}
	}
	return base, nil
}

// addTrees adds the step that sums the trees, after the inputs.
func (f *modelFile) addTrees(m *ir.Model, base []float32) (ir.Ref, error) {
	columns, err := f.columnCount()
	if err != nil {
		return 0, err
	}
	s, err := f.forest(columns, base)
	if err != nil {
		return 0, err
	}
	if s.In, err = f.inputs(m, columns, s); err != nil {
		return 0, err
	}
	return m.Append(s), nil
}

// checkForest checks what the file says about all trees.
func (f *modelFile) checkForest() error {
	switch n := len(f.trees); {
	case n == 0:
		return ir.Invalid("the model has no trees; train at least one round")
	case f.gbtree["num_trees"] != "" && f.gbtree["num_trees"] != strconv.Itoa(n):
		return ir.Invalid("the model says it has another number of trees than the %d in the file; %s", n, remedy)
	case len(f.outputs) != 0 && len(f.outputs) != n:
		return ir.Invalid("the model names the classes of %d trees but has %d; %s", len(f.outputs), n, remedy)
	case len(f.weights) > n:
		return ir.Invalid("the model has %d weights for %d trees; %s", len(f.weights), n, remedy)
	case f.booster == "dart" && len(f.weights) == 0:
		return ir.Invalid("the booster is dart but the weights of its trees are missing; %s", remedy)
	}
	return nil
}

// forest makes the step that sums the trees; its input is for the caller to set.
func (f *modelFile) forest(columns int, base []float32) (*ir.Trees, error) {
	if err := f.checkForest(); err != nil {
		return nil, err
	}
	s := &ir.Trees{Row: ir.F32, Acc: ir.F32, Outputs: len(base), Base: wide(base), Trees: make([]ir.Tree, len(f.trees))}
	sets := map[string]int32{}
	for i := range f.trees {
		t := &f.trees[i]
		weight := float32(1)
		if i < len(f.weights) {
			weight = f.weights[i]
		}
		if t.vector > 1 {
			if t.vector != len(base) {
				return nil, ir.Invalid("tree %d has leaves of %d values for %d outputs; %s", i, t.vector, len(base), remedy)
			}
			s.Trees[i].Output = ir.AllOutputs
		} else if len(f.outputs) > 0 {
			if s.Trees[i].Output = f.outputs[i]; f.outputs[i] < 0 || int(f.outputs[i]) >= len(base) {
				return nil, ir.Invalid("tree %d adds to an output that the model does not have; %s", i, remedy)
			}
		}
		first := int32(len(s.Leaves))
		for _, v := range t.leaves {
			// What a leaf adds is rounded after the weight, as the library does.
			if v *= weight; !finite(v) {
				return nil, ir.Invalid("tree %d: a leaf times the tree's weight is not finite; train again on clean data", i)
			}
			s.Leaves = append(s.Leaves, float64(v))
		}
		for j := range t.nodes {
			n := &t.nodes[j]
			if n.Compare != ir.Leaf && int(n.Feature) >= columns {
				return nil, ir.Invalid("tree %d splits on a column that the model does not have; %s", i, remedy)
			}
			if n.Compare == ir.Leaf {
				n.Leaf += first
			} else if n.Compare == ir.NotIn {
				n.Set = share(s, sets, t.sets[n.Set])
			}
		}
		s.Trees[i].Nodes = t.nodes
	}
	return s, nil
}

// share is the index of a set of categories among those of s, which it joins if it is new.
func share(s *ir.Trees, known map[string]int32, set []int32) int32 {
	key := make([]byte, 0, 4*len(set))
	for _, c := range set {
		key = append(key, byte(c), byte(c>>8), byte(c>>16), byte(c>>24))
	}
	i, ok := known[string(key)]
	if !ok {
		i = int32(len(s.Sets))
		s.Sets = append(s.Sets, set)
		known[string(key)] = i
	}
	return i
}

// addLinear adds the step of a linear model: for each output the bias plus the base margin of the
// first output, then the products in order; missing values add nothing (gbm/gblinear.cc).
func (f *modelFile) addLinear(m *ir.Model, base []float32) (ir.Ref, error) {
	features, err := f.columnCount()
	if err != nil {
		return 0, err
	}
	in, err := f.inputs(m, features, nil)
	if err != nil {
		return 0, err
	}
	outputs := len(base)
	if len(f.linear) != (features+1)*outputs {
		return 0, ir.Invalid("the linear model has %d weights for %d features and %d outputs; %s", len(f.linear), features, outputs, remedy)
	}
	s := &ir.Linear{In: in, Width: ir.F32, SkipMissing: true}
	for k := range outputs {
		row := make([]float64, features)
		for j := range row {
			row[j] = float64(f.linear[j*outputs+k])
		}
		bias := f.linear[features*outputs+k] + base[0]
		s.Weights, s.Bias = append(s.Weights, row), append(s.Bias, float64(bias))
	}
	for _, w := range f.linear {
		if !finite(w) {
			return 0, ir.Invalid("a weight of the linear model is not finite; train again on clean data")
		}
	}
	return m.Append(s), nil
}

// wide widens to 64 bits, exactly.
func wide(values []float32) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = float64(v)
	}
	return out
}

// warn notes what the model's author may not expect.
func (f *modelFile) warn(m *ir.Model, outputs int) {
	best, err := strconv.Atoi(f.attributes["best_iteration"])
	perRound := max(number(f.gbtree["num_parallel_tree"]), 1)
	if len(f.trees) > 0 && f.trees[0].vector == 1 {
		perRound *= outputs
	}
	if len(f.columns) == 0 && slices.Contains(f.types, "c") {
		m.Warnings = append(m.Warnings, "the model has categorical features and the file not their categories, which XGBoost saves since 3.1: give each as its code, the position of the category in training")
	}
	if rounds := len(f.trees) / perRound; err == nil && best >= 0 && best+1 < rounds {
		m.Warnings = append(m.Warnings, fmt.Sprintf(
			"training stopped early: round %d was the best of %d, and all rounds are used, as Booster.predict does; save booster[:%d] to use the best", best+1, rounds, best+1))
	}
}
