package wasm_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/arbiterhq/arbiter/runtime/wasm/wasmtest"
)

func TestCompiledCodeCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	s := newSandbox(t, wasm.Config{Instances: 1, CacheDir: dir, CacheEntries: 2})
	check := func(bias float64) {
		t.Helper()
		guest := linear
		guest.Bias = bias
		p := load(t, s, guest, linearSpec)
		got, err := scoreOnce(p, []float64{0, 0}, []float64{0, 0, 0})
		if err != nil || got[0] != bias {
			t.Fatalf("score = %v, %v; want %v", got, err, bias)
		}
	}
	check(1)
	files, err := filepath.Glob(filepath.Join(dir, "*", "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("cache files %v, %v; want one", files, err)
	}
	check(1) // from the cache
	for _, damage := range []func(b []byte) []byte{
		func(b []byte) []byte { return b[:len(b)/2] },
		func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		func([]byte) []byte { return nil },
	} {
		code, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(files[0], damage(code), 0o600); err != nil {
			t.Fatal(err)
		}
		check(1)
	}
	// The code of another module, whose CRC is good, is not run in place of a module's own.
	other := linear
	other.Behaviour = wasmtest.Counter
	load(t, s, other, linearSpec)
	all, err := filepath.Glob(filepath.Join(dir, "*", "*", "*"))
	if err != nil || len(all) != 2 {
		t.Fatalf("cache files %v, %v; want two", all, err)
	}
	foreign, err := os.ReadFile(all[0])
	if all[0] == files[0] {
		foreign, err = os.ReadFile(all[1])
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[0], foreign, 0o600); err != nil {
		t.Fatal(err)
	}
	check(1)
	check(1)
	if kept, err := os.ReadFile(files[0]); err != nil || bytes.Equal(kept, foreign) {
		t.Errorf("the foreign code is still in the cache: %v", err)
	}
	check(2)
	check(3)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("%d cache entries, %v; want 2", len(entries), err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := wasm.New(wasm.Config{CacheDir: dir}); err == nil {
		t.Error("a cache writable by others was accepted")
	}
}
