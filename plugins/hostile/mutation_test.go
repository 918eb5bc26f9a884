package hostile_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/hostile"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// mutate changes a copy of module in a few places: a bit, a byte, a piece cut out, doubled or moved.
func mutate(module []byte, random *rand.Rand) []byte {
	out := append([]byte(nil), module...)
	for range 1 + random.IntN(4) {
		if len(out) < 16 {
			return out
		}
		at, n := 8+random.IntN(len(out)-8), 1+random.IntN(8)
		end := min(at+n, len(out))
		switch random.IntN(6) {
		case 0:
			out[at] ^= 1 << random.IntN(8)
		case 1:
			out[at] = byte(random.IntN(256))
		case 2:
			out = append(out[:at:at], out[end:]...)
		case 3:
			out = append(out[:end:end], out[at:]...)
		case 4:
			copy(out[at:], out[8+random.IntN(len(out)-8):][:1])
		case 5:
			out = out[:at]
		}
	}
	return out
}

// judge admits a module and, where it may run, calls it: whatever it is, there is an answer of one of the
// known kinds.
func judge(t *testing.T, s *wasm.Sandbox, module []byte) (admitted bool) {
	t.Helper()
	got, err := admission.Admit(context.Background(), s, module, admission.Policy{})
	if err != nil {
		if nba.CodeOf(err) != nba.CodePluginRefused {
			t.Fatalf("admission gives %v, want %s", err, nba.CodePluginRefused)
		}
		return false
	}
	defer got.Pool.Release()
	i, err := got.Pool.Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	used, err := i.Score(context.Background(), 1)
	if err != nil && wasm.ReasonOf(err) == "" {
		t.Fatalf("a call gives %v, want an error of the guest", err)
	}
	if most := uint64(got.Manifest.Fuel(1)); used > most {
		t.Fatalf("a call used %d fuel of %d", used, most)
	}
	if most := got.Manifest.Limits.MemoryPages * wasm.PageBytes; i.MemoryBytes() > most {
		t.Fatalf("an instance has %d bytes of memory of %d", i.MemoryBytes(), most)
	}
	if err != nil {
		got.Pool.Discard(i)
	} else {
		got.Pool.Put(i)
	}
	return true
}

func newSandbox(tb testing.TB) *wasm.Sandbox {
	tb.Helper()
	s, err := wasm.New(wasm.Config{Instances: 1})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// TestMutations changes good and hostile plugins at random, their code alone and all of
// them, beside a good plugin.
func TestMutations(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	a := newArena(t, serving.Options{})
	quiet := a.set("")
	defer quiet.Release()
	b := a.watch(quiet)
	defer b.end(t)
	s := newSandbox(t)
	seeds := [][]byte{hostile.Good(bad, 0.5)}
	for _, c := range hostile.Cases(bad) {
		if len(c.Refused) == 0 && len(c.Artifact) < 8<<10 {
			seeds = append(seeds, c.Artifact)
		}
	}
	random := rand.New(rand.NewPCG(4, 7))
	ran := 0
	for range rounds {
		for _, seed := range seeds {
			bare, err := wasmbin.WithoutCustomSection(seed, artifact.SectionName)
			if err != nil {
				t.Fatal(err)
			}
			if module, err := artifact.Embed(mutate(bare, random), hostile.Manifest(bad)); err == nil && judge(t, s, module) {
				ran++
			}
			judge(t, s, mutate(seed, random))
		}
	}
	if ran == 0 {
		t.Error("no mutated module was admitted: the mutations are too coarse")
	}
	t.Logf("%d of %d mutated modules were admitted", ran, rounds*len(seeds))
}

// FuzzAdmit admits whatever comes and calls what may run.
func FuzzAdmit(f *testing.F) {
	for _, c := range hostile.Cases(bad) {
		if len(c.Artifact) < 8<<10 {
			f.Add(c.Artifact)
		}
	}
	s := newSandbox(f)
	f.Fuzz(func(t *testing.T, module []byte) {
		if len(module) < 64<<10 {
			judge(t, s, module)
		}
	})
}
