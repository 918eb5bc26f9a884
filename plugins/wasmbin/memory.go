package wasmbin

// OwnMemory returns module with the memory that it imports turned into one of its own, exported under
// name unless it exports it already. No index changes: a module has one memory. Modules that bring their
// own memory are only given the export. The result must be validated like any module.
func OwnMemory(module []byte, name string) ([]byte, error) {
	m, err := Decode(module)
	if err != nil {
		return nil, err
	}
	imported := -1
	for i, imp := range m.Imports {
		if imp.Kind == KindMemory {
			imported = i
		}
	}
	if len(m.Memories) != 1 {
		return nil, refuse("memory", sectionName(sectionMemory), "the module has %d memories; build it with one", len(m.Memories))
	}
	_, exported := m.Export(name, KindMemory)
	if imported < 0 && exported {
		return module, nil
	}
	in := injector{module: module, m: m}
	in.out = append(in.out, header[:]...)
	wroteMemory, wroteExport := imported < 0, exported
	flush := func(rank int) {
		if !wroteMemory && rank >= sectionOrder[sectionMemory] {
			in.addItem(sectionMemory, nil, limitItem(m.Memories[0]))
			wroteMemory = true
		}
		if !wroteExport && rank >= sectionOrder[sectionExport] {
			in.addItem(sectionExport, in.content(sectionExport), appendU32(append(appendName(nil, name), KindMemory), 0))
			wroteExport = true
		}
	}
	for _, s := range m.Sections {
		if s.ID != sectionCustom {
			flush(sectionOrder[s.ID])
		}
		content := module[s.Offset : s.Offset+s.Size]
		switch {
		case s.ID == sectionImport && imported >= 0:
			in.out = appendSection(in.out, sectionImport, withoutImport(content, imported))
		case s.ID == sectionMemory && imported >= 0, s.ID == sectionExport && !exported:
			// written by flush; an own memory section beside an imported memory is empty
		default:
			in.out = appendSection(in.out, s.ID, content)
		}
	}
	flush(len(sectionOrder))
	return in.out, nil
}

func limitItem(l Limit) []byte {
	if l.Max < 0 {
		return appendU32([]byte{0}, uint32(l.Min))
	}
	return appendU32(appendU32([]byte{1}, uint32(l.Min)), uint32(l.Max))
}

// withoutImport drops item number drop of an import section that Decode has read.
func withoutImport(content []byte, drop int) []byte {
	r := &reader{bytes: content}
	n := int(r.u32())
	out := appendU32(nil, uint32(n-1))
	for i := range n {
		from := r.at
		r.name()
		r.name()
		switch r.byte() {
		case KindFunction:
			r.u32()
		case KindTable:
			r.byte()
			skipLimit(r)
		case KindMemory:
			skipLimit(r)
		case KindGlobal:
			r.skip(2)
		}
		if i != drop {
			out = append(out, content[from:r.at]...)
		}
	}
	return out
}

func skipLimit(r *reader) {
	if r.byte() == 1 {
		r.u32()
	}
	r.u32()
}
