package lightgbm_test

import (
	"path/filepath"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/internal/modeltest"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/compiler/lightgbm"
)

func read(t testing.TB, name string) *ir.Model {
	t.Helper()
	m, err := lightgbm.Read(modeltest.File(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestReferenceModels holds models that LightGBM 4.6 trained, with rows on and beside the thresholds,
// against what the library gave for them.
func TestReferenceModels(t *testing.T) {
	for _, name := range [...]string{"lgb_binary", "lgb_binary_cat", "lgb_dart", "lgb_multiclass", "lgb_poisson", "lgb_rf", "lgb_zero_as_missing"} {
		t.Run(name, func(t *testing.T) {
			at := "model-reference/" + name
			m, rows := read(t, at+".txt"), modeltest.Table(t, at+".rows.csv")
			modeltest.CheckModules(t, m, modeltest.Odd(m, rows, 3000))
			modeltest.Check(t, modeltest.Interpreted(t, m), rows,
				modeltest.Table(t, at+".raw.csv"), modeltest.Table(t, at+".pred.csv"), 4, false)
		})
	}
}

// TestTrainedModels holds models that the installed library trained (see internal/modeltest/train.py)
// against what it gave for them.
func TestTrainedModels(t *testing.T) {
	for _, ext := range [...]string{".model"} {
		for _, at := range modeltest.Trained(t, "lgb_", ext) {
			t.Run(filepath.Base(at)+ext, func(t *testing.T) {
				m, rows := read(t, at+ext), modeltest.Table(t, at+".rows.csv")
				modeltest.CheckModules(t, m, modeltest.Odd(m, rows, 3000))
				modeltest.Check(t, modeltest.Interpreted(t, m), rows,
					modeltest.Table(t, at+".raw.csv"), modeltest.Table(t, at+".pred.csv"), 4, false)
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, name := range [...]string{"model-reference/lgb_multiclass.txt", "treelite/sparse_categorical_model.txt"} {
		b.Run(filepath.Base(name), func(b *testing.B) {
			file := modeltest.File(b, name)
			b.SetBytes(int64(len(file)))
			for b.Loop() {
				if _, err := lightgbm.Read(file); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
