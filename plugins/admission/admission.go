// Package admission is everything that happens between an upload and "may run".
//
// Admit takes the bytes of an artifact through these steps, cheapest first, and stops at the first
// that refuses: size; manifest; host policy; structure (wasmbin.Check, which bounds what compiling can
// cost); imports, exports and their signatures; validation of the original by the engine; fuel
// injection; compilation; replay of the golden rows in the sandbox. The order matters: the original is
// validated before fuel is injected, and nothing is compiled before its structure is bounded.
//
// A refusal is an *nba.Error with CodePluginRefused that names the rule, the place in the module and
// the remedy. Admission decides nothing by the clock, so every node admits the same artifacts.
package admission

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/adapter"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// Policy is what the host allows. The zero value of every field means its default.
type Policy struct {
	// MaxBytes bounds the artifact; default 4 MiB.
	MaxBytes int
	// MaxMemoryPages bounds limits.memoryPages of a manifest, in pages of 64 KiB; default 256.
	MaxMemoryPages int
	// MaxCodeBytes bounds the code section, and so, with Structure, what compiling costs: an engine may
	// need seconds for one function body of 64 KiB. Default 512 KiB.
	MaxCodeBytes int
	// MaxCallFuel bounds the fuel of a call of one row, or of a decision of a strategy; default 2,000,000.
	// It must not exceed that of the sandbox.
	MaxCallFuel int64
	// Capabilities are those that the operator grants; nil means all that there are.
	Capabilities []string
	// Structure bounds the module; zero fields mean wasmbin's defaults.
	Structure wasmbin.Limits
}

func (p Policy) withDefaults() Policy {
	if p.MaxBytes <= 0 {
		p.MaxBytes = 4 << 20
	}
	if p.MaxMemoryPages <= 0 {
		p.MaxMemoryPages = 256
	}
	if p.MaxCodeBytes <= 0 {
		p.MaxCodeBytes = 512 << 10
	}
	if p.MaxCallFuel <= 0 {
		p.MaxCallFuel = 2_000_000
	}
	p.Structure.ModuleBytes = p.MaxBytes
	p.Structure.MemoryPages = p.MaxMemoryPages
	return p
}

// Isolated is the policy of a host that compiles in a child process under resource limits: a compile bomb
// then costs that process, so that modules may be as large as those of Go's toolchain.
func Isolated() Policy {
	structure := wasmbin.DefaultLimits()
	structure.FunctionBytes, structure.Locals, structure.Nesting = 1<<20, 4096, 4096
	structure.BranchTargets, structure.DataSegments, structure.Functions = 16384, 65536, 16384
	return Policy{MaxCodeBytes: 4 << 20, Structure: structure}
}

// Compiler turns metered bytes into a pool of instances. *wasm.Sandbox is one; another may compile in
// a child process first, under resource limits, and load the result from the compiled-code cache.
type Compiler interface {
	Validate(ctx context.Context, module []byte, memoryPages uint32) error
	Load(ctx context.Context, metered []byte, spec wasm.Spec) (*wasm.Pool, error)
}

// Admitted is an artifact that may run. It holds one reference to Pool: whoever got it releases it.
type Admitted struct {
	Manifest *artifact.Manifest
	// Digest is that of the artifact as it was pushed.
	Digest string
	// Metered is the module with its fuel counter.
	Metered []byte
	Pool    *wasm.Pool
}

// Admit checks module and loads it. Other errors than refusals mean that the host could not check it:
// CodeTimeout when ctx ended, CodeUnavailable when the sandbox is closed.
func Admit(ctx context.Context, compiler Compiler, module []byte, policy Policy) (*Admitted, error) {
	policy = policy.withDefaults()
	manifest, err := inspect(module, policy)
	if err != nil {
		return nil, err
	}
	digest := artifact.Digest(module)
	if err := compiler.Validate(ctx, module, uint32(manifest.Limits.MemoryPages)); err != nil {
		return nil, hostOr(ctx, err, "validation", "module",
			"the engine refuses it: %s; rebuild it for WebAssembly 2.0 with at most limits.memoryPages of memory", printable(err))
	}
	metered, err := wasmbin.Inject(module, wasmbin.InjectOptions{Limits: policy.Structure})
	if err != nil {
		return nil, err
	}
	protocol, err := adapter.For(manifest, module)
	if err != nil {
		return nil, err
	}
	pool, err := compiler.Load(ctx, metered, wasm.Spec{Digest: digest,
		MemoryPages: uint32(manifest.Limits.MemoryPages),
		FuelBase:    uint64(manifest.Limits.FuelBase), FuelPerRow: uint64(manifest.Limits.FuelPerRow),
		MaxRows: manifest.Limits.MaxRows, Strategy: manifest.Kind == artifact.KindStrategy, Capabilities: manifest.Capabilities,
		SubjectFeatures: manifest.SubjectFeatures(), CandidateFeatures: manifest.CandidateFeatures(), Protocol: protocol})
	if err != nil {
		return nil, loadError(ctx, err)
	}
	prove := replay
	if manifest.Kind == artifact.KindStrategy {
		prove = replayDecisions
	}
	if err := prove(ctx, pool, manifest); err != nil {
		pool.Release()
		return nil, err
	}
	return &Admitted{Manifest: manifest, Digest: digest, Metered: metered, Pool: pool}, nil
}

// Inspect runs the steps that need no engine: size, manifest, policy, structure, imports and exports.
func Inspect(module []byte, policy Policy) (*artifact.Manifest, error) {
	return inspect(module, policy.withDefaults())
}

func inspect(module []byte, policy Policy) (*artifact.Manifest, error) {
	if len(module) == 0 {
		return nil, refuse("size", "artifact", "it is empty; push the .wasm file")
	}
	if len(module) > policy.MaxBytes {
		return nil, refuse("size", "artifact", "%d bytes are more than the %d allowed; strip debug information, or ship the model as tables", len(module), policy.MaxBytes)
	}
	manifest, err := artifact.Parse(module)
	if err != nil {
		return nil, err
	}
	if err := checkPolicy(manifest, policy); err != nil {
		return nil, err
	}
	m, err := wasmbin.Check(module, policy.Structure)
	if err != nil {
		return nil, err
	}
	if err := checkCode(m, policy); err != nil {
		return nil, err
	}
	if manifest.Adapter != nil {
		return manifest, adapter.Check(manifest.Adapter, m)
	}
	if err := checkImports(m, manifest); err != nil {
		return nil, err
	}
	if err := checkExports(m, manifest); err != nil {
		return nil, err
	}
	return manifest, nil
}

func checkCode(m *wasmbin.Module, policy Policy) error {
	const codeSection = 10
	for _, section := range m.Sections {
		if section.ID == codeSection && section.Size > policy.MaxCodeBytes {
			return refuse("code-bytes", "section 10 (code)", "%d bytes of code are more than the %d allowed; ship the model as tables, and strip what is not used", section.Size, policy.MaxCodeBytes)
		}
	}
	return nil
}

func checkPolicy(m *artifact.Manifest, policy Policy) error {
	for i, name := range m.Capabilities {
		if policy.Capabilities != nil && !slices.Contains(policy.Capabilities, name) {
			return refuse("capabilities", fmt.Sprintf("manifest /capabilities/%d", i), "this host does not grant %s; remove it and its import, or have the operator grant it (plugins.capabilities)", name)
		}
	}
	switch {
	case m.Limits.MemoryPages > policy.MaxMemoryPages:
		return refuse("memory", "manifest /limits/memoryPages", "%d pages are more than the %d allowed; shrink the model or lower the limit", m.Limits.MemoryPages, policy.MaxMemoryPages)
	case m.Kind == artifact.KindStrategy && m.Fuel(m.Limits.MaxRows) > policy.MaxCallFuel:
		return refuse("fuel", "manifest /limits/fuelPerRow", "a decision of %d candidates asks for %d fuel and %d is allowed, so that no call takes longer than a millisecond; lower limits.maxRows or do less for each candidate", m.Limits.MaxRows, m.Fuel(m.Limits.MaxRows), policy.MaxCallFuel)
	case m.Fuel(1) > policy.MaxCallFuel:
		return refuse("fuel", "manifest /limits/fuelPerRow", "a call of one row asks for %d fuel and %d is allowed, so that no call takes longer than a millisecond; make the model smaller", m.Fuel(1), policy.MaxCallFuel)
	}
	return nil
}

// loadError explains why a validated module could not be compiled or started.
func loadError(ctx context.Context, err error) error {
	if refusal, ok := errors.AsType[*nba.Error](err); ok { // of an adapter
		return refusal
	}
	guest, ok := errors.AsType[*wasm.GuestError](err)
	if !ok {
		return hostOr(ctx, err, "compile", "module", "it cannot be compiled or started: %s; rebuild it with another compiler version", printable(err))
	}
	switch guest.Reason {
	case wasm.ReasonLayout:
		return refuse("layout", guest.Function, "%s; reserve room for limits.maxRows rows, or lower it", guest.Detail)
	case wasm.ReasonFuel:
		return refuse("fuel", guest.Function, "%s; raise limits.fuelBase, or do less work there", guest.Detail)
	default:
		return refuse("start", guest.Function, "%s; the module must start without an error", guest.Detail)
	}
}

// refuse makes a refusal: the rule, the place, what is wrong and what to do.
func refuse(rule, where, detail string, args ...any) error {
	text := fmt.Sprintf("rule %s: %s: %s", rule, where, fmt.Sprintf(detail, args...))
	return &nba.Error{Code: nba.CodePluginRefused, Message: text,
		Details: []nba.Detail{{Pointer: "/" + rule, Code: nba.CodePluginRefused, Detail: text}}}
}

// hostOr is a refusal unless err is the host's doing.
func hostOr(ctx context.Context, err error, rule, where, detail string, args ...any) error {
	switch {
	case errors.Is(err, wasm.ErrClosed):
		return nba.Errorf(nba.CodeUnavailable, "the node is shutting down: %w", err)
	case ctx.Err() != nil:
		return nba.Errorf(nba.CodeTimeout, "the plugin was not checked in time: %w; try again", context.Cause(ctx))
	}
	return refuse(rule, where, detail, args...)
}

// printable is the first line of an engine's message, bounded, without control characters: it may
// hold names chosen by the module.
func printable(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return clip(line)
}

func clip(s string) string {
	const most = 200
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
