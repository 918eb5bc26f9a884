package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/porttest"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// folderOf is the data folder of a node.
func (s *server) folderOf() string {
	for i, arg := range s.args {
		if arg == "--data" {
			return s.args[i+1]
		}
	}
	s.t.Fatal("the server has no folder")
	return ""
}

func putSubjects(t *testing.T, nodes []*server, prefix string, count int) {
	t.Helper()
	for i := range count {
		r := nodes[i%len(nodes)].patiently("PUT", fmt.Sprintf("/v1/subjects/%s-%03d", prefix, i), map[string]any{"attributes": map[string]any{}})
		if r.status != 201 {
			t.Fatalf("PUT: %d %s", r.status, r.body)
		}
	}
}

func expectSubjects(t *testing.T, s *server, prefix string, count int) {
	t.Helper()
	missing := 0
	for i := range count {
		if r := s.call("GET", fmt.Sprintf("/v1/subjects/%s-%03d?consistency=linearizable", prefix, i), nil); r.status != 200 {
			missing++
		}
	}
	if missing > 0 {
		t.Errorf("%s: %d of %d subjects are missing", s.url, missing, count)
	}
}

// TestClusterComesBack: all nodes are killed at once, and started again; then all are told to stop.
func TestClusterComesBack(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3, "--data-groups", "4")
	putSubjects(t, nodes, "R", 60)
	for _, s := range nodes {
		s.kill9()
	}
	for _, s := range nodes {
		s.spawn()
	}
	for _, s := range nodes {
		s.awaitReady()
		expectSubjects(t, s, "R", 60)
	}
	for _, s := range nodes {
		s.stop()
	}
	for _, s := range nodes {
		s.spawn()
	}
	for _, s := range nodes {
		s.awaitReady()
		expectSubjects(t, s, "R", 60)
	}
}

// TestClusterTakesBackANodeThatLostItsFolder: it comes back empty under its name and is brought up to date,
// with the models; and then another node may be lost.
func TestClusterTakesBackANodeThatLostItsFolder(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3, "--data-groups", "4")
	loadDemo(t, nodes[0], 100)
	putSubjects(t, nodes, "W", 60)
	nodes[2].kill9()
	if err := os.RemoveAll(nodes[2].folderOf()); err != nil {
		t.Fatal(err)
	}
	putSubjects(t, nodes[:2], "V", 40)
	nodes[2].restart()
	expectModel(t, nodes, "1.0.0")
	for deadline := time.Now().Add(20 * time.Second); newborns(t, nodes[2]) > 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d replicas are still new: %s", newborns(t, nodes[2]), nodes[2].call("GET", "/v1/cluster", nil).body)
		}
	}
	nodes[0].kill9()
	putSubjects(t, nodes[1:], "U", 20)
	for _, s := range nodes[1:] {
		expectSubjects(t, s, "W", 60)
		expectSubjects(t, s, "V", 40)
		expectSubjects(t, s, "U", 20)
	}
}

func newborns(t *testing.T, s *server) (n int) {
	t.Helper()
	for _, g := range decode[nba.Cluster](t, s.call("GET", "/v1/cluster", nil), 200).Groups {
		if g.Role == "newborn" {
			n++
		}
	}
	return n
}

// TestClusterLargerThanItsReplicas: of four nodes three keep each group; the fourth takes its calls too.
func TestClusterLargerThanItsReplicas(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 4, "--data-groups", "8")
	loadDemo(t, nodes[3], 100)
	for _, s := range nodes {
		expectModel(t, []*server{s}, "1.0.0")
		at := decode[nba.Cluster](t, s.call("GET", "/v1/cluster", nil), 200)
		kept := 0
		for _, g := range at.Groups {
			if g.Role != "" {
				kept++
			}
			if want := 3; g.Name != "control" && len(g.Nodes) != want {
				t.Errorf("group %s is kept by %v", g.Name, g.Nodes)
			}
		}
		if kept != 1+6 { // control, and three of four data groups
			t.Errorf("%s keeps %d groups", at.Node, kept)
		}
		for i := range 40 {
			for _, query := range []string{"", "?consistency=linearizable", "?consistency=stale&maxAge=5s"} {
				if r := s.call("GET", "/v1/subjects/"+subscriberID(1+i)+query, nil); r.status != 200 {
					t.Fatalf("%s through %s: %d %s", query, at.Node, r.status, r.body)
				}
			}
		}
	}
	nodes[1].kill9()
	for i, s := range []*server{nodes[0], nodes[2], nodes[3]} {
		putSubjects(t, []*server{s}, fmt.Sprint("Q", i), 40)
	}
}

// TestClusterFoldersAreNotMixedUp: each mistake is refused with what to do about it.
func TestClusterFoldersAreNotMixedUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	nodes := "n1=" + porttest.Free(t) + ",n2=" + porttest.Free(t)
	run := func(args ...string) string {
		s := &server{t: t, args: append([]string{"server", "--addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--data", filepath.Join(dir, "n1")}, args...), stopDeadline: 10 * time.Second}
		s.spawn()
		select {
		case <-s.exited:
		case <-time.After(time.Second):
			s.stop()
		}
		return s.output.String()
	}
	run("--node-id", "n1", "--nodes", nodes)
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"alone":         {nil, "start it with --node-id and --nodes"},
		"another name":  {[]string{"--node-id", "n2", "--nodes", nodes}, "is that of node n1, not of n2"},
		"another list":  {[]string{"--node-id", "n1", "--nodes", nodes + ",n3=" + porttest.Free(t)}, "names cannot change"},
		"no such node":  {[]string{"--node-id", "n9", "--nodes", nodes}, "none of the nodes"},
		"another group": {[]string{"--node-id", "n1", "--nodes", nodes, "--cluster-id", "south"}, "another cluster"},
	} {
		if got := run(test.args...); !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
