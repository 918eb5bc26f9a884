package api

import (
	"context"
	"net/http"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Aggregates is what the HTTP layer needs of a node for what event strategies count.
type Aggregates interface {
	// Aggregates is what the event strategies know of a subject; read is as for Subject.
	Aggregates(ctx context.Context, ref nba.SubjectRef, read *nba.Read) (nba.SubjectAggregates, error)
}

func getAggregates(ctx context.Context, core Core, in *request) (reply, error) {
	ref, err := subjectRef(in)
	if err != nil {
		return reply{}, err
	}
	read, err := readOf(in)
	if err != nil {
		return reply{}, err
	}
	aggregates, err := core.Aggregates(ctx, ref, &read)
	if err != nil {
		return reply{}, err
	}
	out, err := jsonReply(http.StatusOK, aggregates)
	out.age = ageOf(&read)
	return out, err
}
