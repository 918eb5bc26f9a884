package rollout

import (
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Counts are what one version did.
type Counts struct {
	// Decisions of subjects of this arm, and how many of them were degraded for whatever reason.
	Decisions uint64 `json:"decisions,omitempty"`
	Degraded  uint64 `json:"degraded,omitempty"`
	// Subjects that this version scored for the first time at this step, each counted once by a node.
	Subjects uint64 `json:"subjects,omitempty"`
	// Calls of the version, how many failed, and the rows of the others.
	Calls  uint64 `json:"calls,omitempty"`
	Errors uint64 `json:"errors,omitempty"`
	Rows   uint64 `json:"rows,omitempty"`
	// Dropped are calls in the shadow that were left out since the node had no time for them.
	Dropped uint64 `json:"dropped,omitempty"`
	// Propositions that its scores led to, and how many of them were accepted.
	Propositions uint64 `json:"propositions,omitempty"`
	Accepted     uint64 `json:"accepted,omitempty"`
	// Compared are rows that both versions scored, in the shadow; Differed those whose scores differ by
	// more than 0.01, and DistancePPM the sum of the differences.
	Compared    uint64 `json:"compared,omitempty"`
	Differed    uint64 `json:"differed,omitempty"`
	DistancePPM uint64 `json:"distancePpm,omitempty"`
	// Fuel and Nanos are histograms of successful calls, Scores of the scores; see Bin and ScoreBin.
	Fuel   Histogram `json:"fuel,omitempty"`
	Nanos  Histogram `json:"nanos,omitempty"`
	Scores Histogram `json:"scores,omitempty"`
}

// numbers are the plain counters, in one order.
func (c *Counts) numbers() [12]*uint64 {
	return [...]*uint64{&c.Decisions, &c.Degraded, &c.Subjects, &c.Calls, &c.Errors, &c.Rows, &c.Dropped,
		&c.Propositions, &c.Accepted, &c.Compared, &c.Differed, &c.DistancePPM}
}

func (c *Counts) histograms() [3]*Histogram { return [...]*Histogram{&c.Fuel, &c.Nanos, &c.Scores} }

// Add is c and o together.
func (c Counts) Add(o Counts) Counts {
	mine, others := c.numbers(), o.numbers()
	for i, n := range mine {
		*n = sum(*n, *others[i])
	}
	for i, h := range c.histograms() {
		*h = h.add(*o.histograms()[i])
	}
	return c
}

// Sub is c without o, which c grew from.
func (c Counts) Sub(o Counts) Counts {
	mine, others := c.numbers(), o.numbers()
	for i, n := range mine {
		*n -= *others[i]
	}
	for i, h := range c.histograms() {
		*h = h.sub(*o.histograms()[i])
	}
	return c
}

// Zero tells whether nothing was counted.
func (c *Counts) Zero() bool {
	for _, n := range c.numbers() {
		if *n != 0 {
			return false
		}
	}
	return len(c.Fuel) == 0 && len(c.Nanos) == 0 && len(c.Scores) == 0
}

func (c *Counts) valid() bool {
	for i, h := range c.histograms() {
		if len(*h) > [...]int{Bins, Bins, ScoreBins}[i] {
			return false
		}
	}
	return true
}

// sum does not wrap around.
func sum(a, b uint64) uint64 {
	if total, carry := bits.Add64(a, b, 0); carry == 0 {
		return total
	}
	return 1<<64 - 1
}

// Histogram counts by bin; bins after the last that was hit are left out.
type Histogram []uint64

func (h Histogram) add(o Histogram) Histogram {
	if len(o) == 0 {
		return h
	}
	total := make(Histogram, max(len(h), len(o)))
	copy(total, h)
	for i, n := range o {
		total[i] = sum(total[i], n)
	}
	return total
}

func (h Histogram) sub(o Histogram) Histogram {
	rest := slices.Clone(h)
	for i, n := range o {
		rest[i] -= n
	}
	return rest.trim()
}

func (h Histogram) trim() Histogram {
	for len(h) > 0 && h[len(h)-1] == 0 {
		h = h[:len(h)-1]
	}
	return h
}

// Total is how many were counted.
func (h Histogram) Total() (total uint64) {
	for _, n := range h {
		total = sum(total, n)
	}
	return total
}

// Quantile is the value that permille of the values do not exceed, as exact as the bins are. It is 0 where
// nothing was counted.
func (h Histogram) Quantile(permille uint64) uint64 {
	total := h.Total()
	if total == 0 {
		return 0
	}
	rank := max(1, (total*permille+999)/1000)
	for i, n := range h {
		if rank <= n {
			low, high := BinBounds(i)
			hi, lo := bits.Mul64(high-low, rank)
			part, _ := bits.Div64(hi, lo, max(n, hi+1))
			return low + part
		}
		rank -= n
	}
	return 0
}

// Bins is the number of bins of fuel and of time: four for each power of two, up to 2^40.
const Bins = 160

// Bin is the bin of a number.
func Bin(x uint64) int {
	if x < 4 {
		return int(x)
	}
	power := bits.Len64(x) - 1
	return min(4*(power-1)+int(x>>(power-2)&3), Bins-1)
}

// BinBounds are the least number of a bin and the least one after it.
func BinBounds(bin int) (low, high uint64) {
	low, high = binLow(bin), binLow(bin+1)
	return low, high
}

func binLow(bin int) uint64 {
	if bin < 4 {
		return uint64(bin)
	}
	return (4 + uint64(bin%4)) << (bin/4 - 1)
}

// Windows are the counters of both arms at the present step.
type Windows struct {
	// From is when the present window began.
	From     time.Time    `json:"from,omitzero"`
	Present  [arms]Counts `json:"present"`
	Previous [arms]Counts `json:"previous"`
	// Total is everything since the step began.
	Total [arms]Counts `json:"total"`
}

// Recent is one to two windows, up to now.
func (w *Windows) Recent() (recent [arms]Counts) {
	for i := range recent {
		recent[i] = w.Previous[i].Add(w.Present[i])
	}
	return recent
}

// turn begins a new window when the present one is over.
func (w *Windows) turn(at time.Time, length time.Duration) {
	switch age := at.Sub(w.From); {
	case age < length: // or the proposer's clock is behind
		return
	case age < 2*length:
		w.Previous, w.From = w.Present, w.From.Add(length)
	default:
		w.Previous, w.From = [arms]Counts{}, at
	}
	w.Present = [arms]Counts{}
}

// Report is what a node counted since its last report.
type Report struct {
	Node string `json:"node"`
	// Sequence grows with each report of the node, also after a restart: a report is counted once.
	Sequence uint64  `json:"sequence"`
	Entries  []Entry `json:"entries"`
}

// Entry is the part of a Report about one rollout.
type Entry struct {
	Rollout string `json:"rollout"`
	// Revision is that of the rollout when it was counted; what belongs to an earlier one is left out.
	Revision uint64       `json:"revision"`
	Arms     [arms]Counts `json:"arms"`
}

// Count adds a report of a member at the time at. One that was counted already changes nothing.
func (s *State) Count(report *Report, members []string, at time.Time) (next *State, changed bool, err error) {
	if !slices.Contains(members, report.Node) || len(members) > MaxNodes || len(report.Entries) > MaxRunning {
		return s, false, nba.Errorf(nba.CodeInvalid, "a report of a node that is no member, or of more rollouts than there are")
	}
	position, found := slices.BinarySearchFunc(s.Reports, report.Node, func(r Reported, node string) int { return strings.Compare(r.Node, node) })
	if found && s.Reports[position].Sequence >= report.Sequence {
		return s, false, nil
	}
	for i := range report.Entries {
		if e := &report.Entries[i]; !e.Arms[ArmIncumbent].valid() || !e.Arms[ArmCandidate].valid() {
			return s, false, nba.Errorf(nba.CodeInvalid, "a report with more bins than there are")
		}
	}
	next = &State{Rollouts: slices.Clone(s.Rollouts), Reports: slices.Clone(s.Reports)}
	reported := Reported{Node: report.Node, Sequence: report.Sequence}
	if found {
		next.Reports[position] = reported
	} else {
		next.Reports = slices.Insert(next.Reports, position, reported)
		next.Reports = slices.DeleteFunc(next.Reports, func(r Reported) bool { return !slices.Contains(members, r.Node) })
	}
	for i := range report.Entries {
		next.count(&report.Entries[i], at)
	}
	return next, true, nil
}

func (s *State) count(e *Entry, at time.Time) {
	i := s.index(e.Rollout)
	if i < 0 {
		return
	}
	r := &s.Rollouts[i]
	if r.Revision != e.Revision || !r.Stage.Comparing() {
		return
	}
	w := &r.Windows
	w.turn(at, time.Duration(r.Spec.WindowSeconds)*time.Second)
	for arm := range e.Arms {
		w.Present[arm] = w.Present[arm].Add(e.Arms[arm])
		w.Total[arm] = w.Total[arm].Add(e.Arms[arm])
	}
}
