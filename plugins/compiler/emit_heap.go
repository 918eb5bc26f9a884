package compiler

import (
	"encoding/binary"
	"math"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// heapTable holds every tree filled up to the same depth: node j of a tree has its children at 2j and
// 2j+1, so that no child needs to be stored and no walk needs to be ended. A tree begins with a free
// cell; node j lies at 8j: its key in 32 bits, its slot in 16. The leaves follow as 32-bit floats.
type heapTable struct {
	depth int
	size  int // bytes of a tree
	at    int
	trees int // a multiple of lanes
}

const maxHeapDepth = 8

// heapBytes is the size of the table for these trees.
func heapBytes(trees, depth int) int { return trees * (12 << depth) }

func (g *generator) heapTable() *heapTable {
	t := &heapTable{depth: max(1, g.e.depth()), trees: (len(g.e.trees) + lanes - 1) / lanes * lanes}
	t.size = heapBytes(1, t.depth)
	t.at = g.b.Reserve(t.trees*t.size, 64)
	content := make([]byte, t.trees*t.size)
	for i := range t.trees {
		cell := content[i*t.size : (i+1)*t.size]
		if i < len(g.e.trees) {
			g.fillHeap(cell, t.depth, g.e.trees[i].nodes, 0, 1)
			continue
		}
		// Adding -0 changes no sum, not even its sign.
		g.fillHeap(cell, t.depth, []node{{feature: -1, value: float32(math.Copysign(0, -1))}}, 0, 1)
	}
	g.b.Data(t.at, content)
	return t
}

// fillHeap writes node i of a tree at heap position j and everything below it.
func (g *generator) fillHeap(cell []byte, depth int, nodes []node, i int32, j int) {
	n := &nodes[i]
	if j >= 1<<depth {
		binary.LittleEndian.PutUint32(cell[8<<depth+4*(j-1<<depth):], math.Float32bits(n.value))
		return
	}
	left, right := i, i
	if !n.leaf() {
		left, right = n.left, n.left+1
		binary.LittleEndian.PutUint32(cell[8*j:], uint32(splitKey(n.value)))
		binary.LittleEndian.PutUint16(cell[8*j+4:], uint16(g.slot(n)))
	} // else slot 0, which is never greater: both ways lead to the same leaf
	g.fillHeap(cell, depth, nodes, left, 2*j)
	g.fillHeap(cell, depth, nodes, right, 2*j+1)
}

// compare pushes whether the row in lane goes right at the node at address a+offset.
func (g *generator) compare(f *wasmbin.Function, a wasmbin.Local, offset, lane int) {
	// The slot first: it has the higher offset, so its bounds check covers the key.
	f.Get(a).Memory(opLoadU16, 1, offset+4).Memory(opI32Load, 2, g.rows+lane*g.stride)
	f.Get(a).Memory(opI32Load, 2, offset).Op(opI32GtS)
}

// heapOne writes the function that sums all trees for the row in lane 0.
func (g *generator) heapOne(t *heapTable) *wasmbin.Function {
	f := g.b.Function(nil, []byte{wasmbin.F32})
	sum, at, end, cell := f.Local(wasmbin.F32), f.Local(wasmbin.I32), f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	j := f.Locals(wasmbin.I32, lanes) // eight times the heap position
	f.F32(g.e.base).Set(sum)
	f.I32(t.at).Set(at).I32(t.at + t.trees*t.size).Set(end)
	f.Loop()
	for k := lanes - 1; k >= 0; k-- {
		g.compare(f, at, k*t.size+8, 0)
		f.I32(3).Op(opI32Shl).I32(16).Op(opI32Add).Set(j[k])
	}
	for level := 1; level < t.depth; level++ {
		for k := range lanes {
			f.Get(at).Get(j[k]).Op(opI32Add).Set(cell)
			g.compare(f, cell, k*t.size, 0)
			f.I32(3).Op(opI32Shl).Get(j[k]).I32(1).Op(opI32Shl).Op(opI32Add).Set(j[k])
		}
	}
	for k := range lanes {
		f.Get(sum)
		f.Get(at).Get(j[k]).I32(1).Op(opI32ShrU).Op(opI32Add).Memory(opF32Load, 2, k*t.size+4<<t.depth)
		f.Op(opF32Add).Set(sum)
	}
	f.Get(at).I32(lanes * t.size).Op(opI32Add).Tee(at).Get(end).Op(opI32Ne).BrIf(0)
	f.End()
	f.Get(sum)
	g.cost.one = f.EntryFuel() + f.Fuel()*int64(t.trees/lanes)
	return f
}

// heapEight writes the function that sums all trees for eight rows and stores the sums.
func (g *generator) heapEight(t *heapTable) *wasmbin.Function {
	f := g.b.Function(nil, nil)
	at, end, cell := f.Local(wasmbin.I32), f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	slot, key := f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	j, sum := f.Locals(wasmbin.I32, lanes), f.Locals(wasmbin.F32, lanes)
	for k := range lanes {
		f.F32(g.e.base).Set(sum[k])
	}
	f.I32(t.at).Set(at).I32(t.at + len(g.e.trees)*t.size).Set(end)
	f.Loop()
	f.Get(at).Memory(opLoadU16, 1, 12).Set(slot)
	f.Get(at).Memory(opI32Load, 2, 8).Set(key)
	for k := lanes - 1; k >= 0; k-- {
		f.Get(slot).Memory(opI32Load, 2, g.rows+k*g.stride).Get(key).Op(opI32GtS)
		f.I32(3).Op(opI32Shl).I32(16).Op(opI32Add).Set(j[k])
	}
	for level := 1; level < t.depth; level++ {
		for k := range lanes {
			f.Get(at).Get(j[k]).Op(opI32Add).Set(cell)
			g.compare(f, cell, 0, k)
			f.I32(3).Op(opI32Shl).Get(j[k]).I32(1).Op(opI32Shl).Op(opI32Add).Set(j[k])
		}
	}
	for k := range lanes {
		f.Get(sum[k])
		f.Get(at).Get(j[k]).I32(1).Op(opI32ShrU).Op(opI32Add).Memory(opF32Load, 2, 4<<t.depth)
		f.Op(opF32Add).Set(sum[k])
	}
	f.Get(at).I32(t.size).Op(opI32Add).Tee(at).Get(end).Op(opI32Ne).BrIf(0)
	f.End()
	g.storeSums(f, sum)
	g.cost.eight = f.EntryFuel() + f.Fuel()*int64(len(g.e.trees))
	return f
}

// storeSums stores the margins of eight rows.
func (g *generator) storeSums(f *wasmbin.Function, sum []wasmbin.Local) {
	for k := range sum {
		f.I32(g.sums).Get(sum[k]).Memory(opF32Store, 2, 4*k)
	}
}
