package ir

import (
	"math"
	"slices"
)

// Interpreter runs a model. It is for one goroutine at a time.
type Interpreter struct {
	m       *Model
	vectors [][]float64
}

// NewInterpreter validates m and prepares to run it.
func NewInterpreter(m *Model) (*Interpreter, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	lengths, err := m.Lengths()
	if err != nil {
		return nil, err
	}
	in := &Interpreter{m: m, vectors: make([][]float64, len(lengths))}
	for i, n := range lengths {
		in.vectors[i] = make([]float64, n)
	}
	return in, nil
}

// Run scores a row, which must have as many values as the model has inputs. The results are valid until
// the next call.
func (in *Interpreter) Run(row []float64) (raw, output []float64) {
	copy(in.vectors[0], row)
	of := func(r Ref) []float64 { return in.vectors[r] }
	for i, s := range in.m.Steps {
		s.run(in.vectors[i+1], of)
	}
	return in.vectors[in.m.Raw], in.vectors[in.m.Output]
}

// Value is the vector r of the last run.
func (in *Interpreter) Value(r Ref) []float64 { return in.vectors[r] }

// round rounds x to w.
func (w Width) round(x float64) float64 {
	if w == F32 {
		return float64(float32(x))
	}
	return x
}

func (s *Gather) run(out []float64, of func(Ref) []float64) {
	in := of(s.In)
	for i, c := range s.Columns {
		out[i] = in[c]
	}
}

func (s *Concat) run(out []float64, of func(Ref) []float64) {
	for _, r := range s.Parts {
		out = out[copy(out, of(r)):]
	}
}

func (s *Const) run(out []float64, _ func(Ref) []float64) { copy(out, s.Values) }

func (s *Cast) run(out []float64, of func(Ref) []float64) {
	for i, x := range of(s.In) {
		switch s.To {
		case ToF32:
			x = float64(float32(x))
		case ToInteger:
			x = math.Trunc(x)
		case ToFloor:
			x = math.Floor(x)
		case ToRounded:
			x = math.RoundToEven(x)
		case ToBoolean:
			if x != 0 {
				x = 1
			} else {
				x = 0
			}
		}
		out[i] = x
	}
}

// at is value i, or the only one.
func at(values []float64, i int) float64 {
	if len(values) == 1 {
		return values[0]
	}
	return values[i]
}

func (s *Impute) run(out []float64, of func(Ref) []float64) {
	for i, x := range of(s.In) {
		if x == s.Missing || x != x && !s.KeepNaN {
			x = at(s.Values, i)
		}
		out[i] = x
	}
}

func (s *Affine) run(out []float64, of func(Ref) []float64) {
	w := s.Width
	for i, x := range of(s.In) {
		out[i] = w.round(w.round(w.round(x)-w.round(at(s.Offset, i))) * w.round(at(s.Scale, i)))
	}
}

func (s *OneHot) run(out []float64, of func(Ref) []float64) {
	k := 0
	for i, x := range of(s.In) {
		for _, c := range s.Categories[i] {
			out[k] = truth(x == c)
			k++
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (s *Lookup) run(out []float64, of func(Ref) []float64) {
	for i, x := range of(s.In) {
		if x != x {
			out[i] = s.Missing
		} else if k, ok := slices.BinarySearch(s.Keys, x); ok {
			out[i] = s.Values[k]
		} else {
			out[i] = s.Default
		}
	}
}

func (s *Bucket) run(out []float64, of func(Ref) []float64) {
	for i, x := range of(s.In) {
		if x != x {
			out[i] = x
			continue
		}
		n := 0.0
		for _, b := range s.Bounds[i] {
			n += truth(b < x || s.Closed && b == x)
		}
		out[i] = n
	}
}

func (s *Linear) run(out []float64, of func(Ref) []float64) {
	in, w := of(s.In), s.Width
	for i, weights := range s.Weights {
		sum := 0.0
		if len(s.Bias) > 0 && !s.BiasLast {
			sum = w.round(s.Bias[i])
		}
		for j, x := range in {
			if s.SkipMissing && x != x {
				continue
			}
			sum = w.round(sum + w.round(w.round(weights[j])*w.round(x)))
		}
		if len(s.Bias) > 0 && s.BiasLast {
			sum = w.round(sum + w.round(s.Bias[i]))
		}
		out[i] = sum
	}
}

func (s *Arith) run(out []float64, of func(Ref) []float64) {
	as, bs, w := of(s.A), of(s.B), s.Width
	for i := range out {
		a, b := w.round(at(as, i)), w.round(at(bs, i))
		switch s.Op {
		case Add:
			a += b
		case Sub:
			a -= b
		case Mul:
			a *= b
		case Div:
			a /= b
		case Min:
			a = min(a, b)
		case Max:
			a = max(a, b)
		case Less:
			a = truth(a < b)
		case LessEqual:
			a = truth(a <= b)
		case Equal:
			a = truth(a == b)
		case NotEqual:
			a = truth(a != b)
		}
		out[i] = w.round(a)
	}
}

func (s *Where) run(out []float64, of func(Ref) []float64) {
	cond, as, bs := of(s.Cond), of(s.A), of(s.B)
	for i := range out {
		if c := at(cond, i); c != 0 && c == c {
			out[i] = at(as, i)
		} else {
			out[i] = at(bs, i)
		}
	}
}

func (s *Activation) run(out []float64, of func(Ref) []float64) {
	in := of(s.In)
	switch s.Func {
	case Softmax, SoftmaxZero:
		softmax(out, in, s.Width, s.Width, s.Func == SoftmaxZero)
		return
	case SoftmaxXG:
		softmax(out, in, F32, F64, false)
		return
	}
	for i, x := range in {
		out[i] = s.Width.round(s.apply(s.Width.round(x)))
	}
}

// apply is the function of one number.
func (s *Activation) apply(x float64) float64 {
	switch s.Func {
	case Relu:
		return max(x, 0)
	case Tanh:
		return TanhOf(x)
	case Sigmoid:
		if s.Param != 0 {
			x = s.Width.round(x * s.Width.round(s.Param))
		}
		if s.Width == F32 {
			return float64(1 / (1 + float32(ExpOf(-x))))
		}
		return SigmoidOf(x)
	case SigmoidXG:
		return float64(SigmoidXGOf(float32(x)))
	case Exp:
		return ExpOf(x)
	case Log:
		return LogOf(x)
	case Log1pExp:
		return Log1pExpOf(x)
	case Sqrt:
		return math.Sqrt(x)
	case Abs:
		return math.Abs(x)
	case Neg:
		return -x
	case Square:
		return math.Abs(x) * x
	case IsMissing:
		return truth(x != x)
	case Probit:
		return float64(ProbitOf(float32(x)))
	case CLogLog:
		return 1 - ExpOf(-ExpOf(x))
	default:
		return x
	}
}

// softmax computes exponentials in w and their sum in acc, rounded to w before it divides. With
// keepZero the numbers 0 are left out.
func softmax(out, in []float64, w, acc Width, keepZero bool) {
	greatest := math.Inf(-1)
	for _, x := range in {
		greatest = max(greatest, w.round(x))
	}
	sum := 0.0
	for i, x := range in {
		x = w.round(x)
		if keepZero && math.Abs(x) <= softmaxZero {
			out[i] = 0
			continue
		}
		out[i] = w.round(ExpOf(w.round(x - greatest)))
		sum = acc.round(sum + out[i])
	}
	sum = w.round(sum)
	for i, y := range out {
		if !keepZero || y != 0 {
			out[i] = w.round(y / sum)
		}
	}
}

// softmaxZero is the magnitude up to which SoftmaxZero takes a number for 0.
const softmaxZero = 0.0000001

func (s *Normalize) run(out []float64, of func(Ref) []float64) {
	in, w := of(s.In), s.Width
	norm := 0.0
	for _, x := range in {
		x = w.round(x)
		switch s.Norm {
		case NormL1:
			norm = w.round(norm + math.Abs(x))
		case NormL2:
			norm = w.round(norm + w.round(x*x))
		case NormMax:
			norm = max(norm, math.Abs(x))
		case NormSum:
			norm = w.round(norm + x)
		}
	}
	if s.Norm == NormL2 {
		norm = w.round(math.Sqrt(norm))
	}
	for i, x := range in {
		x = w.round(x)
		if norm != 0 {
			x = w.round(x / norm)
		}
		out[i] = x
	}
}

func (s *Reduce) run(out []float64, of func(Ref) []float64) {
	in, w := of(s.In), s.Width
	result, index := w.round(in[0]), 0
	for i, x := range in[1:] {
		x = w.round(x)
		switch s.By {
		case ReduceSum, ReduceMean:
			result = w.round(result + x)
		case ReduceMin:
			result = min(result, x)
		case ReduceMax:
			result = max(result, x)
		case ReduceArgMax:
			if x > result {
				result, index = x, i+1
			}
		}
	}
	switch s.By {
	case ReduceMean:
		result = w.round(result / float64(len(in)))
	case ReduceArgMax:
		result = float64(index)
	}
	out[0] = result
}

// Left tells whether x goes left at s; sets and negativeZero are those of the step.
func (s *Split) Left(x float64, sets [][]int32, negativeZero bool) bool {
	switch s.Missing {
	case MissingNaN:
		if x != x {
			return s.Default
		}
	case MissingZero:
		if x != x || math.Abs(x) <= ZeroThreshold {
			return s.Default
		}
	case MissingNone:
		if x != x {
			x = 0
		}
	}
	switch s.Compare {
	case LT:
		return x < s.Value
	case LE:
		return x <= s.Value
	case GT:
		return x > s.Value
	case GE:
		return x >= s.Value
	case EQ:
		return x == s.Value
	case NE:
		return x != s.Value
	case In:
		return contains(sets[s.Set], x, negativeZero)
	default:
		return !contains(sets[s.Set], x, negativeZero)
	}
}

func contains(set []int32, x float64, negativeZero bool) bool {
	if !(x > -1 && x < MaxCategory+1) || x < 0 && !negativeZero {
		return false
	}
	_, ok := slices.BinarySearch(set, int32(x))
	return ok
}

func (s *Trees) run(out []float64, of func(Ref) []float64) {
	in := of(s.In)
	start(out, s.Base)
	for i := range s.Trees {
		t := &s.Trees[i]
		leaf := s.find(t, in)
		if t.Output == AllOutputs {
			for k := range out {
				out[k] = s.Acc.round(out[k] + s.Leaves[int(leaf.Leaf)+k])
			}
			continue
		}
		out[t.Output] = s.Acc.round(out[t.Output] + s.value(leaf, in))
	}
}

// start sets the sums to their bases.
func start(out, base []float64) {
	clear(out)
	copy(out, base)
}

// find is the leaf of row in.
func (s *Trees) find(t *Tree, in []float64) *Node {
	n := &t.Nodes[0]
	for n.Compare != Leaf {
		if n.Split.Left(s.Row.round(in[n.Feature]), s.Sets, s.NegativeZero) {
			n = &t.Nodes[n.Left]
		} else {
			n = &t.Nodes[n.Right]
		}
	}
	return n
}

// value is what a leaf adds.
func (s *Trees) value(n *Node, in []float64) float64 {
	if n.Linear == 0 {
		return s.Leaves[n.Leaf]
	}
	l := &s.LinearLeaves[n.Linear-1]
	sum := l.Constant
	for i, f := range l.Features {
		x := in[f]
		if x != x {
			return s.Leaves[n.Leaf]
		}
		sum += float64(l.Coefficients[i] * x)
	}
	return sum
}

func (s *Oblivious) run(out []float64, of func(Ref) []float64) {
	in := of(s.In)
	start(out, s.Base)
	for i := range s.Trees {
		t := &s.Trees[i]
		leaf := 0
		for d, k := range t.Splits {
			if split := &s.Splits[k]; split.Left(s.Row.round(in[split.Feature]), nil, false) {
				leaf |= 1 << d
			}
		}
		for k := range out {
			out[k] = s.Acc.round(out[k] + t.Leaves[leaf*s.Outputs+k])
		}
	}
}
