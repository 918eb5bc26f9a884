// Package wasmtest writes small guest modules for tests of the sandbox and of what lies above it. It
// needs no toolchain, and each module has one behaviour that can be told from outside. It is for tests
// only.
package wasmtest

import (
	"encoding/binary"
	"math"
)

// Behaviour is what arbiter_score does.
type Behaviour int

// The behaviours.
const (
	// Linear scores bias + the weighted sum of the features; NaN inputs give NaN.
	Linear Behaviour = iota
	// Trap executes unreachable.
	Trap
	// TrapIfNegative is Linear, but traps when the first subject feature is below 0.
	TrapIfNegative
	// Spin never returns.
	Spin
	// Recurse calls itself without end.
	Recurse
	// OutOfBounds stores beyond the memory.
	OutOfBounds
	// Status returns 7.
	Status
	// Grow grows the memory by one page in each call, then is Linear.
	Grow
	// Counter is Linear plus the number of calls before: the guest keeps state, which it must not.
	Counter
)

// Guest describes a module. Its function takes any geometry up to its memory.
type Guest struct {
	Behaviour Behaviour
	Bias      float64
	// Weights of the subject features, then of the candidate features; at most 256.
	Weights []float64
	// Metered adds a hand-written fuel counter: 10 for a call and 1 for each row, and 1 for each turn
	// of Spin and Recurse. Leave it out for modules that go through admission.
	Metered bool
	// Pages of memory; default 2. MaxPages 0 means no maximum.
	Pages, MaxPages uint32
	// Raw also exports arbiter_score_raw, which gives Linear's sum; arbiter_score then gives
	// twice as much.
	Raw bool
	// Without leaves an export out.
	Without string
	// BadSignature makes arbiter_score take no parameters.
	BadSignature bool
	// BadLayout makes arbiter_reserve answer offsets beyond the memory.
	BadLayout bool
	// Import, if set, adds an imported function arbiter_v1.<Import> of no parameters.
	Import string
	// ExtraExport exports the bias global under this name.
	ExtraExport string
}

const (
	weightsAt = 1024
	inputAt   = 4096
)

// Module encodes g.
func (g Guest) Module() []byte {
	imports := uint32(0)
	if g.Import != "" {
		imports = 1
	}
	if g.Pages == 0 {
		g.Pages = 2
	}
	out := []byte("\x00asm\x01\x00\x00\x00")
	// Types: 0 (i32×6)->i32, 1 (i32×3)->i64, 2 ()->(), 3 ()->i32
	out = section(out, 1, vector(
		[]byte{0x60, 6, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f},
		[]byte{0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7e},
		[]byte{0x60, 0, 0},
		[]byte{0x60, 0, 1, 0x7f}))
	if g.Import != "" {
		out = section(out, 2, vector(append(append(name("arbiter_v1"), name(g.Import)...), 0, 2)))
	}
	scoreType := byte(0)
	if g.BadSignature {
		scoreType = 3
	}
	// Functions: marker, reserve, score, score_raw
	out = section(out, 3, vector([]byte{3}, []byte{1}, []byte{scoreType}, []byte{0}))
	memory := u32([]byte{0}, g.Pages)
	if g.MaxPages > 0 {
		memory = u32(u32([]byte{1}, g.Pages), g.MaxPages)
	}
	out = section(out, 5, vector(memory))
	// Globals: 0 bias f64, 1 call counter f64 mutable, 2 fuel i64 mutable
	out = section(out, 6, vector(
		append(append([]byte{0x7c, 0, 0x44}, f64(g.Bias)...), 0x0b),
		append(append([]byte{0x7c, 1, 0x44}, f64(0)...), 0x0b),
		[]byte{0x7e, 1, 0x42, 0, 0x0b}))
	out = section(out, 7, vector(g.exports(imports)...))
	out = section(out, 10, vector(
		body(nil, []byte{0x41, 1}), // marker: i32.const 1
		body(nil, g.reserve()),
		g.score(imports+2),
		g.scoreRaw()))
	data := append([]byte{0, 0x41}, i32(weightsAt)...)
	data = append(data, 0x0b)
	data = u32(data, uint32(8*len(g.Weights)))
	for _, w := range g.Weights {
		data = append(data, f64(w)...)
	}
	return section(out, 11, vector(data))
}

func (g Guest) exports(imports uint32) [][]byte {
	var exports [][]byte
	add := func(export string, kind byte, index uint32) {
		if export != "" && export != g.Without {
			exports = append(exports, u32(append(name(export), kind), index))
		}
	}
	add("memory", 2, 0)
	add("arbiter_abi_v1", 0, imports)
	add("arbiter_reserve", 0, imports+1)
	add("arbiter_score", 0, imports+2)
	if g.Raw {
		add("arbiter_score_raw", 0, imports+3)
	}
	if g.Metered {
		add("arbiter_fuel", 3, 2)
	}
	add(g.ExtraExport, 3, 0)
	return exports
}

// reserve(subject_n, rows, candidate_n): the input at inputAt, the output behind it, 16-byte aligned.
func (g Guest) reserve() []byte {
	if g.BadLayout {
		return append([]byte{0x42}, i64(int64(inputAt)<<32|1<<30)...)
	}
	var c code
	c.op(0x42).raw(i64(int64(inputAt) << 32))
	c.op(0x20, 0, 0x41, 3, 0x74, 0x41, 15, 0x6a, 0x41, 0x70, 0x71) // (8*subject_n + 15) & -16
	c.op(0x20, 1, 0x20, 2, 0x6c, 0x41, 3, 0x74, 0x6a)              // + 8*rows*candidate_n
	c.op(0x41).raw(i32(inputAt+15)).op(0x6a, 0x41, 0x70, 0x71)     // + inputAt + 15, & -16
	c.op(0xad, 0x84)                                               // extend to i64, or
	return c
}

func (g Guest) score(self uint32) []byte {
	if g.BadSignature {
		return body(nil, []byte{0x41, 0})
	}
	var c code
	if g.Metered {
		c.charge(10)
		c.op(0x20, 3, 0xad).chargeTop()
	}
	switch g.Behaviour {
	case Trap:
		c.op(0x00)
	case TrapIfNegative:
		// if load(subject) < 0 then unreachable
		c.op(0x20, 0, 0x2b, 3, 0, 0x44).raw(f64(0)).op(0x63, 0x04, 0x40, 0x00, 0x0b)
	case Spin:
		c.op(0x03, 0x40)
		if g.Metered {
			c.charge(1)
		}
		c.op(0x0c, 0, 0x0b)
	case Recurse:
		for p := byte(0); p < 6; p++ {
			c.op(0x20, p)
		}
		c.op(0x10).raw(u32(nil, self)).op(0x0f)
	case OutOfBounds:
		c.op(0x41).raw(i32(-16)).op(0x44).raw(f64(1)).op(0x39, 3, 0)
	case Status:
		c.op(0x41, 7, 0x0f)
	case Grow:
		c.op(0x41, 1, 0x40, 0, 0x1a)
	}
	scale := 1.0
	if g.Raw {
		scale = 2
	}
	c.linear(scale, g.Behaviour == Counter)
	return body(linearLocals, c)
}

func (g Guest) scoreRaw() []byte {
	var c code
	if g.Metered {
		c.charge(10)
		c.op(0x20, 3, 0xad).chargeTop()
	}
	c.linear(1, false)
	return body(linearLocals, c)
}

// Locals after the six parameters: 6 i32 index, 7 f64 base, 8 f64 sum, 9 i32 weight pointer.
var linearLocals = []byte{3, 1, 0x7f, 2, 0x7c, 1, 0x7f}

// linear appends the loops that score every row, and returns 0.
func (c *code) linear(scale float64, count bool) *code {
	c.op(0x23, 0, 0x21, 7) // base = bias
	if count {
		c.op(0x23, 1, 0x20, 7, 0xa0, 0x21, 7)             // base += calls
		c.op(0x23, 1, 0x44).raw(f64(1)).op(0xa0, 0x24, 1) // calls++
	}
	c.op(0x41).raw(i32(weightsAt)).op(0x21, 9)
	// for i = subject_n; i != 0; i--: base += *w++ * *subject++
	c.op(0x20, 1, 0x21, 6)
	c.op(0x02, 0x40, 0x03, 0x40, 0x20, 6, 0x45, 0x0d, 1)
	c.op(0x20, 7, 0x20, 9, 0x2b, 3, 0, 0x20, 0, 0x2b, 3, 0, 0xa2, 0xa0, 0x21, 7)
	c.op(0x20, 9, 0x41, 8, 0x6a, 0x21, 9, 0x20, 0, 0x41, 8, 0x6a, 0x21, 0)
	c.op(0x20, 6, 0x41, 1, 0x6b, 0x21, 6, 0x0c, 0, 0x0b, 0x0b)
	// for ; rows != 0; rows--
	c.op(0x02, 0x40, 0x03, 0x40, 0x20, 3, 0x45, 0x0d, 1)
	c.op(0x20, 7, 0x21, 8)
	c.op(0x41).raw(i32(weightsAt)).op(0x20, 1, 0x41, 3, 0x74, 0x6a, 0x21, 9) // w = weights + 8*subject_n; parameter 1 is unchanged
	c.op(0x20, 4, 0x21, 6)
	c.op(0x02, 0x40, 0x03, 0x40, 0x20, 6, 0x45, 0x0d, 1)
	c.op(0x20, 8, 0x20, 9, 0x2b, 3, 0, 0x20, 2, 0x2b, 3, 0, 0xa2, 0xa0, 0x21, 8)
	c.op(0x20, 9, 0x41, 8, 0x6a, 0x21, 9, 0x20, 2, 0x41, 8, 0x6a, 0x21, 2)
	c.op(0x20, 6, 0x41, 1, 0x6b, 0x21, 6, 0x0c, 0, 0x0b, 0x0b)
	c.op(0x20, 5, 0x20, 8, 0x44).raw(f64(scale)).op(0xa2, 0x39, 3, 0)
	c.op(0x20, 5, 0x41, 8, 0x6a, 0x21, 5, 0x20, 3, 0x41, 1, 0x6b, 0x21, 3, 0x0c, 0, 0x0b, 0x0b)
	return c.op(0x41, 0)
}

type code []byte

func (c *code) op(b ...byte) *code  { *c = append(*c, b...); return c }
func (c *code) raw(b []byte) *code  { *c = append(*c, b...); return c }
func (c *code) charge(n byte) *code { return c.op(0x42, n).chargeTop() }

// chargeTop takes the i64 on the stack from the fuel and traps when none is left.
func (c *code) chargeTop() *code {
	c.op(0x42, 0x7f, 0x7e)       // negate
	c.op(0x23, 2, 0x7c, 0x24, 2) // fuel -= n
	return c.op(0x23, 2, 0x42, 0, 0x53, 0x04, 0x40, 0x00, 0x0b)
}

func body(locals, instructions []byte) []byte {
	if locals == nil {
		locals = []byte{0}
	}
	content := append(append(append([]byte{}, locals...), instructions...), 0x0b)
	return append(u32(nil, uint32(len(content))), content...)
}

func section(out []byte, id byte, content []byte) []byte {
	return append(u32(append(out, id), uint32(len(content))), content...)
}

func vector(items ...[]byte) []byte {
	out := u32(nil, uint32(len(items)))
	for _, item := range items {
		out = append(out, item...)
	}
	return out
}

func name(s string) []byte { return append(u32(nil, uint32(len(s))), s...) }

func f64(f float64) []byte { return binary.LittleEndian.AppendUint64(nil, math.Float64bits(f)) }

func u32(out []byte, v uint32) []byte { return binary.AppendUvarint(out, uint64(v)) }

func i32(v int32) []byte { return i64(int64(v)) }

// i64 is signed LEB128.
func i64(v int64) (out []byte) {
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}
