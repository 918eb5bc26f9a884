package api

import (
	"testing"

	"github.com/valyala/fasthttp"
)

// benchmarkHandler calls the server's handler without a network.
func benchmarkHandler(b *testing.B, s *Server) {
	b.Helper()
	handle := s.app.Handler()
	var ctx fasthttp.RequestCtx
	var request fasthttp.Request
	request.Header.SetMethod("POST")
	request.SetRequestURI("/v1/decisions")
	request.Header.SetContentType(contentTypeJSON)
	request.SetBodyString(`{"subject":{"id":"S-000123","type":"subscriber"},"channel":"web","placements":[{"id":"hero","limit":2},{"id":"banner","limit":1}],"contexts":[{"type":"page","key":"category","value":"family-plans"}]}`)
	request.Header.SetProtocol("HTTP/1.0") // raw headers are only there when they were read from a connection
	ctx.Init(&request, nil, nil)
	b.ReportAllocs()
	for b.Loop() {
		ctx.Response.Reset()
		handle(&ctx)
	}
	if ctx.Response.StatusCode() != 200 {
		b.Fatalf("status %d: %s", ctx.Response.StatusCode(), ctx.Response.Body())
	}
}
