package onnx

import (
	"math"
	"slices"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// elementwise is an operator of two tensors that NumPy would broadcast.
func elementwise(op ir.ArithOp) operation {
	return func(b *builder, _ *node, in []*value) ([]*value, error) {
		if err := b.numeric(in, 2); err != nil {
			return nil, err
		}
		v, err := b.arith(op, in[0], in[1])
		if err != nil {
			return nil, err
		}
		return one(v)
	}
}

// common is the type of what is computed of two types. ONNX wants one type, but skl2onnx mixes floats
// of 32 and 64 bits when the inputs have 64; every number of 32 bits is one of 64.
func common(x, y elem) (elem, bool) {
	if x == elemFloat && y == elemDouble || x == elemDouble && y == elemFloat {
		return elemDouble, true
	}
	return x, x == y
}

// pair brings two tensors to a common shape.
func (b *builder) pair(x, y *value) (ir.Ref, ir.Ref, []int, error) {
	dims, ok := broadcastDims(x.dims, y.dims)
	count, _ := product(dims)
	if !ok || count > ir.MaxLength {
		return 0, 0, nil, b.errorf("its inputs have dimensions that do not go together")
	}
	if count == 0 {
		return 0, 0, nil, b.errorf("it computes with an empty tensor")
	}
	return b.ref(b.spread(x, dims, true)), b.ref(b.spread(y, dims, true)), dims, nil
}

// arith computes with two tensors.
func (b *builder) arith(op ir.ArithOp, x, y *value) (*value, error) {
	e, ok := common(x.elem, y.elem)
	if !ok {
		return nil, b.errorf("its inputs are of different types")
	}
	r, s, dims, err := b.pair(x, y)
	if err != nil {
		return nil, err
	}
	out := computed(e, dims, b.emit(&ir.Arith{Op: op, A: r, B: s, Width: e.width()}))
	if op == ir.Div && e.integer() {
		out.ref = b.emit(&ir.Cast{In: out.ref, To: ir.ToInteger})
	}
	out.bound(op, x, y)
	return out, nil
}

// bound derives the bounds of a result from those of its operands.
func (v *value) bound(op ir.ArithOp, x, y *value) {
	switch op {
	case ir.Add:
		v.between(x.low+y.low, x.high+y.high)
	case ir.Sub:
		v.between(x.low-y.high, x.high-y.low)
		v.logShare = y.logSumOf != nil && y.logSumOf == x
	case ir.Mul:
		a, b, c, d := x.low*y.low, x.low*y.high, x.high*y.low, x.high*y.high
		v.between(min(a, b, c, d), max(a, b, c, d))
	case ir.Div:
		if y.low > 0 {
			a, b, c, d := x.low/y.low, x.low/y.high, x.high/y.low, x.high/y.high
			v.between(min(a, b, c, d), max(a, b, c, d))
		}
		if x.low >= 0 && y.low >= 0 && math.IsInf(v.low, -1) {
			v.low = 0
		}
		if y.sumOf != nil && y.sumOf == x && x.low >= 0 {
			v.between(0, 1)
		}
	case ir.Min:
		v.between(min(x.low, y.low), min(x.high, y.high))
	case ir.Max:
		v.between(max(x.low, y.low), max(x.high, y.high))
	default:
		v.between(0, 1)
	}
	if math.IsNaN(v.low) || math.IsNaN(v.high) {
		v.between(math.Inf(-1), math.Inf(1))
	}
}

// variadic combines any number of tensors, one after the other.
func variadic(op ir.ArithOp) operation {
	return func(b *builder, _ *node, in []*value) ([]*value, error) {
		v, err := b.chain(op, in)
		if err != nil {
			return nil, err
		}
		return one(v)
	}
}

func (b *builder) chain(op ir.ArithOp, in []*value) (*value, error) {
	if err := b.numeric(in, max(len(in), 1)); err != nil {
		return nil, err
	}
	v := in[0]
	for _, next := range in[1:] {
		var err error
		if v, err = b.arith(op, v, next); err != nil {
			return nil, err
		}
	}
	return v, nil
}

func mean(b *builder, _ *node, in []*value) ([]*value, error) {
	v, err := b.chain(ir.Add, in)
	if err != nil {
		return nil, err
	}
	if v, err = b.arith(ir.Div, v, numbers(v.elem, nil, []float64{float64(len(in))})); err != nil {
		return nil, err
	}
	return one(v)
}

// function applies a function of one number, or of a row.
func (b *builder) function(f ir.Function, v *value) *value {
	return computed(v.elem, v.dims, b.activation(f, b.ref(v), v.elem))
}

// activation applies a function to r. Each is computed in 64 bits and rounded once: ONNX fixes no bits,
// and runtimes lie on either side of that.
func (b *builder) activation(f ir.Function, r ir.Ref, e elem) ir.Ref {
	switch f {
	case ir.Sigmoid, ir.Softmax:
		r = b.emit(&ir.Activation{In: r, Func: f})
		if e == elemFloat {
			r = b.emit(&ir.Cast{In: r, To: ir.ToF32})
		}
		return r
	}
	return b.emit(&ir.Activation{In: r, Func: f, Width: e.width()})
}

func unary(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	v := in[0]
	if v.size() == 0 {
		return nil, b.errorf("it computes with an empty tensor")
	}
	f := map[string]ir.Function{"Abs": ir.Abs, "Exp": ir.Exp, "Log": ir.Log, "Neg": ir.Neg, "Relu": ir.Relu, "Sigmoid": ir.Sigmoid,
		"Softplus": ir.Log1pExp, "Sqrt": ir.Sqrt, "Tanh": ir.Tanh, "IsNaN": ir.IsMissing}[n.op]
	out := b.function(f, v)
	switch f {
	case ir.Abs:
		out.between(0, max(math.Abs(v.low), math.Abs(v.high)))
	case ir.Exp:
		out.between(0, math.Exp(v.high))
		if v.logShare {
			out.between(0, 1+slack/2)
		}
	case ir.Neg:
		out.between(-v.high, -v.low)
	case ir.Relu:
		out.between(max(v.low, 0), max(v.high, 0))
	case ir.Sigmoid:
		out.between(0, 1)
		out.raw = v
	case ir.Sqrt, ir.Log1pExp:
		out.low = 0
	case ir.Tanh:
		out.between(-1, 1)
	case ir.IsMissing:
		out.elem = elemBool
		out.between(0, 1)
	}
	return one(out)
}

func reciprocal(b *builder, _ *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	v, err := b.arith(ir.Div, numbers(in[0].elem, nil, []float64{1}), in[0])
	if err != nil {
		return nil, err
	}
	return one(v)
}

func roundOp(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	v := in[0]
	switch n.op {
	case "Floor":
		v = computed(v.elem, v.dims, b.emit(&ir.Cast{In: b.ref(v), To: ir.ToFloor}))
	case "Round":
		v = computed(v.elem, v.dims, b.emit(&ir.Cast{In: b.ref(v), To: ir.ToRounded}))
	default: // the ceiling is minus the floor of minus
		v = b.function(ir.Neg, v)
		v.ref = b.emit(&ir.Cast{In: v.ref, To: ir.ToFloor})
		v = b.function(ir.Neg, v)
	}
	return one(v)
}

// powMost is the greatest whole exponent that is computed by multiplication.
const powMost = 8

func pow(b *builder, _ *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 2); err != nil {
		return nil, err
	}
	x, y := in[0], in[1]
	if !y.constant() {
		return nil, b.errorf("its exponent depends on the row, which is not supported")
	}
	if x.elem.integer() {
		return nil, b.errorf("it raises whole numbers, which is not supported; export with inputs of 32-bit floats")
	}
	if y.size() == 1 {
		switch p := y.lit.nums[0]; {
		case p == 0.5:
			return one(b.function(ir.Sqrt, x).between(0, math.Inf(1)))
		case p >= 1 && p <= powMost && p == math.Trunc(p):
			v := x
			for ; p > 1; p-- {
				var err error
				if v, err = b.arith(ir.Mul, v, x); err != nil {
					return nil, err
				}
			}
			if in[1].lit.nums[0] == 2 {
				v.low = 0
			}
			return one(v)
		}
	}
	// x^y = exp(y × log x), in 64 bits. 0^0 is 1.
	exact := numbers(elemDouble, y.dims, y.lit.nums)
	l := computed(elemDouble, x.dims, b.emit(&ir.Activation{In: b.ref(x), Func: ir.Log}))
	v, err := b.arith(ir.Mul, exact, l)
	if err != nil {
		return nil, err
	}
	v = b.function(ir.Exp, v)
	zero := make([]float64, len(y.lit.nums))
	for i, p := range y.lit.nums {
		if p == 0 {
			zero[i] = 1
		}
	}
	isZero := b.ref(b.spread(numbers(elemBool, y.dims, zero), v.dims, true))
	v.ref = b.emit(&ir.Where{Cond: isZero, A: b.emit(&ir.Const{Values: []float64{1}}), B: v.ref})
	if x.elem == elemFloat {
		v.ref = b.emit(&ir.Cast{In: v.ref, To: ir.ToF32})
	}
	return one(computed(x.elem, v.dims, v.ref).between(0, math.Inf(1)))
}

func compare(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.need(in, 2); err != nil {
		return nil, err
	}
	x, y := in[0], in[1]
	if x.elem == elemText || y.elem == elemText {
		return b.compareText(n, x, y)
	}
	op := ir.Equal
	switch n.op {
	case "Less":
		op = ir.Less
	case "LessOrEqual":
		op = ir.LessEqual
	case "Greater":
		op, x, y = ir.Less, y, x
	case "GreaterOrEqual":
		op, x, y = ir.LessEqual, y, x
	}
	v, err := b.arith(op, x, y)
	if err != nil {
		return nil, err
	}
	v.elem = elemBool
	return one(v)
}

// compareText compares texts of the row with a constant, by their codes.
func (b *builder) compareText(n *node, x, y *value) ([]*value, error) {
	if x.constant() {
		x, y = y, x
	}
	if n.op != "Equal" || x.elem != elemText || y.elem != elemText || x.constant() || !y.constant() || y.size() == 0 {
		return nil, b.errorf("it compares texts that are not of the row and constant")
	}
	dims, ok := broadcastDims(x.dims, y.dims)
	if count, _ := product(dims); !ok || count == 0 || count > ir.MaxLength {
		return nil, b.errorf("its inputs have dimensions that do not go together")
	}
	x, y = b.spread(x, dims, false), b.spread(y, dims, false)
	codes := make([]float64, y.size())
	for i, text := range y.lit.texts {
		var err error
		if codes[i], err = b.code(x.columns[i], text); err != nil {
			return nil, err
		}
	}
	ref := b.emit(&ir.Arith{Op: ir.Equal, A: x.ref, B: b.emit(&ir.Const{Values: codes})})
	return one(computed(elemBool, dims, ref).between(0, 1))
}

func logical(b *builder, n *node, in []*value) ([]*value, error) {
	count := 2
	if n.op == "Not" {
		count = 1
	}
	if err := b.numeric(in, count); err != nil {
		return nil, err
	}
	var v *value
	var err error
	switch n.op {
	case "And":
		v, err = b.arith(ir.Mul, in[0], in[1])
	case "Or":
		v, err = b.arith(ir.Max, in[0], in[1])
	case "Xor":
		v, err = b.arith(ir.NotEqual, in[0], in[1])
	default:
		v, err = b.arith(ir.Equal, in[0], numbers(in[0].elem, nil, []float64{0}))
	}
	if err != nil {
		return nil, err
	}
	v.elem = elemBool
	return one(v.between(0, 1))
}

func where(b *builder, _ *node, in []*value) ([]*value, error) {
	if err := b.need(in, 3); err != nil {
		return nil, err
	}
	if in[0].elem == elemText {
		return nil, b.errorf("its condition is text")
	}
	dims, ok := broadcastDims(in[1].dims, in[2].dims)
	if ok {
		dims, ok = broadcastDims(dims, in[0].dims)
	}
	e, same := common(in[1].elem, in[2].elem)
	if count, _ := product(dims); !ok || !same || count == 0 || count > ir.MaxLength {
		return nil, b.errorf("its inputs have types or dimensions that do not go together")
	}
	if in[1].elem == elemText {
		return b.whereText(b.ref(b.spread(in[0], dims, true)), b.spread(in[1], dims, false), b.spread(in[2], dims, false), dims)
	}
	s := &ir.Where{Cond: b.ref(b.spread(in[0], dims, true)), A: b.ref(b.spread(in[1], dims, true)), B: b.ref(b.spread(in[2], dims, true))}
	return one(computed(e, dims, b.emit(s)).between(min(in[1].low, in[2].low), max(in[1].high, in[2].high)))
}

// whereText chooses between the texts of the row and constant ones, which become codes of the same
// inputs.
func (b *builder) whereText(cond ir.Ref, x, y *value, dims []int) ([]*value, error) {
	refs := [2]ir.Ref{}
	columns := x.columns
	if x.constant() {
		columns = y.columns
	}
	for i, v := range [...]*value{x, y} {
		refs[i] = v.ref
		if !v.constant() && !slices.Equal(v.columns, columns) || columns == nil {
			return nil, b.errorf("it chooses between texts of different inputs, which is not supported")
		}
		if !v.constant() {
			continue
		}
		codes := make([]float64, len(columns))
		for k, text := range v.lit.texts {
			var err error
			if codes[k], err = b.code(columns[k], text); err != nil {
				return nil, err
			}
		}
		refs[i] = b.emit(&ir.Const{Values: codes})
	}
	out := computed(elemText, dims, b.emit(&ir.Where{Cond: cond, A: refs[0], B: refs[1]}))
	out.columns = columns
	return one(out)
}

func clipOp(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	v := in[0]
	for i, name := range [...]string{"min", "max"} {
		var limit *value
		if a := n.attributes[name]; a != nil && a.hasF {
			limit = numbers(v.elem, nil, []float64{a.f})
		}
		if i+1 < len(in) && in[i+1] != nil {
			limit = in[i+1]
		}
		if limit == nil {
			continue
		}
		var err error
		if v, err = b.arith([...]ir.ArithOp{ir.Max, ir.Min}[i], v, limit); err != nil {
			return nil, err
		}
	}
	return one(v)
}

func cast(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.need(in, 1); err != nil {
		return nil, err
	}
	v, to := in[0], elem(n.int("to", 0))
	switch {
	case !to.known():
		return nil, b.errorf("it casts to a type that is not supported; use 32 or 64 bits")
	case v.elem == to:
		return one(v)
	case to == elemText:
		return []*value{{elem: elemText, dims: v.dims, opaque: "numbers turned into text, which is not supported; give the column as text to the pipeline"}}, nil
	case v.elem == elemText:
		return nil, b.errorf("it turns text into numbers, which is not supported; give the column as numbers to the pipeline")
	}
	if v.constant() {
		return one(numbers(to, v.dims, castAll(v.lit.nums, to, v.elem)))
	}
	out := *v
	out.elem = to
	switch {
	case to == elemFloat && v.elem != elemBool:
		out.ref = b.emit(&ir.Cast{In: v.ref, To: ir.ToF32})
	case to.integer() && !v.elem.integer() && v.elem != elemBool:
		out.ref = b.emit(&ir.Cast{In: v.ref, To: ir.ToInteger})
		out.raw, out.sumOf, out.logSumOf = nil, nil, nil
	case to == elemBool:
		out.ref = b.emit(&ir.Cast{In: v.ref, To: ir.ToBoolean})
		out.raw, out.sumOf, out.logSumOf = nil, nil, nil
		out.between(0, 1)
	}
	return one(&out)
}

// castAll casts a constant.
func castAll(nums []float64, to, from elem) []float64 {
	out := make([]float64, len(nums))
	for i, x := range nums {
		switch {
		case to == elemFloat:
			x = float64(float32(x))
		case to.integer() && !from.integer():
			x = math.Trunc(x)
		case to == elemBool && x != 0:
			x = 1
		}
		out[i] = x
	}
	return out
}
