package compiler

import (
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/sdk/abi"
)

// What arbiter_score returns when it does not score.
const (
	statusFeatures = 1 // the numbers of features are not those of the manifest
	statusRows     = 2 // there are more rows than the manifest allows
)

// The table of perfect trees may be this much larger than the plain one, or up to this many bytes,
// which fit the second-level cache beside the rest.
const (
	heapExcess    = 3
	heapFreeBytes = 256 << 10
)

// maxRows bounds the rows of one call, and callFuel the work, so that a call stays below about a
// millisecond: the host's garbage collector waits for it.
const (
	maxRows  = 256
	callFuel = 8_000_000
)

// emitted is a module without its manifest.
type emitted struct {
	module  []byte
	limits  artifact.Limits
	layouts []string
}

// emit writes the module for e, whose first subject features belong to the subject.
func emit(e *ensemble, subject int) emitted {
	return emitLayout(e, subject, maxRows, prefersHeap(e))
}

// prefersHeap tells whether filling the trees up to perfect ones costs little enough memory: a walk of
// known length is faster.
func prefersHeap(e *ensemble) bool {
	depth := max(1, e.depth())
	if depth > maxHeapDepth {
		return false
	}
	size := heapBytes(len(e.trees), depth)
	return size <= heapFreeBytes || size <= heapExcess*loopBytes(e.nodes())
}

// emitLayout writes the module with the layout given, and fewer rows if a call would take too long.
func emitLayout(e *ensemble, subject, rows int, heap bool) emitted {
	g := &generator{e: e, subject: subject, candidate: len(e.names) - subject, maxRows: rows}
	g.plan()
	layouts := []string{"loop8"}
	var one, eight *wasmbin.Function
	if heap {
		layouts[0] = "heap8"
		t := g.heapTable()
		one = g.heapOne(t)
		if g.candidate > 0 {
			eight = g.heapEight(t)
		}
	} else {
		t := g.loopTable()
		one = g.loopOne(t)
		if g.candidate > 0 {
			eight = g.loopEight(t)
		}
	}
	if eight != nil {
		layouts = append(layouts, "rows8")
	}
	g.exports(g.driver(one, eight))
	limits := artifact.Limits{MemoryPages: g.b.Pages(), MaxRows: rows}
	limits.FuelBase, limits.FuelPerRow = g.fuel()
	if fit := max(lanes, int(callFuel/limits.FuelPerRow)&^(lanes-1)); fit < rows {
		return emitLayout(e, subject, fit, heap)
	}
	return emitted{module: g.b.Bytes(), limits: limits, layouts: layouts}
}

// fuel is what a call needs: an upper bound, with room for the driver's own instructions.
func (g *generator) fuel() (base, perRow int64) {
	const driver, driverRow = 500, 60
	if g.candidate == 0 {
		return driver + g.cost.subject + g.cost.one + g.cost.link, driverRow
	}
	base = driver + g.cost.subject + int64(lanes*(g.prefix/16+32))
	return base, driverRow + g.cost.candidate + g.cost.link + max(g.cost.one, g.cost.eight/rowsForEight)
}

// rowsForEight is the number of remaining rows from which walking eight at once is cheaper.
const rowsForEight = 7

// driver writes the function behind both scoring exports: their parameters and whether to apply the
// link.
func (g *generator) driver(one, eight *wasmbin.Function) *wasmbin.Function {
	var candidate *wasmbin.Function
	subject, cost := g.expander(0, g.subject, g.low.subject, g.high.subject)
	g.cost.subject = cost
	if g.candidate > 0 {
		candidate, g.cost.candidate = g.expander(g.subject, g.candidate, g.low.candidate, g.high.candidate)
	}
	link := g.linkFunction()

	i32 := wasmbin.I32
	f := g.b.Function([]byte{i32, i32, i32, i32, i32, i32, i32}, []byte{i32})
	p := parameters{source: f.Param(0), candidates: f.Param(2), rows: f.Param(3), out: f.Param(5), linked: f.Param(6)}
	f.Get(f.Param(1)).I32(g.subject).Op(opI32Ne).Get(f.Param(4)).I32(g.candidate).Op(opI32Ne).Op(opI32Or)
	f.If().I32(statusFeatures).Return().End()
	f.Get(p.rows).I32(g.maxRows).Op(opI32GtU).If().I32(statusRows).Return().End()
	f.Get(p.rows).If()
	f.Get(p.source).I32(g.rows).Call(subject)
	if g.candidate == 0 {
		g.replicate(f, p, one, link)
	} else {
		g.score(f, p, candidate, one, eight, link)
	}
	f.End()
	f.I32(0)
	return f
}

// parameters are the locals of the driver's parameters.
type parameters struct{ source, candidates, rows, out, linked wasmbin.Local }

// replicate scores the subject once and stores the result for every row.
func (g *generator) replicate(f *wasmbin.Function, p parameters, one, link *wasmbin.Function) {
	result, end := f.Local(wasmbin.F64), f.Local(wasmbin.I32)
	f.Call(one).Get(p.linked).Call(link).Set(result)
	f.Get(p.rows).I32(3).Op(opI32Shl).Get(p.out).Op(opI32Add).Set(end)
	f.Loop()
	f.Get(p.out).Get(result).Memory(opF64Store, 3, 0)
	f.Get(p.out).I32(8).Op(opI32Add).Tee(p.out).Get(end).Op(opI32Ne).BrIf(0)
	f.End()
}

// score scores eight rows at a time, and the last few one by one.
func (g *generator) score(f *wasmbin.Function, p parameters, candidate, one, eight, link *wasmbin.Function) {
	rowBytes := g.candidate * 8
	block, k := f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	f.Get(p.rows).I32(rowsForEight).Op(opI32GeU).If()
	for lane := 1; lane < lanes; lane++ {
		f.I32(g.rows + lane*g.stride).I32(g.rows).I32(g.prefix).MemoryCopy()
	}
	f.End()
	f.Loop()
	f.Get(p.rows).I32(rowsForEight).Op(opI32GeU).If()

	f.Get(p.rows).I32(lanes).Get(p.rows).I32(lanes).Op(opI32LtU).Select().Set(block) // min(rows, lanes)
	f.I32(0).Set(k).Loop()
	f.Get(p.candidates).Get(k).I32(g.stride).Op(opI32Mul).I32(g.rows).Op(opI32Add).Call(candidate)
	f.Get(p.candidates).I32(rowBytes).Op(opI32Add).Set(p.candidates)
	f.Get(k).I32(1).Op(opI32Add).Tee(k).Get(block).Op(opI32Ne).BrIf(0).End()
	f.Call(eight)
	f.I32(0).Set(k).Loop()
	f.Get(p.out).Get(k).I32(2).Op(opI32Shl).Memory(opF32Load, 2, g.sums).Get(p.linked).Call(link).Memory(opF64Store, 3, 0)
	f.Get(p.out).I32(8).Op(opI32Add).Set(p.out)
	f.Get(k).I32(1).Op(opI32Add).Tee(k).Get(block).Op(opI32Ne).BrIf(0).End()

	f.Else()

	f.I32(1).Set(block)
	f.Get(p.candidates).I32(g.rows).Call(candidate)
	f.Get(p.out).Call(one).Get(p.linked).Call(link).Memory(opF64Store, 3, 0)
	f.Get(p.candidates).I32(rowBytes).Op(opI32Add).Set(p.candidates)
	f.Get(p.out).I32(8).Op(opI32Add).Set(p.out)

	f.End()
	f.Get(p.rows).Get(block).Op(opI32Sub).Tee(p.rows).BrIf(0)
	f.End()
}

// linkFunction writes (margin, linked) -> output.
func (g *generator) linkFunction() *wasmbin.Function {
	f := g.b.Function([]byte{wasmbin.F32, wasmbin.I32}, []byte{wasmbin.F64})
	margin := f.Param(0)
	if g.e.link != linkIdentity {
		f.Get(f.Param(1)).If()
		x := f.Local(wasmbin.F64)
		if g.e.link == linkSigmoid {
			f.F32(1)
			f.Get(margin).Op(opF64Promote).Op(opF64Neg).F64(sigmoidClip).Op(opF64Min).Set(x)
			emitExp(f, x)
			f.Op(opF32Demote).F32(1).Op(opF32Add).F32(sigmoidEpsilon).Op(opF32Add).Op(opF32Div)
		} else {
			f.Get(margin).Op(opF64Promote).Set(x)
			emitExp(f, x)
			f.Op(opF32Demote)
		}
		f.Op(opF64Promote).Return().End()
	}
	f.Get(margin).Op(opF64Promote)
	g.cost.link = f.EntryFuel() + f.Fuel()
	return f
}

// emitExp pushes e to the power of x, step by step as exp in ensemble.go.
func emitExp(f *wasmbin.Function, x wasmbin.Local) {
	k, r := f.Local(wasmbin.F64), f.Local(wasmbin.F64)
	f.Get(x).F64(expMax).Op(opF64Min).F64(expMin).Op(opF64Max).Tee(x)
	f.F64(log2E).Op(opF64Mul).Op(opF64Nearest).Set(k)
	f.Get(x).Get(k).F64(ln2High).Op(opF64Mul).Op(opF64Sub)
	f.Get(k).F64(ln2Low).Op(opF64Mul).Op(opF64Sub).Set(r)
	f.F64(expCoefficient(expTerms - 1))
	for i := expTerms - 2; i >= 0; i-- {
		f.Get(r).Op(opF64Mul).F64(expCoefficient(i)).Op(opF64Add)
	}
	f.Get(k).TruncateToI64().I64(1023).Op(opI64Add).I64(52).Op(opI64Shl).Op(opF64FromI64).Op(opF64Mul)
}

// exports writes the contract's functions around run.
func (g *generator) exports(run *wasmbin.Function) {
	i32 := wasmbin.I32
	g.b.Export(abi.ExportMarker, g.b.Function(nil, nil))

	reserve := g.b.Function([]byte{i32, i32, i32}, []byte{wasmbin.I64})
	reserve.Get(reserve.Param(0)).I32(g.subject).Op(opI32Ne).Get(reserve.Param(2)).I32(g.candidate).Op(opI32Ne).Op(opI32Or)
	reserve.Get(reserve.Param(1)).I32(g.maxRows).Op(opI32GtU).Op(opI32Or)
	reserve.If().I64(-1).Return().End()
	reserve.I64(int64(g.input)<<32 | int64(g.out))
	g.b.Export(abi.ExportReserve, reserve)

	for linked, name := range [...]string{abi.ExportScoreRaw, abi.ExportScore} {
		f := g.b.Function([]byte{i32, i32, i32, i32, i32, i32}, []byte{i32})
		for i := range 6 {
			f.Get(f.Param(i))
		}
		f.I32(linked).Call(run)
		g.b.Export(name, f)
	}
}
