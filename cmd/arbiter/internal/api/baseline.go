package api

import (
	"bytes"
	"net/http"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/gofiber/fiber/v2"
)

// NewBaseline is a server set up like New whose only route, POST /v1/decisions, parses the decision
// request, does nothing, and answers with answer. The load generator measures it in the same run as
// the real server: the difference is what deciding costs.
func NewBaseline(answer []byte) *Server {
	options := DefaultOptions()
	op := &operation{id: "decide", method: http.MethodPost, path: "/v1/decisions", consumes: []string{contentTypeJSON}}
	s := newServer(nil, options)
	s.metrics = newMetrics(nil, "baseline", []operation{*op})
	answer = bytes.Clone(answer)
	s.app.Add(op.method, op.path, s.timed(op, func(c *fiber.Ctx) error {
		ctx := c.Context()
		call := s.calls.Get().(*decisionCall) //nolint:forcetypeassert // the pool holds nothing else
		_, err := s.readDecision(op, ctx, call)
		s.calls.Put(call)
		if err != nil {
			return err
		}
		ctx.Response.Header.SetContentType(contentTypeJSON)
		ctx.Response.SetBodyRaw(answer)
		return nil
	}))
	return s
}

// DecodeDecisionRequest reads the body of POST /v1/decisions as the server does. The load generator
// and the command line check their requests with it before they send them.
func DecodeDecisionRequest(body []byte) (nba.DecisionRequest, error) {
	var req nba.DecisionRequest
	err := new(jsonReader).decisionRequest(string(body), &req, DefaultOptions().Timeouts.MaxDecision)
	return req, err
}
