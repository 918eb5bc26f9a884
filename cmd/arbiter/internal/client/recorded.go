package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The headers of idempotent requests.
const (
	headerIdempotencyKey = "Idempotency-Key"
	headerReplayed       = "Idempotency-Replayed"
)

// Decision reads a decision as it was answered, with what came of it.
func (c *Client) Decision(ctx context.Context, id string) (*nba.DecisionRecord, error) {
	out := &nba.DecisionRecord{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/decisions/" + url.PathEscape(id)}, nil, out)
	return out, err
}

// Retention tells how long interactions and idempotency keys are kept.
func (c *Client) Retention(ctx context.Context) (nba.Retention, error) {
	var out nba.Retention
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/retention"}, nil, &out)
	return out, err
}

// SetRetention sets how long interactions and idempotency keys are kept.
func (c *Client) SetRetention(ctx context.Context, retention nba.Retention) (nba.Retention, error) {
	var out nba.Retention
	_, err := c.doJSON(ctx, request{method: http.MethodPut, path: "/v1/retention"}, retention, &out)
	return out, err
}
