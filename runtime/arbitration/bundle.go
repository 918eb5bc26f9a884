package arbitration

import (
	"cmp"
	"slices"
)

// Join makes units of the candidates whose actions are in a bundle. A bundle competes with the mean of
// the priorities of its candidates: it takes as many positions as it has actions, and the mean is what
// each of them earns. Where an action of a bundle is missing, or may not be proposed, the others are
// Incomplete. Priorities must be there. bundles is the number of bundles of the catalog.
func Join(candidates []Candidate, bundles int) {
	for i := range candidates {
		candidates[i].unitPriority = candidates[i].Priority
	}
	if bundles == 0 {
		return
	}
	sums, counts := make([]float64, bundles), make([]int, bundles)
	// Sums are made in the order of the names, so that they do not depend on that of the candidates.
	byName := make([]int, 0, len(candidates))
	for i := range candidates {
		if candidates[i].Action.Bundle != nil {
			byName = append(byName, i)
		}
	}
	slices.SortFunc(byName, func(a, b int) int { return cmp.Compare(candidates[a].Action.Name, candidates[b].Action.Name) })
	for _, i := range byName {
		if c := &candidates[i]; c.Ranks() && !c.HeldBack {
			sums[c.Action.Bundle.Index] += c.Priority
			counts[c.Action.Bundle.Index]++
		}
	}
	for _, i := range byName {
		c := &candidates[i]
		bundle := c.Action.Bundle
		if c.Incomplete = counts[bundle.Index] < len(bundle.Actions); !c.Incomplete {
			c.unitPriority = sums[bundle.Index] / float64(len(bundle.Actions))
		}
	}
}

// unitName orders units of equal priority: the first name of the bundle's actions, or that of the action.
func (c *Candidate) unitName() string {
	if c.Action.Bundle != nil && !c.Incomplete {
		return c.Action.Bundle.Actions[0]
	}
	return c.Action.Name
}

// Arranged is a candidate with its place in an arrangement of a strategy.
type Arranged struct {
	// At is its position among the candidates, Weight what its priority is multiplied with.
	At     int
	Weight float64

	priority float64 // of the candidate, weighted
	key      float64 // of its unit, falling
	whole    bool
}

// Arrange orders arranged: by their weighted priorities, or as they are given. Either way the candidates
// of a bundle follow one another, and those of a bundle that is not whole are left out.
func Arrange(candidates []Candidate, arranged []Arranged, byPriority bool) []Arranged {
	for i := range arranged {
		arranged[i].priority = candidates[arranged[i].At].Priority * arranged[i].Weight
	}
	for i := range arranged {
		arranged[i].join(candidates, arranged, i, byPriority)
	}
	arranged = slices.DeleteFunc(arranged, func(a Arranged) bool { return !a.whole })
	slices.SortStableFunc(arranged, func(a, b Arranged) int {
		first, second := &candidates[a.At], &candidates[b.At]
		if !byPriority {
			return cmp.Compare(b.key, a.key)
		}
		return cmp.Or(cmp.Compare(b.key, a.key), cmp.Compare(first.unitName(), second.unitName()),
			cmp.Compare(b.priority, a.priority), cmp.Compare(first.Action.Name, second.Action.Name))
	})
	return arranged
}

// join finds the key of the unit that a, the i-th of all, belongs to: the mean of the priorities, or the
// place of the first.
func (a *Arranged) join(candidates []Candidate, all []Arranged, i int, byPriority bool) {
	bundle := candidates[a.At].Action.Bundle
	if bundle == nil {
		if a.key, a.whole = -float64(i), true; byPriority {
			a.key = a.priority
		}
		return
	}
	sum, count, first := 0.0, 0, -1
	for j := range all {
		if candidates[all[j].At].Action.Bundle != bundle {
			continue
		}
		if first < 0 {
			first = j
		}
		sum += all[j].priority
		count++
	}
	if a.key, a.whole = -float64(first), count == len(bundle.Actions); byPriority {
		a.key = sum / float64(count)
	}
}
