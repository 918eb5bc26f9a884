package compiler

import (
	"bytes"
	"context"
	"flag"
	"math"
	"os"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/sdk/abi"
)

var update = flag.Bool("update", false, "write the conformance module anew")

const conformanceRows = 8

// The opcodes that the conformance scorer uses.
const (
	opF64Store = 0x39
	opI32Ne    = 0x47
	opI32GtU   = 0x4b
	opI32Add   = 0x6a
	opI32Sub   = 0x6b
	opI32Or    = 0x72
	opF64Add   = 0xa0
	opF64Mul   = 0xa2
)

// conformanceScorer is the module that sdk/abi/README.md describes.
func conformanceScorer(t *testing.T) []byte {
	t.Helper()
	var b wasmbin.Builder
	i32, f64 := wasmbin.I32, wasmbin.F64
	b.Reserve(1024, 1)
	input := b.Reserve(16+conformanceRows*16, 16)
	out := b.Reserve(conformanceRows*8, 16)
	b.Export(abi.ExportMarker, b.Function(nil, nil))
	reserve := b.Function([]byte{i32, i32, i32}, []byte{wasmbin.I64})
	wrong := func(f *wasmbin.Function, subject, candidate, rows int) *wasmbin.Function {
		f.Get(f.Param(subject)).I32(2).Op(opI32Ne).Get(f.Param(candidate)).I32(2).Op(opI32Ne).Op(opI32Or)
		return f.Get(f.Param(rows)).I32(conformanceRows).Op(opI32GtU).Op(opI32Or)
	}
	wrong(reserve, 0, 2, 1).If().I64(-1).Return().End().I64(int64(input)<<32 | int64(out))
	b.Export(abi.ExportReserve, reserve)

	score := b.Function([]byte{i32, i32, i32, i32, i32, i32}, []byte{i32})
	subject, candidates, rows, at := score.Param(0), score.Param(2), score.Param(3), score.Param(5)
	wrong(score, 1, 4, 3).If().I32(1).Return().End()
	base := score.Local(f64)
	score.F64(0.5).Get(subject).Memory(0x2b, 3, 0).Op(opF64Add)
	score.Get(subject).Memory(0x2b, 3, 8).F64(2).Op(opF64Mul).Op(opF64Add).Set(base)
	score.Get(rows).If().Loop()
	score.Get(at).Get(base)
	score.Get(candidates).Memory(0x2b, 3, 0).F64(4).Op(opF64Mul).Op(opF64Add)
	score.Get(candidates).Memory(0x2b, 3, 8).F64(8).Op(opF64Mul).Op(opF64Add).Memory(opF64Store, 3, 0)
	score.Get(at).I32(8).Op(opI32Add).Set(at).Get(candidates).I32(16).Op(opI32Add).Set(candidates)
	score.Get(rows).I32(1).Op(opI32Sub).Tee(rows).BrIf(0).End().End().I32(0)
	b.Export(abi.ExportScore, score)

	feature := func(name, scope string) artifact.Feature {
		r := artifact.Recipe{Attribute: name}
		if scope == artifact.ScopeCandidate {
			r = artifact.Recipe{ActionProperty: name}
		}
		return artifact.Feature{Name: name, Scope: scope, Recipe: r}
	}
	one := 1.0
	module, err := artifact.Embed(b.Bytes(), &artifact.Manifest{
		Name: "conformance", Version: "1.0.0", Kind: artifact.KindScorer, ABI: artifact.ABIVersion, Output: artifact.OutputValue,
		Features: []artifact.Feature{feature("s0", artifact.ScopeSubject), feature("s1", artifact.ScopeSubject),
			feature("c0", artifact.ScopeCandidate), feature("c1", artifact.ScopeCandidate)},
		Limits: artifact.Limits{MemoryPages: 1, FuelBase: 100, FuelPerRow: 60, MaxRows: conformanceRows},
		Golden: []artifact.GoldenRow{{Features: []*float64{&one, &one, &one, &one}, Score: 15.5}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return module
}

// TestVectors runs the contract's test vectors on the conformance module, metered as a host runs it.
func TestVectors(t *testing.T) {
	const path = "../../sdk/abi/vectors/scorer.wasm"
	built := conformanceScorer(t)
	if *update {
		if err := os.WriteFile(path, built, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stored, built) {
		t.Errorf("%s is not what the test builds; run go test -run TestVectors -update", path)
	}
	v, module, err := abi.Load("scorer.json")
	if err != nil {
		t.Fatal(err)
	}
	m, err := artifact.Parse(module)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	metered, err := wasmbin.Inject(module, wasmbin.InjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r := wazero.NewRuntime(ctx)
	defer func() { _ = r.Close(ctx) }()
	mod, err := r.Instantiate(ctx, metered)
	if err != nil {
		t.Fatal(err)
	}
	reserve, score := mod.ExportedFunction(abi.ExportReserve), mod.ExportedFunction(abi.ExportScore)
	fuel := fuelOf(mod)
	for _, c := range v.Calls {
		fuel.Set(uint64(m.Fuel(c.Rows)))
		at, err := reserve.Call(ctx, uint64(c.SubjectFeatures), uint64(c.Rows), uint64(c.CandidateFeatures))
		if err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
		if refused := int64(at[0]) == abi.ReserveRefused; refused != c.Refused {
			t.Fatalf("%s: refused %v, want %v", c.Name, refused, c.Refused)
		}
		if c.Refused {
			continue
		}
		subject, out := uint32(at[0]>>32), uint32(at[0])
		candidates := abi.Align(subject + 8*uint32(c.SubjectFeatures))
		for i, x := range c.Subject {
			mod.Memory().WriteFloat64Le(subject+uint32(8*i), orNaN(x))
		}
		for i, row := range c.Candidates {
			for j, x := range row {
				mod.Memory().WriteFloat64Le(candidates+uint32(8*(i*len(row)+j)), orNaN(x))
			}
		}
		fuel.Set(uint64(m.Fuel(c.Rows)))
		status, err := score.Call(ctx, uint64(subject), uint64(c.SubjectFeatures), uint64(candidates), uint64(c.Rows), uint64(c.CandidateFeatures), uint64(out))
		if err != nil || (status[0] != 0) != (c.Status != 0) {
			t.Fatalf("%s: status %v, error %v", c.Name, status, err)
		}
		for i, want := range c.Scores {
			got, _ := mod.Memory().ReadFloat64Le(out + uint32(8*i))
			if want == nil && !math.IsNaN(got) || want != nil && got != *want {
				t.Errorf("%s: row %d scores %v, want %v", c.Name, i, got, orNaN(want))
			}
		}
	}
}

func orNaN(x *float64) float64 {
	if x == nil {
		return math.NaN()
	}
	return *x
}
