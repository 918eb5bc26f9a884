// Package adapter runs modules that were built for other hosts: policies that OPA compiled to WebAssembly,
// WASI commands that read JSON on standard input and write JSON on standard output, and Extism plugins.
//
// Each is a wasm.Protocol, implemented here on this project's own sandbox: such a module is metered,
// limited, admitted and pooled as a native one is, and its features are subject to consent in the same
// way. Its manifest says which adapter it needs; For makes the Protocol.
//
// A scorer that reads documents gets its features by name, and missing ones not at all:
//
//	{"subject":{"tenure":12,"plan":"P20"},"candidates":[{"value":120},{"value":90}]}
//	{"scores":[0.25,null]}
//
// A feature whose recipe has levels is handed over as the text of its level, and as true or false where
// that is what the level reads. An OPA policy is asked once for each candidate, with one candidate in
// place of the list, and answers with a boolean or a number.
package adapter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// The value types of function signatures.
const (
	i32 = wasmbin.I32
	i64 = wasmbin.I64
)

// Fuel for what the host does: a call from the guest, and each byte that is copied or parsed for it.
const (
	callFuel = 200
	byteFuel = 1
)

// Bounds of the documents that cross the sandbox in one call.
const (
	MaxInputBytes  = 1 << 20
	MaxAnswerBytes = 256 << 10
)

// adapters are the kinds in the order in which they are shown.
var adapters = [...]struct {
	kind      string
	functions func() []wasm.ForeignImport
	exports   func(a *artifact.Adapter) []export
	make      func(a *artifact.Adapter, f *fields, module []byte) (wasm.Protocol, error)
}{
	{artifact.AdapterOPA, opaFunctions, opaExports, newOPA},
	{artifact.AdapterWASICommand, wasiFunctions, wasiExports, newWASI},
	{artifact.AdapterExtism, extismFunctions, extismExports, newExtism},
}

// export is a function that a module must have.
type export struct {
	name            string
	params, results []byte
}

// Kinds are the names of the adapters.
func Kinds() []string {
	names := make([]string, len(adapters))
	for i := range adapters {
		names[i] = adapters[i].kind
	}
	return names
}

// For makes the Protocol of a module with that manifest, nil when the manifest asks for none. module is
// the artifact.
func For(m *artifact.Manifest, module []byte) (wasm.Protocol, error) {
	if m.Adapter == nil {
		return nil, nil
	}
	for i := range adapters {
		if adapters[i].kind == m.Adapter.Kind {
			return adapters[i].make(m.Adapter, newFields(m), module)
		}
	}
	return nil, unknownKind(m.Adapter.Kind)
}

// Check refuses a module whose imports and exports are not those of its adapter.
func Check(a *artifact.Adapter, m *wasmbin.Module) error {
	for i := range adapters {
		if adapters[i].kind != a.Kind {
			continue
		}
		if err := checkImports(a.Kind, adapters[i].functions(), m); err != nil {
			return err
		}
		return checkExports(a.Kind, adapters[i].exports(a), m)
	}
	return unknownKind(a.Kind)
}

func unknownKind(kind string) error {
	return refuse("adapter", "manifest /adapter/kind", "there is no adapter %q; the adapters are %s", clip(kind), strings.Join(Kinds(), ", "))
}

func checkImports(kind string, functions []wasm.ForeignImport, m *wasmbin.Module) error {
	const shown = 4
	var unknown []string
	for _, imp := range m.Imports {
		if imp.Kind == wasmbin.KindMemory {
			return refuse("imports", "section 2 (import)", "the module imports its memory %q.%q from the host; wrap it with arbiter plugin wrap, which makes the memory its own", clip(imp.Module), clip(imp.Name))
		}
		known := imp.Kind == wasmbin.KindFunction && (wasm.IsSystemImport(imp.Module, imp.Name) ||
			slices.ContainsFunc(functions, func(f wasm.ForeignImport) bool { return f.Module == imp.Module && f.Name == imp.Name }))
		if !known {
			unknown = append(unknown, fmt.Sprintf("%q.%q", clip(imp.Module), clip(imp.Name)))
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	if more := len(unknown) - shown; more > 0 {
		unknown = append(unknown[:shown], fmt.Sprintf("and %d more", more))
	}
	return refuse("imports", "section 2 (import)", "the module imports %s, which the adapter %s does not have; build it without them, or name another adapter (%s)",
		strings.Join(unknown, ", "), kind, strings.Join(Kinds(), ", "))
}

func checkExports(kind string, wanted []export, m *wasmbin.Module) error {
	if _, ok := m.Export("memory", wasmbin.KindMemory); !ok {
		return refuse("exports", "section 7 (export)", "there is no exported memory named \"memory\"; export it, or wrap the module with arbiter plugin wrap")
	}
	for _, want := range wanted {
		e, ok := m.Export(want.name, wasmbin.KindFunction)
		if !ok {
			return refuse("exports", "section 7 (export)", "there is no exported function %s, which a module of the adapter %s has; %s", clip(want.name), kind, remedyOf(kind))
		}
		if got, ok := m.FunctionType(e.Index); !ok || !got.Equal(wasmbin.FuncType{Params: want.params, Results: want.results}) {
			return refuse("signature", fmt.Sprintf("function %d (%s)", e.Index, clip(want.name)), "its signature is not %s; %s", signatureText(want), remedyOf(kind))
		}
	}
	return nil
}

func remedyOf(kind string) string {
	switch kind {
	case artifact.AdapterOPA:
		return "compile the policy with opa build -t wasm of release 0.35 or newer"
	case artifact.AdapterExtism:
		return "name the exported function with --entrypoint; it takes nothing and returns an i32"
	default:
		return "build a command (with a main function), not a library"
	}
}

func signatureText(e export) string {
	names := func(types []byte) string {
		list := make([]string, len(types))
		for i, t := range types {
			list[i] = map[byte]string{i32: "i32", i64: "i64"}[t]
		}
		return "(" + strings.Join(list, ", ") + ")"
	}
	return names(e.params) + " -> " + names(e.results)
}

// refuse makes a refusal: the rule, the place, what is wrong and what to do.
func refuse(rule, where, detail string, args ...any) *nba.Error {
	text := fmt.Sprintf("rule %s: %s: %s", rule, where, fmt.Sprintf(detail, args...))
	return &nba.Error{Code: nba.CodePluginRefused, Message: text,
		Details: []nba.Detail{{Pointer: "/" + rule, Code: nba.CodePluginRefused, Detail: text}}}
}

// clip makes a name that a module chose fit for a message.
func clip(s string) string {
	const most = 64
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == '\uFFFD' {
			return -1
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "..."
	}
	return s
}

// repeat is n times the value type t.
func repeat(t byte, n int) []byte { return slices.Repeat([]byte{t}, n) }
