package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/porttest"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// flagOf is the value that a server was started with.
func (s *server) flagOf(name string) string {
	if i := slices.Index(s.args, "--"+name); i >= 0 {
		return s.args[i+1]
	}
	return ""
}

// peerOf is where the others reach a node.
func (s *server) peerOf() string {
	id := s.flagOf("node-id")
	for _, member := range strings.Split(s.flagOf("nodes"), ",") {
		if name, addr, _ := strings.Cut(member, "="); name == id {
			return addr
		}
	}
	return s.flagOf("cluster-addr")
}

// joining starts a node with an empty folder that asks another to let it in, and does not wait.
func joining(t *testing.T, id string, at *server, args ...string) *server {
	t.Helper()
	api, admin := porttest.Free(t), porttest.Free(t)
	s := &server{t: t, url: "http://" + api, admin: "http://" + admin, stopDeadline: 30 * time.Second,
		args: append([]string{"server", "--data", filepath.Join(t.TempDir(), id), "--node-id", id, "--cluster-addr", porttest.Free(t),
			"--join", at.peerOf(), "--addr", api, "--admin-addr", admin, "--log-level", "info"}, args...)}
	s.spawn()
	t.Cleanup(s.stop)
	return s
}

// load writes subjects and asks for decisions through some nodes, and counts what fails.
type load struct {
	t        *testing.T
	stop     chan struct{}
	work     sync.WaitGroup
	mu       sync.Mutex
	nodes    []*server
	versions map[string]uint64
	calls    atomic.Int64
	failures atomic.Int64
	// maybe tells that calls may fail, of the node that is killed, say: they are not counted.
	maybe atomic.Bool
}

func underLoad(t *testing.T, nodes []*server, workers int) *load {
	l := &load{t: t, stop: make(chan struct{}), nodes: slices.Clone(nodes), versions: map[string]uint64{}}
	for w := range workers {
		l.work.Go(func() { l.run(w, workers) })
	}
	return l
}

// through changes which nodes are called.
func (l *load) through(nodes ...*server) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nodes = nodes
}

func (l *load) run(w, workers int) {
	for i := w; ; i += workers {
		select {
		case <-l.stop:
			return
		case <-time.After(3 * time.Millisecond):
		}
		l.mu.Lock()
		s := l.nodes[i%len(l.nodes)]
		l.mu.Unlock()
		id := subscriberID(1 + w*10 + i%10)
		var r reply
		var err error
		write := i/workers%3 == 0
		if write {
			r, err = s.tryCall("PATCH", "/v1/subjects/"+id, map[string]any{"attributes": map[string]any{"tenure": i}})
		} else {
			r, err = s.tryCall("POST", "/v1/decisions", nba.DecisionRequest{Subject: nba.SubjectRef{ID: id}, Channel: "web"})
		}
		l.calls.Add(1)
		if err != nil || r.status != 200 {
			if !l.maybe.Load() {
				if l.failures.Add(1) < 5 {
					l.t.Errorf("a call through %s: %v %d %s", s.flagOf("node-id"), err, r.status, r.body)
				}
			}
			continue
		}
		if v, err := strconv.ParseUint(strings.Trim(r.header.Get("ETag"), `"v`), 10, 64); write && err == nil {
			l.mu.Lock()
			l.versions[id] = v
			l.mu.Unlock()
		}
	}
}

// end stops the load and looks through some nodes for everything that was acknowledged.
func (l *load) end(nodes ...*server) {
	l.t.Helper()
	close(l.stop)
	l.work.Wait()
	l.t.Logf("%d calls, %d failed", l.calls.Load(), l.failures.Load())
	if len(l.versions) == 0 {
		l.t.Error("nothing was written")
	}
	for i, s := range nodes {
		n := 0
		for id, want := range l.versions {
			if n++; n%len(nodes) != i {
				continue
			}
			r := s.patiently("GET", "/v1/subjects/"+id+"?consistency=linearizable", nil)
			if v, _ := strconv.ParseUint(strings.Trim(r.header.Get("ETag"), `"v`), 10, 64); v < want {
				l.t.Errorf("%s through %s: version %d, %d was acknowledged", id, s.flagOf("node-id"), v, want)
			}
		}
	}
	if l.t.Failed() {
		for _, s := range nodes {
			l.t.Logf("%s\n%s", s.flagOf("node-id"), lastLines(s.output.String(), 40))
		}
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// settle waits until groups are dealt out evenly and nothing moves any more.
func settle(t *testing.T, s *server, wait time.Duration) nba.ClusterBalance {
	t.Helper()
	var b nba.ClusterBalance
	for deadline := time.Now().Add(wait); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		r, err := s.tryCall("GET", "/v1/cluster/balance", nil)
		if err != nil || r.status != 200 {
			continue
		}
		b = decode[nba.ClusterBalance](t, r, 200)
		if b.Moving == 0 && b.Lost == 0 && len(b.Next) == 0 && b.Missing == 0 {
			return b
		}
	}
	t.Fatalf("not settled after %v: %+v\n%s", wait, b, lastLines(s.output.String(), 60))
	return b
}

// TestClusterGrowsAndShrinks grows a cluster of three by two nodes in other zones, which takes two moves
// of replicas at a time, and shrinks it again, under load: no call fails and nothing is lost.
func TestClusterGrowsAndShrinks(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3, "--log-level", "info", "--data-groups", "8")
	loadDemo(t, nodes[0], 100)
	l := underLoad(t, nodes, 6)
	for _, id := range []string{"n4", "n5"} {
		s := joining(t, id, nodes[0])
		s.awaitReady()
		nodes = append(nodes, s)
		l.through(nodes...)
	}
	began := time.Now()
	b := settle(t, nodes[3], 90*time.Second)
	t.Logf("8 groups on five nodes %v after the fifth was ready: %+v", time.Since(began).Round(100*time.Millisecond), b)
	if b.MinReplicas < 4 || b.MaxReplicas > 5 || b.MinLeads < 1 || b.MaxLeads > 2 {
		t.Errorf("uneven: %+v", b)
	}
	if out := nodes[4].mustCLI("cluster", "members"); strings.Count(out, "yes") != 5 || !strings.Contains(out, "n5") {
		t.Errorf("arbiter cluster members:\n%s", out)
	}
	if _, stderr, code := nodes[0].cli("cluster", "remove", "n2"); code == 0 || !strings.Contains(stderr, "drain it") {
		t.Errorf("removing a node that keeps groups: %d %s", code, stderr)
	}
	for _, id := range []string{"n2", "n5"} {
		nodes[0].mustCLI("cluster", "drain", id, "--wait")
	}
	settle(t, nodes[0], 60*time.Second)
	for _, victim := range []*server{nodes[1], nodes[4]} {
		l.through(nodes[0], nodes[2], nodes[3])
		time.Sleep(200 * time.Millisecond) // what is under way through it
		removed := false
		for deadline := time.Now().Add(20 * time.Second); !removed && time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
			_, _, code := nodes[0].cli("cluster", "remove", victim.flagOf("node-id"))
			removed = code == 0
		}
		if !removed {
			t.Errorf("%s cannot be removed:\n%s", victim.flagOf("node-id"), nodes[0].mustCLI("cluster", "members"))
		}
		victim.stop()
	}
	l.end(nodes[0], nodes[2], nodes[3])
	if out := nodes[0].mustCLI("cluster", "members"); strings.Contains(out, "n2") || strings.Contains(out, "down") {
		t.Errorf("arbiter cluster members:\n%s", out)
	}
	// They come back as they were after all of them stopped, by what their folders say.
	for _, s := range []*server{nodes[0], nodes[2], nodes[3]} {
		s.kill9()
	}
	for _, s := range []*server{nodes[0], nodes[2], nodes[3]} {
		s.spawn()
	}
	for _, s := range []*server{nodes[0], nodes[2], nodes[3]} {
		s.awaitReady()
	}
	settle(t, nodes[3], 30*time.Second)
}

// TestClusterReplacesADeadNode: what a node kept that does not come back is made anew on a spare one, and
// the dead one can be removed; then its name joins again.
func TestClusterReplacesADeadNode(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3, "--log-level", "info", "--cluster-replace-after", "10s", "--data-groups", "6")
	loadDemo(t, nodes[0], 100)
	spare := joining(t, "n4", nodes[1], "--cluster-replace-after", "10s")
	spare.awaitReady()
	settle(t, nodes[0], 60*time.Second)
	l := underLoad(t, []*server{nodes[0], nodes[1], spare}, 4)
	l.maybe.Store(true) // what was under way to the dead node
	nodes[2].kill9()
	time.Sleep(3 * time.Second)
	l.maybe.Store(false)
	began := time.Now()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		kept := -1
		for _, m := range decode[page[nba.ClusterMember]](t, nodes[0].call("GET", "/v1/cluster/members", nil), 200).Items {
			if m.ID == "n3" {
				kept = m.Keeps + m.Has
			}
		}
		if kept == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the dead node keeps %d:\n%s", kept, lastLines(nodes[0].output.String(), 40))
		}
	}
	t.Logf("replaced %v after it died", (time.Since(began) + 3*time.Second).Round(100*time.Millisecond))
	if _, stderr, code := nodes[0].cli("cluster", "remove", "n4", "--force"); code == 0 || !strings.Contains(stderr, "answers") {
		t.Errorf("forcing the removal of a node that answers: %d %s", code, stderr)
	}
	nodes[0].mustCLI("cluster", "remove", "n3")
	again := joining(t, "n3", nodes[0])
	again.awaitReady()
	settle(t, nodes[0], 60*time.Second)
	l.end(nodes[0], nodes[1], spare, again)
}

type page[T any] struct {
	Items []T `json:"items"`
}

// TestClusterMovesOnWithoutItsLeader kills the leader of the control group again and again while replicas
// move: whoever leads next goes on.
func TestClusterMovesOnWithoutItsLeader(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3, "--log-level", "info")
	loadDemo(t, nodes[0], 100)
	l := underLoad(t, nodes, 4)
	l.maybe.Store(true)
	s := joining(t, "n4", nodes[0])
	s.awaitReady()
	for range 2 {
		time.Sleep(1500 * time.Millisecond)
		for _, g := range decode[nba.Cluster](t, s.call("GET", "/v1/cluster", nil), 200).Groups {
			if g.Name != "control" {
				continue
			}
			for _, n := range nodes {
				if n.flagOf("node-id") == g.Leader {
					n.kill9()
					time.Sleep(time.Second)
					n.restart()
				}
			}
		}
	}
	settle(t, s, 90*time.Second)
	l.end(append(nodes, s)...)
}

// TestJoinIsRefusedClearly: a node of another cluster, another name or other certificates is told why.
func TestJoinIsRefusedClearly(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 1, "--data-groups", "2", "--cluster-id", "north")
	authority := newAuthority(t)
	secured := append(authority.issue("n8"), "--auth-required", "true")
	for _, c := range []struct {
		name, id, says string
		args           []string
	}{
		{"another cluster", "n7", "another cluster", []string{"--cluster-id", "south"}},
		{"a name that is taken", "n1", "a node of this name", nil},
		{"TLS where the cluster has none", "n8", "securing the connection", secured},
	} {
		s := joining(t, c.id, nodes[0], c.args...)
		select {
		case <-s.exited:
		case <-time.After(20 * time.Second):
			t.Errorf("%s: it goes on:\n%s", c.name, s.output)
			continue
		}
		if out := s.output.String(); !strings.Contains(out, c.says) {
			t.Errorf("%s:\n%s", c.name, out)
		}
	}
	if n := len(decode[page[nba.ClusterMember]](t, nodes[0].call("GET", "/v1/cluster/members", nil), 200).Items); n != 1 {
		t.Errorf("%d members", n)
	}
	// With certificates, a node without is refused, and one with lets itself in.
	secured = append(authority.issue("n1"), "--auth-required", "true")
	api, admin, peers := porttest.Free(t), porttest.Free(t), porttest.Free(t)
	first := &server{t: t, url: "https://" + api, admin: "https://" + admin, stopDeadline: 30 * time.Second, http: authority.client(),
		args: append([]string{"server", "--data", filepath.Join(t.TempDir(), "n1"), "--node-id", "n1", "--nodes", "n1=" + peers, "--data-groups", "2",
			"--addr", api, "--admin-addr", admin, "--log-level", "warn"}, secured...)}
	first.launch()
	t.Cleanup(first.stop)
	s := joining(t, "n2", first)
	<-s.exited
	if out := s.output.String(); !strings.Contains(out, "does the cluster use TLS") {
		t.Errorf("without a certificate:\n%s", out)
	}
	s = joining(t, "n2", first, append(authority.issue("n2"), "--auth-required", "true")...)
	s.url, s.http = strings.Replace(s.url, "http:", "https:", 1), authority.client()
	s.awaitReady()
	// One node grows into three.
	for i := 2; i <= 3; i++ {
		s := joining(t, fmt.Sprintf("n%d", i), nodes[0], "--zone", fmt.Sprintf("z%d", i))
		s.awaitReady()
		nodes = append(nodes, s)
	}
	settle(t, nodes[2], 30*time.Second)
}
