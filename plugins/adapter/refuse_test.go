package adapter_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/plugins/adapter"
	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/arbiterhq/arbiter/runtime/wasm/wasmtest"
)

// TestRefusals names the rule, the place and the remedy of what an adapter does not take.
func TestRefusals(t *testing.T) {
	s := newSandbox(t, wasm.Config{Instances: 1, CacheDir: filepath.Join(t.TempDir(), "cache")})
	changed := func(m *artifact.Manifest, change func(*artifact.Manifest)) *artifact.Manifest {
		change(m)
		return m
	}
	entry := func(name string) func(*artifact.Manifest) {
		return func(m *artifact.Manifest) { m.Adapter.Entrypoint, m.Golden = name, nil }
	}
	scorer := func(kind string) *artifact.Manifest { return scorerManifest(kind) }
	native := wasmtest.Guest{}.Module()
	for _, c := range []struct {
		name     string
		module   []byte
		manifest *artifact.Manifest
		want     []string
	}{
		{"a policy that needs builtins", withData(t, testModule(t, "clock.wasm"), "{}"), changed(policyManifest(), entry("telco/late")),
			[]string{"rule builtins", "time.now_ns", "sprintf", "write the rule without"}},
		{"a policy without that entry point", policy(t), changed(policyManifest(), entry("telco/other")),
			[]string{"rule entrypoint", "manifest /adapter/entrypoint", `"telco/other"`, "telco/eligible, telco/fit, telco/text"}},
		{"a policy with several entry points", policy(t), changed(policyManifest(), entry("")), []string{"rule entrypoint", "telco/eligible"}},
		{"a policy whose data is no JSON", withData(t, testModule(t, "policy.wasm"), "{"), policyManifest(), []string{"rule data", "JSON object"}},
		{"a policy that was not wrapped", testModule(t, "policy.wasm"), policyManifest(), []string{"rule imports", "section 2 (import)", `"env"."memory"`, "arbiter plugin wrap"}},
		{"a policy whose result is a text", policy(t), changed(policyManifest(), entry("telco/text")), []string{"rule missing", "neither a boolean nor a number"}},
		{"a policy that says otherwise", policy(t), changed(policyManifest(), func(m *artifact.Manifest) { m.Golden[1].Score = 1 }),
			[]string{"rule golden", "manifest /golden/1/score"}},
		{"a plugin of another host as a policy", native, policyManifest(), []string{"rule exports", "section 7", "opa_eval", "opa build -t wasm"}},
		{"a plugin of another host as a command", native, scorer(artifact.AdapterWASICommand), []string{"rule exports", "_start", "build a command"}},
		{"a plugin of another host as an Extism plugin", native, scorer(artifact.AdapterExtism), []string{"rule exports", "function score", "--entrypoint"}},
		{"an Extism plugin as a command", testModule(t, "extism.wasm"), scorer(artifact.AdapterWASICommand), []string{"rule imports", "extism:host/env", "opa, wasi-command, extism"}},
		{"an Extism entry point of another type", testModule(t, "extism.wasm"), changed(scorer(artifact.AdapterExtism), func(m *artifact.Manifest) { m.Adapter.Entrypoint = "missing" }),
			[]string{"rule exports", "missing", "--entrypoint"}},
		{"state in a variable", testModule(t, "extism.wasm"), changed(scorer(artifact.AdapterExtism), entry("remember")), []string{"rule missing", "keeps no state"}},
		{"the network", testModule(t, "extism.wasm"), changed(scorer(artifact.AdapterExtism), entry("fetch")), []string{"rule missing", "network"}},
		{"an error", testModule(t, "extism.wasm"), changed(scorer(artifact.AdapterExtism), entry("fail")), []string{"rule missing", "returned status 3"}},
		{"an answer that is no scores", testModule(t, "extism.wasm"), changed(scorer(artifact.AdapterExtism), entry("echo")), []string{"rule missing", "0 scores for 1 candidates"}},
		{"too little fuel", testModule(t, "command.wasm"), changed(scorer(artifact.AdapterWASICommand), func(m *artifact.Manifest) { m.Limits.FuelBase, m.Limits.FuelPerRow = 1000, 10 }),
			[]string{"rule golden", "used up its fuel", "raise limits.fuelBase"}},
		{"too little memory", policy(t), changed(policyManifest(), func(m *artifact.Manifest) { m.Limits.MemoryPages = 1 }), []string{"limits.memoryPages"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := admission.Admit(context.Background(), s, embed(t, c.module, c.manifest), admission.Isolated())
			if nba.CodeOf(err) != nba.CodePluginRefused {
				t.Fatalf("error %v, want a refusal", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("it says %q, want %q in it", err, want)
				}
			}
			if strings.Contains(err.Error(), "nobody should see") {
				t.Errorf("it shows what the guest said: %q", err)
			}
		})
	}
}

// TestManifestOfAdapters lists the mistakes of a manifest that can be told without a module.
func TestManifestOfAdapters(t *testing.T) {
	f := func(change func(*artifact.Manifest), pointer string) {
		t.Helper()
		m := scorerManifest(artifact.AdapterExtism)
		change(m)
		m.FeatureHash = artifact.FeatureHash(m.Features)
		for i := range m.Features {
			if m.Features[i].Scope == "" {
				m.Features[i].Scope = artifact.ScopeSubject
			}
		}
		m.Purpose, m.Output = artifact.DefaultPurpose, artifact.OutputProbability
		err, ok := m.Validate().(*nba.Error)
		if !ok {
			t.Errorf("%s: the manifest passes", pointer)
			return
		}
		for _, d := range err.Details {
			if d.Pointer == pointer {
				return
			}
		}
		t.Errorf("details %v, want one at %s", err.Details, pointer)
	}
	f(func(m *artifact.Manifest) { m.Adapter.Kind = "wasix" }, "/adapter/kind")
	f(func(m *artifact.Manifest) {
		m.Adapter = &artifact.Adapter{Kind: artifact.AdapterWASICommand, Entrypoint: "x"}
	}, "/adapter/entrypoint")
	f(func(m *artifact.Manifest) { m.Adapter.Entrypoint = "a\nb" }, "/adapter/entrypoint")
	f(func(m *artifact.Manifest) { m.Capabilities = []string{"log"} }, "/capabilities")
	f(func(m *artifact.Manifest) { m.Golden[0].Raw = number(1) }, "/golden/0/raw")
}

// TestExchange hands documents to a policy and to a plugin, as strategies do.
func TestExchange(t *testing.T) {
	s := newSandbox(t, wasm.Config{Instances: 1, MaxWait: time.Minute})
	exchange := func(p *wasm.Pool, in string) string {
		t.Helper()
		i, err := p.Acquire(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		defer p.Put(i)
		out, fuel, err := i.Exchange([]byte(in), nil)
		if err != nil || fuel == 0 {
			t.Fatalf("exchange: %v, %d fuel", err, fuel)
		}
		return string(out)
	}
	m := policyManifest()
	p := admit(t, s, embed(t, policy(t), m), admission.Isolated()).Pool
	if got := exchange(p, `{"subject":{"partner":true,"monthlyCharges":16,"plan":"ü"},"candidate":{"term":1}}`); got != "true" {
		t.Errorf("the policy says %s, want true", got)
	}
	m = scorerManifest(artifact.AdapterExtism)
	e := admit(t, s, embed(t, testModule(t, "extism.wasm"), m), admission.Isolated()).Pool
	if got, want := exchange(e, `{"subject":{},"candidates":[{}]}`), `{"scores":[null]}`; got != want {
		t.Errorf("the plugin says %s, want %s", got, want)
	}
}

// TestOwnMemory gives modules of all kinds their own memory, twice: the second time nothing changes.
func TestOwnMemory(t *testing.T) {
	for _, name := range []string{"policy.wasm", "command.wasm", "extism.wasm"} {
		once, err := wasmbin.OwnMemory(testModule(t, name), "memory")
		if err != nil {
			t.Fatal(err)
		}
		m, err := wasmbin.Decode(once)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range m.Imports {
			if imp.Kind == wasmbin.KindMemory {
				t.Errorf("%s still imports its memory", name)
			}
		}
		if _, ok := m.Export("memory", wasmbin.KindMemory); !ok || len(m.Memories) != 1 {
			t.Errorf("%s exports no memory, or has %d", name, len(m.Memories))
		}
		twice, err := wasmbin.OwnMemory(once, "memory")
		if err != nil || string(twice) != string(once) {
			t.Errorf("%s changes the second time: %v", name, err)
		}
	}
	if _, err := wasmbin.OwnMemory([]byte("\x00asm\x01\x00\x00\x00"), "memory"); nba.CodeOf(err) != nba.CodePluginRefused {
		t.Errorf("a module without a memory: %v", err)
	}
}

// TestKinds: the names of the manifest are those of the package.
func TestKinds(t *testing.T) {
	if got := strings.Join(adapter.Kinds(), " "); got != "opa wasi-command extism" {
		t.Errorf("the adapters are %s", got)
	}
}

// BenchmarkAdapters is a call of one row.
func BenchmarkAdapters(b *testing.B) {
	for _, c := range []struct {
		name   string
		module []byte
		m      *artifact.Manifest
		values []float64
	}{
		{"opa", policy(b), policyManifest(), []float64{1, 99.5, 2}},
		{"wasi command in Rust", testModule(b, "command.wasm"), scorerManifest(artifact.AdapterWASICommand), []float64{12, 1}},
		{"extism in Rust", testModule(b, "extism.wasm"), scorerManifest(artifact.AdapterExtism), []float64{12, 1}},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := admit(b, newSandbox(b, wasm.Config{Instances: 1}), embed(b, c.module, c.m), admission.Isolated()).Pool
			i, err := p.Acquire(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			defer p.Put(i)
			for n, f := range c.values {
				wasm.PutFloat(i.Subject(), n, f)
			}
			wasm.PutFloat(i.Candidates(1), 0, 12)
			b.ReportAllocs()
			fuel := uint64(0)
			for b.Loop() {
				if fuel, err = i.Score(context.Background(), 1); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(fuel), "fuel/op")
		})
	}
}
