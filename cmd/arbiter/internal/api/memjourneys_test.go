package api

import (
	"context"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Journeys implements Core: every subject has a cart.
func (m *memCore) Journeys(_ context.Context, ref nba.SubjectRef, _ *nba.Read) (nba.SubjectJourneys, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.subjects[ref] == nil {
		return nba.SubjectJourneys{}, nba.Errorf(nba.CodeSubjectUnknown, "no such subject")
	}
	return nba.SubjectJourneys{SubjectRef: ref,
		Journeys: []nba.JourneyInstance{{Journey: "cart", Label: "Cart", Instance: 3, Key: "C-1", Stage: "open", StageLabel: "Open", BegunAt: memTime, Since: memTime,
			Due: &nba.JourneyDue{At: memTime, Stage: "abandoned"}, Data: map[string]any{"value": 49.5, "shop": "web", "gift": true}}},
		Moves: []nba.JourneyMove{{Time: memTime, Journey: "cart", Instance: 3, Key: "C-1", To: "open", Cause: "event", Detail: "cart.updated"}}}, nil
}

// MoveJourney implements Core: there is one journey.
func (m *memCore) MoveJourney(_ context.Context, ref nba.SubjectRef, req nba.JourneyRequest) (nba.JourneyMoved, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.subjects[ref] == nil:
		return nba.JourneyMoved{}, nba.Errorf(nba.CodeSubjectUnknown, "no such subject")
	case req.Journey != "cart":
		return nba.JourneyMoved{}, nba.Errorf(nba.CodeNotFound, "no such journey")
	case req.From == "lapsed":
		return nba.JourneyMoved{}, nba.Errorf(nba.CodeConflict, "the subject is not there")
	}
	return nba.JourneyMoved{SubjectRef: ref, Journey: req.Journey, Key: req.Key, Stage: req.Stage, Changed: true, Began: true}, nil
}
