package emit

import (
	"encoding/binary"
	"math"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// The plain tables hold the trees as they are. A narrow node has 8 bytes: its key in 32 bits, its slot
// in 16, and the distance to its low child in nodes in 16. A wide one has 16: key in 64, slot and
// distance in 32 each. A leaf has its value, or its value's address, for a key, the slot that is never
// greater, and distance 0, so that a walk that has ended stays where it is.

// nodeShift is the power of two that is the size of a node.
func (o *forest) nodeShift() int {
	if o.wide {
		return 4
	}
	return 3
}

// loopTables writes the nodes of all trees and, for each group, the addresses of the roots.
func (t *treeForest) loopTables() {
	b := &t.g.b
	size := (t.nodeCount() + 1) << t.nodeShift()
	at := b.Reserve(size, 64)
	content := make([]byte, 0, size)
	roots := make(map[*tree]int, len(t.trees))
	fill, address := t.leafAddresses()
	for i := range t.trees {
		roots[&t.trees[i]] = at + len(content)
		nodes := t.trees[i].nodes
		for j := range nodes {
			n := &nodes[j]
			if n.leaf == nil {
				content = t.appendNode(content, n.q.key, t.slot(n.q.slot), int(n.low)-j)
			} else {
				content = t.appendNode(content, t.leafKey(t.step.Leaves[n.leaf.Leaf], address(n)), 0, 0)
			}
		}
	}
	none := at + len(content)
	content = t.appendNode(content, t.leafKey(math.Copysign(0, -1), fill), 0, 0)
	b.Data(at, content)
	for i := range t.groups {
		g := &t.groups[i]
		list := make([]byte, 0, 4*g.count)
		for k := range g.count {
			root := none
			if k < len(g.trees) {
				root = roots[g.trees[k]]
			}
			list = binary.LittleEndian.AppendUint32(list, uint32(root))
		}
		g.roots = b.Reserve(len(list), 64)
		b.Data(g.roots, list)
	}
}

// leafKey is what a leaf has for a key.
func (t *treeForest) leafKey(value float64, address int) int64 {
	switch {
	case t.kind != leafInline:
		return int64(address)
	case t.wide:
		return int64(math.Float64bits(value))
	default:
		return int64(int32(math.Float32bits(float32(value))))
	}
}

func (o *forest) appendNode(content []byte, key int64, slot, distance int) []byte {
	if o.wide {
		content = binary.LittleEndian.AppendUint64(content, uint64(key))
		content = binary.LittleEndian.AppendUint32(content, uint32(slot))
		return binary.LittleEndian.AppendUint32(content, uint32(distance))
	}
	content = binary.LittleEndian.AppendUint32(content, uint32(int32(key)))
	content = binary.LittleEndian.AppendUint16(content, uint16(slot))
	return binary.LittleEndian.AppendUint16(content, uint16(distance))
}

// move moves the walk at p one node on and adds to moved how far.
func (t *treeForest) move(f *wasmbin.Function, p, moved, distance wasmbin.Local, lane int) {
	// The distance first: it has the highest offset, so its bounds check covers the node.
	if t.wide {
		f.Get(p).Memory(opI32Load, 2, 12)
	} else {
		f.Get(p).Memory(opLoadU16, 1, 6)
	}
	t.compare(f, p, 0, lane)
	f.Op(opI32Add).I32(t.nodeShift()).Op(opI32Shl).Tee(distance)
	f.Get(p).Op(opI32Add).Set(p)
	f.Get(moved).Get(distance).Op(opI32Or).Set(moved)
}

// addLeaf adds the value of the leaf at p to sum, or to the sums in the frame of lane 0.
func (t *treeForest) addLeaf(f *wasmbin.Function, p, sum wasmbin.Local, lane int) {
	switch t.kind {
	case leafInline:
		f.Get(sum)
		switch {
		case !t.wide:
			f.Get(p).Memory(opF32Load, 2, 0)
		case t.acc == ir.F32:
			f.Get(p).Memory(opF64Load, 3, 0).Op(opF32Demote)
		default:
			f.Get(p).Memory(opF64Load, 3, 0)
		}
		t.add(f).Set(sum)
	case leafIndexed:
		f.Get(sum).Get(p).Memory(opI32Load, 2, 0).Memory(opF64Load, 3, 0)
		t.add(f).Set(sum)
	case leafLinear:
		f.Get(sum).Get(p).Memory(opI32Load, 2, 0).I32(t.g.address(t.in)).Call(t.linear)
		t.add(f).Set(sum)
	}
}

// addVector adds the values of the leaf at p to the sums in the frame of lane 0; the fuel counts once.
func (t *treeForest) addVector(f *wasmbin.Function, p, k wasmbin.Local) {
	f.Get(p).Memory(opI32Load, 2, 0).Set(p)
	f.I32(0).Set(k)
	f.Loop()
	f.Get(k).Get(k).Memory(opF64Load, 3, t.target(0, 0))
	if t.acc == ir.F32 {
		f.Op(opF32Demote)
	}
	f.Get(p).Get(k).Op(opI32Add).Memory(opF64Load, 3, 0)
	if t.acc == ir.F32 {
		f.Op(opF32Demote)
	}
	t.add(f)
	t.store(f, t.target(0, 0))
	f.Get(k).I32(8).Op(opI32Add).Tee(k).I32(8 * t.outputs).Op(opI32Ne).BrIf(0)
	f.End()
}

// loopOne writes the function that sums a group for the row in lane 0, and returns its fuel.
func (t *treeForest) loopOne(f *wasmbin.Function, g *group) int64 {
	sum, at, end := f.Local(t.accType()), f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	moved, distance := f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	p := f.Locals(wasmbin.I32, lanes)
	t.constant(f, t.base[g.output])
	f.Set(sum)
	f.I32(g.roots).Set(at).I32(g.roots + 4*g.count).Set(end)
	f.Loop()
	for k := lanes - 1; k >= 0; k-- {
		f.Get(at).Memory(opI32Load, 2, 4*k).Set(p[k])
	}
	before := f.Fuel()
	f.Loop()
	f.I32(0).Set(moved)
	for k := range lanes {
		t.move(f, p[k], moved, distance, 0)
	}
	f.Get(moved).BrIf(0)
	f.End()
	walk := f.Fuel() - before
	before = f.Fuel()
	for k := range lanes {
		if t.kind == leafVector {
			t.addVector(f, p[k], moved)
		} else {
			t.addLeaf(f, p[k], sum, 0)
		}
	}
	add := f.Fuel() - before
	f.Get(at).I32(4 * lanes).Op(opI32Add).Tee(at).Get(end).Op(opI32Ne).BrIf(0)
	f.End()
	if t.kind != leafVector {
		f.I32(t.target(0, g.output)).Get(sum)
		t.store(f, 0)
	}
	cost := f.EntryFuel() + f.Fuel()*int64(g.count/lanes)
	switch t.kind {
	case leafVector:
		cost += add * int64(g.count/lanes) * int64(t.outputs)
	case leafLinear:
		cost += t.linearCost * int64(g.count)
	}
	for i := 0; i < len(g.trees); i += lanes {
		deepest := 0
		for j := i; j < min(i+lanes, len(g.trees)); j++ {
			deepest = max(deepest, g.trees[j].depth)
		}
		cost += walk * int64(deepest+1)
	}
	return cost
}

// loopEight writes the function that sums a group for eight rows, and returns its fuel.
func (t *treeForest) loopEight(f *wasmbin.Function, g *group) int64 {
	at, end, root := f.Local(wasmbin.I32), f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	moved, distance := f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	p, sum := f.Locals(wasmbin.I32, lanes), f.Locals(t.accType(), lanes)
	for k := range lanes {
		t.constant(f, t.base[g.output])
		f.Set(sum[k])
	}
	f.I32(g.roots).Set(at).I32(g.roots + 4*len(g.trees)).Set(end)
	f.Loop()
	f.Get(at).Memory(opI32Load, 2, 0).Set(root)
	for k := range lanes {
		f.Get(root).Set(p[k])
	}
	before := f.Fuel()
	f.Loop()
	f.I32(0).Set(moved)
	for k := range lanes {
		t.move(f, p[k], moved, distance, k)
	}
	f.Get(moved).BrIf(0)
	f.End()
	walk := f.Fuel() - before
	for k := range lanes {
		t.addLeaf(f, p[k], sum[k], k)
	}
	f.Get(at).I32(4).Op(opI32Add).Tee(at).Get(end).Op(opI32Ne).BrIf(0)
	f.End()
	t.storeSums(f, sum, g.output)
	cost := f.EntryFuel() + f.Fuel()*int64(len(g.trees))
	for _, tree := range g.trees {
		cost += walk * int64(tree.depth+1)
	}
	return cost
}

// storeSums stores the sums of eight rows in their frames.
func (o *forest) storeSums(f *wasmbin.Function, sum []wasmbin.Local, output int) {
	for k := range sum {
		f.I32(o.target(k, output)).Get(sum[k])
		o.store(f, 0)
	}
}
