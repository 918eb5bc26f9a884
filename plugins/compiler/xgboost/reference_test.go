package xgboost_test

import (
	"bytes"
	"cmp"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/internal/modeltest"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/compiler/xgboost"
)

// referenceModels are those that XGBoost 1.7.4 trained, with rows on and beside the thresholds and
// what the library gave for them.
var referenceModels = [...]string{"xgb_logistic", "xgb_softprob", "xgb_squared", "xgb_dart", "xgb_gblinear", "xgb_cat_onehot"}

func read(t testing.TB, name string) *ir.Model {
	t.Helper()
	m, err := xgboost.Read(modeltest.File(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestReferenceModels(t *testing.T) {
	for _, name := range referenceModels {
		for _, ext := range [...]string{".json", ".ubj"} {
			t.Run(name+ext, func(t *testing.T) {
				at := "model-reference/" + name
				m, rows := read(t, at+ext), modeltest.Table(t, at+".rows.csv")
				modeltest.CheckModules(t, m, modeltest.Odd(m, rows, 3000))
				modeltest.Check(t, modeltest.Interpreted(t, m), rows,
					modeltest.Table(t, at+".margin.csv"), modeltest.Table(t, at+".pred.csv"), 2, true)
			})
		}
	}
}

// TestTelcoModel holds the churn model of the demonstration against margins and probabilities of 9
// digits, which tell 32-bit floats apart.
func TestTelcoModel(t *testing.T) {
	m := read(t, "xgboost-telco-churn/model.xgb.json")
	features := bytes.SplitN(modeltest.File(t, "xgboost-telco-churn/test_features.csv"), []byte("\n"), 2)
	if names := strings.Split(strings.TrimSpace(string(features[0])), ","); len(names) != len(m.Inputs) || names[5] != m.Inputs[5].Name {
		t.Fatalf("%d inputs, %d columns", len(m.Inputs), len(names))
	}
	score := modeltest.Interpreted(t, m)
	expected := strings.Split(strings.TrimSpace(string(modeltest.File(t, "xgboost-telco-churn/test_expected.csv"))), "\n")[1:]
	rows := strings.Split(strings.TrimSpace(string(features[1])), "\n")
	if len(rows) != len(expected) {
		t.Fatalf("%d rows, %d expected", len(rows), len(expected))
	}
	for i, line := range rows {
		raw, out := score(numbers(t, line))
		want := numbers(t, expected[i])[1:]
		if float32(raw[0]) != float32(want[0]) || modeltest.ULPs(out[0], float64(float32(want[1])), true) > 2 {
			t.Errorf("row %d: %v and %v, want %v", i, raw, out, want)
		}
	}
}

func numbers(t *testing.T, line string) []float64 {
	var row []float64
	for field := range strings.SplitSeq(strings.TrimSpace(line), ",") {
		v, err := strconv.ParseFloat(cmp.Or(field, "nan"), 64)
		if err != nil {
			t.Fatal(err)
		}
		row = append(row, v)
	}
	return row
}

func BenchmarkRead(b *testing.B) {
	for _, name := range [...]string{"xgboost-telco-churn/model.xgb.json", "model-reference/xgb_softprob.json", "model-reference/xgb_softprob.ubj"} {
		b.Run(filepath.Base(name), func(b *testing.B) {
			file := modeltest.File(b, name)
			b.SetBytes(int64(len(file)))
			for b.Loop() {
				if _, err := xgboost.Read(file); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestTrainedModels holds models that the installed library trained (see internal/modeltest/train.py)
// against what it gave for them.
func TestTrainedModels(t *testing.T) {
	for _, ext := range [...]string{".json", ".ubj"} {
		for _, at := range modeltest.Trained(t, "xgb_", ext) {
			t.Run(filepath.Base(at)+ext, func(t *testing.T) {
				m, rows := read(t, at+ext), modeltest.Table(t, at+".rows.csv")
				modeltest.CheckModules(t, m, modeltest.Odd(m, rows, 3000))
				modeltest.Check(t, modeltest.Interpreted(t, m), rows,
					modeltest.Table(t, at+".raw.csv"), modeltest.Table(t, at+".pred.csv"), 2, true)
			})
		}
	}
}
