package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// headerReplay tells whether a decision that was made again is what was answered then.
const headerReplay = "Arbiter-Replay"

// Replay makes a past decision again; with catalogVersion, unless it is 0, as another catalog would have
// made it.
func (c *Client) Replay(ctx context.Context, id string, catalogVersion uint64) (*nba.Replay, error) {
	req := request{method: http.MethodPost, path: "/v1/decisions/" + url.PathEscape(id) + "/replay"}
	out := &nba.Replay{Differences: []nba.Difference{}}
	if catalogVersion != 0 {
		req.query = url.Values{"catalogVersion": {strconv.FormatUint(catalogVersion, 10)}}
		_, err := c.doJSON(ctx, req, nil, out)
		return out, err
	}
	resp, err := c.doJSON(ctx, req, nil, &out.Decision)
	if err != nil {
		return nil, err
	}
	if out.Identical = resp.Header.Get(headerReplay) == "identical"; !out.Identical {
		then, err := c.Decision(ctx, id)
		if err != nil {
			return nil, err
		}
		out.Differences = nba.Differences(&then.Decision, &out.Decision)
	}
	return out, nil
}
