package admission_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/arbiterhq/arbiter/runtime/wasm/wasmtest"
)

func TestMain(m *testing.M) {
	childMain()
	goleak.VerifyTestMain(m)
}

// The sandbox knows the fuel global by name, because it must not import wasmbin.
func TestFuelGlobalName(t *testing.T) {
	if wasm.FuelGlobal != wasmbin.FuelGlobal {
		t.Errorf("runtime/wasm says %s, wasmbin says %s", wasm.FuelGlobal, wasmbin.FuelGlobal)
	}
}

func newSandbox(tb testing.TB) *wasm.Sandbox {
	tb.Helper()
	s, err := wasm.New(wasm.Config{Instances: 1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			tb.Error(err)
		}
	})
	return s
}

func number(f float64) *float64 { return &f }

// manifest has 1 subject and 1 candidate feature.
func manifest() *artifact.Manifest {
	return &artifact.Manifest{
		Name: "propensity", Version: "1.0.0", Kind: artifact.KindScorer, ABI: artifact.ABIVersion,
		Features: []artifact.Feature{
			{Name: "tenure", Recipe: artifact.Recipe{Attribute: "tenure"}},
			{Name: "value", Scope: artifact.ScopeCandidate, Recipe: artifact.Recipe{ActionProperty: "value"}},
		},
		Limits: artifact.Limits{MemoryPages: 4, FuelBase: 10_000, FuelPerRow: 1_000, MaxRows: 32},
		Golden: []artifact.GoldenRow{
			{Features: []*float64{number(1), number(2)}, Score: 0.25 + 0.125 + 0.125},
			{Features: []*float64{number(0), number(0)}, Score: 0.25},
		},
	}
}

func guest() wasmtest.Guest {
	return wasmtest.Guest{Bias: 0.25, Weights: []float64{0.125, 0.0625}}
}

func embed(tb testing.TB, module []byte, m *artifact.Manifest) []byte {
	tb.Helper()
	b, err := artifact.Embed(module, m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func TestAdmit(t *testing.T) {
	s := newSandbox(t)
	module := embed(t, guest().Module(), manifest())
	got, err := admission.Admit(context.Background(), s, module, admission.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Pool.Release()
	if got.Manifest.Name != "propensity" || got.Digest != artifact.Digest(module) {
		t.Errorf("admitted %s with digest %s", got.Manifest.Name, got.Digest)
	}
	if bytes.Equal(got.Metered, module) {
		t.Error("the module was not metered")
	}
	if _, err := admission.Inspect(module, admission.Policy{}); err != nil {
		t.Errorf("Inspect: %v", err)
	}
}

func TestAdmitRaw(t *testing.T) {
	g := guest()
	g.Raw = true // arbiter_score is then twice arbiter_score_raw
	m := manifest()
	m.Golden = []artifact.GoldenRow{{Features: []*float64{number(1), nil}, Raw: number(1), Score: 1}}
	m.Golden[0].Features[1] = number(0)
	m.Golden[0].Raw, m.Golden[0].Score = number(0.375), 0.75
	s := newSandbox(t)
	got, err := admission.Admit(context.Background(), s, embed(t, g.Module(), m), admission.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	got.Pool.Release()
	m.Golden[0].Raw = number(0.3750000000000001)
	refused(t, s, embed(t, g.Module(), m), "rule golden", "manifest /golden/0/raw")
}

// refused checks that admission refuses module with all the words.
func refused(t *testing.T, s *wasm.Sandbox, module []byte, words ...string) {
	t.Helper()
	got, err := admission.Admit(context.Background(), s, module, admission.Policy{})
	if err == nil {
		got.Pool.Release()
		t.Error("the module was admitted")
		return
	}
	if nba.CodeOf(err) != nba.CodePluginRefused {
		t.Errorf("code %s, want %s (%v)", nba.CodeOf(err), nba.CodePluginRefused, err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q lacks %q", err, word)
		}
	}
	if s.Live() != 0 {
		deadline := time.Now().Add(10 * time.Second)
		for s.Live() != 0 && time.Now().Before(deadline) {
			time.Sleep(time.Millisecond)
		}
		if s.Live() != 0 {
			t.Error("the refused module is still loaded")
		}
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct {
		name     string
		guest    func(g *wasmtest.Guest)
		manifest func(m *artifact.Manifest)
		want     []string
	}{
		{name: "no memory", guest: func(g *wasmtest.Guest) { g.Without = "memory" }, want: []string{"rule exports", `memory named "memory"`}},
		{name: "no reserve", guest: func(g *wasmtest.Guest) { g.Without = "arbiter_reserve" }, want: []string{"rule exports", "arbiter_reserve("}},
		{name: "no score", guest: func(g *wasmtest.Guest) { g.Without = "arbiter_score" }, want: []string{"rule exports", "arbiter_score("}},
		{name: "no marker", guest: func(g *wasmtest.Guest) { g.Without = "arbiter_abi_v1" }, want: []string{"rule abi", "marker arbiter_abi_v1 is missing"}},
		{name: "other contract", guest: func(g *wasmtest.Guest) { g.Without = "arbiter_abi_v1"; g.ExtraExport = "arbiter_abi_v2" },
			want: []string{"rule abi", "another version"}},
		{name: "signature", guest: func(g *wasmtest.Guest) { g.BadSignature = true }, want: []string{"rule signature", "function 2 (arbiter_score)"}},
		{name: "import", guest: func(g *wasmtest.Guest) { g.Import = "log" }, want: []string{"rule imports", "arbiter_v1.log", "section 2 (import)", "plugin.yaml"}},
		{name: "unknown import", guest: func(g *wasmtest.Guest) { g.Import = "open" }, want: []string{"rule imports", `"arbiter_v1"."open"`, "section 2 (import)"}},
		{name: "import of another type", guest: func(g *wasmtest.Guest) { g.Import = "log" }, manifest: func(m *artifact.Manifest) { m.Capabilities = []string{"log"} },
			want: []string{"rule signature", "arbiter_v1.log"}},
		{name: "names the fuel global", guest: func(g *wasmtest.Guest) { g.ExtraExport = "arbiter_fuel" }, want: []string{"arbiter_fuel"}},
		{name: "too much memory", guest: func(g *wasmtest.Guest) { g.Pages = 5 }, want: []string{"rule validation", "4 pages"}},
		{name: "memory beyond the policy", manifest: func(m *artifact.Manifest) { m.Limits.MemoryPages = 257 }, want: []string{"rule memory", "257", "256"}},
		{name: "fuel beyond the policy", manifest: func(m *artifact.Manifest) { m.Limits.FuelPerRow = 2_000_001 }, want: []string{"rule fuel"}},
		{name: "a scorer for a strategy", manifest: func(m *artifact.Manifest) {
			*m = artifact.Manifest{Name: m.Name, Version: m.Version, Kind: artifact.KindStrategy, ABI: 1, Limits: m.Limits}
		}, want: []string{"rule exports", "arbiter_buffers"}},
		{name: "layout", guest: func(g *wasmtest.Guest) { g.BadLayout = true }, want: []string{"rule layout", "arbiter_reserve"}},
		{name: "golden score", manifest: func(m *artifact.Manifest) { m.Golden[1].Score = 0.26 }, want: []string{"rule golden", "/golden/1/score", "different models", "rebuild the module"}},
		{name: "golden value that was changed", manifest: func(m *artifact.Manifest) { m.Golden[0].Features[0] = number(0) },
			want: []string{"rule golden", "/golden/0/score", `suspicious: feature "tenure"`, "0 and 1 are swapped"}},
		{name: "golden raw without the export", manifest: func(m *artifact.Manifest) { m.Golden[0].Raw = number(1) },
			want: []string{"rule golden", "arbiter_score_raw"}},
		{name: "trap", guest: func(g *wasmtest.Guest) { g.Behaviour = wasmtest.Trap }, want: []string{"rule golden", "/golden/0", "unreachable"}},
		{name: "endless loop", guest: func(g *wasmtest.Guest) { g.Behaviour = wasmtest.Spin }, want: []string{"rule golden", "fuel"}},
		{name: "endless recursion", guest: func(g *wasmtest.Guest) { g.Behaviour = wasmtest.Recurse }, want: []string{"rule golden", "fuel"}},
		{name: "status", guest: func(g *wasmtest.Guest) { g.Behaviour = wasmtest.Status }, want: []string{"rule golden", "status 7"}},
		{name: "keeps state", guest: func(g *wasmtest.Guest) { g.Behaviour = wasmtest.Counter }, manifest: func(m *artifact.Manifest) {
			m.Output = artifact.OutputValue
			m.Golden = m.Golden[:1]
		}, want: []string{"rule pure"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, m := guest(), manifest()
			if tt.guest != nil {
				tt.guest(&g)
			}
			if tt.manifest != nil {
				tt.manifest(m)
			}
			refused(t, newSandbox(t), embed(t, g.Module(), m), tt.want...)
		})
	}
}

func TestCapabilitiesThatAreNotGranted(t *testing.T) {
	m := manifest()
	m.Capabilities = []string{"param_get", "log"}
	_, err := admission.Inspect(embed(t, guest().Module(), m), admission.Policy{Capabilities: []string{"param_get"}})
	if nba.CodeOf(err) != nba.CodePluginRefused || !strings.Contains(err.Error(), "rule capabilities: manifest /capabilities/1: this host does not grant log") {
		t.Errorf("error %v, want a refusal by rule capabilities", err)
	}
}

func TestCodeBytes(t *testing.T) {
	_, err := admission.Inspect(embed(t, guest().Module(), manifest()), admission.Policy{MaxCodeBytes: 100})
	if nba.CodeOf(err) != nba.CodePluginRefused || !strings.Contains(err.Error(), "rule code-bytes: section 10 (code)") {
		t.Errorf("error %v, want a refusal by rule code-bytes", err)
	}
}

func TestGarbageIsRefused(t *testing.T) {
	s := newSandbox(t)
	good := embed(t, guest().Module(), manifest())
	refused(t, s, nil, "rule size", "empty")
	refused(t, s, []byte("GIF89a, which is not a module at all"), "not a WebAssembly binary")
	refused(t, s, make([]byte, 5<<20), "rule size", "5242880")
	refused(t, s, guest().Module(), "rule manifest", "arbiter.manifest")
	refused(t, s, []byte("\x00asm\x0d\x00\x01\x00"), "component")
	for n := 1; n < len(good); n += 7 {
		refused(t, s, good[:n])
	}
}

func TestEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s := newSandbox(t)
	// Fill the compilation slot's queue behind a cancelled context: either way nothing stays loaded.
	got, err := admission.Admit(ctx, closedLoader{s}, embed(t, guest().Module(), manifest()), admission.Policy{})
	if err == nil {
		got.Pool.Release()
		t.Fatal("admitted")
	}
	if nba.CodeOf(err) != nba.CodeTimeout {
		t.Errorf("code %s, want %s", nba.CodeOf(err), nba.CodeTimeout)
	}
}

// closedLoader fails like a sandbox whose compilation slot is taken for longer than the context lasts.
type closedLoader struct{ *wasm.Sandbox }

func (closedLoader) Load(ctx context.Context, _ []byte, _ wasm.Spec) (*wasm.Pool, error) {
	return nil, context.Cause(ctx)
}

// FuzzAdmit: whatever the bytes, admission gives a pool or an error with a code, and never panics.
func FuzzAdmit(f *testing.F) {
	good := embed(f, guest().Module(), manifest())
	f.Add(good)
	f.Add([]byte{})
	f.Add(good[:len(good)/2])
	for _, b := range []wasmtest.Behaviour{wasmtest.Trap, wasmtest.Spin, wasmtest.Recurse, wasmtest.OutOfBounds, wasmtest.Grow} {
		g := guest()
		g.Behaviour = b
		f.Add(embed(f, g.Module(), manifest()))
	}
	s := newSandbox(f)
	f.Fuzz(func(t *testing.T, module []byte) {
		got, err := admission.Admit(context.Background(), s, module, admission.Policy{})
		if err == nil {
			got.Pool.Release()
			return
		}
		if code := nba.CodeOf(err); code != nba.CodePluginRefused {
			t.Errorf("code %s: %v", code, err)
		}
	})
}
