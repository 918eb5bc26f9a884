package membership

import (
	"cmp"
	"slices"
)

// How many voters the control group has: with more of them every change would wait for more nodes.
const (
	fewVoters  = 3
	manyVoters = 5
)

// Voters are the nodes that shall vote in the control group, sorted: 5 of five or more nodes, else 3, or
// all of fewer. Of the present ones as many as can stay do; others come from the zones that have fewest.
// Nodes that are down stay until they are dead. Without a node that could vote it is what it was.
func Voters(nodes []Node, now []string) []string {
	sorted := slices.SortedFunc(slices.Values(nodes), func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	able := slices.DeleteFunc(slices.Clone(sorted), func(n Node) bool {
		return n.Dead || n.Draining || n.Down && !slices.Contains(now, n.ID)
	})
	if len(able) == 0 {
		return slices.Sorted(slices.Values(now))
	}
	want := manyVoters
	if len(able) < manyVoters {
		want = min(fewVoters, len(able))
	}
	if len(able) < min(fewVoters, len(sorted)) {
		// Too few to vote are left: those that drain or died count on, until others come.
		able = slices.DeleteFunc(sorted, func(n Node) bool { return (n.Draining || n.Dead || n.Down) && !slices.Contains(now, n.ID) })
		want = min(fewVoters, len(able))
	}
	var chosen []string
	zones := map[string]int{}
	for len(chosen) < want {
		best := -1
		rank := func(n *Node) (unfit, zone, stranger int) {
			if !slices.Contains(now, n.ID) {
				stranger = 1
			}
			if n.Dead || n.Draining || n.Down && stranger == 1 {
				unfit = 1
			}
			return unfit, zones[n.Zone], stranger
		}
		for i := range able {
			if slices.Contains(chosen, able[i].ID) {
				continue
			}
			if best < 0 {
				best = i
				continue
			}
			ad, az, as := rank(&able[i])
			bd, bz, bs := rank(&able[best])
			if cmp.Or(cmp.Compare(ad, bd), cmp.Compare(az, bz), cmp.Compare(as, bs)) < 0 {
				best = i
			}
		}
		chosen = append(chosen, able[best].ID)
		zones[able[best].Zone]++
	}
	slices.Sort(chosen)
	return chosen
}

// Spread tells how evenly the replicas and leads of a state are dealt out over the nodes that may have any.
type Spread struct {
	MinReplicas, MaxReplicas int
	MinLeads, MaxLeads       int
	// Misplaced counts replicas on nodes that shall have none, Missing those that there are too few.
	Misplaced, Missing int
	// SharedZones counts groups with two replicas in one zone although there are zones without.
	SharedZones int
}

// SpreadOf measures a state.
func SpreadOf(s *State) Spread {
	p := newPlanner(s, Limits{}.withDefaults())
	out := Spread{MinReplicas: -1, MinLeads: -1}
	for i := range p.nodes {
		if !p.nodes[i].free() {
			continue
		}
		out.MaxReplicas, out.MaxLeads = max(out.MaxReplicas, p.keeps[i]), max(out.MaxLeads, p.leads[i])
		if out.MinReplicas < 0 || p.keeps[i] < out.MinReplicas {
			out.MinReplicas = p.keeps[i]
		}
		if out.MinLeads < 0 || p.leads[i] < out.MinLeads {
			out.MinLeads = p.leads[i]
		}
	}
	out.MinReplicas, out.MinLeads = max(0, out.MinReplicas), max(0, out.MinLeads) // nobody may have any
	open := map[int]bool{}                                                        // zones that could take a replica
	for i := range p.nodes {
		if p.nodes[i].free() {
			open[p.zone[i]] = true
		}
	}
	for i := range p.groups {
		g := &p.groups[i]
		out.Missing += max(0, p.wanted-len(g.replicas))
		shared, used := false, map[int]bool{}
		for _, node := range g.replicas {
			if node == nowhere || p.nodes[node].Dead || p.nodes[node].Draining {
				out.Misplaced++
			}
			if node != nowhere {
				shared = shared || used[p.zone[node]]
				used[p.zone[node]] = true
			}
		}
		for zone := range open {
			if shared && !used[zone] {
				out.SharedZones++
				break
			}
		}
	}
	return out
}
