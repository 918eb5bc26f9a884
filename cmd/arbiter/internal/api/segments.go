package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Segments is what the HTTP layer needs of a node for segments.
type Segments interface {
	// Segments are those of the active catalog, with how many subjects of a sample are in each.
	Segments(ctx context.Context, req nba.SegmentRequest) (nba.Segments, error)
	// ScoreCuts are the scores of a model that part the subjects into equal parts.
	ScoreCuts(ctx context.Context, req nba.SegmentRequest) (nba.ScoreCuts, error)
}

// segmentRequest reads the query of both operations.
func segmentRequest(in *request) (req nba.SegmentRequest, err error) {
	req.Model = in.query.Get("model")
	for name, to := range map[string]*int{"sample": &req.Sample, "parts": &req.Parts} {
		if text := in.query.Get(name); text != "" {
			if *to, err = strconv.Atoi(text); err != nil || *to < 1 {
				return req, nba.Errorf(nba.CodeInvalid, "the query parameter %s must be a whole number from 1", name)
			}
		}
	}
	if text := in.query.Get("seed"); text != "" {
		if req.Seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			return req, nba.Errorf(nba.CodeInvalid, "the query parameter seed must be a whole number from 0")
		}
	}
	return req, nil
}

func listSegments(ctx context.Context, core Core, in *request) (reply, error) {
	req, err := segmentRequest(in)
	if err != nil {
		return reply{}, err
	}
	out, err := core.Segments(ctx, req)
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, out)
}

func cutScores(ctx context.Context, core Core, in *request) (reply, error) {
	req, err := segmentRequest(in)
	if err != nil {
		return reply{}, err
	}
	out, err := core.ScoreCuts(ctx, req)
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, out)
}

// segmentOperations are the operations on segments.
func segmentOperations() []operation {
	return []operation{
		{id: "listSegments", method: http.MethodGet, path: "/v1/segments", query: []string{"sample", "seed"}, handle: listSegments, budget: budgetImport},
		{id: "cutScores", method: http.MethodGet, path: "/v1/segments/cuts", query: []string{"model", "parts", "sample", "seed"}, handle: cutScores, budget: budgetImport},
	}
}
