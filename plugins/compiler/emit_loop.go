package compiler

import (
	"encoding/binary"
	"math"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// loopTable holds the trees as they are, 8 bytes a node: its key in 32 bits, its slot in 16, and the
// distance to its left child in nodes in 16. A leaf has its value for a key, the slot that is never
// greater, and distance 0, so that a walk that has ended stays where it is.
type loopTable struct {
	roots int // address of the addresses of the roots, a multiple of lanes
	count int
}

// loopBytes is the size of the table for that many nodes.
func loopBytes(nodes int) int { return 8 * (nodes + 1) }

func (g *generator) loopTable() *loopTable {
	t := &loopTable{count: (len(g.e.trees) + lanes - 1) / lanes * lanes}
	at := g.b.Reserve(loopBytes(g.e.nodes()), 64)
	content := make([]byte, 0, loopBytes(g.e.nodes()))
	roots := make([]byte, 0, 4*t.count)
	for i := range g.e.trees {
		roots = binary.LittleEndian.AppendUint32(roots, uint32(at+len(content)))
		nodes := g.e.trees[i].nodes
		for j := range nodes {
			content = g.appendNode(content, &nodes[j], int32(j))
		}
	}
	none := node{feature: -1, value: float32(math.Copysign(0, -1))} // adding -0 changes no sum
	for i := len(g.e.trees); i < t.count; i++ {
		roots = binary.LittleEndian.AppendUint32(roots, uint32(at+len(content)))
	}
	content = g.appendNode(content, &none, 0)
	g.b.Data(at, content)
	t.roots = g.b.Reserve(len(roots), 64)
	g.b.Data(t.roots, roots)
	return t
}

func (g *generator) appendNode(content []byte, n *node, index int32) []byte {
	if n.leaf() {
		content = binary.LittleEndian.AppendUint32(content, math.Float32bits(n.value))
		return append(content, 0, 0, 0, 0)
	}
	content = binary.LittleEndian.AppendUint32(content, uint32(splitKey(n.value)))
	content = binary.LittleEndian.AppendUint16(content, uint16(g.slot(n)))
	return binary.LittleEndian.AppendUint16(content, uint16(n.left-index))
}

// step moves the walk at p one node on and adds to moved how far.
func (g *generator) step(f *wasmbin.Function, p, moved, distance wasmbin.Local, lane int) {
	// The distance first: it has the highest offset, so its bounds check covers the node.
	f.Get(p).Memory(opLoadU16, 1, 6)
	g.compare(f, p, 0, lane)
	f.Op(opI32Add).I32(3).Op(opI32Shl).Tee(distance)
	f.Get(p).Op(opI32Add).Set(p)
	f.Get(moved).Get(distance).Op(opI32Or).Set(moved)
}

// loopOne writes the function that sums all trees for the row in lane 0.
func (g *generator) loopOne(t *loopTable) *wasmbin.Function {
	f := g.b.Function(nil, []byte{wasmbin.F32})
	sum, at, end := f.Local(wasmbin.F32), f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	moved, distance := f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	p := f.Locals(wasmbin.I32, lanes)
	f.F32(g.e.base).Set(sum)
	f.I32(t.roots).Set(at).I32(t.roots + 4*t.count).Set(end)
	f.Loop()
	for k := lanes - 1; k >= 0; k-- {
		f.Get(at).Memory(opI32Load, 2, 4*k).Set(p[k])
	}
	before := f.Fuel()
	f.Loop()
	f.I32(0).Set(moved)
	for k := range lanes {
		g.step(f, p[k], moved, distance, 0)
	}
	f.Get(moved).BrIf(0)
	f.End()
	walk := f.Fuel() - before
	for k := range lanes {
		f.Get(sum).Get(p[k]).Memory(opF32Load, 2, 0).Op(opF32Add).Set(sum)
	}
	f.Get(at).I32(4 * lanes).Op(opI32Add).Tee(at).Get(end).Op(opI32Ne).BrIf(0)
	f.End()
	f.Get(sum)
	g.cost.one = f.EntryFuel() + f.Fuel()*int64(t.count/lanes)
	for i := 0; i < len(g.e.trees); i += lanes {
		deepest := 0
		for j := i; j < min(i+lanes, len(g.e.trees)); j++ {
			deepest = max(deepest, g.e.trees[j].depth)
		}
		g.cost.one += walk * int64(deepest+1)
	}
	return f
}

// loopEight writes the function that sums all trees for eight rows and stores the sums.
func (g *generator) loopEight(t *loopTable) *wasmbin.Function {
	f := g.b.Function(nil, nil)
	at, end, root := f.Local(wasmbin.I32), f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	moved, distance := f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	p, sum := f.Locals(wasmbin.I32, lanes), f.Locals(wasmbin.F32, lanes)
	for k := range lanes {
		f.F32(g.e.base).Set(sum[k])
	}
	f.I32(t.roots).Set(at).I32(t.roots + 4*len(g.e.trees)).Set(end)
	f.Loop()
	f.Get(at).Memory(opI32Load, 2, 0).Set(root)
	for k := range lanes {
		f.Get(root).Set(p[k])
	}
	before := f.Fuel()
	f.Loop()
	f.I32(0).Set(moved)
	for k := range lanes {
		g.step(f, p[k], moved, distance, k)
	}
	f.Get(moved).BrIf(0)
	f.End()
	walk := f.Fuel() - before
	for k := range lanes {
		f.Get(sum[k]).Get(p[k]).Memory(opF32Load, 2, 0).Op(opF32Add).Set(sum[k])
	}
	f.Get(at).I32(4).Op(opI32Add).Tee(at).Get(end).Op(opI32Ne).BrIf(0)
	f.End()
	g.storeSums(f, sum)
	g.cost.eight = f.EntryFuel() + f.Fuel()*int64(len(g.e.trees))
	for i := range g.e.trees {
		g.cost.eight += walk * int64(g.e.trees[i].depth+1)
	}
	return f
}
