package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/rollout"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm/wasmtest"
)

// strayingModule is a version of the demo's model that is admitted, and then gives most customers a score
// that is no probability.
func strayingModule(t *testing.T, version string) []byte {
	t.Helper()
	m := &artifact.Manifest{Name: "churn", Version: version, Kind: artifact.KindScorer, ABI: artifact.ABIVersion, Output: artifact.OutputProbability,
		Features: []artifact.Feature{{Name: "tenure", Scope: artifact.ScopeSubject, Recipe: artifact.Recipe{Attribute: "tenure"}}},
		Limits:   artifact.Limits{MemoryPages: 4, FuelBase: 100_000, FuelPerRow: 10_000, MaxRows: 64}}
	module, err := artifact.Embed(wasmtest.Guest{Weights: []float64{1}}.Module(), m)
	if err != nil {
		t.Fatal(err)
	}
	return module
}

// rolloutLoad asks for decisions through all nodes that are up, and checks each.
type rolloutLoad struct {
	nodes    []*server
	subjects int
	down     atomic.Int64 // index of a node that is not asked, or -1

	decided, degraded atomic.Int64
	mu                sync.Mutex
	failures          []string
}

func (l *rolloutLoad) run(worker int, stop <-chan struct{}) {
	for i := worker; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		n := i % len(l.nodes)
		if int64(n) == l.down.Load() {
			continue
		}
		r, err := l.nodes[n].tryCall("POST", "/v1/decisions", map[string]any{"subject": map[string]any{"id": subscriberID(1 + i%l.subjects)}, "channel": "callcentre"})
		var d nba.Decision
		switch {
		case err != nil && int64(n) == l.down.Load():
			continue // it was killed meanwhile
		case err != nil || r.status != 200 || unmarshal(r.body, &d) != nil:
			if r.status == 503 || r.status == 504 { // while a group elects a leader
				continue
			}
			l.mu.Lock()
			l.failures = append(l.failures, fmt.Sprintf("%v, status %d: %s", err, r.status, r.body))
			l.mu.Unlock()
		}
		l.decided.Add(1)
		if d.Degraded {
			l.degraded.Add(1)
		}
	}
}

func rolloutOf(t *testing.T, s *server, id string) rollout.View {
	t.Helper()
	return decode[rollout.View](t, s.repeat("GET", "/v1/rollouts/"+id, nil), 200)
}

func awaitRollout(t *testing.T, s *server, id, what string, is func(v *rollout.View) bool) rollout.View {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		v := rolloutOf(t, s, id)
		if is(&v) {
			return v
		}
		if time.Now().After(deadline) {
			t.Fatalf("never %s: %+v", what, v)
		}
	}
}

// TestRolloutOnThreeProcesses is the story of Dana: a model is pushed to a cluster under load, shadowed,
// handed to a share of the customers, and active on all nodes, although the leader of the control group is
// killed in the middle; then one that misbehaves is taken back without anybody.
func TestRolloutOnThreeProcesses(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3, "--data-groups", "4")
	loadDemo(t, nodes[0], 120)
	pushed := decode[nba.PluginVersion](t, nodes[1].call("POST", "/v1/plugins", compileShifted(t)), 201)
	load := &rolloutLoad{nodes: nodes, subjects: 120}
	load.down.Store(-1)
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for w := range 3 {
		workers.Go(func() { load.run(w, stop) })
	}
	defer workers.Wait()
	defer close(stop)

	out := nodes[0].mustCLI("rollout", "start", "churn", pushed.Version, "--steps", "shadow,20%,60%", "--guard", "calls=50", "--guard", "shift=off", "--guard", "latency=off")
	id, _, _ := strings.Cut(out, " ")
	v := awaitRollout(t, nodes[2], id, "in the shadow", func(v *rollout.View) bool {
		return v.Stage == rollout.Shadow && v.Arms.Candidate.Calls > 100
	})
	if len(v.Nodes) != 3 || v.Arms.Candidate.Differed == 0 || v.Arms.Candidate.Errors != 0 {
		t.Errorf("the shadow: %+v", v)
	}
	nodes[1].mustCLI("rollout", "promote", "churn")
	v = awaitRollout(t, nodes[0], id, "a canary with subjects on both sides", func(v *rollout.View) bool {
		return v.Stage == rollout.Canary && v.Arms.Candidate.Calls > 50 && v.Arms.Incumbent.Calls > 50
	})
	if v.Permille != 200 || v.Arms.Candidate.Subjects == 0 {
		t.Errorf("the canary: %+v", v)
	}
	before := servedBy(t, nodes, 120)

	leader := controlLeader(t, nodes)
	load.down.Store(int64(leader))
	nodes[leader].kill9()
	survivors := append(append([]*server{}, nodes[:leader]...), nodes[leader+1:]...)
	v = awaitRollout(t, survivors[0], id, "counted on after the leader of the control group is gone", func(w *rollout.View) bool {
		return w.Arms.Candidate.Calls > v.Arms.Candidate.Calls+20
	})
	if v.Stage != rollout.Canary {
		t.Errorf("after the leader is gone: %+v", v)
	}
	if after := servedBy(t, survivors, 120); !agree(before, after) {
		t.Errorf("subjects changed their version with the leader")
	}
	nodes[leader].restart()
	load.down.Store(-1)
	for _, want := range []string{"canary 60%", "active"} {
		if out := nodes[leader].mustCLI("rollout", "promote", "churn"); !strings.Contains(out, want) {
			t.Errorf("promoted, want %s:\n%s", want, out)
		}
	}
	for subject, version := range servedBy(t, nodes, 40) {
		if version != pushed.Version {
			t.Errorf("%s is served %s after the promotion", subject, version)
		}
	}

	// Nobody watches this one.
	decode[nba.PluginVersion](t, nodes[0].call("POST", "/v1/plugins", strayingModule(t, "3.0.0")), 201)
	degraded := load.degraded.Load()
	out = nodes[2].mustCLI("rollout", "start", "churn", "3.0.0", "--steps", "30%", "--guard", "calls=60", "--guard", "shift=off", "--guard", "latency=off", "--guard", "fuel=off")
	id, _, _ = strings.Cut(out, " ")
	v = awaitRollout(t, nodes[1], id, "taken back", func(v *rollout.View) bool { return v.Stage == rollout.RolledBack })
	if v.Cause != rollout.CauseBreach || len(v.Breach) == 0 || !strings.Contains(v.Breach[0].Detail, "%") {
		t.Errorf("%+v", v)
	}
	if status := nodes[0].mustCLI("rollout", "status", "churn"); !strings.Contains(status, "Taken back by") {
		t.Errorf("the status does not tell why:\n%s", status)
	}
	for subject, version := range servedBy(t, nodes, 40) {
		if version != pushed.Version {
			t.Errorf("%s is served %s after it was taken back", subject, version)
		}
	}
	load.mu.Lock()
	defer load.mu.Unlock()
	for _, failure := range load.failures[:min(5, len(load.failures))] {
		t.Errorf("a decision failed: %s", failure)
	}
	if !loggedOn(nodes, "misbehaved and was taken back") {
		t.Error("no node logged that a version was taken back")
	}
	t.Logf("%d decisions, %d degraded by the version that misbehaved", load.decided.Load(), load.degraded.Load()-degraded)
}

func loggedOn(nodes []*server, text string) bool {
	for _, s := range nodes {
		if strings.Contains(s.output.String(), text) {
			return true
		}
	}
	return false
}

// servedBy is the version that scores each subject, which must be the same on every node.
func servedBy(t *testing.T, nodes []*server, subjects int) map[string]string {
	t.Helper()
	served := map[string]string{}
	for i := range subjects {
		subject := subscriberID(1 + i)
		for _, s := range nodes {
			d := decode[nba.Decision](t, s.repeat("POST", "/v1/decisions", map[string]any{"subject": map[string]any{"id": subject},
				"channel": "callcentre", "options": map[string]any{"simulate": true}}), 200)
			for _, p := range d.Propositions {
				for _, item := range p.Items {
					if item.Model == nil {
						continue
					}
					if before, ok := served[subject]; ok && before != item.Model.Version {
						t.Errorf("%s is served %s and %s", subject, before, item.Model.Version)
					}
					served[subject] = item.Model.Version
				}
			}
		}
	}
	if len(served) == 0 { // contact limits leave ever fewer
		t.Errorf("none of %d subjects is scored", subjects)
	}
	return served
}

func agree(a, b map[string]string) bool {
	for subject, version := range a {
		if other, ok := b[subject]; ok && other != version {
			return false
		}
	}
	return true
}

// controlLeader is the index of the node that leads the control group.
func controlLeader(t *testing.T, nodes []*server) int {
	t.Helper()
	cluster := decode[nba.Cluster](t, nodes[0].call("GET", "/v1/cluster", nil), 200)
	for _, g := range cluster.Groups {
		if g.Name == "control" {
			n, err := strconv.Atoi(strings.TrimPrefix(g.Leader, "n"))
			if err != nil {
				t.Fatalf("the control group is led by %q", g.Leader)
			}
			return n - 1
		}
	}
	t.Fatal("there is no control group")
	return 0
}

// TestSwapsLeaveNothingBehind swaps between two versions many times under load: no decision fails, and the
// process holds no more memory and no more native code afterwards than after the first few.
func TestSwapsLeaveNothingBehind(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the memory of a process is read from /proc")
	}
	t.Parallel()
	s := start(t, "dev", "--no-demo", "--subscribers", "64")
	second := decode[nba.PluginVersion](t, s.call("POST", "/v1/plugins", compileShifted(t)), 201)
	first := activeVersion(t, s, second.Name)
	load := &swapLoad{s: s, known: map[string]map[string]float64{}}
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() { load.run(w, stop) })
	}
	swap := func(n int) {
		for i := range n {
			version := []string{second.Version, first.Version}[i%2]
			decode[nba.PluginVersion](t, s.call("POST", fmt.Sprintf("/v1/plugins/%s/versions/%s/activate", second.Name, version), nil), 200)
		}
	}
	swap(40)
	before := memoryOf(t, s)
	swaps := 200
	if testing.Short() {
		swaps = 60
	}
	swap(swaps)
	after := memoryOf(t, s)
	close(stop)
	workers.Wait()
	for _, failure := range load.failures[:min(5, len(load.failures))] {
		t.Error(failure)
	}
	t.Logf("%d swaps during %d decisions: %d mappings and %d KB executable before, %d and %d after", swaps, load.calls.Load(),
		before.mappings, before.executable>>10, after.mappings, after.executable>>10)
	if after.executable > before.executable+before.executable/20+(256<<10) || after.mappings > before.mappings+64 {
		t.Errorf("native code grew: %+v before, %+v after", before, after)
	}
}

// processMemory is what a process has mapped.
type processMemory struct {
	mappings   int
	executable int64 // bytes
}

func memoryOf(t *testing.T, s *server) (m processMemory) {
	t.Helper()
	maps, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(s.cmd.Process.Pid), "maps"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(maps)) {
		m.mappings++
		fields := strings.Fields(line)
		if len(fields) > 1 && strings.Contains(fields[1], "x") {
			from, to, _ := strings.Cut(fields[0], "-")
			low, _ := strconv.ParseInt(from, 16, 64)
			high, _ := strconv.ParseInt(to, 16, 64)
			m.executable += high - low
		}
	}
	return m
}
