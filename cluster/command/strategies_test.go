package command

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// arrangedPlacements are three, of which the second was arranged by a strategy.
func arrangedPlacements() []nba.PlacementPropositions {
	return []nba.PlacementPropositions{
		{Placement: "hero", Items: []nba.Proposition{{}}},
		{Placement: "banner", Strategy: &nba.ModelInfo{Name: "mix", Version: "1.2.3", Digest: "sha256:00"},
			Items: []nba.Proposition{{StrategyWeight: 1.5, Content: map[string]string{"price": "9", "badge": ""}}, {}}},
		{Placement: "footer", Items: []nba.Proposition{}},
	}
}

func TestStrategiesAreKept(t *testing.T) {
	want := arrangedPlacements()
	body := AppendStrategies(nil, want)
	got := arrangedPlacements()
	got[1].Strategy, got[1].Items = nil, []nba.Proposition{{}, {}}
	if err := DecodeStrategies(body, got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if again := AppendStrategies(nil, got); string(again) != string(body) {
		t.Error("written again it is something else")
	}
	for n := range body {
		if err := DecodeStrategies(body[:n], arrangedPlacements()); err == nil {
			t.Errorf("%d of %d bytes are taken for the whole", n, len(body))
		}
	}
	if body := AppendStrategies(nil, want[:1]); len(body) != 0 {
		t.Error("a decision without strategies keeps something")
	}
	if err := DecodeStrategies(body, want[:1]); err == nil {
		t.Error("a placement that is not there is taken")
	}
}

func FuzzStrategies(f *testing.F) {
	f.Add(AppendStrategies(nil, arrangedPlacements()))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		placements := arrangedPlacements()
		placements[1].Strategy = nil
		if DecodeStrategies(body, placements) != nil {
			return
		}
		again := arrangedPlacements()
		again[1].Strategy = nil
		for i := range again {
			for j := range again[i].Items {
				again[i].Items[j] = nba.Proposition{}
			}
		}
		if err := DecodeStrategies(AppendStrategies(nil, placements), again); err != nil && len(AppendStrategies(nil, placements)) > 0 {
			t.Fatal("written again it cannot be read")
		}
	})
}
