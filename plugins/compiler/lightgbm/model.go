package lightgbm

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// model checks what the file says about the model as a whole and makes the program.
func (f *modelFile) model() (*ir.Model, error) {
	version := f.header["version"]
	switch version {
	case "v2", "v3", "v4":
	default:
		return nil, ir.Invalid("the version of the format is missing or not v2, v3 or v4; load the model with LightGBM 4 and %s", remedy)
	}
	perRound, err := f.perRound()
	if err != nil {
		return nil, err
	}
	name, _, _ := strings.Cut(f.header["objective"], " ")
	m := &ir.Model{Source: ir.Source{Format: "lightgbm-text", Library: "lightgbm (format " + version + ")", Objective: name}}
	in, err := f.inputs(m)
	if err != nil {
		return nil, err
	}
	rounds := len(f.trees.Trees) / perRound
	if rounds == 0 || rounds*perRound != len(f.trees.Trees) {
		return nil, ir.Invalid("the model has %d trees, not one or more for each of %d outputs; train at least one round and %s", len(f.trees.Trees), perRound, remedy)
	}
	f.trees.In, f.trees.Outputs, f.trees.NegativeZero = in, perRound, true
	for i := range f.trees.Trees {
		f.trees.Trees[i].Output = int32(i % perRound)
	}
	m.Raw = m.Append(&f.trees)
	m.Output = m.Raw
	_, average := f.header["average_output"]
	if average {
		m.Output = m.Append(&ir.Arith{Op: ir.Div, A: m.Raw, B: m.Append(&ir.Const{Values: []float64{float64(rounds)}})})
	}
	mean := m.Output
	if err := f.link(m, perRound); err != nil {
		return nil, err
	}
	if average && version == "v2" && m.Output != mean {
		if err := f.oldForest(m, mean); err != nil {
			return nil, err
		}
	}
	if f.categorical && version != "v4" {
		m.Warnings = append(m.Warnings, "the file is of format "+version+": releases of LightGBM before 3.3 took a missing category for category 0 where training had seen none; the module follows the present release, where it is in no set")
	}
	return m, nil
}

// oldForest settles what the leaves of a random forest of format v2 hold: before release 2.2.3 they
// were outputs, whose mean is the prediction, and since then they are raw scores. The file does not say
// which. Probabilities are told by their range.
func (f *modelFile) oldForest(m *ir.Model, mean ir.Ref) error {
	if slices.ContainsFunc(f.trees.Leaves, func(v float64) bool { return v < 0 || v > 1 && m.Probability }) {
		return nil
	}
	if !m.Probability {
		return ir.Invalid("this is a random forest of format v2, and whether its leaves are predictions (before LightGBM 2.2.3) or raw scores cannot be told from the file; train it again with a later release")
	}
	m.Output = mean
	m.Warnings = append(m.Warnings, "this is a random forest of LightGBM before 2.2.3, whose leaves are probabilities: their mean is the output, as it was then; later releases of LightGBM load the file but predict otherwise")
	return nil
}

// perRound is the number of outputs: the trees of a round.
func (f *modelFile) perRound() (int, error) {
	classes, err := f.headerNumber("num_class", 1, ir.MaxOutputs)
	if err != nil {
		return 0, err
	}
	if _, ok := f.header["num_tree_per_iteration"]; !ok {
		return classes, nil
	}
	n, err := f.headerNumber("num_tree_per_iteration", 1, ir.MaxOutputs)
	if err != nil {
		return 0, err
	}
	if n != classes {
		return 0, ir.Invalid("the model has %d classes and %d trees a round; %s", classes, n, remedy)
	}
	return n, nil
}

// objective is the objective of a model with its parameters: "binary sigmoid:1".
type objective struct {
	name    string
	sqrt    bool
	sigmoid float64 // 0 when it is not there
	classes int
}

func (f *modelFile) objective() (o objective, err error) {
	words, _ := fields(f.header["objective"], 16)
	for i, w := range words {
		key, value, _ := strings.Cut(w, ":")
		switch {
		case i == 0:
			o.name = w
		case w == "sqrt":
			o.sqrt = true
		case key == "sigmoid":
			if o.sigmoid, err = strconv.ParseFloat(value, 64); err != nil || !(o.sigmoid > 0) || math.IsInf(o.sigmoid, 0) {
				return o, ir.Invalid("the sigmoid parameter of the objective is no positive number; %s", remedy)
			}
		case key == "num_class":
			if o.classes, err = strconv.Atoi(value); err != nil {
				return o, ir.Invalid("the number of classes of the objective is no number; %s", remedy)
			}
		}
	}
	return o, nil
}

// link adds what turns raw scores into outputs (ConvertOutput of src/objective), and names the outputs.
func (f *modelFile) link(m *ir.Model, outputs int) error {
	o, err := f.objective()
	if err != nil {
		return err
	}
	apply := ir.Activation{In: m.Output}
	several := false
	switch o.name {
	case "regression", "regression_l1", "quantile", "fair", "mape":
		if o.sqrt {
			apply.Func = ir.Square
		}
	case "huber", "lambdarank", "rank_xendcg", "xendcg":
	case "binary":
		apply.Func, apply.Param, m.Probability, m.Classes = ir.Sigmoid, o.sigmoid, true, []string{"0", "1"}
	case "cross_entropy", "xentropy":
		apply.Func, m.Probability = ir.Sigmoid, true
	case "cross_entropy_lambda", "xentlambda":
		apply.Func = ir.Log1pExp
	case "poisson", "gamma", "tweedie":
		apply.Func = ir.Exp
	case "multiclass", "softmax":
		apply.Func, m.Probability, several = ir.Softmax, true, true
	case "multiclassova", "multiclass_ova", "ova", "ovr":
		apply.Func, apply.Param, m.Probability, several = ir.Sigmoid, o.sigmoid, true, true
	case "", "custom", "none", "null", "na":
		several = outputs > 1
		m.Warnings = append(m.Warnings, "the model was trained with an objective of its own, which the file does not have: the output is the raw score")
	default:
		return ir.Invalid("the objective is not known; train with an objective of LightGBM's own, such as binary, multiclass or regression")
	}
	switch {
	case several != (outputs > 1), several && o.classes != 0 && o.classes != outputs:
		return ir.Invalid("the objective does not go with %d outputs; %s", outputs, remedy)
	case apply.Func == ir.Sigmoid && apply.Param == 0 && (o.name == "binary" || several):
		return ir.Invalid("the sigmoid parameter of the objective is missing; %s", remedy)
	}
	if several {
		for i := range outputs {
			m.Classes = append(m.Classes, strconv.Itoa(i))
		}
	}
	if apply.Func != ir.Identity {
		m.Output = m.Append(&apply)
	}
	return nil
}

// compactAbove is the greatest category of a column up to which tables by category are small enough.
const compactAbove = 1 << 14

// maxColumns bounds the columns of a file; those that no tree reads do not count as inputs.
const maxColumns = 1 << 20

// inputs sets the variables of the model and gives the vector that trees read.
func (f *modelFile) inputs(m *ir.Model) (ir.Ref, error) {
	names, ok := fields(f.header["feature_names"], f.columns)
	if !ok || len(names) != f.columns {
		return 0, ir.Invalid("the file names %d features but the model has %d; %s", len(names), f.columns, remedy)
	}
	recoded := make([]*ir.Recoding, len(names))
	texts := make([][]string, len(names))
	if len(f.categories) > 0 {
		if err := f.pandas(recoded, texts); err != nil {
			return 0, err
		}
	}
	kept := f.keep(m, names)
	for i, c := range kept {
		m.Inputs = append(m.Inputs, ir.Variable{Name: names[c], Categories: texts[c]})
		recoded[i] = recoded[c]
	}
	recoded = recoded[:len(kept)]
	if len(f.categories) == 0 {
		for c, r := range f.trees.Compact(compactAbove) {
			recoded[c] = r
		}
	}
	return m.Recode(recoded), nil
}

// keep chooses the columns that become inputs: all, or of a model that has more than it may those that
// the trees read.
func (f *modelFile) keep(m *ir.Model, names []string) []int {
	if len(names) > ir.MaxInputs {
		kept := f.trees.KeepUsed()
		m.Warnings = append(m.Warnings, fmt.Sprintf("the model was trained on %d columns and reads %d of them; the others are left out", len(names), len(kept)))
		return kept
	}
	kept := make([]int, len(names))
	for i := range kept {
		kept[i] = i
	}
	return kept
}

// pandas sets what the categories of the data frame say of each column: numbers that become codes
// here, or texts that become codes outside.
func (f *modelFile) pandas(recoded []*ir.Recoding, texts [][]string) error {
	columns, err := f.categoricalColumns(len(recoded))
	if err != nil {
		return err
	}
	for i, c := range columns {
		var numbers []float64
		if numbers, texts[c], err = categoriesOf(f.categories[i]); err != nil {
			return err
		}
		codes, err := ir.Codes(numbers)
		if err != nil {
			return ir.Invalid("feature %d: its pandas categories are there twice; %s", c, remedy)
		}
		if codes != nil {
			recoded[c] = &ir.Recoding{Codes: codes}
		}
	}
	return nil
}

// categoricalColumns are the columns that pandas_categorical speaks of, in its order. The file does not
// name them: they are the categorical features, unless the data frame had ordered categories, whose
// codes LightGBM takes for numbers.
func (f *modelFile) categoricalColumns(features int) ([]int, error) {
	var columns []int
	if text := f.parameters["categorical_feature"]; text != "" {
		for word := range strings.SplitSeq(text, ",") {
			c, err := strconv.Atoi(word)
			if err != nil || c < 0 || c >= features || len(columns) > 0 && c <= columns[len(columns)-1] {
				columns = nil
				break
			}
			columns = append(columns, c)
		}
	}
	infos, _ := fields(f.header["feature_infos"], features)
	if len(columns) == 0 {
		for i, info := range infos {
			if info != "none" && !strings.HasPrefix(info, "[") {
				columns = append(columns, i)
			}
		}
	}
	ok := len(columns) == len(f.categories) && len(infos) == features
	for i := 0; ok && i < len(columns); i++ {
		ok = codesBelow(infos[columns[i]], len(f.categories[i]))
	}
	if !ok {
		return nil, ir.Invalid("the model was trained on a pandas data frame with %d columns of categories, and the file does not tell which they are: that happens with ordered categories, with columns of one value and when categorical_feature names others; give such columns as numbers (their codes) and train again", len(f.categories))
	}
	return columns, nil
}

// codesBelow tells whether what a feature's info says of its values can be codes of so many categories.
func codesBelow(info string, categories int) bool {
	if info == "none" {
		return true
	}
	if strings.HasPrefix(info, "[") {
		return false
	}
	for word := range strings.SplitSeq(info, ":") {
		c, err := strconv.Atoi(word)
		if err != nil || c < -1 || c >= categories {
			return false
		}
	}
	return true
}

// categoriesOf are the categories of a column as numbers or, when one is a text or a truth value, as
// texts.
func categoriesOf(list []json.RawMessage) (numbers []float64, texts []string, err error) {
	plain := true
	for _, raw := range list {
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			return nil, nil, ir.Invalid("pandas_categorical is malformed; %s", remedy)
		}
		switch v := v.(type) {
		case float64:
			numbers, texts = append(numbers, v), append(texts, strconv.FormatFloat(v, 'f', -1, 64))
		case bool:
			plain, texts = false, append(texts, strconv.FormatBool(v))
		case string:
			plain, texts = false, append(texts, v)
		default:
			return nil, nil, ir.Invalid("pandas_categorical has a category that is no text, number or truth value; %s", remedy)
		}
	}
	if plain {
		return numbers, nil, nil
	}
	return nil, texts, nil
}
