package api

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/telemetry"
)

// TestEveryCodeHasAMeaning reads the codes from the source of package nba and from openapi.yaml: the
// one table must know them all.
func TestEveryCodeHasAMeaning(t *testing.T) {
	_, self, _, _ := runtime.Caller(0)
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(filepath.Dir(self), "../../../../runtime/nba/errors.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 || !strings.HasPrefix(spec.Names[0].Name, "Code") {
			return true
		}
		found++
		text, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := meanings[nba.Code(text)]; !ok {
			t.Errorf("%s has no HTTP status", text)
		}
		return true
	})
	if found < 20 {
		t.Errorf("found %d codes in runtime/nba/errors.go, want 20 and more", found)
	}
	for code := range meanings {
		if !strings.Contains(string(OpenAPI()), "- "+string(code)+"\n") {
			t.Errorf("%s is not in openapi.yaml", code)
		}
	}
}

func TestProblemOf(t *testing.T) {
	for _, c := range []struct {
		err      error
		status   int
		code     nba.Code
		internal bool
	}{
		{nba.Errorf(nba.CodeOverloaded, "full"), 429, nba.CodeOverloaded, false},
		{fmt.Errorf("deciding: %w", nba.Errorf(nba.CodeUnavailable, "no leader")), 503, nba.CodeUnavailable, false},
		{fmt.Errorf("deciding: %w", context.DeadlineExceeded), 504, nba.CodeTimeout, false},
		{context.Canceled, 503, nba.CodeUnavailable, false},
		{errors.New("secret"), 500, nba.CodeInternal, true},
		{nba.Errorf(nba.CodeInternal, "secret"), 500, nba.CodeInternal, true},
		{nba.Errorf("NEW_CODE", "secret"), 500, nba.CodeInternal, true},
		{&nba.Error{Code: nba.CodeCatalogInvalid, Message: "many", Details: make([]nba.Detail, 500)}, 422, nba.CodeCatalogInvalid, false},
	} {
		p, internal := problemOf(c.err, "id")
		if p.Status != c.status || p.Code != c.code || internal != c.internal || strings.Contains(p.Detail, "secret") || p.Title == "" || len(p.Errors) > maxProblemErrors {
			t.Errorf("%v: got %+v internal %v", c.err, p, internal)
		}
		r := p.reply()
		if retry := r.retryAfter != ""; retry != (p.Status == 429 || p.Status == 503) {
			t.Errorf("%v: Retry-After is %q", c.err, r.retryAfter)
		}
	}
}

// TestDecisionDeadline: header and option are both honoured, the shorter holds.
func TestDecisionDeadline(t *testing.T) {
	core := newMemCore()
	var left time.Duration
	core.decide = func(ctx context.Context, _ *nba.DecisionRequest, out *nba.Decision) error {
		deadline, ok := ctx.Deadline()
		if !ok {
			t.Error("no deadline")
		}
		left = time.Until(deadline)
		*out = nba.Decision{DecisionID: "x", DecidedAt: memTime}
		return nil
	}
	addr := start(t, core, nil)
	for _, c := range []struct {
		header, option string
		want           time.Duration
	}{
		{"", "", time.Second}, {"5000", "", 5 * time.Second}, {"", "3000", 3 * time.Second},
		{"5000", "3000", 3 * time.Second}, {"3000", "5000", 3 * time.Second}, {"", "0", time.Second},
	} {
		body := `{"subject":{"id":"x"},"channel":"web"}`
		if c.option != "" {
			body = `{"subject":{"id":"x"},"channel":"web","options":{"timeoutMs":` + c.option + `}}`
		}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+addr+"/v1/decisions", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", contentTypeJSON)
		if c.header != "" {
			request.Header.Set(headerTimeout, c.header)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if left > c.want || left < c.want-500*time.Millisecond {
			t.Errorf("header %q, option %q: %v left, want %v", c.header, c.option, left, c.want)
		}
	}
}

func TestTimeoutAndOverloadAreProblems(t *testing.T) {
	core := newMemCore()
	addr := start(t, core, nil)
	send := func() (*http.Response, string) {
		return fetch(t, http.MethodPost, "http://"+addr+"/v1/decisions", contentTypeJSON, `{"subject":{"id":"x"},"channel":"web","options":{"timeoutMs":30}}`)
	}
	core.decide = func(ctx context.Context, _ *nba.DecisionRequest, _ *nba.Decision) error {
		<-ctx.Done()
		return fmt.Errorf("waiting: %w", ctx.Err())
	}
	if response, text := send(); response.StatusCode != 504 || !strings.Contains(text, "TIMEOUT") {
		t.Errorf("status %d: %s, want 504", response.StatusCode, text)
	}
	core.decide = func(context.Context, *nba.DecisionRequest, *nba.Decision) error {
		return nba.Errorf(nba.CodeOverloaded, "the queue is full: retry")
	}
	if response, text := send(); response.StatusCode != 429 || response.Header.Get("Retry-After") != "1" {
		t.Errorf("status %d, Retry-After %q: %s, want 429 and 1", response.StatusCode, response.Header.Get("Retry-After"), text)
	}
}

func TestDeadlineContext(t *testing.T) {
	type key struct{}
	parent, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
	defer cancel()
	far := newDeadline(parent, time.Now().Add(time.Hour))
	if d, ok := far.Deadline(); !ok || time.Until(d) < time.Minute || far.Err() != nil || far.Value(key{}) != "v" {
		t.Error("a fresh context is not open")
	}
	child, stop := context.WithCancel(far)
	defer stop()
	cancel()
	select {
	case <-child.Done():
	case <-time.After(5 * time.Second):
		t.Fatal("the child does not end with the parent")
	}
	if !errors.Is(far.Err(), context.Canceled) || far.Value(key{}) != "v" {
		t.Errorf("after the parent ended: %v", far.Err())
	}
	past := newDeadline(t.Context(), time.Now().Add(-time.Second))
	if !errors.Is(past.Err(), context.DeadlineExceeded) {
		t.Errorf("past its deadline: %v", past.Err())
	}
	<-past.Done()
	soon := newDeadline(t.Context(), time.Now().Add(20*time.Millisecond))
	<-soon.Done()
	if !errors.Is(soon.Err(), context.DeadlineExceeded) {
		t.Errorf("after its deadline: %v", soon.Err())
	}
	ended := newDeadline(t.Context(), time.Now().Add(time.Hour))
	ended.end()
	if !errors.Is(ended.Err(), context.Canceled) {
		t.Errorf("ended: %v", ended.Err())
	}
	<-ended.Done()
	waited := newDeadline(t.Context(), time.Now().Add(time.Hour))
	done := waited.Done()
	waited.end()
	<-done
}

func TestMetricsNameOperationsAndNeverPaths(t *testing.T) {
	registry := telemetry.NewRegistry()
	core := newMemCore()
	addr := start(t, core, func(o *Options) { o.Registry = registry })
	fetch(t, "GET", "http://"+addr+"/v1/subjects/S-000123", "", "")
	fetch(t, "GET", "http://"+addr+"/healthz", "", "")
	fetch(t, "GET", "http://"+addr+"/nothing", "", "")
	rawExchange(t, addr, "GET / HTTP/1.1\r\n\r\n")
	admin := "http://" + serveUntilEnd(t, NewAdmin(core, registry, DefaultOptions()))
	_, text := fetch(t, "GET", admin+"/metrics", "", "")
	for _, want := range []string{
		`arbiter_http_requests_total{listener="api",operation="getSubject",status="404"} 1`,
		`arbiter_http_requests_total{listener="api",operation="health",status="200"} 1`,
		`arbiter_http_request_duration_seconds_count{listener="api",operation="getSubject"} 1`,
		`arbiter_http_in_flight_requests{listener="api"} 0`,
		`arbiter_http_refused_total{listener="api",reason="malformed"} 1`,
		`arbiter_http_refused_total{listener="api",reason="no_route"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(text, "S-000123") {
		t.Error("a metric names a subject")
	}
}

func TestBaselineParsesAndAnswers(t *testing.T) {
	addr := serveUntilEnd(t, NewBaseline([]byte(`{"constant":true}`)))
	response, text := fetch(t, "POST", "http://"+addr+"/v1/decisions", contentTypeJSON, `{"subject":{"id":"x"},"channel":"web"}`)
	if response.StatusCode != 200 || text != `{"constant":true}` {
		t.Errorf("status %d: %s", response.StatusCode, text)
	}
	if response, _ := fetch(t, "POST", "http://"+addr+"/v1/decisions", contentTypeJSON, `{"subject":1}`); response.StatusCode != 422 {
		t.Errorf("a bad request: status %d, want 422: the baseline must parse", response.StatusCode)
	}
}

func TestDecodeDecisionRequestHelper(t *testing.T) {
	req, err := DecodeDecisionRequest([]byte(fullRequest))
	if err != nil || req.Channel != "web" {
		t.Errorf("got %+v, %v", req, err)
	}
}
