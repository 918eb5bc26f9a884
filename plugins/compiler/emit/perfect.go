package emit

import (
	"encoding/binary"
	"math"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// The perfect tables hold every tree filled up to the same depth, as the heap tables do, but name answers
// instead of keys: node j of a tree has 2 bytes at 2j and its children at 2j and 2j+1, so an answer is what
// it adds to the place of the low one. The leaves' values lie in a table of their own.
const perfectNode = 2

type perfect struct {
	*treeForest
	a     *answers
	depth int
	at    []int // of each group's nodes
	value []int // of each group's leaves
}

// valueShift is the power of two that is the size of a leaf's value.
func (o *forest) valueShift() int {
	if o.acc == ir.F32 {
		return 2
	}
	return 3
}

// fitsPerfect tells whether filling the trees up costs little enough memory.
func (t *treeForest) fitsPerfect() bool {
	depth := max(1, t.depth())
	if depth > maxHeapDepth {
		return false
	}
	size := len(t.trees) * (2 + 1<<t.valueShift()) << depth
	return size <= heapFreeBytes || size <= heapExcess*(streamNode+1<<t.valueShift())*(t.nodeCount()+1)
}

// build writes the tables.
func (s *perfect) build() {
	b := &s.g.b
	s.a.reserve(0, perfectNode)
	count := 0
	for i := range s.groups {
		s.at = append(s.at, count*perfectNode<<s.depth)
		s.value = append(s.value, count<<s.depth<<s.valueShift())
		count += s.groups[i].count
	}
	nodes := make([]byte, count*perfectNode<<s.depth)
	content := make([]byte, 0, count<<s.depth<<s.valueShift())
	for i := range s.groups {
		g := &s.groups[i]
		values := make([]float64, g.count<<s.depth)
		for k := range values {
			values[k] = math.Copysign(0, -1) // adding it changes no sum
		}
		for k, tree := range g.trees {
			s.fill(nodes[s.at[i]+k*perfectNode<<s.depth:], values[k<<s.depth:], tree.nodes, 0, 1)
		}
		for _, v := range values {
			if s.acc == ir.F32 {
				content = binary.LittleEndian.AppendUint32(content, math.Float32bits(float32(v)))
			} else {
				content = binary.LittleEndian.AppendUint64(content, math.Float64bits(v))
			}
		}
	}
	at, value := b.Reserve(len(nodes), 64), b.Reserve(len(content), 64)
	b.Data(at, nodes)
	b.Data(value, content)
	for i := range s.at {
		s.at[i] += at
		s.value[i] += value
	}
}

// fill writes node i of a tree at place j and everything below it.
func (s *perfect) fill(nodes []byte, values []float64, tree []node, i int32, j int) {
	n := &tree[i]
	if j >= 1<<s.depth {
		values[j-1<<s.depth] = s.step.Leaves[n.leaf.Leaf]
		return
	}
	low, high := i, i
	if n.leaf == nil {
		low, high = n.low, n.low+1
		binary.LittleEndian.PutUint16(nodes[2*j:], uint16(s.a.at[s.a.id(n.q)]))
	} // else any answer will do: both ways lead to the same leaf
	s.fill(nodes, values, tree, low, 2*j)
	s.fill(nodes, values, tree, high, 2*j+1)
}

// sum writes the function that sums group i for the row whose answers are there, and returns its fuel.
func (s *perfect) sum(f *wasmbin.Function, i int) int64 {
	g, shift := &s.groups[i], s.valueShift()
	sum, at, leaves, end := f.Local(s.accType()), f.Local(wasmbin.I32), f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	j := f.Locals(wasmbin.I32, lanes) // twice the place
	size := 2 << s.depth
	s.constant(f, s.base[g.output])
	f.Set(sum)
	f.I32(s.at[i]).Set(at).I32(s.at[i] + g.count*size).Set(end)
	before := f.Fuel()
	f.Loop()
	for k := lanes - 1; k >= 0; k-- {
		f.Get(at).Memory(opLoadU16, 1, k*size+2).Memory(opLoadU8, 0, s.a.row).I32(4).Op(opI32Add).Set(j[k])
	}
	for level := 1; level < s.depth; level++ {
		for k := range lanes {
			f.Get(at).Get(j[k]).Op(opI32Add).Memory(opLoadU16, 1, k*size).Memory(opLoadU8, 0, s.a.row)
			f.Get(j[k]).I32(1).Op(opI32Shl).Op(opI32Add).Set(j[k])
		}
	}
	for k := range lanes {
		f.Get(sum).Get(j[k]).I32(shift - 1).Op(opI32Shl).Get(leaves).Op(opI32Add)
		offset := s.value[i] + k<<s.depth<<shift - 1<<s.depth<<shift
		if s.acc == ir.F32 {
			f.Memory(opF32Load, 2, offset)
		} else {
			f.Memory(opF64Load, 3, offset)
		}
		s.add(f).Set(sum)
	}
	f.Get(leaves).I32(lanes << s.depth << shift).Op(opI32Add).Set(leaves)
	f.Get(at).I32(lanes * size).Op(opI32Add).Tee(at).Get(end).Op(opI32Ne).BrIf(0)
	f.End()
	round := f.Fuel() - before
	f.I32(s.target(0, g.output)).Get(sum)
	s.store(f, 0)
	return f.EntryFuel() + f.Fuel() + round*int64(g.count/lanes)
}
