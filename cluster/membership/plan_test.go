package membership

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// world is a cluster that does at once, or later, what plans say.
type world struct {
	t     *testing.T
	state State
	rng   *rand.Rand
}

func newWorld(t *testing.T, seed uint64, nodes, groups, replicas, zones int) *world {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 7)), state: State{Replicas: replicas}}
	for i := range nodes {
		w.join(fmt.Sprintf("n%03d", i), zones)
	}
	for g := range groups {
		group := Group{Number: g}
		for i := range min(replicas, nodes) {
			group.Replicas = append(group.Replicas, w.state.Nodes[(g+i)%nodes].ID)
		}
		group.Leader = group.Replicas[0]
		slices.Sort(group.Replicas)
		w.state.Groups = append(w.state.Groups, group)
	}
	return w
}

func (w *world) join(id string, zones int) {
	n := Node{ID: id}
	if zones > 0 {
		n.Zone = fmt.Sprintf("z%d", len(w.state.Nodes)%zones)
	}
	w.state.Nodes = append(w.state.Nodes, n)
}

func (w *world) node(id string) *Node {
	for i := range w.state.Nodes {
		if w.state.Nodes[i].ID == id {
			return &w.state.Nodes[i]
		}
	}
	return nil
}

// check is what every step must keep.
func (w *world) check(before *Group, s Step, moving map[string]int, limits Limits) {
	w.t.Helper()
	kept := 0
	for _, id := range before.Replicas {
		if slices.Contains(s.Replicas, id) {
			kept++
		}
	}
	if kept < len(before.Replicas)-1 || len(s.Replicas) > kept+1 {
		w.t.Fatalf("step %+v changes more than one replica of %v", s, before.Replicas)
	}
	if !slices.Contains(s.Replicas, s.Leader) {
		w.t.Fatalf("step %+v: the leader keeps nothing", s)
	}
	if before.Lost {
		w.t.Fatalf("step %+v for a group without a leader", s)
	}
	if len(slices.Compact(slices.Clone(s.Replicas))) != len(s.Replicas) {
		w.t.Fatalf("step %+v: a node twice", s)
	}
	if s.Add != "" {
		if n := w.node(s.Add); n == nil || !n.free() {
			w.t.Fatalf("step %+v gives to %+v", s, n)
		}
		if moving[s.Add]++; moving[s.Add] > limits.PerNode {
			w.t.Fatalf("node %s takes in %d at once", s.Add, moving[s.Add])
		}
	}
	// A healthy replica is given up only when all others are.
	if gone := w.node(s.Remove); gone != nil && !gone.Dead && (s.Reason == ReasonBalance || s.Reason == ReasonZones) {
		for _, id := range before.Replicas {
			if n := w.node(id); n == nil || n.Down || n.Dead {
				w.t.Fatalf("step %+v moves a replica of a group that has lost one: %v", s, before.Replicas)
			}
		}
	}
}

// plan makes a plan and begins its steps.
func (w *world) plan(limits Limits) []Step {
	w.t.Helper()
	steps := Plan(&w.state, limits)
	limits = limits.withDefaults()
	most := limits.Moves
	moving, under := map[string]int{}, 0
	for i := range w.state.Groups {
		g := &w.state.Groups[i]
		stuck := slices.ContainsFunc(g.Adding, func(id string) bool { return w.node(id) == nil || w.node(id).Dead })
		if g.Moving && !g.Lost && !stuck {
			under++
			for _, id := range g.Adding {
				moving[id]++
			}
		}
	}
	most = max(most, under) // those that were lost and are led again count on
	for _, s := range steps {
		g := &w.state.Groups[s.Group]
		w.check(g, s, moving, limits)
		if s.Reason != ReasonLeaders {
			under++
			g.Moving, g.Adding = true, nil
			if s.Add != "" {
				g.Adding = []string{s.Add}
			}
		}
		g.Replicas, g.Leader = s.Replicas, s.Leader
	}
	if under > most {
		w.t.Fatalf("%d moves at once, limit %d", under, most)
	}
	return steps
}

// settle lets everything happen until nothing more is planned.
func (w *world) settle(limits Limits) (moves int) {
	w.t.Helper()
	for range 100_000 {
		steps := w.plan(limits)
		if len(steps) == 0 {
			return moves
		}
		for i := range w.state.Groups {
			w.state.Groups[i].Moving, w.state.Groups[i].Adding = false, nil
		}
		for _, s := range steps {
			if s.Add != "" {
				moves++
			}
		}
	}
	w.t.Fatal("the plans never end")
	return 0
}

func (w *world) settled(zones bool) {
	w.t.Helper()
	s := SpreadOf(&w.state)
	slack := 1
	if zones {
		slack = 2
	}
	if s.MaxReplicas-s.MinReplicas > slack || s.Misplaced > 0 || s.Missing > 0 || s.SharedZones > 0 {
		w.t.Fatalf("settled at %+v", s)
	}
	if !zones && s.MaxLeads-s.MinLeads > 1 {
		w.t.Fatalf("settled with leads %+v", s)
	}
}

func TestGrowMovesOnlyWhatANewNodeTakes(t *testing.T) {
	for _, c := range []struct{ nodes, groups int }{{3, 16}, {4, 16}, {5, 16}, {10, 64}, {50, 500}} {
		w := newWorld(t, 1, c.nodes, c.groups, 3, 0)
		w.settle(Limits{})
		w.join("new", 0)
		moves := w.settle(Limits{})
		w.settled(false)
		if fair := c.groups * 3 / (c.nodes + 1); moves > fair+1 {
			t.Errorf("%d nodes, %d groups: %d replicas moved where %d are a new node's share", c.nodes, c.groups, moves, fair)
		}
	}
}

func TestDrainAndDeath(t *testing.T) {
	w := newWorld(t, 2, 5, 16, 3, 0)
	w.settle(Limits{})
	w.node("n001").Draining = true
	w.settle(Limits{})
	w.settled(false)
	for _, g := range w.state.Groups {
		if slices.Contains(g.Replicas, "n001") || g.Leader == "n001" {
			t.Fatalf("the drained node keeps %+v", g)
		}
	}
	w.node("n002").Down, w.node("n002").Dead = true, true
	w.settle(Limits{})
	w.settled(false)
}

func TestThreeNodesCannotReplaceOne(t *testing.T) {
	w := newWorld(t, 3, 3, 16, 3, 0)
	w.node("n001").Draining = true
	if w.settle(Limits{}); SpreadOf(&w.state).Misplaced != 16 {
		t.Fatalf("%+v", SpreadOf(&w.state))
	}
	for _, g := range w.state.Groups {
		if g.Leader == "n001" || len(g.Replicas) != 3 {
			t.Fatalf("%+v", g)
		}
	}
}

func TestRandomSequences(t *testing.T) {
	for seed := range uint64(60) {
		zones := int(seed % 4)
		w := newWorld(t, seed, 3+int(seed%5), 16+int(seed%3)*24, 3, zones)
		limits := Limits{Moves: 1 + int(seed%4)}
		next := len(w.state.Nodes)
		for range 200 {
			n := &w.state.Nodes[w.rng.IntN(len(w.state.Nodes))]
			switch w.rng.IntN(12) {
			case 0:
				w.join(fmt.Sprintf("m%03d", next), zones)
				next++
			case 1:
				n.Draining = !n.Draining
			case 2:
				n.Down = true
			case 3:
				n.Dead = n.Down
			case 4:
				n.Down, n.Dead = false, false
			case 5: // removed once nobody needs it, or by force
				if id := n.ID; len(w.state.Nodes) > 4 && n.Dead {
					w.state.Nodes = slices.DeleteFunc(w.state.Nodes, func(n Node) bool { return n.ID == id })
				}
			}
			w.plan(limits)
			for i := range w.state.Groups {
				g := &w.state.Groups[i]
				alive := 0
				for _, id := range g.Replicas {
					if n := w.node(id); n != nil && !n.Down {
						alive++
					}
				}
				g.Lost = alive*2 <= len(g.Replicas)
				if !g.Lost && w.rng.IntN(3) == 0 {
					g.Moving, g.Adding = false, nil
				}
			}
		}
		for i := range w.state.Nodes { // all come back
			n := &w.state.Nodes[i]
			n.Down, n.Dead, n.Draining = false, false, false
		}
		for i := range w.state.Groups {
			w.state.Groups[i].Lost, w.state.Groups[i].Moving, w.state.Groups[i].Adding = false, false, nil
		}
		w.settle(limits)
		if zones == 0 {
			w.settled(false)
		} else if s := SpreadOf(&w.state); s.Missing+s.Misplaced+s.SharedZones > 0 {
			t.Fatalf("seed %d: settled at %+v", seed, s)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	w := newWorld(&testing.T{}, 1, 1000, 10_000, 3, 10)
	w.settle(Limits{Moves: 100})
	w.node("n005").Dead = true
	for b.Loop() {
		if len(Plan(&w.state, Limits{Moves: 20})) == 0 {
			b.Fatal("nothing planned")
		}
	}
}
