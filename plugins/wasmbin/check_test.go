package wasmbin_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// body wraps instructions in a module with one function () -> () and one memory.
func body(instructions ...byte) []byte {
	return assemble(section(1, vec(raw(0x60, 0, 0))), section(3, vec(raw(0))), section(5, vec(raw(0, 1))),
		section(10, vec(code(instructions...))))
}

// withLocals is a module whose one function has n i32 locals.
func withLocals(n int) []byte {
	b := slices.Concat([]byte{1}, leb(n), []byte{0x7f, 0x0b})
	return assemble(section(1, vec(raw(0x60, 0, 0))), section(3, vec(raw(0))), section(10, vec(append(leb(len(b)), b...))))
}

func typesOnly(sections ...[]byte) []byte {
	return assemble(slices.Concat([][]byte{section(1, vec(raw(0x60, 0, 0)))}, sections)...)
}

// TestRules breaks each rule and expects its name and the place in the message.
func TestRules(t *testing.T) {
	nested := func(n int) []byte {
		return slices.Concat(bytes.Repeat([]byte{0x02, 0x40}, n), bytes.Repeat([]byte{0x0b}, n))
	}
	table := slices.Concat(raw(0x41, 0, 0x0e), leb(40), make([]byte, 41))
	for _, c := range []struct {
		name   string
		module []byte
		limits wasmbin.Limits
		want   []string
	}{
		{"not wasm", []byte("PK\x03\x04 something else"), wasmbin.Limits{}, []string{"rule format", "not a WebAssembly binary"}},
		{"component", []byte("\x00asm\x0d\x00\x01\x00"), wasmbin.Limits{}, []string{"rule format", "component"}},
		{"module too large", body(0x01), wasmbin.Limits{ModuleBytes: 10}, []string{"rule module-bytes"}},
		{"function too large", body(bytes.Repeat([]byte{0x01}, 200)...), wasmbin.Limits{FunctionBytes: 100}, []string{"rule function-bytes", "function 0"}},
		{"too many locals", withLocals(513), wasmbin.Limits{}, []string{"rule locals", "function 0", "512"}},
		{"locals beyond 32 bits", withLocals(1<<32 - 1), wasmbin.Limits{}, []string{"rule locals"}},
		{"nesting", body(nested(65)...), wasmbin.Limits{}, []string{"rule nesting", "function 0"}},
		{"branch table", body(table...), wasmbin.Limits{BranchTargets: 39}, []string{"rule branch-targets"}},
		{"too many functions", assemble(section(1, vec(raw(0x60, 0, 0))), section(3, vec(raw(0), raw(0), raw(0))), section(10, vec(code(), code(), code()))),
			wasmbin.Limits{Functions: 2}, []string{"rule functions", "section 3 (function)"}},
		{"too many types", assemble(section(1, vec(raw(0x60, 0, 0), raw(0x60, 0, 0)))), wasmbin.Limits{Types: 1}, []string{"rule types"}},
		{"too many parameters", assemble(section(1, vec(append(raw(0x60, 3, 0x7f, 0x7f, 0x7f), 0)))), wasmbin.Limits{Parameters: 2}, []string{"rule parameters", "type 0"}},
		{"too much memory", typesOnly(section(5, vec(append([]byte{0}, leb(2000)...)))), wasmbin.Limits{}, []string{"rule memory-pages", "section 5"}},
		{"too many exports", typesOnly(section(7, vec(raw(1, 'a', 2, 0), raw(1, 'b', 2, 0)))), wasmbin.Limits{Exports: 1}, []string{"rule exports"}},
		{"too many imports", typesOnly(section(2, vec(raw(1, 'a', 1, 'b', 0, 0), raw(1, 'a', 1, 'c', 0, 0)))), wasmbin.Limits{Imports: 1}, []string{"rule imports"}},
		{"large table", typesOnly(section(4, vec(append([]byte{0x70, 0}, leb(70000)...)))), wasmbin.Limits{}, []string{"rule table-elements"}},
		{"too many tables", typesOnly(section(4, vec(raw(0x70, 0, 1), raw(0x70, 0, 1)))), wasmbin.Limits{Tables: 1}, []string{"rule tables"}},
		{"too many globals", typesOnly(section(6, vec(raw(0x7f, 0, 0x41, 0, 0x0b), raw(0x7f, 0, 0x41, 0, 0x0b)))), wasmbin.Limits{Globals: 1}, []string{"rule globals"}},
		{"too much data", typesOnly(section(5, vec(raw(0, 1))), section(11, vec(append(raw(0, 0x41, 0, 0x0b, 20), make([]byte, 20)...)))), wasmbin.Limits{DataBytes: 19}, []string{"rule data-bytes"}},
		{"too many data segments", typesOnly(section(5, vec(raw(0, 1))), section(11, vec(raw(1, 0), raw(1, 0)))), wasmbin.Limits{DataSegments: 1}, []string{"rule data-segments"}},
		{"custom bytes", typesOnly(section(0, append(raw(1, 'x'), make([]byte, 50)...))), wasmbin.Limits{CustomBytes: 50}, []string{"rule custom-bytes"}},
		{"custom sections", typesOnly(section(0, raw(1, 'x')), section(0, raw(1, 'y'))), wasmbin.Limits{CustomSections: 1}, []string{"rule custom-sections"}},
		{"two memories", typesOnly(section(5, vec(raw(0, 1), raw(0, 1)))), wasmbin.Limits{}, []string{"rule multi-memory"}},
		{"shared memory", typesOnly(section(5, vec(raw(3, 1, 1)))), wasmbin.Limits{}, []string{"rule memory", "threads"}},
		{"64-bit memory", typesOnly(section(5, vec(raw(4, 1)))), wasmbin.Limits{}, []string{"rule memory"}},
		{"load from second memory", body(0x41, 0, 0x28, 0x42, 1, 0, 0x1a), wasmbin.Limits{}, []string{"rule multi-memory", "function 0"}},
		{"grow of second memory", body(0x41, 0, 0x40, 1, 0x1a), wasmbin.Limits{}, []string{"rule multi-memory"}},
		{"exports the fuel", assemble(section(6, vec(raw(0x7e, 1, 0x42, 0, 0x0b))), section(7, vec(append(append(raw(12), "arbiter_fuel"...), 3, 0)))),
			wasmbin.Limits{}, []string{"rule fuel-global", "section 7", "export 0"}},
		{"exports a function of that name", typesOnly(section(3, vec(raw(0))), section(7, vec(append(append(raw(12), "arbiter_fuel"...), 0, 0))), section(10, vec(code()))),
			wasmbin.Limits{}, []string{"rule fuel-global"}},
		{"imports the fuel", typesOnly(section(2, vec(append(append(raw(1, 'm', 12), "arbiter_fuel"...), 3, 0x7e, 1)))), wasmbin.Limits{}, []string{"rule fuel-global", "section 2", "import 0"}},
		{"atomics", body(0xfe, 0x03, 0x00), wasmbin.Limits{}, []string{"rule threads", "function 0"}},
		{"tail call", body(0x12, 0), wasmbin.Limits{}, []string{"rule tail-calls"}},
		{"exceptions", body(0x06, 0x40, 0x0b), wasmbin.Limits{}, []string{"rule exceptions"}},
		{"tags", typesOnly(section(13, vec(raw(0, 0)))), wasmbin.Limits{}, []string{"rule section", "section 13"}},
		{"typed references", body(0x14, 0), wasmbin.Limits{}, []string{"rule typed-references"}},
		{"garbage collection", body(0xfb, 0), wasmbin.Limits{}, []string{"rule garbage-collection"}},
		{"struct type", assemble(section(1, vec(raw(0x5f, 0, 0)))), wasmbin.Limits{}, []string{"rule type"}},
		{"relaxed SIMD", body(0xfd, 0x80, 0x02), wasmbin.Limits{}, []string{"rule relaxed-simd"}},
		// The engine reads only the byte after 0xfd, so what follows would run unmetered.
		{"long 0xfd opcode", body(0xfd, 0x8c, 0x00), wasmbin.Limits{}, []string{"rule opcode", "oddly encoded"}},
		{"longer 0xfd opcode", body(0xfd, 0x8c, 0x80, 0x00), wasmbin.Limits{}, []string{"rule opcode"}},
		{"long 0xfc opcode", body(0xfc, 0x8a, 0x00, 0, 0), wasmbin.Limits{}, []string{"rule opcode"}},
		{"unknown 0xfc opcode", body(0xfc, 18), wasmbin.Limits{}, []string{"rule opcode"}},
		{"unknown opcode", body(0x27), wasmbin.Limits{}, []string{"rule opcode"}},
		{"branch out of the function", body(0x0c, 1), wasmbin.Limits{}, []string{"rule format", "function 0", "branch"}},
		{"else without if", body(0x02, 0x40, 0x05, 0x0b), wasmbin.Limits{}, []string{"rule format", "else"}},
		{"code after the end", body(0x0b, 0x01), wasmbin.Limits{}, []string{"rule format", "after the end"}},
		{"unclosed block", body(0x02, 0x40), wasmbin.Limits{}, []string{"rule format", "unexpected end"}},
		{"section out of order", assemble(section(3, vec()), section(1, vec())), wasmbin.Limits{}, []string{"rule format", "out of order"}},
		{"repeated section", assemble(section(1, vec()), section(1, vec())), wasmbin.Limits{}, []string{"rule format", "repeated"}},
		{"section beyond the end", assemble(raw(1, 200, 1)), wasmbin.Limits{}, []string{"rule format", "section 1"}},
		{"vector beyond the section", assemble(section(1, raw(0xff, 0xff, 0xff, 0xff, 0x0f))), wasmbin.Limits{}, []string{"rule format", "longer than"}},
		{"number of more than 32 bits", assemble(section(3, raw(0xff, 0xff, 0xff, 0xff, 0x1f))), wasmbin.Limits{}, []string{"rule format", "32 bits"}},
		{"bodies without functions", typesOnly(section(10, vec(code()))), wasmbin.Limits{}, []string{"rule format", "1 bodies for 0 functions"}},
		{"functions without bodies", typesOnly(section(3, vec(raw(0)))), wasmbin.Limits{}, []string{"rule format", "0 bodies for 1 functions"}},
		{"unknown type", assemble(section(1, vec(raw(0x60, 0, 0))), section(3, vec(raw(7))), section(10, vec(code()))), wasmbin.Limits{}, []string{"rule format", "type does not exist"}},
		{"name that is no text", typesOnly(section(7, vec(raw(1, 0xff, 0, 0)))), wasmbin.Limits{}, []string{"rule format", "UTF-8"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for what, err := range map[string]error{
				"Check":  func() error { _, err := wasmbin.Check(c.module, c.limits); return err }(),
				"Inject": func() error { _, err := wasmbin.Inject(c.module, wasmbin.InjectOptions{Limits: c.limits}); return err }(),
			} {
				if nba.CodeOf(err) != nba.CodePluginRefused {
					t.Fatalf("%s gives %v, want %s", what, err, nba.CodePluginRefused)
				}
				for _, want := range c.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%s says %q, want %q in it", what, err, want)
					}
				}
				if e, _ := errors.AsType[*nba.Error](err); len(e.Details) != 1 || e.Details[0].Pointer == "" {
					t.Errorf("%s has details %v, want one that names the rule", what, e.Details)
				}
			}
		})
	}
}

// TestLimitsAllowTheirValue checks that a limit is the last value that passes.
func TestLimitsAllowTheirValue(t *testing.T) {
	for name, module := range map[string][]byte{
		"locals":  withLocals(512),
		"nesting": body(slices.Concat(bytes.Repeat([]byte{0x02, 0x40}, 64), bytes.Repeat([]byte{0x0b}, 64))...),
		"empty":   assemble(),
		"code":    body(0x01),
	} {
		if _, err := wasmbin.Check(module, wasmbin.Limits{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestAllOpcodesDecode walks every opcode that is allowed, with its immediates, so that a wrong length
// shows as a malformed body.
func TestAllOpcodesDecode(t *testing.T) {
	f := func(instruction ...byte) {
		t.Helper()
		// A loop around it ends the body where it must end only if the length is right.
		m := body(slices.Concat([]byte{0x00}, instruction, []byte{0x01})...)
		if _, err := wasmbin.Check(m, wasmbin.Limits{}); err != nil {
			t.Errorf("% x: %v", instruction, err)
		}
	}
	for op := 0x45; op <= 0xc4; op++ {
		f(byte(op))
	}
	for op := 0x28; op <= 0x3e; op++ {
		f(byte(op), 2, 0x80, 1)
	}
	for _, in := range [][]byte{{0x00}, {0x01}, {0x0c, 0}, {0x0d, 0}, {0x0e, 1, 0, 0}, {0x0f}, {0x10, 0}, {0x11, 0, 0}, {0x1a}, {0x1b}, {0x1c, 1, 0x7f},
		{0x20, 0}, {0x21, 0}, {0x22, 0}, {0x23, 0}, {0x24, 0}, {0x25, 0}, {0x26, 0}, {0x3f, 0}, {0x40, 0},
		{0x41, 0xff, 0xff, 0xff, 0xff, 0x07}, {0x42, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f},
		{0x43, 1, 2, 3, 4}, {0x44, 1, 2, 3, 4, 5, 6, 7, 8}, {0xd0, 0x70}, {0xd1}, {0xd2, 0},
		{0x02, 0x40, 0x0b}, {0x03, 0x7f, 0x0b}, {0x04, 0x40, 0x05, 0x0b}, {0x02, 0x80, 0x01, 0x0b}} {
		f(in...)
	}
	for sub := range 8 {
		f(0xfc, byte(sub))
	}
	for _, in := range [][]byte{{8, 0, 0}, {9, 0}, {10, 0, 0}, {11, 0}, {12, 0, 0}, {13, 0}, {14, 0, 0}, {15, 0}, {16, 0}, {17, 0}} {
		f(append([]byte{0xfc}, in...)...)
	}
	for sub := range 256 {
		in := []byte{0xfd, byte(sub)}
		if sub >= 0x80 {
			in = append(in, 1)
		}
		switch {
		case sub <= 11, sub == 92, sub == 93:
			in = append(in, 4, 16)
		case sub == 12, sub == 13:
			in = append(in, make([]byte, 16)...)
		case sub >= 21 && sub <= 34:
			in = append(in, 1)
		case sub >= 84 && sub <= 91:
			in = append(in, 0, 0, 1)
		}
		f(in...)
	}
}

func TestDecodeOutline(t *testing.T) {
	module := assemble(
		section(1, vec(raw(0x60, 1, 0x7f, 1, 0x7e), raw(0x60, 0, 0))),
		section(2, vec(raw(1, 'e', 1, 'f', 0, 1))),
		section(3, vec(raw(0))),
		section(5, vec(raw(1, 2, 3))),
		section(6, vec(raw(0x7f, 0, 0x41, 0, 0x0b))),
		section(7, vec(raw(3, 'r', 'u', 'n', 0, 1), raw(3, 'm', 'e', 'm', 2, 0))),
		section(8, raw(0)),
		section(10, vec(code(0x42, 0))),
		section(11, vec(raw(0, 0x41, 0, 0x0b, 3, 1, 2, 3))),
		section(0, raw(1, 'x', 9)))
	m, err := wasmbin.Decode(module)
	if err != nil {
		t.Fatal(err)
	}
	run, ok := m.Export("run", wasmbin.KindFunction)
	typ, typed := m.FunctionType(run.Index)
	if !ok || !typed || !typ.Equal(wasmbin.FuncType{Params: []byte{wasmbin.I32}, Results: []byte{wasmbin.I64}}) {
		t.Errorf("run is %v %v with type %v %v", run, ok, typ, typed)
	}
	if _, ok := m.FunctionType(0); ok {
		t.Error("an imported function has a known type")
	}
	if _, ok := m.FunctionType(1 << 31); ok {
		t.Error("a function out of range has a type")
	}
	if _, ok := m.Export("run", wasmbin.KindMemory); ok {
		t.Error("run is found as a memory")
	}
	if len(m.Memories) != 1 || m.Memories[0] != (wasmbin.Limit{Min: 2, Max: 3}) || m.Globals != 1 || m.Start != 0 || m.DataBytes != 3 || m.DataSegments != 1 {
		t.Errorf("outline: %+v", m)
	}
	if len(m.Imports) != 1 || m.Imports[0] != (wasmbin.Import{Module: "e", Name: "f", Kind: wasmbin.KindFunction, Type: 1}) {
		t.Errorf("imports: %+v", m.Imports)
	}
}

func TestCustomSections(t *testing.T) {
	plain := body(0x01)
	with := wasmbin.AppendCustomSection(wasmbin.AppendCustomSection(plain, "a", []byte("first")), "b", []byte("second"))
	f := func(module []byte, name, want string, wantOK bool) {
		t.Helper()
		got, ok, err := wasmbin.CustomSection(module, name)
		if err != nil || string(got) != want || ok != wantOK {
			t.Errorf("%s is %q, %v, %v; want %q, %v", name, got, ok, err, want, wantOK)
		}
	}
	f(plain, "a", "", false)
	f(with, "a", "first", true)
	f(with, "b", "second", true)
	without, err := wasmbin.WithoutCustomSection(with, "a")
	if err != nil {
		t.Fatal(err)
	}
	f(without, "a", "", false)
	f(without, "b", "second", true)
	if bare, err := wasmbin.WithoutCustomSection(without, "b"); err != nil || !bytes.Equal(bare, plain) {
		t.Errorf("removing what was added does not give back the module: %v", err)
	}
	twice := wasmbin.AppendCustomSection(with, "a", nil)
	if _, _, err := wasmbin.CustomSection(twice, "a"); nba.CodeOf(err) != nba.CodePluginRefused {
		t.Errorf("two sections of one name: %v", err)
	}
}

// TestTruncated cuts a module at every byte: whatever is left, nothing panics, and no cut passes for
// the whole.
func TestTruncated(t *testing.T) {
	for _, p := range programs() {
		module := p.module()
		whole, err := wasmbin.Decode(module)
		if err != nil {
			t.Fatal(err)
		}
		for n := range module {
			if m, err := wasmbin.Check(module[:n], wasmbin.Limits{}); err == nil && len(m.Sections) == len(whole.Sections) {
				t.Errorf("%s: %d of %d bytes pass", p.name, n, len(module))
			}
		}
	}
}

// FuzzDecode checks that no input makes the decoder panic, and that what decodes keeps decoding after
// a round through the custom section functions.
func FuzzDecode(f *testing.F) {
	for _, p := range programs() {
		f.Add(p.module())
	}
	f.Add(assemble(section(2, vec(raw(1, 'e', 1, 'f', 0, 1))), section(4, vec(raw(0x70, 0, 2)))))
	f.Add(assemble(section(0, raw(1, 'x', 9)), section(11, vec(raw(2, 0, 0x23, 0, 0x0b, 0)))))
	f.Fuzz(func(t *testing.T, module []byte) {
		m, err := wasmbin.Decode(module)
		if err != nil {
			if nba.CodeOf(err) != nba.CodePluginRefused {
				t.Fatalf("error %v has no code", err)
			}
			return
		}
		_, _ = wasmbin.Check(module, wasmbin.Limits{})
		bare, err := wasmbin.WithoutCustomSection(module, "fuzz")
		if err != nil {
			t.Fatal(err)
		}
		again, err := wasmbin.Decode(wasmbin.AppendCustomSection(bare, "fuzz", []byte("x")))
		if err != nil || again.Globals != m.Globals || len(again.Functions) != len(m.Functions) {
			t.Fatalf("the module changed: %v", err)
		}
	})
}
