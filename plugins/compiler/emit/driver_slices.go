package emit

import (
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// scoreSlices scores few rows one by one and many as slices, all at once: a call never has more rows than
// the slices hold.
func (g *generator) scoreSlices(f *wasmbin.Function, p parameters) {
	k := f.Local(wasmbin.I32)
	f.Get(p.rows).I32(g.fewRows()).Op(opI32GtU).If()
	g.inputForests(func(o *forest) {
		s := o.walkers.slices
		f.I32(0).Call(s.rank[0]).Get(p.rows).Call(s.subject)
		for i := range g.sliceCost {
			g.sliceCost[i] += s.rankCost[0] + s.subjectCost[i]
		}
	})
	f.Loop()
	before := f.Fuel()
	if g.framed {
		if n := 8 * g.subject; n > 0 {
			f.Get(k).I32(g.frameBytes).Op(opI32Mul).I32(g.address(ir.Input)).Op(opI32Add).Get(p.source).I32(n).MemoryCopy()
			g.sliceRow += int64(g.subject) + 40
		}
		f.Get(k).I32(g.frameBytes).Op(opI32Mul).I32(g.address(ir.Input) + 8*g.subject).Op(opI32Add)
		f.Get(p.candidates).I32(8 * g.candidate).MemoryCopy()
		g.sliceRow += int64(g.candidate) + 40
	}
	g.inputForests(func(o *forest) {
		f.Get(p.candidates).I32(o.rows).Call(o.parts[1].expand).Get(k).Call(o.walkers.slices.rank[1])
		g.sliceRow += o.parts[1].cost + o.walkers.slices.rankCost[1]
	})
	f.Get(p.candidates).I32(8 * g.candidate).Op(opI32Add).Set(p.candidates)
	f.Get(k).I32(1).Op(opI32Add).Tee(k).Get(p.rows).Op(opI32Ne).BrIf(0).End()
	g.sliceSteps(f, p, k)
	f.I32(0).Set(k)
	f.Loop()
	f.Get(p.out)
	g.result(f, p, func() { f.Get(k).I32(g.frameBytes).Op(opI32Mul) })
	f.Memory(opF64Store, 3, 0)
	f.Get(p.out).I32(8).Op(opI32Add).Set(p.out)
	f.Get(k).I32(1).Op(opI32Add).Tee(k).Get(p.rows).Op(opI32Ne).BrIf(0).End()
	g.sliceRow += f.Fuel() - before
	f.Else()
	f.Loop()
	g.candidateCode(f, p, k, true)
	f.Get(p.linked).Call(g.one)
	f.Get(p.out)
	g.result(f, p, func() { f.I32(0) })
	f.Memory(opF64Store, 3, 0)
	f.Get(p.out).I32(8).Op(opI32Add).Set(p.out)
	f.Get(p.rows).I32(1).Op(opI32Sub).Tee(p.rows).BrIf(0)
	f.End().End()
}

// sliceSteps runs the steps for all rows, one step after the other.
func (g *generator) sliceSteps(f *wasmbin.Function, p parameters, k wasmbin.Local) {
	rows := func(body func()) {
		f.I32(0).Set(k).Loop()
		body()
		f.Get(k).I32(1).Op(opI32Add).Tee(k).Get(p.rows).Op(opI32Ne).BrIf(0).End()
		g.sliceRow += 20
	}
	frame := func(r ir.Ref) { f.Get(k).I32(g.frameBytes).Op(opI32Mul).I32(g.address(r)).Op(opI32Add) }
	g.each(f, p.linked, func(_ int, c *compiled) {
		if c.forest == nil {
			rows(func() {
				f.Get(k).I32(g.frameBytes).Op(opI32Mul).I32(g.frames).Op(opI32Add).Call(c.plain.code)
			})
			g.sliceRow += c.plain.cost
			return
		}
		o := c.forest
		s := o.walkers.slices
		if o.in != ir.Input {
			rows(func() {
				frame(o.in)
				f.I32(o.rows).Call(o.parts[0].expand).Get(k).Call(s.rank[0])
			})
			g.sliceRow += o.parts[0].cost + s.rankCost[0]
		}
		f.Get(p.rows).Call(s.run)
		for i := range g.sliceCost {
			g.sliceCost[i] += s.runCost[i]
		}
	})
}

// maxFew bounds fewRows where slices are worth it at all.
const maxFew = 48

// fewRows is the number of rows up to which walking them one by one is faster.
func (g *generator) fewRows() int {
	if g.mode != modeAny {
		return 3
	}
	one, fixed, row := 0.0, 0.0, 0.0
	for i := range g.code {
		if o := g.code[i].forest; o != nil {
			one += o.walkers.estimate.one
			fixed += o.walkers.estimate.fixed
			row += o.walkers.estimate.row
		}
	}
	if row > 0.9*one {
		return g.maxRows // never
	}
	return int(min(max(3, fixed/(one-row)), maxFew))
}

// sliceLimits are the limits of a module of slices.
func (g *generator) sliceLimits(l artifact.Limits) artifact.Limits {
	few := g.fewRows()
	l.MaxRows = g.maxRows
	if g.maxRows > sliceRows && g.sliceCost[1]+g.sliceRow*int64(g.maxRows) > sliceFuel {
		l.MaxRows = sliceRows
	}
	const driver = 700
	perRow := max(g.oneCost+g.candidateCost, (g.sliceCost[0]+int64(few))/int64(few+1)+g.sliceRow)
	if l.MaxRows > sliceRows {
		perRow = max(perRow, g.sliceCost[1]/(sliceRows+1)+1+g.sliceRow)
	}
	l.FuelBase, l.FuelPerRow = driver+g.subjectCost, perRow+80
	return l
}

// sliceFuel bounds the work of a call in slices as callFuel does otherwise; vectors do more for a unit of
// fuel, in more time.
const sliceFuel = 12_000_000
