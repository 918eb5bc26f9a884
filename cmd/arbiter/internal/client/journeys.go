package client

import (
	"context"
	"net/http"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Journeys is where a subject stands in its journeys.
func (c *Client) Journeys(ctx context.Context, ref nba.SubjectRef) (*nba.SubjectJourneys, error) {
	path, q := subjectPath(ref, "/journeys")
	out := &nba.SubjectJourneys{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: path, query: q}, nil, out)
	return out, err
}

// MoveJourney brings a subject into a stage of a journey.
func (c *Client) MoveJourney(ctx context.Context, ref nba.SubjectRef, req nba.JourneyRequest) (*nba.JourneyMoved, error) {
	path, q := subjectPath(ref, "/journeys")
	out := &nba.JourneyMoved{}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: path, query: q}, req, out)
	return out, err
}
