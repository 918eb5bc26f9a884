package raftgroup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestLostStateComesFromTheOthers: the state of one replica is gone, and its log does not reach back.
func TestLostStateComesFromTheOthers(t *testing.T) {
	for _, lost := range []string{"state.db", "state.marks"} {
		t.Run(lost, func(t *testing.T) {
			c := newTestCluster(t, 3, 1, Options{TrailingEntries: 3})
			c.startAll()
			for k := range 100 {
				c.submit(0, fmt.Sprint(k))
			}
			c.same(100)
			for _, n := range c.nodes {
				if err := n.groups[0].Snapshot(); err != nil {
					t.Fatal(err)
				}
			}
			c.stop("n2")
			if err := os.Remove(filepath.Join(c.dirs["n2"], "data-00", lost)); err != nil {
				t.Fatal(err)
			}
			n := c.start("n2")
			c.same(100)
			c.eventually("grown", func() error {
				if n.groups[0].newborn() {
					return errors.New("not yet")
				}
				return nil
			})
			c.submit(0, "more")
			c.same(101)
			c.stop("n2")
			c.start("n2")
			c.same(101)
		})
	}
}

func bigPut(t testing.TB, id string, size int) *command.Put {
	t.Helper()
	b, err := record.Append(nil, []record.Attr{{ID: 1, Value: nba.String(string(make([]byte, size)))}}, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return &command.Put{Key: command.AppendSubjectKey(nil, nba.SubjectRef{ID: id, Type: nba.Subscriber}), Record: b}
}

// TestCatchesUpUnderLoad: a node that was away is sent the state while writes go on and the log is
// truncated as often as can be. It must not need a snapshot again and again.
func TestCatchesUpUnderLoad(t *testing.T) {
	options := Options{TrailingEntries: 3, SnapshotEntries: 50, SnapshotInterval: 10 * time.Millisecond}
	c := newTestCluster(t, 3, 1, options)
	c.startAll()
	for k := range 500 {
		c.submit(0, fmt.Sprint("first", k))
	}
	c.stop("n3")
	leader := c.leader(0)
	if leader == nil {
		c.waitLed()
		leader = c.leader(0)
	}
	stop := make(chan struct{})
	var written atomic.Int64
	load := make(chan error, 1)
	go func() {
		rng := rand.New(rand.NewPCG(1, 1))
		for {
			select {
			case <-stop:
				load <- nil
				return
			default:
			}
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			_, err := leader.Submit(ctx, bigPut(t, fmt.Sprint(rng.IntN(2000)), 1000))
			cancel()
			if err != nil {
				load <- err
				return
			}
			written.Add(1)
		}
	}()
	c.eventually("the log is truncated", func() error {
		select {
		case err := <-load:
			return err
		default:
		}
		if first, _, err := ends(leader.log); err != nil || first < 600 {
			return fmt.Errorf("it begins at %d, %w", first, err)
		}
		return nil
	})
	start := time.Now()
	n := c.start("n3")
	c.eventually("caught up", func() error {
		if behind := leader.machine.Position().Index - n.groups[0].machine.Position().Index; behind > 20 && behind < 1<<62 {
			return fmt.Errorf("%d entries behind", behind)
		}
		return nil
	})
	t.Logf("caught up after %s, with %d writes so far", time.Since(start), written.Load())
	close(stop)
	if err := <-load; err != nil {
		t.Fatal(err)
	}
	c.eventually("equal", func() error {
		a, b := leader.machine.Position(), n.groups[0].machine.Position()
		if a.Index != b.Index || a.Digest != b.Digest {
			return fmt.Errorf("%d and %d", a.Index, b.Index)
		}
		return nil
	})
}
