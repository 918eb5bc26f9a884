package api

import (
	"context"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func memSimulation() nba.Simulation {
	counts := nba.SimulationCounts{Catalog: "demo", CatalogVersion: 42, Digest: memDigest, Decisions: 10, Nothing: 1, Propositions: 9, ExpectedValue: 12.5,
		Actions:      []nba.SimulationAction{{Action: "family-plan", Propositions: 9, First: 9, ExpectedValue: 12.5}},
		Suppressions: []nba.SimulationSuppression{{Stage: "eligibility", Code: "NO_PHONE", Count: 3}}}
	return nba.Simulation{ID: "01KAN3Z1X2QK8Z0T5N4B7C9D0E", State: nba.SimulationDone, CreatedAt: memTime, Progress: nba.SimulationProgress{Done: 10, Of: 10},
		Result: &nba.SimulationResult{At: memTime, Seed: 1, Subjects: 10, Population: 10, Groups: 1, AllGroups: 1, Channels: []string{"web"}, From: counts, To: counts,
			Changed: 1, Changes: []nba.SimulationChange{{Channel: "web", Placement: "hero", From: "a", To: "b", Count: 1}},
			Examples: []nba.SimulationExample{{Subject: nba.SubjectRef{ID: "S-1", Type: nba.Subscriber}, Channel: "web", Placement: "hero", From: "a", To: "b"}}}}
}

func (m *memCore) Simulate(_ context.Context, req nba.SimulationRequest) (nba.Simulation, error) {
	switch {
	case req.Sample < 0:
		return nba.Simulation{}, nba.Invalid("/sample", "a sample is at least 1")
	case req.From.CatalogVersion == 1<<40:
		return nba.Simulation{}, nba.Errorf(nba.CodeCatalogUnknown, "there is no catalog of that version")
	case req.Sample == 77:
		return nba.Simulation{}, nba.Errorf(nba.CodeOverloaded, "2 simulations are under way")
	}
	job := memSimulation()
	job.State, job.Result = nba.SimulationRunning, nil
	return job, nil
}

func (m *memCore) Simulations(context.Context) []nba.Simulation {
	return []nba.Simulation{memSimulation()}
}

func (m *memCore) Simulation(_ context.Context, id string) (nba.Simulation, error) {
	if job := memSimulation(); job.ID == id {
		return job, nil
	}
	return nba.Simulation{}, nba.Errorf(nba.CodeNotFound, "there is no such simulation")
}

func (m *memCore) CancelSimulation(ctx context.Context, id string) (nba.Simulation, error) {
	return m.Simulation(ctx, id)
}
