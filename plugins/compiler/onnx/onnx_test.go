package onnx

import (
	"bytes"
	"encoding/csv"
	"math"
	"os"
	"strconv"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// readCSV reads a file of numbers without a header.
func readCSV(tb testing.TB, path string) [][]float64 {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	records, err := csv.NewReader(bytes.NewReader(text)).ReadAll()
	if err != nil {
		tb.Fatal(err)
	}
	rows := make([][]float64, len(records))
	for i, record := range records {
		for _, field := range record {
			v, err := strconv.ParseFloat(field, 64)
			if err != nil {
				tb.Fatal(err)
			}
			rows[i] = append(rows[i], v)
		}
	}
	return rows
}

func readModel(tb testing.TB, path string) *ir.Model {
	tb.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	m, err := Read(file)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

func interpreter(tb testing.TB, m *ir.Model) *ir.Interpreter {
	tb.Helper()
	run, err := ir.NewInterpreter(m)
	if err != nil {
		tb.Fatal(err)
	}
	return run
}

// TestScikitLearn scores the rows of each scikit-learn model. scikit-learn computes in 64 bits, the
// exported model in 32; trees agree unless a row lies between the two forms of a threshold.
func TestScikitLearn(t *testing.T) {
	tests := []struct {
		name    string
		classes int // of the output: 1 is the second of two
		mostOff int // rows whose difference may exceed 1e-5
	}{
		{name: "skl_dt", classes: 1},
		{name: "skl_gb", classes: 1},
		{name: "skl_impute_onehot_lr", classes: 1},
		{name: "skl_lr_multi", classes: 3},
		{name: "skl_mlp", classes: 1},
		{name: "skl_rf", classes: 1},
		{name: "skl_scaler_lr", classes: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := readModel(t, realdata.Path(t, "model-reference/"+tt.name+".onnx"))
			rows := readCSV(t, realdata.Path(t, "model-reference/"+tt.name+".rows.csv"))
			want := readCSV(t, realdata.Path(t, "model-reference/"+tt.name+".pred.csv"))
			run := interpreter(t, m)
			off, worst := 0, 0.0
			for i, row := range rows {
				_, got := run.Run(row)
				if len(got) != tt.classes {
					t.Fatalf("row %d: got %d values, want %d", i, len(got), tt.classes)
				}
				expected := want[i][len(want[i])-len(got):]
				for k := range got {
					diff := math.Abs(got[k] - expected[k])
					worst = max(worst, diff)
					if !(diff <= 1e-5) {
						off++
						t.Logf("row %d: got %.9g, want %.9g", i, got[k], expected[k])
					}
				}
			}
			t.Logf("%d rows, greatest difference %.3g, %d beyond 1e-5; probability %v, %d steps, warnings %q", len(rows), worst, off, m.Probability, len(m.Steps), m.Warnings)
			if off > tt.mostOff {
				t.Errorf("%d values differ by more than 1e-5, want at most %d", off, tt.mostOff)
			}
			if !m.Probability {
				t.Error("the output is not known to be a probability")
			}
		})
	}
}
