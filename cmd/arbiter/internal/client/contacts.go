package client

import (
	"context"
	"net/http"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Contacts tells where a subject stands with each contact policy.
func (c *Client) Contacts(ctx context.Context, ref nba.SubjectRef) (*nba.SubjectContacts, error) {
	path, q := subjectPath(ref, "/contacts")
	out := &nba.SubjectContacts{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: path, query: q}, nil, out)
	return out, err
}
