package pmml

import (
	"math"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/internal/modeltest"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// float reads a number of the document in 32 bits, "" as 0.
func float(t *testing.T, text string) float32 {
	t.Helper()
	if text == "" {
		return 0
	}
	v, err := strconv.ParseFloat(text, 32)
	if err != nil {
		t.Fatal(err)
	}
	return float32(v)
}

// TestNetwork evaluates the reference network in 32 bits, connection by connection.
func TestNetwork(t *testing.T) {
	file, err := os.ReadFile(realdata.Path(t, "pmml/neural_network.pmml"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := Read(file)
	if err != nil {
		t.Fatal(err)
	}
	in, err := ir.NewInterpreter(m)
	if err != nil {
		t.Fatal(err)
	}
	root, err := parse(file)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 8))
	var inputs [][]float64
	for range 500 {
		input := make([]float64, len(m.Inputs))
		neurons := map[string]float32{}
		for i := range input {
			input[i] = rng.Float64() * 8
			neurons["input/"+strconv.Itoa(i+1)] = float32(input[i])
		}
		inputs = append(inputs, input)
		raw, out := in.Run(input)
		want := plainNetwork(t, root.child("NeuralNetwork"), neurons)
		sum, top := 0.0, math.Inf(-1)
		for _, y := range want {
			top = max(top, float64(y))
		}
		for _, y := range want {
			sum += math.Exp(float64(y) - top)
		}
		for i, y := range want {
			if raw[i] != float64(y) {
				t.Fatalf("row %v: raw %d is %v, want %v", input, i, raw[i], y)
			}
			if p := math.Exp(float64(y)-top) / sum; math.Abs(out[i]-p) > 2e-7 {
				t.Fatalf("row %v: probability %d is %v, want %v", input, i, out[i], p)
			}
		}
	}
	modeltest.CheckModules(t, m, modeltest.Odd(m, inputs, 2*len(inputs)))
}

// plainNetwork gives the last layer before its softmax.
func plainNetwork(t *testing.T, model *element, neurons map[string]float32) (last []float32) {
	layers := model.all("NeuralLayer")
	for i, layer := range layers {
		last = nil
		for _, n := range layer.all("Neuron") {
			var sum float32
			for _, con := range n.all("Con") {
				product := neurons[con.attr("from")] * float(t, con.attr("weight"))
				sum += product
			}
			sum += float(t, n.attr("bias"))
			if i < len(layers)-1 {
				sum = max(sum, 0)
			}
			neurons[n.attr("id")] = sum
			last = append(last, sum)
		}
	}
	return last
}
