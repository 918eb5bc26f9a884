package compiler

import (
	"encoding/binary"
	"math"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// lanes is how many trees, or rows, are walked in lockstep: one walk waits for memory, eight hide it.
const lanes = 8

// The opcodes the generator uses beyond those the builder names.
const (
	opI32Load    = 0x28
	opF32Load    = 0x2a
	opLoadU16    = 0x2f
	opF32Store   = 0x38
	opF64Store   = 0x39
	opI32Ne      = 0x47
	opI32LtU     = 0x49
	opI32GtS     = 0x4a
	opI32GtU     = 0x4b
	opI32GeU     = 0x4f
	opI32Add     = 0x6a
	opI32Sub     = 0x6b
	opI32Mul     = 0x6c
	opI32Or      = 0x72
	opI32Shl     = 0x74
	opI32ShrU    = 0x76
	opI64Add     = 0x7c
	opI64Shl     = 0x86
	opF32Add     = 0x92
	opF32Div     = 0x95
	opF64Neg     = 0x9a
	opF64Nearest = 0x9e
	opF64Add     = 0xa0
	opF64Sub     = 0xa1
	opF64Mul     = 0xa2
	opF64Min     = 0xa4
	opF64Max     = 0xa5
	opF32Demote  = 0xb6
	opF64Promote = 0xbb
	opF64FromI64 = 0xbf // reinterpret

	vLoad      = 0x00
	vStore     = 0x0b
	vSplatI32  = 0x11
	vEqF32     = 0x41
	vXor       = 0x51
	vBitselect = 0x52
	vDemoteF64 = 0x5e
	vShrS32    = 0xac
	vShrU32    = 0xad
)

// missingLow is the key of a missing value that must go left, missingHigh of one that must go right.
// They lie beyond the keys of both infinities.
const (
	missingLow  = math.MinInt32
	missingHigh = math.MaxInt32
)

// key maps a float to an integer of the same order: integers compare without branches, floats do not.
// Both zeros get the key 0; the row's -0 keeps the key -1, which every comparison below treats alike.
func key(x float32) int32 {
	if x == 0 {
		return 0
	}
	b := int32(math.Float32bits(x))
	return b ^ int32(uint32(b>>31)>>1)
}

// splitKey is the largest key that goes left at threshold t: x < t is key(x) <= key(next below t).
func splitKey(t float32) int32 {
	if math.IsInf(float64(t), -1) {
		return key(t) - 1
	}
	return key(math.Nextafter32(t, float32(math.Inf(-1))))
}

// generator writes one module. Rows are first expanded into keys: each lane has a slot that is always
// the lowest key, then up to two copies of the features, one with missing values low, one with them
// high. A node names the slot that it compares, so a missing value costs nothing in the walk.
type generator struct {
	e          *ensemble
	subject    int // features per subject
	candidate  int // features per candidate
	maxRows    int
	b          wasmbin.Builder
	low, high  region // where the copies lie within a lane
	prefix     int    // bytes of a lane that belong to the subject
	stride     int    // bytes from lane to lane
	rows       int    // address of lane 0
	input, out int    // addresses handed to the host
	sums       int    // address of the margins of eight rows
	cost       costs
}

// region locates one copy of the features in a lane; used marks the features that some node reads
// there.
type region struct {
	subject, candidate int
	used               []bool
}

// costs are upper bounds of the fuel of the generated functions.
type costs struct{ subject, candidate, one, eight, link int64 }

// slot is the offset in a lane that node n compares.
func (g *generator) slot(n *node) int {
	r := &g.high
	if n.defaultLeft {
		r = &g.low
	}
	i := int(n.feature)
	if i < g.subject {
		return r.subject + 4*i
	}
	return r.candidate + 4*(i-g.subject)
}

const slotBytes = 16 // of the lowest key at the start of a lane

// plan lays the lanes and the host's areas out in memory.
func (g *generator) plan() {
	for _, r := range [...]*region{&g.low, &g.high} {
		r.used = make([]bool, g.subject+g.candidate+3)
	}
	for i := range g.e.trees {
		for j := range g.e.trees[i].nodes {
			if n := &g.e.trees[i].nodes[j]; n.leaf() {
				continue
			} else if n.defaultLeft {
				g.low.used[n.feature] = true
			} else {
				g.high.used[n.feature] = true
			}
		}
	}
	copyBytes := func(n int) int { return (n + 3) &^ 3 * 4 }
	g.low.subject = slotBytes
	g.high.subject = g.low.subject + copyBytes(g.subject)
	g.prefix = g.high.subject + copyBytes(g.subject)
	g.low.candidate = g.prefix
	g.high.candidate = g.low.candidate + copyBytes(g.candidate)
	g.stride = (g.high.candidate + copyBytes(g.candidate) + 63) &^ 63

	g.b.Reserve(1024, 1) // address 0 stays unused
	g.rows = g.b.Reserve(lanes*g.stride, 64)
	lowest := make([]byte, 0, slotBytes)
	for range slotBytes / 4 {
		lowest = binary.LittleEndian.AppendUint32(lowest, 1<<31)
	}
	for lane := range lanes {
		g.b.Data(g.rows+lane*g.stride, lowest)
	}
	g.sums = g.b.Reserve(lanes*4, 64)
	// Expansion reads whole quads, so the areas end with room for three values more.
	g.input = g.b.Reserve((g.subject*8+15)&^15+g.maxRows*g.candidate*8+32, 64)
	g.out = g.b.Reserve(g.maxRows*8, 64)
}

// expander writes the function (source, lane) that turns count features at source into the keys at
// lane: first is the number of the first one, and low and high are the regions' offsets.
func (g *generator) expander(first, count, low, high int) (*wasmbin.Function, int64) {
	f := g.b.Function([]byte{wasmbin.I32, wasmbin.I32}, nil)
	x := &expansion{f: f, source: f.Param(0), lane: f.Param(1), row: f.Local(wasmbin.V128), key: f.Local(wasmbin.V128),
		minimum: f.Local(wasmbin.V128), maximum: f.Local(wasmbin.V128), low: low, high: high}
	f.I32(missingLow).Vector(vSplatI32).Set(x.minimum)
	f.I32(missingHigh).Vector(vSplatI32).Set(x.maximum)
	quads := (count + 3) / 4
	const unrolled = 64
	if quads <= unrolled {
		// Backwards, so that the first access has the highest offset and its bounds check covers the rest.
		for q := quads - 1; q >= 0; q-- {
			x.quad(q, anyOf(g.low.used[first+4*q:], count-4*q), anyOf(g.high.used[first+4*q:], count-4*q))
		}
		return f, f.EntryFuel() + f.Fuel()
	}
	end := f.Local(wasmbin.I32)
	f.Get(x.source).I32(quads * 32).Op(opI32Add).Set(end)
	f.Loop()
	x.quad(0, true, true)
	f.Get(x.lane).I32(16).Op(opI32Add).Set(x.lane)
	f.Get(x.source).I32(32).Op(opI32Add).Tee(x.source).Get(end).Op(opI32Ne).BrIf(0)
	f.End()
	return f, f.EntryFuel() + f.Fuel()*int64(quads)
}

// anyOf tells whether one of the next four features of count is used.
func anyOf(used []bool, count int) bool {
	for i := range min(4, count) {
		if used[i] {
			return true
		}
	}
	return false
}

// expansion holds the locals of an expander.
type expansion struct {
	f                          *wasmbin.Function
	source, lane               wasmbin.Local
	row, key, minimum, maximum wasmbin.Local
	low, high                  int
}

// quad turns the q-th four features into keys, in the copies that are used.
func (x *expansion) quad(q int, low, high bool) {
	if !low && !high {
		return
	}
	f := x.f
	f.Get(x.source).VectorMemory(vLoad, 3, q*32+16).Vector(vDemoteF64).Set(x.key)
	f.Get(x.source).VectorMemory(vLoad, 3, q*32).Vector(vDemoteF64).Get(x.key)
	f.Shuffle([16]byte{0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23}).Tee(x.row)
	f.Get(x.row).I32(31).Vector(vShrS32).I32(1).Vector(vShrU32).Vector(vXor).Set(x.key)
	store := func(missing wasmbin.Local, at int) {
		f.Get(x.lane).Get(x.key).Get(missing).Get(x.row).Get(x.row).Vector(vEqF32).Vector(vBitselect)
		f.VectorMemory(vStore, 4, at+q*16)
	}
	if high {
		store(x.maximum, x.high)
	}
	if low {
		store(x.minimum, x.low)
	}
}
