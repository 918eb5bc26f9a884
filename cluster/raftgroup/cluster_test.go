package raftgroup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/peer"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/cluster/wal"
)

// testNode is one node of a test's cluster, with all its groups.
type testNode struct {
	id     string
	dir    string
	port   *peer.Port
	mesh   *Mesh
	log    *wal.Log
	groups []*testGroup
}

// testCluster is a cluster within the process, over loopback.
type testCluster struct {
	t         testing.TB
	options   Options
	groups    int
	addresses map[string]string
	ids       []string
	founders  []string             // nil: all; the others join
	nodes     map[string]*testNode // that run
	dirs      map[string]string
	limits    peer.Limits
	wrap      func(node string, data *fsm.Data) Machine
	proxies   *proxies // nil: none
}

func newTestCluster(t testing.TB, nodes, groups int, options Options) *testCluster {
	t.Helper()
	c := &testCluster{t: t, options: options, groups: groups, addresses: map[string]string{}, nodes: map[string]*testNode{}, dirs: map[string]string{}}
	for i := range nodes {
		id := fmt.Sprint("n", i+1)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		c.ids = append(c.ids, id)
		c.addresses[id] = listener.Addr().String()
		c.dirs[id] = t.TempDir()
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, id := range c.ids {
			if c.nodes[id] != nil {
				c.stop(id)
			}
		}
	})
	return c
}

func (c *testCluster) startAll() {
	c.t.Helper()
	for _, id := range c.ids {
		c.start(id)
	}
	c.waitLed()
}

// start starts a node, in the folder it had.
func (c *testCluster) start(id string) *testNode {
	c.t.Helper()
	var listener net.Listener
	c.eventually("the address of "+id+" is free", func() (err error) {
		listener, err = net.Listen("tcp", c.addresses[id])
		return err
	})
	addresses := c.addresses
	if c.proxies != nil {
		addresses = c.proxies.addresses(id)
	}
	port, err := peer.Open(peer.Config{NodeID: id, ClusterID: "test", Listener: listener, Nodes: addresses, Logger: slog.New(slog.DiscardHandler), Limits: c.limits})
	if err != nil {
		c.t.Fatal(err)
	}
	n := &testNode{id: id, dir: c.dirs[id], port: port, mesh: NewMesh(port, nil)}
	if n.log, err = wal.Open(filepath.Join(n.dir, "log"), wal.Options{}); err != nil {
		c.t.Fatal(err)
	}
	for i := range c.groups {
		n.groups = append(n.groups, c.open(n, i))
	}
	if err := port.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.nodes[id] = n
	return n
}

func (c *testCluster) open(n *testNode, i int) *testGroup {
	c.t.Helper()
	name := fmt.Sprintf("data-%02d", i)
	dir := filepath.Join(n.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		c.t.Fatal(err)
	}
	logs := &lockedBuffer{}
	logger := slog.New(slog.NewTextHandler(logs, nil))
	state, err := OpenState(dir, store.Options{}, logger)
	if err != nil {
		c.t.Fatal(err)
	}
	data, err := fsm.NewData(state.Store)
	if err != nil {
		c.t.Fatal(err)
	}
	var machine Machine = data
	if c.wrap != nil {
		machine = c.wrap(n.id, data)
	}
	config := Config{
		Name: name, Dir: dir, NodeID: n.id, Options: c.options, Logger: logger, Log: n.log,
		Voters: c.ids, Mesh: n.mesh, Preferred: c.ids[i%len(c.ids)],
	}
	if c.founders != nil {
		config.Voters, config.Join = c.founders, !slices.Contains(c.founders, n.id)
	}
	g, err := Open(config, machine)
	if err != nil {
		c.t.Fatal(err)
	}
	return &testGroup{Group: g, data: data, state: state, logs: logs}
}

// stop ends a node. Others see its connections break, as they do when it is killed.
func (c *testCluster) stop(id string) {
	c.t.Helper()
	start, n := time.Now(), c.nodes[id]
	delete(c.nodes, id)
	for _, g := range n.groups {
		g.close(c.t)
	}
	if err := errors.Join(n.mesh.Close(), n.port.Close(), n.log.Close()); err != nil {
		c.t.Errorf("closing %s: %v", id, err)
	}
	if took := time.Since(start); took > 2*time.Second {
		c.t.Logf("closing %s took %s", id, took)
	}
}

func (c *testCluster) eventually(what string, ok func() error) {
	c.t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	c.t.Fatalf("never: %s: %v", what, err)
}

// leader is the replica of a group that leads, nil if there is none.
func (c *testCluster) leader(i int) *testGroup {
	for _, n := range c.nodes {
		if n.groups[i].Leading() {
			return n.groups[i]
		}
	}
	return nil
}

// waitLed waits until all groups are led, and every node knows by whom.
func (c *testCluster) waitLed() {
	c.t.Helper()
	for i := range c.groups {
		c.eventually(fmt.Sprintf("group %d is led", i), func() error {
			g := c.leader(i)
			if g == nil {
				return errors.New("no leader")
			}
			for _, n := range c.nodes {
				if leader, _ := n.groups[i].Leader(); leader != g.config.NodeID {
					return fmt.Errorf("%s follows %q", n.id, leader)
				}
			}
			return nil
		})
	}
}

// submit writes through whoever leads, and tries again while nobody does.
func (c *testCluster) submit(i int, id string) {
	c.t.Helper()
	c.eventually("written", func() error {
		g := c.leader(i)
		if g == nil {
			return errors.New("no leader")
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		start := time.Now()
		_, err := g.Submit(ctx, put(c.t, id))
		if took := time.Since(start); took > 2*time.Second {
			c.t.Logf("a write took %s (%v): %+v", took, err, g.Status())
		}
		return err
	})
}

func TestThreeNodesElectReplicateAndFailOver(t *testing.T) {
	start := time.Now()
	c := newTestCluster(t, 3, 4, Options{})
	c.startAll()
	t.Logf("led after %s", time.Since(start))
	for i := range c.groups {
		if leader := c.leader(i); leader.config.NodeID != leader.config.Preferred {
			t.Logf("group %d is led by %s, not by %s", i, leader.config.NodeID, leader.config.Preferred)
		}
		for k := range 50 {
			c.submit(i, fmt.Sprint(k))
		}
	}
	c.same(50)

	for _, n := range c.nodes {
		for _, line := range n.logged() {
			t.Errorf("%s logged: %s", n.id, line)
		}
	}
	start = time.Now()
	c.stop("n1")
	stopped := time.Since(start)
	c.waitLed()
	t.Logf("stopped after %s, led again after %s", stopped, time.Since(start))
	for i := range c.groups {
		for k := range 50 {
			c.submit(i, fmt.Sprint("more", k))
		}
	}
	c.same(100)
	start = time.Now()
	c.start("n1")
	c.same(100)
	t.Logf("caught up after %s", time.Since(start))
	for _, n := range c.nodes {
		t.Logf("%s logged: %s", n.id, strings.Join(n.logged(), "\n"))
	}
}

// same waits until every running replica of every group holds n subjects.
func (c *testCluster) same(n int64) {
	c.t.Helper()
	for i := range c.groups {
		for _, node := range c.nodes {
			c.eventually("the same", func() error {
				if got := node.groups[i].data.Subjects(); got != n {
					return fmt.Errorf("%s has %d subjects of group %d, want %d", node.id, got, i, n)
				}
				return nil
			})
		}
	}
}

// logged is what all groups of a node logged.
func (n *testNode) logged() (lines []string) {
	for _, g := range n.groups {
		for line := range strings.Lines(g.logs.String()) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}
