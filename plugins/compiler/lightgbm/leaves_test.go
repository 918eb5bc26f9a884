package lightgbm_test

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/internal/modeltest"
	"github.com/arbiterhq/arbiter/plugins/compiler/lightgbm"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

const leaves = "model-leaves-testdata/"

// TestPublicModels holds models of other people, of LightGBM 2 and 3, against the predictions that came
// with them.
func TestPublicModels(t *testing.T) {
	for _, c := range []struct {
		model, rows, raw, predictions string
		skip                          int // columns before the features
	}{
		{model: "lg_dart_breast_cancer.model", rows: "breast_cancer_test.tsv", predictions: "lg_dart_breast_cancer_true_predictions.txt"},
		{model: "lg_kddcup99.model", rows: "kddcup99_test.tsv", raw: "lg_kddcup99_true_predictions.txt"},
		{model: "lg_rf_iris.model", rows: "iris_test.libsvm", predictions: "lg_rf_iris_true_predictions.txt"},
		{model: "lgmulticlass.model", rows: "multiclass_test.tsv", raw: "lgmulticlass_true_raw_predictions.txt", predictions: "lgmulticlass_true_predictions.txt", skip: 1},
		{model: "genlin_fmtp_gamma_AvgClaimAmount.model", rows: "genlin_fmtp_gamma_AvgClaimAmount_features.tsv", predictions: "genlin_fmtp_gamma_AvgClaimAmount_true_predictions.txt"},
		{model: "genlin_fmtp_poisson_Frequency.model", rows: "genlin_fmtp_poisson_Frequency_features.tsv", predictions: "genlin_fmtp_poisson_Frequency_true_predictions.txt"},
		{model: "genlin_fmtp_tweedie_PurePremium.model", rows: "genlin_fmtp_tweedie_PurePremium_features.tsv", predictions: "genlin_fmtp_tweedie_PurePremium_true_predictions.txt"},
	} {
		t.Run(c.model, func(t *testing.T) {
			m := read(t, leaves+c.model)
			var rows [][]float64
			if strings.HasSuffix(c.rows, ".libsvm") {
				rows = modeltest.LibSVM(t, leaves+c.rows, len(m.Inputs), 0)
			} else {
				rows = modeltest.Table(t, leaves+c.rows)
			}
			for i := range rows {
				rows[i] = rows[i][c.skip:]
			}
			modeltest.CheckModules(t, m, modeltest.Odd(m, rows, 400))
			modeltest.Check(t, modeltest.Interpreted(t, m), rows, table(t, c.raw), table(t, c.predictions), 4, false)
		})
	}
}

// table is a table, or nothing when there is none.
func table(t *testing.T, name string) [][]float64 {
	if name == "" {
		return nil
	}
	return modeltest.Table(t, leaves+name)
}

// TestLeaves holds a model against the leaves that the library says each row falls into.
func TestLeaves(t *testing.T) {
	m := read(t, leaves+"lg_breast_cancer.txt")
	var values [][]float64 // by tree and leaf, as the file has them
	for line := range bytes.Lines(modeltest.File(t, leaves+"lg_breast_cancer.txt")) {
		text, ok := strings.CutPrefix(strings.TrimSpace(string(line)), "leaf_value=")
		if !ok {
			continue
		}
		var tree []float64
		for word := range strings.SplitSeq(text, " ") {
			v, err := strconv.ParseFloat(word, 64)
			if err != nil {
				t.Fatal(err)
			}
			tree = append(tree, v)
		}
		values = append(values, tree)
	}
	rows, found := modeltest.Table(t, leaves+"lg_breast_cancer_data.txt"), modeltest.Table(t, leaves+"lg_breast_cancer_data_pred_leaves.txt")
	raw := make([][]float64, len(rows))
	for i := range rows {
		sum := 0.0
		for tree, leaf := range found[i] {
			sum += values[tree][int(leaf)]
		}
		raw[i] = []float64{sum}
	}
	modeltest.CheckModules(t, m, modeltest.Odd(m, rows, 1000))
	modeltest.Check(t, modeltest.Interpreted(t, m), rows, raw, nil, 0, false)
}

func TestTreeliteModels(t *testing.T) {
	toy := read(t, "treelite/toy_categorical_model.txt")
	want := modeltest.Table(t, "treelite/toy_categorical.test.pred")
	rows := modeltest.LibSVM(t, "treelite/toy_categorical.test", 2, 0)
	modeltest.CheckModules(t, toy, modeltest.Odd(toy, rows, 1000))
	modeltest.Check(t, modeltest.Interpreted(t, toy), rows, want, want, 0, false)
}

// TestWideModel reads 5057 columns, more than a model may have inputs: those that no tree reads are
// left out. Its categories go up to 8 million.
func TestWideModel(t *testing.T) {
	m := read(t, "treelite/sparse_categorical_model.txt")
	if len(m.Inputs) >= 5057 || len(m.Warnings) == 0 || !strings.Contains(m.Warnings[0], "5057 columns") {
		t.Errorf("%d inputs, warnings %q", len(m.Inputs), m.Warnings)
	}
	all := modeltest.LibSVM(t, "treelite/sparse_categorical.test", 5057, math.NaN())
	rows := make([][]float64, len(all))
	for i := range all {
		for _, v := range m.Inputs {
			c, err := strconv.Atoi(strings.TrimPrefix(v.Name, "Column_"))
			if err != nil {
				t.Fatal(err)
			}
			rows[i] = append(rows[i], all[i][c])
		}
	}
	modeltest.CheckModules(t, m, modeltest.Odd(m, rows, 300))
	modeltest.Check(t, modeltest.Interpreted(t, m), rows, modeltest.Table(t, "treelite/sparse_categorical.test.margin"), nil, 0, false)
}

// TestSimple evaluates by hand a file of two small trees with a split on categories.
func TestSimple(t *testing.T) {
	m := read(t, leaves+"model_simple.txt")
	score := modeltest.Interpreted(t, m)
	for _, c := range []struct{ x1, x2, first, second float64 }{
		{500, 100, 0.56697267424823339, 0.12883103567558912}, // 100 is the one category of the set
		{340, 3, 0.3584987837673016, -0.063872842243335157},
		{341, 3, 0.41213915936587919, -0.016484332942214807},
		{341, math.NaN(), 0.41213915936587919, -0.016484332942214807},
	} {
		if raw, _ := score([]float64{c.x1, c.x2}); raw[0] != c.first+c.second {
			t.Errorf("%v, %v: %v, want %v", c.x1, c.x2, raw[0], c.first+c.second)
		}
	}
}

// TestRefusedFiles are real files that are no LightGBM text models.
func TestRefusedFiles(t *testing.T) {
	for name, reason := range map[string]string{
		"lg_1tree.json":                  "dump_model",
		"lg_1tree_1leaf.json":            "dump_model",
		"lg_dart_breast_cancer.json":     "dump_model",
		"tree_1leaf.txt":                 "not the start",
		"tree_2leaves.txt":               "not the start",
		"tree_3leaves.txt":               "not the start",
		"sk_iris.model":                  "no LightGBM text model",
		"xgagaricus.model":               "no LightGBM text model",
		"../model-reference/skl_dt.onnx": "no LightGBM text model",
	} {
		file := modeltest.File(t, leaves+name)
		_, err := lightgbm.Read(file)
		if nba.CodeOf(err) != nba.CodeModelInvalid || !strings.Contains(err.Error(), reason) || !strings.Contains(err.Error(), "save_model") {
			t.Errorf("%s: %v", name, err)
		}
		if want := !strings.Contains(reason, "no LightGBM"); lightgbm.Detect(file) != want {
			t.Errorf("%s: detected %v, want %v", name, !want, want)
		}
	}
}
