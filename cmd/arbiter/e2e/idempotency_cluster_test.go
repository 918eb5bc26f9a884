package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestIdempotencyKeysInACluster sends the same keyed requests to every node, also after one was killed: all
// answer the same bytes, and each change is made once.
func TestIdempotencyKeysInACluster(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3)
	loadDemo(t, nodes[0], 60)
	answers := map[string][]byte{}
	check := func(s *server, round int) {
		t.Helper()
		for i := range 30 {
			id := subscriberID(1 + i)
			got := s.repeat("POST", "/v1/decisions", nba.DecisionRequest{Subject: nba.SubjectRef{ID: id}, Channel: "web",
				Options: nba.DecisionOptions{Explain: nba.ExplainReasons}}, "Idempotency-Key", "k-"+id)
			if got.status != 200 || round > 0 && got.header.Get("Idempotency-Replayed") != "true" {
				t.Fatalf("round %d: %d %s %v", round, got.status, got.body, got.header)
			}
			if round == 0 {
				answers[id] = got.body
			}
			if !bytes.Equal(got.body, answers[id]) {
				t.Errorf("round %d: %s is answered %s, before %s", round, id, got.body, answers[id])
			}
			d := decode[nba.Decision](t, got, 200)
			for _, query := range []string{"", "?consistency=linearizable"} {
				if stored := s.repeat("GET", "/v1/decisions/"+d.DecisionID+query, nil); !bytes.HasPrefix(stored.body, got.body[:len(got.body)-1]) {
					t.Errorf("by id%s: %s, want %s", query, stored.body, got.body)
				}
			}
			put := s.repeat("PUT", "/v1/subjects/K-"+id, map[string]any{"attributes": map[string]any{"tenure": i}}, "Idempotency-Key", "p-"+id)
			if put.status != 201 || put.header.Get("ETag") != `"v1"` {
				t.Errorf("round %d: PUT: %d %s %v", round, put.status, put.body, put.header)
			}
		}
	}
	for round, s := range nodes {
		check(s, round)
	}
	if r := nodes[2].call("PUT", "/v1/subjects/K-"+subscriberID(1), map[string]any{"attributes": map[string]any{"tenure": 99}}, "Idempotency-Key", "p-"+subscriberID(1)); r.status != 422 {
		t.Errorf("the key with another request: %d %s", r.status, r.body)
	}
	nodes[1].kill9()
	check(nodes[0], 3)
	nodes[1].restart()
	check(nodes[1], 4)
}

// TestReplicasAgree: after a run, the replicas of each group hold the same state.
func TestReplicasAgree(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3)
	loadDemo(t, nodes[0], 100)
	if r := nodes[1].call("PUT", "/v1/retention", map[string]int{"maxPerSubject": 3}); r.status != 200 {
		t.Fatalf("retention: %d %s", r.status, r.body)
	}
	for i := range 300 {
		d := decode[nba.Decision](t, nodes[i%3].call("POST", "/v1/decisions", nba.DecisionRequest{Subject: nba.SubjectRef{ID: subscriberID(1 + i%40)}, Channel: "web"}), 200)
		if len(d.Propositions) > 0 && len(d.Propositions[0].Items) > 0 {
			nodes[(i+1)%3].call("POST", "/v1/responses", nba.Response{ResponseToken: d.Propositions[0].Items[0].ResponseToken, Outcome: nba.Clicked})
		}
	}
	awaitAgreement(t, nodes)
	// A replica whose folder was moved away, as one is told to that differs, copies the state of the others.
	nodes[1].kill9()
	folder := filepath.Join(nodes[1].args[slices.Index(nodes[1].args, "--data")+1], "data-00")
	if err := os.Rename(folder, folder+"-aside"); err != nil {
		t.Fatal(err)
	}
	nodes[1].restart()
	for i := range 100 {
		nodes[i%3].call("POST", "/v1/decisions", nba.DecisionRequest{Subject: nba.SubjectRef{ID: subscriberID(1 + i%40)}, Channel: "web"})
	}
	awaitAgreement(t, nodes)
}

func awaitAgreement(t *testing.T, nodes []*server) {
	t.Helper()
	var differ string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if differ = differences(t, nodes); differ == "" {
			return
		}
	}
	t.Errorf("the replicas differ: %s", differ)
}

// digests reads from a node's metrics, for each group, where its replica stands and what its state is.
func digests(t *testing.T, s *server) map[string]string {
	t.Helper()
	resp, err := http.Get(s.admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	figures := map[string]string{}
	for line := range strings.Lines(string(text)) {
		for _, name := range []string{"arbiter_group_applied_index", "arbiter_group_state_digest"} {
			if rest, ok := strings.CutPrefix(line, name+`{group="`); ok {
				group, value, _ := strings.Cut(strings.TrimSpace(rest), `"} `)
				figures[group] += " " + value
			}
		}
	}
	return figures
}

// differences compares the replicas; those at different indexes may still catch up.
func differences(t *testing.T, nodes []*server) string {
	t.Helper()
	first := digests(t, nodes[0])
	if len(first) < 3 {
		t.Fatalf("the metrics show the digests of %d groups", len(first))
	}
	var differ []string
	for i, s := range nodes[1:] {
		for group, got := range digests(t, s) {
			if got != first[group] {
				differ = append(differ, fmt.Sprintf("%s of n%d is at%s, of n1 at%s", group, i+2, got, first[group]))
			}
		}
	}
	return strings.Join(differ, ", ")
}
