package onnx

import (
	"slices"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

func identity(b *builder, _ *node, in []*value) ([]*value, error) {
	if err := b.need(in, 1); err != nil {
		return nil, err
	}
	return []*value{in[0], nil}, nil
}

func constant(b *builder, n *node, _ []*value) ([]*value, error) {
	switch {
	case n.attributes["value"] != nil && n.attributes["value"].t != nil:
		return one(literalValue(n.attributes["value"].t))
	case n.attributes["value_float"] != nil:
		return one(numbers(elemFloat, nil, []float64{n.float("value_float", 0)}))
	case n.attributes["value_int"] != nil:
		return one(numbers(elemInt64, nil, []float64{float64(n.int("value_int", 0))}))
	case n.attributes["value_floats"] != nil:
		v := n.floats("value_floats")
		return one(numbers(elemFloat, []int{len(v)}, v))
	case n.attributes["value_ints"] != nil:
		v := wide(n.ints("value_ints"))
		return one(numbers(elemInt64, []int{len(v)}, v))
	case n.attributes["value_string"] != nil:
		return one(literalValue(&literal{elem: elemText, texts: []string{n.text("value_string", "")}}))
	case n.attributes["value_strings"] != nil:
		v := n.strings("value_strings")
		return one(literalValue(&literal{elem: elemText, dims: []int{len(v)}, texts: v}))
	}
	return nil, b.errorf("it has no value that is supported")
}

func wide(ints []int64) []float64 {
	out := make([]float64, len(ints))
	for i, v := range ints {
		out[i] = float64(v)
	}
	return out
}

func constantOfShape(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.need(in, 1); err != nil {
		return nil, err
	}
	dims, err := b.integers(in[0], "dimensions")
	if err != nil {
		return nil, err
	}
	count, ok := product(dims)
	if !ok || len(dims) > maxRank || count > ir.MaxLength {
		return nil, b.errorf("its result is too large")
	}
	e, fill := elemFloat, 0.0
	if a := n.attributes["value"]; a != nil && a.t != nil && len(a.t.nums) == 1 {
		e, fill = a.t.elem, a.t.nums[0]
	}
	return one(numbers(e, dims, slices.Repeat([]float64{fill}, count)))
}

func shape(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.need(in, 1); err != nil {
		return nil, err
	}
	if n.attributes["start"] != nil || n.attributes["end"] != nil {
		return nil, b.errorf("its attributes start and end are not supported")
	}
	dims := make([]float64, len(in[0].dims))
	for i, d := range in[0].dims {
		dims[i] = float64(d)
	}
	return one(numbers(elemInt64, []int{len(dims)}, dims))
}

func reshape(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.need(in, 2); err != nil {
		return nil, err
	}
	dims, err := b.integers(in[1], "dimensions")
	if err != nil {
		return nil, err
	}
	if len(dims) > maxRank {
		return nil, b.errorf("its result has too many dimensions")
	}
	dims = slices.Clone(dims)
	open, known := -1, 1
	for i, d := range dims {
		if d == 0 && n.int("allowzero", 0) == 0 {
			if i >= len(in[0].dims) {
				return nil, b.errorf("it copies a dimension that its input does not have")
			}
			dims[i] = in[0].dims[i]
		}
		switch {
		case d == -1 && open < 0:
			open = i
		case d < 0 || d > maxTensorValues:
			return nil, b.errorf("its dimensions are impossible")
		default:
			if known *= dims[i]; known > maxTensorValues {
				return nil, b.errorf("its result is too large")
			}
		}
	}
	if open >= 0 && known > 0 {
		dims[open] = in[0].size() / known
	}
	if count, ok := product(dims); !ok || count != in[0].size() {
		return nil, b.errorf("it reshapes %d values to another number of them; export the model for one row at a time", in[0].size())
	}
	return one(b.reshaped(in[0], dims))
}

func flatten(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.need(in, 1); err != nil {
		return nil, err
	}
	axis := n.int("axis", 1)
	if axis < 0 {
		axis += int64(len(in[0].dims))
	}
	if axis < 0 || axis > int64(len(in[0].dims)) {
		return nil, b.errorf("its axis is beyond the dimensions of its input")
	}
	rows, _ := product(in[0].dims[:axis])
	columns, _ := product(in[0].dims[axis:])
	return one(b.reshaped(in[0], []int{rows, columns}))
}

func squeeze(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.need(in, 1); err != nil {
		return nil, err
	}
	chosen, some, err := b.axes(n, in, 1, len(in[0].dims))
	if err != nil {
		return nil, err
	}
	var dims []int
	for i, d := range in[0].dims {
		if drop := chosen[i] || !some && d == 1; !drop {
			dims = append(dims, d)
		} else if d != 1 {
			return nil, b.errorf("it drops a dimension that is not 1")
		}
	}
	return one(b.reshaped(in[0], dims))
}

func unsqueeze(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.need(in, 1); err != nil {
		return nil, err
	}
	more := len(n.ints("axes"))
	if len(in) > 1 && in[1] != nil {
		more += in[1].size()
	}
	rank := len(in[0].dims) + more
	if rank > maxRank {
		return nil, b.errorf("its result has too many dimensions")
	}
	chosen, _, err := b.axes(n, in, 1, rank)
	if err != nil {
		return nil, err
	}
	rest := in[0].dims
	dims := make([]int, rank)
	for i := range dims {
		if dims[i] = 1; !chosen[i] {
			if len(rest) == 0 {
				return nil, b.errorf("it names an axis twice")
			}
			dims[i], rest = rest[0], rest[1:]
		}
	}
	return one(b.reshaped(in[0], dims))
}

func transpose(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.need(in, 1); err != nil {
		return nil, err
	}
	rank := len(in[0].dims)
	order := make([]int, rank)
	for i := range order {
		order[i] = rank - 1 - i
	}
	if perm := n.ints("perm"); len(perm) > 0 {
		used := make([]bool, rank)
		for i, p := range perm {
			if len(perm) != rank || p < 0 || p >= int64(rank) || used[p] {
				return nil, b.errorf("its perm is no permutation of the dimensions")
			}
			order[i], used[p] = int(p), true
		}
	}
	if b.fixed && rank > 1 && order[0] != 0 && !in[0].constant() {
		return nil, b.errorf("it turns the rows that the model is fixed to; export the model with a first dimension of None")
	}
	s := strides(in[0].dims)
	dims := make([]int, rank)
	for i, o := range order {
		dims[i] = in[0].dims[o]
	}
	var index []int
	walk(dims, func(at []int) {
		k := 0
		for i, o := range order {
			k += at[i] * s[o]
		}
		index = append(index, k)
	})
	return one(b.move(in[0], index, dims))
}

func expand(b *builder, _ *node, in []*value) ([]*value, error) {
	if err := b.need(in, 2); err != nil {
		return nil, err
	}
	to, err := b.integers(in[1], "dimensions")
	if err != nil {
		return nil, err
	}
	if len(to) > maxRank || slices.ContainsFunc(to, func(d int) bool { return d < 0 || d > ir.MaxLength }) {
		return nil, b.errorf("its dimensions are impossible")
	}
	dims, ok := broadcastDims(in[0].dims, to)
	if count, _ := product(dims); !ok || count > ir.MaxLength {
		return nil, b.errorf("its dimensions do not go together")
	}
	return one(b.spread(in[0], dims, false))
}

// pick takes the elements of v whose index along axis is listed.
func (b *builder) pick(v *value, axis int, list []int, dims []int) (*value, error) {
	length := v.dims[axis]
	inner, _ := product(v.dims[axis+1:])
	outer, _ := product(v.dims[:axis])
	if len(list) > 0 && outer*inner > maxTensorValues/len(list) {
		return nil, b.errorf("its result is too large")
	}
	index := make([]int, 0, outer*len(list)*inner)
	for o := range outer {
		for _, i := range list {
			if i < 0 {
				i += length
			}
			if i < 0 || i >= length {
				return nil, b.errorf("it asks for an index that is beyond its input")
			}
			for k := range inner {
				index = append(index, (o*length+i)*inner+k)
			}
		}
	}
	return b.move(v, index, dims), nil
}

// along is the dimensions of v with those of the list in place of one.
func along(dims []int, axis int, with ...int) []int {
	out := slices.Clone(dims[:axis])
	out = append(out, with...)
	return append(out, dims[axis+1:]...)
}

func gather(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.need(in, 2); err != nil {
		return nil, err
	}
	axis, err := b.axis(n.int("axis", 0), len(in[0].dims))
	if err != nil {
		return nil, err
	}
	if !in[1].constant() {
		return b.lookupBy(in[0], in[1])
	}
	list, err := b.integers(in[1], "indices")
	if err != nil {
		return nil, err
	}
	dims := along(in[0].dims, axis, in[1].dims...)
	if len(dims) > maxRank {
		return nil, b.errorf("its result has too many dimensions")
	}
	v, err := b.pick(in[0], axis, list, dims)
	if err != nil {
		return nil, err
	}
	return one(v)
}

// lookupBy takes elements of a constant list at indices that depend on the row.
func (b *builder) lookupBy(data, index *value) ([]*value, error) {
	if !data.constant() || data.size() == 0 || data.last() != data.size() {
		return nil, b.errorf("its indices depend on the row, which is supported for constant lists only")
	}
	if data.elem == elemText {
		return []*value{{elem: elemText, dims: index.dims, opaque: "a text that depends on the scores, which is not supported"}}, nil
	}
	s := &ir.Lookup{In: b.ref(index), Values: data.lit.nums}
	for i := range data.lit.nums {
		s.Keys = append(s.Keys, float64(i))
	}
	return one(computed(data.elem, index.dims, b.emit(s)).between(min(data.low, 0), max(data.high, 0)))
}

func arrayFeatureExtractor(b *builder, _ *node, in []*value) ([]*value, error) {
	if err := b.need(in, 2); err != nil {
		return nil, err
	}
	if len(in[0].dims) == 0 {
		return nil, b.errorf("its input has no dimension")
	}
	if !in[1].constant() {
		return b.lookupBy(in[0], in[1])
	}
	list, err := b.integers(in[1], "indices")
	if err != nil {
		return nil, err
	}
	axis := len(in[0].dims) - 1
	dims := along(in[0].dims, axis, len(list))
	if axis == 0 {
		dims = []int{1, len(list)}
	}
	v, err := b.pick(in[0], axis, list, dims)
	if err != nil {
		return nil, err
	}
	return one(v)
}

func slice(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.need(in, 1); err != nil {
		return nil, err
	}
	lists := make([][]int, 4) // starts, ends, axes, steps
	for i, name := range [...]string{"starts", "ends", "axes", "steps"} {
		for _, v := range n.ints(name) {
			lists[i] = append(lists[i], int(v))
		}
		if i+1 < len(in) && in[i+1] != nil {
			var err error
			if lists[i], err = b.integers(in[i+1], name); err != nil {
				return nil, err
			}
		}
	}
	v := in[0]
	for i, start := range lists[0] {
		at, step := int64(i), 1
		if i < len(lists[2]) {
			at = int64(lists[2][i])
		}
		if i < len(lists[3]) {
			step = lists[3][i]
		}
		axis, err := b.axis(at, len(v.dims))
		if err != nil {
			return nil, err
		}
		if i >= len(lists[1]) || step == 0 {
			return nil, b.errorf("its ends or steps are wrong")
		}
		picked := sliceRange(start, lists[1][i], step, v.dims[axis])
		if v, err = b.pick(v, axis, picked, along(v.dims, axis, len(picked))); err != nil {
			return nil, err
		}
	}
	return one(v)
}

// sliceRange is what a Python slice of a list of length n picks.
func sliceRange(start, end, step, n int) (picked []int) {
	if start < 0 {
		start += n
	}
	if end < 0 {
		end += n
	}
	if step > 0 {
		for i := min(max(start, 0), n); i < min(end, n); i += min(step, n) {
			picked = append(picked, i)
		}
		return picked
	}
	for i := min(max(start, -1), n-1); i > max(end, -1); i += max(step, -n) {
		picked = append(picked, i)
	}
	return picked
}

func split(b *builder, n *node, in []*value) ([]*value, error) {
	if err := b.need(in, 1); err != nil {
		return nil, err
	}
	axis, err := b.axis(n.int("axis", 0), len(in[0].dims))
	if err != nil {
		return nil, err
	}
	length, parts := in[0].dims[axis], len(n.outputs)
	var sizes []int
	for _, s := range n.ints("split") {
		sizes = append(sizes, int(s))
	}
	if len(in) > 1 && in[1] != nil {
		if sizes, err = b.integers(in[1], "sizes"); err != nil {
			return nil, err
		}
	}
	if len(sizes) == 0 && parts > 0 {
		each := (length + parts - 1) / parts
		for i := range parts {
			sizes = append(sizes, max(min(each, length-i*each), 0))
		}
	}
	if len(sizes) != parts {
		return nil, b.errorf("it has %d outputs for %d sizes", parts, len(sizes))
	}
	var out []*value
	at := 0
	for _, size := range sizes {
		if size < 0 || size > length-at {
			return nil, b.errorf("its sizes go beyond its input")
		}
		list := make([]int, size)
		for i := range list {
			list[i] = at + i
		}
		v, err := b.pick(in[0], axis, list, along(in[0].dims, axis, size))
		if err != nil {
			return nil, err
		}
		out, at = append(out, v), at+size
	}
	return out, nil
}
