package onnx

import (
	"math"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// groups lists for each set of elements that differ along the chosen axes only the indices of the
// elements, in order; dims is the shape of the groups.
func groups(dims []int, chosen []bool, keep bool) (lists [][]int, shape []int) {
	var outer []int
	for i, d := range dims {
		switch {
		case !chosen[i]:
			shape, outer = append(shape, d), append(outer, d)
		case keep:
			shape, outer = append(shape, 1), append(outer, 1)
		default:
			outer = append(outer, 1)
		}
	}
	count, _ := product(outer)
	lists = make([][]int, count)
	s, k := strides(outer), 0
	walk(dims, func(at []int) {
		g := 0
		for i := range at {
			if !chosen[i] {
				g += at[i] * s[i]
			}
		}
		lists[g] = append(lists[g], k)
		k++
	})
	return lists, shape
}

// each applies f to every group of v and puts the results, which all have the same length, one after
// the other.
func (b *builder) each(v *value, lists [][]int, f func(ir.Ref, int) ir.Ref) (ir.Ref, error) {
	if len(lists) == 0 || len(lists[0]) == 0 {
		return 0, b.errorf("it computes with an empty tensor")
	}
	if len(lists) > maxGroups {
		return 0, b.errorf("it works on more than %d rows; export the model for one row at a time", maxGroups)
	}
	if len(lists) == 1 {
		return f(b.ref(v), len(lists[0])), nil
	}
	join := &ir.Concat{}
	for _, list := range lists {
		join.Parts = append(join.Parts, f(b.emit(&ir.Gather{In: b.ref(v), Columns: list}), len(list)))
	}
	return b.emit(join), nil
}

// permuted puts the results of each back where the elements of the groups were.
func (b *builder) permuted(v *value, lists [][]int, ref ir.Ref, e elem) *value {
	index := make([]int, v.size())
	k := 0
	for _, list := range lists {
		for _, i := range list {
			index[i] = k
			k++
		}
	}
	return b.move(computed(e, v.dims, ref), index, v.dims)
}

// only chooses one axis.
func only(axis, rank int) []bool {
	chosen := make([]bool, rank)
	chosen[axis] = true
	return chosen
}

func reduce(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	v := in[0]
	chosen, some, err := b.axes(n, in, 1, len(v.dims))
	if err != nil {
		return nil, err
	}
	if !some {
		if n.int("noop_with_empty_axes", 0) != 0 {
			return one(v)
		}
		for i := range chosen {
			chosen[i] = true
		}
	}
	lists, shape := groups(v.dims, chosen, n.int("keepdims", 1) != 0)
	w := v.elem.width()
	ref, err := b.each(v, lists, func(r ir.Ref, count int) ir.Ref { return b.reduced(n.op, r, count, w) })
	if err != nil {
		return nil, err
	}
	out := computed(v.elem, shape, ref)
	count := float64(len(lists[0]))
	if v.elem.integer() && n.op == "ReduceMean" {
		return nil, b.errorf("it takes the mean of whole numbers, which is not supported")
	}
	switch n.op {
	case "ReduceSum":
		out.between(v.low*count, v.high*count)
		out.sumOf = v
	case "ReduceMean", "ReduceMin", "ReduceMax":
		out.between(v.low, v.high)
	case "ReduceL1", "ReduceL2", "ReduceSumSquare":
		out.low = 0
		if n.op == "ReduceL1" {
			out.sumOf = v
		}
	case "ReduceProd":
		if v.low >= 0 && v.high <= 1 {
			out.between(0, 1)
		}
	case "ReduceLogSumExp":
		out.logSumOf = v
	}
	if math.IsNaN(out.low + out.high) {
		out.between(math.Inf(-1), math.Inf(1))
	}
	return one(out)
}

// reduced makes one number of the count numbers at r.
func (b *builder) reduced(op string, r ir.Ref, count int, w ir.Width) ir.Ref {
	sum := func(r ir.Ref) ir.Ref { return b.emit(&ir.Reduce{In: r, By: ir.ReduceSum, Width: w}) }
	apply := func(f ir.Function, r ir.Ref) ir.Ref { return b.emit(&ir.Activation{In: r, Func: f, Width: w}) }
	arith := func(op ir.ArithOp, x, y ir.Ref) ir.Ref { return b.emit(&ir.Arith{Op: op, A: x, B: y, Width: w}) }
	switch op {
	case "ReduceSum":
		return sum(r)
	case "ReduceMean":
		return b.emit(&ir.Reduce{In: r, By: ir.ReduceMean, Width: w})
	case "ReduceMin":
		return b.emit(&ir.Reduce{In: r, By: ir.ReduceMin, Width: w})
	case "ReduceMax":
		return b.emit(&ir.Reduce{In: r, By: ir.ReduceMax, Width: w})
	case "ReduceL1":
		return sum(apply(ir.Abs, r))
	case "ReduceL2":
		return apply(ir.Sqrt, sum(arith(ir.Mul, r, r)))
	case "ReduceSumSquare":
		return sum(arith(ir.Mul, r, r))
	case "ReduceLogSumExp":
		greatest := b.emit(&ir.Reduce{In: r, By: ir.ReduceMax, Width: w})
		rest := apply(ir.Log, sum(apply(ir.Exp, arith(ir.Sub, r, greatest))))
		return arith(ir.Add, greatest, rest)
	}
	product := b.emit(&ir.Gather{In: r, Columns: []int{0}})
	for i := 1; i < count && len(b.m.Steps) < ir.MaxSteps; i++ {
		product = arith(ir.Mul, product, b.emit(&ir.Gather{In: r, Columns: []int{i}}))
	}
	return product
}

func argExtreme(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	v := in[0]
	axis, err := b.axis(n.int("axis", 0), len(v.dims))
	if err != nil {
		return nil, err
	}
	if n.int("select_last_index", 0) != 0 {
		return nil, b.errorf("its attribute select_last_index is not supported")
	}
	lists, shape := groups(v.dims, only(axis, len(v.dims)), n.int("keepdims", 1) != 0)
	w := v.elem.width()
	ref, err := b.each(v, lists, func(r ir.Ref, _ int) ir.Ref {
		if n.op == "ArgMin" {
			r = b.emit(&ir.Activation{In: r, Func: ir.Neg, Width: w})
		}
		return b.emit(&ir.Reduce{In: r, By: ir.ReduceArgMax, Width: w})
	})
	if err != nil {
		return nil, err
	}
	return one(computed(elemInt64, shape, ref).between(0, float64(max(v.dims[axis]-1, 0))))
}

func softmax(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	v := in[0]
	const sinceAxis = 13 // before, all dimensions from the axis on were one
	opset := b.f.opsets[""]
	axis := n.int("axis", -1)
	if opset < sinceAxis {
		axis = n.int("axis", 1)
	}
	at, err := b.axis(axis, len(v.dims))
	if err != nil {
		return nil, err
	}
	chosen := only(at, len(v.dims))
	for i := at; opset < sinceAxis && i < len(chosen); i++ {
		chosen[i] = true
	}
	lists, _ := groups(v.dims, chosen, true)
	ref, err := b.each(v, lists, func(r ir.Ref, _ int) ir.Ref {
		return b.activation(ir.Softmax, r, v.elem)
	})
	if err != nil {
		return nil, err
	}
	out := b.permuted(v, lists, ref, v.elem).between(0, 1)
	if !v.constant() {
		out.raw = v
	}
	return one(out)
}

// norms divides the groups of v by their norm.
func (b *builder) norms(v *value, axis int, norm ir.Norm, e elem) (*value, error) {
	lists, _ := groups(v.dims, only(axis, len(v.dims)), true)
	ref, err := b.each(v, lists, func(r ir.Ref, _ int) ir.Ref {
		return b.emit(&ir.Normalize{In: r, Norm: norm, Width: e.width()})
	})
	if err != nil {
		return nil, err
	}
	out := b.permuted(v, lists, ref, e)
	if v.low >= 0 {
		return out.between(0, 1), nil
	}
	return out.between(-1, 1), nil
}

func lpNormalization(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.numeric(in, 1); err != nil {
		return nil, err
	}
	axis, err := b.axis(n.int("axis", -1), len(in[0].dims))
	if err != nil {
		return nil, err
	}
	norm := ir.NormL2
	switch n.int("p", 2) {
	case 1:
		norm = ir.NormL1
	case 2:
	default:
		return nil, b.errorf("its norm is not supported; use l1 or l2")
	}
	out, err := b.norms(in[0], axis, norm, in[0].elem)
	if err != nil {
		return nil, err
	}
	return one(out)
}
