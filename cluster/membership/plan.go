package membership

import (
	"cmp"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Node is one node of a cluster.
type Node struct {
	ID string
	// Zone is where it stands: the replicas of a group are spread over zones. Nodes without one stand in
	// the same, nameless zone.
	Zone string
	// Draining nodes give away what they keep and lead, as soon as others can take it.
	Draining bool
	// Down nodes do not answer: they are given nothing.
	Down bool
	// Dead nodes were down for so long that what they kept is made anew on others.
	Dead bool
}

// free tells whether the node may be given replicas and leads.
func (n *Node) free() bool { return !n.Draining && !n.Down && !n.Dead }

// Group is one group as it shall be.
type Group struct {
	Number int
	// Replicas are the nodes that shall keep it, and Leader the one of them that shall lead it.
	Replicas []string
	Leader   string
	// Moving tells that its replicas are not those yet, Adding which of them have to catch up still.
	Moving bool
	Adding []string
	// Lost groups have no leader now, so nothing about them can change.
	Lost bool
}

// State is what a plan follows from.
type State struct {
	// Replicas is how many nodes shall keep each group, if there are as many.
	Replicas int
	Nodes    []Node
	Groups   []Group
}

// Limits bound how much is under way at once. Zero values mean the defaults.
type Limits struct {
	// Moves is how many groups may have a replica under way (2), PerNode how many of these one node
	// takes in (1).
	Moves, PerNode int
	// Leaders bounds the leads that one plan changes without moving replicas (8).
	Leaders int
}

func (l Limits) withDefaults() Limits {
	return Limits{Moves: cmp.Or(l.Moves, 2), PerNode: cmp.Or(l.PerNode, 1), Leaders: cmp.Or(l.Leaders, 8)}
}

// Reason tells people why a step is made.
type Reason string

// The reasons, most urgent first.
const (
	ReasonDead     Reason = "dead"     // a node that keeps a replica is dead or no node of the cluster
	ReasonMissing  Reason = "missing"  // there are fewer replicas than wanted
	ReasonDraining Reason = "draining" // a node shall keep nothing
	ReasonExtra    Reason = "extra"    // there are more replicas than wanted
	ReasonZones    Reason = "zones"    // replicas share a zone without need
	ReasonBalance  Reason = "balance"  // some nodes keep more than others
	ReasonLeaders  Reason = "leaders"  // only the lead moves
)

// Step is what shall be changed about one group next.
type Step struct {
	Group int
	// Replicas and Leader are what the group shall be from now on, Replicas sorted.
	Replicas []string
	Leader   string
	// Add and Remove are what the replicas change by; empty: nothing.
	Add, Remove string
	Reason      Reason
}

// Plan gives the steps that shall be begun now, each of another group, most urgent first. It is empty when
// nothing can be improved, or as much is under way as the limits allow. It never touches a group that is
// moving, unless the node that it moves to is dead, nor one that is lost. It takes time in proportion to
// the nodes and groups, and to the steps.
func Plan(s *State, limits Limits) []Step {
	p := newPlanner(s, limits.withDefaults())
	p.repair()
	p.zones()
	p.balance()
	p.leaders()
	return p.steps
}

// planner is one making of a plan. Nodes and groups are known by their places in sorted slices.
type planner struct {
	limits Limits
	wanted int // replicas of each group
	nodes  []Node
	index  map[string]int
	zone   []int // of each node
	nzones int
	groups []plannedGroup
	keeps  []int // replicas on each node
	leads  []int // leads of each node
	taking []int // replicas that each node is taking in
	moves  int   // that are under way
	steps  []Step
}

type plannedGroup struct {
	*Group
	replicas []int // places of nodes; nowhere for one that is no node
	leader   int
	fixed    bool // nothing is to be changed about it (any more)
}

const nowhere = -1

func newPlanner(s *State, limits Limits) *planner {
	p := &planner{limits: limits, index: make(map[string]int, len(s.Nodes))}
	p.nodes = slices.SortedFunc(slices.Values(s.Nodes), func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	zones := map[string]int{}
	for i := range p.nodes {
		n := &p.nodes[i]
		p.index[n.ID] = i
		if _, known := zones[n.Zone]; !known {
			zones[n.Zone] = len(zones)
		}
		p.zone = append(p.zone, zones[n.Zone])
	}
	p.nzones, p.wanted = len(zones), max(1, min(s.Replicas, len(p.nodes)))
	p.keeps, p.leads, p.taking = make([]int, len(p.nodes)), make([]int, len(p.nodes)), make([]int, len(p.nodes))
	for i := range s.Groups {
		p.add(&s.Groups[i])
	}
	slices.SortFunc(p.groups, func(a, b plannedGroup) int { return cmp.Compare(a.Number, b.Number) })
	return p
}

func (p *planner) add(g *Group) {
	planned := plannedGroup{Group: g, leader: p.place(g.Leader), fixed: g.Lost}
	for _, id := range g.Replicas {
		at := p.place(id)
		planned.replicas = append(planned.replicas, at)
		if at != nowhere {
			p.keeps[at]++
		}
	}
	if planned.leader != nowhere {
		p.leads[planned.leader]++
	}
	if g.Moving && !g.Lost {
		stuck := false // the way to a dead node is given up
		for _, id := range g.Adding {
			at := p.place(id)
			if at == nowhere || p.nodes[at].Dead {
				stuck = true
				continue
			}
			p.taking[at]++
		}
		if !stuck {
			p.moves++
			planned.fixed = true
		}
	}
	p.groups = append(p.groups, planned)
}

func (p *planner) place(id string) int {
	if at, ok := p.index[id]; ok {
		return at
	}
	return nowhere
}

// room tells whether another move may begin.
func (p *planner) room() bool { return p.moves < p.limits.Moves }

// repair sees to replicas on nodes that shall have none, and to groups with too few or too many.
func (p *planner) repair() {
	type broken struct {
		group, replica int
		reason         Reason
		alive          int
	}
	var found []broken
	for i := range p.groups {
		g := &p.groups[i]
		if g.fixed {
			continue
		}
		b := broken{group: i, replica: nowhere, alive: p.alive(g)}
		for at, node := range g.replicas {
			switch {
			case node == nowhere || p.nodes[node].Dead:
				b.replica, b.reason = at, ReasonDead
			case p.nodes[node].Draining && b.reason != ReasonDead:
				b.replica, b.reason = at, ReasonDraining
			}
		}
		switch {
		case b.reason != ReasonDead && len(g.replicas) < p.wanted:
			b.replica, b.reason = nowhere, ReasonMissing
		case len(g.replicas) > p.wanted && b.reason == "":
			b.replica, b.reason = p.worst(g), ReasonExtra
		}
		if b.reason != "" {
			found = append(found, b)
		}
	}
	urgency := []Reason{ReasonDead, ReasonMissing, ReasonDraining, ReasonExtra}
	slices.SortStableFunc(found, func(a, b broken) int {
		return cmp.Or(cmp.Compare(slices.Index(urgency, a.reason), slices.Index(urgency, b.reason)), cmp.Compare(a.alive, b.alive))
	})
	for _, b := range found {
		if !p.room() {
			return
		}
		g := &p.groups[b.group]
		if b.reason == ReasonExtra || len(g.replicas) > p.wanted {
			p.change(g, b.replica, nowhere, b.reason)
		} else if to := p.best(g, b.replica); to != nowhere {
			p.change(g, b.replica, to, b.reason)
		}
	}
}

// alive is the number of replicas on nodes that answer.
func (p *planner) alive(g *plannedGroup) (n int) {
	for _, node := range g.replicas {
		if node != nowhere && !p.nodes[node].Down && !p.nodes[node].Dead {
			n++
		}
	}
	return n
}

// worst is the replica that can be spared most: of the fullest zone, then of the fullest node.
func (p *planner) worst(g *plannedGroup) int {
	least := func(at int) (zone, keeps int) {
		node := g.replicas[at]
		return p.inZone(g, nowhere, p.zone[node]), p.keeps[node]
	}
	worst := 0
	for at := range g.replicas {
		az, ak := least(at)
		wz, wk := least(worst)
		if az > wz || az == wz && ak > wk {
			worst = at
		}
	}
	return worst
}

// inZone counts the replicas of a group in a zone, without one of them.
func (p *planner) inZone(g *plannedGroup, without, zone int) (n int) {
	for at, node := range g.replicas {
		if at != without && node != nowhere && p.zone[node] == zone {
			n++
		}
	}
	return n
}

// best is the node that a replica should move to: in the emptiest zone of the group, then the node that
// keeps least, then by a hash, so that the groups of one node go to many.
func (p *planner) best(g *plannedGroup, replica int) int {
	best := nowhere
	var bestZone, bestKeeps int
	var bestHash uint64
	for node := range p.nodes {
		if !p.takes(g, node) {
			continue
		}
		zone, keeps, hash := p.inZone(g, replica, p.zone[node]), p.keeps[node], p.hash(node, g)
		order := cmp.Or(cmp.Compare(zone, bestZone), cmp.Compare(keeps, bestKeeps), cmp.Compare(hash, bestHash))
		if best == nowhere || order < 0 {
			best, bestZone, bestKeeps, bestHash = node, zone, keeps, hash
		}
	}
	return best
}

// takes tells whether a node can be given a replica of the group now.
func (p *planner) takes(g *plannedGroup, node int) bool {
	return p.nodes[node].free() && p.taking[node] < p.limits.PerNode && !slices.Contains(g.replicas, node)
}

func (p *planner) hash(node int, g *plannedGroup) uint64 {
	key := append([]byte(p.nodes[node].ID), byte(g.Number>>24), byte(g.Number>>16), byte(g.Number>>8), byte(g.Number))
	return xxhash.Sum64(key)
}

// change makes a step: the replica at a place goes, and one on a node comes.
func (p *planner) change(g *plannedGroup, replica, to int, reason Reason) {
	step := Step{Group: g.Number, Reason: reason, Replicas: slices.Clone(g.Replicas)}
	if replica != nowhere {
		step.Remove = g.Replicas[replica]
		step.Replicas = slices.Delete(step.Replicas, replica, replica+1)
		if from := g.replicas[replica]; from != nowhere {
			p.keeps[from]--
		}
		g.replicas = slices.Delete(slices.Clone(g.replicas), replica, replica+1)
	}
	if to != nowhere {
		step.Add = p.name(to)
		step.Replicas = append(step.Replicas, step.Add)
		g.replicas = append(slices.Clone(g.replicas), to)
		p.keeps[to]++
		p.taking[to]++
	}
	slices.Sort(step.Replicas)
	if g.leader == nowhere || !slices.Contains(g.replicas, g.leader) {
		p.lead(g, p.heir(g, to))
	}
	step.Leader = p.name(g.leader)
	p.moves++
	g.fixed = true
	p.steps = append(p.steps, step)
}

func (p *planner) name(node int) string {
	if node == nowhere {
		return ""
	}
	return p.nodes[node].ID
}

func (p *planner) lead(g *plannedGroup, node int) {
	if g.leader != nowhere {
		p.leads[g.leader]--
	}
	if g.leader = node; node != nowhere {
		p.leads[node]++
	}
}

// heir is who should lead a group whose leader shall not: the replica that comes, or the one of those that
// can that leads least.
func (p *planner) heir(g *plannedGroup, comes int) int {
	if comes != nowhere {
		return comes
	}
	heir := nowhere
	for _, node := range g.replicas {
		if node == nowhere {
			continue
		}
		better := heir == nowhere || p.nodes[node].free() && !p.nodes[heir].free()
		same := heir != nowhere && p.nodes[node].free() == p.nodes[heir].free()
		if better || same && (p.leads[node] < p.leads[heir] || p.leads[node] == p.leads[heir] && p.hash(node, g) < p.hash(heir, g)) {
			heir = node
		}
	}
	return heir
}
