package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func campaignPath(name string, parts ...string) string {
	path := "/v1/campaigns/" + url.PathEscape(name)
	for _, part := range parts {
		path += "/" + url.PathEscape(part)
	}
	return path
}

// Campaigns lists the campaigns of the active catalog.
func (c *Client) Campaigns(ctx context.Context) ([]nba.Campaign, error) {
	var out struct {
		Items []nba.Campaign `json:"items"`
	}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: "/v1/campaigns"}, nil, &out)
	return out.Items, err
}

// PlanCampaign tells what a run would do now.
func (c *Client) PlanCampaign(ctx context.Context, name string, req *nba.CampaignPlanRequest) (*nba.CampaignPlan, error) {
	out := &nba.CampaignPlan{}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: campaignPath(name, "plan")}, req, out)
	return out, err
}

// RunCampaign starts a run.
func (c *Client) RunCampaign(ctx context.Context, name string) (*nba.CampaignRun, error) {
	out := &nba.CampaignRun{}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: campaignPath(name, "runs")}, nil, out)
	return out, err
}

// CampaignRun reads a run; "latest" is the newest.
func (c *Client) CampaignRun(ctx context.Context, name, id string) (*nba.CampaignRun, error) {
	out := &nba.CampaignRun{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: campaignPath(name, "runs", id)}, nil, out)
	return out, err
}

// ChangeCampaign pauses, resumes or stops a run.
func (c *Client) ChangeCampaign(ctx context.Context, name, id, verb string) (*nba.CampaignRun, error) {
	out := &nba.CampaignRun{}
	_, err := c.doJSON(ctx, request{method: http.MethodPost, path: campaignPath(name, "runs", id, verb)}, nil, out)
	return out, err
}

// CampaignReport reads a run with what came of it.
func (c *Client) CampaignReport(ctx context.Context, name, id string) (*nba.CampaignReport, error) {
	out := &nba.CampaignReport{}
	_, err := c.doJSON(ctx, request{method: http.MethodGet, path: campaignPath(name, "runs", id, "report")}, nil, out)
	return out, err
}

// CampaignContacts reads a page of those that a run contacted; next is "" behind the last.
func (c *Client) CampaignContacts(ctx context.Context, name, id string, limit int, cursor string) (contacts []nba.CampaignContact, next string, err error) {
	var out struct {
		Items []nba.CampaignContact `json:"items"`
		Next  string                `json:"nextCursor"`
	}
	q := url.Values{"limit": {strconv.Itoa(limit)}}
	if cursor != "" {
		q.Set("cursor", cursor)
	}
	_, err = c.doJSON(ctx, request{method: http.MethodGet, path: campaignPath(name, "runs", id, "export"), query: q}, nil, &out)
	return out.Items, out.Next, err
}
