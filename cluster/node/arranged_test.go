package node

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestArrangedDecisionIsKept has a decision with a treatment that is not the first, content that was added
// and a weight come back from what is kept of it.
func TestArrangedDecisionIsKept(t *testing.T) {
	c, err := catalog.Compile([]byte(`apiVersion: arbiter/v1
kind: Catalog
name: x
strategy: mix
channels: [{name: web, placements: [hero, {name: banner, strategy: none}]}]
issues: [{name: G, groups: [{name: P}]}]
actions:
  - {name: a, issue: G, group: P, value: 1, treatments: [{name: t, channel: web}, {name: u, channel: web, content: {headline: Big}}]}
  - {name: b, issue: G, group: P, value: 1, treatments: [{name: t, channel: web, content: {headline: Small}}]}
`), "f", catalog.Env{Dictionary: nba.NewDictionary()})
	if err != nil {
		t.Fatal(err)
	}
	mix := &nba.ModelInfo{Name: "mix", Version: "1.0.0", Digest: "sha256:00"}
	d := &nba.Decision{Propositions: []nba.PlacementPropositions{
		{Placement: "hero", Strategy: mix, Items: []nba.Proposition{
			{Action: "a", Treatment: "u", StrategyWeight: 2, Content: map[string]string{"headline": "Big", "price": "9"}},
			{Action: "b", Treatment: "t", Content: map[string]string{"headline": "Small"}}}},
		{Placement: "banner", Items: []nba.Proposition{}},
	}}
	kept := keepStrategies(nil, c, "web", d)
	again := []nba.PlacementPropositions{{Placement: "hero", Items: []nba.Proposition{{Action: "a", Treatment: "u"}, {Action: "b", Treatment: "t"}}},
		{Placement: "banner", Items: []nba.Proposition{}}}
	if err := command.DecodeStrategies(kept.Get(command.KeptStrategies), again); err != nil {
		t.Fatal(err)
	}
	on, _ := c.Channel("web")
	hero, _ := on.Placement("hero")
	for i := range again[0].Items {
		item := &again[0].Items[i]
		action, _ := c.Action(item.Action)
		item.Content = contentOf(action, hero, item)
	}
	if diff := cmp.Diff(d.Propositions, again); diff != "" {
		t.Error(diff)
	}
	d.Propositions[0].Strategy = nil
	if kept := keepStrategies(nil, c, "web", d); len(kept) != 0 {
		t.Error("a decision without strategies keeps something")
	}
}
