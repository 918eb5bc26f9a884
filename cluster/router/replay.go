package router

import (
	"context"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// DecisionKept is Decision with the sections kept with it.
func (r *Router) DecisionKept(ctx context.Context, id string, read nba.Read) (rec nba.DecisionRecord, sections command.Sections, age time.Duration, err error) {
	if rec, sections, age, err = r.decision(ctx, id, read); nba.CodeOf(err) == nba.CodeSubjectErased {
		err = errUnknownDecision() // which says that this may be why
	}
	return rec, sections, age, err
}

// DecisionReads is a stored decision with the sections kept with it, from the replica here, which must lead
// the group of its subject. The error has CodeDecisionUnknown, or CodeSubjectErased when the subject was
// deleted since.
func (r *Router) DecisionReads(ctx context.Context, id string) (rec nba.DecisionRecord, sections command.Sections, err error) {
	rec, sections, _, err = r.decision(ctx, id, nba.Read{Consistency: nba.ConsistencyLeader})
	return rec, sections, err
}
