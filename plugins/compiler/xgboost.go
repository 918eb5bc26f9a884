package compiler

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The limits of a model file.
const (
	maxModelBytes = 64 << 20
	maxTrees      = 20_000
	maxNodes      = 2_000_000
	maxTreeNodes  = 65_535
	maxTreeDepth  = 256
)

func invalidModel(format string, args ...any) error {
	return nba.Errorf(nba.CodeModelInvalid, format, args...)
}

// recognise refuses files that are not XGBoost JSON, naming what they look like and what to do.
func recognise(model []byte) error {
	const remedy = "save the booster with booster.save_model(\"model.json\")"
	switch {
	case len(model) > maxModelBytes:
		return nba.Errorf(nba.CodeTooLarge, "the model file has more than %d bytes; train fewer or shallower trees", maxModelBytes)
	case len(bytes.TrimSpace(model)) == 0:
		return invalidModel("the model file is empty; %s", remedy)
	case bytes.HasPrefix(model, []byte("tree\n")), bytes.HasPrefix(model, []byte("tree\r\n")):
		return invalidModel("this is a LightGBM text model, which is not supported; train with XGBoost and %s", remedy)
	case bytes.HasPrefix(model, []byte("binf")), bytes.HasPrefix(model, []byte("bs64")):
		return invalidModel("this is XGBoost's old binary format; load it with XGBoost and %s", remedy)
	case bytes.HasPrefix(model, []byte("<?xml")), bytes.HasPrefix(model, []byte("<PMML")):
		return invalidModel("this is a PMML model, which is not supported; %s", remedy)
	case model[0] == '{' && len(model) > 1 && (model[1] == 'L' || model[1] == 'U' || model[1] == 'i' || model[1] == 'l'):
		return invalidModel("this is an XGBoost model in UBJSON; load it and %s", remedy)
	}
	switch bytes.TrimLeft(model, " \t\r\n")[0] {
	case '{':
		return nil
	case '[':
		return invalidModel("this is a model dump, whose numbers are rounded; %s instead of dump_model", remedy)
	default:
		return invalidModel("this is no XGBoost JSON model; %s", remedy)
	}
}

// xgboost reads a model file of XGBoost 1.x to 3.x: doc/model.schema of the XGBoost repository.
func xgboost(model []byte) (*ensemble, error) {
	if err := recognise(model); err != nil {
		return nil, err
	}
	f := &xgboostFile{s: scanner{text: model}}
	f.read()
	if f.s.err != nil {
		return nil, f.s.err
	}
	return f.ensemble()
}

// xgboostFile is what the reader keeps of a model file.
type xgboostFile struct {
	s            scanner
	learner      bool
	booster      string
	objective    string
	parameters   map[string]string
	gbtree       map[string]string
	attributes   map[string]string
	names, types []string
	version      []int32
	trees        []tree
	nodes        int
	treeInfo     []int32
	raw          rawTree // reused from tree to tree
}

// rawTree is one tree as the file has it: parallel arrays by node.
type rawTree struct {
	left, right, feature, defaultLeft, splitType []int32
	condition                                    []float32
	categorical                                  bool
	parameters                                   map[string]string
}

func (f *xgboostFile) read() {
	s := &f.s
	s.object(func(key string) {
		switch key {
		case "learner":
			f.learner = true
			s.object(f.learnerField)
		case "version":
			f.version = s.integers(f.version)
		default:
			s.skip()
		}
	})
	if s.err == nil && s.peek() != 0 {
		s.fail("there is text after the model")
	}
}

func (f *xgboostFile) learnerField(key string) {
	s := &f.s
	switch key {
	case "learner_model_param":
		f.parameters = s.texts()
	case "attributes":
		f.attributes = s.texts()
	case "feature_names":
		f.names = f.strings()
	case "feature_types":
		f.types = f.strings()
	case "objective":
		s.object(func(key string) {
			if key == "name" {
				f.objective = s.str()
				return
			}
			s.skip()
		})
	case "gradient_booster":
		s.object(f.boosterField)
	default:
		s.skip()
	}
}

func (f *xgboostFile) strings() []string {
	var out []string
	f.s.array(func() {
		if out = append(out, f.s.str()); len(out) > artifact.MaxFeatures {
			f.s.err = invalidModel("the model has more than %d features; select features before training", artifact.MaxFeatures)
		}
	})
	return out
}

func (f *xgboostFile) boosterField(key string) {
	s := &f.s
	switch key {
	case "name":
		f.booster = s.str()
		if f.booster != "gbtree" && s.err == nil {
			s.err = invalidModel("the booster is not gbtree; train with booster=\"gbtree\": dart weights its trees and gblinear has none")
		}
	case "gbtree": // dart wraps it
		s.err = invalidModel("the booster is dart, which weights its trees; train with booster=\"gbtree\"")
	case "model":
		s.object(func(key string) {
			switch key {
			case "gbtree_model_param":
				f.gbtree = s.texts()
			case "tree_info":
				f.treeInfo = s.integers(f.treeInfo)
			case "trees":
				s.array(f.tree)
			default:
				s.skip()
			}
		})
	default:
		s.skip()
	}
}

func (f *xgboostFile) tree() {
	s, r := &f.s, &f.raw
	*r = rawTree{left: r.left[:0], right: r.right[:0], feature: r.feature[:0], defaultLeft: r.defaultLeft[:0],
		splitType: r.splitType[:0], condition: r.condition[:0]}
	index := len(f.trees)
	if index >= maxTrees {
		s.err = invalidModel("the model has more than %d trees; train fewer", maxTrees)
		return
	}
	s.object(func(key string) {
		switch key {
		case "left_children":
			r.left = s.integers(r.left)
		case "right_children":
			r.right = s.integers(r.right)
		case "split_indices":
			r.feature = s.integers(r.feature)
		case "split_conditions":
			r.condition = s.floats(r.condition)
		case "default_left":
			r.defaultLeft = s.integers(r.defaultLeft)
		case "split_type":
			r.splitType = s.integers(r.splitType)
		case "categories":
			s.array(func() { r.categorical = true; s.skip() })
		case "tree_param":
			r.parameters = s.texts()
		default:
			s.skip()
		}
	})
	if s.err != nil {
		return
	}
	t, err := r.tree(index)
	if err != nil {
		s.err = err
		return
	}
	if f.nodes += len(t.nodes); f.nodes > maxNodes {
		s.err = invalidModel("the model has more than %d nodes; train fewer or shallower trees", maxNodes)
		return
	}
	f.trees = append(f.trees, t)
}

// tree checks the arrays and copies what is reachable from the root in breadth-first order.
func (r *rawTree) tree(index int) (tree, error) {
	n := len(r.left)
	if n == 0 || len(r.right) != n || len(r.feature) != n || len(r.condition) != n || len(r.defaultLeft) != n {
		return tree{}, invalidModel("tree %d: its arrays of children, splits and conditions are missing or differ in length; save the model again", index)
	}
	if n > maxTreeNodes {
		return tree{}, invalidModel("tree %d has more than %d nodes; train with a smaller max_depth or max_leaves", index, maxTreeNodes)
	}
	for _, kind := range r.splitType {
		if kind != 0 {
			r.categorical = true
		}
	}
	if r.categorical {
		return tree{}, invalidModel("tree %d splits on categories, which is not supported; one-hot encode categorical features before training", index)
	}
	if size := r.parameters["size_leaf_vector"]; size != "" && size != "0" && size != "1" {
		return tree{}, invalidModel("tree %d has vector leaves; train one model per target (multi_strategy=\"one_output_per_tree\")", index)
	}
	return r.breadthFirst(index)
}

func (r *rawTree) breadthFirst(index int) (tree, error) {
	t := tree{nodes: make([]node, 0, len(r.left))}
	queue := make([]int32, 1, len(r.left)) // file indexes in the new order
	seen := make([]bool, len(r.left))
	seen[0] = true
	level, levelEnd := 0, 1
	for i := 0; i < len(queue); i++ {
		if i == levelEnd {
			level, levelEnd = level+1, len(queue)
		}
		at := queue[i]
		left, right, value := r.left[at], r.right[at], r.condition[at]
		if math.IsNaN(float64(value)) || left == -1 && math.IsInf(float64(value), 0) {
			return t, invalidModel("tree %d, node %d: its threshold or leaf value is not finite; train again on clean data", index, at)
		}
		if left == -1 && right == -1 {
			t.nodes = append(t.nodes, node{feature: -1, value: value})
			continue
		}
		for _, child := range [...]int32{left, right} {
			if child <= 0 || int(child) >= len(r.left) || seen[child] {
				return t, invalidModel("tree %d, node %d: a child is missing, out of range or has two parents; save the model again", index, at)
			}
			seen[child] = true
		}
		if r.feature[at] < 0 {
			return t, invalidModel("tree %d, node %d: its feature index is negative; save the model again", index, at)
		}
		t.nodes = append(t.nodes, node{feature: r.feature[at], left: int32(len(queue)), value: value, defaultLeft: r.defaultLeft[at] != 0})
		queue = append(queue, left, right)
	}
	if t.depth = level; level > maxTreeDepth {
		return t, invalidModel("tree %d is deeper than %d; train with a max_depth", index, maxTreeDepth)
	}
	return t, nil
}

// ensemble checks what the file says about the model as a whole.
func (f *xgboostFile) ensemble() (*ensemble, error) {
	switch {
	case !f.learner:
		return nil, invalidModel("the JSON has no learner, so it is no XGBoost model; save the booster with booster.save_model(\"model.json\")")
	case f.booster != "gbtree":
		return nil, invalidModel("the booster is missing; save the booster with booster.save_model(\"model.json\")")
	case len(f.trees) == 0:
		return nil, invalidModel("the model has no trees; train at least one round")
	}
	for _, class := range f.treeInfo {
		if class != 0 {
			return nil, errMultiple()
		}
	}
	for _, p := range [...]string{"num_class", "num_target"} {
		if v := f.parameters[p]; v != "" && v != "0" && v != "1" {
			return nil, errMultiple()
		}
	}
	for _, kind := range f.types {
		if kind == "c" {
			return nil, invalidModel("the model has categorical features, which are not supported; one-hot encode them before training")
		}
	}
	if v, ok := f.gbtree["num_trees"]; ok && v != strconv.Itoa(len(f.trees)) {
		return nil, invalidModel("the model says it has another number of trees than the %d in the file; save it again", len(f.trees))
	}
	e := &ensemble{format: "xgboost-json", library: f.library(), objective: f.objective, trees: f.trees}
	if err := f.features(e); err != nil {
		return nil, err
	}
	if err := f.setLink(e); err != nil {
		return nil, err
	}
	f.warn(e)
	return e, nil
}

func errMultiple() error {
	return invalidModel("the model has several outputs; train one binary or single-target model per action")
}

func (f *xgboostFile) library() string {
	parts := make([]string, len(f.version))
	for i, v := range f.version {
		parts[i] = strconv.Itoa(int(v))
	}
	return strings.TrimSpace("xgboost " + strings.Join(parts[:min(len(parts), 3)], "."))
}

// features sets the names and checks that no split leaves them.
func (f *xgboostFile) features(e *ensemble) error {
	n, err := strconv.Atoi(f.parameters["num_feature"])
	if err != nil || n < 1 || n > artifact.MaxFeatures {
		return invalidModel("num_feature is missing or not between 1 and %d; select features before training and save the model again", artifact.MaxFeatures)
	}
	if len(f.names) != 0 && len(f.names) != n {
		return invalidModel("the file names %d features but the model has %d; save it again", len(f.names), n)
	}
	seen := make(map[string]bool, len(f.names))
	for i, name := range f.names {
		if name == "" || len(name) > artifact.MaxTextBytes || seen[name] {
			return invalidModel("the name of feature %d is empty, repeated or longer than %d bytes; rename it before training", i, artifact.MaxTextBytes)
		}
		seen[name] = true
	}
	e.names = f.names
	for i := len(e.names); i < n; i++ {
		e.names = append(e.names, fmt.Sprintf("f%d", i)) // as XGBoost calls them
	}
	for i := range e.trees {
		for j := range e.trees[i].nodes {
			if int(e.trees[i].nodes[j].feature) >= n {
				return invalidModel("tree %d splits on a feature that the model does not have; save the model again", i)
			}
		}
	}
	return nil
}

// setLink derives link and base margin from the objective: base_score is stored as an output, so it
// goes through the inverse of the link (objective/regression_loss.h). Since 3.1 it is a vector.
func (f *xgboostFile) setLink(e *ensemble) error {
	text := strings.TrimSuffix(strings.TrimPrefix(f.parameters["base_score"], "["), "]")
	wide, err := strconv.ParseFloat(text, 32)
	base := float32(wide)
	if err != nil || math.IsNaN(wide) || math.IsInf(wide, 0) {
		if strings.Contains(text, ",") {
			return errMultiple()
		}
		return invalidModel("base_score is missing or not a finite number; save the model again")
	}
	switch f.objective {
	case "binary:logistic", "reg:logistic":
		if !(base > 0 && base < 1) {
			return invalidModel("base_score of a logistic model must lie between 0 and 1; train with such a base_score")
		}
		odds := 1/base - 1
		e.link, e.base = linkSigmoid, -float32(math.Log(float64(odds)))
	case "count:poisson", "reg:gamma", "reg:tweedie":
		if !(base > 0) {
			return invalidModel("base_score of a model with a logarithmic link must be positive; train with such a base_score")
		}
		e.link, e.base = linkExp, float32(math.Log(wide))
	case "reg:squarederror", "reg:linear", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror", "reg:quantileerror":
		e.link, e.base = linkIdentity, base
	default:
		return invalidModel("the objective is not supported; train with binary:logistic for a propensity, or with reg:squarederror, reg:absoluteerror, count:poisson, reg:gamma or reg:tweedie for a value")
	}
	return nil
}

// warn notes what the model's author may not expect.
func (f *xgboostFile) warn(e *ensemble) {
	best, err := strconv.Atoi(f.attributes["best_iteration"])
	parallel, perr := strconv.Atoi(f.gbtree["num_parallel_tree"])
	if perr != nil || parallel < 1 {
		parallel = 1
	}
	if rounds := len(f.trees) / parallel; err == nil && best >= 0 && best+1 < rounds {
		e.warnings = append(e.warnings, fmt.Sprintf(
			"training stopped early: round %d was the best of %d, and all rounds are used, as Booster.predict does; save booster[:%d] to use the best", best+1, rounds, best+1))
	}
}
