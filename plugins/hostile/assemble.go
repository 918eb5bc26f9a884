package hostile

import (
	"encoding/binary"
	"math"
)

// guest is a module that speaks the scorer contract, except for what its fields say. Its functions are
// the imported ones, then marker, reserve, score, initialize and extra, in this order.
type guest struct {
	imports  []string // functions of module "env", of no parameters and results
	pages    uint32   // of memory; default 2
	maxPages uint32   // 0: no maximum
	reserve  []byte   // body of arbiter_reserve; default: input at 4096, output at 32768
	score    []byte   // instructions of arbiter_score; must leave an i32
	locals   []byte   // their encoded local groups; default none
	extra    []function
	start    bool   // the first extra function is the start function
	initial  []byte // instructions of _initialize, if not nil
	globals  [][]byte
	exports  [][]byte // encoded, besides those of the contract
	typ      byte     // of arbiter_score; default typeScore
	data     []byte   // at address 0
}

// function is one more function: its type, locals and instructions.
type function struct {
	typ    byte
	locals []byte
	code   []byte
}

// The types of functions.
const (
	typeScore   = 0 // (i32 × 6) -> i32
	typeReserve = 1 // (i32 × 3) -> i64
	typeNone    = 2 // () -> ()
	typeI32     = 3 // () -> i32
	typeI32I32  = 4 // (i32) -> i32
)

const (
	inAt  = 4096
	outAt = 32768
)

// first is the index of the first extra function when nothing is imported.
const (
	scoreIndex = 2
	first      = 4
)

// scores writes value as every score and returns 0: the loop of a scorer that knows one number only.
func scores(value float64) []byte {
	return join(raw(0x02, 0x40, 0x03, 0x40, 0x20, 3, 0x45, 0x0d, 1), // while rows
		raw(0x20, 5), f64(value), raw(0x39, 3, 0), // store at out
		raw(0x20, 5, 0x41, 8, 0x6a, 0x21, 5, 0x20, 3, 0x41, 1, 0x6b, 0x21, 3, 0x0c, 0, 0x0b, 0x0b, 0x41, 0))
}

// module encodes g.
func (g guest) module() []byte {
	imported := uint32(len(g.imports))
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = section(out, 1, vector(raw(0x60, 6, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f), raw(0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7e),
		raw(0x60, 0, 0), raw(0x60, 0, 1, 0x7f), raw(0x60, 1, 0x7f, 1, 0x7f)))
	var imports, functions, exports, bodies [][]byte
	for _, n := range g.imports {
		imports = append(imports, join(name("env"), name(n), raw(0, typeNone)))
	}
	if len(imports) > 0 {
		out = section(out, 2, vector(imports...))
	}
	functions = append(functions, raw(typeI32), raw(typeReserve), raw(g.typ), raw(typeNone))
	for _, f := range g.extra {
		functions = append(functions, raw(f.typ))
	}
	out = section(out, 3, vector(functions...))
	memory := u32(raw(0), max(g.pages, 2))
	if g.maxPages > 0 {
		memory = u32(u32(raw(1), max(g.pages, 2)), g.maxPages)
	}
	out = section(out, 5, vector(memory))
	out = section(out, 6, vector(append([][]byte{raw(0x7e, 1, 0x42, 0, 0x0b)}, g.globals...)...))
	exports = append(exports, join(name("memory"), raw(2, 0)))
	for i, n := range [...]string{"arbiter_abi_v1", "arbiter_reserve", "arbiter_score", "_initialize"} {
		if n != "_initialize" || g.initial != nil {
			exports = append(exports, u32(join(name(n), raw(0)), imported+uint32(i)))
		}
	}
	out = section(out, 7, vector(append(exports, g.exports...)...))
	if g.start {
		out = section(out, 8, u32(nil, imported+first))
	}
	if g.reserve == nil {
		g.reserve = join(raw(0x42), signed(inAt<<32|outAt))
	}
	if g.score == nil {
		g.score = scores(0.5)
	}
	bodies = append(bodies, body(nil, raw(0x41, 1)), body(nil, g.reserve), body(g.locals, g.score), body(nil, g.initial))
	for _, f := range g.extra {
		bodies = append(bodies, body(f.locals, f.code))
	}
	out = section(out, 10, vector(bodies...))
	if g.data != nil {
		out = section(out, 11, vector(join(raw(0, 0x41, 0, 0x0b), u32(nil, uint32(len(g.data))), g.data)))
	}
	return out
}

func raw(b ...byte) []byte { return b }

func join(parts ...[]byte) (out []byte) {
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func times(n int, b []byte) (out []byte) {
	for range n {
		out = append(out, b...)
	}
	return out
}

func body(locals, code []byte) []byte {
	if locals == nil {
		locals = raw(0)
	}
	content := join(locals, code, raw(0x0b))
	return append(u32(nil, uint32(len(content))), content...)
}

func section(out []byte, id byte, content []byte) []byte {
	return append(u32(append(out, id), uint32(len(content))), content...)
}

func vector(items ...[]byte) []byte {
	return append(u32(nil, uint32(len(items))), join(items...)...)
}

func name(s string) []byte { return append(u32(nil, uint32(len(s))), s...) }

func u32(out []byte, v uint32) []byte { return binary.AppendUvarint(out, uint64(v)) }

// i32 is i32.const v.
func i32(v int64) []byte { return append(raw(0x41), signed(v)...) }

// f64 is f64.const v.
func f64(v float64) []byte {
	return binary.LittleEndian.AppendUint64(raw(0x44), math.Float64bits(v))
}

// signed is a signed LEB128.
func signed(v int64) (out []byte) {
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}
