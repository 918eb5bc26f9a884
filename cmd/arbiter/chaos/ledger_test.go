package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// ledgerCatalog proposes without a model: what is tested here is what happens to decisions after they
// were made.
const ledgerCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: chaos
channels: [{name: web, direction: inbound, placements: [hero]}]
issues: [{name: Grow, groups: [{name: Plans}]}]
actions:
  - name: family-plan
    label: Family plan
    issue: Grow
    group: Plans
    purpose: service
    value: 120
    propensity: {starting: 0.05}
    treatments: [{name: family-web, channel: web, placements: [hero]}]
`

// declare prepares the dictionary and the catalog on one node and waits until every node has them.
func declare(t *testing.T, c *cluster) {
	t.Helper()
	declareCatalog(t, c, []any{map[string]any{"name": "value", "type": "int"}}, ledgerCatalog)
}

// declareCatalog is declare with other attributes and another catalog.
func declareCatalog(t *testing.T, c *cluster, attributes []any, catalog string) {
	t.Helper()
	n := c.nodes[0]
	steps := []func() answer{
		func() answer {
			return n.do(http.MethodPut, "/v1/attributes", map[string]any{"attributes": attributes})
		},
		func() answer { return n.do(http.MethodPut, "/v1/catalog", catalog) },
	}
	var stored answer
	for i, step := range steps {
		if stored = persist(step); stored.fate != applied {
			t.Fatalf("step %d of the preparation: status %d %v %s", i+1, stored.status, stored.err, stored.body)
		}
	}
	var version struct {
		Version uint64 `json:"version"`
	}
	if err := json.Unmarshal(stored.body, &version); err != nil {
		t.Fatal(err)
	}
	if a := persist(func() answer {
		return n.do(http.MethodPost, fmt.Sprintf("/v1/catalog/versions/%d/activate", version.Version), nil)
	}); a.fate != applied {
		t.Fatalf("activating the catalog: status %d %v %s", a.status, a.err, a.body)
	}
	for _, other := range c.nodes {
		if a := persist(func() answer { return decide(other, "ledger-0", "") }); a.fate != applied && a.status != http.StatusNotFound {
			t.Fatalf("%s does not decide with the catalog: status %d %v %s", other.id, a.status, a.err, a.body)
		}
	}
}

// persist tries again while the cluster is not ready for a step.
func persist(step func() answer) (a answer) {
	for range 40 {
		a = step()
		if a.status/100 == 2 || a.status/100 == 4 && !strings.Contains(string(a.body), "CATALOG_UNKNOWN") {
			return a
		}
		time.Sleep(250 * time.Millisecond)
	}
	return a
}

func acceptedAll(body []byte, lines int) bool {
	return strings.Contains(string(body), fmt.Sprintf(`"accepted":%d,`, lines))
}

// ledger decides and reports outcomes for a few subjects, and looks for all of it in their histories.
type ledger struct {
	seed     uint64
	clients  int
	subjects int
	gap      time.Duration
	total    atomic.Int64

	mu        sync.Mutex
	decisions map[string][]string // acknowledged, by subject
	responses map[string][]string // decision ids whose outcome was acknowledged
}

func newLedger(seed uint64) *ledger {
	return &ledger{seed: seed, clients: 4, subjects: 60, gap: 4 * time.Millisecond,
		decisions: map[string][]string{}, responses: map[string][]string{}}
}

func (w *ledger) progress() int64 { return w.total.Load() }

func decide(n *node, subject, idempotencyKey string) answer {
	var headers []string
	if idempotencyKey != "" {
		headers = []string{"Idempotency-Key", idempotencyKey}
	}
	return n.do(http.MethodPost, "/v1/decisions", map[string]any{"subject": map[string]any{"id": subject}, "channel": "web"}, headers...)
}

func (w *ledger) subject(i int) string { return fmt.Sprintf("ledger-%d", i) }

func (w *ledger) run(ctx context.Context, c *cluster) {
	for i := range w.subjects {
		for ctx.Err() == nil && c.nodes[i%len(c.nodes)].put(w.subject(i), 1, nil).fate != applied {
			pause(ctx, 50*time.Millisecond)
		}
	}
	var clients sync.WaitGroup
	for client := range w.clients {
		clients.Go(func() {
			random := chance(w.seed, 300+client)
			for ctx.Err() == nil {
				at := func() *node { return c.nodes[random.IntN(len(c.nodes))] }
				w.once(at, w.subject(random.IntN(w.subjects)))
				pause(ctx, w.gap)
			}
		})
	}
	clients.Wait()
}

// once decides on one node and reports the outcome on another.
func (w *ledger) once(at func() *node, subject string) {
	a := decide(at(), subject, "")
	var decision struct {
		DecisionID   string `json:"decisionId"`
		Propositions []struct {
			Items []struct {
				ResponseToken string `json:"responseToken"`
			} `json:"items"`
		} `json:"propositions"`
	}
	if a.fate != applied || json.Unmarshal(a.body, &decision) != nil || len(decision.Propositions) == 0 ||
		len(decision.Propositions[0].Items) == 0 {
		return
	}
	w.total.Add(1)
	w.note(w.decisions, subject, decision.DecisionID)
	response := map[string]any{"responseToken": decision.Propositions[0].Items[0].ResponseToken, "outcome": "Clicked"}
	for range 3 { // repeated until it is certain, which must not store it twice
		if a = at().do(http.MethodPost, "/v1/responses", response); a.fate == applied {
			w.note(w.responses, subject, decision.DecisionID)
			return
		}
	}
}

func (w *ledger) note(where map[string][]string, subject, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	where[subject] = append(where[subject], id)
}

func (w *ledger) check(t *testing.T, c *cluster) {
	t.Helper()
	missing, twice, decisions, responses := 0, 0, 0, 0
	for i := range w.subjects {
		subject := w.subject(i)
		for _, n := range c.nodes {
			stored, err := interactions(n, subject)
			if err != nil {
				t.Error(err)
				continue
			}
			for _, count := range stored {
				if count > 1 {
					twice++
				}
			}
			for _, id := range w.decisions[subject] {
				if stored[id] == 0 {
					missing++
				}
			}
			for _, id := range w.responses[subject] {
				if stored[id+" Clicked"] == 0 {
					missing++
				}
			}
		}
		decisions += len(w.decisions[subject])
		responses += len(w.responses[subject])
	}
	if missing > 0 || twice > 0 {
		t.Errorf("of %d acknowledged decisions and %d responses, seen on each of %d nodes, %d are missing and %d are stored twice",
			decisions, responses, len(c.nodes), missing, twice)
	}
	t.Logf("%d decisions, %d responses", decisions, responses)
}

// interactions counts what the history of a subject has: decisions by id, outcomes by id and outcome.
func interactions(n *node, subject string) (map[string]int, error) {
	stored := map[string]int{}
	for cursor := ""; ; {
		a := n.do(http.MethodGet, "/v1/subjects/"+subject+"/history?limit=500&cursor="+cursor, nil)
		if a.fate != applied {
			return nil, fmt.Errorf("the history of %s on %s: status %d %v %s", subject, n.id, a.status, a.err, a.body)
		}
		var page struct {
			Items []struct {
				DecisionID string `json:"decisionId"`
				Outcome    string `json:"outcome"`
			} `json:"items"`
			NextCursor string `json:"nextCursor"`
		}
		if err := json.Unmarshal(a.body, &page); err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			key := item.DecisionID
			if item.Outcome != "" {
				key += " " + item.Outcome
			}
			stored[key]++
		}
		if page.NextCursor == "" {
			return stored, nil
		}
		cursor = page.NextCursor
	}
}
