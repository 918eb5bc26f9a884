package rollout

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// The guardrails.
const (
	GuardErrors     = "errorRate"
	GuardDegraded   = "degradedRate"
	GuardFuel       = "fuelP99"
	GuardLatency    = "latencyP99"
	GuardShift      = "scoreShift"
	GuardAcceptance = "acceptanceRate"
	GuardRatio      = "sampleRatio"
)

// MaxChecks is the number of guardrails.
const MaxChecks = 7

// Where a guardrail stands.
const (
	CheckOK       = "ok"
	CheckBreached = "breached"
	CheckWaiting  = "waiting" // for more samples
	CheckOff      = "off"     // switched off, or without meaning at this stage
)

// Check is where one guardrail stands. It is replicated as evidence, so it holds whole numbers.
type Check struct {
	Guardrail string `json:"guardrail"`
	State     string `json:"state"`
	// Value is what is held against Limit, in Unit: "ppm" of all, "permille" of the incumbent's, "index" (in
	// millionths) or "milli" (thousandths).
	Value int64  `json:"value"`
	Limit int64  `json:"limit"`
	Unit  string `json:"unit"`
	// Incumbent and Candidate are what Value was made of, in ArmUnit: "ppm", "fuel", "nanos", "calls" or "subjects".
	Incumbent int64  `json:"incumbent"`
	Candidate int64  `json:"candidate"`
	ArmUnit   string `json:"armUnit"`
	// Samples are those of the incumbent and of the candidate, of which Need are wanted.
	Samples [2]uint64 `json:"samples"`
	Need    uint64    `json:"need"`
	// Detail says it in words.
	Detail string `json:"detail,omitempty"`
}

// Assess holds the counters of a rollout that compares against its guardrails. It computes with floats and
// is not part of the replicated state machine.
func Assess(r *Rollout) []Check {
	if !r.Stage.Comparing() {
		return nil
	}
	a := assessment{g: &r.Spec.Guardrails, canary: r.Stage == Canary, permille: r.Permille(), recent: r.Windows.Recent(), total: r.Windows.Total}
	return []Check{
		a.rate(GuardErrors, a.g.ErrorPPM, true, func(c *Counts) (uint64, uint64) { return c.Errors, c.Calls }, "calls failed"),
		a.rate(GuardDegraded, a.g.DegradedPPM, a.canary, func(c *Counts) (uint64, uint64) { return c.Degraded, c.Decisions }, "decisions were degraded"),
		a.quantile(GuardFuel, a.g.FuelPermille, "fuel", func(c *Counts) Histogram { return c.Fuel }, 0),
		a.quantile(GuardLatency, a.g.LatencyPermille, "nanos", func(c *Counts) Histogram { return c.Nanos }, uint64(a.g.LatencyFloorMicros)*1000),
		a.shift(), a.acceptance(), a.ratio(),
	}
}

type assessment struct {
	g             *Guardrails
	canary        bool
	permille      int
	recent, total [arms]Counts
}

// begin is a check that waits for samples, or is off.
func (a *assessment) begin(name string, limit int, applies bool, unit, armUnit string, incumbent, candidate uint64, need int) Check {
	c := Check{Guardrail: name, State: CheckWaiting, Limit: int64(limit), Unit: unit, ArmUnit: armUnit,
		Samples: [2]uint64{incumbent, candidate}, Need: uint64(need)}
	switch {
	case limit == off || !applies:
		c.State = CheckOff
	case min(incumbent, candidate) >= c.Need:
		c.State = CheckOK
	}
	return c
}

// judge sets the value.
func (c *Check) judge(value float64, detail string, args ...any) {
	c.Value = whole(value)
	if c.State == CheckOK && c.Value > c.Limit {
		c.State = CheckBreached
	}
	c.Detail = fmt.Sprintf(detail, args...)
}

func whole(value float64) int64 {
	if math.IsNaN(value) {
		return 0
	}
	return int64(math.Max(-1e15, math.Min(1e15, math.Round(value))))
}

func share(part, of uint64) float64 {
	if of == 0 {
		return 0
	}
	return float64(part) / float64(of)
}

// rate holds the difference of two shares against its limit.
func (a *assessment) rate(name string, limit int, applies bool, of func(*Counts) (part, all uint64), what string) Check {
	p0, n0 := of(&a.recent[ArmIncumbent])
	p1, n1 := of(&a.recent[ArmCandidate])
	c := a.begin(name, limit, applies, "ppm", "ppm", n0, n1, a.g.MinCalls)
	r0, r1 := share(p0, n0), share(p1, n1)
	c.Incumbent, c.Candidate = whole(r0*1e6), whole(r1*1e6)
	c.judge((r1-r0)*1e6, "%d of %d %s (%.2f%%), %d of %d with the incumbent (%.2f%%); the difference may be %.2f%%",
		p1, n1, what, r1*100, p0, n0, r0*100, float64(limit)/1e4)
	return c
}

// quantile holds the ratio of two p99 against its limit. Below floor the candidate is quick enough.
func (a *assessment) quantile(name string, limit int, unit string, of func(*Counts) Histogram, floor uint64) Check {
	h0, h1 := of(&a.recent[ArmIncumbent]), of(&a.recent[ArmCandidate])
	c := a.begin(name, limit, true, "permille", unit, h0.Total(), h1.Total(), a.g.MinCalls)
	q0, q1 := h0.Quantile(990), h1.Quantile(990)
	c.Incumbent, c.Candidate = int64(q0), int64(q1)
	if q0 == 0 || q1 <= floor {
		c.Value = whole(share(q1, q0) * 1000)
		return c
	}
	times := float64(q1) / float64(q0)
	c.judge(times*1000, "p99 is %s, %.2f times the %s of the incumbent; it may be %.2f times", amount(q1, unit), times, amount(q0, unit), float64(limit)/1000)
	return c
}

func amount(n uint64, unit string) string {
	if unit == "nanos" {
		return time.Duration(n).Round(100 * time.Nanosecond).String()
	}
	return fmt.Sprintf("%d fuel", n)
}

// shift holds the population stability index of the scores against its limit: the sum over the bins of
// (p-q)·ln(p/q) with half an observation added to each bin, less what chance alone makes of it (Yurdakul,
// Statistical Properties of Population Stability Index, 2018: (bins-1)·(1/n+1/m) on average). Rows of one
// call are alike, so n and m are calls.
func (a *assessment) shift() Check {
	i0, i1 := &a.recent[ArmIncumbent], &a.recent[ArmCandidate]
	n0, n1 := i0.Calls-min(i0.Calls, i0.Errors), i1.Calls-min(i1.Calls, i1.Errors)
	c := a.begin(GuardShift, a.g.ShiftPPM, true, "index", "calls", n0, n1, a.g.MinCalls)
	c.Incumbent, c.Candidate = int64(n0), int64(n1)
	if n0 == 0 || n1 == 0 {
		return c
	}
	psi := stability(i0.Scores, i1.Scores, float64(n0), float64(n1))
	c.judge(psi*1e6, "the population stability index of the scores is %.3f; it may be %.3f", psi, float64(a.g.ShiftPPM)/1e6)
	return c
}

func stability(expected, actual Histogram, n, m float64) float64 {
	bins, psi := 0, 0.0
	at := func(h Histogram, i int) float64 {
		if i < len(h) {
			return float64(h[i])
		}
		return 0
	}
	for i := range ScoreBins {
		if at(expected, i)+at(actual, i) > 0 {
			bins++
		}
	}
	all0, all1 := float64(expected.Total())+float64(bins)/2, float64(actual.Total())+float64(bins)/2
	for i := range ScoreBins {
		e, o := at(expected, i), at(actual, i)
		if e+o == 0 {
			continue
		}
		q, p := (e+0.5)/all0, (o+0.5)/all1
		psi += (p - q) * math.Log(p/q)
	}
	return math.Max(0, psi-float64(bins-1)*(1/n+1/m))
}

// significantZ is how many standard errors a fall of the acceptance rate must be: chance exceeds it once in
// 30000 times. It is strict since the counters are looked at again and again.
const significantZ = 4

// acceptance is breached when the acceptance rate since the step began is significantly lower (pooled
// two-proportion test) and by more than the limit, relative to the incumbent's.
func (a *assessment) acceptance() Check {
	i0, i1 := &a.total[ArmIncumbent], &a.total[ArmCandidate]
	n0, n1 := i0.Propositions, i1.Propositions
	c := a.begin(GuardAcceptance, a.g.AcceptancePPM, a.canary, "ppm", "ppm", n0, n1, a.g.MinPropositions)
	r0, r1 := share(i0.Accepted, n0), share(i1.Accepted, n1)
	c.Incumbent, c.Candidate = whole(r0*1e6), whole(r1*1e6)
	pooled := share(i0.Accepted+i1.Accepted, n0+n1)
	deviation := math.Sqrt(pooled * (1 - pooled) * (1/math.Max(1, float64(n0)) + 1/math.Max(1, float64(n1))))
	if r0 == 0 || deviation == 0 {
		return c
	}
	z, fall := (r0-r1)/deviation, (r0-r1)/r0
	c.judge(fall*1e6, "%.2f%% of %d propositions were accepted, %.2f%% of %d with the incumbent: %.1f%% less, at %.1f standard errors; it may be %.1f%% less",
		r1*100, n1, r0*100, n0, fall*100, z, float64(a.g.AcceptancePPM)/1e4)
	if c.State == CheckBreached && z < significantZ {
		c.State = CheckOK
	}
	return c
}

// ratio holds the split of the subjects against the one that was asked for: chi-square with one degree of
// freedom. A mismatch means that the arms cannot be compared.
func (a *assessment) ratio() Check {
	n0, n1 := a.total[ArmIncumbent].Subjects, a.total[ArmCandidate].Subjects
	c := a.begin(GuardRatio, a.g.RatioMilli, a.canary && a.permille < 1000, "milli", "subjects", n0+n1, n0+n1, a.g.MinSubjects)
	c.Incumbent, c.Candidate = int64(n0), int64(n1)
	all := float64(n0 + n1)
	expected := all * float64(a.permille) / 1000
	if expected == 0 || expected == all {
		return c
	}
	difference := float64(n1) - expected
	chi := difference*difference/expected + difference*difference/(all-expected)
	c.judge(chi*1000, "%d of %d subjects got the candidate, %.1f were to; chi-square is %.1f and may be %.1f",
		n1, n0+n1, expected, chi, float64(a.g.RatioMilli)/1000)
	return c
}

// Verdict is what follows from the guardrails: a Verb with its evidence, or none.
type Verdict struct {
	Verb   Verb
	Checks []Check
}

// Judge tells what is to be done with a rollout at the time now: TakeBack when a guardrail is breached, also
// when it is paused; Promote when it goes on by itself and has been held and seen enough; otherwise nothing.
func Judge(r *Rollout, now time.Time) Verdict {
	checks := Assess(r)
	breached := slices.DeleteFunc(slices.Clone(checks), func(c Check) bool { return c.State != CheckBreached })
	if len(breached) > 0 {
		return Verdict{Verb: TakeBack, Checks: breached}
	}
	switch {
	case !r.Spec.Auto || r.Paused:
		return Verdict{}
	case r.Stage == Prepared && len(r.Spec.Steps) == 0:
		return Verdict{Verb: Promote}
	case !r.Stage.Comparing():
		return Verdict{}
	}
	held := !now.Before(r.Since.Add(time.Duration(r.Spec.Steps[r.Step].HoldSeconds) * time.Second))
	seen := r.Windows.Total[ArmCandidate].Calls >= uint64(r.Spec.Guardrails.MinCalls)
	if !held || !seen {
		return Verdict{}
	}
	return Verdict{Verb: Promote, Checks: slices.DeleteFunc(checks, func(c Check) bool { return c.State == CheckOff })}
}
