package emit

import (
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// rowsForEight is the number of remaining rows from which walking eight at once is cheaper.
const rowsForEight = 7

// parameters are the locals of the driver's parameters.
type parameters struct{ source, candidates, rows, out, linked wasmbin.Local }

// driver writes the function behind both scoring exports: their parameters and whether to apply the
// link.
func (g *generator) driver() *wasmbin.Function {
	g.program()
	if g.candidate > 0 && g.hasEight() && g.allEight() {
		g.programEight()
	}
	i32 := wasmbin.I32
	f := g.b.Function([]byte{i32, i32, i32, i32, i32, i32, i32}, []byte{i32})
	p := parameters{source: f.Param(0), candidates: f.Param(2), rows: f.Param(3), out: f.Param(5), linked: f.Param(6)}
	f.Get(f.Param(1)).I32(g.subject).Op(opI32Ne).Get(f.Param(4)).I32(g.candidate).Op(opI32Ne).Op(opI32Or)
	f.If().I32(StatusFeatures).Return().End()
	f.Get(p.rows).I32(g.maxRows).Op(opI32GtU).If().I32(StatusRows).Return().End()
	f.Get(p.rows).If()
	g.subjectCode(f, p)
	if g.candidate == 0 {
		g.replicate(f, p)
	} else if g.sliced {
		g.scoreSlices(f, p)
	} else {
		g.score(f, p)
	}
	f.End()
	f.I32(0)
	return f
}

// inputForests calls do for each forest that reads the row of inputs.
func (g *generator) inputForests(do func(o *forest)) {
	for i := range g.code {
		if o := g.code[i].forest; o != nil && o.in == ir.Input {
			do(o)
		}
	}
}

// subjectCode expands the subject's features into lane 0.
func (g *generator) subjectCode(f *wasmbin.Function, p parameters) {
	if g.framed && g.subject > 0 {
		f.I32(g.address(ir.Input)).Get(p.source).I32(8 * g.subject).MemoryCopy()
		g.subjectCost += int64(g.subject) + 40
	}
	g.inputForests(func(o *forest) {
		g.subjectCost += o.prepare(f, 0, func() { f.Get(p.source) })
	})
}

// result pushes the score of a lane, whose number is on the stack when lane is negative.
func (g *generator) result(f *wasmbin.Function, p parameters, frame func()) {
	if g.m.Raw == g.m.Output {
		frame()
		f.Memory(opF64Load, 3, g.address(g.m.Raw))
		return
	}
	frame()
	f.I32(g.address(g.m.Output)).I32(g.address(g.m.Raw)).Get(p.linked).Select().Op(opI32Add).Memory(opF64Load, 3, 0)
}

// replicate scores the subject once and stores the result for every row.
func (g *generator) replicate(f *wasmbin.Function, p parameters) {
	result, end := f.Local(wasmbin.F64), f.Local(wasmbin.I32)
	f.Get(p.linked).Call(g.one)
	g.result(f, p, func() { f.I32(0) })
	f.Set(result)
	f.Get(p.rows).I32(3).Op(opI32Shl).Get(p.out).Op(opI32Add).Set(end)
	f.Loop()
	f.Get(p.out).Get(result).Memory(opF64Store, 3, 0)
	f.Get(p.out).I32(8).Op(opI32Add).Tee(p.out).Get(end).Op(opI32Ne).BrIf(0)
	f.End()
}

// candidateCode takes over the features of the next candidate into lane k.
func (g *generator) candidateCode(f *wasmbin.Function, p parameters, k wasmbin.Local, single bool) {
	g.candidateCost = 20
	lane := func(base, stride int) {
		if single {
			f.I32(base)
			return
		}
		f.Get(k).I32(stride).Op(opI32Mul).I32(base).Op(opI32Add)
	}
	if g.framed {
		lane(g.address(ir.Input)+8*g.subject, g.frameBytes)
		f.Get(p.candidates).I32(8 * g.candidate).MemoryCopy()
		g.candidateCost += int64(g.candidate) + 20
	}
	g.inputForests(func(o *forest) {
		if single {
			g.candidateCost += o.prepare(f, 1, func() { f.Get(p.candidates) })
			return
		}
		f.Get(p.candidates)
		lane(o.rows, o.stride)
		f.Call(o.parts[1].expand)
		g.candidateCost += o.parts[1].cost + 10
	})
	f.Get(p.candidates).I32(g.candidate * 8).Op(opI32Add).Set(p.candidates)
}

// prefixes copies what belongs to the subject from lane 0 to the other lanes.
func (g *generator) prefixes(f *wasmbin.Function) {
	for lane := 1; lane < lanes; lane++ {
		if n := 8 * g.subject; g.framed && n > 0 {
			f.I32(g.address(ir.Input) + lane*g.frameBytes).I32(g.address(ir.Input)).I32(n).MemoryCopy()
			g.prefixCost += int64(n/8) + 40
		}
		g.inputForests(func(o *forest) {
			n := o.parts[0].end
			f.I32(o.rows + lane*o.stride).I32(o.rows).I32(n).MemoryCopy()
			g.prefixCost += int64(n/8) + 40
		})
	}
}

// score scores eight rows at a time, and the last few one by one.
func (g *generator) score(f *wasmbin.Function, p parameters) {
	block, k := f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	if g.eight != nil {
		f.Get(p.rows).I32(rowsForEight).Op(opI32GeU).If()
		g.prefixes(f)
		f.End()
	}
	f.Loop()
	if g.eight != nil {
		f.Get(p.rows).I32(rowsForEight).Op(opI32GeU).If()
		f.Get(p.rows).I32(lanes).Get(p.rows).I32(lanes).Op(opI32LtU).Select().Set(block) // min(rows, lanes)
		f.I32(0).Set(k).Loop()
		g.candidateCode(f, p, k, false)
		f.Get(k).I32(1).Op(opI32Add).Tee(k).Get(block).Op(opI32Ne).BrIf(0).End()
		f.Get(p.linked).Get(block).Call(g.eight)
		f.I32(0).Set(k).Loop()
		f.Get(p.out)
		g.result(f, p, func() { f.Get(k).I32(g.frameBytes).Op(opI32Mul) })
		f.Memory(opF64Store, 3, 0)
		f.Get(p.out).I32(8).Op(opI32Add).Set(p.out)
		f.Get(k).I32(1).Op(opI32Add).Tee(k).Get(block).Op(opI32Ne).BrIf(0).End()
		f.Else()
	}
	f.I32(1).Set(block)
	g.candidateCode(f, p, k, true)
	f.Get(p.linked).Call(g.one)
	f.Get(p.out)
	g.result(f, p, func() { f.I32(0) })
	f.Memory(opF64Store, 3, 0)
	f.Get(p.out).I32(8).Op(opI32Add).Set(p.out)
	if g.eight != nil {
		f.End()
	}
	f.Get(p.rows).Get(block).Op(opI32Sub).Tee(p.rows).BrIf(0)
	f.End()
}
