package nba

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDifferences: by placement, rank and field, and none between equal decisions.
func TestDifferences(t *testing.T) {
	item := func(rank int, action string, value float64) Proposition {
		return Proposition{Rank: rank, Action: action, Value: value, ResponseToken: action + "-token"}
	}
	a := Decision{DecisionID: "1", Propositions: []PlacementPropositions{
		{Placement: "hero", Items: []Proposition{item(1, "x", 10), item(2, "y", 5)}}, {Placement: "gone", Items: []Proposition{item(1, "z", 1)}}}}
	b := Decision{DecisionID: "2", Degraded: true, Propositions: []PlacementPropositions{
		{Placement: "hero", Items: []Proposition{item(1, "x", 12)}}, {Placement: "new", Items: []Proposition{item(1, "w", 1)}}}}
	want := []Difference{
		{Field: "degraded", Was: false, Now: true},
		{Placement: "hero", Rank: 1, Field: "value", Was: 10.0, Now: 12.0},
		{Placement: "hero", Rank: 2, Field: "action", Was: "y"},
		{Placement: "gone", Rank: 1, Field: "action", Was: "z"},
		{Placement: "new", Rank: 1, Field: "action", Now: "w"},
	}
	if diff := cmp.Diff(want, Differences(&a, &b)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, d := range []*Decision{&a, &b, {}} {
		if got := Differences(d, d); len(got) != 0 {
			t.Errorf("a decision differs from itself: %+v", got)
		}
	}
}
