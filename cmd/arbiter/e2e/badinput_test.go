package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestBadInputChangesNothing sends every kind of bad input, looks at the problem it gets, and
// compares the state before and after.
func TestBadInputChangesNothing(t *testing.T) {
	t.Parallel()
	s := start(t, "dev", "--no-demo", "--subscribers", "50")
	state := func() string {
		var b bytes.Buffer
		for _, path := range []string{"/v1/catalog", "/v1/catalog/versions", "/v1/plugins", "/v1/attributes", "/v1/subjects/S-000001", "/v1/subjects/S-000001/history"} {
			b.Write(s.call("GET", path, nil).body)
		}
		return b.String()
	}
	before := state()
	catalog := string(s.call("GET", "/v1/catalog", nil).body)
	etag := s.call("GET", "/v1/catalog", nil).header.Get("ETag")
	yaml := []string{"Content-Type", "application/yaml", "If-Match", etag}

	for _, c := range []struct {
		name, method, path string
		body               any
		headers            []string
		status             int
		code, mentions     string
	}{
		{name: "malformed JSON", method: "POST", path: "/v1/decisions", body: `{"subject":`, status: 400, code: "MALFORMED"},
		{name: "unknown field", method: "POST", path: "/v1/decisions", body: `{"subject":{"id":"S-000001"},"chanel":"web"}`, status: 422, mentions: "chanel"},
		{name: "unknown channel", method: "POST", path: "/v1/decisions", body: `{"subject":{"id":"S-000001"},"channel":"fax"}`, status: 422, mentions: "channel"},
		{name: "missing subject", method: "POST", path: "/v1/decisions", body: `{"channel":"web"}`, status: 422, mentions: "subject"},
		{name: "unknown subject", method: "POST", path: "/v1/decisions", body: `{"subject":{"id":"NOBODY-77"},"channel":"web"}`, status: 404, code: "SUBJECT_UNKNOWN"},
		{name: "unknown subject read", method: "GET", path: "/v1/subjects/NOBODY-77", status: 404, code: "SUBJECT_UNKNOWN"},
		{name: "unknown attribute", method: "PATCH", path: "/v1/subjects/S-000001", body: `{"attributes":{"tenur":5}}`, status: 422, code: "ATTRIBUTE_UNKNOWN", mentions: "tenure"},
		{name: "wrong attribute type", method: "PATCH", path: "/v1/subjects/S-000001", body: `{"attributes":{"tenure":"long"}}`, status: 422, mentions: "tenure"},
		{name: "unknown decision", method: "POST", path: "/v1/responses", body: `{"decisionId":"01ARZ3NDEKTSV4RRFFQ69G5FAV","action":"x","outcome":"Clicked"}`, status: 404, code: "DECISION_UNKNOWN"},
		{name: "unknown outcome", method: "POST", path: "/v1/responses", body: `{"decisionId":"01ARZ3NDEKTSV4RRFFQ69G5FAV","action":"x","outcome":"Loved"}`, status: 422, mentions: "outcome"},
		{name: "stale catalog", method: "PUT", path: "/v1/catalog", body: catalog, headers: []string{"Content-Type", "application/yaml", "If-Match", `"v1"`}, status: 412},
		{name: "catalog without If-Match", method: "PUT", path: "/v1/catalog", body: catalog, headers: []string{"Content-Type", "application/yaml"}, status: 428},
		{name: "catalog with an unknown key", method: "PUT", path: "/v1/catalog", body: catalog + "\nlevres: 3\n", headers: yaml, status: 422, code: "CATALOG_INVALID", mentions: "levres"},
		{name: "catalog that is not YAML", method: "PUT", path: "/v1/catalog", body: "a: [", headers: yaml, status: 422, code: "CATALOG_INVALID"},
		{name: "unknown catalog version", method: "POST", path: "/v1/catalog/versions/999999/activate", status: 404, code: "CATALOG_UNKNOWN"},
		{name: "garbage plugin", method: "POST", path: "/v1/plugins?activate=true", body: []byte("this is not wasm"), status: 422, code: "PLUGIN_REFUSED"},
		{name: "empty plugin", method: "POST", path: "/v1/plugins", body: []byte("\x00asm\x01\x00\x00\x00"), status: 422, code: "PLUGIN_REFUSED"},
		{name: "unknown plugin", method: "POST", path: "/v1/plugins/nothing/versions/1.0.0/activate", status: 404, code: "PLUGIN_UNKNOWN"},
		{name: "no such route", method: "GET", path: "/v1/nothing", status: 404, code: "NOT_FOUND"},
		{name: "wrong method", method: "DELETE", path: "/v1/decisions", status: 405},
	} {
		r := s.call(c.method, c.path, c.body, c.headers...)
		if r.status != c.status {
			t.Errorf("%s: status %d, want %d: %s", c.name, r.status, c.status, r.body)
			continue
		}
		p := r.problem(t)
		if p.Title == "" || p.Detail == "" || p.Status != c.status || c.code != "" && p.Code != c.code || !strings.Contains(string(r.body), c.mentions) {
			t.Errorf("%s: problem %s", c.name, r.body)
		}
		if strings.Contains(string(r.body), "NOBODY-77") {
			t.Errorf("%s: the problem repeats the subject id: %s", c.name, r.body)
		}
	}
	if after := state(); after != before {
		t.Errorf("bad input changed the state:\nbefore %s\nafter  %s", before, after)
	}
}

// TestTruncatedModelFile: a model file cut anywhere is refused with the reason, and nothing is
// written.
func TestTruncatedModelFile(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(modelFolder, "churn.xgb.json"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, n := range []int{0, 1, 100, len(raw) / 2, len(raw) - 1} {
		in, out := filepath.Join(dir, "cut.json"), filepath.Join(dir, "cut.wasm")
		if err := os.WriteFile(in, raw[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		_, stderr, code := runCLI(t, "model", "compile", in, "-o", out)
		if code != 1 || stderr == "" {
			t.Errorf("%d bytes: exit %d: %s", n, code, stderr)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%d bytes: a module was written", n)
		}
	}
}

// TestCatalogActivation: a stored catalog takes effect only when it is activated, and every decision
// names the version it was made with.
func TestCatalogActivation(t *testing.T) {
	t.Parallel()
	s := start(t, "dev", "--no-demo", "--subscribers", "20")
	decide := func() nba.Decision {
		return decode[nba.Decision](t, s.call("POST", "/v1/decisions", `{"subject":{"id":"S-000007"},"channel":"callcentre"}`), 200)
	}
	first := decide()
	got := s.call("GET", "/v1/catalog", nil)
	changed := strings.Replace(string(got.body), "name: demo", "name: changed-demo", 1)
	if changed == string(got.body) {
		t.Fatalf("the demo catalog is not named demo…: %.200s", got.body)
	}
	put := s.call("PUT", "/v1/catalog", changed, "Content-Type", "application/yaml", "If-Match", got.header.Get("ETag"))
	stored := decode[nba.CatalogVersion](t, put, put.status)
	if put.status/100 != 2 || stored.State != nba.StateStaged || stored.Version == 0 {
		t.Fatalf("put: %d %s", put.status, put.body)
	}
	if d := decide(); d.CatalogVersion != first.CatalogVersion {
		t.Errorf("a stored catalog took effect before its activation")
	}
	active := decode[nba.CatalogVersion](t, s.call("POST", "/v1/catalog/versions/"+strconv.FormatUint(stored.Version, 10)+"/activate", nil), 200)
	if d := decide(); d.CatalogVersion != active.CatalogVersion || active.CatalogVersion <= first.CatalogVersion {
		t.Errorf("after activation %d decisions name %d", active.CatalogVersion, d.CatalogVersion)
	}
	if s.call("PUT", "/v1/catalog", changed, "Content-Type", "application/yaml", "If-Match", got.header.Get("ETag")).status != 412 {
		t.Error("the old ETag was accepted again")
	}
}
