package api

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// headerTimeout is the caller's deadline in milliseconds; the shorter of it and options.timeoutMs
// holds.
const headerTimeout = "X-Arbiter-Timeout-Ms"

// decisionCall is what one decision needs and the next may reuse.
type decisionCall struct {
	reader jsonReader
	req    nba.DecisionRequest
	out    nba.Decision
}

// decide serves POST /v1/decisions: the one route that is called for every page view, so it reads with
// jsonReader and writes with appendDecision into the response's own buffer, both without garbage.
func (s *Server) decide(op *operation) fiber.Handler {
	return func(c *fiber.Ctx) error {
		ctx := c.Context()
		call := s.calls.Get().(*decisionCall) //nolint:forcetypeassert // the pool holds nothing else
		timeout, err := s.readDecision(op, ctx, call)
		if err != nil {
			s.calls.Put(call)
			return err
		}
		key, err := decisionKey(ctx)
		if err != nil {
			s.calls.Put(call)
			return err
		}
		deadline := newDeadline(s.ctx, time.Now().Add(timeout))
		if key == nil {
			err = s.core.Decide(deadline, &call.req, &call.out) // a panic leaves call to the collector
		} else {
			err = s.core.Decide(nba.WithIdempotency(deadline, key), &call.req, &call.out)
		}
		deadline.end()
		if err == nil {
			err = writeDecision(ctx, &call.out)
		}
		if err == nil && key != nil && key.Replayed() {
			ctx.Response.Header.Set(headerReplayed, "true")
		}
		s.calls.Put(call)
		return err
	}
}

// readDecision reads the request into call and returns the time the caller grants.
func (s *Server) readDecision(op *operation, ctx *fasthttp.RequestCtx, call *decisionCall) (time.Duration, error) {
	header := &ctx.Request.Header
	// The usual request is recognised without parsing its headers; any other is checked like those of
	// every operation.
	usual := bytes.Equal(header.ContentType(), []byte(contentTypeJSON)) &&
		len(ctx.URI().QueryString()) == 0 && len(header.ContentEncoding()) == 0
	if !usual {
		in := request{header: func(name string) string { return string(header.Peek(name)) }}
		if err := op.checkMedia(&in, len(ctx.Request.Body()) > 0); err != nil {
			return 0, err
		}
		if _, err := op.checkQuery(string(ctx.URI().QueryString())); err != nil {
			return 0, err
		}
	}
	// One copy of the body; every string of the request is a part of it.
	if err := call.reader.decisionRequest(string(ctx.Request.Body()), &call.req, s.options.Timeouts.MaxDecision); err != nil {
		return 0, err
	}
	timeout := s.options.Timeouts.Decision
	if ms := call.req.Options.TimeoutMS; ms > 0 {
		timeout = time.Duration(ms) * time.Millisecond
	}
	if text := header.Peek(headerTimeout); len(text) > 0 {
		ms, err := strconv.ParseUint(string(text), 10, 32)
		if err != nil || ms == 0 || ms > uint64(s.options.Timeouts.MaxDecision.Milliseconds()) {
			return 0, nba.Errorf(nba.CodeInvalid, "the header %s must be a whole number from 1 to %d",
				headerTimeout, s.options.Timeouts.MaxDecision.Milliseconds())
		}
		named := time.Duration(ms) * time.Millisecond
		if call.req.Options.TimeoutMS == 0 || named < timeout {
			timeout = named
		}
	}
	return timeout, nil
}

// writeDecision encodes out straight into the response's buffer.
func writeDecision(ctx *fasthttp.RequestCtx, out *nba.Decision) error {
	body, err := appendDecision(ctx.Response.SwapBody(nil)[:0], out)
	if err != nil {
		ctx.Response.SwapBody(body[:0])
		return fmt.Errorf("answering with a decision: %w", err)
	}
	ctx.Response.SwapBody(body)
	ctx.Response.Header.SetContentType(contentTypeJSON)
	ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	ctx.Response.Header.Set(fiber.HeaderCacheControl, "no-store")
	ctx.Response.SetStatusCode(http.StatusOK)
	return nil
}
