package admission

import (
	"fmt"
	"slices"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/arbiterhq/arbiter/sdk/abi"
)

// contract is what a module of one kind exports under one version of the plugin contract.
type contract struct {
	version int
	kind    string
	// marker is the export whose name states the version, module that of the host functions.
	marker, module string
	functions      []signature
}

// signature is a required or optional export of the contract.
type signature struct {
	name     string
	params   int // all i32
	result   byte
	text     string
	optional bool
}

const scoreText = "(subject_ptr, subject_n, candidate_ptr, rows, candidate_n, out_ptr i32) -> i32"

// contracts are all that this host speaks. A later version of the contract is an entry of its own.
var contracts = [...]contract{
	{version: artifact.ABIVersion, kind: artifact.KindScorer, marker: abi.ExportMarker, module: abi.ImportModule, functions: []signature{
		{name: abi.ExportReserve, params: 3, result: wasmbin.I64, text: "(subject_n, rows, candidate_n i32) -> i64"},
		{name: abi.ExportScore, params: 6, result: wasmbin.I32, text: scoreText},
		{name: abi.ExportScoreRaw, params: 6, result: wasmbin.I32, text: scoreText, optional: true},
	}},
	{version: artifact.ABIVersion, kind: artifact.KindStrategy, marker: abi.ExportMarker, module: abi.ImportModule, functions: []signature{
		{name: abi.ExportBuffers, params: 2, result: wasmbin.I64, text: "(in_cap, out_cap i32) -> i64"},
		{name: abi.ExportDecide, params: 4, result: wasmbin.I64, text: "(in_ptr, in_len, out_ptr, out_cap i32) -> i64"},
	}},
}

// contractOf finds the contract of a manifest, which artifact has validated.
func contractOf(m *artifact.Manifest) (*contract, error) {
	for i := range contracts {
		if contracts[i].version == m.ABI && contracts[i].kind == m.Kind {
			return &contracts[i], nil
		}
	}
	return nil, refuse("kind", "manifest /kind", "this host runs no plugins of this kind and version of the contract; rebuild the plugin for version %d", artifact.ABIVersion)
}

// checkImports allows the system shim, and the host functions that the manifest declares.
func checkImports(m *wasmbin.Module, manifest *artifact.Manifest) error {
	c, err := contractOf(manifest)
	if err != nil {
		return err
	}
	var names []string
	for _, imp := range m.Imports {
		switch {
		case imp.Kind == wasmbin.KindFunction && wasm.IsSystemImport(imp.Module, imp.Name):
		case imp.Kind == wasmbin.KindFunction && imp.Module == c.module && slices.Contains(manifest.Capabilities, imp.Name):
			if err := checkHostFunction(m, imp); err != nil {
				return err
			}
		case imp.Module == c.module && slices.Contains(artifact.Capabilities(), imp.Name):
			return refuse("imports", "section 2 (import)", "the module imports %s.%s, which is not among the capabilities of its manifest; add %s to capabilities in plugin.yaml, or remove the import", c.module, imp.Name, imp.Name)
		default:
			names = append(names, fmt.Sprintf("%q.%q", clip(imp.Module), clip(imp.Name)))
		}
	}
	if len(names) == 0 {
		return nil
	}
	const shown = 4
	if others := len(names) - shown; others > 0 {
		names = append(names[:shown], fmt.Sprintf("and %d more", others))
	}
	return refuse("imports", "section 2 (import)", "the module imports %s, and plugins may import nothing but the capabilities of their manifest and the WASI functions that Go needs to start; build it without a standard library that needs the system (for C: -nostdlib)", strings.Join(names, ", "))
}

func checkHostFunction(m *wasmbin.Module, imp wasmbin.Import) error {
	params, results, known := wasm.HostFunction(imp.Name)
	if !known || int64(imp.Type) >= int64(len(m.Types)) || !m.Types[imp.Type].Equal(wasmbin.FuncType{Params: params, Results: results}) {
		return refuse("signature", "section 2 (import)", "the type of the import %s.%s is not that of the contract; declare it as the guest SDKs do (sdk/abi/README.md)", imp.Module, imp.Name)
	}
	return nil
}

func checkExports(m *wasmbin.Module, manifest *artifact.Manifest) error {
	c, err := contractOf(manifest)
	if err != nil {
		return err
	}
	if _, ok := m.Export(abi.ExportMemory, wasmbin.KindMemory); !ok {
		return refuse("exports", "section 7 (export)", "there is no exported memory named %q; export it", abi.ExportMemory)
	}
	if err := checkMarker(m, c); err != nil {
		return err
	}
	for _, want := range c.functions {
		export, ok := m.Export(want.name, wasmbin.KindFunction)
		if !ok {
			if want.optional {
				continue
			}
			return refuse("exports", "section 7 (export)", "there is no exported function %s%s, which a %s needs; export it", want.name, want.text, c.kind)
		}
		expected := wasmbin.FuncType{Results: []byte{want.result}}
		for range want.params {
			expected.Params = append(expected.Params, wasmbin.I32)
		}
		if got, ok := m.FunctionType(export.Index); !ok || !got.Equal(expected) {
			return refuse("signature", fmt.Sprintf("function %d (%s)", export.Index, want.name), "its signature is not %s; rebuild it with a guest SDK of contract version %d", want.text, c.version)
		}
	}
	return nil
}

// checkMarker looks for the function whose name states the version of the contract.
func checkMarker(m *wasmbin.Module, c *contract) error {
	const prefix = "arbiter_abi_v"
	other := false
	for _, export := range m.Exports {
		if export.Name == c.marker && export.Kind == wasmbin.KindFunction {
			return nil
		}
		other = other || export.Name != c.marker && strings.HasPrefix(export.Name, prefix)
	}
	if other {
		return refuse("abi", "section 7 (export)", "the module speaks another version of the contract than its manifest, which says %d; rebuild it with a guest SDK of that version", c.version)
	}
	return refuse("abi", "section 7 (export)", "the marker %s is missing, so this is not a plugin of this contract; export a function of this name", c.marker)
}
