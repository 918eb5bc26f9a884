package xgboost_test

import (
	"path/filepath"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/internal/reference"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/compiler/xgboost"
)

// referenceModels are those that XGBoost 1.7.4 trained, with rows on and beside the thresholds and
// what the library gave for them.
var referenceModels = [...]string{"xgb_logistic", "xgb_softprob", "xgb_squared", "xgb_dart", "xgb_gblinear", "xgb_cat_onehot"}

func read(t testing.TB, name string) *ir.Model {
	t.Helper()
	m, err := xgboost.Read(reference.File(t, name))
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
				m, rows := read(t, at+ext), reference.Table(t, at+".rows.csv")
				reference.CheckModules(t, m, reference.Odd(m, rows, 3000))
				reference.Check(t, reference.Interpreted(t, m), rows,
					reference.Table(t, at+".margin.csv"), reference.Table(t, at+".pred.csv"), 2, true)
			})
		}
	}
}

// TestTrainedModels holds models that the installed library trained (see internal/reference/train.py)
// against what it gave for them.
func TestTrainedModels(t *testing.T) {
	for _, ext := range [...]string{".json", ".ubj"} {
		for _, at := range reference.Trained(t, "xgb_", ext) {
			t.Run(filepath.Base(at)+ext, func(t *testing.T) {
				m, rows := read(t, at+ext), reference.Table(t, at+".rows.csv")
				reference.CheckModules(t, m, reference.Odd(m, rows, 3000))
				reference.Check(t, reference.Interpreted(t, m), rows,
					reference.Table(t, at+".raw.csv"), reference.Table(t, at+".pred.csv"), 2, true)
			})
		}
	}
}
