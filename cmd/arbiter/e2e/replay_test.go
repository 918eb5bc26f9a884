package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestReplayAfterEverythingChanged: decisions come out of a process that was killed and started again as
// the same bytes, after their subjects, the model and the catalog changed.
func TestReplayAfterEverythingChanged(t *testing.T) {
	t.Parallel()
	s := start(t, "dev", "--no-demo", "--subscribers", "64", "--data", filepath.Join(t.TempDir(), "data"))
	answered := map[string][]byte{}
	explain := []nba.Explain{nba.ExplainNone, nba.ExplainReasons, nba.ExplainFull}
	for i := range 30 {
		req := nba.DecisionRequest{Subject: nba.SubjectRef{ID: subscriberID(1 + i)}, Channel: []string{"web", "callcentre", "app"}[i%3],
			Options: nba.DecisionOptions{Explain: explain[i/3%3]}}
		r := s.call("POST", "/v1/decisions", req)
		answered[decode[nba.Decision](t, r, 200).DecisionID] = r.body
	}
	for i := range 30 {
		attributes := map[string]any{"tenure": 1 + i, "contract": "Two year", "monthlyCharges": 20.5, "openTickets": 3}
		if r := s.call("PATCH", "/v1/subjects/"+subscriberID(1+i), map[string]any{"attributes": attributes}); r.status != 200 {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	pushed := decode[nba.PluginVersion](t, s.call("POST", "/v1/plugins?activate=true", compileShifted(t)), 201)
	catalog := filepath.Join(t.TempDir(), "catalog.yaml")
	changed := bytes.ReplaceAll(examples.Catalog(), []byte("lever: 10 "), []byte("lever: 90 "))
	if err := os.WriteFile(catalog, changed, 0o600); err != nil {
		t.Fatal(err)
	}
	s.mustCLI("catalog", "apply", catalog)
	s.kill9()
	s.restart()
	for id, want := range answered {
		r := s.call("POST", "/v1/decisions/"+id+"/replay", nil)
		if r.status != 200 || !bytes.Equal(r.body, want) || r.header.Get("Arbiter-Replay") != "identical" {
			t.Fatalf("status %d, %s\n got %s\nwant %s", r.status, r.header.Get("Arbiter-Replay"), r.body, want)
		}
	}
	var one string
	for one = range answered {
		break
	}
	if text := s.mustCLI("replay", one); !strings.Contains(text, "It is the same.") {
		t.Errorf("arbiter replay says %s", text)
	}
	now := decode[nba.Decision](t, s.call("POST", "/v1/decisions", nba.DecisionRequest{Subject: nba.SubjectRef{ID: subscriberID(40)}, Channel: "web"}), 200)
	other := s.call("POST", "/v1/decisions/"+one+"/replay?catalogVersion="+strconv.FormatUint(now.CatalogVersion, 10), nil)
	if again := decode[nba.Replay](t, other, 200); again.Decision.CatalogVersion != now.CatalogVersion {
		t.Errorf("with another catalog: %s", other.body)
	}
	if text := s.mustCLI("why-not", subscriberID(40), "family-plan", "--channel", "web"); !strings.Contains(text, "family-plan") {
		t.Errorf("arbiter why-not says %s", text)
	}
	page := s.mustCLI("simulate", "--plugin", pushed.Name+"="+pushed.Version, "--sample", "50", "--channel", "web", "-o", "html")
	if !strings.Contains(page, "<svg") || !strings.Contains(page, "50 subjects") {
		t.Errorf("arbiter simulate writes %s", page)
	}
	subject := decode[nba.DecisionRecord](t, s.call("GET", "/v1/decisions/"+one, nil), 200).Subject
	if r := s.call("DELETE", "/v1/subjects/"+subject.ID, nil); r.status != 204 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := s.call("POST", "/v1/decisions/"+one+"/replay", nil); r.status != 410 || !strings.Contains(string(r.body), "SUBJECT_ERASED") || strings.Contains(string(r.body), subject.ID) {
		t.Errorf("of an erased subject: %d %s", r.status, r.body)
	}
}
