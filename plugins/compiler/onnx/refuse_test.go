package onnx

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestRefuses(t *testing.T) {
	labelled := [][]byte{tensorInfo("L", elemInt64, -1), tensorInfo("Y", elemFloat, -1, 2)}
	trees := func(over map[string]any) []byte {
		return parts{nodes: [][]byte{op("TreeEnsembleClassifier", []string{"X"}, []string{"L", "Y"}, stump(over)...)}, outputs: labelled}.model()
	}
	linear := func(attributes ...[]byte) []byte {
		return parts{nodes: [][]byte{op("LinearClassifier", []string{"X"}, []string{"L", "Y"}, attributes...)}, outputs: labelled}.model()
	}
	node := func(b ...[]byte) []byte { return parts{nodes: b}.model() }
	X, Y := []string{"X"}, []string{"Y"}
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "no ONNX graph"},
		{"text", []byte("tree\nversion=v4\n"), "damaged or no ONNX file"},
		{"cut short", trees(nil)[:200], "damaged or no ONNX file"},
		{"old operators", parts{nodes: [][]byte{op(".Relu", X, Y)}, opset: -1}.model(), "version 0 of the ONNX operators"},
		{"early broadcast", parts{nodes: [][]byte{op(".Add", []string{"X", "X"}, Y, attr("broadcast", 1))}, opset: 6}.model(), "attribute broadcast"},
		{"new operators", parts{nodes: [][]byte{op(".Relu", X, Y)}, opset: 99}.model(), "version 99"},
		{"new ml operators", parts{nodes: [][]byte{op(".Relu", X, Y)}, ml: 9}.model(), "version 9 of the ai.onnx.ml operators"},
		{"unknown operator", node(op("SVMClassifier", X, Y)), `node "the SVMClassifier" (operator ai.onnx.ml.SVMClassifier): the operator is not supported`},
		{"unknown operator of ai.onnx", node(op(".TopK", X, Y)), `node "the TopK" (operator TopK)`},
		{"label only", parts{nodes: [][]byte{op(".ArgMax", X, Y, attr("axis", 1))}, outputs: [][]byte{tensorInfo("Y", elemInt64, -1, 1)}}.model(), "only a label and no score"},
		{"sum of fixed rows", parts{nodes: [][]byte{op(".ReduceSum", X, Y, attr("axes", []int{0}))}, inputs: [][]byte{tensorInfo("X", elemFloat, 10, 2)}}.model(), "across the rows that the model is fixed to"},
		{"turned fixed rows", parts{nodes: [][]byte{op(".Transpose", X, Y)}, inputs: [][]byte{tensorInfo("X", elemFloat, 10, 2)}}.model(), "turns the rows that the model is fixed to"},
		{"more of fixed rows", parts{nodes: [][]byte{op(".Add", []string{"X", "C"}, Y)}, initializers: [][]byte{tensorOf("C", []int{2, 1}, []float64{1, 2}, nil)}, inputs: [][]byte{tensorInfo("X", elemFloat, 2, 2)}}.model(), "is for several rows"},
		{"unknown columns", parts{nodes: [][]byte{op(".Relu", X, Y)}, inputs: [][]byte{tensorInfo("X", elemFloat, -1, -1)}}.model(), "dimension of unknown size"},
		{"half floats", parts{nodes: [][]byte{op(".Relu", X, Y)}, inputs: [][]byte{tensorInfo("X", 10, -1, 2)}}.model(), "type of elements that is not supported"},
		{"missing tensor", node(op(".Relu", []string{"Z"}, Y)), `reads "Z" before it is made`},
		{"wrong order", node(op(".Relu", []string{"Z"}, Y), op(".Neg", X, []string{"Z"})), `reads "Z" before it is made`},
		{"made twice", node(op(".Relu", X, Y), op(".Neg", X, Y)), `two nodes make the tensor "Y"`},
		{"constant", parts{nodes: [][]byte{op(".Relu", []string{"C"}, Y)}, initializers: [][]byte{tensorOf("C", []int{1}, []float64{1}, nil)}}.model(), "does not depend on the inputs"},
		{"constant without its values", parts{nodes: [][]byte{op(".Add", []string{"X", "C"}, Y)}, initializers: [][]byte{tensorOf("C", []int{3}, []float64{1}, nil)}}.model(), "as many values as its dimensions"},
		{"dimensions", parts{nodes: [][]byte{op(".Add", []string{"X", "C"}, Y)}, initializers: [][]byte{tensorOf("C", []int{3}, []float64{1, 2, 3}, nil)}}.model(), "dimensions that do not go together"},
		{"types", parts{nodes: [][]byte{op(".Add", []string{"X", "C"}, Y)}, initializers: [][]byte{tensorOf("C", []int{1}, nil, []int{1})}}.model(), "different types"},
		{"product of rows", node(op(".MatMul", []string{"X", "X"}, Y)), "two tensors that depend on the row"},
		{"reshape", parts{nodes: [][]byte{op(".Reshape", []string{"X", "C"}, Y)}, initializers: [][]byte{tensorOf("C", []int{1}, nil, []int{7})}}.model(), "reshapes 2 values"},
		{"gather beyond", parts{nodes: [][]byte{op(".Gather", []string{"X", "C"}, Y, attr("axis", 1))}, initializers: [][]byte{tensorOf("C", []int{1}, nil, []int{2})}}.model(), "index that is beyond its input"},
		{"half cast", node(op(".Cast", X, Y, attr("to", 10))), "casts to a type"},
		{"text cast", node(op(".Cast", X, []string{"T"}, attr("to", 8)), op("OneHotEncoder", []string{"T"}, Y, attr("cats_strings", []string{"1"}))), "numbers turned into text"},
		{"scaler columns", node(op("Scaler", X, Y, attr("offset", []float64{1, 2, 3}))), "attribute offset has 3 values for 2 columns"},
		{"norm", node(op("Normalizer", X, Y, attr("norm", "L3"))), "norm is not supported"},
		{"coefficients", linear(attr("coefficients", []float64{1, 2, 3}), attr("intercepts", []float64{1}), attr("classlabels_ints", []int{0, 1})), "3 coefficients for 2 columns"},
		{"one score, softmax", linear(attr("coefficients", []float64{1, 2}), attr("intercepts", []float64{1}), attr("classlabels_ints", []int{0, 1}), attr("post_transform", "SOFTMAX")), `one score for two classes and the post_transform "SOFTMAX"`},
		{"probit", linear(attr("coefficients", []float64{1, 2, 3, 4}), attr("intercepts", []float64{1, 2}), attr("classlabels_ints", []int{0, 1}), attr("post_transform", "PROBIT")), `post_transform "PROBIT" is not supported`},
		{"one score, two bases", trees(map[string]any{"base_values": []float64{1, 2}}), "one score for two classes and 2 base values"},
		{"one class", trees(map[string]any{"classlabels_int64s": []int{1}}), "one class and the post_transform"},
		{"no class", trees(map[string]any{"classlabels_int64s": []int{}}), "0 class labels"},
		{"lists", trees(map[string]any{"nodes_values": []float64{.5}}), "lists of nodes differ in length"},
		{"weights", trees(map[string]any{"class_weights": []float64{.5}}), "lists of weights differ in length"},
		{"mode", trees(map[string]any{"nodes_modes": []string{"BRANCH_SET", "LEAF", "LEAF"}}), "unknown mode or no children"},
		{"child", trees(map[string]any{"nodes_truenodeids": []int{9, 0, 0}}), "unknown mode or no children"},
		{"node twice", trees(map[string]any{"nodes_nodeids": []int{0, 1, 1}}), "is there twice"},
		{"two parents", trees(map[string]any{"nodes_truenodeids": []int{2, 0, 0}, "nodes_modes": []string{"BRANCH_LEQ", "LEAF", "LEAF"}}), "two parents|several roots"},
		{"cycle", trees(map[string]any{"nodes_truenodeids": []int{0, 0, 0}}), "cannot be reached from the root"},
		{"feature", trees(map[string]any{"nodes_featureids": []int{2, 0, 0}}), "asks for column 2 of 2"},
		{"threshold", trees(map[string]any{"nodes_values": []float64{math.NaN(), 0, 0}}), "a threshold is not a number"},
		{"leaf weight", trees(map[string]any{"class_weights": []float64{math.NaN(), 0}}), "weight of a leaf is not finite"},
		{"weight of a split", trees(map[string]any{"class_nodeids": []int{0, 2}}), "which is no leaf"},
		{"target", trees(map[string]any{"class_ids": []int{0, 5}}), "target 5 of 2"},
		{"weight twice", trees(map[string]any{"class_nodeids": []int{1, 1}}), "two weights for one target"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Read(tt.file)
			if nba.CodeOf(err) != nba.CodeModelInvalid {
				t.Fatalf("got %v, want an error with CodeModelInvalid", err)
			}
			if !slices.ContainsFunc(strings.Split(tt.want, "|"), func(s string) bool { return strings.Contains(err.Error(), s) }) {
				t.Errorf("got %q, want it to say %q", err, tt.want)
			}
		})
	}
}

// TestNames checks what the features are called.
func TestNames(t *testing.T) {
	relu := [][]byte{op(".Concat", []string{"age", "M"}, []string{"C"}, attr("axis", 1)), op(".Relu", []string{"C"}, []string{"Y"})}
	inputs := [][]byte{tensorInfo("age", elemFloat, -1, 1), tensorInfo("M", elemFloat, -1, 2), tensorInfo("unused", elemText, -1, 1)}
	tests := []struct {
		name     string
		parts    parts
		want     []string
		warnings int
	}{
		{name: "matrix", parts: parts{nodes: [][]byte{op(".Relu", []string{"X"}, []string{"Y"})}}, want: []string{"f0", "f1"}, warnings: 1},
		{name: "columns and matrix", parts: parts{nodes: relu, inputs: inputs}, want: []string{"age", "M_0", "M_1"}, warnings: 2},
		{name: "metadata", parts: parts{nodes: [][]byte{op(".Relu", []string{"X"}, []string{"Y"})}, metadata: map[string]string{"feature_names": `["tenure","charges"]`}}, want: []string{"tenure", "charges"}, warnings: 1},
		{name: "fixed rows", parts: parts{nodes: [][]byte{op(".Relu", []string{"X"}, []string{"Y"})}, inputs: [][]byte{tensorInfo("X", elemFloat, 10, 2)}}, want: []string{"f0", "f1"}, warnings: 2},
		{name: "wrong metadata", parts: parts{nodes: [][]byte{op(".Relu", []string{"X"}, []string{"Y"})}, metadata: map[string]string{"feature_names": `["tenure"]`}}, want: []string{"f0", "f1"}, warnings: 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Read(tt.parts.model())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, in := range m.Inputs {
				got = append(got, in.Name)
			}
			if !slices.Equal(got, tt.want) || len(m.Warnings) != tt.warnings {
				t.Errorf("got %q with the warnings %q, want %q with %d", got, m.Warnings, tt.want, tt.warnings)
			}
		})
	}
}

// TestRaw checks that the raw score is the one before the link function.
func TestRaw(t *testing.T) {
	file := parts{nodes: [][]byte{op("TreeEnsembleClassifier", []string{"X"}, []string{"L", "Y"}, stump(nil)...)},
		outputs: [][]byte{tensorInfo("L", elemInt64, -1), tensorInfo("Y", elemFloat, -1, 2)}}.model()
	m, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	run := interpreter(t, m)
	for _, tt := range []struct{ x, raw float64 }{{.5, -1}, {.6, 1}, {math.NaN(), 1}} {
		raw, out := run.Run([]float64{0, tt.x})
		if want := float64(float32(1 / (1 + math.Exp(-tt.raw)))); raw[0] != tt.raw || math.Abs(out[0]-want) > 1e-7 {
			t.Errorf("%v: got %v and %v, want %v and %v", tt.x, raw, out, tt.raw, want)
		}
	}
	if want := []string{"0", "1"}; !slices.Equal(m.Classes, want) || !m.Probability {
		t.Errorf("got the classes %q, probability %v", m.Classes, m.Probability)
	}
}

// TestDecisionValue checks that a score that is no probability has no classes: there is no probability
// of the other one.
func TestDecisionValue(t *testing.T) {
	m, err := Read(parts{nodes: [][]byte{op("LinearClassifier", []string{"X"}, []string{"L", "Y"}, attr("coefficients", []float64{1, 2}),
		attr("intercepts", []float64{.5}), attr("classlabels_strings", []string{"no", "yes"}))},
		outputs: [][]byte{tensorInfo("L", elemText, -1), tensorInfo("Y", elemFloat, -1, 2)}}.model())
	if err != nil {
		t.Fatal(err)
	}
	_, out := interpreter(t, m).Run([]float64{1, -1})
	if m.Probability || len(m.Classes) != 0 || len(m.Warnings) != 1 || !slices.Equal(out, []float64{-.5}) {
		t.Errorf("got %v, probability %v, classes %q, warnings %q", out, m.Probability, m.Classes, m.Warnings)
	}
}

// TestMixedWidths checks that numbers of 32 and of 64 bits are computed with in 64.
func TestMixedWidths(t *testing.T) {
	tests := []struct {
		name  string
		nodes [][]byte
		want  float64
	}{
		{"sum", [][]byte{op(".Add", []string{"X", "C"}, []string{"Y"})}, 1.0000000001},
		{"list", [][]byte{op(".Concat", []string{"X", "C"}, []string{"Z"}, attr("axis", 1)), op(".ReduceSum", []string{"Z"}, []string{"Y"}, attr("axes", []int{1}))}, 1.0000000001},
		{"product", [][]byte{op(".MatMul", []string{"X", "C"}, []string{"Y"})}, .5000000001 * .5},
		{"choice", [][]byte{op(".IsNaN", []string{"X"}, []string{"B"}), op(".Where", []string{"B", "C", "X"}, []string{"Y"})}, .5000000001},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := Read(parts{nodes: tt.nodes, inputs: [][]byte{tensorInfo("X", elemDouble, -1, 1)}, outputs: [][]byte{tensorInfo("Y", elemDouble, -1, 1)},
				initializers: [][]byte{tensorOf("C", []int{1, 1}, []float64{.5}, nil)}}.model())
			if err != nil {
				t.Fatal(err)
			}
			if _, out := interpreter(t, m).Run([]float64{.5000000001}); !slices.Equal(out, []float64{tt.want}) {
				t.Errorf("got %v, want %v", out, tt.want)
			}
		})
	}
}

func TestDetect(t *testing.T) {
	for _, s := range samples(t) {
		if !Detect(s.file) {
			t.Errorf("%s is not taken for an ONNX model", s.name)
		}
	}
	for _, text := range []string{"", "tree\nversion=v4", `{"learner":{}}`, "{L\x00\x00", "<?xml version=\"1.0\"?>", "\x08", "binf"} {
		if Detect([]byte(text)) {
			t.Errorf("%q is taken for an ONNX model", text)
		}
	}
}

func FuzzRead(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.onnx"))
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		file, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if len(file) < 8192 {
			f.Add(file)
		}
	}
	f.Add(parts{nodes: [][]byte{op("TreeEnsembleClassifier", []string{"X"}, []string{"L", "Y"}, stump(nil)...)}}.model())
	f.Fuzz(func(t *testing.T, file []byte) {
		for _, rows := range [...]batch{oneRow, wholeSet} {
			m, err := read(file, rows)
			if err != nil {
				if code := nba.CodeOf(err); code != nba.CodeModelInvalid && code != nba.CodeTooLarge {
					t.Fatalf("got %v, want an error of the model's", err)
				}
				continue
			}
			run, err := ir.NewInterpreter(m)
			if err != nil {
				t.Fatalf("the model read is not valid: %v", err)
			}
			row := make([]float64, len(m.Inputs))
			run.Run(row)
			for i := range row {
				row[i] = math.NaN()
			}
			run.Run(row)
		}
	})
}
