package project

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/arbiterhq/arbiter/sdk/abi"
)

// installed skips a test whose toolchain this machine has not. make sdk installs all of them and sets
// ARBITER_SDK, which turns the skip into a failure.
func installed(t *testing.T, l Language) {
	t.Helper()
	missing := ""
	switch l {
	case C:
		if _, err := exec.LookPath("clang-19"); err != nil {
			missing = "clang-19"
		}
	case Rust:
		out, err := exec.Command("rustc", "--print", "target-libdir", "--target", "wasm32-unknown-unknown").Output()
		if err != nil {
			missing = "rustc"
		} else if _, err := os.Stat(strings.TrimSpace(string(out))); err != nil {
			missing = "the Rust target wasm32-unknown-unknown"
		}
	case AssemblyScript:
		if _, err := exec.LookPath("npm"); err != nil {
			missing = "npm"
		}
	}
	if missing == "" {
		return
	}
	if os.Getenv("ARBITER_SDK") != "" {
		t.Fatalf("%s is not installed", missing)
	}
	t.Skipf("%s is not installed; make sdk installs it", missing)
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// TestGuestSDKs builds the conformance plugin with every guest SDK and holds it against the vectors.
func TestGuestSDKs(t *testing.T) {
	eachKind(t, func(t *testing.T, l Language, kind string) {
		dir := filepath.Join(t.TempDir(), "conformance")
		if err := NewConformance(dir, l, kind); err != nil {
			t.Fatal(err)
		}
		module, spec, err := Build(testContext(t), dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d bytes, limits %+v", l, len(module), spec.Manifest.Limits)
		if err := Conformance(testContext(t), module); err != nil {
			t.Error(err)
		}
	})
}

// TestConformanceModules holds the host against the modules beside the vectors, which need no toolchain.
func TestConformanceModules(t *testing.T) {
	_, scorer, err := abi.Load("scorer.json")
	if err != nil {
		t.Fatal(err)
	}
	_, strategy, err := abi.LoadStrategy("strategy.json")
	if err != nil {
		t.Fatal(err)
	}
	for kind, module := range map[string][]byte{artifact.KindScorer: scorer, artifact.KindStrategy: strategy} {
		if err := Conformance(testContext(t), module); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// TestNewProject makes, builds and tests the project that a newcomer gets.
func TestNewProject(t *testing.T) {
	eachKind(t, func(t *testing.T, l Language, kind string) {
		dir := filepath.Join(t.TempDir(), "upgrade-"+kind)
		if err := New(dir, "upgrade-"+kind, l, kind); err != nil {
			t.Fatal(err)
		}
		ctx := testContext(t)
		module, spec, err := Build(ctx, dir)
		if err != nil {
			t.Fatal(err)
		}
		report, err := Test(ctx, module, spec)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range report.Checks {
			if c.Err != nil {
				t.Errorf("%s: %v", c.Name, c.Err)
			}
		}
		if len(report.Checks) < 6 || report.MaxFuel == 0 || report.MemoryBytes == 0 {
			t.Errorf("the report is not complete: %+v", report)
		}
		t.Logf("%s %s: %d bytes, limits %+v, most fuel %d, memory %d", l, kind, len(module), spec.Manifest.Limits, report.MaxFuel, report.MemoryBytes)
	})
}

// eachKind runs a test for both kinds in every language.
func eachKind(t *testing.T, test func(t *testing.T, l Language, kind string)) {
	for _, kind := range []string{artifact.KindScorer, artifact.KindStrategy} {
		for _, l := range Languages() {
			t.Run(kind+"/"+string(l), func(t *testing.T) {
				installed(t, l)
				t.Parallel()
				test(t, l, kind)
			})
		}
	}
}

func TestNewRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := New(dir, "x", C, artifact.KindScorer); nba.CodeOf(err) != nba.CodeConflict {
		t.Errorf("a folder that is not empty: %v", err)
	}
	if err := New(filepath.Join(dir, "sub"), "No Good", C, artifact.KindScorer); nba.CodeOf(err) != nba.CodeInvalid {
		t.Errorf("a bad name: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "sub")); err == nil {
		t.Error("a refused project left its folder")
	}
	if _, err := ParseLanguage("cobol"); nba.CodeOf(err) != nba.CodeInvalid {
		t.Errorf("a language without SDK: %v", err)
	}
}

// BenchmarkGuestSDKs compares the same plugin in all languages: bytes, the time to admit it (with
// compilation and a first instance), its memory, and one call: a row for a scorer, a decision of 30
// candidates for a strategy.
func BenchmarkGuestSDKs(b *testing.B) {
	for _, kind := range []string{artifact.KindScorer, artifact.KindStrategy} {
		for _, l := range Languages() {
			b.Run(kind+"/"+string(l), func(b *testing.B) { benchmarkGuest(b, l, kind) })
		}
	}
}

func benchmarkGuest(b *testing.B, l Language, kind string) {
	dir := filepath.Join(b.TempDir(), "upgrade")
	if err := New(dir, "upgrade", l, kind); err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	module, spec, err := Build(ctx, dir)
	if err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	bench, err := openBench(ctx, module)
	if err != nil {
		b.Fatal(err)
	}
	admitted := time.Since(began)
	defer func() {
		if err := bench.close(ctx); err != nil {
			b.Error(err)
		}
	}()
	call := func() (uint64, error) {
		_, fuel, err := bench.score(ctx, spec.Cases[0].Features, spec.Manifest.SubjectFeatures(), 1)
		return fuel, err
	}
	if kind == artifact.KindStrategy {
		decision, err := madeDecision(&spec.Manifest, 30)
		if err != nil {
			b.Fatal(err)
		}
		call = func() (uint64, error) {
			bench.admitted.Pool.Put(bench.instance) // as a node does between two decisions
			instance, err := bench.admitted.Pool.Acquire(ctx)
			if err != nil {
				return 0, err
			}
			bench.instance = instance
			_, fuel, err := instance.Decide(ctx, decision.Input, 30, wasm.Call{Host: &recorder{parameters: spec.Manifest.Parameters}})
			return fuel, err
		}
	}
	var fuel uint64
	for b.Loop() {
		if fuel, err = call(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(module)), "bytes")
	b.ReportMetric(float64(admitted.Microseconds())/1000, "admit-ms")
	b.ReportMetric(float64(bench.instance.MemoryBytes()), "memory-B")
	b.ReportMetric(float64(fuel), "fuel")
}
