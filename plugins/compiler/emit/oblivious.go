package emit

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// obliviousForest is a forest of oblivious trees. Each tree is a row of entries, one for each level,
// and a table of leaves that the answers index: no answer waits for another.
//
// A narrow entry has 8 bytes: key and slot in 32 bits each; a wide one 16: key in 64 bits, slot in 32.
type obliviousForest struct {
	*forest
	step *ir.Oblivious
	runs []run
}

// run are neighbouring trees of equal depth.
type run struct {
	trees           []ir.ObliviousTree
	depth           int
	entries, leaves int // addresses
}

// maxRuns bounds the runs; beyond it all trees are filled up to the deepest.
const maxRuns = 24

func (g *generator) newOblivious(ref ir.Ref, s *ir.Oblivious) *obliviousForest {
	t := &obliviousForest{forest: g.newForest(ref, s.In, s.Row, s.Acc, s.Outputs, s.Base), step: s}
	t.layOut(t.questions)
	deepest := 0
	for i := range s.Trees {
		d := len(s.Trees[i].Splits)
		deepest = max(deepest, d)
		if n := len(t.runs); n > 0 && t.runs[n-1].depth == d {
			t.runs[n-1].trees = s.Trees[i-len(t.runs[n-1].trees) : i+1]
		} else {
			t.runs = append(t.runs, run{trees: s.Trees[i : i+1], depth: d})
		}
	}
	if len(t.runs) > maxRuns {
		t.runs = []run{{trees: s.Trees, depth: deepest}}
	}
	return t
}

func (t *obliviousForest) questions() []question {
	all := make([]question, len(t.step.Splits))
	for i := range t.step.Splits {
		all[i] = t.ask(&t.step.Splits[i])
	}
	return all
}

func (t *obliviousForest) entryBytes() int {
	if t.wide {
		return 16
	}
	return 8
}

func (t *obliviousForest) build() error {
	if err := t.expanders(); err != nil {
		return err
	}
	t.g.layout("oblivious")
	b := &t.g.b
	questions := t.questions()
	for i := range t.runs {
		t.tables(&t.runs[i], questions)
	}
	one := b.Function(nil, nil)
	t.walkers.one = one
	for k := range t.outputs {
		one.I32(t.target(0, k)).F64(t.base[k]).Memory(opF64Store, 3, 0)
	}
	cost := int64(0)
	for i := range t.runs {
		f := b.Function(nil, nil)
		cost += t.walk(f, &t.runs[i], 0, 1)
		one.Call(f)
	}
	t.walkers.oneCost = cost + one.EntryFuel() + one.Fuel()
	if t.g.sliced {
		s, ok := t.buildSlices(questions)
		if !ok {
			return errNoSlices
		}
		t.g.layout("slices128")
		t.walkers.slices = s
		e := &t.walkers.estimate
		e.row = costRank * float64(len(t.predicates))
		for i := range t.step.Trees {
			e.one += costLeaf + 16*float64(len(t.step.Trees[i].Splits))
			e.fixed += costCode + 8*float64(len(t.step.Trees[i].Splits))
			e.row += costSlice
		}
		return nil
	}
	if t.g.lanes == 1 || t.outputs > 1 {
		return nil
	}
	eight := b.Function(nil, nil)
	t.walkers.eight = eight
	t.g.layout("rows8")
	for lane := range lanes {
		eight.I32(t.target(lane, 0)).F64(t.base[0]).Memory(opF64Store, 3, 0)
	}
	cost = 0
	for i := range t.runs {
		f := b.Function(nil, nil)
		cost += t.walk(f, &t.runs[i], 0, lanes)
		eight.Call(f)
	}
	t.walkers.eight8 = cost + eight.EntryFuel() + eight.Fuel()
	return nil
}

// tables writes a run. The answer of an entry is whether the slot is greater; where the left side is
// the other one, the leaves change places.
func (t *obliviousForest) tables(r *run, questions []question) {
	var entries, leaves []byte
	for i := range r.trees {
		tree := &r.trees[i]
		flip := 0
		for level := range r.depth {
			key, slot := int64(0), 0 // the lowest key is never greater
			if level < len(tree.Splits) {
				q := questions[tree.Splits[level]]
				key, slot = q.key, t.slot(q.slot)
				if !q.flip {
					flip |= 1 << level
				}
			}
			if t.wide {
				entries = binary.LittleEndian.AppendUint64(entries, uint64(key))
				entries = binary.LittleEndian.AppendUint64(entries, uint64(slot))
			} else {
				entries = binary.LittleEndian.AppendUint32(entries, uint32(int32(key)))
				entries = binary.LittleEndian.AppendUint32(entries, uint32(slot))
			}
		}
		for leaf := range 1 << r.depth {
			from := leaf ^ flip
			for k := range t.outputs {
				v := math.Copysign(0, -1)
				if at := from*t.outputs + k; at < len(tree.Leaves) {
					v = tree.Leaves[at]
				}
				leaves = binary.LittleEndian.AppendUint64(leaves, math.Float64bits(v))
			}
		}
	}
	r.entries = t.g.b.Reserve(len(entries), 64)
	r.leaves = t.g.b.Reserve(len(leaves), 64)
	t.g.b.Data(r.entries, entries)
	t.g.b.Data(r.leaves, leaves)
}

// walk writes the function that adds a run to the sums of n lanes from first on, and returns its fuel.
func (t *obliviousForest) walk(f *wasmbin.Function, r *run, first, n int) int64 {
	at, end, leaf := f.Local(wasmbin.I32), f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	index, k := f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	sum := f.Locals(t.accType(), n)
	load := func(lane int) *wasmbin.Function {
		f.I32(t.target(lane, 0)).Memory(opF64Load, 3, 0)
		if t.acc == ir.F32 {
			f.Op(opF32Demote)
		}
		return f
	}
	vector := t.outputs > 1
	if !vector {
		for lane := range n {
			load(first + lane).Set(sum[lane])
		}
	}
	tree := r.depth * t.entryBytes()
	if r.depth == 0 {
		tree = 8 // nothing is read; the loop counts trees
	}
	shift := bits.TrailingZeros(8)
	f.I32(r.entries).Set(at).I32(r.entries + tree*len(r.trees)).Set(end).I32(r.leaves).Set(leaf)
	f.Loop()
	inner := int64(0)
	for lane := range n {
		f.I32(0)
		for level := range r.depth {
			t.entry(f, at, level*t.entryBytes(), first+lane)
			f.I32(level).Op(opI32Shl).Op(opI32Or)
		}
		if !vector {
			f.I32(shift).Op(opI32Shl).Get(leaf).Op(opI32Add).Set(index)
			f.Get(sum[lane]).Get(index).Memory(opF64Load, 3, 0)
			if t.acc == ir.F32 {
				f.Op(opF32Demote)
			}
			t.add(f).Set(sum[lane])
			continue
		}
		f.I32(8 * t.outputs).Op(opI32Mul).Get(leaf).Op(opI32Add).Set(index)
		f.I32(0).Set(k)
		before := f.Fuel()
		f.Loop()
		f.Get(k).Get(k).Memory(opF64Load, 3, t.target(0, 0))
		if t.acc == ir.F32 {
			f.Op(opF32Demote)
		}
		f.Get(index).Get(k).Op(opI32Add).Memory(opF64Load, 3, 0)
		if t.acc == ir.F32 {
			f.Op(opF32Demote)
		}
		t.add(f)
		t.store(f, t.target(0, 0))
		f.Get(k).I32(8).Op(opI32Add).Tee(k).I32(8 * t.outputs).Op(opI32Ne).BrIf(0)
		f.End()
		inner += (f.Fuel() - before) * int64(t.outputs)
	}
	f.Get(leaf).I32(8 * t.outputs << r.depth).Op(opI32Add).Set(leaf)
	f.Get(at).I32(tree).Op(opI32Add).Tee(at).Get(end).Op(opI32Ne).BrIf(0)
	f.End()
	if !vector {
		for lane := range n {
			f.I32(t.target(first+lane, 0)).Get(sum[lane])
			t.store(f, 0)
		}
	}
	return f.EntryFuel() + (f.Fuel()+inner)*int64(len(r.trees))
}

// entry pushes whether the slot of the entry at a+offset is greater than its key.
func (t *obliviousForest) entry(f *wasmbin.Function, a wasmbin.Local, offset, lane int) {
	at := t.rows + lane*t.stride
	if t.wide {
		f.Get(a).Memory(opI32Load, 2, offset+8).Memory(opI64Load, 0, at)
		f.Get(a).Memory(opI64Load, 3, offset).Op(opI64GtS)
		return
	}
	f.Get(a).Memory(opI32Load, 2, offset+4).Memory(opI32Load, 0, at)
	f.Get(a).Memory(opI32Load, 2, offset).Op(opI32GtS)
}
