package emit

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// lanes is how many trees, or rows, are walked in lockstep: one walk waits for memory, eight hide it.
const lanes = 8

const slotBytes = 16 // of the lowest key at the start of a lane

// forest is a step of trees on its way into the module. Rows are first expanded into keys: each lane
// has a slot that is always the lowest key, then for the subject and for the candidate the copies of
// their features that some node reads, then one byte for each predicate. A node names the slot that it
// compares, so a missing value costs nothing in the walk.
type forest struct {
	g        *generator
	ref      ir.Ref
	in       ir.Ref
	row, acc ir.Width
	outputs  int
	base     []float64
	wide     bool // keys of 64 bits

	sets     [][]int32
	setIDs   map[string]int32
	setOf    []int32 // from the step's sets to sets
	negative bool

	predicates []ir.Split
	known      map[ir.Split]int32
	byteOf     []int // offset of each predicate in a lane

	parts  []part // the subject, and the candidate if it has features
	stride int    // bytes from lane to lane
	rows   int    // address of lane 0

	walkers forestCode
}

// part is a range of features that are expanded together.
type part struct {
	first, count int
	used         [copyKinds][]bool // nil for a copy that no node reads
	offset       [copyKinds]int    // of the copy in the lane
	end          int
	expand       *wasmbin.Function // (source, lane)
	cost         int64
	answer       *wasmbin.Function // () -> (): from lane 0; nil when walks compare keys
	answerCost   int64
}

// forestCode are the functions of a forest.
type forestCode struct {
	one, eight      *wasmbin.Function // () -> (): from the lanes into the frames; eight may be nil
	oneCost, eight8 int64             // fuel; that of eight rows together
	slices          *slices128        // for many rows; nil when eight is not
	estimate        estimate
}

// estimate is about what a forest costs in machine instructions: a row walked alone, slices of up to 128
// rows, and each row of those.
type estimate struct{ one, fixed, row float64 }

func (o *forest) keyBytes() int {
	if o.wide {
		return 8
	}
	return 4
}

// setIndex is the index in o.sets of a set of the step.
func (o *forest) setIndex(set int32) int32 { return o.setOf[set] }

// intern makes equal sets one.
func (o *forest) intern(sets [][]int32) {
	o.setIDs = make(map[string]int32)
	for _, set := range sets {
		var text []byte
		for _, c := range set {
			text = binary.LittleEndian.AppendUint32(text, uint32(c))
		}
		id, ok := o.setIDs[string(text)]
		if !ok {
			id = int32(len(o.sets))
			o.setIDs[string(text)] = id
			o.sets = append(o.sets, set)
		}
		o.setOf = append(o.setOf, id)
	}
}

// predicate is the index of a predicate, which it adds when it is new.
func (o *forest) predicate(s ir.Split) int32 {
	if i, ok := o.known[s]; ok {
		return i
	}
	i := int32(len(o.predicates))
	o.known[s] = i
	o.predicates = append(o.predicates, s)
	return i
}

// newForest plans the lanes for questions.
func (g *generator) newForest(ref, in ir.Ref, row, acc ir.Width, outputs int, base []float64) *forest {
	o := &forest{g: g, ref: ref, in: in, row: row, acc: acc, outputs: outputs, base: base, wide: row == ir.F64,
		known: make(map[ir.Split]int32)}
	if len(base) == 0 {
		o.base = make([]float64, outputs)
	}
	return o
}

// mark notes which copies the questions read.
func (o *forest) mark(questions []question) {
	n := o.g.length(o.in)
	counts := [][2]int{{0, n}}
	if o.in == ir.Input && o.g.candidate > 0 {
		counts = [][2]int{{0, o.g.subject}, {o.g.subject, o.g.candidate}}
	}
	o.parts = nil
	for _, c := range counts {
		o.parts = append(o.parts, part{first: c[0], count: c[1]})
	}
	for _, q := range questions {
		if q.slot.kind == copyPredicate {
			continue
		}
		p := o.partOf(int(q.slot.feature))
		if p.used[q.slot.kind] == nil {
			p.used[q.slot.kind] = make([]bool, p.count+3)
		}
		p.used[q.slot.kind][int(q.slot.feature)-p.first] = true
	}
}

func (o *forest) partOf(feature int) *part {
	if last := &o.parts[len(o.parts)-1]; feature >= last.first {
		return last
	}
	return &o.parts[0]
}

// place lays out a lane and reserves eight, or one for a model without candidate features.
func (o *forest) place() {
	at := slotBytes
	o.byteOf = make([]int, len(o.predicates))
	order := make([]int, len(o.predicates)) // sets by feature, so that one copy answers all
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := &o.predicates[a], &o.predicates[b]
		return cmp.Or(cmp.Compare(x.Compare, y.Compare), cmp.Compare(x.Feature, y.Feature))
	})
	for i := range o.parts {
		p := &o.parts[i]
		for kind := range copyKinds {
			if p.used[kind] != nil {
				p.offset[kind] = at
				at += ((p.count+3)&^3*o.keyBytes() + 15) &^ 15
			}
		}
		for _, k := range order {
			if f := int(o.predicates[k].Feature); f >= p.first && f < p.first+p.count {
				o.byteOf[k] = at
				at++
			}
		}
		at = (at + 15) &^ 15
		p.end = at
	}
	o.stride = (at + 16 + 63) &^ 63
}

// reserve takes the memory of the lanes.
func (o *forest) reserve() {
	b := &o.g.b
	o.rows = b.Reserve(o.g.lanes*o.stride, 64)
	lowest := make([]byte, slotBytes)
	for i := o.keyBytes() - 1; i < slotBytes; i += o.keyBytes() {
		lowest[i] = 0x80
	}
	for lane := range o.g.lanes {
		b.Data(o.rows+lane*o.stride, lowest)
	}
}

// slot is the offset in a lane that a node compares.
func (o *forest) slot(s slot) int {
	if s.kind == copyPredicate {
		return o.byteOf[s.predicate] - (o.keyBytes() - 1) // the predicate is the key's greatest byte
	}
	p := o.partOf(int(s.feature))
	return p.offset[s.kind] + o.keyBytes()*(int(s.feature)-p.first)
}

// layOut marks and places, and widens the keys when a lane is too long for slots of 16 bits. ask must
// give the questions anew, as they depend on the width.
func (o *forest) layOut(ask func() []question) []question {
	for {
		o.predicates, o.known = nil, make(map[ir.Split]int32)
		questions := ask()
		o.mark(questions)
		o.place()
		if o.wide || o.stride <= math.MaxUint16 {
			o.reserve()
			return questions
		}
		o.wide = true
	}
}

// expanders writes the functions that turn the parts' features into keys.
func (o *forest) expanders() error {
	for i := range o.parts {
		p := &o.parts[i]
		f := o.g.b.Function([]byte{wasmbin.I32, wasmbin.I32}, nil)
		x := &expansion{o: o, p: p, f: f, source: f.Param(0), lane: f.Param(1), row: f.Local(wasmbin.V128), key: f.Local(wasmbin.V128), number: f.Local(wasmbin.V128)}
		p.expand = f
		// The predicates first: copies move source and lane.
		extra, err := o.predicateCode(x)
		if err != nil {
			return err
		}
		before := f.Fuel()
		times := x.copies()
		p.cost = f.EntryFuel() + extra + before + (f.Fuel()-before)*times
	}
	return nil
}

// prepare calls what the walk for one row needs of part i; source pushes the address of its features.
// It returns the fuel.
func (o *forest) prepare(f *wasmbin.Function, i int, source func()) int64 {
	p := &o.parts[i]
	source()
	f.I32(o.rows).Call(p.expand)
	if p.answer != nil {
		f.Call(p.answer)
	}
	return p.cost + p.answerCost + 10
}

// expansion holds the locals of an expander.
type expansion struct {
	o                *forest
	p                *part
	f                *wasmbin.Function
	source, lane     wasmbin.Local
	row, key, number wasmbin.Local
	missing          map[copyKind]wasmbin.Local
	limit            wasmbin.Local
}

// missingKey is the key of a missing value in a copy.
func missingKey(kind copyKind, wide bool) int64 {
	switch kind {
	case copyLow, copyZeroLow:
		if wide {
			return missingLow64
		}
		return missingLow32
	case copyHigh, copyZeroHigh:
		if wide {
			return missingHigh64
		}
		return missingHigh32
	default:
		return 0
	}
}

// copies writes the loop over the features and tells how often it runs.
func (x *expansion) copies() int64 {
	f, o := x.f, x.o
	x.missing = make(map[copyKind]wasmbin.Local)
	for kind := range copyKinds {
		if x.p.used[kind] == nil {
			continue
		}
		l := f.Local(wasmbin.V128)
		if key := missingKey(kind, o.wide); o.wide {
			f.I64(key).Vector(vSplatI64).Set(l)
		} else {
			f.I32(int(key)).Vector(vSplatI32).Set(l)
		}
		x.missing[kind] = l
		if kind == copyZeroLow || kind == copyZeroHigh {
			x.limit = f.Local(wasmbin.V128)
			if o.wide {
				f.F64(ir.ZeroThreshold).Vector(vSplatF64).Set(x.limit)
			} else {
				f.F32(float32(ir.ZeroThreshold)).Vector(vSplatF32).Set(x.limit)
			}
		}
	}
	if len(x.missing) == 0 {
		return 1
	}
	per := 16 / o.keyBytes() // features at once
	groups := (x.p.count + per - 1) / per
	const unrolled = 64
	if groups <= unrolled {
		// Backwards, so that the first access has the highest offset and its bounds check covers the rest.
		for q := groups - 1; q >= 0; q-- {
			x.group(q, per, false)
		}
		return 1
	}
	end := f.Local(wasmbin.I32)
	f.Get(x.source).I32(groups * per * 8).Op(opI32Add).Set(end)
	f.Loop()
	x.group(0, per, true)
	f.Get(x.lane).I32(16).Op(opI32Add).Set(x.lane)
	f.Get(x.source).I32(per * 8).Op(opI32Add).Tee(x.source).Get(end).Op(opI32Ne).BrIf(0)
	f.End()
	return int64(groups)
}

// group turns the q-th few features into keys, in the copies that are used, or in all.
func (x *expansion) group(q, per int, all bool) {
	f, o := x.f, x.o
	var kinds []copyKind
	for kind := range copyKinds {
		if used := x.p.used[kind]; used != nil && (all || slices.Contains(used[q*per:min(q*per+per, len(used))], true)) {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) == 0 {
		return
	}
	equal, greater, abs := byte(vEqF32), byte(vGtF32), byte(vAbsF32)
	if o.wide {
		equal, greater, abs = vEqF64, vGtF64, vAbsF64
		f.Get(x.source).VectorMemory(vLoad, 3, q*16)
		if o.row == ir.F32 {
			f.Vector(vDemoteF64).Vector(vPromoteF32)
		}
		f.Tee(x.row)
		f.Get(x.row).I32(63).Vector(vShrS64).I32(1).Vector(vShrU64).Vector(vXor).Set(x.key)
	} else {
		f.Get(x.source).VectorMemory(vLoad, 3, q*32+16).Vector(vDemoteF64).Set(x.key)
		f.Get(x.source).VectorMemory(vLoad, 3, q*32).Vector(vDemoteF64).Get(x.key)
		f.Shuffle([16]byte{0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23}).Tee(x.row)
		f.Get(x.row).I32(31).Vector(vShrS32).I32(1).Vector(vShrU32).Vector(vXor).Set(x.key)
	}
	slices.Reverse(kinds)
	for _, kind := range kinds {
		f.Get(x.lane).Get(x.key).Get(x.missing[kind])
		if kind == copyZeroLow || kind == copyZeroHigh {
			f.Get(x.row).Vector(abs).Get(x.limit).Vector(greater) // false for NaN
		} else {
			f.Get(x.row).Get(x.row).Vector(equal)
		}
		f.Vector(vBitselect).VectorMemory(vStore, 4, x.p.offset[kind]+q*16)
	}
}

// compare pushes whether the row in lane goes to the high child at the node at address a+offset.
func (o *forest) compare(f *wasmbin.Function, a wasmbin.Local, offset, lane int) {
	at := o.rows + lane*o.stride
	// The slot first: it has the higher offset, so its bounds check covers the key.
	if o.wide {
		f.Get(a).Memory(opI32Load, 2, offset+8).Memory(opI64Load, 0, at)
		f.Get(a).Memory(opI64Load, 3, offset).Op(opI64GtS)
		return
	}
	f.Get(a).Memory(opLoadU16, 1, offset+4).Memory(opI32Load, 0, at)
	f.Get(a).Memory(opI32Load, 2, offset).Op(opI32GtS)
}

// accType is the type of the sums.
func (o *forest) accType() byte {
	if o.acc == ir.F32 {
		return wasmbin.F32
	}
	return wasmbin.F64
}

// constant pushes v as a sum.
func (o *forest) constant(f *wasmbin.Function, v float64) {
	if o.acc == ir.F32 {
		f.F32(float32(v))
		return
	}
	f.F64(v)
}

// add adds the number on the stack, which is of the sums' type, to sum.
func (o *forest) add(f *wasmbin.Function) *wasmbin.Function {
	if o.acc == ir.F32 {
		return f.Op(opF32Add)
	}
	return f.Op(opF64Add)
}

// store pops a sum and stores it at the popped address.
func (o *forest) store(f *wasmbin.Function, offset int) {
	if o.acc == ir.F32 {
		f.Op(opF64Promote)
	}
	f.Memory(opF64Store, 3, offset)
}

// target is the address of output k of a lane's frame.
func (o *forest) target(lane, k int) int { return o.g.address(o.ref) + lane*o.g.frameBytes + 8*k }
