package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/runtime/auth"
)

// AuditPage is a part of the log of changes, oldest first, and the end of its chain.
type AuditPage struct {
	Items []fsm.AuditRecord `json:"items"`
	Head  fsm.AuditHead     `json:"head"`
}

// Keys lists the API keys.
func (c *Client) Keys(ctx context.Context) ([]auth.View, error) {
	var page struct {
		Items []auth.View `json:"items"`
	}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/keys"}, nil, &page)
	return page.Items, err
}

// CreateKey makes an API key; its token is in the answer and nowhere else. first makes the first one,
// through a node on this machine.
func (c *Client) CreateKey(ctx context.Context, wanted *auth.KeyRequest, first bool) (*auth.View, error) {
	path := "/v1/keys"
	if first {
		path += "/first"
	}
	out := &auth.View{}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: path}, wanted, out)
	return out, err
}

// RevokeKey removes an API key.
func (c *Client) RevokeKey(ctx context.Context, id string) error {
	_, err := c.doJSON(ctx, request{method: http.MethodDelete, path: "/v1/keys/" + url.PathEscape(id)}, nil, nil)
	return err
}

// WhoAmI tells as whom this client calls.
func (c *Client) WhoAmI(ctx context.Context) (*auth.Principal, error) {
	out := &auth.Principal{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/whoami"}, nil, out)
	return out, err
}

// Audit reads up to limit records of the log of changes after one of them.
func (c *Client) Audit(ctx context.Context, after uint64, limit int) (*AuditPage, error) {
	q := url.Values{"after": {strconv.FormatUint(after, 10)}, "limit": {strconv.Itoa(limit)}}
	out := &AuditPage{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/audit", query: q}, nil, out)
	return out, err
}
