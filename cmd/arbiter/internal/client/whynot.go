package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// WhyNot tells why an action is not proposed to the subject of req now. Of req the subject, channel,
// direction, placements, contexts and catalogVersion count; commas in contexts cannot be sent.
func (c *Client) WhyNot(ctx context.Context, req *nba.DecisionRequest, action string) (*nba.WhyNot, error) {
	query := url.Values{}
	set := func(name, value string) {
		if value != "" {
			query.Set(name, value)
		}
	}
	set("type", string(req.Subject.Type))
	set("channel", req.Channel)
	set("direction", string(req.Direction))
	var placements, contexts []string
	for _, p := range req.Placements {
		placements = append(placements, p.ID)
	}
	for _, c := range req.Contexts {
		contexts = append(contexts, c.Key+"="+c.Value)
	}
	set("placement", strings.Join(placements, ","))
	set("context", strings.Join(contexts, ","))
	if version := req.Options.CatalogVersion; version != 0 {
		set("catalogVersion", strconv.FormatUint(version, 10))
	}
	out := &nba.WhyNot{}
	path := "/v1/subjects/" + url.PathEscape(req.Subject.ID) + "/why-not/" + url.PathEscape(action)
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: path, query: query}, nil, out)
	return out, err
}
