package raftgroup

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestFate: leaders are cut off while writes are under way, and come back soon. Each write is answered with what
// became of it: it was applied, or it was not and never will be, so that it may be made elsewhere. None is left open.
func TestFate(t *testing.T) {
	t.Parallel()
	c := newTestCluster(t, 3, 1, Options{FallbackTimeout: time.Second})
	c.proxies = newProxies(t, c.addresses)
	c.startAll()
	c.submit(0, "first")
	var groups []*testGroup
	for _, id := range c.ids {
		groups = append(groups, c.nodes[id].groups[0])
	}
	var work sync.WaitGroup
	var written, refused, uncertain atomic.Int64
	stop := make(chan struct{})
	for w := range 8 {
		work.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				switch made, certain := writeOnce(t, groups, fmt.Sprintf("%d-%d", w, i)); {
				case !certain:
					uncertain.Add(1)
				default:
					written.Add(1)
					refused.Add(int64(made))
				}
			}
		})
	}
	longest := time.Duration(0)
	for range 4 {
		time.Sleep(300 * time.Millisecond)
		leader := c.leader(0)
		if leader == nil {
			continue
		}
		start, name := time.Now(), leader.config.NodeID
		for _, id := range c.ids {
			if id != name {
				c.proxies.cut(name, id)
			}
		}
		time.Sleep(1500 * time.Millisecond) // it gives up, and another is elected
		for _, id := range c.ids {
			if id != name {
				c.proxies.mend(name, id)
			}
		}
		c.waitLed()
		longest = max(longest, time.Since(start))
	}
	close(stop)
	work.Wait()
	t.Logf("%d written, after %d that were certainly not, %d uncertain; the longest cut took %s", written.Load(), refused.Load(), uncertain.Load(), longest)
	if written.Load() == 0 || uncertain.Load() > 0 && longest < fateWithin {
		t.Errorf("%d writes, of %d it is uncertain what became of them", written.Load(), uncertain.Load())
	}
	c.same(written.Load() + 1)
}

// writeOnce makes a new subject through whoever leads. It tries again when it is told that nothing happened, and makes
// sure of that: the subject must be new then. refused is how often that was after the write was begun.
func writeOnce(t *testing.T, groups []*testGroup, id string) (refused int, certain bool) {
	for {
		for _, g := range groups {
			if !g.Leading() {
				continue
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			result, err := g.Submit(ctx, put(t, id))
			cancel()
			if err == nil {
				if !result.Created {
					t.Errorf("%s was written before, although it was told that nothing happened", id)
				}
				return refused, true
			}
			if _, ok := errors.AsType[*NotLeader](err); !ok {
				t.Logf("%s: %v", id, err)
				return refused, false
			}
			refused++
		}
		time.Sleep(5 * time.Millisecond)
	}
}
