package adapter_test

import (
	"context"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/arbiterhq/arbiter/plugins/adapter"
	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newSandbox(tb testing.TB, config wasm.Config) *wasm.Sandbox {
	tb.Helper()
	s, err := wasm.New(config)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func number(f float64) *float64 { return &f }

// policyManifest is that of testdata/src/policy/eligible.rego.
func policyManifest() *artifact.Manifest {
	return &artifact.Manifest{Name: "family-rule", Version: "1.0.0", Kind: artifact.KindScorer, ABI: artifact.ABIVersion, Output: artifact.OutputVerdict,
		Adapter: &artifact.Adapter{Kind: artifact.AdapterOPA, Entrypoint: "telco/eligible"},
		Features: []artifact.Feature{
			{Name: "partner", Recipe: artifact.Recipe{Attribute: "partner", Levels: []string{"false", "true"}}},
			{Name: "monthlyCharges", Recipe: artifact.Recipe{Attribute: "monthlyCharges"}},
			{Name: "plan", Recipe: artifact.Recipe{Attribute: "plan", Levels: []string{"P0", "P1", "P20"}}},
			{Name: "term", Scope: artifact.ScopeCandidate, Recipe: artifact.Recipe{ActionProperty: "term"}},
		},
		Limits: artifact.Limits{MemoryPages: 16, FuelBase: 100_000, FuelPerRow: 100_000, MaxRows: 8},
		Golden: []artifact.GoldenRow{
			{Features: []*float64{number(1), number(20), number(2), number(12)}, Score: 1},
			{Features: []*float64{number(1), number(20), number(2), number(24)}, Score: 0},
			{Features: []*float64{number(1), number(20), number(1), number(12)}, Score: 0},
			{Features: []*float64{number(0), number(20), number(2), number(12)}, Score: 0},
			{Features: []*float64{nil, number(20), number(2), number(12)}, Score: 0},
			{Features: []*float64{number(1), number(14.5), nil, nil}, Score: 0},
		},
	}
}

// scorerManifest is that of the scorers in testdata/src.
func scorerManifest(kind string) *artifact.Manifest {
	score := func(tenure, plan, value float64) *artifact.GoldenRow {
		bonus := 0.0
		if plan == 1 {
			bonus = 0.5
		}
		return &artifact.GoldenRow{Features: []*float64{&tenure, &plan, &value}, Score: bonus + tenure/1000 + value/10000}
	}
	return &artifact.Manifest{Name: "fit", Version: "1.0.0", Kind: artifact.KindScorer, ABI: artifact.ABIVersion,
		Adapter: &artifact.Adapter{Kind: kind},
		Features: []artifact.Feature{
			{Name: "tenure", Recipe: artifact.Recipe{Attribute: "tenure"}},
			{Name: "plan", Recipe: artifact.Recipe{Attribute: "plan", Levels: []string{"P0", "P20"}}},
			{Name: "value", Scope: artifact.ScopeCandidate, Recipe: artifact.Recipe{ActionProperty: "value"}},
		},
		Limits: artifact.Limits{MemoryPages: 32, FuelBase: 400_000, FuelPerRow: 50_000, MaxRows: 16},
		Golden: []artifact.GoldenRow{*score(12, 1, 100), *score(0, 0, 0), *score(60, 0, 250.5), *score(33, 1, 1e-7)},
	}
}

func testModule(tb testing.TB, name string) []byte {
	tb.Helper()
	module, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return module
}

// withData is a policy with its own memory and a data document.
func withData(tb testing.TB, module []byte, data string) []byte {
	tb.Helper()
	module, err := wasmbin.OwnMemory(module, "memory")
	if err != nil {
		tb.Fatal(err)
	}
	return wasmbin.AppendCustomSection(module, adapter.SectionOPAData, []byte(data))
}

func policy(tb testing.TB) []byte {
	return withData(tb, testModule(tb, "policy.wasm"), `{"withdrawn":[24]}`)
}

func embed(tb testing.TB, module []byte, m *artifact.Manifest) []byte {
	tb.Helper()
	b, err := artifact.Embed(module, m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// goCommand is testdata/src/go-command, built.
func goCommand(tb testing.TB) []byte {
	tb.Helper()
	out := filepath.Join(tb.TempDir(), "command.wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
	cmd.Dir = filepath.Join("testdata", "src", "go-command")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOWORK=off", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		tb.Skipf("Go cannot build for wasip1 here: %v\n%s", err, text)
	}
	module, err := os.ReadFile(out)
	if err != nil {
		tb.Fatal(err)
	}
	return module
}

func admit(tb testing.TB, s *wasm.Sandbox, module []byte, policy admission.Policy) *admission.Admitted {
	tb.Helper()
	admitted, err := admission.Admit(context.Background(), s, module, policy)
	if err != nil {
		if e, ok := err.(*nba.Error); ok {
			tb.Log(e.Details)
		}
		tb.Fatal(err)
	}
	tb.Cleanup(admitted.Pool.Release)
	return admitted
}

// batch scores rows that lie one after the other: the subject features of the first one count.
func batch(tb testing.TB, p *wasm.Pool, subject []float64, candidates ...float64) []float64 {
	tb.Helper()
	i, err := p.Acquire(context.Background())
	if err != nil {
		tb.Fatal(err)
	}
	rows := max(1, len(candidates))
	for n, f := range subject {
		wasm.PutFloat(i.Subject(), n, f)
	}
	for n, f := range candidates {
		wasm.PutFloat(i.Candidates(rows), n, f)
	}
	if _, err := i.Score(context.Background(), rows); err != nil {
		p.Discard(i)
		tb.Fatal(err)
	}
	var scores []float64
	for n := range rows {
		scores = append(scores, i.ScoreAt(n))
	}
	p.Put(i)
	return scores
}

func equal(a, b []float64) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] && !(math.IsNaN(a[i]) && math.IsNaN(b[i])) {
			return false
		}
	}
	return true
}

// TestOPAPolicy admits a policy that OPA compiled, whose golden rows are replayed, and asks it about
// several candidates at once.
func TestOPAPolicy(t *testing.T) {
	s := newSandbox(t, wasm.Config{Instances: 1})
	p := admit(t, s, embed(t, policy(t), policyManifest()), admission.Isolated()).Pool
	for range 200 { // the policy's heap must not grow
		if got := batch(t, p, []float64{1, 99.5, 2}, 12, 24, math.NaN(), 36); !equal(got, []float64{1, 0, 0, 1}) {
			t.Fatalf("verdicts %v, want 1, 0, 0 (no term), 1", got)
		}
	}
	i, err := p.Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Put(i)
	if size := i.MemoryBytes(); size > 16*wasm.PageBytes {
		t.Errorf("the policy's memory has %d bytes, more than its manifest allows", size)
	}
}

// TestOPANumber evaluates another entry point of the same policy, which is a number or undefined.
func TestOPANumber(t *testing.T) {
	m := policyManifest()
	m.Adapter.Entrypoint, m.Output, m.Golden = "telco/fit", artifact.OutputProbability, nil
	p := admit(t, newSandbox(t, wasm.Config{Instances: 1}), embed(t, policy(t), m), admission.Isolated()).Pool
	if got := batch(t, p, []float64{math.NaN(), 25, math.NaN()}, 1); !equal(got, []float64{0.25}) {
		t.Errorf("the fit is %v, want 0.25", got)
	}
	if got := batch(t, p, []float64{1, math.NaN(), 1}, 1); !equal(got, []float64{math.NaN()}) {
		t.Errorf("the fit without charges is %v, want an abstention", got)
	}
}

// TestCommandsAndPlugins runs the same scorer as a WASI command of Rust and of Go and as an Extism plugin.
func TestCommandsAndPlugins(t *testing.T) {
	for _, c := range []struct {
		name   string
		kind   string
		module func(testing.TB) []byte
		// fuel and policy are more for Go, whose runtime takes that much to start.
		fuel   int64
		pages  int
		policy func() admission.Policy
	}{
		{name: "rust command", kind: artifact.AdapterWASICommand, module: func(tb testing.TB) []byte { return testModule(tb, "command.wasm") }, policy: admission.Isolated},
		{name: "extism", kind: artifact.AdapterExtism, module: func(tb testing.TB) []byte { return testModule(tb, "extism.wasm") }, policy: admission.Isolated},
		{name: "go command", kind: artifact.AdapterWASICommand, module: goCommand, fuel: 30_000_000, pages: 256, policy: func() admission.Policy {
			p := admission.Isolated()
			p.MaxCallFuel = 100_000_000
			return p
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.fuel > 0 && testing.Short() {
				t.Skip("compiling a Go program takes long")
			}
			m := scorerManifest(c.kind)
			config := wasm.Config{Instances: 1, MaxWait: time.Minute}
			if c.fuel > 0 {
				m.Limits.FuelBase, m.Limits.MemoryPages, config.MaxCallFuel = c.fuel, c.pages, 100_000_000
			}
			p := admit(t, newSandbox(t, config), embed(t, c.module(t), m), c.policy()).Pool
			for range 5 {
				if got := batch(t, p, []float64{10, 1}, 100, math.NaN(), 200); !equal(got, []float64{0.5 + 0.01 + 0.01, math.NaN(), 0.5 + 0.01 + 0.02}) {
					t.Fatalf("scores %v", got)
				}
			}
		})
	}
}
