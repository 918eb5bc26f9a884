package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

type memberPage struct {
	Items []nba.ClusterMember `json:"items"`
}

// Members lists the nodes of the cluster.
func (c *Client) Members(ctx context.Context) ([]nba.ClusterMember, error) {
	var page memberPage
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/cluster/members"}, nil, &page)
	return page.Items, err
}

// JoinMember makes a node a member ahead of its start, or takes one back in that was draining.
func (c *Client) JoinMember(ctx context.Context, id, addr, zone string) ([]nba.ClusterMember, error) {
	body := map[string]string{"id": id, "addr": addr}
	if zone != "" {
		body["zone"] = zone
	}
	var page memberPage
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: "/v1/cluster/members"}, body, &page)
	return page.Items, err
}

// DrainMember has a node give away what it keeps and leads, or, with cancel, take its share again.
func (c *Client) DrainMember(ctx context.Context, id string, cancel bool) ([]nba.ClusterMember, error) {
	r := request{method: http.MethodPost, path: "/v1/cluster/members/" + url.PathEscape(id) + "/drain"}
	if cancel {
		r.query = url.Values{"cancel": {"true"}}
	}
	var page memberPage
	_, err := c.doJSON(ctx, r, nil, &page)
	return page.Items, err
}

// RemoveMember ends that an empty node is a member, or, with force, one that is lost.
func (c *Client) RemoveMember(ctx context.Context, id string, force bool) error {
	r := request{method: http.MethodDelete, path: "/v1/cluster/members/" + url.PathEscape(id)}
	if force {
		r.query = url.Values{"force": {"true"}}
	}
	_, err := c.doJSON(ctx, r, nil, nil)
	return err
}

// TransferLead gives the lead of a group to a node, or to whichever can; with from instead of a group, all
// that a node leads goes to others. It gives the number of groups.
func (c *Client) TransferLead(ctx context.Context, group, to, from string) (int, error) {
	body := map[string]string{}
	for name, value := range map[string]string{"group": group, "to": to, "from": from} {
		if value != "" {
			body[name] = value
		}
	}
	var out struct {
		Groups int `json:"groups"`
	}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: "/v1/cluster/transfers"}, body, &out)
	return out.Groups, err
}

// Balance tells how evenly groups are dealt out and what follows; with now, leads are given back at once.
func (c *Client) Balance(ctx context.Context, now bool) (*nba.ClusterBalance, error) {
	method := http.MethodGet
	if now {
		method = http.MethodPost
	}
	out := &nba.ClusterBalance{}
	_, err := c.doJSON(ctx, request{method: method, path: "/v1/cluster/balance"}, nil, out)
	return out, err
}
