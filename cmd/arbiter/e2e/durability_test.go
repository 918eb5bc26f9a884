package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func subscriberID(i int) string { return fmt.Sprintf("S-%06d", i) }

// acknowledged collects what the server answered with 2xx, by subject.
type acknowledged struct {
	mu        sync.Mutex
	decisions map[string][]string // subject -> decision ids
	responses map[string][]string // subject -> decision id + action
	versions  map[string]uint64   // subject -> last acknowledged version
}

// TestKillDuringDecisions ends the server with SIGKILL while decisions, responses and subject writes
// run, several times, and then looks for everything that was acknowledged.
func TestKillDuringDecisions(t *testing.T) {
	t.Parallel()
	s := start(t, "dev", "--no-demo", "--subscribers", "400", "--data", filepath.Join(t.TempDir(), "data"))
	acked := &acknowledged{decisions: map[string][]string{}, responses: map[string][]string{}, versions: map[string]uint64{}}
	for round := range 4 {
		var workers sync.WaitGroup
		stop := make(chan struct{})
		for w := range 8 {
			workers.Go(func() { decideUntilKilled(s, acked, stop, w) })
		}
		time.Sleep(time.Duration(400+250*round) * time.Millisecond)
		s.kill9()
		close(stop)
		workers.Wait()
		s.restart()
	}
	checkAcknowledged(t, s, acked)
}

func decideUntilKilled(s *server, acked *acknowledged, stop <-chan struct{}, worker int) {
	for i := worker; ; i += 8 {
		select {
		case <-stop:
			return
		default:
		}
		subject := subscriberID(1 + i%400)
		r, err := s.tryCall("POST", "/v1/decisions", nba.DecisionRequest{Subject: nba.SubjectRef{ID: subject}, Channel: "web"})
		if err != nil || r.status != 200 {
			continue
		}
		var d nba.Decision
		if unmarshal(r.body, &d) != nil {
			continue
		}
		acked.mu.Lock()
		acked.decisions[subject] = append(acked.decisions[subject], d.DecisionID)
		acked.mu.Unlock()
		item := d.Propositions[0].Items[0]
		r, err = s.tryCall("POST", "/v1/responses", nba.Response{ResponseToken: item.ResponseToken, Outcome: nba.Clicked})
		if err == nil && r.status/100 == 2 {
			acked.mu.Lock()
			acked.responses[subject] = append(acked.responses[subject], d.DecisionID+" "+item.Action)
			acked.mu.Unlock()
		}
		r, err = s.tryCall("PATCH", "/v1/subjects/"+subject, map[string]any{"attributes": map[string]any{"tenure": i % 70}})
		if err == nil && r.status == 200 {
			acked.mu.Lock()
			if v, _ := strconv.ParseUint(strings.Trim(r.header.Get("ETag"), `"v`), 10, 64); v > acked.versions[subject] {
				acked.versions[subject] = v
			}
			acked.mu.Unlock()
		}
	}
}

func checkAcknowledged(t *testing.T, s *server, acked *acknowledged) {
	t.Helper()
	decisions, responses, missing := 0, 0, 0
	for subject, ids := range acked.decisions {
		stored := map[string]bool{}
		for _, item := range wholeHistory(t, s, subject) {
			if item.Outcome == "" {
				stored[item.DecisionID] = true
			} else {
				stored[item.DecisionID+" "+item.Action] = true
			}
		}
		for _, id := range ids {
			decisions++
			if !stored[id] {
				missing++
			}
		}
		for _, id := range acked.responses[subject] {
			responses++
			if !stored[id] {
				missing++
			}
		}
		doc := decode[nba.SubjectDocument](t, s.call("GET", "/v1/subjects/"+subject, nil), 200)
		if doc.Version < acked.versions[subject] {
			missing++
		}
	}
	if missing > 0 || decisions < 50 || responses < 50 {
		t.Errorf("%d acknowledged decisions, %d responses, %d of all missing after kill -9", decisions, responses, missing)
	}
	t.Logf("%d acknowledged decisions and %d responses survived kill -9", decisions, responses)
}

func wholeHistory(t *testing.T, s *server, subject string) (all []nba.Interaction) {
	t.Helper()
	for cursor := ""; ; {
		page := decode[struct {
			Items      []nba.Interaction `json:"items"`
			NextCursor string            `json:"nextCursor"`
		}](t, s.call("GET", "/v1/subjects/"+subject+"/history?limit=100&cursor="+cursor, nil), 200)
		all = append(all, page.Items...)
		if page.NextCursor == "" {
			return all
		}
		cursor = page.NextCursor
	}
}

// TestKillDuringImport ends the server with SIGKILL while a file is imported. The command waits for
// the server to come back, goes on where the last acknowledgement was, and at its end every line of
// the file is there.
func TestKillDuringImport(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := start(t, "dev", "--no-demo", "--subscribers", "10", "--data", filepath.Join(dir, "data"))
	const subjects = 60000
	file := filepath.Join(dir, "subjects.csv")
	var b strings.Builder
	b.WriteString("id,tenure,monthlyCharges\n")
	for i := range subjects {
		fmt.Fprintf(&b, "K-%06d,%d,%d.5\n", i, i%70, 20+i%80)
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	type result struct {
		out, errOut string
		code        int
	}
	done := make(chan result, 1)
	go func() {
		out, errOut, code := s.cli("subject", "import", file, "--chunk-lines", "500", "--retry-for", "60s")
		done <- result{out, errOut, code}
	}()
	for range 2 {
		time.Sleep(300 * time.Millisecond)
		select {
		case r := <-done: // finished before we could kill: still checked below
			done <- r
		default:
			s.kill9()
			s.restart()
		}
	}
	r := <-done
	if r.code != 0 {
		t.Fatalf("import: exit %d\n%s%s", r.code, r.out, r.errOut)
	}
	missing := 0
	for i := 0; i < subjects; i += 13 {
		if s.call("GET", fmt.Sprintf("/v1/subjects/K-%06d", i), nil).status != 200 {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%d of the sampled subjects are missing after the import", missing)
	}
}
