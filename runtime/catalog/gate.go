package catalog

import (
	"cmp"
	"slices"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Gate is one condition, for one purpose, with every action that an engagement policy makes depend on
// it: where it is not true, all of them leave. A decision that need not explain itself looks at each
// gate at most once instead of at each policy of each action.
type Gate struct {
	When    *Predicate
	Purpose nba.PurposeID
	// Actions are positions in Catalog.Actions, ascending.
	Actions []uint16
}

// gates collects the conditions of all actions. Those that most actions depend on come first: they may
// leave nothing to ask.
func (c *compiler) gates() {
	type key struct {
		predicate int
		purpose   nba.PurposeID
	}
	positions := map[key]int{}
	for _, a := range c.catalog.Actions {
		for k := range a.Policies {
			for i := range a.Policies[k] {
				when := a.Policies[k][i].When
				id := key{when.ID, a.Purpose.ID}
				position, ok := positions[id]
				if !ok {
					position = len(c.catalog.Gates)
					positions[id] = position
					c.catalog.Gates = append(c.catalog.Gates, Gate{When: when, Purpose: a.Purpose.ID})
				}
				gate := &c.catalog.Gates[position]
				if n := len(gate.Actions); n == 0 || gate.Actions[n-1] != uint16(a.Index) {
					gate.Actions = append(gate.Actions, uint16(a.Index))
				}
			}
		}
	}
	slices.SortStableFunc(c.catalog.Gates, func(a, b Gate) int { return cmp.Compare(len(b.Actions), len(a.Actions)) })
}
