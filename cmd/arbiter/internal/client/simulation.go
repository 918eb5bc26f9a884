package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Simulate begins a simulation.
func (c *Client) Simulate(ctx context.Context, req *nba.SimulationRequest) (*nba.Simulation, error) {
	out := &nba.Simulation{}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: "/v1/simulations"}, req, out)
	return out, err
}

// Simulation tells how far a simulation is, and its result.
func (c *Client) Simulation(ctx context.Context, id string) (*nba.Simulation, error) {
	out := &nba.Simulation{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/simulations/" + url.PathEscape(id)}, nil, out)
	return out, err
}

// CancelSimulation ends a simulation that is under way.
func (c *Client) CancelSimulation(ctx context.Context, id string) (*nba.Simulation, error) {
	out := &nba.Simulation{}
	_, err := c.doJSON(ctx, request{method: http.MethodDelete, path: "/v1/simulations/" + url.PathEscape(id)}, nil, out)
	return out, err
}
