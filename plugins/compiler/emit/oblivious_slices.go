package emit

import (
	"encoding/binary"
	"math"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// An oblivious tree in slices needs no thermometer: the answers of its levels are the bits of the leaf's
// number. Its entry has the address of the leaves in 32 bits and the answers in 16 each.

// maxSliceRuns bounds the runs of trees of equal depth, of all outputs together; beyond it all are filled
// up to the deepest.
const maxSliceRuns = 256

// sliceable tells whether all trees can be slices.
func (t *obliviousForest) sliceable() bool {
	for i := range t.step.Trees {
		if 1<<len(t.step.Trees[i].Splits) > sliceLeaves {
			return false
		}
	}
	return t.g.mode != modeKeys && t.g.mode != modePlain
}

// buildSlices writes the tables and the functions.
func (t *obliviousForest) buildSlices(questions []question) (*slices128, bool) {
	a := t.newAnswers(questions)
	if !t.sliceable() || len(a.at)+sliceOverrun > math.MaxUint16 {
		return nil, false
	}
	s := t.newSlices(a, 1)
	ids := make([]int, len(questions))
	for i, q := range questions {
		ids[i] = a.id(q)
	}
	depths := make([]int, len(t.step.Trees))
	runs, deepest := 0, 0
	for i := range depths {
		depths[i] = len(t.step.Trees[i].Splits)
		deepest = max(deepest, depths[i])
		if i == 0 || depths[i] != depths[i-1] {
			runs++
		}
	}
	if runs*t.outputs > maxSliceRuns {
		for i := range depths {
			depths[i] = deepest
		}
	}
	var functions [9][sliceHalves]*wasmbin.Function
	var costs [9][sliceHalves]int64
	var out []sliceRun
	for k := range t.outputs {
		for begin := 0; begin < len(depths); {
			depth, end := depths[begin], begin
			for end < len(depths) && depths[end] == depth {
				end++
			}
			if functions[depth][0] == nil {
				for h := range sliceHalves {
					functions[depth][h], costs[depth][h] = s.levelFunction(h+1, depth)
				}
			}
			r := sliceRun{output: k, trees: functions[depth]}
			r.list = t.sliceList(a, questions, ids, t.step.Trees[begin:end], depth, k)
			r.end = r.list + (end-begin)*obliviousEntry(depth)
			for h := range r.cost {
				r.cost[h] = costs[depth][h]*int64(end-begin) + 30
			}
			out = append(out, r)
			begin = end
		}
	}
	s.finish(out, a.tables())
	return s, true
}

// obliviousEntry is the size of an entry.
func obliviousEntry(depth int) int { return (4 + 2*depth + 3) &^ 3 }

// sliceList writes the entries and leaves of trees for output k.
func (t *obliviousForest) sliceList(a *answers, questions []question, ids []int, trees []ir.ObliviousTree, depth, k int) int {
	b := &t.g.b
	var list, leaves []byte
	size := 8
	if t.acc == ir.F32 {
		size = 4
	}
	leavesAt := b.Reserve(len(trees)*size<<depth, 64)
	for i := range trees {
		tree := &trees[i]
		list = binary.LittleEndian.AppendUint32(list, uint32(leavesAt+len(leaves)))
		flip := 0
		for level := range depth {
			id := len(a.at) + sliceOverrun // never written, so never granted
			if level < len(tree.Splits) {
				id = ids[tree.Splits[level]]
				if !questions[tree.Splits[level]].flip {
					flip |= 1 << level
				}
			}
			list = binary.LittleEndian.AppendUint16(list, uint16(id))
		}
		for len(list)%obliviousEntry(depth) != 0 {
			list = append(list, 0)
		}
		for leaf := range 1 << depth {
			v := math.Copysign(0, -1)
			if at := (leaf^flip)*t.outputs + k; at < len(tree.Leaves) {
				v = tree.Leaves[at]
			}
			if size == 4 {
				leaves = binary.LittleEndian.AppendUint32(leaves, math.Float32bits(float32(v)))
			} else {
				leaves = binary.LittleEndian.AppendUint64(leaves, math.Float64bits(v))
			}
		}
	}
	b.Data(leavesAt, leaves)
	at := b.Reserve(len(list), 64)
	b.Data(at, list)
	return at
}

// levelFunction writes (list, end, rows): adds trees of that depth. It returns the fuel of a tree.
func (s *slices128) levelFunction(halves, depth int) (*wasmbin.Function, int64) {
	f, l := s.treesFunction()
	before := f.Fuel()
	f.Loop()
	s.touch(f, l)
	f.Get(l.at).Memory(opI32Load, 2, 0).Set(l.leaves)
	for half := range halves {
		for level := range depth {
			f.Get(l.at).Memory(opLoadU16, 1, 4+2*level).I32(4).Op(opI32Shl)
			f.VectorMemory(vLoad, 4, s.planes+half*s.next).Set(l.code[level])
		}
		s.leafCode(f, l.code, depth, half, l.leaves, l.rows, l.zero, l.swap, l.mask)
	}
	f.Get(l.at).I32(obliviousEntry(depth)).Op(opI32Add).Tee(l.at).Get(l.end).Op(opI32Ne).BrIf(0).End()
	return f, f.Fuel() - before
}
