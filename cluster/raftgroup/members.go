package raftgroup

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Who votes and who only follows stands in the group's own log, and changes one replica at a time. The
// configuration a group is opened with counts only until its log knows better.

// seats is who keeps a group. It is immutable.
type seats struct {
	servers           []raft.Server // as raft has them: a change makes another slice
	voters, followers []string      // sorted
}

func seatsOf(servers []raft.Server) *seats {
	s := &seats{servers: servers}
	for _, server := range servers {
		if server.Suffrage == raft.Voter {
			s.voters = append(s.voters, string(server.ID))
		} else {
			s.followers = append(s.followers, string(server.ID))
		}
	}
	slices.Sort(s.voters)
	slices.Sort(s.followers)
	return s
}

func (s *seats) votes(node string) bool {
	_, ok := slices.BinarySearch(s.voters, node)
	return ok
}

func (s *seats) has(node string) bool {
	_, follows := slices.BinarySearch(s.followers, node)
	return follows || s.votes(node)
}

// knows is has, where a replica that knows nobody yet listens to all.
func (s *seats) knows(node string) bool { return len(s.servers) == 0 || s.has(node) }

// seats is who keeps the group by the newest configuration in the log here, which is what raft counts by,
// committed or not.
func (g *Group) seats() *seats {
	known := g.seated.Load()
	if g.mesh == nil {
		return known
	}
	servers := g.raft.GetConfiguration().Configuration().Servers
	if len(servers) == len(known.servers) && (len(servers) == 0 || &servers[0] == &known.servers[0]) {
		return known
	}
	now := seatsOf(servers)
	g.seated.Store(now)
	return now
}

// others tells whether nodes beside this one keep the group, as far as its configuration and its state on
// disk tell. It is for the time before raft runs.
func (g *Group) others(at *raft.SnapshotMeta) bool {
	switch {
	case g.config.Join:
		return true
	case at != nil && len(at.Configuration.Servers) > 0:
		return len(seatsOf(at.Configuration.Servers).voters) > 1
	}
	return len(g.config.Voters) > 1
}

// Seats is who keeps a group.
type Seats struct {
	// Voters vote and may lead, Followers keep the state only. Both are sorted.
	Voters, Followers []string
}

// Has tells whether a node keeps the group.
func (s *Seats) Has(node string) bool {
	return slices.Contains(s.Voters, node) || slices.Contains(s.Followers, node)
}

// Seats is who keeps the group by the newest configuration here. On the leader none other can be committed.
func (g *Group) Seats() Seats {
	s := g.seats()
	return Seats{Voters: s.voters, Followers: s.followers}
}

// CommittedSeats is who keeps the group by the newest configuration that this replica has applied.
func (g *Group) CommittedSeats() Seats {
	raw := g.machine.Position().Configuration
	if len(raw) == 0 {
		return Seats{}
	}
	s := seatsOf(raft.DecodeConfiguration(raw).Servers)
	return Seats{Voters: s.voters, Followers: s.followers}
}

// Prefer sets which voter should lead: it stands for election first.
func (g *Group) Prefer(node string) { g.preferred.Store(&node) }

// maxBehind is how many entries a replica may lack and count as caught up: it has asked for them already.
const maxBehind = 4096

// CaughtUp tells, on the leader, whether a replica has the state and nearly the whole log, so that it can
// vote without holding the others up.
func (g *Group) CaughtUp(node string) bool {
	if g.mesh == nil || node == g.config.NodeID {
		return true
	}
	s, asked, ok := g.mesh.heardOf(node, g.config.Name)
	return ok && !s.newborn && s.term == g.raft.CurrentTerm() && s.last+maxBehind >= g.raft.LastIndex() && time.Since(asked) < g.options.LeaseTimeout
}

// AddFollower lets a node keep the group without a vote. It opens the group with Config.Join.
func (g *Group) AddFollower(ctx context.Context, node string) error {
	return g.reseat(ctx, func() raft.Future { return g.raft.AddNonvoter(raft.ServerID(node), raft.ServerAddress(node), 0, 0) })
}

// Promote gives a follower that has caught up a vote.
func (g *Group) Promote(ctx context.Context, node string) error {
	if !g.CaughtUp(node) {
		return nba.Errorf(nba.CodeUnavailable, "node %s has not caught up with group %s", node, g.config.Name)
	}
	return g.reseat(ctx, func() raft.Future { return g.raft.AddVoter(raft.ServerID(node), raft.ServerAddress(node), 0, 0) })
}

// Demote takes the vote of another node than this one.
func (g *Group) Demote(ctx context.Context, node string) error {
	if node == g.config.NodeID {
		return errKeepsItself
	}
	return g.reseat(ctx, func() raft.Future { return g.raft.DemoteVoter(raft.ServerID(node), 0, 0) })
}

// Remove ends that another node than this one keeps the group.
func (g *Group) Remove(ctx context.Context, node string) error {
	if node == g.config.NodeID {
		return errKeepsItself
	}
	return g.reseat(ctx, func() raft.Future { return g.raft.RemoveServer(raft.ServerID(node), 0, 0) })
}

var errKeepsItself = errors.New("a leader must be followed by another before it gives up its vote")

// reseat changes the configuration, on the leader, and returns once that is committed. When ctx ends
// before, it may still happen.
func (g *Group) reseat(ctx context.Context, change func() raft.Future) error {
	if g.mesh == nil || !g.Leading() {
		return g.errNotLeader()
	}
	done := make(chan error, 1)
	if !g.spawn(func() {
		g.proposing.RLock()
		defer g.proposing.RUnlock()
		done <- change().Error()
	}) {
		return errClosed()
	}
	select {
	case err := <-done:
		if err != nil {
			return nba.Errorf(nba.CodeUnavailable, "the replicas of group %s were not changed: %w", g.config.Name, err)
		}
		return nil
	case <-ctx.Done():
		return nba.Errorf(nba.CodeTimeout, "the replicas of group %s were not changed in time (%w)", g.config.Name, ctx.Err())
	}
}
