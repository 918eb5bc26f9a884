package router

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/membership"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Members are the nodes of the cluster, with what those that answer say of themselves.
func (r *Router) Members(ctx context.Context) ([]nba.ClusterMember, error) {
	if r.net == nil {
		return []nba.ClusterMember{}, nil
	}
	state := r.control.State()
	m := &state.Members
	members := []nba.ClusterMember{}
	for id, addr := range r.addresses() {
		member := nba.ClusterMember{ID: id, Addr: addr, Up: r.net.reachable(id)}
		if n, ok := m.Node(id); ok {
			member.Zone, member.Draining, member.JoinedAt = n.Zone, n.Draining, n.JoinedAt
		}
		member.Votes = slices.Contains(m.Voters, id) || m.Version == 0
		for _, d := range r.groups() {
			if slices.Contains(d.keepers(), id) {
				member.Keeps++
			}
		}
		for _, said := range state.Features.Nodes {
			if said.Node == id {
				member.Release, member.Level = said.Release, int(said.Level)
			}
		}
		members = append(members, member)
	}
	standings := r.standings(ctx)
	for i := range members {
		members[i].Has = r.keptBy(members[i].ID, standings)
		if s := standings[members[i].ID]; s != nil {
			members[i].Leads = len(s.Leads)
		}
	}
	slices.SortFunc(members, func(a, b nba.ClusterMember) int { return strings.Compare(a.ID, b.ID) })
	return members, nil
}

// keptBy counts the data groups that a node keeps by what their leaders and itself say.
func (r *Router) keptBy(node string, standings map[string]*standing) int {
	kept := map[uint64]bool{}
	for id, s := range standings {
		for i := range s.Leads {
			if g := &s.Leads[i]; g.Number != controlGroup && g.has(node) {
				kept[g.Number] = true
			}
		}
		if id != node {
			continue
		}
		for _, number := range s.Keeps {
			if number != controlGroup {
				kept[number] = true
			}
		}
	}
	return len(kept)
}

// Drain has a node give away what it keeps and leads, or, with cancel, take its share again. An unknown
// node is an *nba.Error with CodeNotFound.
func (r *Router) Drain(ctx context.Context, node string, cancel bool) error {
	if err := r.changeable(); err != nil {
		return err
	}
	draining := !cancel
	_, err := r.control.submit(ctx, &command.ChangeNode{ID: node, Draining: &draining}, true)
	return err
}

// RemoveMember ends that a node is a member. It must keep nothing; with force, it must not answer, and what
// it keeps counts as lost and is made anew on others. Else the error has CodeConflict.
func (r *Router) RemoveMember(ctx context.Context, node string, force bool) error {
	if err := r.changeable(); err != nil {
		return err
	}
	if _, there := r.control.State().Members.Node(node); there {
		standings := r.standings(ctx)
		kept := r.keptBy(node, standings)
		switch {
		case force && r.net.reachable(node):
			return nba.Errorf(nba.CodeConflict, "the node answers: stop it before its removal is forced, or drain it and remove it without force")
		case !force && kept > 0:
			return nba.Errorf(nba.CodeConflict, "the node keeps %d data groups still: drain it and wait until it is empty (GET /v1/cluster/members), or force the removal of one that is lost", kept)
		}
		if g := standings[r.leads(standings, controlGroup)].controls(); !force && g != nil && slices.Contains(g.Voters, node) && len(g.Voters) > 1 {
			if err := r.unseat(ctx, node, g); err != nil {
				return err
			}
		}
	}
	_, err := r.control.submit(ctx, &command.RemoveNode{ID: node, Force: force}, true)
	return err
}

// unseat refuses to remove a voter of the control group while it has not been replaced, unless nobody can
// take its place.
func (r *Router) unseat(_ context.Context, node string, g *ledGroup) error {
	m := &r.control.State().Members
	if slices.Contains(m.Voters, node) && len(m.Nodes) > len(g.Voters) {
		return nba.Errorf(nba.CodeConflict, "the node votes in the control group still: drain it and wait until another votes in its place")
	}
	return nil
}

// leads is the node that says that it leads a group, empty if none does.
func (r *Router) leads(standings map[string]*standing, number uint64) string {
	for node, s := range standings {
		if s.group(number) != nil {
			return node
		}
	}
	return ""
}

func (s *standing) controls() *ledGroup {
	if s == nil {
		return nil
	}
	return s.group(controlGroup)
}

// TransferLead gives the lead of a group to a node, which must keep it; the map is changed accordingly, so
// that it stays there until leads are uneven. Empty, to is whichever node can.
func (r *Router) TransferLead(ctx context.Context, group, to string) error {
	if r.net == nil {
		return r.changeable()
	}
	s, err := r.byName(group)
	if err != nil {
		return err
	}
	if to != "" && !slices.Contains(s.keepers(), to) {
		return nba.Errorf(nba.CodeInvalid, "the node does not keep group %s: only one of %v can lead it", s.name, s.keepers())
	}
	m := &r.control.State().Members
	if to != "" && s.number != controlGroup && m.Version > 0 && s.preferred() != to {
		op := command.PlaceGroups{Map: m.Version, Groups: []command.PlacedGroup{{Group: int(s.number) - 1, Place: command.Place{Replicas: s.keepers(), Leader: to}}}}
		if _, err := r.control.submit(ctx, &op, false); err != nil {
			return err
		}
	}
	return r.atLeaderOf(ctx, s, to)
}

func (r *Router) byName(group string) (*shard, error) {
	for _, s := range r.shards() {
		if s.name == group {
			return s, nil
		}
	}
	return nil, nba.Errorf(nba.CodeNotFound, "no group has this name: GET /v1/cluster lists them")
}

// atLeaderOf has the leader of a group give the lead away.
func (r *Router) atLeaderOf(ctx context.Context, s *shard, to string) error {
	if node, ok := s.leader(); ok && node == to {
		return nil
	}
	message := appendBytes(binary.AppendUvarint(nil, s.number), to)
	return s.atLeader(ctx, false, func() error {
		if to == s.net.self {
			return nil
		}
		_, err := r.serveTransfer(ctx, s.net.self, message)
		return err
	}, func(node string) error {
		if node == to {
			return nil
		}
		reply, err := r.net.remote.Call(ctx, node, MethodTransfer, message)
		if err == nil && len(reply) > 0 && reply[0] == replyNotLeader {
			err = raftgroup.ErrNotLeader(s.name, "")
		}
		return err
	})
}

// TransferAll has a node give away all groups that it leads, and returns how many that were. They come back
// one by one later, unless the node drains.
func (r *Router) TransferAll(ctx context.Context, from string) (int, error) {
	if r.net == nil {
		return 0, r.changeable()
	}
	if !slices.Contains(r.net.nodes(), from) {
		return 0, nba.Errorf(nba.CodeNotFound, "no node of this name is a member: GET /v1/cluster/members lists them")
	}
	standing, err := r.standing(ctx, from)
	if err != nil {
		return 0, err
	}
	problems := make(chan error, len(standing.Leads))
	for i := range standing.Leads {
		s, err := r.shard(standing.Leads[i].Number)
		if err != nil {
			return 0, err
		}
		go func() { problems <- r.atLeaderOf(ctx, s, "") }()
	}
	var first error
	for range standing.Leads {
		if err := <-problems; err != nil && first == nil {
			first = err
		}
	}
	return len(standing.Leads), first
}

// Balance tells how evenly the groups are dealt out, and which steps follow.
func (r *Router) Balance(ctx context.Context) (nba.ClusterBalance, error) {
	if err := r.changeable(); err != nil {
		return nba.ClusterBalance{}, err
	}
	m := &r.control.State().Members
	if m.Version == 0 {
		return nba.ClusterBalance{}, nba.Errorf(nba.CodeUnavailable, "the nodes of the cluster are being taken into its state: retry shortly")
	}
	state := r.planState(m, r.standings(ctx), map[string]time.Time{})
	spread := membership.SpreadOf(state)
	out := nba.ClusterBalance{
		MinReplicas: spread.MinReplicas, MaxReplicas: spread.MaxReplicas, MinLeads: spread.MinLeads, MaxLeads: spread.MaxLeads,
		Misplaced: spread.Misplaced, Missing: spread.Missing, SharedZones: spread.SharedZones, Next: []nba.ClusterMove{},
	}
	for i := range state.Groups {
		if state.Groups[i].Moving {
			out.Moving++
		}
		if state.Groups[i].Lost {
			out.Lost++
		}
	}
	for _, step := range membership.Plan(state, membership.Limits{Moves: len(state.Groups), PerNode: len(state.Groups), Leaders: len(state.Groups)}) {
		out.Next = append(out.Next, nba.ClusterMove{Group: fmt.Sprintf("data-%02d", step.Group), Add: step.Add, Remove: step.Remove, Leader: step.Leader, Reason: string(step.Reason)})
	}
	return out, nil
}

// Rebalance gives the leads back at once to the nodes that should have them, and tells what else follows.
func (r *Router) Rebalance(ctx context.Context) (nba.ClusterBalance, error) {
	if err := r.changeable(); err != nil {
		return nba.ClusterBalance{}, err
	}
	for _, s := range r.shards() {
		to := s.preferred()
		if node, ok := s.leader(); !ok || node == to || !r.net.reachable(to) {
			continue
		}
		if err := r.atLeaderOf(ctx, s, to); err != nil {
			r.options.Logger.Info("giving a lead to the node that should have it", "group", s.name, "to", to, "error", err)
		}
	}
	return r.Balance(ctx)
}
