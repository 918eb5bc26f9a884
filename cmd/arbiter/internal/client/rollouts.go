package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/arbiterhq/arbiter/plugins/rollout"
)

// StartRollout begins to roll a pushed version out.
func (c *Client) StartRollout(ctx context.Context, req *rollout.Request) (*rollout.View, error) {
	out := &rollout.View{}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: "/v1/rollouts"}, req, out)
	return out, err
}

// Rollouts lists all rollouts, the newest first.
func (c *Client) Rollouts(ctx context.Context) ([]rollout.View, error) {
	var out struct {
		Items []rollout.View `json:"items"`
	}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/rollouts"}, nil, &out)
	return out.Items, err
}

// Rollout reads one rollout.
func (c *Client) Rollout(ctx context.Context, id string) (*rollout.View, error) {
	out := &rollout.View{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/rollouts/" + url.PathEscape(id)}, nil, out)
	return out, err
}

// ChangeRollout promotes, pauses, resumes, aborts or undoes a rollout; force promotes one although nodes
// are missing.
func (c *Client) ChangeRollout(ctx context.Context, id string, verb rollout.Verb, force bool) (*rollout.View, error) {
	q := url.Values{}
	if force {
		q.Set("force", "true")
	}
	out := &rollout.View{}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: "/v1/rollouts/" + url.PathEscape(id) + "/" + string(verb), query: q}, nil, out)
	return out, err
}
