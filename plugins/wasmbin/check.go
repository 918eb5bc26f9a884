package wasmbin

// Check decodes module and refuses what the rules do not allow: structure beyond limits, opcodes
// outside WebAssembly 2.0 with SIMD, more than one memory, and any import or export that names the
// fuel global. Run it before an engine compiles the module, because compile time is what the limits
// bound.
func Check(module []byte, limits Limits) (*Module, error) {
	limits = limits.withDefaults()
	if len(module) > limits.ModuleBytes {
		return nil, refuse("module-bytes", "module", "%d bytes are more than the %d allowed; strip debug sections and shrink the data", len(module), limits.ModuleBytes)
	}
	m, err := Decode(module)
	if err != nil {
		return nil, err
	}
	if err := m.checkStructure(limits); err != nil {
		return nil, err
	}
	if err := m.checkNames(); err != nil {
		return nil, err
	}
	scan := scanner{limits: limits}
	for i := range m.bodies {
		if err := scan.body(m, i); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Module) checkStructure(l Limits) error {
	custom, customBytes := 0, 0
	for _, s := range m.Sections {
		if s.ID == sectionCustom {
			custom++
			customBytes += s.Size
		}
	}
	for _, c := range [...]struct {
		rule       string
		section    byte
		got, limit int
		remedy     string
	}{
		{"types", sectionType, len(m.Types), l.Types, "use fewer signatures"},
		{"imports", sectionImport, len(m.Imports), l.Imports, "import fewer functions"},
		{"functions", sectionFunction, len(m.Functions), l.Functions, "strip unused functions"},
		{"tables", sectionTable, len(m.Tables), l.Tables, "use one table"},
		{"multi-memory", sectionMemory, len(m.Memories), 1, "build without multi-memory"},
		{"globals", sectionGlobal, m.Globals, l.Globals, "keep the values in memory"},
		{"exports", sectionExport, len(m.Exports), l.Exports, "export the contract's functions only"},
		{"data-segments", sectionData, m.DataSegments, l.DataSegments, "merge the segments"},
		{"data-bytes", sectionData, m.DataBytes, l.DataBytes, "shrink the tables"},
		{"custom-sections", sectionCustom, custom, l.CustomSections, "strip the module"},
		{"custom-bytes", sectionCustom, customBytes, l.CustomBytes, "strip debug information from the module"},
	} {
		if c.got > c.limit {
			return refuse(c.rule, sectionName(c.section), "%d are more than the %d allowed; %s", c.got, c.limit, c.remedy)
		}
	}
	for i, t := range m.Types {
		if len(t.Params) > l.Parameters || len(t.Results) > l.Parameters {
			return refuse("parameters", sectionName(sectionType), "type %d has more than %d parameters or results; pass them in memory", i, l.Parameters)
		}
	}
	for i, t := range m.Tables {
		if t.Min > int64(l.TableElements) {
			return refuse("table-elements", sectionName(sectionTable), "table %d starts with more than %d elements; shrink it", i, l.TableElements)
		}
	}
	for _, mem := range m.Memories {
		if mem.Min > int64(l.MemoryPages) {
			return refuse("memory-pages", sectionName(sectionMemory), "the memory starts with %d pages, more than the %d allowed; lower the initial memory", mem.Min, l.MemoryPages)
		}
	}
	return nil
}

// checkNames keeps the fuel global out of the module's reach.
func (m *Module) checkNames() error {
	for i, e := range m.Exports {
		if e.Name == FuelGlobal {
			return refuse("fuel-global", sectionName(sectionExport), "export %d is named %q, which belongs to the host; rename it", i, FuelGlobal)
		}
	}
	for i, imp := range m.Imports {
		if imp.Name == FuelGlobal {
			return refuse("fuel-global", sectionName(sectionImport), "import %d is named %q, which belongs to the host; rename it", i, FuelGlobal)
		}
	}
	return nil
}

// scanner decodes function bodies one after the other and keeps its buffers.
type scanner struct {
	limits       Limits
	instructions []instruction
	targeted     []bool   // by instruction index: an end that a branch leads to
	open         []opener // the blocks around the current instruction
	targets      []uint32 // of the current br_table
	locals       int      // parameters and locals of the current body
	localsEnd    int      // where the code begins
	localGroups  int
	calls        bool // the body calls something
}

// opener is a block that is still open: its opcode, and whether a branch leads to its end.
type opener struct {
	op       byte
	targeted bool
}

// body decodes the index-th defined function into instructions.
func (s *scanner) body(m *Module, index int) error {
	b := m.bodies[index]
	where := functionName(m.importedFuncs + index)
	if len(b.code) > s.limits.FunctionBytes {
		return refuse("function-bytes", where, "its %d bytes are more than the %d allowed; split it, and keep tables in data segments", len(b.code), s.limits.FunctionBytes)
	}
	t, ok := m.FunctionType(uint32(m.importedFuncs + index))
	if !ok {
		return refuse("format", where, "its type does not exist")
	}
	r := &reader{bytes: b.code}
	s.readLocals(r, len(t.Params))
	if s.locals > s.limits.Locals {
		return refuse("locals", where, "it has more than %d locals; split it", s.limits.Locals)
	}
	v := s.code(r)
	if r.failed != "" {
		return refuse("format", where, "%s at byte %d", r.failed, b.offset+r.failAt)
	}
	if v != nil {
		return refuse(v.rule, where, "at byte %d it %s", b.offset+r.at, v.detail)
	}
	return nil
}

func (s *scanner) readLocals(r *reader, params int) {
	total := int64(params)
	s.localGroups = r.count(2)
	for i := 0; i < s.localGroups && r.failed == ""; i++ {
		total += int64(r.u32())
		r.byte()
		total = min(total, 1<<31)
	}
	s.locals, s.localsEnd = int(total), r.at
}

// code decodes instructions to the end of the body and marks the ends that branches lead to.
func (s *scanner) code(r *reader) *violation {
	s.instructions, s.targeted, s.open, s.calls = s.instructions[:0], s.targeted[:0], s.open[:0], false
	s.open = append(s.open, opener{op: opBlock})
	for len(s.open) > 0 && r.failed == "" {
		in, v := r.next(&s.targets, s.limits.BranchTargets)
		if v != nil {
			return v
		}
		targeted := false
		switch in.op {
		case opBlock, opLoop, opIf:
			if len(s.open) > s.limits.Nesting {
				return &violation{"nesting", "nests blocks too deeply; split the function"}
			}
			s.open = append(s.open, opener{op: in.op})
		case opElse:
			if s.open[len(s.open)-1].op != opIf {
				r.fail("an else without an if")
			}
			s.open[len(s.open)-1].op = opElse
		case opEnd:
			closing := s.open[len(s.open)-1]
			targeted = closing.targeted || closing.op == opIf || closing.op == opElse
			s.open = s.open[:len(s.open)-1]
		case opBr, opBrIf:
			s.branch(r, in.label)
		case opBrTable:
			for _, label := range s.targets {
				s.branch(r, label)
			}
		case opCall, opCallIndirect:
			s.calls = true
		}
		s.instructions = append(s.instructions, in)
		s.targeted = append(s.targeted, targeted)
	}
	if r.failed == "" && !r.done() {
		r.fail("code after the end of the function")
	}
	return nil
}

// branch notes that label is branched to. A loop is entered at its head, so its end is no target.
func (s *scanner) branch(r *reader, label uint32) {
	if int64(label) >= int64(len(s.open)) {
		r.fail("a branch leads out of the function")
		return
	}
	if o := &s.open[len(s.open)-1-int(label)]; o.op != opLoop {
		o.targeted = true
	}
}
