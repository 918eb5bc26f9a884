package e2e

import (
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/porttest"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestDevRunsACluster: arbiter dev --nodes 3 is three processes, which go on when one is killed, and end
// with their parent.
func TestDevRunsACluster(t *testing.T) {
	t.Parallel()
	first := portsInARow(t, 3*10)
	s := &server{t: t, url: "http://" + first, stopDeadline: 30 * time.Second,
		args: []string{"dev", "--nodes", "3", "--addr", first, "--subscribers", "300", "--data", filepath.Join(t.TempDir(), "data"), "--data-groups", "4"}}
	s.spawn()
	t.Cleanup(s.stop)
	for deadline := time.Now().Add(60 * time.Second); !strings.Contains(s.output.String(), "Ctrl-C ends them all"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no cluster after a minute:\n%s", s.output)
		}
	}
	at := decode[nba.Cluster](t, s.call("GET", "/v1/cluster", nil), 200)
	if len(at.Nodes) != 3 || len(at.Groups) != 5 || at.Node != "n1" {
		t.Errorf("the cluster is %+v", at)
	}
	tell := func(verb, node string) {
		t.Helper()
		if _, stderr, code := runCLI(t, "dev", verb, node, "--addr", first); code != 0 {
			t.Fatalf("arbiter dev %s %s: exit %d, %s", verb, node, code, stderr)
		}
	}
	if _, stderr, code := runCLI(t, "dev", "kill", "n9", "--addr", first); code == 0 || !strings.Contains(stderr, "n1, n2, n3") {
		t.Errorf("an unknown node: exit %d, %s", code, stderr)
	}
	tell("kill", "n1")
	host, port, _ := net.SplitHostPort(first)
	number, _ := strconv.Atoi(port)
	other := &server{t: t, url: "http://" + net.JoinHostPort(host, strconv.Itoa(number+10)), output: s.output}
	for i := range 20 {
		if r := other.patiently("POST", "/v1/decisions", nba.DecisionRequest{Subject: nba.SubjectRef{ID: subscriberID(1 + i)}, Channel: "web"}); r.status != 200 {
			t.Errorf("a decision after a node was killed: %d %s", r.status, r.body)
		}
	}
	s.awaitReady() // it is started again
	sees := func(node, state string) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			for _, n := range decode[nba.Cluster](t, other.call("GET", "/v1/cluster", nil), 200).Nodes {
				if n.ID == node && n.Up == (state == "up") {
					return
				}
			}
			if time.Now().After(deadline) {
				t.Fatalf("n2 does not see %s %s", node, state)
			}
		}
	}
	sees("n1", "up")
	for fault, mend := range map[string]string{"pause": "resume", "partition": "heal"} {
		tell(fault, "n3")
		sees("n3", "down")
		if r := other.patiently("POST", "/v1/decisions", nba.DecisionRequest{Subject: nba.SubjectRef{ID: subscriberID(7)}, Channel: "web"}); r.status != 200 {
			t.Errorf("a decision while n3 stands in %s: %d %s", fault, r.status, r.body)
		}
		tell(mend, "n3")
		sees("n3", "up")
	}
	s.stop()
	for i := range 3 {
		if conn, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(number+10*i))); err == nil {
			conn.Close()
			t.Errorf("node %d outlives its parent", i+1)
		}
	}
}

// portsInARow finds an address from which on as many ports are free, as far as the kernel can tell.
func portsInARow(t *testing.T, count int) string {
	t.Helper()
	for range 50 {
		first := porttest.Free(t)
		host, text, _ := net.SplitHostPort(first)
		port, _ := strconv.Atoi(text)
		free := port+count < 65536
		for i := 0; free && i < count; i++ {
			ln, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(port+i)))
			if free = err == nil; free {
				ln.Close()
			}
		}
		if free {
			return first
		}
	}
	t.Skip("no ports in a row are free")
	return ""
}
