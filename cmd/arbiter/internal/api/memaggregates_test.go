package api

import (
	"context"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Aggregates implements Core: every subject used data and left a cart.
func (m *memCore) Aggregates(_ context.Context, ref nba.SubjectRef, _ *nba.Read) (nba.SubjectAggregates, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.subjects[ref] == nil {
		return nba.SubjectAggregates{}, nba.Errorf(nba.CodeSubjectUnknown, "no such subject")
	}
	used, due := 3.5, memTime
	return nba.SubjectAggregates{SubjectRef: ref, AsOf: memTime, Aggregates: []nba.StrategyAggregate{
		{Strategy: "usage", Label: "Data used", Aggregate: "sum", Window: "sliding 1d in steps of 24m", Value: &used},
		{Strategy: "highest", Aggregate: "max", Window: "tumbling 1h"},
		{Strategy: "cart-left", Aggregate: "absence", DueAt: &due},
	}}, nil
}
