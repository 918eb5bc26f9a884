package wasmbin_test

import (
	"math"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// A smith writes a valid module out of any bytes, a part for each function: each choice takes one, and where
// there are none left it takes the simplest. Loops count down, so every module ends. No NaN is seen by an integer instruction or
// by memory, because engines may give it any bits.
type smith struct {
	choices   []byte
	functions []*wasmbin.Function
	f         *wasmbin.Function
	locals    map[byte][]wasmbin.Local
	blocks    []bool // the open blocks, innermost last: whether a branch may lead to its end
	loops     int
	calls     int // of the current function
}

const (
	smithParams    = 3 // i32, i64, f64
	maxSmithLoops  = 2
	maxSmithCalls  = 2
	maxSmithDepth  = 4
	smithFunctions = 4
)

func (s *smith) pick(n int) int {
	if len(s.choices) == 0 {
		return 0
	}
	c := int(s.choices[0])
	s.choices = s.choices[1:]
	return c % n
}

func (s *smith) module() []byte {
	var b wasmbin.Builder
	b.Reserve(2*wasmbin.PageBytes, 1)
	b.Data(64, []byte("what lies in memory at first: 0123456789 and some more of it"))
	all := s.choices
	for n := range smithFunctions {
		s.choices = all[n*len(all)/smithFunctions : (n+1)*len(all)/smithFunctions]
		f := b.Function([]byte{wasmbin.I32, wasmbin.I64, wasmbin.F64}, []byte{wasmbin.F64})
		s.f, s.blocks, s.loops, s.calls = f, nil, 0, 0
		s.locals = map[byte][]wasmbin.Local{wasmbin.I32: {0, f.Local(wasmbin.I32)}, wasmbin.I64: {1, f.Local(wasmbin.I64)},
			wasmbin.F64: {2, f.Local(wasmbin.F64)}, wasmbin.F32: {f.Local(wasmbin.F32)}, wasmbin.V128: {f.Local(wasmbin.V128)}}
		for range 1 + s.pick(6) {
			s.statement(0)
		}
		s.value(wasmbin.F64, 0)
		s.functions = append(s.functions, f)
	}
	b.Export("run", s.f)
	return b.Bytes()
}

var smithTypes = [...]byte{wasmbin.I32, wasmbin.I64, wasmbin.F64, wasmbin.F32, wasmbin.V128}

func (s *smith) statement(depth int) {
	f, kind := s.f, s.pick(14)
	if depth >= maxSmithDepth && kind >= 4 && kind <= 8 {
		kind = 0
	}
	switch kind {
	case 4, 5:
		s.value(wasmbin.I32, depth+1)
		f.If()
		s.inside(true, depth)
		if s.pick(2) == 1 {
			f.Else()
			s.inside(true, depth)
		}
		f.End()
	case 6:
		f.Block()
		s.inside(true, depth)
		f.End()
	case 7, 8:
		s.loop(depth)
	case 9:
		s.branch(depth)
	case 10:
		s.bulk(depth)
	case 11:
		s.store(depth)
	case 12:
		s.value(wasmbin.F64, depth+1)
		f.Op(0x1a)
	case 13:
		s.rare(depth)
	default:
		t := smithTypes[s.pick(len(smithTypes))]
		s.value(t, depth+1)
		f.Set(s.local(t))
	}
}

func (s *smith) local(t byte) wasmbin.Local { return s.locals[t][s.pick(len(s.locals[t]))] }

func (s *smith) inside(target bool, depth int) {
	s.blocks = append(s.blocks, target)
	for range 1 + s.pick(3) {
		s.statement(depth + 1)
	}
	s.blocks = s.blocks[:len(s.blocks)-1]
}

// loop runs at most four times, and inside a block, so that it can be left.
func (s *smith) loop(depth int) {
	if s.loops >= maxSmithLoops {
		return
	}
	s.loops++
	counter := s.f.Local(wasmbin.I32)
	s.f.I32(1 + s.pick(4)).Set(counter).Block()
	s.blocks = append(s.blocks, true)
	s.f.Loop()
	s.inside(false, depth)
	s.f.Get(counter).I32(1).Op(i32Sub).Tee(counter).BrIf(0).End().End()
	s.blocks = s.blocks[:len(s.blocks)-1]
	s.loops--
}

// branch leads out of a block, on a condition or by a table.
func (s *smith) branch(depth int) {
	var targets []uint32
	for i := range s.blocks {
		if s.blocks[len(s.blocks)-1-i] {
			targets = append(targets, uint32(i))
		}
	}
	if len(targets) == 0 {
		return
	}
	switch s.pick(3) {
	case 0:
		s.value(wasmbin.I32, depth+1)
		s.f.BrIf(int(targets[s.pick(len(targets))]))
	case 1:
		s.value(wasmbin.I32, depth+1)
		s.f.BrTable(targets...)
		s.dead()
	default:
		s.f.Br(int(targets[s.pick(len(targets))]))
		s.dead()
	}
}

// dead is code that is never reached.
func (s *smith) dead() {
	if s.pick(2) == 1 {
		s.f.I32(1).MemoryGrow().Op(0x1a)
	}
}

func (s *smith) rare(depth int) {
	switch s.pick(8) {
	case 7:
		s.f.Op(0x00)
		s.dead()
	case 6, 5:
		s.value(wasmbin.F64, depth+1)
		s.f.Return()
		s.dead()
	case 4, 3:
		s.f.I32(s.pick(3)).MemoryGrow().Set(s.local(wasmbin.I32))
	default:
		s.f.Op(0x01)
	}
}

// bulk fills or copies; one time in eight beyond the memory.
func (s *smith) bulk(depth int) {
	f, fill := s.f, s.pick(2) == 0
	s.address(depth)
	if fill {
		s.value(wasmbin.I32, depth+1)
	} else {
		s.address(depth)
	}
	s.value(wasmbin.I32, depth+1)
	f.I32(0x3fff).Op(i32And)
	if fill {
		f.MemoryFill()
	} else {
		f.MemoryCopy()
	}
}

// address pushes one that is mostly within the memory.
func (s *smith) address(depth int) {
	s.value(wasmbin.I32, depth+1)
	if s.pick(8) != 7 {
		s.f.I32(0xffff).Op(i32And)
	}
}

func (s *smith) store(depth int) {
	s.address(depth)
	offset := s.pick(256)
	switch s.pick(8) {
	case 0:
		s.value(wasmbin.F64, depth+1)
		s.f.Memory(0x39, 3, offset)
	case 1:
		s.value(wasmbin.F32, depth+1)
		s.f.Memory(0x38, 2, offset)
	case 2, 3:
		s.value(wasmbin.I64, depth+1)
		s.f.Memory([...]byte{0x37, 0x3c, 0x3d, 0x3e}[s.pick(4)], 0, offset)
	case 4:
		s.value(wasmbin.V128, depth+1)
		s.f.VectorMemory(11, 0, offset)
	default:
		s.value(wasmbin.I32, depth+1)
		s.f.Memory([...]byte{i32Set, 0x3a, 0x3b}[s.pick(3)], 0, offset)
	}
}

// value pushes a value of type t.
func (s *smith) value(t byte, depth int) {
	kind := s.pick(8)
	if depth >= 2*maxSmithDepth {
		kind %= 2
	}
	switch kind {
	case 0:
		s.f.Get(s.local(t))
	case 1:
		s.constant(t)
	case 2:
		if t != wasmbin.V128 {
			s.value(t, depth+1)
			s.value(t, depth+1)
			s.value(wasmbin.I32, depth+1)
			s.f.Select()
			return
		}
		s.f.Get(s.local(t))
	default:
		switch t {
		case wasmbin.I32:
			s.i32(depth)
		case wasmbin.I64:
			s.i64(depth)
		case wasmbin.F32, wasmbin.F64:
			s.float(t, depth)
		default:
			s.vector(depth)
		}
	}
}

func (s *smith) constant(t byte) {
	number := [...]int64{0, 1, -1, 7, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64, 1 << 33, 255}[s.pick(10)]
	float := [...]float64{0, 1, -1, 0.5, math.Inf(1), math.Inf(-1), 1e300, -1e-300, 4294967296, 3.999}[s.pick(10)]
	switch t {
	case wasmbin.I32:
		s.f.I32(int(int32(number)))
	case wasmbin.I64:
		s.f.I64(number)
	case wasmbin.F32:
		s.f.F32(float32(float))
	case wasmbin.F64:
		s.f.F64(float)
	default:
		s.f.VectorConst([16]byte{byte(number), 2, 3, byte(number >> 8), 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16})
	}
}

// op pushes operands of type t and applies one of the opcodes from first to last.
func (s *smith) op(t byte, operands int, first, last byte, depth int) {
	for range operands {
		s.value(t, depth+1)
	}
	s.f.Op(first + byte(s.pick(int(last-first)+1)))
}

func (s *smith) load(first, last byte, depth int) {
	s.address(depth)
	s.f.Memory(first+byte(s.pick(int(last-first)+1)), 0, s.pick(256))
}

func (s *smith) i32(depth int) {
	switch s.pick(11) {
	case 0, 1, 2:
		s.op(wasmbin.I32, 2, 0x6a, 0x78, depth)
	case 3:
		s.op(wasmbin.I32, 2, 0x46, 0x4f, depth)
	case 4:
		s.op(wasmbin.I32, 1, 0x67, 0x69, depth)
	case 5:
		s.op(wasmbin.I64, 2, 0x51, 0x5a, depth)
	case 6:
		s.op(wasmbin.F64, 2, 0x61, 0x66, depth)
	case 7:
		s.load(0x2c, 0x2f, depth)
	case 8:
		s.op(wasmbin.F64, 1, 0xaa, 0xab, depth) // traps where the number does not fit
	case 9:
		s.value(wasmbin.V128, depth+1)
		s.f.VectorLane(0x1b, s.pick(4))
	default:
		s.op(wasmbin.F32, 2, 0x5b, 0x60, depth)
	}
}

func (s *smith) i64(depth int) {
	switch s.pick(7) {
	case 0, 1, 2:
		s.op(wasmbin.I64, 2, 0x7c, 0x8a, depth)
	case 3:
		s.op(wasmbin.I64, 1, 0x79, 0x7b, depth)
	case 4:
		s.op(wasmbin.I32, 1, 0xac, 0xad, depth)
	case 5:
		s.load(0x30, 0x35, depth)
	default:
		s.value(wasmbin.F64, depth+1)
		s.f.TruncateToI64()
	}
}

// float pushes a number that is no NaN.
func (s *smith) float(t byte, depth int) {
	wide := t == wasmbin.F64
	binary, unary, load, fromI32 := byte(0x92), byte(0x8b), byte(0x2a), byte(0xb2)
	equal := byte(0x5b)
	if wide {
		binary, unary, load, fromI32, equal = 0xa0, 0x99, 0x2b, 0xb7, 0x61
	}
	switch s.pick(7) {
	case 0, 1:
		s.op(t, 2, binary, binary+6, depth)
	case 2:
		s.op(t, 1, unary, unary+6, depth)
	case 3:
		s.op(wasmbin.I32, 1, fromI32, fromI32+1, depth)
	case 4:
		s.load(load, load, depth)
	case 5:
		if wide && len(s.functions) > 0 && s.calls < maxSmithCalls && s.loops == 0 {
			s.calls++
			s.value(wasmbin.I32, depth+1)
			s.value(wasmbin.I64, depth+1)
			s.value(wasmbin.F64, depth+1)
			s.f.Call(s.functions[s.pick(len(s.functions))])
			break
		}
		s.constant(t)
	default:
		if wide {
			s.op(wasmbin.F32, 1, 0xbb, 0xbb, depth)
		} else {
			s.op(wasmbin.F64, 1, 0xb6, 0xb6, depth)
		}
	}
	result := s.f.Local(t)
	s.f.Tee(result)
	if wide {
		s.f.F64(0)
	} else {
		s.f.F32(0)
	}
	s.f.Get(result).Get(result).Op(equal).Select() // a NaN becomes 0
}

func (s *smith) vector(depth int) {
	switch s.pick(4) {
	case 0:
		s.value(wasmbin.I32, depth+1)
		s.f.Vector(0x11)
	case 1:
		s.value(wasmbin.V128, depth+1)
		s.value(wasmbin.V128, depth+1)
		s.f.Vector([...]byte{0xae, 0xb1, 0xb5, 0x4e, 0x50, 0x51}[s.pick(6)])
	case 2:
		s.address(depth)
		s.f.VectorMemory(0, 0, s.pick(256))
	default:
		s.value(wasmbin.V128, depth+1)
		s.value(wasmbin.I32, depth+1)
		s.f.VectorLane(0x1c, s.pick(4))
	}
}
