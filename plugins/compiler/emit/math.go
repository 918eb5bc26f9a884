package emit

import (
	"math"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// The functions below compute what the functions of the same names in ir compute, operation by
// operation; each is a function of the module that is written when it is first needed.

// function is a helper of the module: f64 -> f64.
type function struct {
	code *wasmbin.Function
	cost int64
}

// helper returns the function of that name, writing it when it is new.
func (g *generator) helper(name string, write func(f *wasmbin.Function, x wasmbin.Local) int64) function {
	if h, ok := g.helpers[name]; ok {
		return h
	}
	f := g.b.Function([]byte{wasmbin.F64}, []byte{wasmbin.F64})
	calls := write(f, f.Param(0))
	h := function{code: f, cost: f.EntryFuel() + f.Fuel() + calls}
	g.helpers[name] = h
	return h
}

func (g *generator) exp() function {
	return g.helper("exp", func(f *wasmbin.Function, x wasmbin.Local) int64 {
		k, high, low, r, t := f.Local(wasmbin.F64), f.Local(wasmbin.F64), f.Local(wasmbin.F64), f.Local(wasmbin.F64), f.Local(wasmbin.F64)
		c, half, whole := f.Local(wasmbin.F64), f.Local(wasmbin.I64), f.Local(wasmbin.I64)
		f.Get(x).Get(x).Op(opF64Ne).If().Get(x).Return().End()
		f.Get(x).F64(ir.ExpOverflow).Op(opF64Gt).If().F64(math.Inf(1)).Return().End()
		f.Get(x).F64(ir.ExpUnderflow).Op(opF64Lt).If().F64(0).Return().End()
		f.Get(x).F64(ir.Log2E).Op(opF64Mul).Op(opF64Nearest).Set(k)
		f.Get(x).Get(k).F64(ir.Ln2High).Op(opF64Mul).Op(opF64Sub).Tee(high)
		f.Get(k).F64(ir.Ln2Low).Op(opF64Mul).Tee(low).Op(opF64Sub).Tee(r)
		f.Get(r).Op(opF64Mul).Set(t)
		f.F64(ir.ExpP5)
		for _, p := range [...]float64{ir.ExpP4, ir.ExpP3, ir.ExpP2, ir.ExpP1} {
			f.Get(t).Op(opF64Mul).F64(p).Op(opF64Add)
		}
		f.Get(t).Op(opF64Mul).Set(c)
		f.Get(r).Get(c).Op(opF64Sub).Set(c)
		// 1 - ((low - r×c/(2-c)) - high)
		f.F64(1).Get(low).Get(r).Get(c).Op(opF64Mul).F64(2).Get(c).Op(opF64Sub).Op(opF64Div).Op(opF64Sub)
		f.Get(high).Op(opF64Sub).Op(opF64Sub)
		power := func() { f.I64(1023).Op(opI64Add).I64(52).Op(opI64Shl).Op(opF64FromI64).Op(opF64Mul) }
		f.Get(k).TruncateToI64().Tee(whole).I64(1).Op(opI64ShrS).Tee(half)
		power()
		f.Get(whole).Get(half).Op(opI64Sub)
		power()
		return 0
	})
}

func (g *generator) log() function {
	return g.helper("log", func(f *wasmbin.Function, x wasmbin.Local) int64 {
		k, v, s, s2, s4 := f.Local(wasmbin.F64), f.Local(wasmbin.F64), f.Local(wasmbin.F64), f.Local(wasmbin.F64), f.Local(wasmbin.F64)
		h, r, b := f.Local(wasmbin.F64), f.Local(wasmbin.F64), f.Local(wasmbin.I64)
		const sqrtHalfBits = 0x3fe6a09e667f3bcd
		f.Get(x).Get(x).Op(opF64Ne).Get(x).F64(math.MaxFloat64).Op(opF64Gt).Op(opI32Or).If().Get(x).Return().End()
		f.Get(x).F64(0).Op(opF64Lt).If().F64(math.NaN()).Return().End()
		f.Get(x).F64(0).Op(opF64Eq).If().F64(math.Inf(-1)).Return().End()
		f.Get(x).F64(0x1p-1022).Op(opF64Lt).If().Get(x).F64(0x1p54).Op(opF64Mul).Set(x).F64(-54).Set(k).End()
		f.Get(x).Op(opI64FromF64).I64(0x3ff0000000000000 - sqrtHalfBits).Op(opI64Add).Set(b)
		f.Get(k).Get(b).I64(52).Op(opI64ShrU).I64(1023).Op(opI64Sub).Op(opF64I64S).Op(opF64Add).Set(k)
		f.Get(b).I64(1<<52 - 1).Op(opI64And).I64(sqrtHalfBits).Op(opI64Add).Op(opF64FromI64).F64(1).Op(opF64Sub).Set(v)
		f.Get(v).F64(2).Get(v).Op(opF64Add).Op(opF64Div).Tee(s).Get(s).Op(opF64Mul).Tee(s2).Get(s2).Op(opF64Mul).Set(s4)
		f.F64(ir.Log7).Get(s4).Op(opF64Mul).F64(ir.Log5).Op(opF64Add)
		f.Get(s4).Op(opF64Mul).F64(ir.Log3).Op(opF64Add)
		f.Get(s4).Op(opF64Mul).F64(ir.Log1).Op(opF64Add)
		f.Get(s2).Op(opF64Mul)
		f.F64(ir.Log6).Get(s4).Op(opF64Mul).F64(ir.Log4).Op(opF64Add)
		f.Get(s4).Op(opF64Mul).F64(ir.Log2).Op(opF64Add)
		f.Get(s4).Op(opF64Mul).Op(opF64Add).Set(r)
		f.F64(0.5).Get(v).Op(opF64Mul).Get(v).Op(opF64Mul).Set(h)
		// k×Ln2High - ((h - (s×(h+r) + k×Ln2Low)) - v)
		f.Get(k).F64(ir.Ln2High).Op(opF64Mul)
		f.Get(h).Get(s).Get(h).Get(r).Op(opF64Add).Op(opF64Mul).Get(k).F64(ir.Ln2Low).Op(opF64Mul).Op(opF64Add).Op(opF64Sub)
		f.Get(v).Op(opF64Sub).Op(opF64Sub)
		return 0
	})
}

func (g *generator) log1pExp() function {
	exp, log := g.exp(), g.log()
	return g.helper("log1pexp", func(f *wasmbin.Function, x wasmbin.Local) int64 {
		y, u := f.Local(wasmbin.F64), f.Local(wasmbin.F64)
		f.Get(x).F64(37).Op(opF64Gt).If().Get(x).Get(x).Op(opF64Neg).Call(exp.code).Op(opF64Add).Return().End()
		f.F64(1).Get(x).Call(exp.code).Tee(y).Op(opF64Add).Tee(u).F64(1).Op(opF64Eq).If().Get(y).Return().End()
		f.Get(u).Call(log.code).Get(y).Op(opF64Mul).Get(u).F64(1).Op(opF64Sub).Op(opF64Div)
		return 2*exp.cost + log.cost
	})
}

func (g *generator) tanh() function {
	exp := g.exp()
	return g.helper("tanh", func(f *wasmbin.Function, x wasmbin.Local) int64 {
		t := f.Local(wasmbin.F64)
		f.Get(x).Op(opF64Abs).F64(ir.TanhSmall).Op(opF64Le).If()
		f.Get(x)
		f.Get(x).Get(x).Get(x).Op(opF64Mul).Tee(t).Op(opF64Mul)
		f.F64(ir.TanhTerm(ir.TanhTerms - 1))
		for i := ir.TanhTerms - 2; i >= 0; i-- {
			f.Get(t).Op(opF64Mul).F64(ir.TanhTerm(i)).Op(opF64Add)
		}
		f.Op(opF64Mul).Op(opF64Add).Return().End()
		f.F64(1).F64(2).F64(2).Get(x).Op(opF64Mul).Call(exp.code).F64(1).Op(opF64Add).Op(opF64Div).Op(opF64Sub)
		return exp.cost
	})
}

// activation is the function of one number that s applies, from a number rounded to s.Width to one
// before rounding.
func (g *generator) activation(s *ir.Activation) function {
	exp := g.exp()
	narrow := func(f *wasmbin.Function) *wasmbin.Function {
		if s.Width == ir.F32 {
			f.Op(opF32Demote).Op(opF64Promote)
		}
		return f
	}
	to32 := func(f *wasmbin.Function) *wasmbin.Function { return f.Op(opF32Demote).Op(opF64Promote) }
	name := func(kind string) string {
		if s.Width == ir.F32 {
			return kind + "32"
		}
		return kind
	}
	switch s.Func {
	case ir.Tanh:
		return g.tanh()
	case ir.Exp:
		return exp
	case ir.Log:
		return g.log()
	case ir.Log1pExp:
		return g.log1pExp()
	case ir.Sigmoid:
		h := g.helper(name("sigmoid"), func(f *wasmbin.Function, x wasmbin.Local) int64 {
			f.F64(1).F64(1).Get(x).Op(opF64Neg).Call(exp.code)
			narrow(f).Op(opF64Add)
			narrow(f).Op(opF64Div)
			return exp.cost
		})
		if s.Param == 0 {
			return h
		}
		param := s.Param
		if s.Width == ir.F32 {
			param = float64(float32(param))
		}
		f := g.b.Function([]byte{wasmbin.F64}, []byte{wasmbin.F64})
		f.Get(f.Param(0)).F64(param).Op(opF64Mul)
		narrow(f).Call(h.code)
		return function{code: f, cost: f.EntryFuel() + f.Fuel() + h.cost}
	case ir.SigmoidXG:
		return g.helper("sigmoidxg", func(f *wasmbin.Function, x wasmbin.Local) int64 {
			f.F32(1).Get(x).Op(opF32Demote).Op(opF64Promote).Op(opF64Neg).F64(ir.SigmoidClip).Op(opF64Min).Call(exp.code)
			f.Op(opF32Demote).F32(1).Op(opF32Add).F32(ir.SigmoidEpsilon).Op(opF32Add).Op(opF32Div).Op(opF64Promote)
			return exp.cost
		})
	case ir.CLogLog:
		return g.helper("cloglog", func(f *wasmbin.Function, x wasmbin.Local) int64 {
			f.F64(1).Get(x).Call(exp.code).Op(opF64Neg).Call(exp.code).Op(opF64Sub)
			return 2 * exp.cost
		})
	case ir.Probit:
		log := g.log()
		return g.helper("probit", func(f *wasmbin.Function, x wasmbin.Local) int64 {
			y, l, v := f.Local(wasmbin.F64), f.Local(wasmbin.F64), f.Local(wasmbin.F64)
			c32 := func(v float32) { f.F64(float64(v)) }
			to32(f.Get(x)).F64(2).Op(opF64Mul)
			to32(f).F64(1).Op(opF64Sub)
			to32(f).Set(y)
			to32(f.F64(1).Get(y).Op(opF64Sub))
			to32(f.F64(1).Get(y).Op(opF64Add)).Op(opF64Mul)
			to32(f).Call(log.code)
			to32(f).Set(l)
			c32(float32(2 / float32(math.Pi*0.147)))
			to32(f.F64(0.5).Get(l).Op(opF64Mul)).Op(opF64Add)
			to32(f).Set(v)
			// sqrt(v×v - l/0.147) - v
			f.Get(v).Op(opF64Neg)
			to32(f.Get(v).Get(v).Op(opF64Mul))
			c32(float32(1) / float32(0.147))
			to32(f.Get(l).Op(opF64Mul)).Op(opF64Sub)
			to32(f).Op(opF64Sqrt)
			to32(f).Op(opF64Add)
			to32(f).Op(opF64Sqrt)
			to32(f).Set(v)
			c32(float32(1.41421356))
			f.Get(v).Op(opF64Neg).Get(v).Get(y).F64(0).Op(opF64Lt).Select().Op(opF64Mul)
			to32(f)
			return log.cost
		})
	case ir.Relu:
		return g.helper("relu", func(f *wasmbin.Function, x wasmbin.Local) int64 { f.Get(x).F64(0).Op(opF64Max); return 0 })
	case ir.Sqrt:
		return g.helper("sqrt", func(f *wasmbin.Function, x wasmbin.Local) int64 { f.Get(x).Op(opF64Sqrt); return 0 })
	case ir.Abs:
		return g.helper("abs", func(f *wasmbin.Function, x wasmbin.Local) int64 { f.Get(x).Op(opF64Abs); return 0 })
	case ir.Neg:
		return g.helper("neg", func(f *wasmbin.Function, x wasmbin.Local) int64 { f.Get(x).Op(opF64Neg); return 0 })
	case ir.Square:
		return g.helper("square", func(f *wasmbin.Function, x wasmbin.Local) int64 {
			f.Get(x).Op(opF64Abs).Get(x).Op(opF64Mul)
			return 0
		})
	case ir.IsMissing:
		return g.helper("missing", func(f *wasmbin.Function, x wasmbin.Local) int64 {
			f.F64(1).F64(0).Get(x).Get(x).Op(opF64Ne).Select()
			return 0
		})
	default:
		return g.helper("identity", func(f *wasmbin.Function, x wasmbin.Local) int64 { f.Get(x); return 0 })
	}
}
