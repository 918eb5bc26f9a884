package emit

import (
	"encoding/binary"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// Many rows are scored in slices: a vector holds one answer of 128 rows, a bit each, so that one operation
// does a node for all of them.
//
// The leaves of a tree are numbered from low to high, and the split between leaf i and the next one is
// boundary i. Whether a row's leaf lies beyond boundary i is the thermometer's bit i. With lo and hi the
// nearest boundaries outside a node's own leaves, its bit is hi | lo & answer: beyond hi it is set anyway,
// below lo it cannot be. Boundary i changes one bit of a Gray code, bit tz(i+1), so each bit of the code of
// a row's leaf is the xor of every so many bits of the thermometer. The codes are transposed to bytes, which
// index the tree's leaves.
const (
	sliceRows    = 128
	sliceHalves  = maxRows / sliceRows
	sliceLeaves  = 256 // of a tree, so that a code fits a byte
	sliceOverrun = 8   // answers that are written at a time
	sliceUnroll  = 8   // nodes in one iteration
	sliceNode    = 8   // answer, slots of lo and hi, slot of the node; 16 bits each
	sliceTree    = 12  // the nodes, their end, and the leaves; 32 bits each
	slotOnes     = 0   // slots of the thermometer, in vectors
	slotZeros    = 1
	slotFirst    = 2
)

// slices is a forest in that form.
type slices128 struct {
	o       *forest
	a       *answers
	columns int // address of the ranks of a block of rows, a column of maxRows bytes for each scale and predicate
	planes  int // address of the answers of the first 128 rows
	next    int // how much further those of the others are
	meter   int // address of the thermometer of the first 128 rows, or of the codes
	nextOf  int // how much further that of the others is
	sums    int // address of the sums of a block

	rank     [2]*wasmbin.Function // by part: (row): ranks of the row in lane 0
	rankCost [2]int64
	subject  *wasmbin.Function // (rows): the answers of the subject's part; nil when there is none
	run      *wasmbin.Function // (rows): from ranks to frames

	subjectCost, runCost [sliceHalves]int64 // by number of halves - 1
}

// newSlices reserves the memory of a forest's slices.
func (o *forest) newSlices(a *answers, slots int) *slices128 {
	s := &slices128{o: o, a: a}
	b := &o.g.b
	predicates := 0
	for _, r := range a.ranges {
		predicates += r.predicates
	}
	s.columns = b.Reserve((len(a.scales)+predicates)*rankStride+16, 64)
	s.next = (len(a.at)*16 + 256 + 63) &^ 63 // with what planeCode overruns, and one never written
	s.planes = b.Reserve(sliceHalves*s.next, 64)
	s.nextOf = (slots*16 + 63) &^ 63
	s.meter = b.Reserve(sliceHalves*s.nextOf, 64)
	s.sums = b.Reserve(maxRows*8, 64)
	return s
}

// column is the address of the ranks on a scale, or after those of the scales of a predicate.
func (s *slices128) column(i int) int { return s.columns + i*rankStride }

// predicateColumn is the column of the first predicate of a part.
func (s *slices128) predicateColumn(part int) int {
	n := len(s.a.scales)
	for i := range part {
		n += s.a.ranges[i].predicates
	}
	return n
}

// ranks are kept less 128, as signed bytes compare at once and unsigned ones do not.
const rankBias = 0x80

// rankFunction writes (row): the ranks of the row in lane 0 into the columns of a part.
func (s *slices128) rankFunction(part int, tables []int) {
	f := s.o.g.b.Function([]byte{wasmbin.I32}, nil)
	row := f.Param(0)
	cost := s.a.search(f, part, tables, s.column, func(_ int, rank, to wasmbin.Local) {
		f.Get(to).Get(row).Op(opI32Add).Get(rank).I32(rankBias).Op(opI32Xor).Memory(opStore8, 0, 0)
	})
	if r := s.a.ranges[part]; r.predicates > 0 {
		at := f.Local(wasmbin.I32)
		f.I32(0).Set(at)
		before := f.Fuel()
		f.Loop()
		f.Get(row).Get(at).Memory(opLoadU8, 0, s.o.rows+r.lane).I32(rankBias).Op(opI32Xor)
		f.Memory(opStore8, 0, s.column(s.predicateColumn(part)))
		f.Get(row).I32(rankStride).Op(opI32Add).Set(row)
		f.Get(at).I32(1).Op(opI32Add).Tee(at).I32(r.predicates).Op(opI32Ne).BrIf(0).End()
		cost += (f.Fuel() - before) * int64(r.predicates)
	}
	s.rank[part], s.rankCost[part] = f, cost+f.EntryFuel()+f.Fuel()
}

// planeList is the list of the columns of a part: address of the column, of the first answer and their end.
func (s *slices128) planeList(part int) (address, n, answers int) {
	r := s.a.ranges[part]
	var list []byte
	put := func(column, id, count int) {
		list = binary.LittleEndian.AppendUint32(list, uint32(column))
		list = binary.LittleEndian.AppendUint32(list, uint32(s.planes+16*id))
		list = binary.LittleEndian.AppendUint32(list, uint32(s.planes+16*(id+count)))
	}
	for i := r.scales; i < r.scaleEnd; i++ {
		put(s.column(i), s.a.scales[i].id, len(s.a.scales[i].keys))
	}
	first := r.end - r.predicates
	for i := range r.predicates {
		put(s.column(s.predicateColumn(part)+i), first+i, 1)
	}
	address = s.o.g.b.Reserve(len(list), 16)
	s.o.g.b.Data(address, list)
	return address, len(list) / scaleBytes, r.end - r.id
}

// planeCode writes what turns the ranks of a part into answers, for so many halves; same tells that all
// rows have the rank of row 0. It returns the fuel.
func (s *slices128) planeCode(f *wasmbin.Function, part, halves int, same bool) int64 {
	address, n, count := s.planeList(part)
	if n == 0 {
		return 0
	}
	at, p, end, column := f.Local(wasmbin.I32), f.Local(wasmbin.I32), f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	below, one := f.Local(wasmbin.V128), f.Local(wasmbin.V128)
	v := f.Locals(wasmbin.V128, sliceRows/16)
	f.I32(1).Vector(vSplatI8).Set(one)
	cost := int64(0)
	for half := range halves {
		if same && half > 0 {
			break
		}
		f.I32(address).Set(at)
		outer := f.Fuel()
		f.Loop()
		f.Get(at).Memory(opI32Load, 2, 8).Set(end).Get(at).Memory(opI32Load, 2, 4).Set(p)
		f.Get(at).Memory(opI32Load, 2, 0)
		if same {
			f.VectorMemory(vLoad8All, 0, 0).Set(v[0])
		} else {
			f.Set(column)
			for q := len(v) - 1; q >= 0; q-- {
				f.Get(column).VectorMemory(vLoad, 0, half*sliceRows+16*q).Set(v[q])
			}
		}
		f.I32(-rankBias).Vector(vSplatI8).Set(below)
		inner := f.Fuel()
		f.Loop()
		// Several answers at a time: the last may be those of the next columns, which are written later.
		unroll := 2
		if same {
			unroll = sliceOverrun
		}
		for k := range unroll {
			if same {
				for h := halves - 1; h >= 0; h-- {
					f.Get(p).Get(v[0]).Get(below).Vector(vGtI8).VectorMemory(vStore, 0, h*s.next+16*k)
				}
			} else {
				for q := len(v) - 1; q >= 0; q-- {
					f.Get(p).Get(v[q]).Get(below).Vector(vGtI8).Vector(vMaskI8).Memory(opStore16, 0, half*s.next+16*k+2*q)
				}
			}
			f.Get(below).Get(one).Vector(vAddI8).Set(below)
		}
		f.Get(p).I32(16 * unroll).Op(opI32Add).Tee(p).Get(end).Op(opI32LtU).BrIf(0).End()
		cost += (f.Fuel() - inner) * int64(count/unroll+n)
		f.Get(at).I32(scaleBytes).Op(opI32Add).Tee(at).I32(address + scaleBytes*n).Op(opI32Ne).BrIf(0).End()
		cost += (f.Fuel() - outer) * int64(n)
	}
	return cost
}

// leafCode writes how the leaf codes of 128 rows, in eight vectors of a bit each of which the first
// count are not 0, lead to values that are added to the sums. leaves holds the address of the tree's values,
// zero 0.
func (s *slices128) leafCode(f *wasmbin.Function, code []wasmbin.Local, count, half int, leaves, rows, zero, swap wasmbin.Local, mask [3]wasmbin.Local) {
	// Transpose: afterwards byte b of vector m is the code of row 8b+m.
	nonzero := [8]bool{}
	for i := range count {
		nonzero[i] = true
	}
	for round, n := range [...]int{4, 2, 1} {
		for i := range 8 {
			if i&n != 0 || !nonzero[i] && !nonzero[i+n] {
				continue
			}
			a, b := code[i], code[i+n]
			if nonzero[i] {
				f.Get(a).I32(n).Vector(vShrU64)
				if nonzero[i+n] {
					f.Get(b).Vector(vXor)
				}
			} else {
				f.Get(b)
			}
			f.Get(mask[round]).Vector(vAnd).Set(swap)
			if nonzero[i+n] {
				f.Get(b).Get(swap).Vector(vXor).Set(b)
			} else {
				f.Get(swap).Set(b)
			}
			f.Get(swap).I32(n).Vector(vShlI64)
			if nonzero[i] {
				f.Get(a).Vector(vXor)
			}
			f.Set(a)
			nonzero[i], nonzero[i+n] = true, true
		}
	}
	size, shift := 8, 3
	if s.o.acc == ir.F32 {
		size, shift = 4, 2
	}
	f.Block()
	for b := range sliceRows / 8 {
		if b > 0 {
			f.Get(rows).I32(half*sliceRows + 8*b).Op(opI32LeU).BrIf(0)
		}
		for m := 7; m >= 0; m-- {
			sum := s.sums + size*(half*sliceRows+8*b+m)
			f.Get(zero).Get(zero)
			if size == 4 {
				f.Memory(opF32Load, 2, sum)
			} else {
				f.Memory(opF64Load, 3, sum)
			}
			if count == 0 {
				f.Get(leaves)
			} else {
				f.Get(code[m]).VectorLane(vLaneU8, b).I32(shift).Op(opI32Shl).Get(leaves).Op(opI32Add)
			}
			if size == 4 {
				f.Memory(opF32Load, 2, 0).Op(opF32Add).Memory(opF32Store, 2, sum)
			} else {
				f.Memory(opF64Load, 3, 0).Op(opF64Add).Memory(opF64Store, 3, sum)
			}
		}
	}
	f.End()
}

// sliceLocals are the locals of a function that adds trees.
type sliceLocals struct {
	at, end, rows, node, leaves, zero, swap wasmbin.Local
	mask                                    [3]wasmbin.Local
	code                                    []wasmbin.Local
}

// treesFunction begins a function (list, end, rows) that adds the trees of a list.
func (s *slices128) treesFunction() (*wasmbin.Function, *sliceLocals) {
	i32 := wasmbin.I32
	f := s.o.g.b.Function([]byte{i32, i32, i32}, nil)
	l := &sliceLocals{at: f.Param(0), end: f.Param(1), rows: f.Param(2), node: f.Local(i32), leaves: f.Local(i32), zero: f.Local(i32),
		swap: f.Local(wasmbin.V128), code: f.Locals(wasmbin.V128, 8)}
	for i, m := range [...]int{0x0f, 0x33, 0x55} {
		l.mask[i] = f.Local(wasmbin.V128)
		f.I32(m).Vector(vSplatI8).Set(l.mask[i])
	}
	return f, l
}

// touch reads the last of what lies at fixed addresses: its bounds check covers the others.
func (s *slices128) touch(f *wasmbin.Function, l *sliceLocals) {
	f.Get(l.zero).Memory(opF64Load, 3, s.sums+8*(maxRows-1)).Op(opDrop)
}

// spread writes (value as the sums are): the sums of a block begin with it.
func (s *slices128) spread() (*wasmbin.Function, int64) {
	f := s.o.g.b.Function([]byte{wasmbin.I32, s.o.accType()}, nil)
	at := f.Local(wasmbin.I32)
	f.Get(f.Param(0)).Set(at)
	before := f.Fuel()
	f.Loop()
	f.Get(at).I32(1).Op(opI32Sub).Tee(at)
	if s.o.acc == ir.F32 {
		f.I32(2).Op(opI32Shl).Get(f.Param(1)).Memory(opF32Store, 2, s.sums)
	} else {
		f.I32(3).Op(opI32Shl).Get(f.Param(1)).Memory(opF64Store, 3, s.sums)
	}
	f.Get(at).BrIf(0).End()
	return f, f.EntryFuel() + f.Fuel() + (f.Fuel()-before)*maxRows
}

// gather writes (rows, target): the sums of a block go to the frames.
func (s *slices128) gather() (*wasmbin.Function, int64) {
	f := s.o.g.b.Function([]byte{wasmbin.I32, wasmbin.I32}, nil)
	at, end := f.Local(wasmbin.I32), f.Local(wasmbin.I32)
	shift := 3
	if s.o.acc == ir.F32 {
		shift = 2
	}
	f.Get(f.Param(0)).I32(shift).Op(opI32Shl).Set(end)
	before := f.Fuel()
	f.Loop()
	f.Get(f.Param(1)).Get(at)
	if s.o.acc == ir.F32 {
		f.Memory(opF32Load, 2, s.sums)
	} else {
		f.Memory(opF64Load, 3, s.sums)
	}
	s.o.store(f, 0)
	f.Get(f.Param(1)).I32(s.o.g.frameBytes).Op(opI32Add).Set(f.Param(1))
	f.Get(at).I32(1 << shift).Op(opI32Add).Tee(at).Get(end).Op(opI32Ne).BrIf(0).End()
	return f, f.EntryFuel() + f.Fuel() + (f.Fuel()-before)*maxRows
}

// sliceRun are trees of one output that a function adds.
type sliceRun struct {
	output    int
	list, end int
	trees     [sliceHalves]*wasmbin.Function // by number of halves - 1
	cost      [sliceHalves]int64
}

// finish writes rank, subject and run for runs in the order of their outputs.
func (s *slices128) finish(runs []sliceRun, tables []int) {
	o, i32 := s.o, wasmbin.I32
	for part := range o.parts {
		s.rankFunction(part, tables)
	}
	varying := len(o.parts) - 1
	both := func(write func(f *wasmbin.Function, halves int) int64) (*wasmbin.Function, [sliceHalves]int64) {
		var f [sliceHalves]*wasmbin.Function
		var cost [sliceHalves]int64
		for i := range f {
			f[i] = o.g.b.Function([]byte{i32}, nil)
			cost[i] = write(f[i], i+1) + f[i].EntryFuel() + f[i].Fuel() + 20
		}
		choose := o.g.b.Function([]byte{i32}, nil)
		choose.Get(choose.Param(0)).I32(sliceRows).Op(opI32GtU).If().Get(choose.Param(0)).Call(f[1]).Else().Get(choose.Param(0)).Call(f[0]).End()
		return choose, cost
	}
	if varying > 0 {
		s.subject, s.subjectCost = both(func(f *wasmbin.Function, halves int) int64 { return s.planeCode(f, 0, halves, true) })
	}
	spread, spreadCost := s.spread()
	gather, gatherCost := s.gather()
	s.run, s.runCost = both(func(f *wasmbin.Function, halves int) int64 {
		cost := s.planeCode(f, varying, halves, false)
		for k := range o.outputs {
			f.I32(halves * sliceRows)
			o.constant(f, o.base[k])
			f.Call(spread)
			for i := range runs {
				if r := &runs[i]; r.output == k && r.list != r.end {
					f.I32(r.list).I32(r.end).Get(f.Param(0)).Call(r.trees[halves-1])
					cost += r.cost[halves-1]
				}
			}
			f.Get(f.Param(0)).I32(o.target(0, k)).Call(gather)
			cost += spreadCost + gatherCost
		}
		return cost
	})
}
