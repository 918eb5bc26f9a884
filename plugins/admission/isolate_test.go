package admission_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// childWord as the first argument makes the test binary the child that compiles.
const childWord = "compile-child"

func childMain() {
	if len(os.Args) > 1 && os.Args[1] == childWord {
		if err := admission.CompileChild(context.Background(), os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
}

func isolated(t *testing.T, isolation admission.Isolation) (*wasm.Sandbox, string) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	isolation.Program, isolation.Args = program, []string{childWord}
	cache := t.TempDir()
	s, err := wasm.New(wasm.Config{Instances: 1, CacheDir: cache, Precompile: isolation.Precompile})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s, cache
}

// TestIsolatedCompilation admits a module that a child compiled, twice: the second time nothing is
// compiled.
func TestIsolatedCompilation(t *testing.T) {
	s, cache := isolated(t, admission.Isolation{})
	module := embed(t, guest().Module(), manifest())
	for range 2 {
		admitted, err := admission.Admit(context.Background(), s, module, admission.Isolated())
		if err != nil {
			t.Fatal(err)
		}
		admitted.Pool.Release()
	}
	entries, err := os.ReadDir(cache)
	if err != nil || len(entries) != 1 {
		t.Errorf("%d cache entries, %v; want 1", len(entries), err)
	}
}

// bomb is a valid module whose compilation takes far longer than its size suggests: every local lives
// across deeply nested blocks.
func bomb(t *testing.T) []byte {
	t.Helper()
	var b wasmbin.Builder
	f := b.Function(nil, nil)
	locals := make([]wasmbin.Local, 5000)
	for i := range locals {
		locals[i] = f.Local(wasmbin.I64)
		f.I64(int64(i)).Set(locals[i])
	}
	const opI64Add, opDrop = 0x7c, 0x1a
	for range 5000 {
		f.I32(1).If()
	}
	for i := range locals {
		f.Get(locals[i]).Get(locals[(i*7+1)%len(locals)]).Op(opI64Add).Set(locals[i])
	}
	for range 5000 {
		f.End()
		for i := 0; i < len(locals); i += 10 {
			f.Get(locals[i]).Op(opDrop)
		}
	}
	b.Export("bomb", f)
	return b.Bytes()
}

// TestCompileBomb has a child die of a compile bomb within its limits, and this process live.
func TestCompileBomb(t *testing.T) {
	dir := t.TempDir()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	module := bomb(t)
	for name, isolation := range map[string]admission.Isolation{
		"time":      {Timeout: 300 * time.Millisecond},
		"processor": {MaxCPU: time.Second, Timeout: time.Minute},
	} {
		isolation.Program, isolation.Args = program, []string{childWord}
		began := time.Now()
		err := isolation.Precompile(context.Background(), dir, module, 1)
		if err == nil {
			t.Errorf("%s: the bomb compiled in %v; make it larger", name, time.Since(began))
		}
		t.Logf("%s: %v after %v", name, err, time.Since(began))
	}
}

func TestCompileChildRefuses(t *testing.T) {
	for name, input := range map[string]string{
		"nothing":         "",
		"a path too long": strings.Repeat("\xff", 64),
	} {
		if err := admission.CompileChild(context.Background(), bytes.NewReader([]byte(input))); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
