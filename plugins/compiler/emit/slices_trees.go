package emit

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// buildSlices writes the tables of trees and the functions.
func (t *treeForest) buildSlices(a *answers, tables []int) *slices128 {
	most := 1
	for i := range t.trees {
		most = max(most, t.trees[i].leaves())
	}
	s := t.newSlices(a, slotFirst+max(1, most-1))
	b := &t.g.b
	for half := range sliceHalves {
		ones := make([]byte, 16)
		for i := range ones {
			ones[i] = 0xff
		}
		b.Data(s.meter+half*s.nextOf+16*slotOnes, ones)
	}
	count := bits.Len(uint(most - 1))
	var trees [sliceHalves]*wasmbin.Function
	var perNode, perTree [sliceHalves]int64
	for i := range trees {
		trees[i], perNode[i], perTree[i] = s.meterFunction(i+1, most, count)
	}
	var nodes, list []byte
	var runs []sliceRun
	var ends []int
	var leafAt []int
	var leaves []byte
	for i := range t.groups {
		g := &t.groups[i]
		dirty := max(1, most-1) // what came before may have left anything
		r := sliceRun{output: g.output, list: len(ends), trees: trees}
		from := len(nodes)
		for _, tree := range g.trees {
			n := tree.leaves()
			leafAt = append(leafAt, len(leaves))
			nodes, leaves = t.sliceTree(a, tree, nodes, leaves, n, dirty)
			dirty = max(1, n-1)
			ends = append(ends, len(nodes))
		}
		r.end = len(ends)
		for h := range r.cost {
			r.cost[h] = perNode[h]*int64((len(nodes)-from)/sliceNode) + perTree[h]*int64(len(g.trees)) + 30
		}
		runs = append(runs, r)
	}
	nodesAt, leavesAt := b.Reserve(len(nodes), 64), b.Reserve(len(leaves), 64)
	b.Data(nodesAt, nodes)
	b.Data(leavesAt, leaves)
	begin := 0
	for i, end := range ends {
		list = binary.LittleEndian.AppendUint32(list, uint32(nodesAt+begin))
		list = binary.LittleEndian.AppendUint32(list, uint32(nodesAt+end))
		list = binary.LittleEndian.AppendUint32(list, uint32(leavesAt+leafAt[i]))
		begin = end
	}
	listAt := b.Reserve(len(list), 64)
	b.Data(listAt, list)
	for i := range runs {
		runs[i].list, runs[i].end = listAt+sliceTree*runs[i].list, listAt+sliceTree*runs[i].end
	}
	s.finish(runs, tables)
	return s
}

// leaves is the number of leaves.
func (t *tree) leaves() int { return (len(t.nodes) + 1) / 2 }

// sliceTree appends the nodes of a tree, a multiple of sliceUnroll, and clears the slots up to dirty that it does not
// write itself; and its leaves in the order of their codes.
func (t *treeForest) sliceTree(a *answers, tree *tree, nodes, leaves []byte, n, dirty int) ([]byte, []byte) {
	below := make([]int, len(tree.nodes)) // leaves under a node
	for i := len(tree.nodes) - 1; i >= 0; i-- {
		if x := &tree.nodes[i]; x.leaf != nil {
			below[i] = 1
		} else {
			below[i] = below[x.low] + below[x.low+1]
		}
	}
	slot := func(boundary int) int {
		switch boundary {
		case -1:
			return slotOnes
		case n - 1:
			return slotZeros
		}
		return slotFirst + boundary
	}
	put := func(answer, lo, hi, own int) {
		for _, v := range [...]int{answer, 16 * lo, 16 * hi, 16 * own} {
			nodes = binary.LittleEndian.AppendUint16(nodes, uint16(v))
		}
	}
	begin := len(nodes)
	first := make([]int, len(tree.nodes)) // leaf under a node
	values := make([]float64, 1<<bits.Len(uint(n-1)))
	for i := range tree.nodes {
		x := &tree.nodes[i]
		if x.leaf != nil {
			values[first[i]^first[i]>>1] = t.step.Leaves[x.leaf.Leaf]
			continue
		}
		first[x.low], first[x.low+1] = first[i], first[i]+below[x.low]
		put(a.id(x.q), slot(first[i]-1), slot(first[i]+below[i]-1), slot(first[i]+below[x.low]-1))
	}
	for i := n - 1; i < dirty; i++ {
		put(0, slotZeros, slotZeros, slotFirst+i)
	}
	for (len(nodes)-begin)/sliceNode%sliceUnroll != 0 {
		put(0, slotZeros, slotZeros, slotZeros)
	}
	for _, v := range values {
		if t.acc == ir.F32 {
			leaves = binary.LittleEndian.AppendUint32(leaves, math.Float32bits(float32(v)))
		} else {
			leaves = binary.LittleEndian.AppendUint64(leaves, math.Float64bits(v))
		}
	}
	return nodes, leaves
}

// meterFunction writes (list, end, rows): adds trees of up to so many leaves. It returns the fuel of
// a node and that of the rest of a tree.
func (s *slices128) meterFunction(halves, most, count int) (*wasmbin.Function, int64, int64) {
	f, l := s.treesFunction()
	last := f.Local(wasmbin.I32)
	answer, lo, hi, own := f.Local(wasmbin.I32), f.Local(wasmbin.I32), f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	outer := f.Fuel()
	f.Loop()
	s.touch(f, l)
	f.Get(l.at).Memory(opI32Load, 2, 8).Set(l.leaves).Get(l.at).Memory(opI32Load, 2, 4).Set(last)
	f.Get(l.at).Memory(opI32Load, 2, 0).Set(l.node)
	inner := f.Fuel()
	f.Loop()
	f.Get(l.node).Memory(opI32Load, 0, sliceUnroll*sliceNode-4).Op(opDrop)
	for k := range sliceUnroll {
		f.Get(l.node).Memory(opLoadU16, 1, k*sliceNode).I32(4).Op(opI32Shl).Set(answer)
		f.Get(l.node).Memory(opLoadU16, 1, k*sliceNode+2).Set(lo)
		f.Get(l.node).Memory(opLoadU16, 1, k*sliceNode+4).Set(hi)
		f.Get(l.node).Memory(opLoadU16, 1, k*sliceNode+6).Set(own)
		for half := halves - 1; half >= 0; half-- {
			at := s.meter + half*s.nextOf
			f.Get(own)
			f.Get(lo).VectorMemory(vLoad, 4, at).Get(answer).VectorMemory(vLoad, 4, s.planes+half*s.next).Vector(vAnd)
			f.Get(hi).VectorMemory(vLoad, 4, at).Vector(vOr).VectorMemory(vStore, 4, at)
		}
	}
	f.Get(l.node).I32(sliceUnroll * sliceNode).Op(opI32Add).Tee(l.node).Get(last).Op(opI32Ne).BrIf(0).End()
	perNode := (f.Fuel() - inner + sliceUnroll - 1) / sliceUnroll
	for half := range halves {
		at := s.meter + half*s.nextOf + 16*slotFirst
		for bit := range count {
			first := true
			for boundary := 1<<bit - 1; boundary < most-1; boundary += 2 << bit {
				f.Get(l.zero).VectorMemory(vLoad, 4, at+16*boundary)
				if !first {
					f.Vector(vXor)
				}
				first = false
			}
			f.Set(l.code[bit])
		}
		s.leafCode(f, l.code, count, half, l.leaves, l.rows, l.zero, l.swap, l.mask)
	}
	f.Get(l.at).I32(sliceTree).Op(opI32Add).Tee(l.at).Get(l.end).Op(opI32Ne).BrIf(0).End()
	return f, perNode, f.Fuel() - outer
}
