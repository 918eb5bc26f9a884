package raftgroup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Role is what a replica does in its group.
type Role string

// The roles.
const (
	RoleLeader    Role = "leader"
	RoleFollower  Role = "follower"
	RoleCandidate Role = "candidate"
	// RoleNewborn is a replica that began with an empty folder and may not vote until it caught up.
	RoleNewborn Role = "newborn"
	RoleStopped Role = "stopped"
)

// Status is how a replica stands.
type Status struct {
	Role   Role
	Leader string // node id, empty if it is not known
	Term   uint64
	// Last, Committed and Applied are indexes of log entries. Applied counts entries that hold
	// operations or voters only, so it can rest below Committed.
	Last, Committed, Applied uint64
	Voters, Followers        []string
	// LastContact is how long ago the leader was heard, or on the leader a majority; negative if never.
	LastContact time.Duration
	// Age bounds how old the state is; negative if that is unknown.
	Age time.Duration
	// Progress is the last log entry of every voter that answers, as last heard.
	Progress map[string]uint64
	// Failure is why the replica stopped.
	Failure error
}

// Status tells how the replica stands.
func (g *Group) Status() Status {
	s := Status{
		Term: g.raft.CurrentTerm(), Last: g.raft.LastIndex(), Committed: g.raft.CommitIndex(), Applied: g.machine.Position().Index,
		Voters: g.seats().voters, Followers: g.seats().followers, LastContact: -1, Age: -1, Progress: map[string]uint64{},
	}
	s.Leader, _ = g.Leader()
	switch g.raft.State() {
	case raft.Leader:
		s.Role = RoleLeader
	case raft.Candidate:
		s.Role = RoleCandidate
	default:
		s.Role = RoleFollower
	}
	if g.newborn() {
		s.Role = RoleNewborn
	}
	if err := g.failure.Load(); err != nil {
		s.Role, s.Failure = RoleStopped, *err
	}
	if age, ok := g.Age(); ok {
		s.Age = age
	}
	s.LastContact = s.Age
	if contact := g.raft.LastContact(); s.Role == RoleFollower && !contact.IsZero() {
		s.LastContact = time.Since(contact)
	}
	s.Progress[g.config.NodeID] = s.Last
	for _, node := range append(slices.Clone(s.Voters), s.Followers...) {
		if g.mesh == nil || node == g.config.NodeID {
			continue
		}
		if heard, _, ok := g.mesh.heardOf(node, g.config.Name); ok {
			s.Progress[node] = heard.last
		}
	}
	return s
}

// Leading tells whether this node leads the group: it has applied everything before its election,
// and a majority of the voters confirmed it a moment ago. It takes no lock.
func (g *Group) Leading() bool {
	return g.leading.Load() && (g.mesh == nil || g.fresh())
}

// fresh tells whether a majority confirmed lately that this node leads. raft itself notices after a
// while that it is cut off.
func (g *Group) fresh() bool {
	now := time.Now()
	if now.UnixNano() < g.freshUntil.Load() {
		return true
	}
	confirmed := g.confirmedLead(g.leadTerm.Load())
	until := confirmed.Add(g.options.LeaseTimeout)
	g.freshUntil.Store(until.UnixNano())
	return now.Before(until)
}

// confirmedLead is a time at which this node certainly led in the term, zero if there is none.
func (g *Group) confirmedLead(term uint64) time.Time {
	if voters := g.seats().voters; len(voters) == 1 && voters[0] == g.config.NodeID && g.leadTerm.Load() == term && term != 0 {
		return time.Now()
	}
	return g.contacts.confirmed(term)
}

// Leader is the node that leads the group as far as this one knows, which is alive. ok is false while
// there is none.
func (g *Group) Leader() (node string, ok bool) {
	if g.mesh == nil {
		return g.config.NodeID, g.leading.Load()
	}
	_, id := g.raft.LeaderWithID()
	node = string(id)
	if node == "" || !g.mesh.port.Alive(node) || node == g.config.NodeID && !g.Leading() {
		return "", false
	}
	return node, true
}

// Age bounds how old the state here is: everything acknowledged longer ago is in it. It is 0 for a
// group with one voter. ok is false while nothing is known, as after the start.
func (g *Group) Age() (age time.Duration, ok bool) {
	if g.mesh == nil {
		return 0, g.leading.Load()
	}
	var asof time.Time
	if term := g.leadTerm.Load(); g.leadsIn(term) {
		asof = g.confirmedLead(term)
	} else {
		asof = g.age.known(g.machine.Position().Index)
	}
	if asof.IsZero() {
		return 0, false
	}
	return time.Since(asof), true
}

// TransferLeadership makes another voter the leader. Writes are refused meanwhile, which takes some
// milliseconds if that voter is alive and caught up. It is an error if this node does not lead, or the
// other one did not take over.
func (g *Group) TransferLeadership(ctx context.Context, to string) error {
	if g.mesh == nil || g.raft.State() != raft.Leader {
		return g.errNotLeader()
	}
	if !g.mesh.port.Alive(to) {
		return nba.Errorf(nba.CodeUnavailable, "node %s is down and cannot lead group %s", to, g.config.Name)
	}
	if heard, _, ok := g.mesh.heardOf(to, g.config.Name); !ok || heard.newborn || !g.seats().votes(to) {
		return nba.Errorf(nba.CodeUnavailable, "node %s is not ready to lead group %s", to, g.config.Name)
	}
	done := make(chan error, 1)
	if !g.spawn(func() {
		done <- g.raft.LeadershipTransferToServer(raft.ServerID(to), raft.ServerAddress(to)).Error()
	}) {
		return errClosed()
	}
	select {
	case err := <-done:
		if err != nil {
			return nba.Errorf(nba.CodeUnavailable, "node %s did not take over group %s: %w", to, g.config.Name, err)
		}
		return nil
	case <-ctx.Done():
		return nba.Errorf(nba.CodeTimeout, "node %s did not take over group %s in time (%w)", to, g.config.Name, ctx.Err())
	}
}

func (g *Group) errNotLeader() error {
	if err := g.failure.Load(); err != nil {
		return g.errStopped()
	}
	leader := ""
	if g.mesh != nil {
		if leader, _ = g.Leader(); leader == g.config.NodeID {
			leader = ""
		}
	}
	return ErrNotLeader(g.config.Name, leader)
}

// lead follows raft's leadership: when this node was elected, it leads once everything before its
// election is applied.
func (g *Group) lead(leads bool) {
	if !leads {
		g.leading.Store(false)
		g.leadTerm.Store(0)
		if g.mesh != nil {
			g.mesh.due()
		}
		return
	}
	asked, term := time.Now(), g.raft.CurrentTerm()
	barrier := make(chan error, 1)
	if !g.spawn(func() { barrier <- g.raft.Barrier(0).Error() }) { // ends at the latest with raft
		return
	}
	var err error
	select {
	case err = <-barrier:
	case <-g.failed:
		return
	case <-g.quit:
		return
	}
	if err == nil && (g.raft.State() != raft.Leader || g.raft.CurrentTerm() != term) {
		err = errors.New("the leadership was lost at once")
	}
	if err != nil || g.failure.Load() != nil {
		g.leading.Store(false)
		g.leadTerm.Store(0)
		return
	}
	g.contacts.begin(term, asked)
	g.freshUntil.Store(0)
	g.leadTerm.Store(term)
	g.leading.Store(true)
	g.becameReady()
}

func (g *Group) becameReady() { g.onReady.Do(func() { close(g.ready) }) }

// checkVoters reports what is wrong with the voters of a configuration.
func (c *Config) checkVoters() error {
	if c.Mesh == nil {
		if len(c.Voters) > 1 {
			return errors.New("several voters need a mesh")
		}
		return nil
	}
	if len(c.Name) == 0 || len(c.Name) > maxGroupName {
		return fmt.Errorf("the name has %d bytes: between 1 and %d", len(c.Name), maxGroupName)
	}
	if c.NodeID != c.Mesh.port.NodeID() {
		return fmt.Errorf("the node is %s and that of its port %s", c.NodeID, c.Mesh.port.NodeID())
	}
	own := false
	for i, node := range c.Voters {
		own = own || node == c.NodeID
		if i > 0 && c.Voters[i-1] >= node {
			return errors.New("the voters must be sorted, each once")
		}
	}
	if own = own || slices.Contains(c.Followers, c.NodeID); !own && !c.Join {
		return fmt.Errorf("node %s is none of the voters", c.NodeID)
	}
	return nil
}
