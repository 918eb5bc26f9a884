package client

import (
	"context"
	"net/http"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Aggregates is what event strategies know of a subject.
func (c *Client) Aggregates(ctx context.Context, ref nba.SubjectRef) (*nba.SubjectAggregates, error) {
	path, q := subjectPath(ref, "/aggregates")
	out := &nba.SubjectAggregates{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: path, query: q}, nil, out)
	return out, err
}
