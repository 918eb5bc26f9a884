package raftgroup

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestReplicasMove replaces every replica of a group, one after the other, while it is written to; the new
// ones are brought up by snapshots and entries, and vote only then.
func TestReplicasMove(t *testing.T) {
	c := newTestCluster(t, 6, 1, Options{SnapshotEntries: 20, TrailingEntries: 4, SnapshotInterval: 50 * time.Millisecond})
	c.founders = c.ids[:3]
	for _, id := range c.founders {
		c.start(id)
	}
	c.waitLed()
	written := int64(0)
	write := func(n int) {
		for range n {
			c.submit(0, fmt.Sprint("s", written))
			written++
		}
	}
	write(60)
	if err := c.leader(0).Snapshot(); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for i, old := range c.founders {
		comes := c.ids[3+i]
		// One that is not there is no danger, and gets no vote.
		if err := c.leader(0).AddFollower(ctx, comes); err != nil {
			t.Fatal(err)
		}
		if err := c.leader(0).Promote(ctx, comes); err == nil {
			t.Fatalf("%s votes before it is there", comes)
		}
		n := c.start(comes)
		if role := n.groups[0].Status().Role; role != RoleNewborn && role != RoleFollower {
			t.Errorf("%s begins as a %s", comes, role)
		}
		write(20)
		c.eventually(comes+" has caught up", func() error {
			if !c.leader(0).CaughtUp(comes) {
				return errors.New("not yet")
			}
			return nil
		})
		if err := c.leader(0).TransferLeadership(ctx, comes); err == nil {
			t.Errorf("%s leads without a vote", comes)
		}
		if err := c.leader(0).Promote(ctx, comes); err != nil {
			t.Fatal(err)
		}
		if seats := c.leader(0).Seats(); len(seats.Voters) != 4 || len(seats.Followers) != 0 || !slices.Contains(seats.Voters, comes) {
			t.Fatalf("%+v", seats)
		}
		if c.leader(0).config.NodeID == old {
			if err := c.leader(0).Remove(ctx, old); err == nil {
				t.Error("the leader removes itself")
			}
			c.eventually("the lead is given away", func() error { return c.nodes[old].groups[0].TransferLeadership(ctx, comes) })
			c.eventually(comes+" leads", func() error { return c.nodes[comes].groups[0].Ready() })
		}
		if err := c.leader(0).Remove(ctx, old); err != nil {
			t.Fatal(err)
		}
		write(20)
		// It counts no more: it neither holds anything up nor finds another leader.
		time.Sleep(300 * time.Millisecond)
		if c.nodes[old].groups[0].Leading() {
			t.Errorf("%s leads and keeps nothing", old)
		}
		c.stop(old)
		write(20)
	}
	c.waitLed()
	c.same(written)
	for _, n := range c.nodes {
		if err := n.groups[0].Confirm(ctx); err != nil {
			t.Errorf("%s: %v", n.id, err)
		}
		c.eventually("all know who keeps it", func() error {
			if seats := n.groups[0].CommittedSeats(); !slices.Equal(seats.Voters, c.ids[3:]) {
				return fmt.Errorf("%s: %+v", n.id, seats)
			}
			return nil
		})
	}
	// Two of three go on when one dies.
	c.stop(c.leader(0).config.NodeID)
	c.waitLed()
	write(10)
	c.same(written)
}

// TestAFollowerBecomesAVoterAgain takes a vote and gives it back.
func TestAFollowerBecomesAVoterAgain(t *testing.T) {
	c := newTestCluster(t, 3, 1, Options{})
	c.startAll()
	lead := c.leader(0)
	other := c.ids[0]
	if other == lead.config.NodeID {
		other = c.ids[1]
	}
	if err := lead.Demote(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	c.submit(0, "a")
	if err := lead.TransferLeadership(t.Context(), other); err == nil {
		t.Error("a node without a vote leads")
	}
	c.eventually("it has caught up", func() error { return lead.Promote(t.Context(), other) })
	c.submit(0, "b")
	c.same(2)
}
