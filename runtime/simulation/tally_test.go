package simulation

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func decided(reason string, actions ...string) *nba.Decision {
	d := &nba.Decision{Explanation: &nba.Explanation{Stages: []nba.Stage{
		{Stage: "consent", In: 5, Out: 4, Removed: []nba.Removal{{Action: "z", Code: "NO_CONSENT"}}},
		{Stage: "eligibility", In: 4, Out: 2, Removed: []nba.Removal{{Action: "y", Code: "B"}, {Action: "x", Code: "A"}}}}}}
	p := nba.PlacementPropositions{Placement: "hero"}
	for i, a := range actions {
		p.Items = append(p.Items, nba.Proposition{Rank: i + 1, Action: a, Propensity: 0.5, Value: 10, Reason: nba.Reason{Code: reason}})
	}
	d.Propositions = []nba.PlacementPropositions{p}
	return d
}

// TestTally counts a handful of pairs by hand.
func TestTally(t *testing.T) {
	var tally Tally
	ref := func(id string) nba.SubjectRef { return nba.SubjectRef{ID: id, Type: nba.Subscriber} }
	same := decided(engine.ReasonRankedFirst, "a", "b")
	tally.Add(ref("1"), "web", same, same)
	tally.Add(ref("2"), "web", decided(engine.ReasonRankedFirst, "a"), decided(engine.ReasonRankedFirst, "b"))
	tally.Add(ref("3"), "web", decided(engine.ReasonRankedFirst, "a", "b"), decided(engine.ReasonRankedFirst, "a")) // behind the first
	tally.Add(ref("4"), "app", decided(engine.ReasonFallback, "f"), decided(""))
	got := tally.Result()
	stage := []nba.SimulationSuppression{{Stage: "consent", Code: "NO_CONSENT", Count: 4}, {Stage: "eligibility", Code: "A", Count: 4}, {Stage: "eligibility", Code: "B", Count: 4}}
	want := &nba.SimulationResult{
		From: nba.SimulationCounts{Decisions: 4, Nothing: 1, Propositions: 6, ExpectedValue: 30, Suppressions: stage, Actions: []nba.SimulationAction{
			{Action: "a", Propositions: 3, First: 3, ExpectedValue: 15}, {Action: "b", Propositions: 2, ExpectedValue: 10}, {Action: "f", Propositions: 1, First: 1, ExpectedValue: 5}}},
		To: nba.SimulationCounts{Decisions: 4, Nothing: 1, Propositions: 4, ExpectedValue: 20, Suppressions: stage, Actions: []nba.SimulationAction{
			{Action: "a", Propositions: 2, First: 2, ExpectedValue: 10}, {Action: "b", Propositions: 2, First: 1, ExpectedValue: 10}}},
		Changed: 3,
		Changes: []nba.SimulationChange{{Channel: "app", Placement: "hero", From: "f", Count: 1}, {Channel: "web", Placement: "hero", From: "a", To: "b", Count: 1}},
		Examples: []nba.SimulationExample{{Subject: ref("2"), Channel: "web", Placement: "hero", From: "a", To: "b"},
			{Subject: ref("4"), Channel: "app", Placement: "hero", From: "f"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
