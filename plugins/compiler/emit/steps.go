package emit

import (
	"encoding/binary"
	"math"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// stepCode is the function of a plain step: (frame) -> (), and its fuel.
type stepCode struct {
	code *wasmbin.Function
	cost int64
}

// writer writes the function of one step.
type writer struct {
	g     *generator
	f     *wasmbin.Function
	frame wasmbin.Local
	out   int   // offset of the result in the frame
	extra int64 // fuel beyond that of the instructions, each taken once
}

// plainStep writes the function of a step that has no trees.
func (g *generator) plainStep(ref ir.Ref, s ir.Step) stepCode {
	f := g.b.Function([]byte{wasmbin.I32}, nil)
	w := &writer{g: g, f: f, frame: f.Param(0), out: g.offsets[ref]}
	switch s := s.(type) {
	case *ir.Gather:
		w.gather(s)
	case *ir.Concat:
		at := w.out
		for _, r := range s.Parts {
			n := 8 * g.length(r)
			f.Get(w.frame).I32(at).Op(opI32Add).Get(w.frame).I32(g.offsets[r]).Op(opI32Add).I32(n).MemoryCopy()
			w.extra += int64(n / 8)
			at += n
		}
	case *ir.Const:
		at := w.table(s.Values)
		f.Get(w.frame).I32(w.out).Op(opI32Add).I32(at).I32(8 * len(s.Values)).MemoryCopy()
		w.extra += int64(len(s.Values))
	case *ir.Cast:
		w.cast(s)
	case *ir.Impute:
		w.impute(s)
	case *ir.Affine:
		offset, scale := w.vector(narrowed(s.Offset, s.Width)), w.vector(narrowed(s.Scale, s.Width))
		w.each(g.length(ref), func(i wasmbin.Local) {
			w.load(s.In, i, s.Width)
			offset(i)
			w.round(s.Width, opF64Sub)
			scale(i)
			w.round(s.Width, opF64Mul)
		})
	case *ir.OneHot:
		w.oneHot(s)
	case *ir.Lookup:
		w.lookup(s)
	case *ir.Bucket:
		w.bucket(s)
	case *ir.Linear:
		w.linear(s)
	case *ir.Arith:
		w.arith(s)
	case *ir.Where:
		w.each(g.length(ref), func(i wasmbin.Local) {
			w.load(s.A, i, ir.F64)
			w.load(s.B, i, ir.F64)
			// Neither 0 nor NaN: |x| > 0.
			w.load(s.Cond, i, ir.F64)
			f.Op(opF64Abs).F64(0).Op(opF64Gt).Select()
		})
	case *ir.Activation:
		w.activation(ref, s)
	case *ir.Normalize:
		w.normalize(s)
	case *ir.Reduce:
		w.reduce(s)
	}
	return stepCode{code: f, cost: f.EntryFuel() + f.Fuel() + w.extra}
}

// narrowed rounds values to w.
func narrowed(values []float64, w ir.Width) []float64 {
	if w == ir.F64 {
		return values
	}
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = float64(float32(v))
	}
	return out
}

// table puts values into memory.
func (w *writer) table(values []float64) int {
	content := make([]byte, 0, 8*len(values))
	for _, v := range values {
		content = binary.LittleEndian.AppendUint64(content, math.Float64bits(v))
	}
	at := w.g.b.Reserve(len(content), 16)
	w.g.b.Data(at, content)
	return at
}

// vector gives what pushes element i, by byte offset, of constants of which there may be one only.
func (w *writer) vector(values []float64) func(i wasmbin.Local) {
	if len(values) == 1 {
		return func(wasmbin.Local) { w.f.F64(values[0]) }
	}
	at := w.table(values)
	return func(i wasmbin.Local) { w.f.Get(i).Memory(opF64Load, 3, at) }
}

// load pushes element i of a vector, or its only one, rounded.
func (w *writer) load(r ir.Ref, i wasmbin.Local, width ir.Width) {
	w.f.Get(w.frame)
	if w.g.length(r) > 1 {
		w.f.Get(i).Op(opI32Add)
	}
	w.f.Memory(opF64Load, 3, w.g.offsets[r])
	if width == ir.F32 {
		w.f.Op(opF32Demote).Op(opF64Promote)
	}
}

// round applies an operation and rounds. An operation in 64 bits rounded to 32 is the operation in 32.
func (w *writer) round(width ir.Width, op byte) {
	w.f.Op(op)
	if width == ir.F32 {
		w.f.Op(opF32Demote).Op(opF64Promote)
	}
}

// loop runs body n times; i counts bytes in steps of size, starting with 0.
func (w *writer) loop(n, size int, body func(i wasmbin.Local)) {
	f, i := w.f, w.f.Local(wasmbin.I32)
	f.I32(0).Set(i)
	before, extra := f.Fuel(), w.extra
	if n > 1 {
		f.Loop()
	}
	body(i)
	if n > 1 {
		f.Get(i).I32(size).Op(opI32Add).Tee(i).I32(n * size).Op(opI32Ne).BrIf(0).End()
	}
	w.extra = extra + (w.extra-extra)*int64(n) + (f.Fuel()-before)*int64(n-1)
}

// each stores what body pushes for each of n elements.
func (w *writer) each(n int, body func(i wasmbin.Local)) {
	w.loop(n, 8, func(i wasmbin.Local) {
		w.f.Get(w.frame).Get(i).Op(opI32Add)
		body(i)
		w.f.Memory(opF64Store, 3, w.out)
	})
}

func (w *writer) gather(s *ir.Gather) {
	f := w.f
	if len(s.Columns) <= 64 {
		for i, c := range s.Columns {
			f.Get(w.frame).Get(w.frame).Memory(opF64Load, 3, w.g.offsets[s.In]+8*c).Memory(opF64Store, 3, w.out+8*i)
		}
		return
	}
	var list []byte
	for _, c := range s.Columns {
		list = binary.LittleEndian.AppendUint64(list, uint64(w.g.offsets[s.In]+8*c))
	}
	at := w.g.b.Reserve(len(list), 16)
	w.g.b.Data(at, list)
	w.each(len(s.Columns), func(i wasmbin.Local) {
		f.Get(w.frame).Get(i).Memory(opI32Load, 2, at).Op(opI32Add).Memory(opF64Load, 3, 0)
	})
}

func (w *writer) cast(s *ir.Cast) {
	w.each(w.g.length(s.In), func(i wasmbin.Local) {
		f := w.f
		if s.To == ir.ToBoolean {
			f.F64(1).F64(0)
		}
		w.load(s.In, i, ir.F64)
		switch s.To {
		case ir.ToF32:
			f.Op(opF32Demote).Op(opF64Promote)
		case ir.ToInteger:
			f.Op(opF64Trunc)
		case ir.ToFloor:
			f.Op(opF64Floor)
		case ir.ToRounded:
			f.Op(opF64Nearest)
		case ir.ToBoolean:
			f.F64(0).Op(opF64Ne).Select()
		}
	})
}

func (w *writer) impute(s *ir.Impute) {
	values := w.vector(s.Values)
	f, x := w.f, w.f.Local(wasmbin.F64)
	w.each(w.g.length(s.In), func(i wasmbin.Local) {
		values(i)
		w.load(s.In, i, ir.F64)
		f.Tee(x)
		f.Get(x).F64(s.Missing).Op(opF64Eq)
		if !s.KeepNaN {
			f.Get(x).Get(x).Op(opF64Ne).Op(opI32Or)
		}
		f.Select()
	})
}

func (w *writer) oneHot(s *ir.OneHot) {
	f, x, out := w.f, w.f.Local(wasmbin.F64), w.out
	for column, categories := range s.Categories {
		if len(categories) == 0 {
			continue
		}
		f.Get(w.frame).Memory(opF64Load, 3, w.g.offsets[s.In]+8*column).Set(x)
		value := w.vector(categories)
		w.out = out
		w.each(len(categories), func(i wasmbin.Local) {
			f.F64(1).F64(0).Get(x)
			value(i)
			f.Op(opF64Eq).Select()
		})
		out += 8 * len(categories)
	}
}

func (w *writer) lookup(s *ir.Lookup) {
	f := w.f
	if len(s.Keys) == 0 {
		w.each(w.g.length(s.In), func(i wasmbin.Local) {
			x := f.Local(wasmbin.F64)
			f.F64(s.Missing).F64(s.Default)
			w.load(s.In, i, ir.F64)
			f.Tee(x).Get(x).Op(opF64Ne).Select()
		})
		return
	}
	keys, values := w.table(s.Keys), w.table(s.Values)
	x, low, half := f.Local(wasmbin.F64), f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	w.each(w.g.length(s.In), func(i wasmbin.Local) {
		w.load(s.In, i, ir.F64)
		f.Set(x)
		// low is the offset of the last key that is not greater than x, or of the first.
		f.I32(0).Set(low)
		for n := len(s.Keys); n > 1; n -= n / 2 {
			f.Get(low).I32(8 * (n / 2)).Op(opI32Add).Set(half)
			f.Get(half).Get(low).Get(half).Memory(opF64Load, 3, keys).Get(x).Op(opF64Le).Select().Set(low)
		}
		f.F64(s.Missing)
		f.Get(low).Memory(opF64Load, 3, values).F64(s.Default).Get(low).Memory(opF64Load, 3, keys).Get(x).Op(opF64Eq).Select()
		f.Get(x).Get(x).Op(opF64Ne).Select()
	})
}

func (w *writer) bucket(s *ir.Bucket) {
	f, x, n := w.f, w.f.Local(wasmbin.F64), w.f.Local(wasmbin.I32)
	for column, bounds := range s.Bounds {
		f.Get(w.frame).Memory(opF64Load, 3, w.g.offsets[s.In]+8*column).Set(x)
		f.I32(0).Set(n)
		if len(bounds) > 0 {
			value := w.vector(bounds)
			w.loop(len(bounds), 8, func(i wasmbin.Local) {
				value(i)
				f.Get(x)
				if s.Closed {
					f.Op(opF64Le)
				} else {
					f.Op(opF64Lt)
				}
				f.Get(n).Op(opI32Add).Set(n)
			})
		}
		f.Get(w.frame).Get(x).Get(n).Op(opF64I32S).Get(x).Get(x).Op(opF64Ne).Select().Memory(opF64Store, 3, w.out+8*column)
	}
}

// linear writes sums of several outputs side by side in the lanes of vectors: each lane adds in the
// order of the columns.
func (w *writer) linear(s *ir.Linear) {
	f, g := w.f, w.g
	columns := g.length(s.In)
	per, bytes := 2, 8 // outputs in a vector
	mul, add := byte(vMulF64), byte(vAddF64)
	if s.Width == ir.F32 {
		per, bytes, mul, add = 4, 4, vMulF32, vAddF32
	}
	vectors := 4
	for vectors > 1 && (vectors-1)*per >= len(s.Weights) {
		vectors--
	}
	block := vectors * per
	blocks := (len(s.Weights) + block - 1) / block
	number := func(to []byte, v float64) []byte {
		if s.Width == ir.F32 {
			return binary.LittleEndian.AppendUint32(to, math.Float32bits(float32(v)))
		}
		return binary.LittleEndian.AppendUint64(to, math.Float64bits(v))
	}
	var weights, bias []byte
	for b := range blocks {
		for j := range columns {
			for k := b * block; k < (b+1)*block; k++ {
				v := 0.0
				if k < len(s.Weights) {
					v = s.Weights[k][j]
				}
				weights = number(weights, v)
			}
		}
		for k := b * block; k < (b+1)*block; k++ {
			v := 0.0
			if k < len(s.Bias) {
				v = s.Bias[k]
			}
			bias = number(bias, v)
		}
	}
	weightsAt, biasAt := g.b.Reserve(len(weights), 64), g.b.Reserve(len(bias), 64)
	g.b.Data(weightsAt, weights)
	g.b.Data(biasAt, bias)
	results := g.b.Reserve(blocks*block*bytes, 64)
	sum := f.Locals(wasmbin.V128, vectors)
	at, x, splat := f.Local(wasmbin.I32), f.Local(wasmbin.F64), f.Local(wasmbin.V128)
	f.I32(weightsAt).Set(at)
	w.loop(blocks, block*bytes, func(b wasmbin.Local) {
		for v := range vectors {
			if len(s.Bias) > 0 && !s.BiasLast {
				f.Get(b).VectorMemory(vLoad, 4, biasAt+16*v).Set(sum[v])
			} else {
				f.VectorConst([16]byte{}).Set(sum[v])
			}
		}
		w.loop(columns, 8, func(j wasmbin.Local) {
			w.load(s.In, j, ir.F64)
			f.Set(x)
			if s.SkipMissing {
				f.Get(x).Get(x).Op(opF64Eq).If()
			}
			f.Get(x)
			if s.Width == ir.F32 {
				f.Op(opF32Demote).Vector(vSplatF32).Set(splat)
			} else {
				f.Vector(vSplatF64).Set(splat)
			}
			for v := vectors - 1; v >= 0; v-- {
				f.Get(sum[v]).Get(at).VectorMemory(vLoad, 4, 16*v).Get(splat).Vector(mul).Vector(add).Set(sum[v])
			}
			if s.SkipMissing {
				f.End()
			}
			f.Get(at).I32(block * bytes).Op(opI32Add).Set(at)
		})
		for v := range vectors {
			f.Get(b).Get(sum[v])
			if len(s.Bias) > 0 && s.BiasLast {
				f.Get(b).VectorMemory(vLoad, 4, biasAt+16*v).Vector(add)
			}
			f.VectorMemory(vStore, 4, results+16*v)
		}
	})
	if s.Width == ir.F64 {
		f.Get(w.frame).I32(w.out).Op(opI32Add).I32(results).I32(8 * len(s.Weights)).MemoryCopy()
		w.extra += int64(len(s.Weights))
		return
	}
	w.each(len(s.Weights), func(i wasmbin.Local) {
		f.Get(i).I32(1).Op(opI32ShrU).Memory(opF32Load, 2, results).Op(opF64Promote)
	})
}

func (w *writer) arith(s *ir.Arith) {
	op, compares := byte(0), false
	switch s.Op {
	case ir.Add:
		op = opF64Add
	case ir.Sub:
		op = opF64Sub
	case ir.Mul:
		op = opF64Mul
	case ir.Div:
		op = opF64Div
	case ir.Min:
		op = opF64Min
	case ir.Max:
		op = opF64Max
	case ir.Less:
		op, compares = opF64Lt, true
	case ir.LessEqual:
		op, compares = opF64Le, true
	case ir.Equal:
		op, compares = opF64Eq, true
	case ir.NotEqual:
		op, compares = opF64Ne, true
	}
	w.each(max(w.g.length(s.A), w.g.length(s.B)), func(i wasmbin.Local) {
		if compares {
			w.f.F64(1).F64(0)
		}
		w.load(s.A, i, s.Width)
		w.load(s.B, i, s.Width)
		if compares {
			w.f.Op(op).Select()
			return
		}
		w.round(s.Width, op)
	})
}

func (w *writer) activation(ref ir.Ref, s *ir.Activation) {
	switch s.Func {
	case ir.Softmax:
		w.softmax(s, s.Width, s.Width, false)
		return
	case ir.SoftmaxZero:
		w.softmax(s, s.Width, s.Width, true)
		return
	case ir.SoftmaxXG:
		w.softmax(s, ir.F32, ir.F64, false)
		return
	}
	h := w.g.activation(s)
	w.each(w.g.length(ref), func(i wasmbin.Local) {
		w.load(s.In, i, s.Width)
		w.f.Call(h.code)
		w.extra += h.cost
		if s.Width == ir.F32 {
			w.f.Op(opF32Demote).Op(opF64Promote)
		}
	})
}

const softmaxZero = 0.0000001

func (w *writer) softmax(s *ir.Activation, width, acc ir.Width, keepZero bool) {
	f, exp, n := w.f, w.g.exp(), w.g.length(s.In)
	greatest, sum, y := f.Local(wasmbin.F64), f.Local(wasmbin.F64), f.Local(wasmbin.F64)
	narrow := func(by ir.Width) {
		if by == ir.F32 {
			f.Op(opF32Demote).Op(opF64Promote)
		}
	}
	f.F64(math.Inf(-1)).Set(greatest)
	w.loop(n, 8, func(i wasmbin.Local) {
		f.Get(greatest)
		w.load(s.In, i, width)
		f.Op(opF64Max).Set(greatest)
	})
	w.each(n, func(i wasmbin.Local) {
		w.load(s.In, i, width)
		if keepZero {
			f.Tee(y).Op(opF64Abs).F64(softmaxZero).Op(opF64Le).If().F64(0).Set(y).Else()
			f.Get(y)
		}
		f.Get(greatest).Op(opF64Sub)
		narrow(width)
		f.Call(exp.code)
		w.extra += exp.cost
		narrow(width)
		f.Tee(y).Get(sum).Op(opF64Add)
		narrow(acc)
		f.Set(sum)
		if keepZero {
			f.End()
		}
		f.Get(y)
	})
	f.Get(sum)
	narrow(width)
	f.Set(sum)
	w.each(n, func(i wasmbin.Local) {
		f.Get(w.frame).Get(i).Op(opI32Add).Memory(opF64Load, 3, w.out)
		if keepZero {
			f.Tee(y).Get(y).Get(sum).Op(opF64Div)
			narrow(width)
			f.Get(y).F64(0).Op(opF64Eq).Select()
			return
		}
		f.Get(sum).Op(opF64Div)
		narrow(width)
	})
}

func (w *writer) normalize(s *ir.Normalize) {
	f, n, norm, x := w.f, w.g.length(s.In), w.f.Local(wasmbin.F64), w.f.Local(wasmbin.F64)
	w.loop(n, 8, func(i wasmbin.Local) {
		f.Get(norm)
		w.load(s.In, i, s.Width)
		switch s.Norm {
		case ir.NormL1:
			f.Op(opF64Abs)
			w.round(s.Width, opF64Add)
		case ir.NormL2:
			f.Tee(x).Get(x)
			w.round(s.Width, opF64Mul)
			w.round(s.Width, opF64Add)
		case ir.NormMax:
			f.Op(opF64Abs).Op(opF64Max)
		case ir.NormSum:
			w.round(s.Width, opF64Add)
		}
		f.Set(norm)
	})
	if s.Norm == ir.NormL2 {
		f.Get(norm)
		w.round(s.Width, opF64Sqrt)
		f.Set(norm)
	}
	w.each(n, func(i wasmbin.Local) {
		w.load(s.In, i, s.Width)
		f.Tee(x).Get(norm)
		w.round(s.Width, opF64Div)
		f.Get(x).Get(norm).F64(0).Op(opF64Ne).Select()
	})
}

func (w *writer) reduce(s *ir.Reduce) {
	f, n := w.f, w.g.length(s.In)
	result, x, index := f.Local(wasmbin.F64), f.Local(wasmbin.F64), f.Local(wasmbin.I32)
	first := f.Local(wasmbin.I32)
	w.load(s.In, first, s.Width)
	f.Set(result)
	if n > 1 {
		w.loop(n-1, 8, func(i wasmbin.Local) {
			f.Get(w.frame).Get(i).Op(opI32Add).Memory(opF64Load, 3, w.g.offsets[s.In]+8)
			if s.Width == ir.F32 {
				f.Op(opF32Demote).Op(opF64Promote)
			}
			f.Set(x)
			switch s.By {
			case ir.ReduceSum, ir.ReduceMean:
				f.Get(result).Get(x)
				w.round(s.Width, opF64Add)
				f.Set(result)
			case ir.ReduceMin:
				f.Get(result).Get(x).Op(opF64Min).Set(result)
			case ir.ReduceMax:
				f.Get(result).Get(x).Op(opF64Max).Set(result)
			case ir.ReduceArgMax:
				f.Get(x).Get(result).Op(opF64Gt).If()
				f.Get(x).Set(result).Get(i).I32(3).Op(opI32ShrU).I32(1).Op(opI32Add).Set(index).End()
			}
		})
	}
	f.Get(w.frame)
	switch s.By {
	case ir.ReduceMean:
		f.Get(result).F64(float64(n))
		w.round(s.Width, opF64Div)
	case ir.ReduceArgMax:
		f.Get(index).Op(opF64I32S)
	default:
		f.Get(result)
	}
	f.Memory(opF64Store, 3, w.out)
}
