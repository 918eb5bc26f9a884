package onnx

import (
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// operation reads one node whose inputs are known; an input that is left out is nil.
type operation func(b *builder, n *node, in []*value) ([]*value, error)

// operator is the operation of an operator, nil for one that is not supported.
func operator(domain, name string) operation {
	switch domain {
	case "ai.onnx.ml":
		return operatorML(name)
	case "":
		if op := operatorMove(name); op != nil {
			return op
		}
		return operatorMath(name)
	}
	return nil
}

func operatorML(name string) operation {
	switch name {
	case "ArrayFeatureExtractor":
		return arrayFeatureExtractor
	case "Binarizer":
		return binarizer
	case "CategoryMapper", "LabelEncoder":
		return labelEncoder
	case "Imputer":
		return imputer
	case "LinearClassifier":
		return linearClassifier
	case "LinearRegressor":
		return linearRegressor
	case "Normalizer":
		return normalizer
	case "OneHotEncoder":
		return oneHotEncoder
	case "Scaler":
		return scaler
	case "TreeEnsemble":
		return treeEnsemble
	case "TreeEnsembleClassifier":
		return treeEnsembleClassifier
	case "TreeEnsembleRegressor":
		return treeEnsembleRegressor
	case "ZipMap":
		return zipMap
	}
	return nil
}

func operatorMove(name string) operation {
	switch name {
	case "Concat":
		return concat
	case "Constant":
		return constant
	case "ConstantOfShape":
		return constantOfShape
	case "Dropout", "Identity":
		return identity
	case "Expand":
		return expand
	case "Flatten":
		return flatten
	case "Gather":
		return gather
	case "Reshape":
		return reshape
	case "Shape":
		return shape
	case "Slice":
		return slice
	case "Split":
		return split
	case "Squeeze":
		return squeeze
	case "Transpose":
		return transpose
	case "Unsqueeze":
		return unsqueeze
	}
	return nil
}

func operatorMath(name string) operation {
	switch name {
	case "Add":
		return elementwise(ir.Add)
	case "Sub":
		return elementwise(ir.Sub)
	case "Mul":
		return elementwise(ir.Mul)
	case "Div":
		return elementwise(ir.Div)
	case "Sum":
		return variadic(ir.Add)
	case "Mean":
		return mean
	case "Max":
		return variadic(ir.Max)
	case "Min":
		return variadic(ir.Min)
	case "Pow":
		return pow
	case "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Equal":
		return compare
	case "And", "Or", "Xor", "Not":
		return logical
	case "Where":
		return where
	case "Clip":
		return clipOp
	case "Cast":
		return cast
	case "Abs", "Exp", "Log", "Neg", "Relu", "Sigmoid", "Softplus", "Sqrt", "Tanh", "IsNaN":
		return unary
	case "Reciprocal":
		return reciprocal
	case "Floor", "Ceil", "Round":
		return roundOp
	case "Softmax":
		return softmax
	case "ReduceSum", "ReduceMean", "ReduceMin", "ReduceMax", "ReduceProd", "ReduceLogSumExp", "ReduceSumSquare", "ReduceL1", "ReduceL2":
		return reduce
	case "ArgMax", "ArgMin":
		return argExtreme
	case "LpNormalization":
		return lpNormalization
	case "MatMul":
		return matMul
	case "Gemm":
		return gemm
	}
	return nil
}

// int is an attribute of one whole number.
func (n *node) int(name string, otherwise int64) int64 {
	if a := n.attributes[name]; a != nil {
		return a.i
	}
	return otherwise
}

// float is an attribute of one number.
func (n *node) float(name string, otherwise float64) float64 {
	if a := n.attributes[name]; a != nil && a.hasF {
		return a.f
	}
	return otherwise
}

// text is an attribute of one text.
func (n *node) text(name, otherwise string) string {
	if a := n.attributes[name]; a != nil {
		return a.s
	}
	return otherwise
}

func (n *node) floats(name string) []float64 {
	if a := n.attributes[name]; a != nil {
		return a.floats
	}
	return nil
}

func (n *node) ints(name string) []int64 {
	if a := n.attributes[name]; a != nil {
		return a.ints
	}
	return nil
}

func (n *node) strings(name string) []string {
	if a := n.attributes[name]; a != nil {
		return a.strings
	}
	return nil
}

// tensor is an attribute that is a constant of numbers, nil when it is not there.
func (n *node) tensor(name string) []float64 {
	if a := n.attributes[name]; a != nil && a.t != nil {
		return a.t.nums
	}
	return nil
}

// need checks that at least count inputs are there.
func (b *builder) need(in []*value, count int) error {
	for i := range count {
		if i >= len(in) || in[i] == nil {
			return b.errorf("its input %d is missing; %s", i, remedy)
		}
	}
	return nil
}

// numeric checks that the first count inputs are there and are numbers.
func (b *builder) numeric(in []*value, count int) error {
	if err := b.need(in, count); err != nil {
		return err
	}
	for _, v := range in {
		if v != nil && v.elem == elemText {
			return b.errorf("it computes with text")
		}
	}
	return nil
}

// integers are the elements of a constant input, which lists dimensions, axes or indices.
func (b *builder) integers(v *value, what string) ([]int, error) {
	if !v.constant() || v.elem == elemText {
		return nil, b.errorf("its %s depend on the row, which is not supported", what)
	}
	out := make([]int, len(v.lit.nums))
	for i, x := range v.lit.nums {
		const most = 1 << 40
		out[i] = int(max(min(x, most), -most))
		if x != x {
			return nil, b.errorf("its %s are not whole numbers", what)
		}
	}
	return out, nil
}

// axis counts from the end when it is negative.
func (b *builder) axis(axis int64, rank int) (int, error) {
	if axis < 0 {
		axis += int64(rank)
	}
	if axis < 0 || axis >= int64(rank) {
		return 0, b.errorf("its axis is beyond the dimensions of its input")
	}
	if axis == 0 && rank > 1 && b.fixed {
		return 0, b.errorf("it may work across the rows that the model is fixed to; export the model with a first dimension of None")
	}
	return int(axis), nil
}

// axes are those of the attribute, or since a later version of the operator of input k.
func (b *builder) axes(n *node, in []*value, k, rank int) ([]bool, bool, error) {
	var list []int
	if k < len(in) && in[k] != nil {
		var err error
		if list, err = b.integers(in[k], "axes"); err != nil {
			return nil, false, err
		}
	}
	for _, a := range n.ints("axes") {
		list = append(list, int(a))
	}
	chosen := make([]bool, rank)
	for _, a := range list {
		at, err := b.axis(int64(a), rank)
		if err != nil {
			return nil, false, err
		}
		chosen[at] = true
	}
	return chosen, len(list) > 0, nil
}

// one wraps the result of an operator with one output.
func one(v *value) ([]*value, error) { return []*value{v}, nil }
