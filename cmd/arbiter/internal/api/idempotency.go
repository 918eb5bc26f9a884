package api

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/valyala/fasthttp"
)

// The headers of idempotent requests: the caller's key, and that the answer is that of an earlier request
// with the same key.
const (
	headerIdempotencyKey = "Idempotency-Key"
	headerReplayed       = "Idempotency-Replayed"
)

// idempotencyOf is the key of a request, nil without one. What stands for the request is its preconditions
// and its body; method and path are part of what the key belongs to.
func idempotencyOf(in *request) (*nba.Idempotency, error) {
	text := in.header(headerIdempotencyKey)
	if text == "" {
		return nil, nil
	}
	return newIdempotency(text, func(h hash.Hash) {
		for _, name := range [...]string{"If-Match", "If-None-Match"} {
			_, _ = io.WriteString(h, in.header(name)) // a hash never fails
			_, _ = h.Write([]byte{0})
		}
		_, _ = h.Write(in.body)
	})
}

func newIdempotency(text string, request func(hash.Hash)) (*nba.Idempotency, error) {
	if err := nba.CheckIdempotencyKey(text); err != nil {
		return nil, err //nolint:wrapcheck // an *nba.Error
	}
	h := sha256.New()
	request(h)
	return nba.NewIdempotency(text, [16]byte(h.Sum(nil)[:16])), nil
}

// decisionKey is the key of a decision, nil without one.
func decisionKey(ctx *fasthttp.RequestCtx) (*nba.Idempotency, error) {
	text := ctx.Request.Header.Peek(headerIdempotencyKey)
	if len(text) == 0 {
		return nil, nil
	}
	return newIdempotency(string(text), func(h hash.Hash) { _, _ = h.Write(ctx.Request.Body()) }) // a hash never fails
}

// keyed runs the handler of an operation with the idempotency key of its request, if it takes one.
func (op *operation) keyed(ctx context.Context, core Core, in *request) (reply, error) {
	if !op.idempotent {
		return op.handle(ctx, core, in)
	}
	key, err := idempotencyOf(in)
	if err != nil {
		return reply{}, err
	}
	if key == nil {
		return op.handle(ctx, core, in)
	}
	out, err := op.handle(nba.WithIdempotency(ctx, key), core, in)
	if key.Replayed() {
		out.replayed = "true"
	}
	return out, err
}
