package client

import (
	"context"
	"net/http"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Features makes rows of features as a model would be handed them.
func (c *Client) Features(ctx context.Context, req *nba.FeatureRequest) (*nba.FeatureTable, error) {
	out := &nba.FeatureTable{}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: "/v1/features"}, req, out)
	return out, err
}
