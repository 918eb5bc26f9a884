package api

import (
	"context"
	"fmt"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/valyala/fasthttp"
)

func decisionRequest(request *fasthttp.Request, uri string) {
	request.Header.SetMethod("POST")
	request.SetRequestURI(uri)
	request.Header.SetContentType(contentTypeJSON)
	request.SetBodyString(`{"subject":{"id":"S-000123","type":"subscriber"},"channel":"web","placements":[{"id":"hero","limit":2},{"id":"banner","limit":1}],"contexts":[{"type":"page","key":"category","value":"family-plans"}]}`)
}

// BenchmarkOverLoopback is the cost of one decision over TCP, client included, with a core that does
// nothing, beside the baseline's. The two are interleaved, so that a noisy moment hits both.
func BenchmarkOverLoopback(b *testing.B) {
	servers := benchmarkServers(b)
	for round := range 3 {
		for _, name := range []string{"server", "baseline"} {
			b.Run(fmt.Sprintf("%s-%d", name, round), func(b *testing.B) {
				client := &fasthttp.HostClient{Addr: serveUntilEnd(b, servers[name]()), MaxConns: 64}
				b.SetParallelism(8)
				b.RunParallel(func(pb *testing.PB) {
					var request fasthttp.Request
					var response fasthttp.Response
					decisionRequest(&request, "http://arbiter/v1/decisions")
					for pb.Next() {
						if err := client.Do(&request, &response); err != nil || response.StatusCode() != 200 {
							b.Errorf("status %d, %v", response.StatusCode(), err)
							return
						}
					}
				})
				client.CloseIdleConnections()
			})
		}
	}
}

// benchmarkServers make a server whose core answers at once, and the baseline with the same answer.
func benchmarkServers(b *testing.B) map[string]func() *Server {
	b.Helper()
	core := newMemCore()
	sample := sampleDecision("01KAN3Z1X2QK8Z0T5N4B7C9D0E", sampleRequest(nba.ExplainNone))
	core.decide = func(_ context.Context, _ *nba.DecisionRequest, out *nba.Decision) error {
		*out = sample
		return nil
	}
	answer, err := appendDecision(nil, &sample)
	if err != nil {
		b.Fatal(err)
	}
	return map[string]func() *Server{
		"server":   func() *Server { return New(core, DefaultOptions()) },
		"baseline": func() *Server { return NewBaseline(answer) },
	}
}

func BenchmarkDecide(b *testing.B) {
	for name, make := range benchmarkServers(b) {
		b.Run(name, func(b *testing.B) { benchmarkHandler(b, make()) })
	}
}

// benchmarkHandler calls the server's handler without a network.
func benchmarkHandler(b *testing.B, s *Server) {
	b.Helper()
	handle := s.app.Handler()
	var ctx fasthttp.RequestCtx
	var request fasthttp.Request
	decisionRequest(&request, "/v1/decisions")
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
