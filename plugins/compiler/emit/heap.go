package emit

import (
	"encoding/binary"
	"math"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// The heap tables hold every tree of a step filled up to the same depth: node j of a tree has its
// children at 2j and 2j+1, so that no child needs to be stored and no walk needs to be ended. A tree
// begins with a free cell; node j lies at 8j: its key in 32 bits, its slot in 16. The leaves follow as
// 32-bit floats.

// heapBytes is the size of the table for these trees.
func heapBytes(trees, depth int) int { return trees * (12 << depth) }

func (t *treeForest) heapTables() {
	depth := max(1, t.depth())
	size := heapBytes(1, depth)
	for i := range t.groups {
		g := &t.groups[i]
		if g.count == 0 {
			continue
		}
		g.roots = t.g.b.Reserve(g.count*size, 64)
		content := make([]byte, g.count*size)
		for k := range g.count {
			cell := content[k*size : (k+1)*size]
			if k < len(g.trees) {
				t.fillHeap(cell, depth, g.trees[k].nodes, 0, 1)
				continue
			}
			for j := range 1 << depth { // adding -0 changes no sum, not even its sign
				binary.LittleEndian.PutUint32(cell[8<<depth+4*j:], math.Float32bits(float32(math.Copysign(0, -1))))
			}
		}
		t.g.b.Data(g.roots, content)
	}
}

// fillHeap writes node i of a tree at heap position j and everything below it.
func (t *treeForest) fillHeap(cell []byte, depth int, nodes []node, i int32, j int) {
	n := &nodes[i]
	if j >= 1<<depth {
		binary.LittleEndian.PutUint32(cell[8<<depth+4*(j-1<<depth):], math.Float32bits(float32(t.step.Leaves[n.leaf.Leaf])))
		return
	}
	low, high := i, i
	if n.leaf == nil {
		low, high = n.low, n.low+1
		binary.LittleEndian.PutUint32(cell[8*j:], uint32(int32(n.q.key)))
		binary.LittleEndian.PutUint16(cell[8*j+4:], uint16(t.slot(n.q.slot)))
	} // else slot 0, which is never greater: both ways lead to the same leaf
	t.fillHeap(cell, depth, nodes, low, 2*j)
	t.fillHeap(cell, depth, nodes, high, 2*j+1)
}

// heapOne writes the function that sums a group for the row in lane 0, and returns its fuel.
func (t *treeForest) heapOne(f *wasmbin.Function, g *group) int64 {
	depth := max(1, t.depth())
	size := heapBytes(1, depth)
	sum, at, end, cell := f.Local(t.accType()), f.Local(wasmbin.I32), f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	j := f.Locals(wasmbin.I32, lanes) // eight times the heap position
	t.constant(f, t.base[g.output])
	f.Set(sum)
	f.I32(g.roots).Set(at).I32(g.roots + g.count*size).Set(end)
	f.Loop()
	for k := lanes - 1; k >= 0; k-- {
		t.compare(f, at, k*size+8, 0)
		f.I32(3).Op(opI32Shl).I32(16).Op(opI32Add).Set(j[k])
	}
	for level := 1; level < depth; level++ {
		for k := range lanes {
			f.Get(at).Get(j[k]).Op(opI32Add).Set(cell)
			t.compare(f, cell, k*size, 0)
			f.I32(3).Op(opI32Shl).Get(j[k]).I32(1).Op(opI32Shl).Op(opI32Add).Set(j[k])
		}
	}
	for k := range lanes {
		f.Get(sum)
		f.Get(at).Get(j[k]).I32(1).Op(opI32ShrU).Op(opI32Add).Memory(opF32Load, 2, k*size+4<<depth)
		t.add(f).Set(sum)
	}
	f.Get(at).I32(lanes * size).Op(opI32Add).Tee(at).Get(end).Op(opI32Ne).BrIf(0)
	f.End()
	f.I32(t.target(0, g.output)).Get(sum)
	t.store(f, 0)
	return f.EntryFuel() + f.Fuel()*int64(g.count/lanes)
}

// heapEight writes the function that sums a group for eight rows, and returns its fuel.
func (t *treeForest) heapEight(f *wasmbin.Function, g *group) int64 {
	depth := max(1, t.depth())
	size := heapBytes(1, depth)
	at, end, cell := f.Local(wasmbin.I32), f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	slot, key := f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	j, sum := f.Locals(wasmbin.I32, lanes), f.Locals(t.accType(), lanes)
	for k := range lanes {
		t.constant(f, t.base[g.output])
		f.Set(sum[k])
	}
	f.I32(g.roots).Set(at).I32(g.roots + len(g.trees)*size).Set(end)
	f.Loop()
	f.Get(at).Memory(opLoadU16, 1, 12).Set(slot)
	f.Get(at).Memory(opI32Load, 2, 8).Set(key)
	for k := lanes - 1; k >= 0; k-- {
		f.Get(slot).Memory(opI32Load, 0, t.rows+k*t.stride).Get(key).Op(opI32GtS)
		f.I32(3).Op(opI32Shl).I32(16).Op(opI32Add).Set(j[k])
	}
	for level := 1; level < depth; level++ {
		for k := range lanes {
			f.Get(at).Get(j[k]).Op(opI32Add).Set(cell)
			t.compare(f, cell, 0, k)
			f.I32(3).Op(opI32Shl).Get(j[k]).I32(1).Op(opI32Shl).Op(opI32Add).Set(j[k])
		}
	}
	for k := range lanes {
		f.Get(sum[k])
		f.Get(at).Get(j[k]).I32(1).Op(opI32ShrU).Op(opI32Add).Memory(opF32Load, 2, 4<<depth)
		t.add(f).Set(sum[k])
	}
	f.Get(at).I32(size).Op(opI32Add).Tee(at).Get(end).Op(opI32Ne).BrIf(0)
	f.End()
	t.storeSums(f, sum, g.output)
	return f.EntryFuel() + f.Fuel()*int64(len(g.trees))
}
