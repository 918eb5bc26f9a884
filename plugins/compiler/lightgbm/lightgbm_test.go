package lightgbm_test

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/internal/modeltest"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/compiler/lightgbm"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// stump is a small model file: one split on spend and two leaves.
const stump = `tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=1
objective=binary sigmoid:1
feature_names=age spend
feature_infos=[18:99] [0:1000]

Tree=0
num_leaves=2
num_cat=0
split_feature=1
split_gain=1
threshold=30.5
decision_type=10
left_child=-1
right_child=-2
leaf_value=-0.25 0.5
leaf_weight=1 1
leaf_count=1 1
internal_value=0
internal_weight=2
internal_count=2
is_linear=0
shrinkage=1


end of trees

feature_importances:
spend=1

parameters:
[boosting: gbdt]
[objective: binary]
end of parameters

pandas_categorical:null
`

// edit replaces parts of the stump; each must be there.
func edit(t testing.TB, pairs ...string) []byte {
	t.Helper()
	text := stump
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the stump has no %s", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return []byte(text)
}

// score scores one row of a file.
func score(t testing.TB, file []byte, row ...float64) (raw, output []float64) {
	t.Helper()
	m, err := lightgbm.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return modeltest.Interpreted(t, m)(row)
}

func TestStump(t *testing.T) {
	m, err := lightgbm.Read([]byte(stump))
	if err != nil {
		t.Fatal(err)
	}
	if m.Source != (ir.Source{Format: "lightgbm-text", Library: "lightgbm (format v4)", Objective: "binary"}) {
		t.Errorf("source %+v", m.Source)
	}
	if m.Inputs[1].Name != "spend" || !m.Probability || !reflect.DeepEqual(m.Classes, []string{"0", "1"}) || len(m.Warnings) != 0 {
		t.Errorf("%+v", m)
	}
	for x, want := range map[float64]float64{30.5: -0.25, math.Nextafter(30.5, 31): 0.5, math.Inf(1): 0.5, math.Inf(-1): -0.25} {
		if raw, _ := score(t, []byte(stump), 0, x); raw[0] != want {
			t.Errorf("%v: %v, want %v", x, raw[0], want)
		}
	}
	if raw, _ := score(t, []byte(stump), 0, math.NaN()); raw[0] != -0.25 {
		t.Errorf("missing: %v", raw)
	}
	if raw, _ := score(t, []byte(strings.ReplaceAll(stump, "\n", "\r\n")), 0, 31); raw[0] != 0.5 {
		t.Errorf("lines of Windows: %v", raw)
	}
}

// TestMissing covers the kinds of missing values and their default sides, at thresholds around what
// LightGBM takes for zero. Values of up to that magnitude are 0 to every split.
func TestMissing(t *testing.T) {
	const zero = ir.ZeroThreshold
	above := math.Nextafter(zero, 1)
	left, right := -0.25, 0.5
	for _, c := range []struct {
		decision  string
		threshold float64
		x, want   float64
	}{
		{decision: "0", threshold: 30.5, x: math.NaN(), want: left},
		{decision: "0", threshold: -1, x: math.NaN(), want: right},
		{decision: "0", threshold: zero, x: zero, want: left},
		{decision: "0", threshold: zero, x: above, want: right},
		{decision: "0", threshold: -zero, x: -zero, want: right},
		{decision: "0", threshold: -zero, x: -above, want: left},
		{decision: "0", threshold: 0, x: zero, want: left},
		{decision: "0", threshold: 0, x: above, want: right},
		{decision: "0", threshold: -1e-40, x: -1e-38, want: right},
		{decision: "4", threshold: 30.5, x: 0, want: right},
		{decision: "4", threshold: 30.5, x: -zero, want: right},
		{decision: "4", threshold: 30.5, x: above, want: left},
		{decision: "4", threshold: 30.5, x: math.NaN(), want: right},
		{decision: "6", threshold: -1, x: 0, want: left},
		{decision: "6", threshold: -1, x: math.NaN(), want: left},
		{decision: "8", threshold: 30.5, x: math.NaN(), want: right},
		{decision: "8", threshold: 30.5, x: 0, want: left},
		{decision: "10", threshold: -1, x: math.NaN(), want: left},
		{decision: "8", threshold: math.Inf(1), x: math.Inf(1), want: left},
		{decision: "8", threshold: math.Inf(1), x: math.NaN(), want: right},
	} {
		file := edit(t, "decision_type=10", "decision_type="+c.decision, "threshold=30.5", fmt.Sprintf("threshold=%.17g", c.threshold))
		if raw, _ := score(t, file, 0, c.x); raw[0] != c.want {
			t.Errorf("decision type %s, threshold %v, value %v: %v, want %v", c.decision, c.threshold, c.x, raw[0], c.want)
		}
	}
}

// TestCategories splits on categories 2 and 40, which go left; all else goes right.
func TestCategories(t *testing.T) {
	file := edit(t, "num_cat=0", "num_cat=1", "decision_type=10", "decision_type=1", "threshold=30.5", "threshold=0",
		"is_linear=0", "cat_boundaries=0 2\ncat_threshold=4 256\nis_linear=0")
	left, right := -0.25, 0.5
	for x, want := range map[float64]float64{2: left, 40: left, 2.9: left, 3: right, 0: right, -0.5: right, -2: right, 64: right, 1e12: right, math.Inf(1): right, math.NaN(): right} {
		if raw, _ := score(t, file, 0, x); raw[0] != want {
			t.Errorf("%v: %v, want %v", x, raw[0], want)
		}
	}
	zero := []byte(strings.Replace(string(file), "cat_threshold=4 256", "cat_threshold=1 0", 1))
	if raw, _ := score(t, zero, 0, -0.5); raw[0] != left {
		t.Errorf("-0.5 is category 0 after rounding toward zero: %v", raw)
	}
	m, err := lightgbm.Read([]byte(strings.Replace(string(file), "version=v4", "version=v3", 1)))
	if err != nil || len(m.Warnings) != 1 {
		t.Errorf("warnings of v3: %v, %v", m, err)
	}
}

func TestObjectives(t *testing.T) {
	sigmoid := func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
	for _, c := range []struct {
		objective   string
		output      float64 // for a raw score of 0.5
		probability bool
		classes     int
	}{
		{"binary sigmoid:1", sigmoid(0.5), true, 2},
		{"binary sigmoid:0.7", sigmoid(0.35), true, 2},
		{"cross_entropy", sigmoid(0.5), true, 0},
		{"xentropy", sigmoid(0.5), true, 0},
		{"cross_entropy_lambda", math.Log1p(math.Exp(0.5)), false, 0},
		{"regression", 0.5, false, 0},
		{"regression sqrt", 0.25, false, 0},
		{"regression_l1 sqrt", 0.25, false, 0},
		{"huber sqrt", 0.5, false, 0},
		{"quantile", 0.5, false, 0},
		{"mape", 0.5, false, 0},
		{"fair", 0.5, false, 0},
		{"poisson", math.Exp(0.5), false, 0},
		{"gamma", math.Exp(0.5), false, 0},
		{"tweedie", math.Exp(0.5), false, 0},
		{"lambdarank", 0.5, false, 0},
		{"rank_xendcg", 0.5, false, 0},
		{"custom", 0.5, false, 0},
	} {
		m, err := lightgbm.Read(edit(t, "binary sigmoid:1", c.objective))
		if err != nil {
			t.Errorf("%s: %v", c.objective, err)
			continue
		}
		_, output := modeltest.Interpreted(t, m)([]float64{0, 99})
		if modeltest.ULPs(output[0], c.output, false) > 4 || m.Probability != c.probability || len(m.Classes) != c.classes {
			t.Errorf("%s: %v, want %v; probability %v, classes %q", c.objective, output, c.output, m.Probability, m.Classes)
		}
	}
	m, err := lightgbm.Read(edit(t, "objective=binary sigmoid:1\n", ""))
	if err != nil || len(m.Warnings) != 1 || m.Output != m.Raw {
		t.Errorf("no objective: %v, %v", m, err)
	}
}

// tree is one tree with a single leaf.
func tree(number int, value string) string {
	return fmt.Sprintf("Tree=%d\nnum_leaves=1\nnum_cat=0\nsplit_feature=\nthreshold=\nleft_child=\nright_child=\nleaf_value=%s\nshrinkage=1\n\n\n", number, value)
}

func TestClasses(t *testing.T) {
	several := []string{"num_class=1", "num_class=3", "num_tree_per_iteration=1", "num_tree_per_iteration=3", "end of trees", tree(1, "1") + tree(2, "-1") + "end of trees"}
	_, output := score(t, edit(t, append(several, "binary sigmoid:1", "multiclass num_class:3")...), 0, 99)
	sum := math.Exp(-0.5) + 1 + math.Exp(-2)
	for k, want := range [...]float64{math.Exp(-0.5) / sum, 1 / sum, math.Exp(-2) / sum} {
		if modeltest.ULPs(output[k], want, false) > 4 {
			t.Errorf("class %d: %v, want %v", k, output[k], want)
		}
	}
	m, err := lightgbm.Read(edit(t, append(several, "binary sigmoid:1", "multiclassova num_class:3 sigmoid:2")...))
	if err != nil {
		t.Fatal(err)
	}
	raw, output := modeltest.Interpreted(t, m)([]float64{0, 99})
	if !reflect.DeepEqual(raw, []float64{0.5, 1, -1}) || modeltest.ULPs(output[2], 1/(1+math.Exp(2)), false) > 4 || !reflect.DeepEqual(m.Classes, []string{"0", "1", "2"}) {
		t.Errorf("raw %v, output %v, classes %q", raw, output, m.Classes)
	}
}

func TestForests(t *testing.T) {
	forest := []string{"feature_names", "average_output\nfeature_names", "end of trees", tree(1, "-0.75") + "end of trees"}
	raw, output := score(t, edit(t, forest...), 0, 1)
	if raw[0] != -1 || modeltest.ULPs(output[0], 1/(1+math.Exp(0.5)), false) > 4 {
		t.Errorf("raw %v, output %v", raw, output)
	}
	// Before 2.2.3 leaves were probabilities.
	old := []string{"feature_names", "average_output\nfeature_names", "end of trees", tree(1, "0.75") + "end of trees", "leaf_value=-0.25", "leaf_value=0.25", "v4", "v2"}
	if _, output = score(t, edit(t, old...), 0, 1); output[0] != 0.5 {
		t.Errorf("old forest: %v", output)
	}
	if _, err := lightgbm.Read(edit(t, append(old, "binary sigmoid:1", "poisson")...)); err == nil || !strings.Contains(err.Error(), "2.2.3") {
		t.Errorf("old forest of counts: %v", err)
	}
}

func TestLinearTrees(t *testing.T) {
	file := edit(t, "is_linear=0", "is_linear=1\nleaf_const=0.125 3\nnum_features=2 0\nleaf_features=0 1 \nleaf_coeff=0.5 -0.0625 ")
	for _, c := range []struct{ age, spend, want float64 }{
		{8, 16, 0.125 + 4 - 1},
		{math.NaN(), 16, -0.25}, // a missing feature leaves the value of the leaf
		{8, 99, 3},              // no features: the constant, not the value
	} {
		if raw, _ := score(t, file, c.age, c.spend); raw[0] != c.want {
			t.Errorf("%v: %v", c, raw)
		}
	}
	file = edit(t, "is_linear=0", "is_linear=1\nleaf_const=1 3\nnum_features=0 1\nleaf_features= 0 \nleaf_coeff= 2 ")
	if raw, _ := score(t, file, 5, 99); raw[0] != 13 {
		t.Errorf("a leaf without features before one with: %v", raw)
	}
}

// TestPandas reads the categories of a data frame: texts and truth values become codes outside, numbers
// inside.
func TestPandas(t *testing.T) {
	categorical := []string{"num_cat=0", "num_cat=1", "decision_type=10", "decision_type=1", "threshold=30.5", "threshold=0",
		"is_linear=0", "cat_boundaries=0 1\ncat_threshold=2\nis_linear=0", "[0:1000]", "1:0"} // category 1 goes left
	m, err := lightgbm.Read(edit(t, append(categorical, "pandas_categorical:null", `pandas_categorical:[["month", "year"]]`)...))
	if err != nil || !reflect.DeepEqual(m.Inputs[1].Categories, []string{"month", "year"}) || m.Inputs[0].Categories != nil {
		t.Errorf("texts: %+v, %v", m, err)
	}
	m, err = lightgbm.Read(edit(t, append(categorical, "pandas_categorical:null", `pandas_categorical:[[false, true]]`)...))
	if err != nil || !reflect.DeepEqual(m.Inputs[1].Categories, []string{"false", "true"}) {
		t.Errorf("truth values: %+v, %v", m, err)
	}
	m, err = lightgbm.Read(edit(t, append(categorical, "pandas_categorical:null", `pandas_categorical:[[0, 1]]`)...))
	if err != nil || m.Inputs[1].Categories != nil || len(m.Steps) != 2 {
		t.Errorf("numbers that are their own codes: %+v, %v", m, err)
	}
	numbers := edit(t, append(categorical, "pandas_categorical:null", `pandas_categorical:[[24, 12]]`)...)
	for x, want := range map[float64]float64{24: 0.5, 12: -0.25, 1: 0.5, math.NaN(): 0.5} {
		if raw, _ := score(t, numbers, 0, x); raw[0] != want {
			t.Errorf("number %v: %v, want %v", x, raw, want)
		}
	}
	for name, file := range map[string][]byte{
		"columns that are not told":  edit(t, "pandas_categorical:null", `pandas_categorical:[["a"]]`),
		"fewer categories than seen": edit(t, append(categorical, "pandas_categorical:null", `pandas_categorical:[["a"]]`)...),
		"two for one":                edit(t, append(categorical, "pandas_categorical:null", `pandas_categorical:[["a","b"],["c"]]`)...),
	} {
		if _, err := lightgbm.Read(file); err == nil || !strings.Contains(err.Error(), "does not tell which") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The parameters name columns that have one value, whose infos do not.
	file := edit(t, append(categorical, "[18:99]", "none", "pandas_categorical:null", `pandas_categorical:[["x"],["a","b"]]`, "[objective: binary]", "[categorical_feature: 0,1]")...)
	if m, err := lightgbm.Read(file); err != nil || !reflect.DeepEqual(m.Inputs[0].Categories, []string{"x"}) {
		t.Errorf("named by the parameters: %+v, %v", m, err)
	}
}

func TestTreeSizes(t *testing.T) {
	body := stump[strings.Index(stump, "Tree=0"):strings.Index(stump, "end of trees")]
	sized := func(sizes string) []byte {
		return edit(t, "[0:1000]\n", "[0:1000]\ntree_sizes="+sizes+"\n")
	}
	if _, err := lightgbm.Read(sized(fmt.Sprint(len(body)))); err != nil {
		t.Error(err)
	}
	for _, sizes := range [...]string{"7000", "x", "0", fmt.Sprintf("%d %d", len(body), 10), fmt.Sprintf("%d %d", 3, len(body))} {
		if _, err := lightgbm.Read(sized(sizes)); err == nil || !strings.Contains(err.Error(), "cut or edited") {
			t.Errorf("sizes %s: %v", sizes, err)
		}
	}
}

// TestRefusals names for each mistake what the message must say.
func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "empty"},
		{"too large", make([]byte, lightgbm.MaxFileBytes+1), "more than"},
		{"no model", []byte("hello"), "no LightGBM"},
		{"only a header", []byte("tree\nversion=v4\n"), "no trees"},
		{"version", edit(t, "version=v4", "version=v9"), "version"},
		{"classes", edit(t, "num_class=1", "num_class=2"), "2 classes and 1 trees"},
		{"no classes", edit(t, "num_class=1\n", ""), "num_class"},
		{"features", edit(t, "max_feature_idx=1", "max_feature_idx=2"), "names 2 features"},
		{"no features", edit(t, "max_feature_idx=1\n", ""), "max_feature_idx"},
		{"key twice", edit(t, "num_class=1", "num_class=1\nnum_class=1"), "twice"},
		{"objective", edit(t, "binary sigmoid:1", "mine"), "not known"},
		{"sigmoid", edit(t, "sigmoid:1", "sigmoid:-1"), "sigmoid"},
		{"no sigmoid", edit(t, "binary sigmoid:1", "binary"), "sigmoid"},
		{"outputs", edit(t, "binary sigmoid:1", "multiclass num_class:3"), "outputs"},
		{"leaves", edit(t, "num_leaves=2", "num_leaves=3"), "leaf_value"},
		{"number of leaves", edit(t, "num_leaves=2", "num_leaves=-1"), "num_leaves"},
		{"leaf", edit(t, "leaf_value=-0.25 0.5", "leaf_value=-0.25 inf"), "not finite"},
		{"threshold", edit(t, "threshold=30.5", "threshold=nan"), "not a number"},
		{"number", edit(t, "threshold=30.5", "threshold=0x1p3"), "no number"},
		{"column", edit(t, "split_feature=1", "split_feature=2"), "column"},
		{"negative column", edit(t, "split_feature=1", "split_feature=-1"), "column"},
		{"children", edit(t, "right_child=-2", "right_child=-1"), "two parents"},
		{"child", edit(t, "right_child=-2", "right_child=-9"), "out of range"},
		{"cycle", edit(t, "right_child=-2", "right_child=0"), "out of range"},
		{"decision type", edit(t, "decision_type=10", "decision_type=12"), "unknown"},
		{"categories without sets", edit(t, "decision_type=10", "decision_type=1"), "set of categories"},
		{"boundaries", edit(t, "num_cat=0", "num_cat=1\ncat_boundaries=0 99999\ncat_threshold=1"), "cat_boundaries"},
		{"words", edit(t, "num_cat=0", "num_cat=1\ncat_boundaries=0 1\ncat_threshold=-1"), "32 bits"},
		{"linear", edit(t, "is_linear=0", "is_linear=1"), "leaf_const"},
		{"linear column", edit(t, "is_linear=0", "is_linear=1\nleaf_const=0 0\nnum_features=1 0\nleaf_features=7\nleaf_coeff=1"), "column"},
		{"no key", edit(t, "shrinkage=1", "shrinkage"), "key=value"},
		{"pandas", edit(t, "pandas_categorical:null", "pandas_categorical:{"), "pandas_categorical"},
		{"pandas values", edit(t, "[0:1000]", "1:0", "pandas_categorical:null", `pandas_categorical:[[null,{}]]`), "no text"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := lightgbm.Read(c.file)
			if code := nba.CodeOf(err); code != nba.CodeModelInvalid && code != nba.CodeTooLarge {
				t.Fatalf("error %v", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
		})
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(stump))
	f.Add(edit(f, "num_cat=0", "num_cat=1", "decision_type=10", "decision_type=1", "threshold=30.5", "threshold=0",
		"is_linear=0", "cat_boundaries=0 2\ncat_threshold=4 256\nis_linear=0", "[0:1000]", "1:0", "pandas_categorical:null", `pandas_categorical:[["a", 3]]`))
	f.Add(edit(f, "is_linear=0", "is_linear=1\nleaf_const=0.125 3\nnum_features=2 0\nleaf_features=0 1 \nleaf_coeff=0.5 -0.0625 "))
	f.Add(edit(f, "feature_names", "average_output\nfeature_names", "end of trees", tree(1, "0.75")+"end of trees", "version=v4", "version=v2"))
	f.Add(edit(f, "num_class=1", "num_class=3", "num_tree_per_iteration=1", "num_tree_per_iteration=3", "end of trees", tree(1, "1")+tree(2, "-1")+"end of trees", "binary sigmoid:1", "multiclassova num_class:3 sigmoid:2"))
	f.Fuzz(func(t *testing.T, file []byte) {
		lightgbm.Detect(file)
		m, err := lightgbm.Read(file)
		if err != nil {
			if code := nba.CodeOf(err); code != nba.CodeModelInvalid && code != nba.CodeTooLarge {
				t.Fatalf("error %v has code %s", err, code)
			}
			return
		}
		score := modeltest.Interpreted(t, m) // validates
		row := make([]float64, len(m.Inputs))
		for _, v := range [...]float64{0, -1, 30.5, math.NaN(), math.Inf(1), math.Inf(-1), 1e300} {
			for i := range row {
				row[i] = v
			}
			score(row)
		}
	})
}
