package onnx

import (
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// sample is a model of testdata with rows and the scores that onnxruntime gives them.
type sample struct {
	name   string
	file   []byte
	model  *ir.Model
	rows   [][]float64 // in the order of the model's inputs
	scores [][]float64
}

// samples reads all models of testdata.
func samples(tb testing.TB) []sample {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*.onnx"))
	if err != nil || len(files) == 0 {
		tb.Fatal("no models in testdata")
	}
	var out []sample
	for _, path := range files {
		file, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		s := sample{name: strings.TrimSuffix(filepath.Base(path), ".onnx"), file: file}
		if s.model, err = read(file, anything); err != nil {
			tb.Fatalf("%s: %v", s.name, err)
		}
		s.table(tb, strings.TrimSuffix(path, ".onnx")+".csv")
		out = append(out, s)
	}
	return out
}

func (s *sample) table(tb testing.TB, path string) {
	tb.Helper()
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	records, err := csv.NewReader(f).ReadAll()
	if err != nil {
		tb.Fatal(err)
	}
	number := func(text string) float64 {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			tb.Fatalf("%s: %v", path, err)
		}
		return v
	}
	first := slices.Index(records[0], "=0")
	for _, record := range records[1:] {
		var row, scores []float64
		for _, in := range s.model.Inputs {
			cell := record[slices.Index(records[0][:first], in.Name)]
			if len(in.Categories) == 0 {
				row = append(row, number(cell))
				continue
			}
			code := math.NaN()
			if i := slices.Index(in.Categories, cell); i >= 0 {
				code = float64(i)
			}
			row = append(row, code)
		}
		for _, cell := range record[first:] {
			scores = append(scores, number(cell))
		}
		s.rows, s.scores = append(s.rows, row), append(s.scores, scores)
	}
}

// want are the scores of row i that the model gives: all, or that of the second of two classes. Those
// of a sum of rounded shares, which the model keeps between 0 and 1, may lie a little beyond.
func (s *sample) want(i int, got []float64) []float64 {
	want := slices.Clone(s.scores[i][len(s.scores[i])-len(got):])
	for k, w := range want {
		if s.model.Probability {
			want[k] = min(max(w, 0), 1)
		}
	}
	return want
}

// exact tells whether the model's scores are fixed bit for bit by the ONNX definitions: those of trees
// without a link, or with SOFTMAX, are. onnxruntime adds up dot products in an order, and with fused operations, of its
// own, and computes exponentials in its own way.
func (s *sample) exact() bool {
	dot := false
	for _, step := range s.model.Steps {
		switch step := step.(type) {
		case *ir.Linear, *ir.Normalize:
			dot = true
		case *ir.Activation:
			softmax := (step.Func == ir.Softmax || step.Func == ir.SoftmaxZero) && step.Width == ir.F32
			dot = dot || step.Func != ir.Neg && step.Func != ir.Relu && !softmax
		}
	}
	return !dot
}

// TestAgainstRuntime holds the models of testdata against onnxruntime.
func TestAgainstRuntime(t *testing.T) {
	const tolerance = 2e-6 // of 1, or of a greater score
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			run := interpreter(t, s.model)
			worst, equal, count := 0.0, 0, 0
			for i, row := range s.rows {
				_, got := run.Run(row)
				for k, w := range s.want(i, got) {
					count++
					if got[k] == w || math.IsNaN(got[k]) && math.IsNaN(w) {
						equal++
						continue
					}
					diff := math.Abs(got[k]-w) / max(1, math.Abs(w))
					worst = max(worst, diff)
					if s.exact() || !(diff <= tolerance) {
						t.Errorf("row %d, score %d: got %.9g, want %.9g", i, k, got[k], w)
					}
				}
			}
			t.Logf("%d of %d scores equal, greatest difference %.2g, exact %v, %d steps", equal, count, worst, s.exact(), len(s.model.Steps))
		})
	}
}
