package e2e

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestIdempotencyKeysSurviveKills repeats requests whose answer was lost to SIGKILL, as a caller would: with
// the same key. Each takes effect once, and a repetition gets the same bytes.
func TestIdempotencyKeysSurviveKills(t *testing.T) {
	t.Parallel()
	s := start(t, "dev", "--no-demo", "--subscribers", "50", "--data", filepath.Join(t.TempDir(), "data"))
	type request struct {
		subject, key string
		answer       []byte
	}
	var requests []*request
	for i := range 200 {
		requests = append(requests, &request{subject: subscriberID(1 + i%50), key: fmt.Sprint("page-view-", i)})
	}
	send := func(r *request) (reply, error) {
		return s.tryCall("POST", "/v1/decisions", nba.DecisionRequest{Subject: nba.SubjectRef{ID: r.subject}, Channel: "web"}, "Idempotency-Key", r.key)
	}
	for round := range 3 {
		var workers sync.WaitGroup
		for w := range 8 {
			workers.Go(func() {
				for i := w; i < len(requests); i += 8 {
					r := requests[i]
					got, err := send(r)
					if err != nil || got.status != 200 {
						continue
					}
					if r.answer == nil {
						r.answer = got.body
					} else if !bytes.Equal(got.body, r.answer) || got.header.Get("Idempotency-Replayed") != "true" {
						t.Errorf("round %d: %s was answered %s, before %s", round, r.key, got.body, r.answer)
					}
				}
			})
		}
		time.Sleep(time.Duration(15+10*round) * time.Millisecond)
		s.kill9()
		workers.Wait()
		s.restart()
	}
	recorded := map[string]map[string]bool{}
	for _, r := range requests {
		got, err := send(r)
		if err != nil || got.status != 200 || r.answer != nil && !bytes.Equal(got.body, r.answer) {
			t.Fatalf("%s was answered %d %s, before %s, %v", r.key, got.status, got.body, r.answer, err)
		}
		id := decode[nba.Decision](t, got, 200).DecisionID
		stored := s.call("GET", "/v1/decisions/"+id, nil)
		if !bytes.HasPrefix(stored.body, got.body[:len(got.body)-1]) {
			t.Fatalf("by id it is %s, answered as %s", stored.body, got.body)
		}
		if recorded[r.subject] == nil {
			recorded[r.subject] = map[string]bool{}
		}
		recorded[r.subject][id] = true
	}
	checkDecisionCommands(t, s)
	for subject, ids := range recorded {
		for _, item := range wholeHistory(t, s, subject) {
			if !ids[item.DecisionID] {
				t.Errorf("subject %s has a decision that no key answers: an interrupted request took effect twice", subject)
			}
		}
	}
}

// checkDecisionCommands goes the same way through the command line. It decides for a subject of its own.
func checkDecisionCommands(t *testing.T, s *server) {
	t.Helper()
	s.mustCLI("subject", "put", "cli-1", "--set", "tenure=3", "--grant", "marketing")
	first := s.mustCLI("decide", "cli-1", "--channel", "web", "--idempotency-key", "once", "-o", "json")
	if again := s.mustCLI("decide", "cli-1", "--channel", "web", "--idempotency-key", "once", "-o", "json"); again != first {
		t.Errorf("the same key gives %s, before %s", again, first)
	}
	if shown := s.mustCLI("decide", "cli-1", "--channel", "web", "--idempotency-key", "once"); !strings.Contains(shown, "earlier request") {
		t.Errorf("a repetition is shown as %s", shown)
	}
	var d nba.Decision
	if err := unmarshal([]byte(first), &d); err != nil {
		t.Fatal(err)
	}
	action := d.Propositions[0].Items[0].Action
	s.mustCLI("respond", d.DecisionID, "--action", action, "--outcome", "Rejected", "--behaviour", "too-dear")
	for _, want := range []string{d.DecisionID, action, "Rejected", "too-dear"} {
		if shown := s.mustCLI("decision", "show", d.DecisionID); !strings.Contains(shown, want) {
			t.Errorf("decision show does not tell %s: %s", want, shown)
		}
	}
	if shown := s.mustCLI("retention", "--max-age-days", "90", "-o", "json"); !strings.Contains(shown, `"maxAgeDays": 90`) || !strings.Contains(shown, `"maxPerSubject": 1000`) {
		t.Errorf("the retention is %s", shown)
	}
	if _, stderr, code := s.cli("retention", "--idempotency-hours", "0"); code != 2 || !strings.Contains(stderr, "idempotencyHours") {
		t.Errorf("a retention out of bounds: exit %d, %s", code, stderr)
	}
}
