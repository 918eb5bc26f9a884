package wasmbin_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// A random program is a tree of statements that can both write itself as WebAssembly and run in Go,
// counting the cost of each instruction it executes: an oracle for the metering that knows nothing of
// blocks.

// machine runs statements. A statement tells where control goes next: next, leave, or how many blocks
// out a branch leads.
type machine struct {
	locals []int32
	fuel   int64
}

const (
	next  = -1
	leave = 1 << 20
)

type statement interface {
	emit(f *wasmbin.Function)
	run(m *machine) int
}

type sequence []statement

func (s sequence) emit(f *wasmbin.Function) {
	for _, x := range s {
		x.emit(f)
	}
}

func (s sequence) run(m *machine) int {
	for _, x := range s {
		if to := x.run(m); to != next {
			return to
		}
	}
	return next
}

// outwards is where a branch leads seen from around a block.
func outwards(to int) int {
	switch to {
	case next, leave:
		return to
	case 0:
		return next
	}
	return to - 1
}

type add struct {
	local wasmbin.Local
	value int
}

func (s add) emit(f *wasmbin.Function) { f.Get(s.local).I32(s.value).Op(i32Add).Set(s.local) }

func (s add) run(m *machine) int {
	m.fuel += 4
	m.locals[s.local] += int32(s.value)
	return next
}

// condition pushes local & mask, which costs 3.
func condition(f *wasmbin.Function, local wasmbin.Local, mask int) {
	f.Get(local).I32(mask).Op(i32And)
}

type ifElse struct {
	local     wasmbin.Local
	then, not sequence
}

func (s ifElse) emit(f *wasmbin.Function) {
	condition(f, s.local, 1)
	f.If()
	s.then.emit(f)
	if s.not != nil {
		f.Else()
		s.not.emit(f)
	}
	f.End()
}

func (s ifElse) run(m *machine) int {
	m.fuel += 4
	if m.locals[s.local]&1 != 0 {
		return outwards(s.then.run(m))
	}
	return outwards(s.not.run(m))
}

type block struct{ body sequence }

func (s block) emit(f *wasmbin.Function) {
	f.Block()
	s.body.emit(f)
	f.End()
}

func (s block) run(m *machine) int { return outwards(s.body.run(m)) }

type loop struct {
	counter wasmbin.Local
	times   int
	body    sequence
}

func (s loop) emit(f *wasmbin.Function) {
	f.I32(s.times).Set(s.counter).Loop()
	s.body.emit(f)
	f.Get(s.counter).I32(1).Op(i32Sub).Tee(s.counter).BrIf(0).End()
}

func (s loop) run(m *machine) int {
	m.fuel += 2
	for range s.times {
		if to := s.body.run(m); to != next {
			return outwards(to) // never 0: nothing branches to a loop but its own end
		}
		m.fuel += 5
	}
	m.locals[s.counter] = 0
	return next
}

type branch struct {
	depth int
	local wasmbin.Local
	mask  int // 0: always
}

func (s branch) emit(f *wasmbin.Function) {
	if s.mask == 0 {
		f.Br(s.depth)
		return
	}
	condition(f, s.local, s.mask)
	f.BrIf(s.depth)
}

func (s branch) run(m *machine) int {
	if s.mask == 0 {
		m.fuel++
		return s.depth
	}
	m.fuel += 4
	if m.locals[s.local]&int32(s.mask) != 0 {
		return s.depth
	}
	return next
}

type table struct {
	local  wasmbin.Local
	depths []uint32
}

func (s table) emit(f *wasmbin.Function) {
	condition(f, s.local, 3)
	f.BrTable(s.depths...)
}

func (s table) run(m *machine) int {
	m.fuel += 4
	i := min(int(m.locals[s.local]&3), len(s.depths)-1)
	return int(s.depths[i])
}

type result struct{}

func (result) emit(f *wasmbin.Function) { f.Get(0).Return() }

func (result) run(m *machine) int {
	m.fuel += 2
	return leave
}

const (
	i32And      = 0x71
	variables   = 4
	maxCounters = 24
)

// grower makes random programs. isLoop tells of each open block whether it is a loop, innermost last.
type grower struct {
	random   *rand.Rand
	counters int
	isLoop   []bool
}

func (g *grower) sequence(depth int) sequence {
	s := sequence{}
	for range 1 + g.random.IntN(4) {
		s = append(s, g.statement(depth))
	}
	return s
}

func (g *grower) inside(isLoop bool, depth int) sequence {
	g.isLoop = append(g.isLoop, isLoop)
	defer func() { g.isLoop = g.isLoop[:len(g.isLoop)-1] }()
	return g.sequence(depth)
}

// targets are the depths of the blocks around that are no loops.
func (g *grower) targets() []uint32 {
	var out []uint32
	for i, isLoop := range slices.Backward(g.isLoop) {
		if !isLoop {
			out = append(out, uint32(len(g.isLoop)-1-i))
		}
	}
	return out
}

func (g *grower) statement(depth int) statement {
	local := wasmbin.Local(g.random.IntN(variables))
	kind := g.random.IntN(10)
	if depth == 0 && kind >= 2 && kind <= 5 {
		kind = 0
	}
	targets := g.targets()
	switch kind {
	case 2:
		s := ifElse{local: local, then: g.inside(false, depth-1)}
		if g.random.IntN(2) == 0 {
			s.not = g.inside(false, depth-1)
		}
		return s
	case 3, 4:
		return block{g.inside(false, depth-1)}
	case 5:
		if g.counters < maxCounters {
			s := loop{counter: wasmbin.Local(variables + g.counters), times: 1 + g.random.IntN(3)}
			g.counters++
			s.body = g.inside(true, depth-1)
			return s
		}
	case 6, 7:
		if len(targets) > 0 {
			return branch{depth: int(targets[g.random.IntN(len(targets))]), local: local, mask: g.random.IntN(4)}
		}
	case 8:
		if len(targets) > 0 {
			g.random.Shuffle(len(targets), func(i, j int) { targets[i], targets[j] = targets[j], targets[i] })
			return table{local: local, depths: targets[:min(len(targets), 3)]}
		}
	case 9:
		if g.random.IntN(4) == 0 {
			return result{}
		}
	}
	return add{local, g.random.IntN(7) - 3}
}

// TestRandomPrograms compares result and fuel of metered random programs with the oracle.
func TestRandomPrograms(t *testing.T) {
	i32 := wasmbin.I32
	for seed := range uint64(300) {
		g := &grower{random: rand.New(rand.NewPCG(seed, 3))}
		program := g.sequence(5)
		var b wasmbin.Builder
		f := b.Function([]byte{i32, i32, i32, i32}, []byte{i32})
		f.Locals(i32, maxCounters)
		program.emit(f)
		f.Get(0)
		b.Export("run", f)
		module := load(t, inject(t, b.Bytes()))
		for range 4 {
			m := &machine{locals: make([]int32, variables+maxCounters), fuel: 2 + (variables+maxCounters)/8}
			args := make([]uint64, variables)
			for i := range args {
				m.locals[i] = g.random.Int32N(8)
				args[i] = uint64(m.locals[i])
			}
			if program.run(m) == next {
				m.fuel++ // the result at the end
			}
			const budget = 10_000_000
			fuelOf(module).Set(budget)
			out, err := module.ExportedFunction("run").Call(context.Background(), args...)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if used := budget - int64(fuelOf(module).Get()); int32(out[0]) != m.locals[0] || used != m.fuel {
				t.Fatalf("seed %d, %v: result %d for %d fuel, want %d for %d", seed, args, int32(out[0]), used, m.locals[0], m.fuel)
			}
		}
	}
}
