package wasmbin

// Inject returns module with a fuel counter built in: a mutable i64 global, exported as FuelGlobal,
// from which every basic block subtracts its cost before it runs. When the counter falls below zero
// the guest executes unreachable, which is a trap; the global then holds a negative number.
//
// The cost of a block is the sum over its instructions: 1 for each, 0 for nop and block structure, 4
// for calls and integer divisions, 8 for indirect calls, 16 for bulk operations and 64 for memory.grow;
// entering a function costs 2 and 1 for each 8 locals. Bulk memory operations also cost 1 for each 16
// bytes, bulk table operations 1 for each element, memory.grow 4096 for each page. The same calls on
// the same input cost the same on every machine.
//
// Blocks are merged where control can only fall through, so straight code in a loop is charged once an
// iteration. Inject runs Check with opts.Limits first. The original module must have been validated by
// the engine: see the package comment. Adding the counter changes no index.
func Inject(module []byte, opts InjectOptions) ([]byte, error) {
	m, err := Check(module, opts.Limits)
	if err != nil {
		return nil, err
	}
	in := injector{module: module, m: m, fuel: uint32(m.Globals), initial: opts.InitialFuel}
	if in.initial <= 0 {
		in.initial = DefaultInitialFuel
	}
	in.scan.limits = opts.Limits.withDefaults()
	return in.run()
}

type injector struct {
	module  []byte
	m       *Module
	fuel    uint32 // index of the fuel global
	initial int64
	scan    scanner
	out     []byte
	body    []byte // the body being written
}

// run copies the sections and rewrites those for globals, exports and code.
func (in *injector) run() ([]byte, error) {
	in.out = make([]byte, 0, len(in.module)+len(in.module)/4+64)
	in.out = append(in.out, header[:]...)
	wroteGlobal, wroteExport := false, false
	for _, s := range in.m.Sections {
		if s.ID != sectionCustom {
			rank := sectionOrder[s.ID]
			if !wroteGlobal && rank >= sectionOrder[sectionGlobal] {
				in.addItem(sectionGlobal, in.content(sectionGlobal), in.globalItem())
				wroteGlobal = true
			}
			if !wroteExport && rank >= sectionOrder[sectionExport] {
				in.addItem(sectionExport, in.content(sectionExport), in.exportItem())
				wroteExport = true
			}
		}
		switch s.ID {
		case sectionGlobal, sectionExport:
		case sectionCode:
			if err := in.code(); err != nil {
				return nil, err
			}
		default:
			in.out = appendSection(in.out, s.ID, in.module[s.Offset:s.Offset+s.Size])
		}
	}
	if !wroteGlobal {
		in.addItem(sectionGlobal, nil, in.globalItem())
	}
	if !wroteExport {
		in.addItem(sectionExport, nil, in.exportItem())
	}
	return in.out, nil
}

// content is the body of the section with that id, nil if there is none.
func (in *injector) content(id byte) []byte {
	for _, s := range in.m.Sections {
		if s.ID == id {
			return in.module[s.Offset : s.Offset+s.Size]
		}
	}
	return nil
}

// addItem writes a section that is a vector with one item more.
func (in *injector) addItem(id byte, content, item []byte) {
	r := &reader{bytes: content}
	n := uint32(0)
	if len(content) > 0 {
		n = r.u32()
	}
	b := appendU32(nil, n+1)
	b = append(b, content[r.at:]...)
	in.out = appendSection(in.out, id, append(b, item...))
}

func (in *injector) globalItem() []byte {
	return append(appendSigned([]byte{I64, 1, opI64Const}, in.initial), opEnd)
}

func (in *injector) exportItem() []byte {
	return appendU32(append(appendName(nil, FuelGlobal), KindGlobal), in.fuel)
}

func (in *injector) code() error {
	content := appendU32(nil, uint32(len(in.m.bodies)))
	for i := range in.m.bodies {
		if err := in.scan.body(in.m, i); err != nil {
			return err
		}
		in.meter(in.m.bodies[i].code)
		content = appendU32(content, uint32(len(in.body)))
		content = append(content, in.body...)
	}
	in.out = appendSection(in.out, sectionCode, content)
	return nil
}

// meter rewrites the body that was scanned last: two more locals, and a charge at each block start.
func (in *injector) meter(code []byte) {
	s := &in.scan
	fuel, operand := uint32(s.locals), uint32(s.locals+1)
	r := &reader{bytes: code}
	r.u32()
	in.body = appendU32(in.body[:0], uint32(s.localGroups+2))
	in.body = append(in.body, code[r.at:s.localsEnd]...)
	in.body = append(in.body, 1, I64, 1, I32)

	cost := int64(costEntry + s.locals/8)
	start := 0
	for i := range s.instructions {
		step := &s.instructions[i]
		if s.startsBlock(i) {
			in.block(code, start, i, cost, fuel, operand)
			start, cost = i, 0
		}
		cost += step.cost()
	}
	in.block(code, start, len(s.instructions), cost, fuel, operand)
}

// startsBlock tells whether instruction i may be reached other than from i-1, or i-1 may lead
// elsewhere. The loop instruction and the ends themselves belong to the block before.
func (s *scanner) startsBlock(i int) bool {
	if i == 0 {
		return false
	}
	switch s.instructions[i-1].op {
	case opLoop, opIf, opElse, opBr, opBrIf, opBrTable, opReturn, opUnreachable:
		return true
	case opEnd:
		return s.targeted[i-1]
	}
	return false
}

// block writes the instructions [from, to) behind a charge of cost.
func (in *injector) block(code []byte, from, to int, cost int64, fuel, operand uint32) {
	if cost > 0 {
		in.body = append(in.body, opGlobalGet)
		in.body = appendU32(in.body, in.fuel)
		in.body = appendSigned(append(in.body, opI64Const), cost)
		in.take(fuel)
	}
	copied := s0(in.scan.instructions, from, code)
	for i := from; i < to; i++ {
		step := &in.scan.instructions[i]
		left, right, dynamic := step.scale()
		if !dynamic {
			continue
		}
		in.body = append(in.body, code[copied:step.start]...)
		copied = step.start
		in.body = appendU32(append(in.body, opLocalTee), operand)
		in.body = appendU32(append(in.body, opGlobalGet), in.fuel)
		in.body = appendU32(append(in.body, opLocalGet), operand)
		in.body = append(in.body, opI64ExtendU)
		if left > 0 {
			in.body = append(appendSigned(append(in.body, opI64Const), left), opI64Shl)
		}
		if right > 0 {
			in.body = append(appendSigned(append(in.body, opI64Const), right), opI64ShrU)
		}
		in.take(fuel)
	}
	if to > from {
		in.body = append(in.body, code[copied:in.scan.instructions[to-1].end]...)
	}
}

// s0 is where instruction i begins.
func s0(instructions []instruction, i int, code []byte) int {
	if i < len(instructions) {
		return instructions[i].start
	}
	return len(code)
}

// take subtracts the top of the stack from the fuel below it and traps when that leaves less than 0.
func (in *injector) take(fuel uint32) {
	in.body = append(in.body, opI64Sub)
	in.body = appendU32(append(in.body, opLocalTee), fuel)
	in.body = appendU32(append(in.body, opGlobalSet), in.fuel)
	in.body = appendU32(append(in.body, opLocalGet), fuel)
	in.body = append(in.body, opI64Const, 0, opI64LtS, opIf, 0x40, opUnreachable, opEnd)
}
