package cli

import (
	"io"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestRenderWhyNot(t *testing.T) {
	why := nba.WhyNot{Action: "device-renewal", Channel: "web", Stage: "eligibility", Code: "TOO_NEW", Label: "Devices on instalments need six months of bills",
		Clause:  `subject.tenure >= 6 && (subject.partner || subject.dependents)`,
		Parts:   []nba.WhyNotPart{{Clause: "subject.tenure >= 6", Actual: "3", Required: "at least 6"}, {Clause: "subject.partner", Actual: "false", Required: "true"}},
		Changes: []string{"tenure: at least 6 (now 3)", "partner: true"}}
	golden(t, "whynot", func(w io.Writer, p paint) { renderWhyNot(w, p, &why) })
	ranked := nba.WhyNot{Action: "family-plan", Channel: "web", Stage: "arbitration", Code: "OUTRANKED", Label: "priority rank 2 of 5: the placements are full",
		Parts:   []nba.WhyNotPart{{Clause: "priority", Actual: "14.4", Required: "more than 41.15 of price-lock"}},
		Changes: []string{"a priority above 41.15: a value above 685.8, or a lever above 2.86, or a propensity above 0.171"},
		Ranking: &nba.WhyNotRanking{Rank: 2, Of: 5, Propensity: 0.06, ContextWeight: 1, Value: 240, Lever: 1, Priority: 14.4,
			BeatenBy: []nba.WhyNotRival{{Action: "price-lock", Placement: "hero", Rank: 1, Priority: 41.15}}}}
	golden(t, "whynot-ranked", func(w io.Writer, p paint) { renderWhyNot(w, p, &ranked) })
}

func TestRenderReplay(t *testing.T) {
	at := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	again := nba.Replay{Decision: nba.Decision{DecisionID: "01KB3V8Q5M9T1Z7X4C6W2R0YHD", CatalogVersion: 57, DecidedAt: at,
		Propositions: []nba.PlacementPropositions{{Placement: "hero", Items: []nba.Proposition{{Rank: 1, Action: "family-plan", Label: "Family plan",
			Propensity: 0.06, ContextWeight: 1, Value: 240, Lever: 1.5, Priority: 21.6, Reason: nba.Reason{Code: "RANKED_FIRST", Label: "highest priority of 5"}}}}}},
		Differences: []nba.Difference{{Placement: "hero", Rank: 1, Field: "action", Was: "price-lock", Now: "family-plan"},
			{Placement: "hero", Rank: 1, Field: "priority", Was: 41.15, Now: 21.6}, {Placement: "hero", Rank: 2, Field: "action", Was: "x", Now: nil}},
		Assumed: []string{"contacts", "tenure"}}
	golden(t, "replay", func(w io.Writer, p paint) { renderReplay(w, p, &again, 57) })
}

func TestRenderSimulation(t *testing.T) {
	r := nba.SimulationResult{At: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), Seed: 7, Subjects: 100, Population: 1000, Groups: 2, AllGroups: 4, Channels: []string{"web", "app"},
		From: nba.SimulationCounts{Catalog: "demo", CatalogVersion: 10, Decisions: 200, Propositions: 150, ExpectedValue: 1234.5,
			Actions:      []nba.SimulationAction{{Action: "family-plan", Propositions: 100, ExpectedValue: 1000}, {Action: "old", Propositions: 50, ExpectedValue: 234.5}},
			Suppressions: []nba.SimulationSuppression{{Stage: "eligibility", Code: "NO_PHONE", Count: 40}}},
		To: nba.SimulationCounts{Catalog: "demo", Decisions: 200, Nothing: 3, Propositions: 160, ExpectedValue: 1500,
			Actions:      []nba.SimulationAction{{Action: "family-plan", Propositions: 120, ExpectedValue: 1300}, {Action: "new", Propositions: 40, ExpectedValue: 200}},
			Suppressions: []nba.SimulationSuppression{{Stage: "contact", Code: "OFTEN", Count: 12}}},
		Changed: 33, Changes: []nba.SimulationChange{{Channel: "web", Placement: "hero", From: "old", Count: 33}}}
	golden(t, "simulation", func(w io.Writer, p paint) { renderSimulation(w, p, &r) })
}
