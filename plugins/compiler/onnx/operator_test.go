package onnx

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/internal/modeltest"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// readTensor reads a TensorProto file.
func readTensor(tb testing.TB, path string) (raw []byte, t *literal) {
	tb.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	d := &decoder{}
	_, t = d.tensor(raw)
	if d.err != nil {
		tb.Fatal(d.err)
	}
	return raw, t
}

// withConstant makes an input of a model constant: protocol buffers that follow each other are merged,
// so that a second graph with an initializer is enough.
func withConstant(model []byte, tensor []byte, name string) []byte {
	tensor = bytesField(slices.Clone(tensor), 8, []byte(name))
	return bytesField(slices.Clone(model), 7, bytesField(nil, 5, tensor))
}

// TestOperators runs the conformance tests of single operators of the ONNX repository.
func TestOperators(t *testing.T) {
	tests := []struct {
		name     string
		rows     batch
		constant map[int]string // inputs that depend on no row in a pipeline, by index
		ulps     float64        // of 32 bits; 0 is bit for bit
	}{
		{name: "test_add", rows: wholeSet},
		{name: "test_ai_onnx_ml_array_feature_extractor", rows: anything, constant: map[int]string{1: "y"}},
		{name: "test_ai_onnx_ml_label_encoder_string_int", rows: wholeSet},
		{name: "test_ai_onnx_ml_tree_ensemble_single_tree", rows: anything},
		{name: "test_concat_2d_axis_1", rows: wholeSet},
		{name: "test_gemm_default_vector_bias", rows: anything, constant: map[int]string{1: "b", 2: "c"}, ulps: 4},
		{name: "test_matmul_2d", rows: anything, constant: map[int]string{1: "b"}, ulps: 4},
		{name: "test_relu", rows: wholeSet},
		{name: "test_sigmoid", rows: wholeSet, ulps: 1},
		{name: "test_softmax_axis_1", rows: wholeSet, ulps: 2},
		{name: "test_tanh", rows: wholeSet, ulps: 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Dir(realdata.Path(t, "onnx-ml/"+tt.name+"/model.onnx"))
			model, err := os.ReadFile(filepath.Join(dir, "model.onnx"))
			if err != nil {
				t.Fatal(err)
			}
			var inputs []*literal
			for i := 0; ; i++ {
				path := filepath.Join(dir, "test_data_set_0", fmt.Sprintf("input_%d.pb", i))
				if _, err := os.Stat(path); err != nil {
					break
				}
				raw, tensor := readTensor(t, path)
				if name := tt.constant[i]; name != "" {
					model = withConstant(model, raw, name)
				} else {
					inputs = append(inputs, tensor)
				}
			}
			_, want := readTensor(t, filepath.Join(dir, "test_data_set_0", "output_0.pb"))
			checkOperator(t, model, tt.rows, inputs, want, tt.ulps)
		})
	}
}

// checkOperator scores each row of the inputs, or all of them as one, and the modules of all outputs.
func checkOperator(t *testing.T, model []byte, rows batch, inputs []*literal, want *literal, ulps float64) {
	t.Helper()
	m, err := read(model, rows)
	if err != nil {
		t.Fatal(err)
	}
	run := interpreter(t, m)
	count := 1
	if rows == anything {
		count = inputs[0].dims[0]
	}
	var got []float64
	var all [][]float64
	for r := range count {
		var row []float64
		for _, in := range inputs {
			n := in.size() / count
			for i := r * n; i < (r+1)*n; i++ {
				if in.elem != elemText {
					row = append(row, in.nums[i])
				} else if code := slices.Index(m.Inputs[len(row)].Categories, in.texts[i]); code >= 0 {
					row = append(row, float64(code))
				} else {
					row = append(row, math.NaN())
				}
			}
		}
		_, out := run.Run(row)
		got, all = append(got, out...), append(all, row)
	}
	if len(got) != want.size() {
		t.Fatalf("got %d values, want %d", len(got), want.size())
	}
	worst := 0.0
	for i, w := range want.nums {
		off := math.Abs(got[i]-w) / float64(math.Nextafter32(float32(math.Abs(w)), float32(math.Inf(1)))-float32(math.Abs(w)))
		worst = max(worst, off)
		if !(off <= ulps) {
			t.Errorf("value %d: got %.9g, want %.9g, %.1f units in the last place apart", i, got[i], w, off)
		}
	}
	t.Logf("%d values, greatest difference %.1f units in the last place", len(got), worst)
	if len(m.Classes) <= 8 {
		modeltest.CheckModules(t, m, modeltest.Odd(m, all, 200))
	}
}
