package emit

import (
	"encoding/binary"
	"math"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// The stream tables hold trees for walks that never wait for one another. Eight lanes have an equal share
// of the trees each, one after the other: the leaf of a tree leads on to the root of the lane's next tree.
//
// A node has 4 bytes: which answer it reads, in 16 bits, and the distance to its low child in 16; the high
// child follows the low one. Every step also stores where the walk is, beside the answer it reads. For most
// answers nobody looks at that. A leaf reads an answer of its tree's own, which is never granted, so that
// what is stored beside it afterwards is the leaf that the tree led to. The leaves' values lie in a table of
// the nodes' form, and are added in the order of the trees.
const (
	streamNode   = 4
	streamUnroll = 4 // steps between looking whether all walks have ended
	streamLanes  = 8
)

// stream is a forest in that form.
type stream struct {
	*treeForest
	a      *answers
	nodes  int // address
	values int // address of the leaves' values
	marks  int // address of the places where walks leave their leaves; one for each tree in the order of the sums
	own    int // offset in the row of answers of the first tree's own answer
	starts [streamLanes]int
}

// fits tells whether offsets fit their 16 bits.
func (s *stream) fits() bool {
	if s.a.size+4*(s.placeCount()+2) > math.MaxUint16 {
		return false
	}
	for i := range s.trees {
		if (len(s.trees[i].nodes)+2)*streamNode > math.MaxUint16 {
			return false
		}
	}
	return true
}

// placeCount is the number of marks: for each group a multiple of lanes.
func (s *stream) placeCount() int {
	n := 0
	for i := range s.groups {
		n += s.groups[i].count
	}
	return n
}

// expected is how many splits a walk through the tree meets if both answers are equally likely.
func (t *tree) expected() float64 {
	chance := make([]float64, len(t.nodes))
	chance[0] = 1
	sum := 0.0
	for i := range t.nodes {
		n := &t.nodes[i]
		if n.leaf != nil {
			continue
		}
		sum += chance[i]
		chance[n.low] += chance[i] / 2
		chance[n.low+1] += chance[i] / 2
	}
	return sum
}

// share gives each lane trees of about the same number of steps.
func (s *stream) share() (lists [streamLanes][]int) {
	weight, total := make([]float64, len(s.trees)), 0.0
	for i := range s.trees {
		weight[i] = s.trees[i].expected() + 1
		total += weight[i]
	}
	sum, lane := 0.0, 0
	for i := range s.trees {
		for lane < streamLanes-1 && sum+weight[i]/2 > total*float64(lane+1)/streamLanes {
			lane++
		}
		lists[lane] = append(lists[lane], i)
		sum += weight[i]
	}
	return lists
}

// build writes the tables.
func (s *stream) build() {
	b := &s.g.b
	place := make(map[*tree]int, len(s.trees)) // number of the tree's mark
	n := 0
	for i := range s.groups {
		g := &s.groups[i]
		g.roots = n
		for k, t := range g.trees {
			place[t] = n + k
		}
		n += g.count
	}
	s.own = s.a.size + 4 // what is stored beside the last answer reaches 3 bytes further
	s.a.reserve(4*(n+2), streamNode)
	s.marks = b.Reserve(s.own+4*(n+1), 64)
	lists := s.share()
	var nodes []byte
	size := 4
	if s.acc == ir.F64 {
		size = 8
	}
	var values []byte
	value := func(v float64) {
		if size == 4 {
			values = binary.LittleEndian.AppendUint32(values, math.Float32bits(float32(v)))
		} else {
			values = binary.LittleEndian.AppendUint64(values, math.Float64bits(v))
		}
	}
	put := func(answer, distance int) {
		nodes = binary.LittleEndian.AppendUint16(nodes, uint16(answer))
		nodes = binary.LittleEndian.AppendUint16(nodes, uint16(distance))
	}
	for lane, list := range lists {
		s.starts[lane] = len(nodes)
		for _, i := range list {
			t := &s.trees[i]
			end := len(nodes) + streamNode*len(t.nodes)
			own := s.own + 4*place[t]
			for j := range t.nodes {
				if x := &t.nodes[j]; x.leaf == nil {
					put(s.a.at[s.a.id(x.q)], streamNode*(int(x.low)-j))
					value(0)
				} else {
					put(own, end-len(nodes))
					value(s.step.Leaves[x.leaf.Leaf])
				}
			}
		}
		put(s.own+4*n, 0) // where walks end
		value(math.Copysign(0, -1))
	}
	s.nodes = b.Reserve(len(nodes), 64)
	b.Data(s.nodes, nodes)
	s.values = b.Reserve(len(values), 64)
	b.Data(s.values, values)
	// Places without a tree hold a leaf of -0: adding it changes no sum.
	marks := make([]byte, 4*(n+1))
	for i := range n {
		binary.LittleEndian.PutUint32(marks[4*i:], uint32(len(nodes)-streamNode))
	}
	b.Data(s.marks+s.own, marks)
}

// walk writes the function that leaves the marks of all trees, and returns its fuel.
func (s *stream) walk(f *wasmbin.Function) int64 {
	p, slot := f.Locals(wasmbin.I32, streamLanes), f.Local(wasmbin.I32)
	distance, moved := f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	for k := range p {
		f.I32(s.starts[k]).Set(p[k])
	}
	before := f.Fuel()
	f.Loop()
	for step := range streamUnroll {
		for k := range p {
			last := step == streamUnroll-1
			// The distance first: it has the higher offset, so its bounds check covers the node. So has the mark.
			f.Get(p[k]).Memory(opLoadU16, 1, s.nodes+2)
			f.Get(p[k]).Memory(opLoadU16, 1, s.nodes).Tee(slot)
			f.Get(p[k]).Memory(opI32Store, 0, s.marks)
			f.Get(slot).Memory(opLoadU8, 0, s.a.row).Op(opI32Add)
			if last {
				f.Tee(distance)
			}
			f.Get(p[k]).Op(opI32Add).Set(p[k])
			if !last {
				continue
			}
			f.Get(distance)
			if k > 0 {
				f.Get(moved).Op(opI32Or)
			}
			f.Set(moved)
		}
	}
	f.Get(moved).BrIf(0)
	f.End()
	round := f.Fuel() - before
	longest := 0
	for _, list := range s.share() {
		steps := 1
		for _, i := range list {
			steps += s.trees[i].depth + 1
		}
		longest = max(longest, steps)
	}
	return f.EntryFuel() + before + round*int64(longest/streamUnroll+1)
}

// sum writes the function that adds the leaves of a group, and returns its fuel.
func (s *stream) sum(f *wasmbin.Function, g *group) int64 {
	sum, at, end := f.Local(s.accType()), f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	first := s.marks + s.own + 4*g.roots
	s.constant(f, s.base[g.output])
	f.Set(sum)
	f.I32(first).Set(at).I32(first + 4*g.count).Set(end)
	before := f.Fuel()
	f.Loop()
	f.Get(at).Memory(opI32Load, 2, 4*(lanes-1)).Op(opDrop)
	for k := range lanes {
		f.Get(sum).Get(at).Memory(opI32Load, 2, 4*k)
		if s.acc == ir.F32 {
			f.Memory(opF32Load, 2, s.values)
		} else {
			f.I32(1).Op(opI32Shl).Memory(opF64Load, 3, s.values)
		}
		s.add(f).Set(sum)
	}
	f.Get(at).I32(4 * lanes).Op(opI32Add).Tee(at).Get(end).Op(opI32Ne).BrIf(0)
	f.End()
	round := f.Fuel() - before
	f.I32(s.target(0, g.output)).Get(sum)
	s.store(f, 0)
	return f.EntryFuel() + f.Fuel() + round*int64(g.count/lanes)
}
