package api

import (
	"context"
	"net/http"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// listStreams tells how far each Kafka stream was read.
func listStreams(ctx context.Context, core Core, _ *request) (reply, error) {
	list, err := core.Streams(ctx)
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, struct {
		Items []nba.StreamStatus `json:"items"`
	}{list})
}
