// Package emit writes a model as a WebAssembly module that scores rows: no imports, a memory of fixed
// size, an upper bound of the fuel of every call.
//
// Rows are turned into integers of the same order first, as integers compare without branches. Then the
// questions of all trees are answered, each once: ranks in sorted keys. Trees become tables in memory. For
// one row eight walks go on side by side, as one waits for memory and eight hide it:
//
//   - stream8: each walk has its share of the trees and goes from the leaf of one to the root of the next;
//   - perfect8: trees are filled up to the same depth, where they nearly have it.
//
// For many rows, slices128 has one bit of 128 rows for each answer, and does a node for all of them at
// once. Where answers do not fit, or cost more than they save, the tables hold keys: heap8 (perfect trees)
// and loop8 for one row, rows8 for eight, all in lockstep. oblivious is the form of trees that ask the same
// everywhere on a level.
//
// Other steps become loops over vectors in a frame, one frame for each row in flight. Every operation is
// that of the interpreter in package ir, bit for bit.
package emit

import (
	"errors"
	"slices"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/sdk/abi"
)

// What arbiter_score returns when it does not score.
const (
	StatusFeatures = 1 // the numbers of features are not those of the manifest
	StatusRows     = 2 // there are more rows than the manifest allows
)

// maxRows bounds the rows of one call, and callFuel the work, so that a call stays below about a
// millisecond: the host's garbage collector waits for it.
const (
	maxFrames = 4 << 20 // bytes of all frames
	maxRows   = 256
	callFuel  = 8_000_000
)

// Module is a module without its manifest.
type Module struct {
	Bytes  []byte
	Limits artifact.Limits
	// Layouts are the shapes of the tables, such as heap8 and rows8.
	Layouts []string
}

// Emit writes the module of m, whose Raw and Output must have one value each, and whose first subject
// inputs belong to the subject and the others to the candidate. Errors are *nba.Error with
// CodeModelInvalid.
func Emit(m *ir.Model, subject int) (*Module, error) {
	return emit(m, subject, maxRows, modeAny)
}

// mode restricts the layouts, for tests.
type mode uint8

const (
	modeAny     mode = iota
	modeAnswers      // answers wherever they are possible
	modePerfect      // the same, in perfect trees where they are possible
	modeKeys         // no answers
	modePlain        // neither answers nor perfect trees
)

// errNoSlices tells that some step cannot be written as slices.
var errNoSlices = errors.New("no slices")

// emit writes the module, with slices for many rows where that is possible.
func emit(m *ir.Model, subject, rows int, mode mode) (*Module, error) {
	if subject < len(m.Inputs) && mode <= modePerfect && hasTrees(m) {
		out, err := write(m, subject, rows, mode, true)
		limits := wasmbin.DefaultLimits()
		if err == nil && len(out.Bytes) <= limits.DataBytes && out.Limits.MemoryPages <= limits.MemoryPages {
			return out, nil
		}
		if err != nil && err != errNoSlices {
			return nil, err
		}
	}
	return write(m, subject, rows, mode, false)
}

// hasTrees tells whether a model has steps of trees.
func hasTrees(m *ir.Model) bool {
	return slices.ContainsFunc(m.Steps, func(s ir.Step) bool {
		switch s.(type) {
		case *ir.Trees, *ir.Oblivious:
			return true
		}
		return false
	})
}

// write writes the module, and fewer rows if a call would take too long.
func write(m *ir.Model, subject, rows int, mode mode, sliced bool) (*Module, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	lengths, err := m.Lengths()
	if err != nil {
		return nil, err
	}
	if lengths[m.Raw] != 1 || lengths[m.Output] != 1 {
		return nil, ir.Invalid("the model has %d outputs; name the class to score", lengths[m.Output])
	}
	g := &generator{m: m, lengths: lengths, subject: subject, candidate: len(m.Inputs) - subject, maxRows: rows,
		mode: mode, sliced: sliced, lanes: 1, helpers: make(map[string]function)}
	g.lanes, g.frameCount = 1, 1
	if g.candidate > 0 && !sliced {
		g.lanes, g.frameCount = lanes, lanes
	}
	g.plan()
	if err := g.steps(); err != nil {
		return nil, err
	}
	g.exports(g.driver())
	limits := artifact.Limits{MemoryPages: g.b.Pages(), MaxRows: rows}
	limits.FuelBase, limits.FuelPerRow = g.fuel()
	if sliced {
		limits = g.sliceLimits(limits)
		if limits.MaxRows < rows && limits.MaxRows < g.maxRows {
			return write(m, subject, limits.MaxRows, mode, true)
		}
		return &Module{Bytes: g.b.Bytes(), Limits: limits, Layouts: g.layouts}, nil
	}
	if fit := max(lanes, int(callFuel/limits.FuelPerRow)&^(lanes-1)); fit < rows && rows > lanes {
		return write(m, subject, fit, mode, false)
	}
	return &Module{Bytes: g.b.Bytes(), Limits: limits, Layouts: g.layouts}, nil
}

// generator writes one module.
type generator struct {
	m                  *ir.Model
	lengths            []int
	subject, candidate int // features
	maxRows, lanes     int
	sliced             bool // slices for many rows
	frameCount         int
	mode               mode
	b                  wasmbin.Builder
	helpers            map[string]function
	layouts            []string

	forRaw, forOutput []bool // by Ref: whether the result is needed
	framed            bool   // whether the row of inputs itself is needed
	offsets           []int  // of each vector in a frame
	frames            int    // address of frame 0
	frameBytes        int
	input, out        int // addresses handed to the host

	code           []compiled // by step
	one, eight     *wasmbin.Function
	oneCost, cost8 int64
	subjectCost    int64
	candidateCost  int64
	prefixCost     int64
	sliceCost      [sliceHalves]int64 // of a call, by number of halves - 1
	sliceRow       int64              // of a row, besides
}

// compiled is a step: a forest or a plain one.
type compiled struct {
	forest *forest
	plain  stepCode
}

func (g *generator) length(r ir.Ref) int { return g.lengths[r] }

// address is that of a vector in frame 0.
func (g *generator) address(r ir.Ref) int { return g.frames + g.offsets[r] }

func (g *generator) layout(name string) {
	if !slices.Contains(g.layouts, name) {
		g.layouts = append(g.layouts, name)
	}
}

// needed marks what r depends on.
func (g *generator) needed(r ir.Ref) []bool {
	marks := make([]bool, len(g.lengths))
	marks[r] = true
	var refs []ir.Ref
	for i := len(g.m.Steps); i > 0; i-- {
		if !marks[i] {
			continue
		}
		refs = g.m.Steps[i-1].From(refs[:0])
		for _, from := range refs {
			marks[from] = true
		}
	}
	return marks
}

// plan finds out what is needed and lays frames and the host's areas out in memory.
func (g *generator) plan() {
	g.forRaw, g.forOutput = g.needed(g.m.Raw), g.needed(g.m.Output)
	g.framed = g.m.Raw == ir.Input || g.m.Output == ir.Input
	for i, s := range g.m.Steps {
		if !g.forRaw[i+1] && !g.forOutput[i+1] {
			continue
		}
		switch s := s.(type) {
		case *ir.Trees:
			g.framed = g.framed || s.In == ir.Input && len(s.LinearLeaves) > 0
		case *ir.Oblivious:
		default:
			g.framed = g.framed || slices.Contains(s.From(nil), ir.Input)
		}
	}
	g.offsets = make([]int, len(g.lengths))
	at := 0
	for r, n := range g.lengths {
		if r == int(ir.Input) && !g.framed || r > 0 && !g.forRaw[r] && !g.forOutput[r] {
			continue
		}
		g.offsets[r] = at
		at = (at + 8*n + 15) &^ 15
	}
	g.frameBytes = (at + 32 + 63) &^ 63 // expansion reads whole groups
	g.b.Reserve(1024, 1)                // address 0 stays unused
	if g.sliced {
		g.maxRows = min(g.maxRows, max(lanes, maxFrames/g.frameBytes))
		g.frameCount = g.maxRows
	}
	g.frames = g.b.Reserve(g.frameCount*g.frameBytes, 64)
	g.input = g.b.Reserve((g.subject*8+15)&^15+g.maxRows*g.candidate*8+64, 64)
	g.out = g.b.Reserve(g.maxRows*8, 64)
}

// steps writes the functions of the steps.
func (g *generator) steps() error {
	g.code = make([]compiled, len(g.m.Steps))
	for i, s := range g.m.Steps {
		ref := ir.Ref(i + 1)
		if !g.forRaw[ref] && !g.forOutput[ref] {
			continue
		}
		c := &g.code[i]
		switch s := s.(type) {
		case *ir.Trees:
			t := g.newTrees(ref, s)
			c.forest = t.forest
			if err := t.build(); err != nil {
				return err
			}
		case *ir.Oblivious:
			t := g.newOblivious(ref, s)
			c.forest = t.forest
			if err := t.build(); err != nil {
				return err
			}
		default:
			c.plain = g.plainStep(ref, s)
		}
	}
	return nil
}

// each calls write for each step that is needed, within a condition on linked where it is needed for
// one of raw and output only.
func (g *generator) each(f *wasmbin.Function, linked wasmbin.Local, write func(i int, c *compiled)) {
	for i := range g.code {
		raw, output := g.forRaw[i+1], g.forOutput[i+1]
		if !raw && !output {
			continue
		}
		if raw != output {
			f.Get(linked)
			if raw {
				f.Op(opI32Eqz)
			}
			f.If()
		}
		write(i, &g.code[i])
		if raw != output {
			f.End()
		}
	}
}

// program writes (linked) -> (): all steps for the row in lane 0.
func (g *generator) program() {
	f := g.b.Function([]byte{wasmbin.I32}, nil)
	g.one = f
	g.each(f, f.Param(0), func(_ int, c *compiled) {
		if c.forest == nil {
			f.I32(g.frames).Call(c.plain.code)
			g.oneCost += c.plain.cost
			return
		}
		if c.forest.in != ir.Input {
			g.oneCost += c.forest.prepare(f, 0, func() { f.I32(g.address(c.forest.in)) })
		}
		f.Call(c.forest.walkers.one)
		g.oneCost += c.forest.walkers.oneCost
	})
	g.oneCost += f.EntryFuel() + f.Fuel()
}

// hasEight tells whether some step is faster for eight rows at once, so that blocks are worth it.
func (g *generator) hasEight() bool {
	for i := range g.code {
		if o := g.code[i].forest; o != nil && o.walkers.eight != nil {
			return true
		}
	}
	return false
}

// programEight writes (linked, rows) -> (): all steps for up to eight rows. A forest that cannot do
// that has no eight; then blocks of rows are not used at all.
func (g *generator) programEight() {
	f := g.b.Function([]byte{wasmbin.I32, wasmbin.I32}, nil)
	g.eight = f
	k := f.Local(wasmbin.I32)
	g.each(f, f.Param(0), func(_ int, c *compiled) {
		rows := func(body func()) {
			f.I32(0).Set(k).Loop()
			body()
			f.Get(k).I32(1).Op(opI32Add).Tee(k).Get(f.Param(1)).Op(opI32Ne).BrIf(0).End()
			g.cost8 += lanes * 20
		}
		if c.forest == nil {
			rows(func() {
				f.Get(k).I32(g.frameBytes).Op(opI32Mul).I32(g.frames).Op(opI32Add).Call(c.plain.code)
			})
			g.cost8 += lanes * c.plain.cost
			return
		}
		o := c.forest
		if o.in != ir.Input {
			p := &o.parts[0]
			rows(func() {
				f.Get(k).I32(g.frameBytes).Op(opI32Mul).I32(g.address(o.in)).Op(opI32Add)
				f.Get(k).I32(o.stride).Op(opI32Mul).I32(o.rows).Op(opI32Add).Call(p.expand)
			})
			g.cost8 += lanes * p.cost
		}
		f.Call(o.walkers.eight)
		g.cost8 += o.walkers.eight8
	})
	g.cost8 += f.EntryFuel() + f.Fuel()
}

// allEight tells whether every forest can do eight rows.
func (g *generator) allEight() bool {
	for i := range g.code {
		if o := g.code[i].forest; o != nil && o.walkers.eight == nil {
			return false
		}
	}
	return true
}

// fuel is what a call needs: an upper bound, with room for the driver's own instructions.
func (g *generator) fuel() (base, perRow int64) {
	const driver, driverRow = 600, 80
	if g.candidate == 0 {
		return driver + g.subjectCost + g.oneCost, driverRow
	}
	row := g.oneCost
	if g.eight != nil {
		row = max(row, g.cost8/rowsForEight)
	}
	return driver + g.subjectCost + g.prefixCost, driverRow + g.candidateCost + row
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
