package fsm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// MaxMembers bounds the nodes of a cluster.
const MaxMembers = 255

// Members are the nodes of the cluster and where its groups are kept. It is immutable.
type Members struct {
	// Version is the index of the entry that changed anything of it last; 0: the cluster still goes by the
	// list that it was founded with, since not every node knows better.
	Version uint64 `json:"version"`
	// Replicas is how many nodes shall keep each data group.
	Replicas int `json:"replicas"`
	// Nodes are sorted by their ids.
	Nodes []MemberNode `json:"nodes"`
	// Groups are the data groups in their order, Voters those that shall vote in the control group, sorted.
	Groups []command.Place `json:"groups"`
	Voters []string        `json:"voters"`
	// Removed are the names of nodes that were removed and did not join again, the newest MaxMembers.
	Removed []string `json:"removed,omitempty"`
}

// MemberNode is one node.
type MemberNode struct {
	command.Member
	// Joined nodes were let in: the list that the cluster was founded with does not tell where they are.
	Joined bool `json:"joined,omitempty"`
	// Draining nodes give away what they keep and lead.
	Draining bool      `json:"draining,omitempty"`
	JoinedAt time.Time `json:"joinedAt,omitzero"`
}

// Node finds a member.
func (m *Members) Node(id string) (MemberNode, bool) {
	i, ok := slices.BinarySearchFunc(m.Nodes, id, func(n MemberNode, id string) int { return cmp.Compare(n.ID, id) })
	if !ok {
		return MemberNode{}, false
	}
	return m.Nodes[i], true
}

// IDs are the ids of all nodes, sorted.
func (m *Members) IDs() []string {
	ids := make([]string, len(m.Nodes))
	for i := range m.Nodes {
		ids[i] = m.Nodes[i].ID
	}
	return ids
}

// Keeps counts the data groups that a node shall keep.
func (m *Members) Keeps(id string) (n int) {
	for i := range m.Groups {
		if slices.Contains(m.Groups[i].Replicas, id) {
			n++
		}
	}
	return n
}

// changeMembers makes the members of the batch ones that may be changed.
func (c *Control) changeMembers(at At) *Members {
	m := c.next.Members
	m.Nodes, m.Groups, m.Version = slices.Clone(m.Nodes), slices.Clone(m.Groups), at.Index
	c.next.Members, c.dirty[partMembers] = m, true
	return &c.next.Members
}

func (c *Control) foundNodes(at At, body []byte) (Result, error) {
	var op command.FoundNodes
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	if c.next.Members.Version > 0 {
		return Result{Version: c.next.Members.Version, Duplicate: true}, nil
	}
	m := Members{Replicas: op.Replicas, Voters: sorted(op.Voters), Groups: op.Groups}
	for _, n := range op.Nodes {
		m.Nodes = append(m.Nodes, MemberNode{Member: n, JoinedAt: atTime(at)})
	}
	slices.SortFunc(m.Nodes, func(a, b MemberNode) int { return cmp.Compare(a.ID, b.ID) })
	if err := m.check(); err != nil {
		return refuse(err)
	}
	c.next.Members = m
	return Result{Version: c.changeMembers(at).Version, Created: true}, nil
}

// check reports what cannot be about the members, as an *nba.Error.
func (m *Members) check() *nba.Error {
	switch {
	case len(m.Nodes) == 0 || len(m.Nodes) > MaxMembers:
		return nba.Errorf(nba.CodeInvalid, "a cluster has between 1 and %d nodes", MaxMembers)
	case m.Replicas < 1 || len(m.Voters) == 0 || len(m.Groups) == 0:
		return nba.Errorf(nba.CodeInvalid, "the members of a cluster need replicas, groups and voters")
	}
	known := func(id string) bool { _, ok := m.Node(id); return ok }
	for i := range m.Groups {
		p := &m.Groups[i]
		if len(p.Replicas) == 0 || !slices.IsSorted(p.Replicas) || len(slices.Compact(slices.Clone(p.Replicas))) < len(p.Replicas) ||
			!slices.Contains(p.Replicas, p.Leader) {
			return nba.Errorf(nba.CodeInvalid, "data group %d needs different nodes in their order, and one of them to lead it", i)
		}
		for _, id := range p.Replicas {
			if !known(id) {
				return nba.Errorf(nba.CodeInvalid, "data group %d cannot be kept by a node that is no member", i)
			}
		}
	}
	for _, id := range m.Voters {
		if !known(id) {
			return nba.Errorf(nba.CodeInvalid, "a node that is no member cannot vote")
		}
	}
	return nil
}

// founded refuses what needs the members to be in the state.
func (m *Members) founded() *nba.Error {
	if m.Version == 0 {
		return nba.Errorf(nba.CodeUnavailable, "the nodes of the cluster are being taken into its state: retry shortly")
	}
	return nil
}

func (c *Control) joinNode(at At, body []byte) (Result, error) {
	var op command.JoinNode
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	m, n := &c.next.Members, op.Member
	if err := m.founded(); err != nil {
		return refuse(err)
	}
	if op.Level > 0 && op.Level < c.next.Features.Level {
		return refuse(nba.Errorf(nba.CodeConflict, "the cluster works at feature level %d and the release of this node knows level %d: run at least the release of the other nodes",
			c.next.Features.Level, op.Level))
	}
	if err := nba.ValidateNode(n.ID, n.Addr, n.Zone); err != nil {
		return Result{Err: err}, nil
	}
	known, there := m.Node(n.ID)
	switch {
	case there && known.Addr == n.Addr && known.Zone == n.Zone:
		return Result{Version: m.Version, Duplicate: true}, nil
	case there:
		return refuse(nba.Errorf(nba.CodeConflict, "a node of this name is a member already: name the new one otherwise, or remove that one first"))
	case len(m.Nodes) >= MaxMembers:
		return refuse(nba.Errorf(nba.CodeConflict, "the cluster has %d nodes already, as many as it can", MaxMembers))
	case m.at(n.Addr, n.ID):
		return refuse(nba.Errorf(nba.CodeConflict, "another member has this address: correct the address of the new node, or remove that member first"))
	}
	m = c.changeMembers(at)
	m.Nodes = append(m.Nodes, MemberNode{Member: n, Joined: true, JoinedAt: atTime(at)})
	slices.SortFunc(m.Nodes, func(a, b MemberNode) int { return cmp.Compare(a.ID, b.ID) })
	m.Removed = slices.DeleteFunc(slices.Clone(m.Removed), func(id string) bool { return id == n.ID })
	return Result{Version: m.Version, Created: true}, nil
}

// at tells whether another node than id has the address.
func (m *Members) at(addr, id string) bool {
	return slices.ContainsFunc(m.Nodes, func(n MemberNode) bool { return n.Addr == addr && n.ID != id })
}

func errNoMember() *nba.Error {
	return nba.Errorf(nba.CodeNotFound, "no node of this name is a member: GET /v1/cluster/members lists them")
}

func (c *Control) changeNode(at At, body []byte) (Result, error) {
	var op command.ChangeNode
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	m := &c.next.Members
	if err := m.founded(); err != nil {
		return refuse(err)
	}
	known, ok := m.Node(op.ID)
	if !ok {
		return refuse(errNoMember())
	}
	changed := known
	if op.Addr != nil {
		changed.Addr = *op.Addr
	}
	if op.Zone != nil {
		changed.Zone = *op.Zone
	}
	if op.Draining != nil {
		changed.Draining = *op.Draining
	}
	changed.Joined = known.Joined || op.Joins
	if changed == known {
		return Result{Version: m.Version, Duplicate: true}, nil
	}
	if err := nba.ValidateNode(changed.ID, changed.Addr, changed.Zone); err != nil {
		return Result{Err: err}, nil
	}
	if m.at(changed.Addr, changed.ID) {
		return refuse(nba.Errorf(nba.CodeConflict, "another member has this address"))
	}
	m = c.changeMembers(at)
	for i := range m.Nodes {
		if m.Nodes[i].ID == op.ID {
			m.Nodes[i] = changed
		}
	}
	return Result{Version: m.Version}, nil
}

func (c *Control) removeNode(at At, body []byte) (Result, error) {
	var op command.RemoveNode
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	m := &c.next.Members
	if err := m.founded(); err != nil {
		return refuse(err)
	}
	if _, ok := m.Node(op.ID); !ok {
		return refuse(errNoMember())
	}
	if keeps := m.Keeps(op.ID); keeps > 0 && !op.Force {
		return refuse(nba.Errorf(nba.CodeConflict, "the node keeps %d data groups still: drain it and wait until it is empty, or force the removal of one that is lost", keeps))
	}
	next := c.next.Members
	next.Nodes = slices.DeleteFunc(slices.Clone(next.Nodes), func(n MemberNode) bool { return n.ID == op.ID })
	next.Voters = slices.DeleteFunc(slices.Clone(next.Voters), func(id string) bool { return id == op.ID })
	next.Groups = slices.Clone(next.Groups)
	for i := range next.Groups {
		p := &next.Groups[i]
		if !slices.Contains(p.Replicas, op.ID) {
			continue
		}
		p.Replicas = slices.DeleteFunc(slices.Clone(p.Replicas), func(id string) bool { return id == op.ID })
		if p.Leader == op.ID && len(p.Replicas) > 0 {
			p.Leader = p.Replicas[i%len(p.Replicas)]
		}
	}
	if err := next.check(); err != nil {
		return refuse(nba.Errorf(nba.CodeConflict, "the node cannot be removed: it is the last that keeps a group, or that votes"))
	}
	next.Removed = append(slices.Clone(next.Removed), op.ID)
	next.Removed = next.Removed[max(0, len(next.Removed)-MaxMembers):]
	c.next.Members = next
	m = c.changeMembers(at)
	f := c.next.Features // one that is gone holds no level back
	f.Members = slices.DeleteFunc(slices.Clone(f.Members), func(id string) bool { return id == op.ID })
	f.Nodes = slices.DeleteFunc(slices.Clone(f.Nodes), func(n AnnouncedNode) bool { return n.Node == op.ID })
	c.next.Features, c.dirty[partFeatures] = f, true
	return Result{Version: m.Version}, nil
}

func (c *Control) placeGroups(at At, body []byte) (Result, error) {
	var op command.PlaceGroups
	if err := command.DecodeControl(body, &op); err != nil {
		return Result{}, err
	}
	if err := c.next.Members.founded(); err != nil {
		return refuse(err)
	}
	if op.Map != c.next.Members.Version {
		return refuse(nba.Errorf(nba.CodePrecondition, "the members or the places of groups changed meanwhile: read them and repeat the change"))
	}
	next := c.next.Members
	next.Groups = slices.Clone(next.Groups)
	for _, g := range op.Groups {
		if g.Group < 0 || g.Group >= len(next.Groups) {
			return refuse(nba.Errorf(nba.CodeInvalid, "there is no data group of this number"))
		}
		next.Groups[g.Group] = g.Place
	}
	if op.Voters != nil {
		next.Voters = sorted(op.Voters)
	}
	if err := next.check(); err != nil {
		return refuse(err)
	}
	c.next.Members = next
	return Result{Version: c.changeMembers(at).Version}, nil
}

// memberFacts are lines about the members for the audit log.
func (m *Members) memberFacts(add func(name string, text any)) {
	for i := range m.Nodes {
		n := &m.Nodes[i]
		text := n.Addr
		if n.Zone != "" {
			text += ", zone " + n.Zone
		}
		if n.Draining {
			text += ", draining"
		}
		add("node "+n.ID, text)
	}
	for i := range m.Groups {
		add(fmt.Sprintf("data group %02d", i), strings.Join(m.Groups[i].Replicas, " ")+", led by "+m.Groups[i].Leader)
	}
}
