package pmml

import (
	"slices"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// maxNeurons bounds a network.
const maxNeurons = 60_000

// neuron is where the activation of a neuron stands.
type neuron struct {
	column int
	layer  int
}

// networkReader carries the neurons read so far.
type networkReader struct {
	d       *document
	model   *element
	neurons map[string]neuron
	layers  []ir.Ref // by layer; 0 are the inputs
	sizes   []int
	sums    ir.Ref // of the last layer, before its activation
}

// network reads a NeuralNetwork of layers.
func (d *document) network(s *scope, model *element) (*result, error) {
	n := &networkReader{d: d, model: model, neurons: map[string]neuron{}}
	if err := n.inputs(s); err != nil {
		return nil, err
	}
	layers := model.all("NeuralLayer")
	if len(layers) == 0 {
		return nil, model.fail("it has no NeuralLayer")
	}
	for _, e := range layers {
		if err := n.layer(e); err != nil {
			return nil, err
		}
	}
	out := model.child("NeuralOutputs")
	if out == nil {
		return nil, model.fail("it has no NeuralOutputs")
	}
	classify, err := classifies(model)
	if err != nil {
		return nil, err
	}
	if classify {
		return n.classes(out)
	}
	return n.number(out)
}

func (n *networkReader) inputs(s *scope) error {
	e := n.model.child("NeuralInputs")
	if e == nil {
		return n.model.fail("it has no NeuralInputs")
	}
	var fields []*field
	for i, in := range e.all("NeuralInput") {
		derived := in.child("DerivedField")
		if derived == nil {
			return in.fail("it has no DerivedField")
		}
		f, err := s.derived(derived)
		if err != nil {
			return err
		}
		if f.text() {
			return in.fail("it is a text")
		}
		fields = append(fields, f)
		if err := n.add(in, i, 0); err != nil {
			return err
		}
	}
	if len(fields) == 0 {
		return e.fail("it has no NeuralInput")
	}
	from, columns := n.d.gather(fields)
	pick := &ir.Gather{In: from}
	for _, c := range columns {
		pick.Columns = append(pick.Columns, int(c))
	}
	n.layers = append(n.layers, n.d.model.Append(pick))
	n.sizes = append(n.sizes, len(fields))
	return nil
}

func (n *networkReader) add(e *element, column, layer int) error {
	id := e.attr("id")
	if _, twice := n.neurons[id]; twice || id == "" {
		return e.fail("its id is missing or repeated")
	}
	if len(n.neurons) >= maxNeurons {
		return e.fail("the network has more than %d neurons", maxNeurons)
	}
	n.neurons[id] = neuron{column: column, layer: layer}
	return nil
}

// layer reads a layer: for each neuron the sum of its connections in their order, then the bias, then
// the activation.
func (n *networkReader) layer(e *element) error {
	list := e.all("Neuron")
	if len(list) == 0 {
		return e.fail("it has no Neuron")
	}
	w := width(n.model)
	layer := len(n.layers)
	used := map[int]bool{}
	for _, neuron := range list {
		for _, con := range neuron.all("Con") {
			from, ok := n.neurons[con.attr("from")]
			if !ok {
				return con.fail("it comes from no earlier neuron")
			}
			used[from.layer] = true
		}
	}
	in, starts, length := n.join(used)
	step := &ir.Linear{In: in, BiasLast: true, Width: w}
	if length*len(list) > ir.MaxWeights {
		return e.fail("it has more than %d weights", ir.MaxWeights)
	}
	for i, neuron := range list {
		bias, err := neuron.numberOr("bias", 0)
		if err != nil {
			return err
		}
		weights := make([]float64, length)
		for _, con := range neuron.all("Con") {
			v, err := con.number("weight")
			if err != nil {
				return err
			}
			from := n.neurons[con.attr("from")]
			weights[starts[from.layer]+from.column] += rounded(w, v)
		}
		step.Weights, step.Bias = append(step.Weights, weights), append(step.Bias, rounded(w, bias))
		if err := n.add(neuron, i, layer); err != nil {
			return err
		}
	}
	n.sums = n.d.model.Append(step)
	out, err := n.activate(e, n.sums)
	if err != nil {
		return err
	}
	n.layers, n.sizes = append(n.layers, out), append(n.sizes, len(list))
	return nil
}

// join puts the layers that are used side by side.
func (n *networkReader) join(used map[int]bool) (in ir.Ref, starts map[int]int, length int) {
	starts = map[int]int{}
	var parts []ir.Ref
	for layer, ref := range n.layers {
		if used[layer] {
			starts[layer] = length
			length += n.sizes[layer]
			parts = append(parts, ref)
		}
	}
	switch len(parts) {
	case 0:
		return n.layers[0], starts, n.sizes[0]
	case 1:
		return parts[0], starts, length
	}
	return n.d.model.Append(&ir.Concat{Parts: parts}), starts, length
}

// inherited is an attribute of the layer, or else of the network.
func (n *networkReader) inherited(e *element, name string) string {
	if v, ok := e.lookup(name); ok {
		return v
	}
	return n.model.attr(name)
}

func (n *networkReader) activate(e *element, x ir.Ref) (ir.Ref, error) {
	d, w := n.d, width(n.model)
	f := func(f ir.Function, in ir.Ref) ir.Ref {
		return d.model.Append(&ir.Activation{In: in, Func: f, Width: w})
	}
	arith := func(op ir.ArithOp, a, b ir.Ref) ir.Ref {
		return d.model.Append(&ir.Arith{Op: op, A: a, B: b, Width: w})
	}
	var y ir.Ref
	switch name := n.inherited(e, "activationFunction"); name {
	case "identity":
		y = x
	case "logistic":
		y = f(ir.Sigmoid, x)
	case "tanh":
		y = f(ir.Tanh, x)
	case "rectifier":
		y = f(ir.Relu, x)
	case "exponential":
		y = f(ir.Exp, x)
	case "square":
		y = arith(ir.Mul, x, x)
	case "reciprocal":
		y = arith(ir.Div, d.constant(1), x)
	case "Gauss":
		y = f(ir.Exp, f(ir.Neg, arith(ir.Mul, x, x)))
	case "Elliott":
		y = arith(ir.Div, x, arith(ir.Add, d.constant(1), f(ir.Abs, x)))
	default:
		return 0, e.fail("the activationFunction %q is not supported", shorten(name))
	}
	switch name := n.inherited(e, "normalizationMethod"); name {
	case "", "none":
	case "softmax":
		n.sums = y
		y = f(ir.Softmax, y)
	case "simplemax":
		y = d.model.Append(&ir.Normalize{In: y, Norm: ir.NormSum, Width: w})
	default:
		return 0, e.fail("the normalizationMethod %q is not supported", shorten(name))
	}
	return y, nil
}

// classes reads outputs that are classes.
func (n *networkReader) classes(e *element) (*result, error) {
	r := &result{}
	var columns []int
	last := len(n.layers) - 1
	for _, o := range e.all("NeuralOutput") {
		derived := o.child("DerivedField")
		if derived == nil || derived.child("NormDiscrete") == nil {
			return nil, o.fail("it is no class: it has no NormDiscrete")
		}
		from, ok := n.neurons[o.attr("outputNeuron")]
		label := derived.child("NormDiscrete").attr("value")
		if !ok || from.layer != last || slices.Contains(r.classes, label) {
			return nil, o.fail("it is no neuron of the last layer, or its class is there twice")
		}
		r.classes = append(r.classes, label)
		columns = append(columns, from.column)
	}
	if len(r.classes) < 2 {
		return nil, e.fail("it has fewer than 2 classes")
	}
	r.value = n.d.model.Append(&ir.Gather{In: n.layers[last], Columns: columns})
	r.raw = n.d.model.Append(&ir.Gather{In: n.sums, Columns: columns})
	return r, nil
}

// number reads the output of a regression, and undoes the scaling of the target.
func (n *networkReader) number(e *element) (*result, error) {
	list := e.all("NeuralOutput")
	if len(list) != 1 {
		return nil, e.fail("a regression has one NeuralOutput, not %d", len(list))
	}
	derived := list[0].child("DerivedField")
	from, ok := n.neurons[list[0].attr("outputNeuron")]
	if derived == nil || !ok {
		return nil, list[0].fail("it has no DerivedField or names no neuron")
	}
	y := n.d.model.Append(&ir.Gather{In: n.layers[from.layer], Columns: []int{from.column}})
	norm := derived.child("NormContinuous")
	switch {
	case norm != nil:
		points := norm.all("LinearNorm")
		if len(points) != 2 {
			return nil, norm.fail("scaling a target by other than 2 LinearNorms is not supported")
		}
		var at [2][2]float64
		for i, p := range points {
			for j, name := range [...]string{"norm", "orig"} {
				var err error
				if at[i][j], err = p.number(name); err != nil {
					return nil, err
				}
			}
		}
		if at[0][0] == at[1][0] {
			return nil, norm.fail("its LinearNorms have the same norm")
		}
		y = n.d.line(y, at[0][0], at[0][1], at[1][0], at[1][1])
	case derived.child("FieldRef") != nil:
	default:
		return nil, derived.fail("the scaling of the target is not supported")
	}
	return &result{value: y, raw: y}, nil
}

// line is the straight line through (x0, y0) and (x1, y1).
func (d *document) line(x ir.Ref, x0, y0, x1, y1 float64) ir.Ref {
	scaled := d.model.Append(&ir.Affine{In: x, Offset: []float64{x0}, Scale: []float64{(y1 - y0) / (x1 - x0)}})
	if y0 == 0 {
		return scaled
	}
	return d.model.Append(&ir.Arith{Op: ir.Add, A: scaled, B: d.constant(y0)})
}
