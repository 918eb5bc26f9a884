package onnx

import (
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/internal/modeltest"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// TestModules holds the emitted modules of the models of testdata against the interpreter, bit for bit.
func TestModules(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			most := 400 // rows
			if len(s.scores[0]) > 8 {
				most = 12 // there is a module for each output
			}
			modeltest.CheckModules(t, s.model, modeltest.Odd(s.model, s.rows, most))
		})
	}
}

// TestScikitLearnModules does so for the reference models, with rows on and beside their thresholds.
func TestScikitLearnModules(t *testing.T) {
	const most = 3000 // rows
	for _, name := range []string{"skl_dt", "skl_gb", "skl_impute_onehot_lr", "skl_lr_multi", "skl_mlp", "skl_rf", "skl_scaler_lr"} {
		t.Run(name, func(t *testing.T) {
			m := readModel(t, realdata.Path(t, "model-reference/"+name+".onnx"))
			rows := readCSV(t, realdata.Path(t, "model-reference/"+name+".rows.csv"))
			modeltest.CheckModules(t, m, modeltest.Odd(m, rows, most))
		})
	}
}
