package raftgroup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestConfirmOnEveryNodeSeesWhatWasAcknowledged(t *testing.T) {
	c := newTestCluster(t, 3, 2, Options{})
	c.startAll()
	for k := range 100 {
		i := k % 2
		c.submit(i, fmt.Sprint(k))
		for _, n := range c.nodes {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if err := n.groups[i].Confirm(ctx); err != nil {
				t.Fatalf("%s: %v", n.id, err)
			}
			cancel()
			if got, want := n.groups[i].data.Subjects(), int64(k/2+1); got != want {
				t.Fatalf("%s reads %d, %d were acknowledged", n.id, got, want)
			}
		}
	}
	c.eventually("young", func() error {
		for _, n := range c.nodes {
			for _, g := range n.groups {
				if age, ok := g.Age(); !ok || age > 300*time.Millisecond {
					return fmt.Errorf("the age of %s on %s is %s, %t", g.config.Name, n.id, age, ok)
				}
			}
		}
		return nil
	})
}

// TestReadsAreNeverStale lets readers on all nodes compare what they see after Confirm with what was
// acknowledged before, while the network between nodes fails and heals.
func TestReadsAreNeverStale(t *testing.T) {
	c := newTestCluster(t, 3, 1, Options{})
	c.proxies = newProxies(t, c.addresses)
	c.startAll()
	var acknowledged, reads, refused atomic.Int64
	stop := make(chan struct{})
	var work sync.WaitGroup
	var uncertain atomic.Int64
	work.Go(func() { // one writer, of distinct subjects
		for k := 0; ; k++ {
			select {
			case <-stop:
				return
			default:
			}
			for _, id := range c.ids {
				g := c.nodes[id].groups[0]
				if !g.Leading() {
					continue
				}
				ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
				_, err := g.Submit(ctx, put(t, fmt.Sprint(k)))
				cancel()
				if err == nil {
					acknowledged.Add(1)
				} else {
					uncertain.Add(1)
				}
				break
			}
		}
	})
	for w := range 24 {
		work.Go(func() {
			g := c.nodes[c.ids[w%3]].groups[0]
			for {
				select {
				case <-stop:
					return
				default:
				}
				before := acknowledged.Load()
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				err := g.Confirm(ctx)
				cancel()
				if err != nil {
					refused.Add(1)
					time.Sleep(time.Millisecond)
					continue
				}
				reads.Add(1)
				if got := g.data.Subjects(); got < before {
					t.Errorf("%s reads %d after %d were acknowledged", g.config.NodeID, got, before)
					return
				}
			}
		})
	}
	rounds := 4
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		time.Sleep(300 * time.Millisecond)
		lonely := c.ids[rand.IntN(3)]
		if g := c.leader(0); g != nil {
			lonely = g.config.NodeID
		}
		for _, id := range c.ids {
			if id != lonely {
				c.proxies.cut(lonely, id)
			}
		}
		time.Sleep(2 * time.Second)
		for _, id := range c.ids {
			if id != lonely {
				c.proxies.mend(lonely, id)
			}
		}
		c.waitLed()
	}
	close(stop)
	work.Wait()
	t.Logf("%d writes (%d uncertain or refused), %d reads, %d refused", acknowledged.Load(), uncertain.Load(), reads.Load(), refused.Load())
	if reads.Load() < 1000 || acknowledged.Load() < 20 {
		t.Error("too little was done")
	}
}

func TestIsolatedLeaderStopsLeading(t *testing.T) {
	c := newTestCluster(t, 3, 1, Options{LeaseTimeout: 500 * time.Millisecond})
	c.proxies = newProxies(t, c.addresses)
	c.startAll()
	c.submit(0, "a")
	old := c.leader(0)
	for _, id := range c.ids {
		if id != old.config.NodeID {
			c.proxies.cut(old.config.NodeID, id)
		}
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := old.Confirm(ctx); err == nil {
		t.Error("a leader that is cut off confirmed a read")
	}
	c.eventually("the old leader knows", func() error {
		if old.Leading() {
			return errors.New("it leads")
		}
		return nil
	})
	t.Logf("the old leader stopped after %s", time.Since(start))
	if _, err := old.Submit(t.Context(), put(t, "lost")); nba.CodeOf(err) != nba.CodeUnavailable {
		t.Errorf("got %v", err)
	} else if _, ok := errors.AsType[*NotLeader](err); !ok {
		t.Errorf("%v is no NotLeader", err)
	}
	c.eventually("another leads", func() error {
		for _, n := range c.nodes {
			if n.id != old.config.NodeID && n.groups[0].Leading() {
				return nil
			}
		}
		return errors.New("none")
	})
	t.Logf("another leads after %s", time.Since(start))
	c.submit(0, "b")
	if age, ok := old.Age(); !ok || age < 500*time.Millisecond {
		t.Errorf("the age of what is cut off is %s", age)
	}
	for _, id := range c.ids {
		if id != old.config.NodeID {
			c.proxies.mend(old.config.NodeID, id)
		}
	}
	c.waitLed()
	c.same(2)
}

func BenchmarkConfirm(b *testing.B) {
	for _, readers := range []int{1, 64, 512} {
		b.Run(fmt.Sprint(readers), func(b *testing.B) {
			c := newTestCluster(b, 3, 1, Options{})
			c.startAll()
			g := c.leader(0)
			var work sync.WaitGroup
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			for range readers {
				work.Go(func() {
					g := g
					for left.Add(-1) >= 0 {
						if err := g.Confirm(context.Background()); err != nil {
							g = c.leader(0) // on a busy machine another may lead now
							if g == nil {
								b.Error(err)
								return
							}
						}
					}
				})
			}
			work.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reads/s")
		})
	}
}

// BenchmarkSubmit writes through three nodes of this process, with their logs on disk.
func BenchmarkSubmit(b *testing.B) {
	for _, shape := range []struct{ groups, callers int }{{1, 1}, {1, 64}, {4, 256}, {16, 1024}} {
		b.Run(fmt.Sprintf("groups=%d/callers=%d", shape.groups, shape.callers), func(b *testing.B) {
			c := newTestCluster(b, 3, shape.groups, Options{})
			c.startAll()
			leaders := make([]*testGroup, shape.groups)
			for i := range leaders {
				leaders[i] = c.leader(i)
			}
			var work sync.WaitGroup
			var next atomic.Int64
			var mu sync.Mutex
			var took []time.Duration
			b.ResetTimer()
			for range shape.callers {
				work.Go(func() {
					var own []time.Duration
					for {
						k := next.Add(1)
						if k > int64(b.N) {
							break
						}
						start := time.Now()
						if _, err := leaders[k%int64(shape.groups)].Submit(context.Background(), put(b, fmt.Sprint(k))); err != nil {
							b.Error(err)
							return
						}
						own = append(own, time.Since(start))
					}
					mu.Lock()
					defer mu.Unlock()
					took = append(took, own...)
				})
			}
			work.Wait()
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
