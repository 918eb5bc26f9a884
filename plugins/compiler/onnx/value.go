package onnx

import (
	"math"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// value is a tensor of the graph: constant, or computed from the row.
type value struct {
	elem elem
	dims []int
	lit  *literal // constant
	ref  ir.Ref   // computed: its elements in row-major order
	// columns tells for texts that depend on the row which input each element is: texts are only ever
	// moved about, and stand in the program as the codes of their column.
	columns []int
	// low and high bound every element that is not NaN.
	low, high float64
	// sumOf and logSumOf are the tensor whose (logarithm of) sum (of exponentials) this one is, along
	// its last dimension: dividing by it, or subtracting it, makes probabilities.
	sumOf, logSumOf *value
	// logShare tells that the exponentials of the elements lie between 0 and 1.
	logShare bool
	// raw is the same before the link function.
	raw *value
	// labels are the class labels of what comes from a classifier.
	labels []string
	// opaque is why the value cannot be computed; "" when it can.
	opaque string
}

// size is the number of elements.
func (v *value) size() int {
	n, _ := product(v.dims)
	return n
}

func (v *value) constant() bool { return v.lit != nil }

// last is the length of the last dimension.
func (v *value) last() int {
	if len(v.dims) == 0 {
		return 1
	}
	return v.dims[len(v.dims)-1]
}

// between sets the bounds.
func (v *value) between(low, high float64) *value {
	v.low, v.high = low, high
	return v
}

// literalValue wraps a constant.
func literalValue(l *literal) *value {
	v := &value{elem: l.elem, dims: l.dims, lit: l, low: math.Inf(1), high: math.Inf(-1)}
	for _, x := range l.nums {
		v.low, v.high = math.Min(v.low, x), math.Max(v.high, x)
	}
	if len(l.nums) == 0 || math.IsNaN(v.low+v.high) {
		v.low, v.high = math.Inf(-1), math.Inf(1)
	}
	return v
}

func numbers(e elem, dims []int, nums []float64) *value {
	return literalValue(&literal{elem: e, dims: dims, nums: nums})
}

// width is the precision in which an operator computes with tensors of type e. Whole numbers and truth
// values are exact in 64 bits.
func (e elem) width() ir.Width {
	if e == elemFloat {
		return ir.F32
	}
	return ir.F64
}

// computed is a new tensor at ref.
func computed(e elem, dims []int, ref ir.Ref) *value {
	return &value{elem: e, dims: dims, ref: ref, low: math.Inf(-1), high: math.Inf(1)}
}

// move picks elements of v by index into a tensor of shape dims.
func (b *builder) move(v *value, index, dims []int) *value {
	b.moved += len(index)
	out := &value{elem: v.elem, dims: dims, low: v.low, high: v.high, labels: v.labels}
	if v.constant() || len(index) == 0 {
		l := &literal{elem: v.elem, dims: dims}
		for _, i := range index {
			if v.elem == elemText {
				l.texts = append(l.texts, v.lit.texts[i])
			} else {
				l.nums = append(l.nums, v.lit.nums[i])
			}
		}
		return literalValue(l)
	}
	same := len(index) == v.size()
	for k, i := range index {
		same = same && k == i
		if v.columns != nil {
			out.columns = append(out.columns, v.columns[i])
		}
	}
	out.ref = v.ref
	if same {
		out.sumOf, out.logSumOf, out.logShare = v.sumOf, v.logSumOf, v.logShare
	} else {
		out.ref = b.emit(&ir.Gather{In: v.ref, Columns: index})
		out.logShare = v.logShare
	}
	if v.raw != nil {
		out.raw = b.move(v.raw, index, dims)
	}
	return out
}

// reshaped is v with other dimensions of the same product.
func (b *builder) reshaped(v *value, dims []int) *value {
	index := make([]int, v.size())
	for i := range index {
		index[i] = i
	}
	return b.move(v, index, dims)
}

// strides tells how far apart neighbours along each dimension are.
func strides(dims []int) []int {
	s := make([]int, len(dims))
	n := 1
	for i := len(dims) - 1; i >= 0; i-- {
		s[i] = n
		n *= dims[i]
	}
	return s
}

// walk calls visit with the coordinates of every element, in row-major order.
func walk(dims []int, visit func(at []int)) {
	n, ok := product(dims)
	if !ok || n == 0 {
		return
	}
	at := make([]int, len(dims))
	for ; n > 0; n-- {
		visit(at)
		for i := len(dims) - 1; i >= 0; i-- {
			if at[i]++; at[i] < dims[i] {
				break
			}
			at[i] = 0
		}
	}
}

// broadcastDims is the common shape of a and b by the rules of NumPy.
func broadcastDims(a, b []int) ([]int, bool) {
	n := max(len(a), len(b))
	out := make([]int, n)
	for i := 1; i <= n; i++ {
		x, y := 1, 1
		if i <= len(a) {
			x = a[len(a)-i]
		}
		if i <= len(b) {
			y = b[len(b)-i]
		}
		if x != y && x != 1 && y != 1 {
			return nil, false
		}
		if out[n-i] = max(x, y); x == 0 || y == 0 {
			out[n-i] = 0
		}
	}
	_, ok := product(out)
	return out, ok
}

// spread repeats v to shape dims. A single element is left as it is where that is allowed.
func (b *builder) spread(v *value, dims []int, single bool) *value {
	n, _ := product(dims)
	if v.size() == n || single && v.size() == 1 {
		return v
	}
	s := strides(v.dims)
	index := make([]int, 0, n)
	walk(dims, func(at []int) {
		i := 0
		for k := range v.dims {
			if v.dims[k] > 1 {
				i += s[k] * at[len(at)-len(v.dims)+k]
			}
		}
		index = append(index, i)
	})
	return b.move(v, index, dims)
}
