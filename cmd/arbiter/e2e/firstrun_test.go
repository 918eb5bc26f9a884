package e2e

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestFirstRun is what a newcomer does: start the demo operator, then type the command it prints.
func TestFirstRun(t *testing.T) {
	t.Parallel()
	s := start(t, "dev", "--no-demo")
	for _, want := range []string{s.url, s.admin + "/metrics", "decide S-000123 --channel web --explain"} {
		if !strings.Contains(s.output.String(), want) {
			t.Errorf("the banner does not show %q:\n%s", want, s.output)
		}
	}

	table := s.mustCLI("decide", "S-000123", "--channel", "web", "--explain")
	for _, want := range []string{"eligibility", "applicability", "suitability", "arbitration", "sha256:"} {
		if !strings.Contains(strings.ToLower(table), want) {
			t.Errorf("the decision table does not show %q:\n%s", want, table)
		}
	}

	var d nba.Decision
	if err := json.Unmarshal([]byte(s.mustCLI("decide", "S-000123", "--channel", "web", "--explain", "-o", "json")), &d); err != nil {
		t.Fatal(err)
	}
	checkDecision(t, d)
	if d.Explanation == nil || len(d.Explanation.Stages) < 5 {
		t.Fatalf("explanation: %+v", d.Explanation)
	}
	if len(catalogActions(t, s)) < 12 {
		t.Errorf("the demo catalog has %d actions, want at least 12", len(catalogActions(t, s)))
	}
	if got := d.Explanation.Stages[0].In; got < 12 {
		t.Errorf("the funnel begins with %d actions, want at least 12", got)
	}

	// The same memory: a response is in the history at once.
	item := d.Propositions[0].Items[0]
	s.mustCLI("respond", d.DecisionID, "--action", item.Action, "--outcome", "Rejected")
	history := decode[struct{ Items []nba.Interaction }](t, s.call("GET", "/v1/subjects/S-000123/history", nil), 200).Items
	if len(history) < 3 {
		t.Fatalf("history has %d lines, want two decisions and a response", len(history))
	}
	if !slices.ContainsFunc(history, func(i nba.Interaction) bool {
		return i.DecisionID == d.DecisionID && i.Action == item.Action && i.Outcome == nba.Rejected
	}) {
		t.Errorf("the response is not in the history: %+v", history)
	}

	metrics, err := http.Get(s.admin + "/metrics")
	if err != nil || metrics.StatusCode != http.StatusOK {
		t.Fatalf("metrics: %v", err)
	}
	metrics.Body.Close()
}

func catalogActions(t *testing.T, s *server) []string {
	t.Helper()
	var names []string
	inActions := false
	for line := range strings.Lines(string(s.call("GET", "/v1/catalog", nil).body)) {
		if !strings.HasPrefix(line, " ") && strings.HasSuffix(strings.TrimSpace(line), ":") {
			inActions = strings.HasPrefix(line, "actions:")
		}
		if name, ok := strings.CutPrefix(line, "  - name: "); ok && inActions {
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}

// checkDecision checks what must hold of every decision.
func checkDecision(t *testing.T, d nba.Decision) {
	t.Helper()
	if d.DecisionID == "" || d.CatalogVersion == 0 || d.Degraded || len(d.Propositions) == 0 {
		t.Fatalf("decision: %+v", d)
	}
	seen := map[string]bool{}
	scored := 0
	for _, p := range d.Propositions {
		for i, item := range p.Items {
			if item.Rank != i+1 || seen[item.Action] || item.ResponseToken == "" || item.SelectionProbability <= 0 {
				t.Errorf("proposition %+v", item)
			}
			if i > 0 && item.Priority > p.Items[i-1].Priority {
				t.Errorf("placement %s is not ranked by priority", p.Placement)
			}
			product := item.Propensity * item.ContextWeight * item.Value * item.Lever
			if item.Reason.Code != "FALLBACK" && (product-item.Priority > 1e-9*product || item.Priority-product > 1e-9*product) {
				t.Errorf("%s: priority %v is not P×C×V×L = %v", item.Action, item.Priority, product)
			}
			if item.Model != nil {
				scored++
				if !strings.HasPrefix(item.Model.Digest, "sha256:") || item.Model.Version == "" {
					t.Errorf("%s: model %+v", item.Action, item.Model)
				}
			}
			seen[item.Action] = true
		}
	}
}

// TestDemoTraffic: without --no-demo, customers come by themselves and are seen in the metrics and
// in the histories.
func TestDemoTraffic(t *testing.T) {
	t.Parallel()
	s := start(t, "dev", "--subscribers", "500")
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		for i := 1; i <= 500; i += 7 {
			r := s.call("GET", "/v1/subjects/"+subscriberID(i)+"/history", nil)
			if history := decode[struct{ Items []nba.Interaction }](t, r, 200); len(history.Items) > 0 {
				return
			}
		}
	}
	t.Error("no simulated interaction after 30 s")
}
