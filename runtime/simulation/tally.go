// Package simulation counts what two catalogs or plugin versions decide for the same subjects. It holds no
// clock and draws nothing: the same decisions in the same order give the same result.
package simulation

import (
	"cmp"
	"maps"
	"slices"

	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Tally counts pairs of decisions. The zero value is ready; it is used by one goroutine.
type Tally struct {
	from, to side
	changed  int
	changes  map[change]int
	examples []nba.SimulationExample
}

// side is what one side decided. Stages are in the order in which they were first seen.
type side struct {
	counts  nba.SimulationCounts
	actions map[string]*nba.SimulationAction
	stages  []string
	removed map[suppression]int
}

type suppression struct{ stage, code string }

type change struct{ channel, placement, from, to string }

// Add counts what the two sides decided for one subject in one channel. Both decisions are explained; they
// are not kept.
func (t *Tally) Add(subject nba.SubjectRef, channel string, from, to *nba.Decision) {
	t.from.add(from)
	t.to.add(to)
	if t.changes == nil {
		t.changes = map[change]int{}
	}
	changed := false
	for i := range max(len(from.Propositions), len(to.Propositions)) {
		placement, was, now := pair(from, to, i)
		if slices.EqualFunc(was, now, func(a, b nba.Proposition) bool { return a.Action == b.Action && a.Treatment == b.Treatment }) {
			continue
		}
		changed = true
		c := change{channel: channel, placement: placement, from: first(was), to: first(now)}
		if c.from == c.to {
			continue // behind the first position
		}
		t.changes[c]++
		if len(t.examples) < nba.MaxSimulationChanges {
			t.examples = append(t.examples, nba.SimulationExample{Subject: subject, Channel: channel, Placement: placement, From: c.from, To: c.to})
		}
	}
	if changed {
		t.changed++
	}
}

// pair is what the two decisions have in placement i: both were asked for the same ones.
func pair(from, to *nba.Decision, i int) (placement string, was, now []nba.Proposition) {
	if i < len(from.Propositions) {
		placement, was = from.Propositions[i].Placement, from.Propositions[i].Items
	}
	if i < len(to.Propositions) {
		placement, now = to.Propositions[i].Placement, to.Propositions[i].Items
	}
	return placement, was, now
}

func first(items []nba.Proposition) string {
	if len(items) == 0 {
		return ""
	}
	return items[0].Action
}

func (s *side) add(d *nba.Decision) {
	if s.actions == nil {
		s.actions, s.removed = map[string]*nba.SimulationAction{}, map[suppression]int{}
	}
	s.counts.Decisions++
	if d.Degraded {
		s.counts.Degraded++
	}
	if d.InControlGroup {
		s.counts.InControl++
	}
	proposed := false
	for i := range d.Propositions {
		for j := range d.Propositions[i].Items {
			item := &d.Propositions[i].Items[j]
			proposed = proposed || item.Reason.Code != engine.ReasonFallback
			a := s.actions[item.Action]
			if a == nil {
				a = &nba.SimulationAction{Action: item.Action}
				s.actions[item.Action] = a
			}
			a.Propositions++
			if j == 0 {
				a.First++
			}
			worth := item.Propensity * item.Value
			a.ExpectedValue += worth
			s.counts.ExpectedValue += worth
			s.counts.Propositions++
		}
	}
	if !proposed {
		s.counts.Nothing++
	}
	if d.Explanation != nil {
		s.explain(d.Explanation)
	}
}

func (s *side) explain(e *nba.Explanation) {
	for i := range e.Stages {
		stage := &e.Stages[i]
		if !slices.Contains(s.stages, stage.Stage) {
			at := i
			s.stages = slices.Insert(s.stages, min(at, len(s.stages)), stage.Stage)
		}
		for j := range stage.Removed {
			s.removed[suppression{stage.Stage, stage.Removed[j].Code}]++
		}
	}
}

// Result is what was counted. Its At, Seed, Subjects, Population, Groups, Channels, and the names of the
// catalogs are for the caller to fill in.
func (t *Tally) Result() *nba.SimulationResult {
	r := &nba.SimulationResult{From: t.from.result(), To: t.to.result(), Changed: t.changed, Changes: []nba.SimulationChange{}, Examples: t.examples}
	for c, count := range t.changes {
		r.Changes = append(r.Changes, nba.SimulationChange{Channel: c.channel, Placement: c.placement, From: c.from, To: c.to, Count: count})
	}
	slices.SortFunc(r.Changes, func(a, b nba.SimulationChange) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Channel, b.Channel), cmp.Compare(a.Placement, b.Placement),
			cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	r.Changes = r.Changes[:min(len(r.Changes), nba.MaxSimulationChanges)]
	if r.Examples == nil {
		r.Examples = []nba.SimulationExample{}
	}
	return r
}

func (s *side) result() nba.SimulationCounts {
	counts := s.counts
	counts.Actions, counts.Suppressions = []nba.SimulationAction{}, []nba.SimulationSuppression{}
	for _, name := range slices.Sorted(maps.Keys(s.actions)) {
		counts.Actions = append(counts.Actions, *s.actions[name])
	}
	for removed, count := range s.removed {
		counts.Suppressions = append(counts.Suppressions, nba.SimulationSuppression{Stage: removed.stage, Code: removed.code, Count: count})
	}
	slices.SortFunc(counts.Suppressions, func(a, b nba.SimulationSuppression) int {
		return cmp.Or(cmp.Compare(slices.Index(s.stages, a.Stage), slices.Index(s.stages, b.Stage)), cmp.Compare(a.Code, b.Code))
	})
	return counts
}
