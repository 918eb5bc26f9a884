package wasm_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/arbiterhq/arbiter/runtime/wasm/wasmtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newSandbox(tb testing.TB, config wasm.Config) *wasm.Sandbox {
	tb.Helper()
	s, err := wasm.New(config)
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

// linearSpec fits guests with 2 subject and 3 candidate features.
var linearSpec = wasm.Spec{Digest: "sha256:test", MemoryPages: 4, FuelBase: 1000, FuelPerRow: 100, MaxRows: 16,
	SubjectFeatures: 2, CandidateFeatures: 3}

var linear = wasmtest.Guest{Bias: 1, Weights: []float64{10, 20, 1, 2, 3}, Metered: true}

func load(tb testing.TB, s *wasm.Sandbox, guest wasmtest.Guest, spec wasm.Spec) *wasm.Pool {
	tb.Helper()
	p, err := s.Load(context.Background(), guest.Module(), spec)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(p.Release)
	return p
}

// scoreOnce writes the inputs and returns the scores of all rows.
func scoreOnce(p *wasm.Pool, subject []float64, rows ...[]float64) ([]float64, error) {
	ctx := context.Background()
	i, err := p.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	for n, f := range subject {
		wasm.PutFloat(i.Subject(), n, f)
	}
	for r, row := range rows {
		for n, f := range row {
			wasm.PutFloat(i.Candidates(len(rows)), r*len(row)+n, f)
		}
	}
	if _, err := i.Score(ctx, len(rows)); err != nil {
		p.Discard(i)
		return nil, err
	}
	out := make([]float64, len(rows))
	for r := range out {
		out[r] = i.ScoreAt(r)
	}
	p.Put(i)
	return out, nil
}

func TestScore(t *testing.T) {
	p := load(t, newSandbox(t, wasm.Config{Instances: 1}), linear, linearSpec)
	got, err := scoreOnce(p, []float64{1, 2}, []float64{1, 1, 1}, []float64{0, 0, 1}, []float64{math.NaN(), 0, 0})
	if err != nil {
		t.Fatal(err)
	}
	if got[0] != 57 || got[1] != 54 || !math.IsNaN(got[2]) {
		t.Errorf("scores = %v, want [57 54 NaN]", got)
	}
	i, err := p.Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Put(i)
	used, err := i.Score(context.Background(), 3)
	if err != nil || used != 13 {
		t.Errorf("Score used %d fuel, error %v; want 13 and none", used, err)
	}
	if _, err := i.ScoreRaw(context.Background(), 1); err == nil {
		t.Error("ScoreRaw without the export succeeded")
	}
	for _, rows := range []int{-1, 0, 17} {
		if _, err := i.Score(context.Background(), rows); err == nil {
			t.Errorf("Score of %d rows succeeded", rows)
		}
	}
}

// A guest that misbehaves costs its instance and gives a typed error; the pool goes on.
func TestGuestErrors(t *testing.T) {
	tests := []struct {
		name      string
		behaviour wasmtest.Behaviour
		want      wasm.Reason
	}{
		{name: "trap", behaviour: wasmtest.Trap, want: wasm.ReasonTrap},
		{name: "endless loop", behaviour: wasmtest.Spin, want: wasm.ReasonFuel},
		{name: "endless recursion", behaviour: wasmtest.Recurse, want: wasm.ReasonFuel},
		{name: "store out of bounds", behaviour: wasmtest.OutOfBounds, want: wasm.ReasonMemory},
		{name: "status", behaviour: wasmtest.Status, want: wasm.ReasonStatus},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			guest := linear
			guest.Behaviour = tt.behaviour
			p := load(t, newSandbox(t, wasm.Config{Instances: 1, MaxWait: 10 * time.Second}), guest, linearSpec)
			for range 3 {
				_, err := scoreOnce(p, []float64{1, 2}, []float64{1, 1, 1})
				if got := wasm.ReasonOf(err); got != tt.want {
					t.Fatalf("reason = %q (%v), want %q", got, err, tt.want)
				}
			}
		})
	}
}

func TestDiscardedInstanceIsReplaced(t *testing.T) {
	guest := linear
	guest.Behaviour = wasmtest.TrapIfNegative
	p := load(t, newSandbox(t, wasm.Config{Instances: 2, MaxWait: 10 * time.Second}), guest, linearSpec)
	for n := range 50 {
		if _, err := scoreOnce(p, []float64{-1, 0}, []float64{0, 0, 0}); wasm.ReasonOf(err) != wasm.ReasonTrap {
			t.Fatalf("call %d: error %v, want a trap", n, err)
		}
		got, err := scoreOnce(p, []float64{1, 0}, []float64{0, 0, 0})
		if err != nil || got[0] != 11 {
			t.Fatalf("call %d after a trap: %v, %v; want 11", n, got, err)
		}
	}
}

// Growing moves the linear memory, so the views must be taken again.
func TestMemoryGrowth(t *testing.T) {
	guest := linear
	guest.Behaviour = wasmtest.Grow
	p := load(t, newSandbox(t, wasm.Config{Instances: 1}), guest, linearSpec)
	for n := range 6 { // 2 pages, the limit is 4: the later growths are refused
		got, err := scoreOnce(p, []float64{float64(n), 0}, []float64{0, 0, 0})
		if err != nil || got[0] != float64(1+10*n) {
			t.Fatalf("call %d: %v, %v", n, got, err)
		}
	}
}

// A declared maximum beyond the limit is the limit.
func TestMemoryLimit(t *testing.T) {
	guest := linear
	guest.Behaviour, guest.MaxPages = wasmtest.Grow, 60_000
	s := newSandbox(t, wasm.Config{Instances: 1})
	if err := s.Validate(context.Background(), guest.Module(), linearSpec.MemoryPages); err != nil {
		t.Fatal(err)
	}
	p := load(t, s, guest, linearSpec)
	ctx := context.Background()
	i, err := p.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	began := i.MemoryBytes()
	for range 100 {
		if _, err := i.Score(ctx, 1); err != nil {
			t.Fatal(err)
		}
	}
	if got := i.MemoryBytes(); got != 4*wasm.PageBytes {
		t.Errorf("the instance grew to %d bytes, want %d", got, 4*wasm.PageBytes)
	}
	// One that has grown so far is not used again.
	p.Put(i)
	fresh, err := p.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Put(fresh)
	if got := fresh.MemoryBytes(); got != began {
		t.Errorf("the next instance has %d bytes, want %d", got, began)
	}
}

func TestLoadRefuses(t *testing.T) {
	tests := []struct {
		name  string
		guest wasmtest.Guest
		want  string
	}{
		{name: "not metered", guest: wasmtest.Guest{}, want: "not metered"},
		{name: "no memory", guest: wasmtest.Guest{Metered: true, Without: "memory"}, want: "exports no memory"},
		{name: "no score", guest: wasmtest.Guest{Metered: true, Without: "arbiter_score"}, want: "no export arbiter_score"},
		{name: "no reserve", guest: wasmtest.Guest{Metered: true, Without: "arbiter_reserve"}, want: "no export arbiter_reserve"},
		{name: "layout", guest: wasmtest.Guest{Metered: true, BadLayout: true}, want: "beyond the end of the memory"},
		{name: "too much memory", guest: wasmtest.Guest{Metered: true, Pages: 5}, want: "over limit of 4 pages"},
		{name: "import", guest: wasmtest.Guest{Metered: true, Import: "log"}, want: "could not be instantiated"},
	}
	s := newSandbox(t, wasm.Config{Instances: 1})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.Load(context.Background(), tt.guest.Module(), linearSpec)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
	if s.Live() != 0 {
		t.Errorf("%d pools live after refused loads", s.Live())
	}
}

func TestChunkRows(t *testing.T) {
	f := func(spec wasm.Spec, maxCallFuel uint64, want int) {
		t.Helper()
		p := load(t, newSandbox(t, wasm.Config{Instances: 1, MaxCallFuel: maxCallFuel}), linear, spec)
		if got := p.MaxRows(); got != want {
			t.Errorf("MaxRows = %d, want %d", got, want)
		}
		p.LimitRows(3)
		if got := p.MaxRows(); got != min(3, want) {
			t.Errorf("MaxRows after LimitRows(3) = %d", got)
		}
		p.LimitRows(-1)
		if got := p.MaxRows(); got != 1 {
			t.Errorf("MaxRows after LimitRows(-1) = %d", got)
		}
	}
	spec := linearSpec
	f(spec, 0, 16)
	f(spec, 2000, 10)
	f(spec, 500, 1)
	spec.MaxRows = 0
	f(spec, 0, 1)
}

func TestAcquireGivesUp(t *testing.T) {
	s := newSandbox(t, wasm.Config{Instances: 1, MaxWait: 20 * time.Millisecond})
	p := load(t, s, linear, linearSpec)
	ctx := context.Background()
	held, err := p.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Put(held)
	if _, err := p.Acquire(ctx); !errors.Is(err, wasm.ErrBusy) {
		t.Errorf("Acquire past MaxWait: %v, want ErrBusy", err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := p.Acquire(cancelled); !errors.Is(err, context.Canceled) {
		t.Errorf("Acquire with a cancelled context: %v", err)
	}
}

func TestAcquireWaits(t *testing.T) {
	metrics := prometheus.NewRegistry()
	s := newSandbox(t, wasm.Config{Instances: 1, MaxWait: time.Minute, MaxWaiters: 1, Registerer: metrics})
	p := load(t, s, linear, linearSpec)
	ctx := context.Background()
	held, err := p.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() {
		i, err := p.Acquire(ctx)
		if err == nil {
			p.Put(i)
		}
		waiting <- err
	}()
	for counter(t, metrics, "arbiter_wasm_pool_waits_total") == 0 {
		time.Sleep(time.Millisecond)
	}
	if _, err := p.Acquire(ctx); !errors.Is(err, wasm.ErrBusy) {
		t.Errorf("Acquire past MaxWaiters: %v, want ErrBusy", err)
	}
	p.Put(held)
	if err := <-waiting; err != nil {
		t.Errorf("waiter got %v", err)
	}
}

func counter(tb testing.TB, metrics *prometheus.Registry, name string) float64 {
	tb.Helper()
	families, err := metrics.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, family := range families {
		if family.GetName() == name {
			return family.GetMetric()[0].GetCounter().GetValue()
		}
	}
	tb.Fatalf("no metric %s", name)
	return 0
}

func TestReferences(t *testing.T) {
	s := newSandbox(t, wasm.Config{Instances: 1})
	p, err := s.Load(context.Background(), linear.Module(), linearSpec)
	if err != nil {
		t.Fatal(err)
	}
	if !p.Retain() {
		t.Fatal("Retain of a live pool failed")
	}
	p.Release()
	if _, err := scoreOnce(p, []float64{1, 2}, []float64{1, 1, 1}); err != nil {
		t.Errorf("score with one reference left: %v", err)
	}
	short, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := s.Close(short); err == nil {
		t.Error("Close with a pool in use reported success")
	}
	p.Release()
	if p.Retain() {
		t.Error("Retain after the last Release succeeded")
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if s.Live() != 0 {
		t.Errorf("%d pools live after Close", s.Live())
	}
	if _, err := s.Load(context.Background(), linear.Module(), linearSpec); !errors.Is(err, wasm.ErrClosed) {
		t.Errorf("Load after Close: %v", err)
	}
}

func TestValidate(t *testing.T) {
	s := newSandbox(t, wasm.Config{})
	ctx := context.Background()
	good := wasmtest.Guest{}.Module()
	if err := s.Validate(ctx, good, 4); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string][]byte{
		"empty": {}, "garbage": []byte("this is not wasm"), "truncated": good[:len(good)/2],
		"too much memory": wasmtest.Guest{Pages: 5}.Module(),
	} {
		if err := s.Validate(ctx, bad, 4); err == nil {
			t.Errorf("%s: Validate found nothing wrong", name)
		}
	}
}

// Many goroutines, traps among the calls, more callers than instances: results stay right, the race
// detector stays silent.
func TestPoolHammer(t *testing.T) {
	guest := linear
	guest.Behaviour = wasmtest.TrapIfNegative
	p := load(t, newSandbox(t, wasm.Config{Instances: 2, MaxWait: time.Minute}), guest, linearSpec)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := range 300 {
				x := float64(g*1000 + n)
				if n%50 == 49 {
					if _, err := scoreOnce(p, []float64{-1, 0}, []float64{0, 0, 0}); wasm.ReasonOf(err) != wasm.ReasonTrap {
						t.Errorf("error %v, want a trap", err)
					}
					continue
				}
				got, err := scoreOnce(p, []float64{x, 0}, []float64{0, 0, 0}, []float64{x, 0, 0})
				if err != nil || got[0] != 1+10*x || got[1] != 1+11*x {
					t.Errorf("scores %v, error %v; want %v %v", got, err, 1+10*x, 1+11*x)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestScoreAllocatesNothing(t *testing.T) {
	p := load(t, newSandbox(t, wasm.Config{Instances: 1}), linear, linearSpec)
	ctx := context.Background()
	allocs := testing.AllocsPerRun(100, func() {
		i, err := p.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		wasm.PutFloat(i.Subject(), 0, 1)
		if _, err := i.Score(ctx, 4); err != nil {
			t.Fatal(err)
		}
		p.Put(i)
	})
	if allocs != 0 {
		t.Errorf("%v allocations a call, want 0", allocs)
	}
}

func BenchmarkFuelSetAndCall(b *testing.B) {
	s := newSandbox(b, wasm.Config{Instances: 1})
	p := load(b, s, linear, linearSpec)
	ctx := context.Background()
	b.Run("acquire and put", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			i, err := p.Acquire(ctx)
			if err != nil {
				b.Fatal(err)
			}
			p.Put(i)
		}
	})
	i, err := p.Acquire(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer p.Put(i)
	b.Run("call of 1 row", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := i.Score(ctx, 1); err != nil {
				b.Fatal(err)
			}
		}
	})
}
