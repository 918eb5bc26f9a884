package rollout

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Tally counts on one node what the arms of a rollout do at one revision. It is safe for concurrent use.
type Tally struct {
	// Rollout and Revision tell what is counted.
	Rollout  string
	Revision uint64

	arms [arms]armTally

	mu   sync.Mutex
	seen map[uint64]struct{} // hashes of subjects; guarded by mu
}

// armTally are the counters of one arm.
type armTally struct {
	decisions, degraded, subjects, calls, errors, rows, dropped, propositions, accepted, compared, differed, distance atomic.Uint64

	fuel, nanos [Bins]atomic.Uint64
	scores      [ScoreBins]atomic.Uint64
}

// maxSeen bounds the subjects that a node tells apart at one step. Those that come after are not counted:
// the first ones tell whether the split is right.
const maxSeen = 1 << 16

// NewTally begins to count.
func NewTally(rollout string, revision uint64) *Tally {
	return &Tally{Rollout: rollout, Revision: revision, seen: map[uint64]struct{}{}}
}

// Decided counts a decision of a subject of the arm, with the propositions that each arm's scores led to.
func (t *Tally) Decided(arm Arm, degraded bool, propositions [2]int) {
	a := &t.arms[arm]
	a.decisions.Add(1)
	if degraded {
		a.degraded.Add(1)
	}
	for i, n := range propositions {
		if n > 0 {
			t.arms[i].propositions.Add(uint64(n))
		}
	}
}

// Subject counts a subject that the arm scores, by its hash, unless it was seen before.
func (t *Tally) Subject(arm Arm, hash uint64) {
	t.mu.Lock()
	_, before := t.seen[hash]
	fresh := !before && len(t.seen) < maxSeen
	if fresh {
		t.seen[hash] = struct{}{}
	}
	t.mu.Unlock()
	if fresh {
		t.arms[arm].subjects.Add(1)
	}
}

// Accepted counts a proposition of the arm that was accepted.
func (t *Tally) Accepted(arm Arm) { t.arms[arm].accepted.Add(1) }

// Failed counts a call that failed.
func (t *Tally) Failed(arm Arm) {
	t.arms[arm].calls.Add(1)
	t.arms[arm].errors.Add(1)
}

// Dropped counts a call of the candidate that was left out.
func (t *Tally) Dropped() { t.arms[ArmCandidate].dropped.Add(1) }

// Called counts a call that succeeded.
func (t *Tally) Called(arm Arm, rows int, fuel uint64, took time.Duration) {
	a := &t.arms[arm]
	a.calls.Add(1)
	a.rows.Add(uint64(rows))
	a.fuel[Bin(fuel)].Add(1)
	a.nanos[Bin(uint64(max(0, took)))].Add(1)
}

// Score counts a score of the arm.
func (t *Tally) Score(arm Arm, score float64, probability bool) {
	t.arms[arm].scores[ScoreBin(score, probability)].Add(1)
}

// Compared counts a row that both versions scored.
func (t *Tally) Compared(incumbent, candidate float64) {
	a := &t.arms[ArmCandidate]
	a.compared.Add(1)
	distance := math.Abs(incumbent - candidate)
	switch {
	case math.IsNaN(incumbent) && math.IsNaN(candidate):
		return
	case math.IsNaN(distance):
		a.differed.Add(1)
		return
	case distance > 0.01:
		a.differed.Add(1)
	}
	a.distance.Add(uint64(math.Round(math.Min(distance, 1000) * 1e6)))
}

// Counts are what was counted so far. Counters that move meanwhile are in the next ones.
func (t *Tally) Counts() (counts [2]Counts) {
	for i := range t.arms {
		a, c := &t.arms[i], &counts[i]
		for k, n := range [...]*atomic.Uint64{&a.decisions, &a.degraded, &a.subjects, &a.calls, &a.errors, &a.rows, &a.dropped,
			&a.propositions, &a.accepted, &a.compared, &a.differed, &a.distance} {
			*c.numbers()[k] = n.Load()
		}
		c.Fuel, c.Nanos, c.Scores = load(a.fuel[:]), load(a.nanos[:]), load(a.scores[:])
	}
	return counts
}

func load(bins []atomic.Uint64) Histogram {
	h := make(Histogram, len(bins))
	for i := range bins {
		h[i] = bins[i].Load()
	}
	return h.trim()
}

// scoreBounds are the fixed bounds between the bins of scores: finer where propensities usually are.
var scoreBounds = [...]float64{0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99}

// ScoreBins is the number of bins of scores: the first is that of abstentions.
const ScoreBins = len(scoreBounds) + 2

// ScoreBin is the bin of a score. One that is no probability is squeezed between 0 and 1 first.
func ScoreBin(score float64, probability bool) int {
	if math.IsNaN(score) {
		return 0
	}
	if !probability {
		switch {
		case math.IsInf(score, 1):
			score = 1
		case math.IsInf(score, -1):
			score = 0
		default:
			score = (1 + score/(1+math.Abs(score))) / 2
		}
	}
	bin := 1
	for bin <= len(scoreBounds) && score >= scoreBounds[bin-1] {
		bin++
	}
	return bin
}
