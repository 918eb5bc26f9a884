package adapter

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// The ABI of policies is https://www.openpolicyagent.org/docs/wasm, version 1.2 or newer: opa_eval, which
// takes the input as JSON text.
const (
	opaModule   = "env"
	opaEval     = "opa_eval"
	opaABI      = 1
	opaMinor    = 2
	maxOPAInput = 64 << 10
)

// SectionOPAData is the custom section that holds the policy's data document.
const SectionOPAData = "arbiter.opa.data"

// opaPolicy is the Protocol of policies.
type opaPolicy struct {
	fields     *fields
	entrypoint string
	data       []byte
}

func newOPA(a *artifact.Adapter, f *fields, module []byte) (wasm.Protocol, error) {
	data, ok, err := wasmbin.CustomSection(module, SectionOPAData)
	if err != nil {
		return nil, err
	}
	if !ok {
		data = []byte("{}")
	}
	return &opaPolicy{fields: f, entrypoint: a.Entrypoint, data: data}, nil
}

func opaExports(*artifact.Adapter) []export {
	return []export{
		{opaEval, repeat(i32, 7), repeat(i32, 1)},
		{"opa_malloc", repeat(i32, 1), repeat(i32, 1)},
		{"opa_json_parse", repeat(i32, 2), repeat(i32, 1)},
		{"opa_json_dump", repeat(i32, 1), repeat(i32, 1)},
		{"opa_heap_ptr_get", nil, repeat(i32, 1)},
		{"opa_heap_ptr_set", repeat(i32, 1), nil},
		{"builtins", nil, repeat(i32, 1)},
		{"entrypoints", nil, repeat(i32, 1)},
	}
}

// opaFunctions are what a policy imports. Builtins are never called: a policy that needs one is refused
// when it is opened.
func opaFunctions() []wasm.ForeignImport {
	ends := func(detail string) func(*wasm.Guest, []uint64) {
		return func(g *wasm.Guest, _ []uint64) { g.End(detail) }
	}
	list := []wasm.ForeignImport{
		{Module: opaModule, Name: "opa_abort", Params: repeat(i32, 1), Call: ends("the policy aborted")},
		{Module: opaModule, Name: "opa_println", Params: repeat(i32, 1), Fuel: callFuel, Call: func(*wasm.Guest, []uint64) {}},
	}
	for n := range 5 {
		list = append(list, wasm.ForeignImport{Module: opaModule, Name: fmt.Sprintf("opa_builtin%d", n),
			Params: repeat(i32, n+2), Results: repeat(i32, 1), Call: ends("the policy called a builtin of the host")})
	}
	return list
}

// Functions implements wasm.Protocol.
func (*opaPolicy) Functions() []wasm.ForeignImport { return opaFunctions() }

// Open implements wasm.Protocol: it looks the entry point up, refuses builtins and loads the data.
func (p *opaPolicy) Open(g *wasm.Guest) (wasm.Session, error) {
	major, ok := g.Global("opa_wasm_abi_version")
	minor, ok2 := g.Global("opa_wasm_abi_minor_version")
	if !ok || !ok2 || uint32(major) != opaABI || uint32(minor) < opaMinor {
		return nil, refuse("abi", "section 7 (export)", "the policy is not of ABI %d.%d or newer; %s", opaABI, opaMinor, remedyOf(artifact.AdapterOPA))
	}
	s := &opaSession{policy: p, eval: g.Function(opaEval)}
	if err := s.refuseBuiltins(g); err != nil {
		return nil, err
	}
	if err := s.findEntrypoint(g); err != nil {
		return nil, err
	}
	if err := s.loadData(g); err != nil {
		return nil, err
	}
	at, err := call(g, "opa_malloc", maxOPAInput)
	if err != nil {
		return nil, err
	}
	s.input = uint32(at)
	s.heap, err = call(g, "opa_heap_ptr_get")
	return s, err
}

// call calls an export that is needed once.
func call(g *wasm.Guest, name string, args ...uint64) (uint64, error) {
	f := g.Function(name)
	if f == nil {
		return 0, refuse("exports", "section 7 (export)", "there is no exported function %s; %s", name, remedyOf(artifact.AdapterOPA))
	}
	return f.Call(args...)
}

// opaSession is one instance of a policy.
type opaSession struct {
	policy     *opaPolicy
	eval       *wasm.Function
	entrypoint uint64
	data       uint64 // address of the data document
	input      uint32 // address of the buffer for the input
	heap       uint64 // where an evaluation begins to allocate
	request    []byte
	answer     []byte
}

// table reads a map from names to numbers that an export returns.
func (s *opaSession) table(g *wasm.Guest, name string) (map[string]int, error) {
	at, err := call(g, name)
	if err != nil {
		return nil, err
	}
	text, err := call(g, "opa_json_dump", at)
	if err != nil {
		return nil, err
	}
	content, err := cString(g, uint32(text), nil)
	if err != nil {
		return nil, err
	}
	var entries map[string]int
	if err := json.Unmarshal(content, &entries); err != nil {
		return nil, refuse("exports", "function "+name, "it does not return a JSON object of names and numbers; %s", remedyOf(artifact.AdapterOPA))
	}
	return entries, nil
}

func (s *opaSession) refuseBuiltins(g *wasm.Guest) error {
	const shown = 8
	needed, err := s.table(g, "builtins")
	if err != nil || len(needed) == 0 {
		return err
	}
	names := slices.Sorted(maps.Keys(needed))
	for i := range names {
		names[i] = clip(names[i])
	}
	if more := len(names) - shown; more > 0 {
		names = append(names[:shown], fmt.Sprintf("and %d more", more))
	}
	return refuse("builtins", "function builtins", "the policy needs %s from the host, which answers no builtin, so that a decision can be repeated; write the rule without, and hand what it needs over as a feature",
		strings.Join(names, ", "))
}

func (s *opaSession) findEntrypoint(g *wasm.Guest) error {
	known, err := s.table(g, "entrypoints")
	if err != nil {
		return err
	}
	id, ok := known[s.policy.entrypoint]
	if s.policy.entrypoint == "" && len(known) == 1 {
		for _, only := range known {
			id, ok = only, true
		}
	}
	if !ok {
		names := slices.Sorted(maps.Keys(known))
		for i := range names {
			names[i] = clip(names[i])
		}
		return refuse("entrypoint", "manifest /adapter/entrypoint", "the policy has no entry point %q; it has %s", clip(s.policy.entrypoint), strings.Join(names, ", "))
	}
	s.entrypoint = uint64(uint32(id))
	return nil
}

func (s *opaSession) loadData(g *wasm.Guest) error {
	size := uint64(len(s.policy.data))
	at, err := call(g, "opa_malloc", size)
	if err != nil {
		return err
	}
	if !g.Write(uint32(at), s.policy.data) {
		return wasm.Fault(wasm.ReasonLayout, "opa_malloc", "returned an area beyond the end of the memory")
	}
	if s.data, err = call(g, "opa_json_parse", at, size); err != nil {
		return err
	}
	if s.data == 0 {
		return refuse("data", "section 0 (custom) "+SectionOPAData, "the policy cannot read its data document; it must be a JSON object")
	}
	return nil
}

// Reusable implements wasm.Session.
func (s *opaSession) Reusable() bool { return true }

// Score implements wasm.Session: it evaluates the policy once for each row.
func (s *opaSession) Score(g *wasm.Guest, rows int) error {
	for row := range rows {
		s.request = s.policy.fields.one(s.request[:0], g, row)
		answer, err := s.evaluate(g, s.request, s.answer[:0])
		if err != nil {
			return err
		}
		s.answer = answer
		score, err := verdict(answer)
		if err != nil {
			return err
		}
		wasm.PutFloat(g.Scores(), row, score)
	}
	return nil
}

// Exchange implements wasm.Session: the answer is the result of the entry point, null when it is
// undefined.
func (s *opaSession) Exchange(g *wasm.Guest, in, out []byte) ([]byte, error) {
	answer, err := s.evaluate(g, in, s.answer[:0])
	if err != nil {
		return nil, err
	}
	s.answer = answer
	var results []struct {
		Result json.RawMessage `json:"result"`
	}
	if err := json.Unmarshal(answer, &results); err != nil {
		return nil, wasm.Fault(wasm.ReasonStatus, opaEval, "returned %d bytes that are no set of results", len(answer))
	}
	if len(results) == 0 {
		return append(out, "null"...), nil
	}
	return append(out, results[0].Result...), nil
}

// evaluate appends the set of results to out.
func (s *opaSession) evaluate(g *wasm.Guest, in, out []byte) ([]byte, error) {
	if len(in) > maxOPAInput {
		return nil, wasm.Fault(wasm.ReasonLayout, opaEval, "the input of %d bytes is larger than %d", len(in), maxOPAInput)
	}
	if !g.Take(byteFuel*uint64(len(in))) || !g.Write(s.input, in) {
		return nil, wasm.Fault(wasm.ReasonLayout, opaEval, "the input does not fit the memory")
	}
	at, err := s.eval.Call(0, s.entrypoint, s.data, uint64(s.input), uint64(len(in)), s.heap, 0)
	if err != nil {
		return nil, err
	}
	return cString(g, uint32(at), out)
}

// cString appends the text at an address up to its NUL.
func cString(g *wasm.Guest, at uint32, out []byte) ([]byte, error) {
	size := g.MemoryBytes()
	if at == 0 || at >= size {
		return nil, wasm.Fault(wasm.ReasonMemory, opaEval, "returned an address beyond the end of the memory")
	}
	view, _ := g.Read(at, min(size-at, MaxAnswerBytes))
	end := bytes.IndexByte(view, 0)
	if end < 0 {
		return nil, wasm.Fault(wasm.ReasonMemory, opaEval, "returned more than %d bytes", MaxAnswerBytes)
	}
	if !g.Take(byteFuel * uint64(end)) {
		return nil, wasm.Fault(wasm.ReasonFuel, opaEval, "used up its fuel")
	}
	return append(out, view[:end]...), nil
}

// verdict reads a set of results: true is 1, false is 0, a number itself, an undefined result abstains.
func verdict(answer []byte) (float64, error) {
	switch string(answer) { // what policies answer most
	case `[{"result":true}]`:
		return 1, nil
	case `[{"result":false}]`:
		return 0, nil
	case `[]`:
		return math.NaN(), nil
	}
	var results []struct {
		Result any `json:"result"`
	}
	if err := json.Unmarshal(answer, &results); err != nil {
		return 0, wasm.Fault(wasm.ReasonStatus, opaEval, "returned %d bytes that are no set of results", len(answer))
	}
	if len(results) == 0 {
		return math.NaN(), nil
	}
	switch result := results[0].Result.(type) {
	case bool:
		if result {
			return 1, nil
		}
		return 0, nil
	case float64:
		return result, nil
	case nil:
		return math.NaN(), nil
	}
	return 0, wasm.Fault(wasm.ReasonStatus, opaEval, "the result of the policy is neither a boolean nor a number; name an entry point that is one")
}
