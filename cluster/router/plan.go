package router

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/membership"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// What nodes ask each other about who keeps what.
const (
	// MethodStanding asks a node which groups it keeps, and of those it leads, who else does.
	MethodStanding Method = 170
	// MethodTransfer asks the node that leads a group to give the lead to another.
	MethodTransfer Method = 171
)

const (
	// planEvery is how often the leader of the control group looks at the map.
	planEvery = 500 * time.Millisecond
	// standingTimeout bounds how long one node is asked how it stands.
	standingTimeout = 2 * time.Second
	// movesAtOnce is how many groups have a replica on the way at once, and movesToOne how many of these
	// one node takes in: each costs disk and network, which calls want too.
	movesAtOnce, movesToOne = 2, 2
)

// planner is what the leader of the control group remembers between two plans: nothing that the next one
// would miss.
type planner struct {
	downSince map[string]time.Time
	said      string
}

// standing is how a node's replicas stand.
type standing struct {
	Leads []ledGroup `json:"leads,omitempty"`
	// Keeps are the numbers of the groups that it has a replica of.
	Keeps []uint64 `json:"keeps,omitempty"`
}

// ledGroup is a group and who keeps it, by its leader.
type ledGroup struct {
	Number    uint64   `json:"number"`
	Voters    []string `json:"voters"`
	Followers []string `json:"followers,omitempty"`
	// Changing tells that this is not committed yet and may be undone.
	Changing bool `json:"changing,omitempty"`
}

// group is a group that the node leads; nil if it does not.
func (s *standing) group(number uint64) *ledGroup {
	for i := range s.Leads {
		if s.Leads[i].Number == number {
			return &s.Leads[i]
		}
	}
	return nil
}

// has tells whether a node keeps the group.
func (g *ledGroup) has(node string) bool {
	return slices.Contains(g.Voters, node) || slices.Contains(g.Followers, node)
}

// stand is how the replicas here stand.
func (r *Router) stand() *standing {
	out := &standing{}
	for _, s := range r.shards() {
		group, ok := s.local.(*raftgroup.Group)
		if !ok || group == nil || s.gone.Load() {
			continue
		}
		out.Keeps = append(out.Keeps, s.number)
		if !group.Leading() {
			continue
		}
		seats, before := group.Seats(), group.CommittedSeats()
		changing := len(before.Voters) > 0 && !(slices.Equal(seats.Voters, before.Voters) && slices.Equal(seats.Followers, before.Followers))
		out.Leads = append(out.Leads, ledGroup{s.number, seats.Voters, seats.Followers, changing})
	}
	return out
}

// serveStanding answers MethodStanding.
func (r *Router) serveStanding(context.Context, string, []byte) ([]byte, error) {
	return json.Marshal(r.stand())
}

// standing asks a node.
func (r *Router) standing(ctx context.Context, node string) (*standing, error) {
	if node == r.net.self {
		return r.stand(), nil
	}
	ctx, cancel := context.WithTimeout(ctx, standingTimeout)
	defer cancel()
	reply, err := r.net.remote.Call(ctx, node, MethodStanding, nil)
	if err != nil {
		return nil, err
	}
	var s standing
	if err := json.Unmarshal(reply, &s); err != nil {
		return nil, errWire
	}
	return &s, nil
}

// standings asks all nodes that answer.
func (r *Router) standings(ctx context.Context) map[string]*standing {
	var mu sync.Mutex
	var calls sync.WaitGroup
	all := map[string]*standing{r.net.self: r.stand()}
	for _, node := range r.net.others() {
		calls.Go(func() {
			if s, err := r.standing(ctx, node); err == nil {
				mu.Lock()
				all[node] = s
				mu.Unlock()
			}
		})
	}
	calls.Wait()
	return all
}

// plan makes the next steps, on the leader of the control group.
func (c *conductor) plan(ctx context.Context) {
	r := c.router
	if !r.control.leads() || r.handingOver.Load() {
		c.downSince = nil // the time begins anew
		return
	}
	if c.downSince == nil {
		c.downSince = map[string]time.Time{}
	}
	m := &r.control.State().Members
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	var err error
	switch {
	case m.Version > 0:
		err = c.change(ctx, m)
	case r.control.State().Features.Allows(command.NodesFounded, 1) == nil:
		err = r.found(ctx)
	}
	text := ""
	if err != nil && nba.CodeOf(err) != nba.CodePrecondition && nba.CodeOf(err) != nba.CodeUnavailable {
		text = err.Error()
	}
	if text != c.said {
		c.said = text
		if err != nil {
			r.options.Logger.Error("planning where groups are kept", "error", err)
		}
	}
}

// wantedReplicas is how many nodes shall keep each group. Where all nodes of the list that founded the
// cluster do, there may just have been too few.
func (r *Router) wantedReplicas() int {
	node := r.folder.Node()
	if node.Replicas < len(node.Nodes) {
		return node.Replicas
	}
	return max(node.Replicas, r.options.Cluster.wanted)
}

// found takes the list that the cluster was founded with into the state.
func (r *Router) found(ctx context.Context) error {
	node, addresses := r.folder.Node(), r.addresses()
	op := command.FoundNodes{Replicas: r.wantedReplicas(), Voters: foundingVoters(node.Nodes).Voters}
	for _, id := range node.Nodes {
		m := command.Member{ID: id, Addr: addresses[id]}
		if id == node.NodeID {
			m.Zone = r.options.Cluster.Zone
		}
		op.Nodes = append(op.Nodes, m)
	}
	for i := range r.groups() {
		keepers, leader := placement(node.Nodes, i, node.Replicas)
		op.Groups = append(op.Groups, command.Place{Replicas: keepers, Leader: leader})
	}
	_, err := r.control.submit(ctx, &op, true)
	return err
}

// change changes the map as the plan says.
func (c *conductor) change(ctx context.Context, m *fsm.Members) error {
	r := c.router
	standings := r.standings(ctx)
	c.watch(m, standings, time.Now())
	state := r.planState(m, standings, c.downSince)
	op := command.PlaceGroups{Map: m.Version}
	for _, step := range membership.Plan(state, membership.Limits{Moves: movesAtOnce, PerNode: movesToOne}) {
		op.Groups = append(op.Groups, command.PlacedGroup{Group: step.Group, Place: command.Place{Replicas: step.Replicas, Leader: step.Leader}})
		r.options.Logger.Info("a group is to be kept elsewhere", "group", step.Group, "add", step.Add, "remove", step.Remove, "leader", step.Leader, "reason", string(step.Reason))
	}
	if voters := membership.Voters(state.Nodes, m.Voters); !slices.Equal(voters, m.Voters) && len(voters) > 0 {
		op.Voters = voters
		r.options.Logger.Info("others are to vote in the control group", "voters", voters)
	}
	if len(op.Groups) == 0 && op.Voters == nil {
		return nil
	}
	_, err := r.control.submit(ctx, &op, false)
	return err
}

// watch notes since when nodes do not answer.
func (p *planner) watch(m *fsm.Members, standings map[string]*standing, now time.Time) {
	for i := range m.Nodes {
		id := m.Nodes[i].ID
		if _, down := p.downSince[id]; standings[id] != nil {
			delete(p.downSince, id)
		} else if !down {
			p.downSince[id] = now
		}
	}
}

// planState is what a plan follows from.
func (r *Router) planState(m *fsm.Members, standings map[string]*standing, downSince map[string]time.Time) *membership.State {
	s := &membership.State{Replicas: m.Replicas}
	after := r.options.Cluster.ReplaceAfter
	dead := func(node string) bool {
		since, down := downSince[node]
		return down && after > 0 && time.Since(since) >= after
	}
	for i := range m.Nodes {
		n := &m.Nodes[i]
		s.Nodes = append(s.Nodes, membership.Node{ID: n.ID, Zone: n.Zone, Draining: n.Draining, Down: standings[n.ID] == nil, Dead: dead(n.ID)})
	}
	led := map[uint64]*ledGroup{}
	for _, standing := range standings {
		for i := range standing.Leads {
			led[standing.Leads[i].Number] = &standing.Leads[i]
		}
	}
	for i := range m.Groups {
		g := membership.Group{Number: i, Replicas: m.Groups[i].Replicas, Leader: m.Groups[i].Leader}
		seats := led[uint64(i)+1]
		if g.Lost = seats == nil; seats != nil {
			g.Moving = seats.Changing || !slices.Equal(seats.Voters, g.Replicas) || len(seats.Followers) > 0
			for _, id := range g.Replicas {
				if !slices.Contains(seats.Voters, id) {
					g.Adding = append(g.Adding, id)
				}
			}
		}
		s.Groups = append(s.Groups, g)
	}
	return s
}

// serveTransfer answers MethodTransfer.
func (r *Router) serveTransfer(ctx context.Context, _ string, request []byte) ([]byte, error) {
	in := scanner{rest: request}
	number, to := in.number(), in.text()
	if err := in.err(); err != nil {
		return nil, err
	}
	s, err := r.shard(number)
	if err != nil {
		return nil, err
	}
	if !s.leads() {
		return s.elsewhere(), nil
	}
	if to == "" {
		r.handOver(ctx, s)
		if s.leads() {
			return nil, nba.Errorf(nba.CodeUnavailable, "no other node took over group %s", s.name)
		}
		return nil, nil
	}
	return nil, r.transfer(ctx, s, to)
}
