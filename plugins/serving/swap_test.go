package serving_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/arbiterhq/arbiter/runtime/wasm/wasmtest"
)

// Versions are swapped while many goroutines score: no call fails, and every score is that of the
// version whose digest it names. MaxWarm 1 makes each swap free and reload a version.
func TestSwapUnderLoad(t *testing.T) {
	swaps, scorers := 150, 8
	if testing.Short() {
		swaps = 30
	}
	d := dictionary(t)
	h, err := serving.NewHost(serving.Options{Sandbox: wasm.Config{Instances: 2, MaxWait: time.Minute}, MaxWarm: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	versions := [3][]byte{}
	wants := map[string]float64{} // digest to score
	for i := range versions {
		bias := float64(1000 * (i + 1))
		m := manifest([]string{"1.0.0", "1.1.0", "2.0.0"}[i], feature("tenure", artifact.Recipe{Attribute: "tenure"}),
			feature("value", artifact.Recipe{ActionProperty: "value"}))
		versions[i] = module(t, wasmtest.Guest{Bias: bias, Weights: []float64{1, 1}}, m)
		wants[artifact.Digest(versions[i])] = bias
	}

	var current atomic.Pointer[serving.Set]
	current.Store(set(t, h, d, versions[0]))
	acquire := func() *serving.Set {
		for {
			if s := current.Load(); s.Acquire() {
				return s
			}
		}
	}
	stop := make(chan struct{})
	var calls, wrong, failed atomic.Int64
	var seen sync.Map
	var group sync.WaitGroup
	for g := range scorers {
		group.Go(func() {
			c := call(d, person(t, d, map[string]nba.Value{"tenure": nba.Int(int64(g))}), action{"value": 10}, action{"value": 20})
			for {
				select {
				case <-stop:
					return
				default:
				}
				s := acquire()
				info, err := s.Score(ctx, c)
				if err != nil {
					failed.Add(1)
					t.Error(err)
				} else {
					want := wants[info.Digest] + float64(g)
					if c.Out[0] != want+10 || c.Out[1] != want+20 {
						wrong.Add(1)
					}
					seen.LoadOrStore(info.Digest, true)
				}
				s.Release()
				calls.Add(1)
			}
		})
	}
	for i := 1; i <= swaps; i++ {
		next := set(t, h, d, versions[i%len(versions)])
		current.Swap(next).Release()
		for before := calls.Load(); calls.Load() < before+50; { // let every version score
			runtime.Gosched()
		}
	}
	close(stop)
	group.Wait()
	current.Load().Release()
	if failed.Load() > 0 || wrong.Load() > 0 {
		t.Errorf("%d swaps, %d calls: %d failed, %d with the score of another version", swaps, calls.Load(), failed.Load(), wrong.Load())
	}
	for digest := range wants {
		if _, ok := seen.Load(digest); !ok {
			t.Errorf("no call was scored by %s", digest)
		}
	}
	t.Logf("%d swaps during %d calls: none failed, none mixed", swaps, calls.Load())
	closing, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := h.Close(closing); err != nil {
		t.Error(err) // a version or a goroutine is left
	}
}
