package onnx

import (
	"math"
	"slices"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// perColumn checks that an attribute has one value, or one for each column, and repeats it to the size
// of the tensor.
func (b *builder) perColumn(name string, values []float64, v *value) ([]float64, error) {
	if len(values) == 1 || len(values) == v.size() {
		return values, nil
	}
	if last := v.last(); last == 0 || len(values) != last {
		return nil, b.errorf("its attribute %s has %d values for %d columns", name, len(values), v.last())
	}
	return slices.Repeat(values, v.size()/len(values)), nil
}

// asFloat rounds whole numbers and 64-bit numbers to 32 bits.
func (b *builder) asFloat(v *value) *value {
	if v.elem == elemFloat || v.elem == elemBool {
		return v
	}
	if v.constant() {
		return numbers(elemFloat, v.dims, castAll(v.lit.nums, elemFloat, v.elem))
	}
	out := *v
	out.elem, out.ref = elemFloat, b.emit(&ir.Cast{In: v.ref, To: ir.ToF32})
	return &out
}

func scaler(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	v := in[0]
	offset, scale := n.floats("offset"), n.floats("scale")
	if len(offset) == 0 {
		offset = []float64{0}
	}
	if len(scale) == 0 {
		scale = []float64{1}
	}
	var err error
	if offset, err = b.perColumn("offset", offset, v); err != nil {
		return nil, err
	}
	if scale, err = b.perColumn("scale", scale, v); err != nil {
		return nil, err
	}
	width := ir.F32
	if v.elem == elemDouble {
		width = ir.F64
	}
	out := computed(elemFloat, v.dims, b.emit(&ir.Affine{In: b.ref(v), Offset: offset, Scale: scale, Width: width}))
	if width == ir.F64 {
		out.ref = b.emit(&ir.Cast{In: out.ref, To: ir.ToF32})
	}
	return one(out)
}

func imputer(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	v := in[0]
	values, name, missing := n.floats("imputed_value_floats"), "imputed_value_floats", n.float("replaced_value_float", 0)
	if v.elem.integer() {
		values, name, missing = wide(n.ints("imputed_value_int64s")), "imputed_value_int64s", float64(n.int("replaced_value_int64", 0))
	}
	values, err := b.perColumn(name, values, v)
	if err != nil {
		return nil, err
	}
	out := computed(v.elem, v.dims, b.emit(&ir.Impute{In: b.ref(v), Values: values, Missing: missing, KeepNaN: !math.IsNaN(missing)}))
	low, high := v.low, v.high
	for _, x := range values {
		low, high = min(low, x), max(high, x)
	}
	return one(out.between(low, high))
}

func binarizer(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	threshold := numbers(in[0].elem, nil, []float64{n.float("threshold", 0)})
	v, err := b.arith(ir.Less, threshold, in[0])
	if err != nil {
		return nil, err
	}
	return one(v)
}

func normalizer(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	v := b.asFloat(in[0])
	if len(v.dims) == 0 {
		return nil, b.errorf("its input has no dimension")
	}
	var norm ir.Norm
	switch n.text("norm", "MAX") {
	case "L1":
		norm = ir.NormL1
	case "L2":
		norm = ir.NormL2
	case "MAX":
		norm = ir.NormMax
	default:
		return nil, b.errorf("its norm is not supported; use l1, l2 or max")
	}
	out, err := b.norms(v, len(v.dims)-1, norm, elemFloat)
	if err != nil {
		return nil, err
	}
	out.labels = v.labels
	// Shares of what a link function made have the same scores before it.
	out.raw = v.raw
	return one(out)
}

func oneHotEncoder(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.need(in, 1); err != nil {
		return nil, err
	}
	v := in[0]
	texts, ints := n.strings("cats_strings"), wide(n.ints("cats_int64s"))
	count := len(texts) + len(ints)
	switch {
	case len(texts) > 0 && len(ints) > 0 || count == 0:
		return nil, b.errorf("it has no categories, or both texts and whole numbers")
	case (v.elem == elemText) != (len(texts) > 0):
		return nil, b.errorf("its categories are of another type than its input")
	case v.constant() && v.elem == elemText:
		return nil, b.errorf("it encodes a constant text, which is not supported")
	case v.size() > ir.MaxLength/count:
		return nil, b.errorf("its result has more than %d values", ir.MaxLength)
	}
	if n.int("zeros", 1) == 0 {
		b.warn(b.node.describe() + " fails for categories it does not know; here they are encoded as all zeros")
	}
	s := &ir.OneHot{Categories: make([][]float64, v.size())}
	for i := range s.Categories {
		s.Categories[i] = ints
		if v.elem == elemText {
			codes := make([]float64, len(texts))
			for k, text := range texts {
				var err error
				if codes[k], err = b.code(v.columns[i], text); err != nil {
					return nil, err
				}
			}
			s.Categories[i] = codes
		}
	}
	s.In = b.ref(v)
	if v.elem == elemFloat || v.elem == elemDouble {
		s.In = b.emit(&ir.Cast{In: s.In, To: ir.ToInteger})
	}
	dims := append(slices.Clone(v.dims), count)
	return one(computed(elemFloat, dims, b.emit(s)).between(0, 1))
}

func zipMap(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	out := *in[0]
	if out.labels = n.strings("classlabels_strings"); len(out.labels) == 0 {
		out.labels = integerLabels(n.ints("classlabels_int64s"))
	}
	return one(&out)
}

// linear multiplies v with rows of weights, in the width of e.
func (b *builder) linear(v *value, weights [][]float64, bias []float64, e elem) ir.Ref {
	return b.emit(&ir.Linear{In: b.ref(v), Weights: weights, Bias: bias, BiasLast: true, Width: e.width()})
}

// weightRows cuts a list of coefficients into rows, and checks that each has a weight for each column of v.
func (b *builder) weightRows(v *value, coefficients, intercepts []float64, count int) ([][]float64, error) {
	columns := v.last()
	switch {
	case v.size() != columns:
		return nil, b.errorf("it scores more than one row; export the model with a first dimension of None")
	case count < 1 || count > maxClasses || len(coefficients) != count*columns:
		return nil, b.errorf("it has %d coefficients for %d columns", len(coefficients), columns)
	case len(intercepts) != 0 && len(intercepts) != count:
		return nil, b.errorf("it has %d intercepts for %d rows of coefficients", len(intercepts), count)
	}
	var rows [][]float64
	for ; len(coefficients) > 0; coefficients = coefficients[columns:] {
		rows = append(rows, coefficients[:columns])
	}
	return rows, nil
}

func linearRegressor(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	v := b.asFloat(in[0])
	count := int(min(max(n.int("targets", 1), 0), maxClasses+1))
	rows, err := b.weightRows(v, n.floats("coefficients"), n.floats("intercepts"), count)
	if err != nil {
		return nil, err
	}
	scores := computed(elemFloat, []int{1, count}, b.linear(v, rows, n.floats("intercepts"), elemFloat))
	out, err := b.postTransform(scores, n.text("post_transform", "NONE"))
	if err != nil {
		return nil, err
	}
	return one(out)
}

func linearClassifier(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	v := b.asFloat(in[0])
	coefficients, intercepts := n.floats("coefficients"), n.floats("intercepts")
	columns := v.last()
	if columns == 0 || len(coefficients)%columns != 0 {
		return nil, b.errorf("it has %d coefficients for %d columns", len(coefficients), columns)
	}
	count := len(coefficients) / columns
	rows, err := b.weightRows(v, coefficients, intercepts, count)
	if err != nil {
		return nil, err
	}
	scores := computed(elemFloat, []int{1, count}, b.linear(v, rows, intercepts, elemFloat))
	labels := nodeLabels(n)
	transform := n.text("post_transform", "NONE")
	if count == 1 && len(labels) == 2 {
		return b.twoClasses(scores, transform, labels)
	}
	if len(labels) != count {
		return nil, b.errorf("it has %d rows of coefficients and %d class labels", count, len(labels))
	}
	out, err := b.postTransform(scores, transform)
	if err != nil {
		return nil, err
	}
	return b.classified(out, labels)
}

// classified are the outputs of a classifier.
func (b *builder) classified(scores *value, labels []string) ([]*value, error) {
	scores.labels = labels
	label := &value{elem: elemInt64, dims: []int{1}, opaque: "a label of a classifier, which nothing here computes with; use its probabilities"}
	return []*value{label, scores}, nil
}

// twoClasses makes the scores of two classes of one: s and its complement. Runtimes agree on that for
// NONE and LOGISTIC only.
func (b *builder) twoClasses(score *value, transform string, labels []string) ([]*value, error) {
	second := score
	first := score
	var err error
	switch transform {
	case "NONE":
		if first, err = b.arith(ir.Sub, numbers(elemFloat, nil, []float64{1}), score); err != nil {
			return nil, err
		}
	case "LOGISTIC":
		second = b.function(ir.Sigmoid, score).between(0, 1)
		negative := b.function(ir.Neg, score)
		first = b.function(ir.Sigmoid, negative).between(0, 1)
	default:
		return nil, b.errorf("it has one score for two classes and the post_transform %q, which ONNX does not define; use NONE or LOGISTIC", clip(transform))
	}
	out, err := b.join([]*value{first, second}, 1)
	if err != nil {
		return nil, err
	}
	pair := out[0]
	pair.raw = computed(elemFloat, pair.dims, b.emit(&ir.Concat{Parts: []ir.Ref{score.ref, score.ref}}))
	return b.classified(pair, labels)
}

// postTransform applies the link of a linear model or of trees to a row of scores.
func (b *builder) postTransform(scores *value, transform string) (*value, error) {
	var f ir.Function
	switch transform {
	case "NONE":
		return scores, nil
	case "LOGISTIC":
		f = ir.Sigmoid
	case "SOFTMAX":
		f = ir.Softmax
	case "SOFTMAX_ZERO":
		f = ir.SoftmaxZero
	default:
		return nil, b.errorf("its post_transform %q is not supported; use NONE, LOGISTIC or SOFTMAX", clip(transform))
	}
	out := b.function(f, scores)
	if f != ir.Sigmoid {
		// onnxruntime computes these in 32 bits, one score after the other.
		out.ref = b.emit(&ir.Activation{In: b.ref(scores), Func: f, Width: scores.elem.width()})
	}
	out.raw = scores
	return out.between(0, 1), nil
}

func matMul(b *builder, _ *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 2); err != nil {
		return nil, err
	}
	v, err := b.product(in[0], in[1], nil)
	if err != nil {
		return nil, err
	}
	return one(v)
}

// product is the matrix product of x, of one or several rows, and the constant y, plus bias, which has
// one value for each column of y.
func (b *builder) product(x, y *value, bias []float64) (*value, error) {
	if x.constant() && !y.constant() {
		return nil, b.errorf("it multiplies a constant with what depends on the row, which is supported the other way round only")
	}
	e, ok := common(x.elem, y.elem)
	if !y.constant() || !ok {
		return nil, b.errorf("it multiplies two tensors that depend on the row, or of different types")
	}
	if len(x.dims) == 0 || len(x.dims) > 2 || len(y.dims) == 0 || len(y.dims) > 2 || x.last() != y.dims[0] || x.size() == 0 || y.size() == 0 {
		return nil, b.errorf("its inputs have dimensions that do not go together")
	}
	if b.moved += y.size(); b.moved > maxMoved {
		return nil, b.errorf("the model has too many weights; train a smaller one")
	}
	columns := y.size() / y.dims[0]
	weights := make([][]float64, columns)
	for j := range weights {
		weights[j] = make([]float64, y.dims[0])
		for i := range weights[j] {
			weights[j][i] = y.lit.nums[i*columns+j]
		}
	}
	rows := x.size() / x.last()
	lists, _ := groups([]int{rows, x.last()}, []bool{false, true}, false)
	ref, err := b.each(x, lists, func(r ir.Ref, _ int) ir.Ref {
		return b.emit(&ir.Linear{In: r, Weights: weights, Bias: bias, BiasLast: true, Width: e.width()})
	})
	if err != nil {
		return nil, err
	}
	var dims []int
	if len(x.dims) == 2 {
		dims = append(dims, rows)
	}
	if len(y.dims) == 2 {
		dims = append(dims, columns)
	}
	return computed(e, dims, ref), nil
}

func gemm(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 2); err != nil {
		return nil, err
	}
	x, y := in[0], in[1]
	if len(x.dims) != 2 || len(y.dims) != 2 {
		return nil, b.errorf("its inputs are no matrices")
	}
	flip := &node{attributes: map[string]*attribute{}}
	for i, name := range [...]string{"transA", "transB"} {
		if n.int(name, 0) == 0 {
			continue
		}
		turned, err := transpose(b, flip, []*value{in[i]})
		if err != nil {
			return nil, err
		}
		if i == 0 {
			x = turned[0]
		} else {
			y = turned[0]
		}
	}
	v, err := b.product(x, y, nil)
	if err != nil {
		return nil, err
	}
	scale := func(v *value, by float64) (*value, error) {
		if by == 1 {
			return v, nil
		}
		return b.arith(ir.Mul, v, numbers(v.elem, nil, []float64{by}))
	}
	if v, err = scale(v, n.float("alpha", 1)); err != nil {
		return nil, err
	}
	if len(in) < 3 || in[2] == nil {
		return one(v)
	}
	c, err := scale(in[2], n.float("beta", 1))
	if err != nil {
		return nil, err
	}
	if v, err = b.arith(ir.Add, v, c); err != nil {
		return nil, err
	}
	return one(v)
}
