package cli

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/bulk"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/google/go-cmp/cmp"
)

// fakeNode is an API that answers as a test wants and remembers what it was asked.
type fakeNode struct {
	t      *testing.T
	server *httptest.Server
	mux    *http.ServeMux

	mu       sync.Mutex
	requests []string // METHOD PATH [If-Match] BODY
}

func newFakeNode(t *testing.T) *fakeNode {
	t.Helper()
	n := &fakeNode{t: t, mux: http.NewServeMux()}
	n.server = httptest.NewServer(n.mux)
	t.Cleanup(n.server.Close)
	return n
}

// answer serves one route with a status and a body, which is a problem unless the status is 2xx.
func (n *fakeNode) answer(route string, status int, body string, headers ...string) {
	n.mux.HandleFunc(route, func(w http.ResponseWriter, r *http.Request) {
		got, _ := io.ReadAll(r.Body)
		n.mu.Lock()
		n.requests = append(n.requests, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", r.Method, r.URL.RequestURI(), r.Header.Get("If-Match"), got)))
		n.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		if status/100 != 2 {
			w.Header().Set("Content-Type", "application/problem+json")
		}
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
}

// run runs a command line against the node.
func (n *fakeNode) run(args ...string) (stdout, stderr string, code int) {
	n.t.Helper()
	return runWith(n.t, "", append(args, "--addr", n.server.URL)...)
}

func runWith(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errOut bytes.Buffer
	a := &app{in: strings.NewReader(stdin), out: &out, err: &errOut, getenv: func(string) string { return "" }}
	code = a.run(t.Context(), args)
	return out.String(), errOut.String(), code
}

func TestProblemsAreShownInFull(t *testing.T) {
	const instance = `"instance":"urn:arbiter:request:01REQ"`
	for _, c := range []struct {
		name   string
		status int
		body   string
		code   int
		want   string
	}{
		{name: "not found", status: 404, code: 4,
			body: `{"title":"No such subject","status":404,"code":"SUBJECT_UNKNOWN","detail":"store it first",` + instance + `}`,
			want: "Error: No such subject (SUBJECT_UNKNOWN, status 404)\n  store it first\n  request 01REQ\n" +
				"  Hint: see the id and --type; arbiter subject import FILE brings subjects in, arbiter subject put one\n"},
		{name: "details", status: 422, code: 1,
			body: `{"title":"The input breaks the contract","status":422,"code":"INVALID","detail":"the request is not valid",` + instance +
				`,"errors":[{"pointer":"/channel","code":"INVALID","detail":"no such channel"},{"file":"c.yaml","line":3,"column":7,"code":"INVALID","detail":"unknown key"}]}`,
			want: "Error: The input breaks the contract (INVALID, status 422)\n  the request is not valid\n  - /channel: no such channel\n" +
				"  - c.yaml:3:7: unknown key\n  request 01REQ\n"},
		{name: "unavailable", status: 503, code: 6,
			body: `{"title":"The node cannot serve now","status":503,"code":"UNAVAILABLE","detail":"no leader",` + instance + `}`,
			want: "Error: The node cannot serve now (UNAVAILABLE, status 503)\n  no leader\n  request 01REQ\n" +
				"  Hint: the node is up but not ready for this: try again in a moment; /readyz on the admin port says why\n"},
		{name: "no problem document", status: 502, code: 6, body: `<html>proxy</html>`, want: "Error: Bad Gateway (status 502)\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newFakeNode(t)
			n.answer("POST /v1/decisions", c.status, c.body)
			stdout, stderr, code := n.run("decide", "S-1", "--channel", "web")
			if stdout != "" || stderr != c.want || code != c.code {
				t.Errorf("exit %d, want %d; stdout %q; stderr (-got +want):\n%s", code, c.code, stdout, cmp.Diff(stderr, c.want))
			}
		})
	}
}

func TestDecideSendsWhatWasAsked(t *testing.T) {
	n := newFakeNode(t)
	n.answer("POST /v1/decisions", 200, `{"decisionId":"D","catalogVersion":7,"decidedAt":"2026-11-22T10:00:00Z","degraded":false,"propositions":[]}`)
	stdout, stderr, code := n.run("decide", "S-1", "--channel", "web", "--type", "account", "--placement", "hero:2", "--placement", "banner",
		"--context", "reason=a=b", "--exclude", "x", "--explain", "--simulate", "--timeout-ms", "50", "-o", "json")
	if code != 0 {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(strings.TrimPrefix(n.requests[0], "POST /v1/decisions  ")), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"subject": map[string]any{"id": "S-1", "type": "account"}, "channel": "web",
		"placements": []any{map[string]any{"id": "hero", "limit": 2.0}, map[string]any{"id": "banner", "limit": 1.0}},
		"contexts":   []any{map[string]any{"key": "reason", "value": "a=b"}}, "excludedActions": []any{"x"},
		"options": map[string]any{"explain": "reasons", "simulate": true, "timeoutMs": 50.0},
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("request (-got +want):\n%s", diff)
	}
	var decision nba.Decision
	if err := json.Unmarshal([]byte(stdout), &decision); err != nil || decision.CatalogVersion != 7 {
		t.Errorf("printed %s: %v", stdout, err)
	}
}

func TestCatalogApplyReplacesWhatIsThere(t *testing.T) {
	file := filepath.Join(t.TempDir(), "catalog.yaml")
	if err := os.WriteFile(file, []byte("name: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	stored := `{"version":9,"catalogVersion":12,"name":"x","digest":"sha256:00","state":"active","storedAt":"2026-11-22T10:00:00Z"}`

	n := newFakeNode(t)
	n.answer("GET /v1/catalog", 200, "name: old\n", "ETag", `"v5"`)
	n.answer("PUT /v1/catalog", 201, stored)
	n.answer("POST /v1/catalog/versions/9/activate", 200, stored)
	stdout, stderr, code := n.run("catalog", "apply", file)
	if code != 0 || !strings.Contains(stdout, "version 9, is active; decisions carry catalogVersion 12") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	if diff := cmp.Diff(n.requests, []string{"GET /v1/catalog", "PUT /v1/catalog \"v5\" name: x", "POST /v1/catalog/versions/9/activate"}); diff != "" {
		t.Errorf("requests (-got +want):\n%s", diff)
	}

	first := newFakeNode(t)
	first.answer("GET /v1/catalog", 404, `{"title":"none","code":"CATALOG_UNKNOWN"}`)
	first.answer("PUT /v1/catalog", 422, `{"title":"The catalog has mistakes","code":"CATALOG_INVALID","errors":[{"line":3,"column":1,"code":"INVALID","detail":"unknown key"}]}`)
	_, stderr, code = first.run("catalog", "apply", file)
	if code != 1 || !strings.Contains(stderr, "- catalog.yaml:3:1: unknown key") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if len(first.requests) != 2 || first.requests[1] != "PUT /v1/catalog  name: x" {
		t.Errorf("requests: %q", first.requests)
	}
}

func TestSubjectPutReadsValuesByType(t *testing.T) {
	n := newFakeNode(t)
	n.answer("GET /v1/attributes", 200, `{"attributes":[{"id":0,"name":"tenure","type":"int"},{"id":1,"name":"plan","type":"string"},{"id":2,"name":"app","type":"bool"}],"purposes":[]}`)
	n.answer("PUT /v1/subjects/{id}", 201, `{"id":"S/1","type":"subscriber","version":1}`)
	n.answer("PATCH /v1/subjects/{id}", 200, `{"id":"S/1","type":"device","version":2,"attributes":{}}`)
	if _, stderr, code := n.run("subject", "put", "S/1", "--set", "tenure=12", "--set", "plan=12", "--set", "app=yes", "--grant", "marketing", "--refuse", "profiling", "--if-match", "v3"); code != 0 {
		t.Fatal(stderr)
	}
	if _, stderr, code := n.run("subject", "patch", "S/1", "--type", "device", "--unset", "plan", "--forget-consent", "marketing"); code != 0 {
		t.Fatal(stderr)
	}
	want := []string{
		"GET /v1/attributes",
		`PUT /v1/subjects/S%2F1 "v3" {"id":"S/1","type":"subscriber","attributes":{"app":true,"plan":"12","tenure":12},"consents":{"marketing":true,"profiling":false}}`,
		`PATCH /v1/subjects/S%2F1?type=device  {"attributes":{"plan":null},"consents":{"marketing":null}}`,
	}
	if diff := cmp.Diff(n.requests, want); diff != "" {
		t.Errorf("requests (-got +want):\n%s", diff)
	}
	_, stderr, code := n.run("subject", "put", "S-1", "--set", "tenur=12")
	if code != 1 || !strings.Contains(stderr, "did you mean tenure?") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	_, stderr, code = n.run("subject", "put", "S-1", "--set", "tenure=12.5")
	if code != 2 || strings.Contains(stderr, "12.5") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

// importNode takes imports: it rejects records whose second field is "bad" and refuses the chunk that
// holds refuse.
func importNode(t *testing.T, refuse *string) (*fakeNode, *[]string) {
	t.Helper()
	n := newFakeNode(t)
	stored := &[]string{}
	n.answer("PUT /v1/attributes", 200, `{"attributes":[],"purposes":[]}`)
	n.mux.HandleFunc("POST /v1/subjects/import", func(w http.ResponseWriter, r *http.Request) {
		_, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil {
			t.Error(err)
		}
		form, err := multipart.NewReader(r.Body, params["boundary"]).ReadForm(1 << 20)
		if err != nil {
			t.Error(err)
			return
		}
		open := func(part string) string {
			f, err := form.File[part][0].Open()
			if err != nil {
				t.Error(err)
			}
			body, _ := io.ReadAll(f)
			return string(body)
		}
		if !strings.Contains(open("mapping"), "subject:") || form.File["file"][0].Header.Get("Content-Type") != "text/csv" {
			t.Error("the form does not hold the mapping and a CSV file")
		}
		body := open("file")
		if *refuse != "" && strings.Contains(body, *refuse) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"title":"The node cannot serve now","code":"UNAVAILABLE"}`)
			return
		}
		read, rejected := 0, 0
		records := csv.NewReader(strings.NewReader(body))
		for {
			record, err := records.Read()
			if err != nil {
				break
			}
			line, _ := records.FieldPos(0)
			if line == 1 {
				continue
			}
			read++
			if record[1] == "bad" {
				rejected++
				fmt.Fprintf(w, `{"line":%d,"column":"plan","code":"INVALID","reason":"not a plan"}`+"\n", line)
				continue
			}
			*stored = append(*stored, record[0])
		}
		fmt.Fprintf(w, `{"summary":{"read":%d,"accepted":%d,"rejected":%d,"blank":0,"duplicates":0,"bytes":%d}}`+"\n", read, read-rejected, rejected, len(body))
	})
	return n, stored
}

const testMapping = "subject: {id: id}\nattributes:\n  - {name: plan, type: string}\n"

func TestImportResumesWhereItStopped(t *testing.T) {
	dir := t.TempDir()
	file, mapping, rejected := filepath.Join(dir, "in.csv"), filepath.Join(dir, "m.yaml"), filepath.Join(dir, "rejected.csv")
	input := "id,plan\n1,a\n2,bad\n3,\"x\ny\"\n4,b\n5,bad\n6,c"
	for name, text := range map[string]string{file: input, mapping: testMapping} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refuse := "5,"
	n, stored := importNode(t, &refuse)
	args := []string{"subject", "import", file, "--mapping", mapping, "--errors", rejected, "--chunk-lines", "2"}
	_, stderr, code := n.run(append(args, "--retry-for", "0s")...)
	if code != exitUnavailable || !strings.Contains(stderr, "line 3, column plan: not a plan\n") ||
		!strings.Contains(stderr, "the import stopped at line 6") || !strings.Contains(stderr, "2 records are stored; run the same command again and it goes on at line 6") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	if _, err := os.Stat(bulk.CheckpointPath(file)); err != nil {
		t.Error(err)
	}

	refuse = ""
	stdout, stderr, code := n.run(append(args, "--resume")...)
	if code != 0 || !strings.Contains(stderr, "Going on at line 6") || !strings.Contains(stderr, "line 7, column plan") ||
		!strings.HasPrefix(stdout, "6 records read: 4 accepted, 2 rejected") {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	if diff := cmp.Diff(*stored, []string{"1", "3", "4", "6"}); diff != "" {
		t.Errorf("stored (-got +want):\n%s", diff)
	}
	got, err := os.ReadFile(rejected)
	if err != nil || string(got) != "line,column,code,reason\n3,plan,INVALID,not a plan\n7,plan,INVALID,not a plan\n" {
		t.Errorf("the file of rejected lines holds %q, %v", got, err)
	}
	if _, err := os.Stat(bulk.CheckpointPath(file)); !os.IsNotExist(err) {
		t.Errorf("the checkpoint is still there: %v", err)
	}
	if n.requests[0] != `PUT /v1/attributes  {"attributes":[{"name":"plan","type":"string"}]}` {
		t.Errorf("the first request is %s", n.requests[0])
	}
}

func TestImportBeginsAnewWhenTheFileChanged(t *testing.T) {
	dir := t.TempDir()
	file, mapping := filepath.Join(dir, "in.csv"), filepath.Join(dir, "m.yaml")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(file, "id,plan\n1,a\n2,b\n3,stop\n")
	write(mapping, testMapping)
	refuse := "stop"
	n, stored := importNode(t, &refuse)
	args := []string{"subject", "import", file, "--mapping", mapping, "--chunk-lines", "1", "--retry-for", "0s"}
	if _, stderr, code := n.run(args...); code != exitUnavailable {
		t.Fatalf("exit %d: %s", code, stderr)
	}
	write(file, "id,plan\n7,a\n8,b\n")
	if _, stderr, code := n.run(append(args, "--resume")...); code != exitError || !strings.Contains(stderr, "belongs to another import") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	*stored = nil
	_, stderr, code := n.run(args...)
	if code != 0 || !strings.Contains(stderr, "beginning at line 1") || len(*stored) != 2 {
		t.Errorf("exit %d, stored %v: %s", code, *stored, stderr)
	}
}

func TestImportOfTheStandardInput(t *testing.T) {
	mapping := filepath.Join(t.TempDir(), "m.yaml")
	if err := os.WriteFile(mapping, []byte(testMapping), 0o600); err != nil {
		t.Fatal(err)
	}
	refuse := ""
	n, stored := importNode(t, &refuse)
	var input strings.Builder
	input.WriteString("id,plan\n")
	for i := range 30 {
		fmt.Fprintf(&input, "%d,bad\n", i)
	}
	args := []string{"subject", "import", "-", "--format", "csv", "--mapping", mapping, "--addr", n.server.URL}
	stdout, stderr, code := runWith(t, input.String()+"x,a\n", append(args, "-o", "json")...)
	var result importResult
	if err := json.Unmarshal([]byte(stdout), &result); err != nil || code != 0 || result.Read != 31 || result.Accepted != 1 || result.Rejected != 30 {
		t.Errorf("exit %d, %v: %s", code, err, stdout)
	}
	if strings.Count(stderr, "not a plan") != shownRejected || !strings.Contains(stderr, "… and 10 more; --errors FILE keeps them all") || len(*stored) != 1 {
		t.Errorf("stderr: %s", stderr)
	}
	if _, stderr, code = runWith(t, input.String(), args...); code != exitError || !strings.Contains(stderr, "no line was accepted") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestRespondToken(t *testing.T) {
	n := newFakeNode(t)
	n.answer("POST /v1/responses", 200, `[{"decisionId":"D","action":"a","outcome":"Clicked","duplicate":true}]`)
	stdout, stderr, code := n.run("respond", "--token", "T", "--outcome", "clicked", "--time", "2026-11-22T10:00:00Z")
	if code != 0 || stdout != "Clicked of a in decision D was recorded before\n" {
		t.Errorf("exit %d: %s%s", code, stdout, stderr)
	}
	if want := `POST /v1/responses  [{"responseToken":"T","outcome":"Clicked","outcomeTime":"2026-11-22T10:00:00Z"}]`; n.requests[0] != want {
		t.Errorf("got %s, want %s", n.requests[0], want)
	}
}
