package wasmbin

// The opcodes that this package names; chapter 5.4 of the specification has them all.
const (
	opUnreachable  = 0x00
	opNop          = 0x01
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opDrop         = 0x1a
	opSelect       = 0x1b
	opSelectTyped  = 0x1c
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opLocalTee     = 0x22
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opTableGet     = 0x25
	opTableSet     = 0x26
	opI32Load      = 0x28
	opI64Store32   = 0x3e
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opF32Const     = 0x43
	opF64Const     = 0x44
	opI32Eqz       = 0x45
	opI64LtS       = 0x53
	opI32DivS      = 0x6d
	opI32RemU      = 0x70
	opI64Sub       = 0x7d
	opI64DivS      = 0x7f
	opI64RemU      = 0x82
	opI64Shl       = 0x86
	opI64ShrU      = 0x88
	opI64ExtendU   = 0xad
	opI64Extend32  = 0xc4
	opRefNull      = 0xd0
	opRefIsNull    = 0xd1
	opRefFunc      = 0xd2
	opMisc         = 0xfc
	opVector       = 0xfd
	opAtomic       = 0xfe

	miscMemoryInit = 8
	miscDataDrop   = 9
	miscMemoryCopy = 10
	miscMemoryFill = 11
	miscTableInit  = 12
	miscElemDrop   = 13
	miscTableCopy  = 14
	miscTableGrow  = 15
	miscTableSize  = 16
	miscTableFill  = 17
)

// instruction is one decoded instruction: bytes [start, end) of the code.
type instruction struct {
	start, end int
	op         byte
	sub        byte   // second opcode after opMisc and opVector
	label      uint32 // depth of br and br_if
}

// violation is a rule an instruction breaks.
type violation struct{ rule, detail string }

// next decodes one instruction. Opcodes outside the allow-list give a violation; what is cut short or
// not canonical where the engine and this package could disagree makes the reader fail. targets
// collects the labels of a br_table.
func (r *reader) next(targets *[]uint32, maxTargets int) (in instruction, v *violation) {
	in.start = r.at
	in.op = r.byte()
	switch op := in.op; {
	case op == opUnreachable, op == opNop, op == opElse, op == opEnd, op == opReturn, op == opDrop, op == opSelect, op == opRefIsNull:
	case op >= opI32Eqz && op <= opI64Extend32:
	case op == opBlock, op == opLoop, op == opIf:
		r.signed(33)
	case op == opBr, op == opBrIf:
		in.label = r.u32()
	case op == opBrTable:
		v = r.branchTable(targets, maxTargets)
	case op == opCall, op >= opLocalGet && op <= opTableSet, op == opRefFunc:
		r.u32()
	case op == opRefNull:
		r.byte()
	case op == opCallIndirect:
		r.u32()
		r.u32()
	case op == opSelectTyped:
		if r.u32() != 1 {
			r.fail("a typed select names more than one type")
		}
		r.byte()
	case op >= opI32Load && op <= opI64Store32:
		v = r.memoryArgument()
	case op == opMemorySize, op == opMemoryGrow:
		v = r.memoryIndex()
	case op == opI32Const:
		r.signed(32)
	case op == opI64Const:
		r.signed(64)
	case op == opF32Const:
		r.skip(4)
	case op == opF64Const:
		r.skip(8)
	case op == opMisc:
		v = r.misc(&in)
	case op == opVector:
		v = r.vector(&in)
	default:
		v = unsupported(op)
	}
	in.end = r.at
	return in, v
}

// unsupported tells which proposal an opcode outside the allow-list belongs to.
func unsupported(op byte) *violation {
	switch {
	case op >= 0x06 && op <= 0x0a, op == 0x18, op == 0x19, op == 0x1f:
		return &violation{"exceptions", "uses exception handling; build without exceptions"}
	case op == 0x12, op == 0x13:
		return &violation{"tail-calls", "uses tail calls; build without the tail-call feature"}
	case op == 0x14, op == 0x15, op >= 0xd3 && op <= 0xd6:
		return &violation{"typed-references", "uses typed function references; build for WebAssembly 2.0"}
	case op == opAtomic:
		return &violation{"threads", "uses atomics; build without threads"}
	case op == 0xfb:
		return &violation{"garbage-collection", "uses garbage collection; build for WebAssembly 2.0"}
	default:
		return &violation{"opcode", "has an opcode that WebAssembly 2.0 does not define; build for WebAssembly 2.0"}
	}
}

func (r *reader) branchTable(targets *[]uint32, most int) *violation {
	n := r.count(1)
	if n > most {
		return &violation{"branch-targets", "has a br_table with too many targets; split the switch"}
	}
	*targets = (*targets)[:0]
	for range n + 1 {
		*targets = append(*targets, r.u32())
	}
	return nil
}

// memoryArgument reads alignment and offset. Bit 6 of the alignment would name another memory.
func (r *reader) memoryArgument() *violation {
	align := r.u32()
	r.u32()
	if align >= 64 {
		return &violation{"multi-memory", "names a second memory; build without multi-memory"}
	}
	return nil
}

func (r *reader) memoryIndex() *violation {
	if r.byte() != 0 && r.failed == "" {
		return &violation{"multi-memory", "names a second memory; build without multi-memory"}
	}
	return nil
}

// misc reads what follows 0xfc. The second opcode must be one byte: an engine that reads a longer
// encoding differently would run other code than was metered.
func (r *reader) misc(in *instruction) *violation {
	in.sub = r.byte()
	switch sub := in.sub; {
	case sub < miscMemoryInit: // saturating truncation
	case sub == miscMemoryInit:
		r.u32()
		return r.memoryIndex()
	case sub == miscMemoryCopy:
		if v := r.memoryIndex(); v != nil {
			return v
		}
		return r.memoryIndex()
	case sub == miscMemoryFill:
		return r.memoryIndex()
	case sub == miscTableInit, sub == miscTableCopy:
		r.u32()
		r.u32()
	case sub == miscDataDrop, sub == miscElemDrop, sub >= miscTableGrow && sub <= miscTableFill:
		r.u32()
	default:
		return &violation{"opcode", "has an unknown or oddly encoded 0xfc opcode; build for WebAssembly 2.0"}
	}
	return nil
}

// vector reads what follows 0xfd. Opcodes from 128 on are encoded in two bytes, the second of which is
// 1; the engine reads only the first and takes the second for a nop, so nothing else may stand there.
func (r *reader) vector(in *instruction) *violation {
	in.sub = r.byte()
	if in.sub >= 0x80 {
		if high := r.byte(); high != 1 && r.failed == "" {
			if high >= 2 && high < 0x80 {
				return &violation{"relaxed-simd", "uses relaxed SIMD; build without relaxed-simd"}
			}
			return &violation{"opcode", "has an oddly encoded 0xfd opcode; build for WebAssembly 2.0"}
		}
	}
	switch sub := in.sub; {
	case sub <= 11, sub == 92, sub == 93: // loads, store, load with zeros
		return r.memoryArgument()
	case sub == 12, sub == 13: // constant, shuffle
		r.skip(16)
	case sub >= 21 && sub <= 34: // lanes
		r.byte()
	case sub >= 84 && sub <= 91: // load and store of one lane
		if v := r.memoryArgument(); v != nil {
			return v
		}
		r.byte()
	}
	return nil
}

// The fuel each kind of instruction costs. One unit is about one simple machine instruction; calls,
// divisions and bulk operations cost what they take compared to it.
const (
	costSimple       = 1
	costCall         = 4
	costCallIndirect = 8
	costDivision     = 4
	costBulk         = 16   // and one for each 16 bytes
	costGrow         = 64   // and costPage for each page
	costPage         = 4096 // as filling the page costs
	costEntry        = 2    // entering a function, and one for each 8 locals
)

// cost is the static part of what an instruction costs.
func (in *instruction) cost() int64 {
	switch op := in.op; {
	case op == opNop, op == opBlock, op == opLoop, op == opElse, op == opEnd:
		return 0
	case op == opCall:
		return costCall
	case op == opCallIndirect:
		return costCallIndirect
	case op == opMemoryGrow:
		return costGrow
	case op >= opI32DivS && op <= opI32RemU, op >= opI64DivS && op <= opI64RemU:
		return costDivision
	case op == opMisc && in.sub >= miscMemoryInit && in.sub != miscTableSize:
		return costBulk
	default:
		return costSimple
	}
}

// scale is how the operand on top of the stack adds to the cost: length << left >> right units. ok is
// false when it does not.
func (in *instruction) scale() (left, right int64, ok bool) {
	switch {
	case in.op == opMemoryGrow:
		return 12, 0, true // costPage
	case in.op != opMisc:
		return 0, 0, false
	}
	switch in.sub {
	case miscMemoryInit, miscMemoryCopy, miscMemoryFill:
		return 0, 4, true
	case miscTableInit, miscTableCopy, miscTableGrow, miscTableFill:
		return 0, 0, true
	}
	return 0, 0, false
}
