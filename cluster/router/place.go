package router

import "slices"

// placement tells which of the nodes keep a data group, sorted, and which of them should lead it. It
// is a function of what never changes after a cluster was founded, so all nodes agree on it without
// talking. Groups are dealt out in turn: each node keeps and leads as many as any other, give or take
// one round. nodes is sorted.
func placement(nodes []string, group, replicas int) (keepers []string, leader string) {
	first := group % len(nodes)
	for i := range min(replicas, len(nodes)) {
		keepers = append(keepers, nodes[(first+i*stride(len(nodes), group))%len(nodes)])
	}
	slices.Sort(keepers)
	return keepers, nodes[first]
}

// stride is how far apart the keepers of a group are. It changes with every round over the nodes, so
// that the groups of a node that is down are led by all others and not by its neighbour alone.
func stride(nodes, group int) int {
	round := group / nodes
	for s := 1 + round%max(nodes-1, 1); ; s = s%(nodes-1) + 1 {
		if nodes < 2 || coprime(s, nodes) {
			return s
		}
	}
}

func coprime(a, b int) bool {
	for b != 0 {
		a, b = b, a%b
	}
	return a == 1
}
