package chaos

import (
	"context"
	"flag"
	"path/filepath"
	"testing"
	"time"
)

var (
	flagConsistency = flag.String("chaos.consistency", "linearizable", "the reads of the hunt inside the nodes")
	flagReaders     = flag.Int("chaos.readers", 64, "readers of the hunt inside each node")
)

// TestPauseHunt reads inside the nodes, hundreds of thousands of times a second, while nodes are
// paused and killed, and compares with what was acknowledged before. With -chaos.consistency leader
// it shows that the hunt finds what there is to find.
func TestPauseHunt(t *testing.T) {
	if *flagNodes == 1 {
		t.Skip("a single node has nobody who could overtake it")
	}
	s := seed(t)
	boardFile := filepath.Join(t.TempDir(), "board")
	shared, err := mapBoard(boardFile)
	if err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, *flagNodes, hunting(boardFile, *flagConsistency, *flagReaders, s))
	declare(t, c)
	for i := range c.nodes {
		shared.nodes[i].go_.Store(true)
	}
	var only []fault
	for _, f := range append(processFaults(), networkFaults()...) {
		switch f.name {
		case "pause", "flicker", "isolate", "kill":
			only = append(only, f)
		}
	}
	n := newNemesis(t, c, s, 900*time.Millisecond, only...)
	evil, stop := context.WithTimeout(t.Context(), nemesisTime(6*time.Second))
	defer stop()
	if *flagReads > 0 {
		evil, stop = context.WithCancel(t.Context())
		defer stop()
		go func() {
			for evil.Err() == nil && total(shared, c).reads < *flagReads {
				pause(evil, time.Second)
			}
			stop()
		}()
	}
	if err := n.run(evil); err != nil {
		t.Fatal(err)
	}
	sum := total(shared, c)
	if sum.stale > 0 {
		t.Errorf("%d of %d reads were older than a write acknowledged before they began, by up to %d writes", sum.stale, sum.reads, sum.behind)
	}
	if sum.reads == 0 || sum.writes == 0 {
		t.Errorf("%d reads and %d writes prove nothing", sum.reads, sum.writes)
	}
	t.Logf("%d %s reads, %d without an answer, %d writes, faults %v", sum.reads, *flagConsistency, sum.failed, sum.writes, n.struck)
}

type huntTotals struct{ reads, stale, behind, failed, writes int64 }

func total(shared *board, c *cluster) (sum huntTotals) {
	for i := range c.nodes {
		b := &shared.nodes[i]
		sum.reads += b.reads.Load()
		sum.stale += b.stale.Load()
		sum.failed += b.failed.Load()
		sum.writes += b.writes.Load()
		sum.behind = max(sum.behind, b.behind.Load())
	}
	return sum
}
