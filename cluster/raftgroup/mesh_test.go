package raftgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// cpu is the processor time the process used.
func cpu(t testing.TB) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestIdleGroupsCostLittle measures three idle nodes, all in this process.
func TestIdleGroupsCostLittle(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes some seconds")
	}
	for _, groups := range []int{16, 64} {
		t.Run(fmt.Sprint(groups), func(t *testing.T) {
			start := time.Now()
			c := newTestCluster(t, 3, groups, Options{})
			c.startAll()
			t.Logf("%d groups led after %s", groups, time.Since(start))
			time.Sleep(time.Second)
			before, start := cpu(t), time.Now()
			time.Sleep(3 * time.Second)
			used := (cpu(t) - before).Seconds() / time.Since(start).Seconds()
			t.Logf("%d idle groups on three nodes use %.3f cores", groups, used)
			if used > 0.15 {
				t.Errorf("%.3f cores, at most 0.15", used)
			}
		})
	}
}

func TestFailoverOfManyGroupsIsQuick(t *testing.T) {
	c := newTestCluster(t, 3, 16, Options{})
	c.startAll()
	for i := range c.groups {
		c.submit(i, "a")
	}
	victim := c.nodes["n1"]
	led := 0
	for _, g := range victim.groups {
		if g.Leading() {
			led++
		}
	}
	start := time.Now()
	if err := victim.port.Close(); err != nil { // as if it were killed: its connections break
		t.Fatal(err)
	}
	delete(c.nodes, "n1")
	c.waitLed()
	t.Logf("%d groups led again after %s", led, time.Since(start))
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("after %s", took)
	}
	c.nodes["n1"] = victim
}

func TestTransferLeadership(t *testing.T) {
	c := newTestCluster(t, 3, 1, Options{})
	c.startAll()
	c.submit(0, "a")
	for round := range 6 {
		g := c.leader(0)
		to := c.ids[(slices.Index(c.ids, g.config.NodeID)+1)%3]
		c.eventually("not newborn", func() error {
			if s, _, ok := g.mesh.heardOf(to, "data-00"); !ok || s.newborn {
				return errors.New("newborn")
			}
			return nil
		})
		start := time.Now()
		if err := g.TransferLeadership(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		c.eventually("transferred", func() error {
			if c.nodes[to].groups[0].Leading() {
				return nil
			}
			// An election under way may have been quicker: whoever won it is asked again.
			for id, node := range c.nodes {
				if other := node.groups[0]; id != to && other.Leading() {
					return errors.Join(errors.New("another leads"), other.TransferLeadership(t.Context(), to))
				}
			}
			return errors.New("not yet")
		})
		t.Logf("transferred after %s", time.Since(start))
		c.submit(0, fmt.Sprint(round))
		c.waitLed()
	}
	c.same(7)
	follower := c.nodes[c.ids[0]].groups[0]
	if follower.Leading() {
		follower = c.nodes[c.ids[1]].groups[0]
	}
	err := follower.TransferLeadership(t.Context(), c.ids[2])
	if _, ok := errors.AsType[*NotLeader](err); !ok {
		t.Errorf("got %v", err)
	}
	_, err = follower.Submit(t.Context(), put(t, "x"))
	if moved, ok := errors.AsType[*NotLeader](err); !ok || moved.Leader != c.leader(0).config.NodeID || nba.CodeOf(err) != nba.CodeUnavailable {
		t.Errorf("got %v", err)
	}
	s := follower.Status()
	if s.Role != RoleFollower || s.Leader != c.leader(0).config.NodeID || len(s.Voters) != 3 || len(s.Progress) != 3 || s.Term < 2 || s.Failure != nil {
		t.Errorf("status %+v", s)
	}
}

// TestFailedReplicaGivesUpItsLead: its node lives, only the group has stopped.
func TestFailedReplicaGivesUpItsLead(t *testing.T) {
	c := newTestCluster(t, 3, 2, Options{})
	c.startAll()
	c.submit(0, "a")
	old := c.leader(0)
	start := time.Now()
	old.fail(errors.New("disk broken"))
	c.eventually("another leads", func() error {
		if g := c.leader(0); g == nil || g == old {
			return errors.New("none")
		}
		return nil
	})
	t.Logf("another leads after %s", time.Since(start))
	c.submit(0, "b")
	if s := old.Status(); s.Role != RoleStopped || s.Failure == nil {
		t.Errorf("status %+v", s)
	}
}

// TestWipedVoterCannotVoteBeforeItCaughtUp: it forgot what it acknowledged.
func TestWipedVoterCannotVoteBeforeItCaughtUp(t *testing.T) {
	c := newTestCluster(t, 3, 1, Options{})
	c.startAll()
	c.stop("n3")
	for k := range 20 {
		c.submit(0, fmt.Sprint(k)) // acknowledged by n1 and n2
	}
	c.stop("n1")
	c.stop("n2")
	if err := os.RemoveAll(c.dirs["n2"]); err != nil { // n1 alone has them
		t.Fatal(err)
	}
	if err := os.MkdirAll(c.dirs["n2"], 0o700); err != nil {
		t.Fatal(err)
	}
	c.start("n2")
	c.start("n3")
	time.Sleep(time.Second)
	for _, n := range c.nodes {
		if n.groups[0].Leading() {
			t.Fatalf("%s leads without the entries that were acknowledged", n.id)
		}
	}
	n2 := c.nodes["n2"].groups[0]
	if s := n2.Status(); s.Role != RoleNewborn {
		t.Errorf("status %+v", s)
	}
	if err := n2.wire.RequestVote("n3", "n3", &raft.RequestVoteRequest{Term: 100}, &raft.RequestVoteResponse{}); !errors.Is(err, errMayNotLead) {
		t.Errorf("a newborn asked for a vote: %v", err)
	}
	if err := n2.wire.RequestPreVote("n3", "n3", &raft.RequestPreVoteRequest{Term: 100}, &raft.RequestPreVoteResponse{}); !errors.Is(err, errMayNotLead) {
		t.Errorf("a newborn asked for a vote: %v", err)
	}
	c.start("n1")
	c.waitLed()
	c.same(20)
	c.eventually("grown", func() error {
		if c.nodes["n2"].groups[0].newborn() {
			return errors.New("not yet")
		}
		return nil
	})
	if _, err := os.Stat(filepath.Join(c.dirs["n2"], "data-00", newbornMark)); !os.IsNotExist(err) {
		t.Errorf("the mark is still there: %v", err)
	}
	c.stop("n1")
	c.waitLed()
	c.submit(0, "more")
	c.same(21)
}

// TestFarBehindIsSentASnapshot: the log was truncated meanwhile.
func TestFarBehindIsSentASnapshot(t *testing.T) {
	c := newTestCluster(t, 3, 1, Options{TrailingEntries: 3})
	c.startAll()
	c.submit(0, "first")
	c.stop("n3")
	for k := range 200 {
		c.submit(0, fmt.Sprint(k))
	}
	for _, n := range c.nodes {
		if err := n.groups[0].Snapshot(); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	n := c.start("n3")
	c.same(201)
	t.Logf("caught up after %s", time.Since(start))
	c.submit(0, "last")
	c.same(202)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := n.groups[0].Confirm(ctx); err != nil {
		t.Error(err)
	}
}

// TestWhoCannotReachTheLeaderDoesNotDisturb: a majority follows it.
func TestWhoCannotReachTheLeaderDoesNotDisturb(t *testing.T) {
	c := newTestCluster(t, 3, 1, Options{FallbackTimeout: 3 * time.Second})
	c.limits.DownAfter = 2 * time.Second // of a busy machine
	c.proxies = newProxies(t, c.addresses)
	c.startAll()
	c.submit(0, "a")
	leader := c.leader(0)
	// A group is founded by all its voters: each has to have caught up before one may be missing.
	for _, id := range c.ids {
		if id == leader.config.NodeID {
			continue
		}
		c.eventually("not newborn", func() error {
			if s, _, ok := leader.mesh.heardOf(id, "data-00"); !ok || s.newborn {
				return errors.New("newborn")
			}
			return nil
		})
	}
	term := leader.Status().Term
	lonely := c.ids[0]
	if lonely == leader.config.NodeID {
		lonely = c.ids[1]
	}
	time.Sleep(time.Second) // right after the founding a lost link can still cost the leader its majority
	c.proxies.cut(leader.config.NodeID, lonely)
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if err := leader.Confirm(ctx); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	// It comes back as a new process, and knows no leader.
	c.stop(lonely)
	c.start(lonely)
	time.Sleep(2 * time.Second)
	if got := leader.Status(); got.Term != term || !leader.Leading() {
		t.Errorf("the leader was disturbed: %+v", got)
	}
	c.submit(0, "b")
	c.proxies.mend(leader.config.NodeID, lonely)
	c.waitLed()
	c.same(2)
	if got := leader.Status(); got.Term != term {
		t.Errorf("the leader was disturbed when the network healed: %+v", got)
	}
}

// TestAllApart: every node becomes a candidate in vain.
func TestAllApart(t *testing.T) {
	c := newTestCluster(t, 3, 2, Options{FallbackTimeout: time.Second})
	c.proxies = newProxies(t, c.addresses)
	c.startAll()
	c.submit(0, "a")
	pairs := [][2]string{{"n1", "n2"}, {"n2", "n3"}, {"n1", "n3"}}
	for _, p := range pairs {
		c.proxies.cut(p[0], p[1])
	}
	time.Sleep(4 * time.Second)
	if c.leader(0) != nil {
		t.Error("somebody leads")
	}
	start := time.Now()
	for _, p := range pairs {
		c.proxies.mend(p[0], p[1])
	}
	c.waitLed()
	t.Logf("led again after %s", time.Since(start))
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("after %s", took)
	}
	c.submit(0, "b")
}

// TestForgetfulVoterHelpsNoOldLeader: n2 helped n3 to commit, forgot it, and is found by n1 alone, whose
// lead is over.
func TestForgetfulVoterHelpsNoOldLeader(t *testing.T) {
	c := newTestCluster(t, 3, 1, Options{LeaseTimeout: 20 * time.Second, FallbackTimeout: 40 * time.Second})
	c.proxies = newProxies(t, c.addresses)
	c.startAll()
	c.submit(0, "a")
	old := c.leader(0)
	var others []string
	for _, id := range c.ids {
		if id != old.config.NodeID {
			others = append(others, id)
			c.proxies.cut(old.config.NodeID, id)
		}
	}
	var next *testGroup
	c.eventually("the others elect", func() error {
		for _, id := range others {
			if c.nodes[id].groups[0].Leading() {
				next = c.nodes[id].groups[0]
				return nil
			}
		}
		return errors.New("not yet")
	})
	if _, err := next.Submit(t.Context(), put(t, "b")); err != nil {
		t.Fatal(err)
	}
	forgetful := others[0]
	if forgetful == next.config.NodeID {
		forgetful = others[1]
	}
	c.proxies.cut(others[0], others[1])
	c.stop(forgetful)
	if err := errors.Join(os.RemoveAll(c.dirs[forgetful]), os.MkdirAll(c.dirs[forgetful], 0o700)); err != nil {
		t.Fatal(err)
	}
	c.proxies.mend(old.config.NodeID, forgetful)
	c.start(forgetful)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := old.Submit(ctx, put(t, "c")); err == nil {
		t.Error("a leader whose time is over committed with the help of one that forgot")
	}
	if err := old.Confirm(t.Context()); err == nil {
		t.Error("a leader whose time is over confirmed a read with the help of one that forgot")
	}
	for _, id := range c.ids {
		for _, other := range c.ids {
			if id < other {
				c.proxies.mend(id, other)
			}
		}
	}
	c.waitLed()
	c.eventually("b is there", func() error {
		if n := c.leader(0).data.Subjects(); n != 2 && n != 3 { // c may still come about, or not
			return fmt.Errorf("%d subjects", n)
		}
		return nil
	})
}
