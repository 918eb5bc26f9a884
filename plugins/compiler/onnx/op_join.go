package onnx

import (
	"slices"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

func concat(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.need(in, max(len(in), 1)); err != nil {
		return nil, err
	}
	axis, err := b.axis(n.int("axis", 0), len(in[0].dims))
	if err != nil {
		return nil, err
	}
	return b.join(in, axis)
}

// join puts tensors one after the other along axis. Parts without elements are left out.
func (b *builder) join(in []*value, axis int) ([]*value, error) {
	if full := slices.DeleteFunc(slices.Clone(in), func(v *value) bool { return v.size() == 0 }); len(full) > 0 {
		in = full
	}
	first, total := in[0], 0
	e := first.elem
	for _, v := range in {
		var ok bool
		if e, ok = common(e, v.elem); !ok || len(v.dims) != len(first.dims) {
			return nil, b.errorf("it joins tensors of different dimensions or types")
		}
		for i := range v.dims {
			if i != axis && v.dims[i] != first.dims[i] {
				return nil, b.errorf("it joins tensors of different dimensions")
			}
		}
		total += v.dims[axis]
	}
	if mixed := slices.ContainsFunc(in, func(v *value) bool { return v.constant() != first.constant() }); mixed && first.elem == elemText {
		return nil, b.errorf("it joins constant texts and texts of the row, which is not supported")
	}
	dims := along(first.dims, axis, total)
	count, ok := product(dims)
	if !ok || count > ir.MaxLength {
		return nil, b.errorf("its result has more than %d values", ir.MaxLength)
	}
	end, index := joinIndex(in, axis, dims)
	out := b.joined(in, end, index, dims)
	out.elem = e
	if out.constant() {
		out.lit.elem = e
	}
	return one(out)
}

// joinIndex tells for each element of the result where it is when all parts are put in one list.
func joinIndex(in []*value, axis int, dims []int) (total int, index []int) {
	index = make([]int, 0, len(in))
	inner, _ := product(dims[axis+1:])
	outer, _ := product(dims[:axis])
	offsets := make([]int, len(in))
	for i, v := range in {
		offsets[i] = total
		total += v.size()
	}
	for o := range outer {
		for i, v := range in {
			run := v.dims[axis] * inner
			for k := range run {
				index = append(index, offsets[i]+o*run+k)
			}
		}
	}
	return total, index
}

// joined puts all parts in one list and picks the elements by index.
func (b *builder) joined(in []*value, total int, index, dims []int) *value {
	all := &value{elem: in[0].elem, dims: []int{total}, low: in[0].low, high: in[0].high}
	lit := true
	for _, v := range in {
		lit = lit && v.constant()
		all.low, all.high = min(all.low, v.low), max(all.high, v.high)
	}
	if lit {
		l := &literal{elem: all.elem, dims: all.dims}
		for _, v := range in {
			l.nums, l.texts = append(l.nums, v.lit.nums...), append(l.texts, v.lit.texts...)
		}
		return b.move(literalValue(l), index, dims)
	}
	step := &ir.Concat{}
	for _, v := range in {
		step.Parts = append(step.Parts, b.ref(v))
		all.columns = append(all.columns, v.columns...)
	}
	if len(step.Parts) == 1 {
		all.ref = step.Parts[0]
	} else {
		all.ref = b.emit(step)
	}
	if raws := rawParts(in, dims); raws != nil {
		all.raw = b.joined(raws, total, index, dims)
		all.raw.dims = all.dims
	}
	return b.move(all, index, dims)
}

// rawParts are the parts before the link function, where all have one, or where the second of two
// scores has one: the first is its complement.
func rawParts(in []*value, dims []int) []*value {
	raws := make([]*value, len(in))
	missing := 0
	for i, v := range in {
		if raws[i] = v.raw; v.raw == nil || v.raw.size() != v.size() {
			raws[i] = v
			missing++
		}
	}
	if n, _ := product(dims); missing == 0 || missing < len(in) && n == 2 {
		return raws
	}
	return nil
}
