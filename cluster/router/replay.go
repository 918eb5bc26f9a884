package router

import (
	"context"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// DecisionReads is a stored decision with the sections kept with it, from the replica here, which must lead
// the group of its subject. The error has CodeDecisionUnknown, or CodeSubjectErased when the subject was
// deleted since.
func (r *Router) DecisionReads(ctx context.Context, id string) (rec nba.DecisionRecord, sections command.Sections, err error) {
	rec, sections, _, err = r.decision(ctx, id, nba.Read{Consistency: nba.ConsistencyLeader})
	return rec, sections, err
}
