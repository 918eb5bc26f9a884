package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/telemetry"
)

func startAdmin(t *testing.T, core Core, change func(*Options)) string {
	t.Helper()
	options := DefaultOptions()
	if change != nil {
		change(&options)
	}
	return "http://" + serveUntilEnd(t, NewAdmin(core, telemetry.NewRegistry(), options))
}

func fetch(t *testing.T, method, url, media, body string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if media != "" {
		request.Header.Set("Content-Type", media)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

func TestAdminRoutes(t *testing.T) {
	core := newMemCore()
	base := startAdmin(t, core, nil)
	for _, c := range []struct {
		method, path, media, body string
		status                    int
		holds                     string
	}{
		{"GET", "/healthz", "", "", 200, `"ok"`},
		{"GET", "/readyz", "", "", 200, `"ready"`},
		{"GET", "/metrics", "", "", 200, "arbiter_build_info"},
		{"GET", "/metrics", "", "", 200, `arbiter_http_requests_total{listener="admin",operation="health",status="200"}`},
		{"GET", "/debug/pprof/", "", "", 200, "goroutine"},
		{"GET", "/debug/pprof/cmdline", "", "", 200, ""},
		{"GET", "/debug/pprof/heap?debug=1", "", "", 200, "heap profile"},
		{"POST", "/v1/plugins?activate=true", contentTypeWASM, "\x00asm", 201, `"active"`},
		{"POST", "/v1/plugins", contentTypeWASM, "garbage", 422, "PLUGIN_REFUSED"},
		{"POST", "/v1/plugins", contentTypeJSON, "{}", 415, "UNSUPPORTED_MEDIA"},
		{"POST", "/v1/plugins", contentTypeWASM, strings.Repeat("x", 16<<20+1), 413, "TOO_LARGE"},
		{"POST", "/v1/plugins?x=1", contentTypeWASM, "x", 422, "INVALID"},
		{"POST", "/v1/subjects/import", contentTypeCSV, "id\na\nb\n", 200, `"accepted":2`},
		{"POST", "/v1/subjects/import", contentTypeCSV, "id,unknown\na,1\n", 422, "ATTRIBUTE_UNKNOWN"},
		{"POST", "/v1/subjects/import?firstLine=x", contentTypeCSV, "id\n", 422, "INVALID"},
		{"GET", "/v1/subjects/import", "", "", 405, "METHOD_NOT_ALLOWED"},
		{"POST", "/healthz", "", "", 405, "METHOD_NOT_ALLOWED"},
		{"POST", "/v1/decisions", contentTypeJSON, "{}", 404, "NOT_FOUND"},
		{"GET", "/", "", "", 404, "NOT_FOUND"},
	} {
		response, text := fetch(t, c.method, base+c.path, c.media, c.body)
		if response.StatusCode != c.status || !strings.Contains(text, c.holds) {
			t.Errorf("%s %s: status %d, want %d, body with %q: %.300s", c.method, c.path, response.StatusCode, c.status, c.holds, text)
		}
		if c.status >= 400 && response.Header.Get("Content-Type") != contentTypeProblem {
			t.Errorf("%s %s: content type %s", c.method, c.path, response.Header.Get("Content-Type"))
		}
	}
	core.ready = nba.Errorf(nba.CodeUnavailable, "the control group has no leader yet")
	response, text := fetch(t, "GET", base+"/readyz", "", "")
	if response.StatusCode != 503 || response.Header.Get("Retry-After") == "" || !strings.Contains(text, "no leader") {
		t.Errorf("not ready: status %d, Retry-After %q: %s", response.StatusCode, response.Header.Get("Retry-After"), text)
	}
}

// TestAdminImportStreams: results come while the body is still being sent, and there is no limit on
// the body.
func TestAdminImportStreams(t *testing.T) {
	base := startAdmin(t, newMemCore(), nil)
	body, sender := io.Pipe()
	answers := make(chan *http.Response, 1)
	go func() {
		response, err := http.Post(base+"/v1/subjects/import", contentTypeNDJSON, body)
		if err != nil {
			t.Error(err)
		}
		answers <- response
	}()
	// Enough bad lines to fill the server's buffer, then wait for the first answer before going on.
	for range 2000 {
		if _, err := io.WriteString(sender, "{\"id\":1}\n"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := sender.Write([]byte(strings.Repeat("\n", 512<<10))); err != nil { // wakes a reader that reads in blocks
		t.Fatal(err)
	}
	response := <-answers
	defer response.Body.Close()
	lines := bufio.NewScanner(response.Body)
	if !lines.Scan() || !strings.Contains(lines.Text(), `"line":1`) {
		t.Fatalf("the first line is %q (%v)", lines.Text(), lines.Err())
	}
	go func() {
		for range 600 { // 38 MiB, more than the API port takes
			if _, err := sender.Write([]byte(strings.Repeat("\n", 64<<10))); err != nil {
				t.Error(err)
			}
		}
		_, _ = io.WriteString(sender, `{"id":"good","attributes":{}}`)
		sender.Close()
	}()
	count, last := 1, ""
	for lines.Scan() {
		count, last = count+1, lines.Text()
	}
	var summary importSummary
	if err := json.Unmarshal([]byte(last), &summary); err != nil || summary.Summary.Accepted != 1 || summary.Summary.Rejected != 2000 || count != 2001 {
		t.Errorf("%d lines, the last %s: %v", count, last, err)
	}
}

func TestAdminImportStalls(t *testing.T) {
	base := startAdmin(t, newMemCore(), func(o *Options) { o.Timeouts.ImportStall = 100 * time.Millisecond })
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /v1/subjects/import HTTP/1.1\r\nHost: x\r\nContent-Type: text/csv\r\nContent-Length: 1000\r\n\r\nid\na\n")
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(response.Body)
	if response.StatusCode != http.StatusRequestTimeout && !strings.Contains(string(text), `"REQUEST_TIMEOUT"`) {
		t.Errorf("status %d: %s, want to hear of the stall", response.StatusCode, text)
	}
}

// failingImport accepts one record, reports one bad line and fails.
type failingImport struct {
	*memCore
	err error
}

func (f failingImport) ImportSubjects(_ context.Context, _ io.Reader, _ importer.Spec, result func(importer.Result) error) (importer.Summary, error) {
	err := result(importer.Result{Line: 2, Code: nba.CodeInvalid, Reason: "bad"})
	if err != nil {
		return importer.Summary{}, err
	}
	return importer.Summary{Read: 2, Accepted: 1, Rejected: 1}, f.err
}

// TestImportThatFailsLate: what was accepted is durable, so the caller must learn both.
func TestImportThatFailsLate(t *testing.T) {
	for _, c := range []struct {
		err  error
		code string
		logs int
	}{
		{nba.Errorf(nba.CodeOverloaded, "the queue is full"), "OVERLOADED", 0},
		{fmt.Errorf("disk /dev/sda is full"), "INTERNAL", 1},
	} {
		var log lockedBuffer
		change := func(o *Options) { o.Logger = telemetry.NewLogger(&log, slog.LevelInfo, telemetry.FormatText) }
		core := failingImport{newMemCore(), c.err}
		for _, base := range []string{startAdmin(t, core, change), "http://" + start(t, core, change)} {
			response, text := fetch(t, "POST", base+"/v1/subjects/import", contentTypeCSV, "id\na\n")
			lines := strings.Split(strings.TrimSpace(text), "\n")
			if response.StatusCode != 200 || len(lines) != 2 || !strings.Contains(lines[1], `"accepted":1`) ||
				!strings.Contains(lines[1], `"code":"`+c.code+`"`) || strings.Contains(text, "/dev/sda") {
				t.Errorf("status %d: %s", response.StatusCode, text)
			}
		}
		if got := strings.Count(log.String(), "/dev/sda"); got != 2*c.logs {
			t.Errorf("%s: %d log lines, want %d", c.code, got, 2*c.logs)
		}
	}
}

func TestImportListsABoundedNumberOfLines(t *testing.T) {
	addr := start(t, newMemCore(), func(o *Options) { o.Limits.ImportResults = 3 })
	_, text := fetch(t, "POST", "http://"+addr+"/v1/subjects/import", contentTypeNDJSON, strings.Repeat("x\n", 10))
	if lines := strings.Split(strings.TrimSpace(text), "\n"); len(lines) != 4 || !strings.Contains(lines[3], `"unlisted":7`) || !strings.Contains(lines[3], `"rejected":10`) {
		t.Errorf("got %s, want 3 lines and a summary with 7 unlisted", text)
	}
}

func TestAdminPanicBecomesAProblem(t *testing.T) {
	base := startAdmin(t, panicking{newMemCore()}, nil)
	for range 2 {
		if response, text := fetch(t, "GET", base+"/readyz", "", ""); response.StatusCode != 500 || strings.Contains(text, "secret") {
			t.Errorf("status %d: %s", response.StatusCode, text)
		}
	}
}

type panicking struct{ *memCore }

func (panicking) Ready(context.Context) error { panic("secret") }
