package membership

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// fleet is a cluster of a thousand nodes whose replicas move one round at a time: what a plan begins is there
// when the next round begins. A round stands for the time that copying one replica takes.
type fleet struct {
	t       *testing.T
	state   State
	limits  Limits
	moves   int
	planned time.Duration // in all
	slowest time.Duration // of one plan
	plans   int
	zones   int
	joined  int
}

const (
	fleetNodes  = 1000
	fleetGroups = 10_000
	fleetZones  = 5
	fleetTaking = 100 // replicas under way at once: a tenth of the nodes take one in
)

func newFleet(t *testing.T, nodes int) *fleet {
	f := &fleet{t: t, limits: Limits{Moves: fleetTaking, PerNode: 1, Leaders: 1000}, zones: fleetZones, state: State{Replicas: 3}}
	for range nodes {
		f.join()
	}
	for g := range fleetGroups {
		group := Group{Number: g}
		for i := range 3 { // neighbours stand in different zones
			group.Replicas = append(group.Replicas, f.state.Nodes[(g*7+i)%nodes].ID)
		}
		group.Leader = group.Replicas[0]
		slices.Sort(group.Replicas)
		f.state.Groups = append(f.state.Groups, group)
	}
	return f
}

func (f *fleet) join() string {
	id := fmt.Sprintf("n%05d", f.joined)
	f.state.Nodes = append(f.state.Nodes, Node{ID: id, Zone: fmt.Sprintf("zone-%d", f.joined%f.zones)})
	f.joined++
	return id
}

func (f *fleet) each(fn func(n *Node)) {
	for i := range f.state.Nodes {
		fn(&f.state.Nodes[i])
	}
}

// round makes a plan, begins it, and ends what the plan before began.
func (f *fleet) round() (steps int) {
	f.t.Helper()
	began := time.Now()
	plan := Plan(&f.state, f.limits)
	took := time.Since(began)
	f.planned, f.slowest, f.plans = f.planned+took, max(f.slowest, took), f.plans+1
	taking := map[string]int{}
	for _, s := range plan {
		g := &f.state.Groups[s.Group]
		if s.Reason != ReasonLeaders {
			f.moves++
		}
		if s.Add != "" {
			if taking[s.Add]++; taking[s.Add] > f.limits.PerNode {
				f.t.Fatalf("%s takes in %d replicas at once", s.Add, taking[s.Add])
			}
		}
		g.Replicas, g.Leader = s.Replicas, s.Leader
	}
	return len(plan)
}

// settle goes on until there is nothing to do, and tells how many rounds and moves that took.
func (f *fleet) settle(what string) (rounds, moves int) {
	f.t.Helper()
	before := f.moves
	f.planned, f.slowest, f.plans = 0, 0, 0
	for f.round() > 0 {
		if rounds++; rounds > 2000 {
			f.t.Fatalf("%s: not settled after %d rounds", what, rounds)
		}
	}
	moves = f.moves - before
	spread := SpreadOf(&f.state)
	f.t.Logf("%-44s %5d moves in %3d rounds, a plan took %.1f ms, the longest %.1f ms; %+v", what, moves, rounds,
		float64(f.planned.Microseconds())/1000/float64(f.plans), float64(f.slowest.Microseconds())/1000, spread)
	f.expectSound(what)
	return rounds, moves
}

// expectSound: every group has its replicas on nodes that live, in different zones, and nobody keeps or leads
// much more than others.
func (f *fleet) expectSound(what string) {
	f.t.Helper()
	nodes := map[string]*Node{}
	f.each(func(n *Node) { nodes[n.ID] = n })
	keeps, leads := map[string]int{}, map[string]int{}
	shared := 0
	for i := range f.state.Groups {
		g := &f.state.Groups[i]
		zones := map[string]bool{}
		for _, id := range g.Replicas {
			n := nodes[id]
			if n == nil || n.Dead || n.Draining {
				f.t.Fatalf("%s: group %d is kept by %s, which is %+v", what, g.Number, id, n)
			}
			zones[n.Zone] = true
			keeps[id]++
		}
		leads[g.Leader]++
		if len(g.Replicas) != 3 || !slices.Contains(g.Replicas, g.Leader) {
			f.t.Fatalf("%s: group %+v", what, g)
		}
		if len(zones) < 3 {
			shared++
		}
	}
	if shared > 0 {
		f.t.Errorf("%s: %d groups have replicas that share a zone", what, shared)
	}
	least, most := len(f.state.Groups), 0
	f.each(func(n *Node) {
		if n.free() {
			least, most = min(least, keeps[n.ID]), max(most, keeps[n.ID])
		}
	})
	if most-least > 3 {
		f.t.Errorf("%s: one node keeps %d replicas and another %d", what, most, least)
	}
}

// alive tells how many replicas of the worst group answer.
func (f *fleet) alive() int {
	nodes := map[string]*Node{}
	f.each(func(n *Node) { nodes[n.ID] = n })
	worst := 3
	for i := range f.state.Groups {
		n := 0
		for _, id := range f.state.Groups[i].Replicas {
			if node := nodes[id]; node != nil && !node.Down && !node.Dead {
				n++
			}
		}
		worst = min(worst, n)
	}
	return worst
}

// TestAThousandNodes plans for 1,000 nodes in five zones and 10,000 groups of three replicas: growth, a zone that
// is lost and comes back, failures that go on while it is repaired, and nodes that leave. docs/scaling.md has
// the figures.
func TestAThousandNodes(t *testing.T) {
	f := newFleet(t, fleetNodes-100)
	f.settle("900 nodes are founded")
	for range 100 {
		f.join()
	}
	ideal := 100 * 3 * fleetGroups / fleetNodes
	if _, moves := f.settle("100 nodes join"); moves > ideal*11/10 {
		t.Errorf("%d moves for nodes that take %d replicas", moves, ideal)
	}

	f.each(func(n *Node) { n.Down = n.Zone == "zone-2" })
	if worst := f.alive(); worst < 2 {
		t.Errorf("with a zone away a group has %d of 3 replicas", worst)
	}
	if steps := Plan(&f.state, f.limits); slices.ContainsFunc(steps, func(s Step) bool { return s.Add != "" }) {
		t.Error("replicas are moved while a zone is away for a moment")
	}
	f.each(func(n *Node) { n.Dead = n.Zone == "zone-2" })
	if _, moves := f.settle("200 nodes of a zone are given up"); moves > 2*3*fleetGroups/fleetZones {
		t.Errorf("%d moves for the %d replicas of a zone", moves, 3*fleetGroups/fleetZones)
	}
	f.state.Nodes = slices.DeleteFunc(f.state.Nodes, func(n Node) bool { return n.Dead })
	for range 200 {
		f.join()
	}
	f.settle("200 new nodes take their place")

	f.storm(rand.New(rand.NewPCG(6, 10)))

	drained := 0
	f.each(func(n *Node) {
		if drained < 50 && n.free() {
			n.Draining, drained = true, drained+1
		}
	})
	f.settle("50 nodes are drained")
}

// storm: one node dies every round, each replaced by a new one ten rounds later, until forty have.
func (f *fleet) storm(rng *rand.Rand) {
	f.t.Helper()
	before, rounds, worst := f.moves, 0, 3
	for died := range 40 {
		for {
			if n := &f.state.Nodes[rng.IntN(len(f.state.Nodes))]; n.free() {
				n.Down, n.Dead = true, true
				break
			}
		}
		worst = min(worst, f.alive())
		f.round()
		if rounds++; died >= 10 {
			f.join()
		}
	}
	f.t.Logf("%-44s %5d moves in %3d rounds, at worst %d of 3 replicas", "a node dies each round", f.moves-before, rounds, worst)
	if worst < 2 {
		f.t.Errorf("a group had %d of 3 replicas: repair does not keep up with a node a round", worst)
	}
	f.settle("what is left to repair")
	f.state.Nodes = slices.DeleteFunc(f.state.Nodes, func(n Node) bool { return n.Dead })
}

// BenchmarkThousandNodes is one plan when a zone of a fifth of the nodes is given up.
func BenchmarkThousandNodes(b *testing.B) {
	f := newFleet(&testing.T{}, fleetNodes)
	f.each(func(n *Node) { n.Down, n.Dead = n.Zone == "zone-2", n.Zone == "zone-2" })
	b.ReportAllocs()
	for b.Loop() {
		_ = Plan(&f.state, f.limits)
	}
}
