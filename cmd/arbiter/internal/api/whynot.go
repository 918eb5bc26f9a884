package api

import (
	"context"
	"net/http"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// whyNot serves GET /v1/subjects/{id}/why-not/{action}.
func whyNot(ctx context.Context, core Core, in *request) (reply, error) {
	ref, err := subjectRef(in)
	if err != nil {
		return reply{}, err
	}
	action, err := in.param("action")
	if err != nil {
		return reply{}, err
	}
	req := &nba.DecisionRequest{Subject: ref, Channel: in.query.Get("channel"), Direction: nba.Direction(in.query.Get("direction"))}
	if text := in.query.Get("placement"); text != "" {
		for name := range strings.SplitSeq(text, ",") {
			req.Placements = append(req.Placements, nba.PlacementRequest{ID: name, Limit: 1})
		}
	}
	if text := in.query.Get("context"); text != "" {
		for pair := range strings.SplitSeq(text, ",") {
			key, value, ok := strings.Cut(pair, "=")
			if !ok || key == "" {
				return reply{}, nba.Errorf(nba.CodeInvalid, "the query parameter context must be key=value, several with commas between")
			}
			req.Contexts = append(req.Contexts, nba.ContextValue{Key: key, Value: value})
		}
	}
	if req.Options.CatalogVersion, err = catalogVersionOf(in); err != nil {
		return reply{}, err
	}
	why, err := core.WhyNot(ctx, req, action)
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, why)
}
