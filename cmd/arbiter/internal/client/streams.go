package client

import (
	"context"
	"net/http"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Streams tells how far each Kafka stream was read.
func (c *Client) Streams(ctx context.Context) ([]nba.StreamStatus, error) {
	var out struct {
		Items []nba.StreamStatus `json:"items"`
	}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/streams"}, nil, &out)
	return out.Items, err
}
