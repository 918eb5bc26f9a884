package wasmbin

import (
	"encoding/binary"
	"math"
)

// Builder writes a module of functions over one memory of fixed size, as the model compiler needs it.
// The zero value is ready to use.
type Builder struct {
	types     []FuncType
	functions []*Function
	exports   []Export
	data      []segment
	end       int
}

type segment struct {
	offset int
	bytes  []byte
}

// Function is one function being written. Its methods append instructions and return it, so that they
// chain. It does not check types: the engine does.
type Function struct {
	index  uint32
	typ    uint32
	params int
	locals []byte
	code   []byte
	fuel   int64
}

// Local is a parameter or local variable of a function.
type Local uint32

// Function adds a function of that signature.
func (b *Builder) Function(params, results []byte) *Function {
	f := &Function{index: uint32(len(b.functions)), typ: b.typeIndex(FuncType{Params: params, Results: results}), params: len(params)}
	b.functions = append(b.functions, f)
	return f
}

func (b *Builder) typeIndex(t FuncType) uint32 {
	for i, known := range b.types {
		if known.Equal(t) {
			return uint32(i)
		}
	}
	b.types = append(b.types, t)
	return uint32(len(b.types) - 1)
}

// Export exports f under name.
func (b *Builder) Export(name string, f *Function) {
	b.exports = append(b.exports, Export{Name: name, Kind: KindFunction, Index: f.index})
}

// Reserve takes size bytes of memory, aligned to align, which must be a power of two, and returns
// their address.
func (b *Builder) Reserve(size, align int) int {
	at := (b.end + align - 1) &^ (align - 1)
	b.end = at + size
	return at
}

// Data initialises memory at offset, which Reserve returned.
func (b *Builder) Data(offset int, content []byte) {
	b.data = append(b.data, segment{offset, content})
}

// Pages is the size of the memory in pages.
func (b *Builder) Pages() int { return max(1, (b.end+PageBytes-1)/PageBytes) }

// Bytes is the module. Its memory is exported as "memory" and can neither grow nor shrink.
func (b *Builder) Bytes() []byte {
	out := append([]byte(nil), header[:]...)
	s := appendU32(nil, uint32(len(b.types)))
	for _, t := range b.types {
		s = append(s, 0x60)
		s = append(appendU32(s, uint32(len(t.Params))), t.Params...)
		s = append(appendU32(s, uint32(len(t.Results))), t.Results...)
	}
	out = appendSection(out, sectionType, s)
	s = appendU32(nil, uint32(len(b.functions)))
	for _, f := range b.functions {
		s = appendU32(s, f.typ)
	}
	out = appendSection(out, sectionFunction, s)
	pages := uint32(b.Pages())
	out = appendSection(out, sectionMemory, appendU32(appendU32([]byte{1, 1}, pages), pages))
	s = appendU32(nil, uint32(len(b.exports)+1))
	s = append(appendName(s, "memory"), KindMemory, 0)
	for _, e := range b.exports {
		s = append(appendName(s, e.Name), e.Kind)
		s = appendU32(s, e.Index)
	}
	out = appendSection(out, sectionExport, s)
	s = appendU32(nil, uint32(len(b.functions)))
	for _, f := range b.functions {
		body := f.bytes()
		s = append(appendU32(s, uint32(len(body))), body...)
	}
	out = appendSection(out, sectionCode, s)
	if len(b.data) > 0 {
		out = appendSection(out, sectionData, b.dataSection())
	}
	return out
}

func (b *Builder) dataSection() []byte {
	s := appendU32(nil, uint32(len(b.data)))
	for _, d := range b.data {
		s = append(s, 0, opI32Const)
		s = append(appendSigned(s, int64(int32(d.offset))), opEnd)
		s = append(appendU32(s, uint32(len(d.bytes))), d.bytes...)
	}
	return s
}

// bytes is the body: the locals in runs of equal type, the code, the end.
func (f *Function) bytes() []byte {
	var runs [][2]int
	for _, t := range f.locals {
		if n := len(runs); n > 0 && runs[n-1][1] == int(t) {
			runs[n-1][0]++
		} else {
			runs = append(runs, [2]int{1, int(t)})
		}
	}
	out := appendU32(nil, uint32(len(runs)))
	for _, run := range runs {
		out = append(appendU32(out, uint32(run[0])), byte(run[1]))
	}
	out = append(out, f.code...)
	return append(out, opEnd)
}

// Fuel is the static cost of the instructions so far, in the units of Inject: the compiler sums it up
// to know how much fuel a call needs.
func (f *Function) Fuel() int64 { return f.fuel }

// EntryFuel is what entering f costs.
func (f *Function) EntryFuel() int64 {
	return costEntry + int64(f.params+len(f.locals))/8
}

// Param is the i-th parameter.
func (f *Function) Param(i int) Local { return Local(i) }

// Local adds a local variable of that type.
func (f *Function) Local(t byte) Local {
	f.locals = append(f.locals, t)
	return Local(f.params + len(f.locals) - 1)
}

// Locals adds n local variables of that type.
func (f *Function) Locals(t byte, n int) []Local {
	out := make([]Local, n)
	for i := range out {
		out[i] = f.Local(t)
	}
	return out
}

// op appends an opcode and accounts for it.
func (f *Function) op(op byte) *Function {
	in := instruction{op: op}
	f.fuel += in.cost()
	f.code = append(f.code, op)
	return f
}

// Op appends an instruction without immediates.
func (f *Function) Op(op byte) *Function { return f.op(op) }

func (f *Function) indexed(op byte, i uint32) *Function {
	f.op(op)
	f.code = appendU32(f.code, i)
	return f
}

// Get, Set and Tee access a local variable.
func (f *Function) Get(l Local) *Function { return f.indexed(opLocalGet, uint32(l)) }

// Set pops into a local variable.
func (f *Function) Set(l Local) *Function { return f.indexed(opLocalSet, uint32(l)) }

// Tee copies the top of the stack into a local variable.
func (f *Function) Tee(l Local) *Function { return f.indexed(opLocalTee, uint32(l)) }

// Call calls g.
func (f *Function) Call(g *Function) *Function { return f.indexed(opCall, g.index) }

// I32 pushes a constant.
func (f *Function) I32(v int) *Function {
	f.op(opI32Const)
	f.code = appendSigned(f.code, int64(int32(v)))
	return f
}

// I64 pushes a constant.
func (f *Function) I64(v int64) *Function {
	f.op(opI64Const)
	f.code = appendSigned(f.code, v)
	return f
}

// F32 pushes a constant.
func (f *Function) F32(v float32) *Function {
	f.op(opF32Const)
	f.code = binary.LittleEndian.AppendUint32(f.code, math.Float32bits(v))
	return f
}

// F64 pushes a constant.
func (f *Function) F64(v float64) *Function {
	f.op(opF64Const)
	f.code = binary.LittleEndian.AppendUint64(f.code, math.Float64bits(v))
	return f
}

// Memory appends a load or store: align is the exponent of the alignment, offset is added to the
// address.
func (f *Function) Memory(op byte, align, offset int) *Function {
	f.op(op)
	f.code = appendU32(appendU32(f.code, uint32(align)), uint32(offset))
	return f
}

// Block, Loop and If open a block without results; End closes it.
func (f *Function) Block() *Function { return f.open(opBlock) }

// Loop opens a loop: a branch to it goes to its head.
func (f *Function) Loop() *Function { return f.open(opLoop) }

// If opens a block that runs when the popped i32 is not 0.
func (f *Function) If() *Function { return f.open(opIf) }

func (f *Function) open(op byte) *Function {
	f.op(op)
	f.code = append(f.code, 0x40)
	return f
}

// Else begins the other arm of an If.
func (f *Function) Else() *Function { return f.op(opElse) }

// End closes the innermost block.
func (f *Function) End() *Function { return f.op(opEnd) }

// Br branches to the depth-th enclosing block.
func (f *Function) Br(depth int) *Function { return f.indexed(opBr, uint32(depth)) }

// BrIf branches when the popped i32 is not 0.
func (f *Function) BrIf(depth int) *Function { return f.indexed(opBrIf, uint32(depth)) }

// Return returns from the function.
func (f *Function) Return() *Function { return f.op(opReturn) }

// Vector appends a vector instruction without immediates.
func (f *Function) Vector(sub byte) *Function {
	f.op(opVector)
	f.code = appendU32(f.code, uint32(sub))
	return f
}

// VectorMemory appends a vector load or store.
func (f *Function) VectorMemory(sub byte, align, offset int) *Function {
	f.Vector(sub)
	f.code = appendU32(appendU32(f.code, uint32(align)), uint32(offset))
	return f
}

// VectorLaneMemory appends a load or store of one lane.
func (f *Function) VectorLaneMemory(sub byte, align, offset, lane int) *Function {
	f.VectorMemory(sub, align, offset)
	f.code = append(f.code, byte(lane))
	return f
}

// VectorConst pushes a vector constant.
func (f *Function) VectorConst(v [16]byte) *Function {
	f.Vector(12)
	f.code = append(f.code, v[:]...)
	return f
}

// Shuffle appends i8x16.shuffle.
func (f *Function) Shuffle(lanes [16]byte) *Function {
	f.Vector(13)
	f.code = append(f.code, lanes[:]...)
	return f
}

// Select picks the first of two values when the popped i32 is not 0, else the second.
func (f *Function) Select() *Function { return f.op(opSelect) }

// MemoryCopy pops length, source and destination and copies within memory.
func (f *Function) MemoryCopy() *Function { return f.misc(miscMemoryCopy, 0, 0) }

// TruncateToI64 appends i64.trunc_sat_f64_s.
func (f *Function) TruncateToI64() *Function { return f.misc(6) }

func (f *Function) misc(sub byte, immediates ...byte) *Function {
	in := instruction{op: opMisc, sub: sub}
	f.fuel += in.cost()
	f.code = append(append(f.code, opMisc, sub), immediates...)
	return f
}

// MemoryFill pops length, byte and destination and fills memory.
func (f *Function) MemoryFill() *Function { return f.misc(miscMemoryFill, 0) }

// MemoryGrow pops a number of pages and pushes the former size, or -1.
func (f *Function) MemoryGrow() *Function {
	f.op(opMemoryGrow)
	f.code = append(f.code, 0)
	return f
}

// BrTable branches to the depth at the popped index, to the last of depths when there is none.
func (f *Function) BrTable(depths ...uint32) *Function {
	f.op(opBrTable)
	f.code = appendU32(f.code, uint32(len(depths)-1))
	for _, d := range depths {
		f.code = appendU32(f.code, d)
	}
	return f
}

// VectorLane appends an instruction that takes or replaces one lane.
func (f *Function) VectorLane(sub byte, lane int) *Function {
	f.Vector(sub)
	f.code = append(f.code, byte(lane))
	return f
}
