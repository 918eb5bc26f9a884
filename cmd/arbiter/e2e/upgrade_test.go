package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/porttest"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// previousRelease is the last commit of the release before this one, whose feature level is 4.
const (
	previousRelease = "8c25c3b"
	previousLevel   = 4
)

// buildRelease builds the program of an earlier commit from the history of the repository.
func buildRelease(t *testing.T, commit string) string {
	t.Helper()
	root, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		t.Skipf("NOT TESTED: no git repository here, so no earlier release to upgrade from (%v)", err)
	}
	top := strings.TrimSpace(string(root))
	if err := exec.Command("git", "-C", top, "cat-file", "-e", commit+"^{commit}").Run(); err != nil {
		t.Skipf("NOT TESTED: the history here does not reach back to %s: fetch all of it to test upgrades", commit)
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	archive := exec.Command("git", "-C", top, "archive", commit)
	unpack := exec.Command("tar", "-x", "-C", source)
	if unpack.Stdin, err = archive.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unpack.Start(), archive.Run(), unpack.Wait()); err != nil {
		t.Fatalf("unpacking %s: %v", commit, err)
	}
	program := filepath.Join(dir, "arbiter-"+commit)
	build := exec.Command("go", "build", "-o", program, "./cmd/arbiter")
	build.Dir = source
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", commit, err, out)
	}
	return program
}

// balancer sends calls to the nodes that say they are ready, in turn, as a load balancer does. A connection
// that is refused is tried at the next node: nothing was sent on it.
type balancer struct {
	nodes  []*server
	ready  []atomic.Bool
	next   atomic.Uint64
	client *http.Client
	stop   chan struct{}
	work   sync.WaitGroup
}

// How often a balancer asks, and how many times in a row a node must say no: groups are without a leader for a
// moment when one is handed over, which calls wait out.
const (
	balancerPoll     = 50 * time.Millisecond
	balancerPatience = 3
)

func newBalancer(t *testing.T, nodes []*server) *balancer {
	b := &balancer{nodes: nodes, ready: make([]atomic.Bool, len(nodes)), stop: make(chan struct{}),
		client: &http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}}
	for i := range nodes {
		b.ready[i].Store(true)
		b.work.Go(func() {
			probe := &http.Client{Timeout: time.Second}
			for bad := 0; ; {
				resp, err := probe.Get(nodes[i].url + "/readyz")
				if bad++; err == nil && resp.StatusCode == http.StatusOK {
					bad = 0
				}
				b.ready[i].Store(bad < balancerPatience)
				if err == nil {
					resp.Body.Close()
				}
				select {
				case <-time.After(balancerPoll):
				case <-b.stop:
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		close(b.stop)
		b.work.Wait()
		b.client.CloseIdleConnections()
	})
	return b
}

// call is one call through whichever node is ready.
func (b *balancer) call(method, path, body string) (status int, answer []byte, err error) {
	for range 4 * len(b.nodes) {
		i := int(b.next.Add(1)) % len(b.nodes)
		if !b.ready[i].Load() {
			continue
		}
		req, err := http.NewRequest(method, b.nodes[i].url+path, bytes.NewReader([]byte(body)))
		if err != nil {
			return 0, nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := b.client.Do(req)
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
			continue
		}
		if err != nil {
			return 0, nil, err
		}
		answer, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		return resp.StatusCode, answer, err
	}
	return 0, nil, errors.New("no node is ready")
}

// upgradeLoad decides, writes and reads through the balancer, and counts what failed.
type upgradeLoad struct {
	calls, failed atomic.Int64
	mu            sync.Mutex
	failures      []string
	versions      map[string]int // acknowledged writes of each subject
}

func (l *upgradeLoad) fail(format string, args ...any) {
	l.failed.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failures) < 10 {
		l.failures = append(l.failures, time.Now().Format("15:04:05.000 ")+fmt.Sprintf(format, args...))
	}
}

func (l *upgradeLoad) run(b *balancer, worker int, stop chan struct{}) {
	for i := worker; ; i += 4 {
		select {
		case <-stop:
			return
		case <-time.After(3 * time.Millisecond):
		}
		id := subscriberID(1 + i%100)
		l.calls.Add(3)
		status, body, err := b.call("POST", "/v1/decisions", `{"subject":{"id":"`+id+`"},"channel":"web"}`)
		if err != nil || status != 200 || bytes.Contains(body, []byte(`"degraded":true`)) {
			l.fail("decision: %v %d %s", err, status, body)
		}
		own := fmt.Sprintf("U-%d-%d", worker, i%8)
		status, body, err = b.call("PUT", "/v1/subjects/"+own, `{"attributes":{"tenure":`+fmt.Sprint(i)+`}}`)
		if err != nil || status/100 != 2 {
			l.fail("write: %v %d %s", err, status, body)
			continue
		}
		l.mu.Lock()
		l.versions[own] = i
		l.mu.Unlock()
		status, body, err = b.call("GET", "/v1/subjects/"+own, "")
		if err != nil || status != 200 || !bytes.Contains(body, fmt.Appendf(nil, `"tenure":%d}`, i)) {
			l.fail("read: %v %d %s", err, status, body)
		}
	}
}

// replaceEach stops each node in turn and starts it again, as program if one is given, once all are ready.
func replaceEach(t *testing.T, nodes []*server, program string) {
	t.Helper()
	for _, s := range nodes {
		began := time.Now()
		if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		select {
		case <-s.exited:
		case <-time.After(s.stopDeadline):
			t.Fatalf("%s did not stop:\n%s", s.url, s.output)
		}
		if code := s.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("%s ended with %d:\n%s", s.url, code, s.output)
		}
		stopped := time.Since(began)
		s.program = program
		s.restart()
		t.Logf("%s stopped in %v and was ready %v later", s.url, stopped.Round(time.Millisecond), (time.Since(began) - stopped).Round(time.Millisecond))
		time.Sleep(500 * time.Millisecond) // a balancer's turn to notice
	}
}

// startReleaseWithDemo starts a cluster of a release whose folders its own demo has filled.
func startReleaseWithDemo(t *testing.T, program string, count, subscribers int) (nodes []*server) {
	t.Helper()
	dir := t.TempDir()
	base := freeBlock(t, 10*count)
	dev := &server{t: t, program: program, url: fmt.Sprintf("http://127.0.0.1:%d", base), stopDeadline: 30 * time.Second,
		args: []string{"dev", "--nodes", fmt.Sprint(count), "--no-demo", "--subscribers", fmt.Sprint(subscribers), "--data", dir, "--addr", fmt.Sprintf("127.0.0.1:%d", base)}}
	dev.spawn()
	t.Cleanup(dev.stop)
	for deadline := time.Now().Add(90 * time.Second); !strings.Contains(dev.output.String(), "Ctrl-C ends them all"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the demo of the release is not there after 90 s:\n%s", dev.output)
		}
	}
	dev.stop()
	var members []string
	for i := range count {
		members = append(members, fmt.Sprintf("n%d=%s", i+1, porttest.Free(t)))
	}
	for i := range count {
		api, admin := porttest.Free(t), porttest.Free(t)
		id := fmt.Sprintf("n%d", i+1)
		s := &server{t: t, program: program, url: "http://" + api, admin: "http://" + admin, stopDeadline: 30 * time.Second,
			args: []string{"server", "--data", filepath.Join(dir, id), "--node-id", id, "--cluster-id", "dev", "--nodes", strings.Join(members, ","),
				"--addr", api, "--admin-addr", admin, "--drain", "1s", "--log-level", "warn"}}
		s.spawn()
		t.Cleanup(s.stop)
		nodes = append(nodes, s)
	}
	for _, s := range nodes {
		s.awaitReady()
	}
	return nodes
}

// freeBlock is the first of ports in a row that are free now.
func freeBlock(t *testing.T, count int) int {
	t.Helper()
	for base := 15000 + os.Getpid()%1000*10; base < 30000; base += count {
		free := true
		for port := base; port < base+count && free; port++ {
			ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if free = err == nil; free {
				ln.Close()
			}
		}
		if free {
			return base
		}
	}
	t.Fatal("no ports are free")
	return 0
}

func levelOf(t *testing.T, s *server) int {
	t.Helper()
	return decode[nba.Cluster](t, s.call("GET", "/v1/cluster", nil), 200).Level
}

func (l *upgradeLoad) check(t *testing.T, nodes []*server) {
	t.Helper()
	if l.failed.Load() > 0 || l.calls.Load() < 500 {
		t.Errorf("%d of %d calls failed:\n%s", l.failed.Load(), l.calls.Load(), strings.Join(l.failures, "\n"))
		for _, s := range nodes {
			t.Logf("%s\n%s", s.url, s.output)
		}
	}
	for id, tenure := range l.versions {
		for _, s := range nodes {
			doc := decode[nba.SubjectDocument](t, s.call("GET", "/v1/subjects/"+id+"?consistency=linearizable", nil), 200)
			if doc.Attributes["tenure"] != float64(tenure) {
				t.Errorf("%s on %s: %v, acknowledged was %d", id, s.url, doc.Attributes["tenure"], tenure)
			}
		}
	}
	t.Logf("%d calls, %d failed", l.calls.Load(), l.failed.Load())
}

// TestRollingUpgrade founds a cluster with the previous release, and upgrades node after node while it is
// used: no call fails, nothing is lost, and the feature level rises once the last node is upgraded.
func TestRollingUpgrade(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the previous release")
	}
	t.Parallel()
	old := buildRelease(t, previousRelease)
	nodes := startReleaseWithDemo(t, old, 3, 100)
	b := newBalancer(t, nodes)
	load := &upgradeLoad{versions: map[string]int{}}
	stop := make(chan struct{})
	var work sync.WaitGroup
	for w := range 4 {
		work.Go(func() { load.run(b, w, stop) })
	}
	time.Sleep(500 * time.Millisecond)
	for i := range nodes {
		replaceEach(t, nodes[i:i+1], arbiter)
		if level := levelOf(t, nodes[i]); i < len(nodes)-1 && level != previousLevel {
			t.Errorf("with %d of 3 nodes upgraded the level is %d, want %d", i+1, level, previousLevel)
		}
	}
	deadline := time.Now().Add(15 * time.Second)
	for levelOf(t, nodes[0]) <= previousLevel && time.Now().Before(deadline) {
		time.Sleep(100 * time.Millisecond)
	}
	level := levelOf(t, nodes[0])
	if level <= previousLevel {
		t.Errorf("all nodes are upgraded and the level is %d", level)
	}
	time.Sleep(500 * time.Millisecond)
	close(stop)
	work.Wait()
	load.check(t, nodes)
	t.Logf("level %d", level)
}

// TestRollingRestart restarts node after node while the cluster is used: no call fails.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3, "--drain", "1s")
	loadDemo(t, nodes[0], 100)
	b := newBalancer(t, nodes)
	load := &upgradeLoad{versions: map[string]int{}}
	stop := make(chan struct{})
	var work sync.WaitGroup
	for w := range 4 {
		work.Go(func() { load.run(b, w, stop) })
	}
	time.Sleep(500 * time.Millisecond)
	replaceEach(t, nodes, "")
	close(stop)
	work.Wait()
	load.check(t, nodes)
}
