package chaos

import (
	"context"
	"sync"
	"testing"
	"time"
)

// consistency of the reads that must be current.
func current(c *cluster) string {
	if len(c.nodes) == 1 {
		return "" // a single node has one answer
	}
	return "linearizable"
}

// torment runs the workloads while the nemesis works, then checks everything.
func torment(t *testing.T, c *cluster, n *nemesis, lasting time.Duration, workloads ...workload) {
	t.Helper()
	work, stopWork := context.WithCancel(t.Context())
	defer stopWork()
	var running sync.WaitGroup
	for _, w := range workloads {
		running.Go(func() { w.run(work, c) })
	}
	evil, stopEvil := context.WithTimeout(t.Context(), lasting)
	defer stopEvil()
	err := n.run(evil)
	settled := time.Now()
	if err == nil {
		awaitProgress(t, workloads, 20*time.Second)
	}
	stopWork()
	running.Wait()
	if err != nil {
		t.Fatalf("the cluster did not recover %v", err)
	}
	t.Logf("faults: %v; all workloads went on %.2f s after the last", n.struck, time.Since(settled).Seconds())
	awaitEqual(t, c)
	for _, w := range workloads {
		w.check(t, c)
	}
}

// awaitProgress waits until every workload got an answer again.
func awaitProgress(t *testing.T, workloads []workload, patience time.Duration) {
	t.Helper()
	for _, w := range workloads {
		from := w.progress()
		deadline := time.Now().Add(patience)
		for w.progress() == from {
			if time.Now().After(deadline) {
				t.Errorf("%T gets no answer %v after everything was restored", w, patience)
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// TestUnderFaults is the mixture: every workload, every fault of processes and network.
func TestUnderFaults(t *testing.T) {
	s := seed(t)
	c := newCluster(t, *flagNodes)
	declare(t, c)
	n := newNemesis(t, c, s, 700*time.Millisecond, append(processFaults(), networkFaults()...)...)
	torment(t, c, n, nemesisTime(14*time.Second), newRegisters(s, current(c)), newCounters(s, current(c)),
		newSet(s, current(c)), newLedger(s), newHunt(s, current(c)), newRepeats(s, current(c)))
}
