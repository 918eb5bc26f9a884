package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func segmentQuery(req *nba.SegmentRequest) url.Values {
	q := url.Values{}
	for name, value := range map[string]int{"sample": req.Sample, "parts": req.Parts} {
		if value != 0 {
			q.Set(name, strconv.Itoa(value))
		}
	}
	if req.Seed != 0 {
		q.Set("seed", strconv.FormatUint(req.Seed, 10))
	}
	if req.Model != "" {
		q.Set("model", req.Model)
	}
	return q
}

// Segments lists the segments of the active catalog, with their sizes.
func (c *Client) Segments(ctx context.Context, req *nba.SegmentRequest) (*nba.Segments, error) {
	out := &nba.Segments{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/segments", query: segmentQuery(req)}, nil, out)
	return out, err
}

// ScoreCuts are the scores of a model that part the customers into equal parts.
func (c *Client) ScoreCuts(ctx context.Context, req *nba.SegmentRequest) (*nba.ScoreCuts, error) {
	out := &nba.ScoreCuts{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/segments/cuts", query: segmentQuery(req)}, nil, out)
	return out, err
}
