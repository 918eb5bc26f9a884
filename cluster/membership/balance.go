package membership

import (
	"cmp"
	"slices"
)

// sound tells whether a group may be changed without need: all its replicas answer.
func (p *planner) sound(g *plannedGroup) bool {
	return !g.fixed && !g.Moving && p.alive(g) == len(g.replicas) && len(g.replicas) == p.wanted
}

// zones moves replicas that share a zone while there is a zone with fewer.
func (p *planner) zones() {
	if p.nzones < 2 {
		return
	}
	for i := range p.groups {
		if !p.room() {
			return
		}
		g := &p.groups[i]
		if !p.sound(g) {
			continue
		}
		if from := p.worst(g); p.inZone(g, nowhere, p.zone[g.replicas[from]]) > 1 {
			to := p.best(g, from)
			if to != nowhere && p.inZone(g, from, p.zone[to]) < p.inZone(g, from, p.zone[g.replicas[from]]) {
				p.change(g, from, to, ReasonZones)
			}
		}
	}
}

// balance moves replicas from nodes that keep more to nodes that keep less, where zones allow it. So that
// each replica moves once, nodes with less than their share take first, even if they have to wait for it,
// and then those with more than their share give. Only when neither is possible, since zones are of
// different sizes, any two nodes are made more even.
func (p *planner) balance() {
	free, total := []int{}, 0
	for node := range p.nodes {
		if p.nodes[node].free() {
			free = append(free, node)
			total += p.keeps[node]
		}
	}
	if !p.room() || len(free) == 0 {
		return
	}
	floor, ceil := total/len(free), (total+len(free)-1)/len(free)
	var poor, rich []int
	for _, node := range free {
		switch {
		case p.keeps[node] < floor:
			poor = append(poor, node)
		case p.keeps[node] > ceil:
			rich = append(rich, node)
		}
	}
	before := p.moves
	switch {
	case len(poor) > 0:
		p.even(poor, free, floor)
	case len(rich) > 0:
		p.even(free, rich, ceil)
	}
	if before == 0 && p.moves == 0 {
		p.even(free, free, 0)
	}
}

// even moves replicas from givers to takers that keep at least two fewer. With a share, no giver goes below
// it; without, each gives one at most.
func (p *planner) even(takers, givers []int, share int) {
	takers, givers = slices.Clone(takers), slices.Clone(givers)
	slices.SortStableFunc(takers, func(a, b int) int { return cmp.Compare(p.keeps[a], p.keeps[b]) })
	slices.SortStableFunc(givers, func(a, b int) int { return cmp.Compare(p.keeps[b], p.keeps[a]) })
	if p.keeps[givers[0]]-p.keeps[takers[0]] < 2 {
		return
	}
	gave := make([]bool, len(p.nodes))
	held := make([][]int, len(p.nodes)) // the groups of each node
	for i := range p.groups {
		if p.sound(&p.groups[i]) {
			for _, node := range p.groups[i].replicas {
				held[node] = append(held[node], i)
			}
		}
	}
	for _, to := range takers {
		for _, from := range givers {
			if !p.room() || p.taking[to] >= p.limits.PerNode || p.keeps[from]-p.keeps[to] < 2 {
				break
			}
			if share > 0 && p.keeps[from] <= share || gave[from] && share == 0 {
				continue
			}
			if g, replica := p.spare(held[from], from, to); g != nil {
				p.change(g, replica, to, ReasonBalance)
				gave[from] = true
			}
		}
	}
}

// spare is a group on one node that may move to another without its zones getting worse. One that the
// giver leads comes first when the giver leads more.
func (p *planner) spare(held []int, from, to int) (best *plannedGroup, replica int) {
	led := false
	var bestHash uint64
	for _, i := range held {
		g := &p.groups[i]
		if g.fixed || slices.Contains(g.replicas, to) {
			continue
		}
		at := slices.Index(g.replicas, from)
		if p.inZone(g, at, p.zone[to]) > p.inZone(g, at, p.zone[from]) {
			continue
		}
		leads, hash := g.leader == from && p.leads[from] > p.leads[to]+1, p.hash(to, g)
		if best == nil || leads && !led || leads == led && hash < bestHash {
			best, replica, led, bestHash = g, at, leads, hash
		}
	}
	return best, replica
}

// leaders changes who should lead, so that nodes that shall not do not, and all others lead about as many.
func (p *planner) leaders() {
	changed := map[int]bool{}
	for i := range p.groups {
		g := &p.groups[i]
		if len(changed) >= p.limits.Leaders {
			break
		}
		if g.fixed || g.leader != nowhere && slices.Contains(g.replicas, g.leader) && !p.nodes[g.leader].Draining && !p.nodes[g.leader].Dead {
			continue
		}
		if heir := p.heir(g, nowhere); heir != g.leader && heir != nowhere && p.nodes[heir].free() {
			p.lead(g, heir)
			changed[i] = true
		}
	}
	for len(changed) < p.limits.Leaders {
		way := p.shift()
		if way == nil {
			break
		}
		for _, w := range way {
			p.lead(&p.groups[w.group], w.to)
			changed[w.group] = true
		}
	}
	for i := range p.groups { // in their order
		g := &p.groups[i]
		if changed[i] && p.name(g.leader) != g.Leader {
			p.steps = append(p.steps, Step{Group: g.Number, Replicas: slices.Sorted(slices.Values(g.Replicas)), Leader: p.name(g.leader), Reason: ReasonLeaders})
		}
	}
}

// lift is a lead that goes to another replica.
type lift struct{ group, to int }

// shift finds leads to move, one after the other, so that a node that leads too many leads one fewer, and
// one that leads at least two fewer one more.
func (p *planner) shift() []lift {
	led := make([][]int, len(p.nodes))
	for i := range p.groups {
		g := &p.groups[i]
		if g.leader != nowhere && !g.fixed && !g.Moving {
			led[g.leader] = append(led[g.leader], i)
		}
	}
	order := make([]int, 0, len(p.nodes))
	least := -1
	for node := range p.nodes {
		if p.nodes[node].free() {
			order = append(order, node)
			if least < 0 || p.leads[node] < least {
				least = p.leads[node]
			}
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(p.leads[b], p.leads[a]) })
	seen := make([]bool, len(p.nodes)) // by searches before, which found nothing behind it
	for _, from := range order {
		if p.leads[from]-least < 2 {
			return nil
		}
		if way := p.search(from, led, seen); way != nil {
			return way
		}
	}
	return nil
}

// search looks for the shortest way, over groups that one node leads and the next one keeps.
func (p *planner) search(from int, led [][]int, seen []bool) []lift {
	if seen[from] {
		return nil
	}
	type reached struct {
		node, before int
		by           lift
	}
	queue := []reached{{node: from, before: -1}}
	seen[from] = true
	for at := 0; at < len(queue); at++ {
		for _, i := range led[queue[at].node] {
			for _, to := range p.groups[i].replicas {
				if to == nowhere || seen[to] || !p.nodes[to].free() {
					continue
				}
				seen[to] = true
				queue = append(queue, reached{to, at, lift{i, to}})
				if p.leads[from]-p.leads[to] < 2 {
					continue
				}
				var way []lift
				for b := len(queue) - 1; queue[b].before >= 0; b = queue[b].before {
					way = append(way, queue[b].by)
				}
				return way
			}
		}
	}
	return nil
}
