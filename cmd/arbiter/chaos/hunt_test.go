package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hunt looks for reads that are older than a write acknowledged before the read began. Readers on all
// nodes note the last acknowledged version first. Versions count, and not values: a write in doubt may
// take effect after a later one, which makes another value but never a lower version.
type hunt struct {
	seed    uint64
	keys    int
	readers int
	current string
	acked   []atomic.Int64
	reads   atomic.Int64
	stale   atomic.Int64
	behind  atomic.Int64 // the most
	example atomic.Pointer[string]
}

func newHunt(seed uint64, consistency string) *hunt {
	const keys = 8
	return &hunt{seed: seed, keys: keys, readers: 12, current: consistency, acked: make([]atomic.Int64, keys)}
}

func (w *hunt) progress() int64 { return w.reads.Load() }

func (w *hunt) key(k int) string { return fmt.Sprintf("hunt-%d", k) }

func (w *hunt) run(ctx context.Context, c *cluster) {
	var clients sync.WaitGroup
	for k := range w.keys {
		clients.Go(func() { w.write(ctx, c, k) })
	}
	for reader := range w.readers {
		clients.Go(func() {
			random := chance(w.seed, 500+reader)
			for ctx.Err() == nil {
				if !w.read(c, random) {
					pause(ctx, time.Millisecond)
				}
			}
		})
	}
	clients.Wait()
}

func (w *hunt) write(ctx context.Context, c *cluster, k int) {
	random := chance(w.seed, 400+k)
	for value := int64(1); ctx.Err() == nil; value++ {
		if a := c.nodes[random.IntN(len(c.nodes))].put(w.key(k), value, nil); a.fate == applied {
			w.acked[k].Store(int64(a.version)) // one client writes the key: acknowledged versions rise
		}
		pause(ctx, 3*time.Millisecond)
	}
}

func (w *hunt) read(c *cluster, random *rand.Rand) bool {
	k, n := random.IntN(w.keys), c.nodes[random.IntN(len(c.nodes))]
	floor := w.acked[k].Load()
	seen, a := n.read(w.key(k), w.current)
	if a.fate != applied {
		return false
	}
	w.reads.Add(1)
	if version := int64(seen.version); version < floor {
		w.stale.Add(1)
		w.behind.Store(max(w.behind.Load(), floor-version))
		text := fmt.Sprintf("%s on %s at %s: read version %d, %d was acknowledged before", w.key(k), n.id,
			time.Now().Format("15:04:05.000"), seen.version, floor)
		w.example.CompareAndSwap(nil, &text)
	}
	return true
}

func (w *hunt) check(t *testing.T, _ *cluster) {
	t.Helper()
	if stale := w.stale.Load(); stale > 0 {
		t.Errorf("%d of %d reads were older than a write acknowledged before them, by up to %d writes; the first: %s",
			stale, w.reads.Load(), w.behind.Load(), *w.example.Load())
	}
	t.Logf("%d reads hunted", w.reads.Load())
}
