package wasmbin

import (
	"bytes"
	"slices"
)

// Module is the outline of a binary: what it imports, exports and declares. Function bodies and data
// are counted, not decoded. Slices that hold bytes share the module's memory.
type Module struct {
	Sections []Section
	Types    []FuncType
	Imports  []Import
	// Functions are the type indexes of the functions the module defines; the function index space
	// starts with the imported ones.
	Functions []uint32
	Tables    []Limit
	// Memories holds the imported memories, then the defined ones.
	Memories []Limit
	// Globals counts the imported and the defined globals.
	Globals int
	Exports []Export
	// Start is the function run at instantiation, or -1.
	Start int
	// DataBytes is the sum of all data segments, DataSegments their number.
	DataBytes    int
	DataSegments int

	bodies          []body
	importedFuncs   int
	importedGlobals int
}

// Section is one section: Offset and Size locate its body within the module. Name is set for custom
// sections.
type Section struct {
	ID     byte
	Name   string
	Offset int
	Size   int
}

// FuncType is the signature of a function in value types.
type FuncType struct{ Params, Results []byte }

// Equal tells whether both signatures are the same.
func (t FuncType) Equal(o FuncType) bool {
	return bytes.Equal(t.Params, o.Params) && bytes.Equal(t.Results, o.Results)
}

// Import is one imported item.
type Import struct {
	Module, Name string
	Kind         byte
	// Type is the index of a function's type in Module.Types, which may be out of range.
	Type uint32
}

// Export is one exported item; Index counts within the index space of its kind.
type Export struct {
	Name  string
	Kind  byte
	Index uint32
}

// Limit is the declared size of a memory in pages or of a table in elements. Max is -1 when the module
// declares none.
type Limit struct {
	Min int64
	Max int64
}

// body is one function body: its bytes and where they lie in the module.
type body struct {
	code   []byte
	offset int
}

// Decode reads the outline of module. It refuses what is malformed, shared or 64-bit memories, and
// sections of proposals this host does not know. Its work and memory are linear in len(module).
func Decode(module []byte) (*Module, error) {
	if len(module) < len(header) || !bytes.Equal(module[:4], header[:4]) {
		return nil, refuse("format", "module", "this is not a WebAssembly binary; push a .wasm file")
	}
	if !bytes.Equal(module[4:8], header[4:]) {
		return nil, refuse("format", "module", "only binary version 1 of core modules is supported; a component must be converted to a core module")
	}
	m := &Module{Start: -1}
	d := decoder{m: m, module: module}
	if err := d.sections(); err != nil {
		return nil, err
	}
	if len(m.bodies) != len(m.Functions) {
		return nil, refuse("format", sectionName(sectionCode), "%d bodies for %d functions", len(m.bodies), len(m.Functions))
	}
	return m, nil
}

type decoder struct {
	m      *Module
	module []byte
}

// sectionOrder is the rank of each section id; 0 means unknown.
var sectionOrder = [...]int{sectionType: 1, sectionImport: 2, sectionFunction: 3, sectionTable: 4, sectionMemory: 5,
	sectionGlobal: 6, sectionExport: 7, sectionStart: 8, sectionElement: 9, sectionDataCount: 10, sectionCode: 11, sectionData: 12}

func (d *decoder) sections() error {
	r := &reader{bytes: d.module, at: len(header)}
	last := 0
	for !r.done() {
		id := r.byte()
		size := r.count(1)
		at := r.at
		content := r.take(size)
		if r.failed != "" {
			return refuse("format", sectionName(id), "%s at byte %d", r.failed, r.failAt)
		}
		if id != sectionCustom {
			if int(id) >= len(sectionOrder) {
				return refuse("section", sectionName(id), "this section belongs to a proposal that is not supported; build for WebAssembly 2.0")
			}
			if sectionOrder[id] <= last {
				return refuse("format", sectionName(id), "the section is repeated or out of order")
			}
			last = sectionOrder[id]
		}
		s := &reader{bytes: content}
		section := Section{ID: id, Offset: at, Size: size}
		if err := d.section(id, s, &section); err != nil {
			return err
		}
		if s.failed != "" {
			return refuse("format", sectionName(id), "%s at byte %d", s.failed, at+s.failAt)
		}
		if !s.done() {
			return refuse("format", sectionName(id), "%d bytes too many", s.left())
		}
		d.m.Sections = append(d.m.Sections, section)
	}
	return nil
}

func (d *decoder) section(id byte, r *reader, section *Section) error {
	m := d.m
	switch id {
	case sectionCustom:
		section.Name = r.name()
		r.take(r.left())
	case sectionType:
		return d.types(r)
	case sectionImport:
		return d.imports(r)
	case sectionFunction:
		m.Functions = make([]uint32, 0, r.count(1))
		for range cap(m.Functions) {
			m.Functions = append(m.Functions, r.u32())
		}
	case sectionTable:
		for n := r.count(3); n > 0 && r.failed == ""; n-- {
			if err := d.table(r); err != nil {
				return err
			}
		}
	case sectionMemory:
		for n := r.count(2); n > 0 && r.failed == ""; n-- {
			if err := d.memory(r); err != nil {
				return err
			}
		}
	case sectionGlobal:
		// The initialisers are constant expressions; the engine has validated them.
		m.Globals += r.count(3)
		r.take(r.left())
	case sectionExport:
		m.Exports = make([]Export, 0, r.count(3))
		for range cap(m.Exports) {
			m.Exports = append(m.Exports, Export{Name: r.name(), Kind: r.byte(), Index: r.u32()})
		}
	case sectionStart:
		m.Start = int(r.u32())
	case sectionElement:
		r.take(r.left())
	case sectionDataCount:
		r.u32()
	case sectionCode:
		m.bodies = make([]body, 0, r.count(2))
		for range cap(m.bodies) {
			n := r.count(1)
			m.bodies = append(m.bodies, body{offset: section.Offset + r.at, code: r.take(n)})
		}
	case sectionData:
		return d.data(r)
	}
	return nil
}

func (d *decoder) types(r *reader) error {
	d.m.Types = make([]FuncType, 0, r.count(3))
	for i := range cap(d.m.Types) {
		if form := r.byte(); form != 0x60 && r.failed == "" {
			return refuse("type", sectionName(sectionType), "type %d is not a plain function type; build without garbage collection and typed references", i)
		}
		params := r.take(r.count(1))
		results := r.take(r.count(1))
		d.m.Types = append(d.m.Types, FuncType{Params: params, Results: results})
	}
	return nil
}

func (d *decoder) imports(r *reader) error {
	d.m.Imports = make([]Import, 0, r.count(4))
	for range cap(d.m.Imports) {
		imp := Import{Module: r.name(), Name: r.name(), Kind: r.byte()}
		var err error
		switch imp.Kind {
		case KindFunction:
			imp.Type = r.u32()
			d.m.importedFuncs++
		case KindTable:
			err = d.table(r)
		case KindMemory:
			err = d.memory(r)
		case KindGlobal:
			r.skip(2)
			d.m.Globals++
			d.m.importedGlobals++
		default:
			if r.failed == "" {
				err = refuse("import", sectionName(sectionImport), "an import of kind %d is not supported; build for WebAssembly 2.0", imp.Kind)
			}
		}
		if err != nil {
			return err
		}
		d.m.Imports = append(d.m.Imports, imp)
	}
	return nil
}

func (d *decoder) table(r *reader) error {
	if kind := r.byte(); kind != 0x70 && kind != 0x6f && r.failed == "" {
		return refuse("table", sectionName(sectionTable), "a table holds funcref or externref; build for WebAssembly 2.0")
	}
	limit, err := readLimit(r, "table", sectionName(sectionTable))
	d.m.Tables = append(d.m.Tables, limit)
	return err
}

func (d *decoder) memory(r *reader) error {
	limit, err := readLimit(r, "memory", sectionName(sectionMemory))
	d.m.Memories = append(d.m.Memories, limit)
	return err
}

func readLimit(r *reader, rule, where string) (Limit, error) {
	flag := r.byte()
	if flag > 1 && r.failed == "" {
		return Limit{}, refuse(rule, where, "shared and 64-bit memories are not supported; build without threads and for wasm32")
	}
	limit := Limit{Min: int64(r.u32()), Max: -1}
	if flag == 1 {
		limit.Max = int64(r.u32())
	}
	return limit, nil
}

func (d *decoder) data(r *reader) error {
	n := r.count(2)
	d.m.DataSegments = n
	for i := 0; i < n && r.failed == ""; i++ {
		switch flag := r.u32(); flag {
		case 0, 2:
			if flag == 2 && r.u32() != 0 {
				return refuse("memory", sectionName(sectionData), "segment %d names a second memory; build without multi-memory", i)
			}
			if !skipConstant(r) && r.failed == "" {
				return refuse("data", sectionName(sectionData), "the offset of segment %d is not a constant or a global; build without extended constant expressions", i)
			}
		case 1:
		default:
			r.fail("unknown kind of data segment")
		}
		size := r.count(1)
		r.skip(size)
		d.m.DataBytes += size
	}
	return nil
}

// skipConstant skips a constant i32 expression.
func skipConstant(r *reader) bool {
	switch r.byte() {
	case opI32Const:
		r.signed(32)
	case opGlobalGet:
		r.u32()
	default:
		return false
	}
	return r.byte() == opEnd
}

// FunctionType is the signature of a function by its index in the function index space; ok is false
// for imported functions and for indexes out of range.
func (m *Module) FunctionType(index uint32) (t FuncType, ok bool) {
	i := int(index) - m.importedFuncs
	if i < 0 || i >= len(m.Functions) || int64(m.Functions[i]) >= int64(len(m.Types)) {
		return FuncType{}, false
	}
	return m.Types[m.Functions[i]], true
}

// Export looks an export up by name and kind.
func (m *Module) Export(name string, kind byte) (Export, bool) {
	for _, e := range m.Exports {
		if e.Name == name && e.Kind == kind {
			return e, true
		}
	}
	return Export{}, false
}

// CustomSection returns the body of the one custom section of that name; ok is false when there is
// none. Two of them are refused, because readers would disagree on which one counts.
func CustomSection(module []byte, name string) (content []byte, ok bool, err error) {
	m, err := Decode(module)
	if err != nil {
		return nil, false, err
	}
	for _, s := range m.Sections {
		if s.ID != sectionCustom || s.Name != name {
			continue
		}
		if ok {
			return nil, false, refuse("custom", "section 0 (custom)", "there are two sections named %q; keep one", name)
		}
		r := &reader{bytes: module[s.Offset : s.Offset+s.Size]}
		r.name()
		content, ok = r.bytes[r.at:], true
	}
	return content, ok, nil
}

// AppendCustomSection returns module with one more custom section at its end. module is not changed.
func AppendCustomSection(module []byte, name string, content []byte) []byte {
	b := appendName(nil, name)
	b = append(b, content...)
	return appendSection(slices.Clip(module), sectionCustom, b)
}

// WithoutCustomSection returns module without the custom sections of that name.
func WithoutCustomSection(module []byte, name string) ([]byte, error) {
	m, err := Decode(module)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(module))
	out = append(out, header[:]...)
	for _, s := range m.Sections {
		if s.ID == sectionCustom && s.Name == name {
			continue
		}
		out = appendSection(out, s.ID, module[s.Offset:s.Offset+s.Size])
	}
	return out, nil
}

func appendSection(out []byte, id byte, content []byte) []byte {
	out = append(out, id)
	out = appendU32(out, uint32(len(content)))
	return append(out, content...)
}

func appendName(out []byte, name string) []byte {
	out = appendU32(out, uint32(len(name)))
	return append(out, name...)
}

// appendU32 appends an unsigned LEB128.
func appendU32(out []byte, v uint32) []byte {
	for v >= 0x80 {
		out = append(out, byte(v)|0x80)
		v >>= 7
	}
	return append(out, byte(v))
}

// appendSigned appends a signed LEB128.
func appendSigned(out []byte, v int64) []byte {
	for {
		b := byte(v & 0x7f)
		v >>= 7
		if v == 0 && b&0x40 == 0 || v == -1 && b&0x40 != 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}
