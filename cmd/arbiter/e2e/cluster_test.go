package e2e

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/demo"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/porttest"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// startCluster starts real processes that form a cluster, and waits until all are ready.
func startCluster(t *testing.T, nodes int, args ...string) []*server {
	t.Helper()
	return startClusterOf(t, "", nodes, args...)
}

// startClusterOf is startCluster with another program than the one under test.
func startClusterOf(t *testing.T, program string, nodes int, args ...string) []*server {
	t.Helper()
	var members []string
	for i := range nodes {
		members = append(members, fmt.Sprintf("n%d=%s", i+1, porttest.Free(t)))
	}
	dir := t.TempDir()
	var cluster []*server
	for i := range nodes {
		api, admin := porttest.Free(t), porttest.Free(t)
		id := "n" + strconv.Itoa(i+1)
		s := &server{t: t, program: program, url: "http://" + api, admin: "http://" + admin, stopDeadline: 30 * time.Second,
			args: append([]string{"server", "--data", filepath.Join(dir, id), "--node-id", id, "--nodes", strings.Join(members, ","),
				"--addr", api, "--admin-addr", admin}, args...)}
		if !slices.Contains(args, "--log-level") {
			s.args = append(s.args, "--log-level", "warn")
		}
		s.spawn()
		t.Cleanup(s.stop)
		cluster = append(cluster, s)
	}
	for _, s := range cluster {
		s.awaitReady()
	}
	return cluster
}

// loadDemo brings the demo operator in through one node.
func loadDemo(t *testing.T, s *server, subscribers int) {
	t.Helper()
	c, err := client.New(s.url, "arbiter-e2e")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := demo.Load(t.Context(), c, demo.Options{Subscribers: subscribers, Seed: 42}); err != nil {
		t.Fatalf("loading the demo: %v\n%s", err, s.output)
	}
}

// TestClusterTakesEveryCallOnEveryNode writes through one node and reads through the others.
func TestClusterTakesEveryCallOnEveryNode(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3)
	loadDemo(t, nodes[0], 200)
	for i := range 60 {
		writer, reader := nodes[i%3], nodes[(i+1)%3]
		id := fmt.Sprintf("C-%03d", i)
		put := writer.call("PUT", "/v1/subjects/"+id, map[string]any{"attributes": map[string]any{"tenure": i}, "consents": map[string]bool{"marketing": true, "profiling": true}})
		if put.status != 201 {
			t.Fatalf("PUT: %d %s", put.status, put.body)
		}
		for _, query := range []string{"", "?consistency=leader", "?consistency=linearizable"} {
			doc := decode[nba.SubjectDocument](t, reader.call("GET", "/v1/subjects/"+id+query, nil), 200)
			if doc.Attributes["tenure"] != float64(i) {
				t.Errorf("%s%s through another node: %+v", id, query, doc)
			}
		}
		if r := reader.call("PUT", "/v1/subjects/"+id, map[string]any{"attributes": map[string]any{"tenure": 1}}, "If-Match", `"v9"`); r.status != 412 {
			t.Errorf("If-Match with another version through another node: %d %s", r.status, r.body)
		}
		d := decode[nba.Decision](t, reader.call("POST", "/v1/decisions", nba.DecisionRequest{Subject: nba.SubjectRef{ID: id}, Channel: "web",
			Options: nba.DecisionOptions{Explain: nba.ExplainReasons, Consistency: []string{"", "leader", "linearizable"}[i/3%3]}}), 200)
		if d.Degraded || d.Explanation == nil || len(d.Propositions) == 0 {
			t.Fatalf("a decision through another node: %+v", d)
		}
		if len(d.Propositions[0].Items) == 0 {
			continue
		}
		response := writer.call("POST", "/v1/responses", nba.Response{ResponseToken: d.Propositions[0].Items[0].ResponseToken, Outcome: nba.Clicked})
		if response.status != 200 {
			t.Errorf("a response through a third node: %d %s", response.status, response.body)
		}
		if history := wholeHistory(t, nodes[(i+2)%3], id); len(history) < 2 {
			t.Errorf("%d interactions through a third node", len(history))
		}
		stale := decode[nba.Decision](t, reader.call("POST", "/v1/decisions", nba.DecisionRequest{Subject: nba.SubjectRef{ID: subscriberID(1 + i)}, Channel: "web",
			Options: nba.DecisionOptions{Consistency: nba.ConsistencyStale}}), 200)
		if r := writer.call("GET", "/v1/decisions/"+stale.DecisionID, nil); r.status != 200 {
			t.Errorf("a stale decision through another node: %d %s", r.status, r.body)
		}
	}
	if out := nodes[2].mustCLI("cluster"); !strings.Contains(out, "seen by n3") || !strings.Contains(out, "data-15") || strings.Contains(out, "none") {
		t.Errorf("arbiter cluster:\n%s", out)
	}
	for _, s := range nodes {
		if p := s.call("GET", "/v1/subjects/C-unknown", nil); p.status != 404 || p.problem(t).Code != "SUBJECT_UNKNOWN" {
			t.Errorf("an unknown subject: %d %s", p.status, p.body)
		}
		if p := s.call("PUT", "/v1/subjects/C-001", map[string]any{"attributes": map[string]any{"tenur": 1}}); p.status != 422 {
			t.Errorf("an unknown attribute: %d %s", p.status, p.body)
		}
	}
}

// TestClusterReadsTellTheirAge: a stale read says how old it may be and refuses to be older than asked.
func TestClusterReadsTellTheirAge(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3, "--data-groups", "4")
	if r := nodes[0].call("PUT", "/v1/subjects/A-1", map[string]any{"attributes": map[string]any{}}); r.status != 201 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	for _, s := range nodes {
		var seen reply
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if seen = s.call("GET", "/v1/subjects/A-1?consistency=stale&maxAge=2s", nil); seen.status == 200 {
				break
			}
		}
		age, err := time.ParseDuration(seen.header.Get("Arbiter-Age"))
		if seen.status != 200 || err != nil || age > 2*time.Second {
			t.Errorf("stale: %d, age %q: %s", seen.status, seen.header.Get("Arbiter-Age"), seen.body)
		}
		if r := s.call("GET", "/v1/subjects/A-1", nil); r.header.Get("Arbiter-Age") != "" {
			t.Error("a current answer has an age")
		}
		for _, query := range []string{"consistency=soon", "maxAge=1s", "consistency=stale&maxAge=soon", "consistency=stale&maxAge=-1s"} {
			if r := s.call("GET", "/v1/subjects/A-1?"+query, nil); r.status != 422 {
				t.Errorf("%s: %d %s", query, r.status, r.body)
			}
		}
	}
	// Without a majority nobody knows what is current, and what is there grows old.
	nodes[1].kill9()
	nodes[2].kill9()
	time.Sleep(3 * time.Second)
	if r := nodes[0].call("GET", "/v1/subjects/A-1?consistency=stale&maxAge=1m", nil); r.status != 200 {
		t.Errorf("stale without a majority: %d %s", r.status, r.body)
	}
	for _, query := range []string{"?consistency=stale&maxAge=100ms", "?consistency=linearizable", ""} {
		r, err := nodes[0].tryCall("GET", "/v1/subjects/A-1"+query, nil)
		if err != nil || r.status != 503 || r.header.Get("Retry-After") == "" {
			t.Errorf("%q without a majority: %d, Retry-After %q: %s %v", query, r.status, r.header.Get("Retry-After"), r.body, err)
		}
	}
	ready, err := nodes[0].tryCall("GET", "/readyz", nil)
	if err != nil || ready.status != 503 || !strings.Contains(string(ready.body), "data-00") {
		t.Errorf("/readyz without a majority: %d %s %v", ready.status, ready.body, err)
	}
}

// TestClusterLosesNodes ends each node in turn with SIGKILL while decisions, responses and subject
// writes run through the others, and then looks on every node for everything that was acknowledged.
func TestClusterLosesNodes(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3)
	loadDemo(t, nodes[0], 400)
	acked := &acknowledged{decisions: map[string][]string{}, responses: map[string][]string{}, versions: map[string]uint64{}}
	for round := range 3 {
		victim := nodes[round]
		var workers sync.WaitGroup
		stop := make(chan struct{})
		for w := range 6 {
			workers.Go(func() { decideUntilKilled(nodes[(round+w)%3], acked, stop, w) })
		}
		time.Sleep(700 * time.Millisecond)
		victim.kill9()
		began := time.Now()
		// The others go on, for every group: the calls wait for the elections.
		for i := range 40 {
			s := nodes[(round+1+i%2)%3]
			r := s.call("PATCH", "/v1/subjects/"+subscriberID(1+i), map[string]any{"attributes": map[string]any{"tenure": i}})
			if r.status != 200 && r.status != 503 { // a write that was under way may be uncertain
				t.Errorf("a write after the kill: %d %s", r.status, r.body)
			}
			if r.status == 503 {
				t.Logf("round %d: uncertain %v after the kill: %s", round, time.Since(began).Round(time.Millisecond), r.body)
			}
		}
		t.Logf("round %d: 40 subjects written through the others %v after the kill", round, time.Since(began).Round(time.Millisecond))
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("the others took %v", took)
		}
		time.Sleep(500 * time.Millisecond)
		close(stop)
		workers.Wait()
		victim.restart()
	}
	for i, s := range nodes {
		t.Run("n"+strconv.Itoa(i+1), func(t *testing.T) { checkAcknowledged(t, s, acked) })
	}
}

// TestClusterReadsAreNeverOld: a linearizable read through any node sees every write acknowledged before
// it, also while leaders change.
func TestClusterReadsAreNeverOld(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3, "--data-groups", "4")
	const subjects = 8
	var versions [subjects]atomic.Uint64
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	var work sync.WaitGroup
	reads, old := new(atomic.Int64), new(atomic.Int64)
	for i := range subjects {
		path := "/v1/subjects/L-" + strconv.Itoa(i)
		work.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				r, err := nodes[n%3].tryCall("PUT", path, map[string]any{"attributes": map[string]any{}})
				if err != nil || r.status/100 != 2 {
					continue
				}
				if v, _ := strconv.ParseUint(strings.Trim(r.header.Get("ETag"), `"v`), 10, 64); v > versions[i].Load() {
					versions[i].Store(v)
				}
			}
		})
		work.Go(func() {
			for n := 1; ctx.Err() == nil; n++ {
				least := versions[i].Load()
				r, err := nodes[n%3].tryCall("GET", path+"?consistency=linearizable", nil)
				if err != nil || r.status != 200 {
					continue
				}
				reads.Add(1)
				if v, _ := strconv.ParseUint(strings.Trim(r.header.Get("ETag"), `"v`), 10, 64); v < least {
					old.Add(1)
				}
			}
		})
	}
	work.Go(func() { // a node that hangs and comes back must not answer with what it knew
		for n := 0; ctx.Err() == nil; n++ {
			process := nodes[n%3].cmd.Process
			time.Sleep(500 * time.Millisecond)
			_ = process.Signal(syscall.SIGSTOP)
			time.Sleep(1200 * time.Millisecond)
			_ = process.Signal(syscall.SIGCONT)
		}
	})
	work.Wait()
	if old.Load() > 0 || reads.Load() < 200 {
		t.Errorf("%d of %d linearizable reads were older than an acknowledged write", old.Load(), reads.Load())
	}
	t.Logf("%d linearizable reads while nodes hung", reads.Load())
}

// TestClusterHandsOver: a node that is told to stop gives its groups away first, so that calls through
// the others do not fail.
func TestClusterHandsOver(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3, "--log-level", "info")
	loadDemo(t, nodes[0], 100)
	var work sync.WaitGroup
	stop := make(chan struct{})
	calls, failures := new(atomic.Int64), new(atomic.Int64)
	for w := range 4 {
		work.Go(func() {
			for i := w; ; i += 4 {
				select {
				case <-stop:
					return
				default:
				}
				s := nodes[1+i%2]
				r, err := s.tryCall("POST", "/v1/decisions", nba.DecisionRequest{Subject: nba.SubjectRef{ID: subscriberID(1 + i%100)}, Channel: "web"})
				calls.Add(1)
				if err != nil || r.status != 200 {
					failures.Add(1)
					t.Errorf("a decision: %v %d %s", err, r.status, r.body)
				}
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	nodes[0].stop()
	time.Sleep(500 * time.Millisecond)
	close(stop)
	work.Wait()
	t.Logf("%d decisions while a node stopped, %d failed", calls.Load(), failures.Load())
	if t.Failed() {
		for _, s := range nodes {
			t.Logf("%s\n%s", s.url, s.output)
		}
	}
	nodes[0].restart()
	// The groups it should lead come back to it.
	for deadline := time.Now().Add(40 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		led := 0
		for _, g := range decode[nba.Cluster](t, nodes[1].call("GET", "/v1/cluster", nil), 200).Groups {
			if g.Leader == g.Preferred {
				led++
			}
		}
		if led == 17 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of 17 groups are led where they should be", led)
		}
	}
}

// TestClusterSwapsModelsEverywhere: a model pushed through one node scores on all of them, and a node that
// was away fetches it when it comes back.
func TestClusterSwapsModelsEverywhere(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3)
	loadDemo(t, nodes[0], 100)
	module := compileChurn(t, "1.1.0")
	push := nodes[1].call("POST", "/v1/plugins?"+url.Values{"activate": {"true"}}.Encode(), module)
	if push.status != 201 && push.status != 200 {
		t.Fatalf("push: %d %s", push.status, push.body)
	}
	expectModel(t, nodes, "1.1.0")
	nodes[2].kill9()
	if r := nodes[0].call("POST", "/v1/plugins?activate=true", compileChurn(t, "1.2.0")); r.status/100 != 2 {
		t.Fatalf("push with a node away: %d %s", r.status, r.body)
	}
	expectModel(t, nodes[:2], "1.2.0")
	nodes[2].restart()
	expectModel(t, nodes, "1.2.0")
}

// patiently is call that asks again while the answer is that the cluster elects a leader.
func (s *server) patiently(method, path string, body any) (r reply) {
	s.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if r = s.call(method, path, body); r.status != 503 {
			return r
		}
	}
	return r
}

// expectModel decides for many subjects, so for all groups, through each node.
func expectModel(t *testing.T, nodes []*server, version string) {
	t.Helper()
	for n, s := range nodes {
		for i := range 40 {
			d := decode[nba.Decision](t, s.patiently("POST", "/v1/decisions", nba.DecisionRequest{Subject: nba.SubjectRef{ID: subscriberID(1 + i)}, Channel: "web"}), 200)
			if d.Degraded {
				t.Fatalf("node %d: degraded: %s", n+1, d.DegradedReason)
			}
			for _, p := range d.Propositions {
				for _, item := range p.Items {
					if item.Model != nil && item.Model.Version != version {
						t.Fatalf("node %d scores with %s, want %s", n+1, item.Model.Version, version)
					}
				}
			}
		}
	}
}

// compileChurn compiles the demo's model under another version; the manifest names it, so it is
// another artifact.
func compileChurn(t *testing.T, version string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "churn.wasm")
	stdout, stderr, code := runCLI(t, "model", "compile", filepath.Join(modelFolder, "churn.xgb.json"),
		"--features", filepath.Join(modelFolder, "features.yaml"), "--name", "churn", "--version", version, "-o", out)
	if code != 0 {
		t.Fatalf("model compile: exit %d\n%s%s", code, stdout, stderr)
	}
	module, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return module
}
