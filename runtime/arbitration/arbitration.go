// Package arbitration ranks what passed every policy and fills the placements with it.
//
// The priority of an action is P × C × V × L: propensity, context weight, value and lever. Ties are
// broken by the name of the action, so the ranking is a function of the factors alone.
package arbitration

import (
	"cmp"
	"math"
	"slices"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// MaxContextWeight bounds the product of the context weights of one action.
const MaxContextWeight = 1e6

// Candidate is an action in arbitration with its factors.
type Candidate struct {
	Action *catalog.Action

	Propensity    float64
	ContextWeight float64
	Value         float64
	Lever         float64
	Priority      float64

	// Model scored the candidate; nil for a fixed or a starting propensity.
	Model *nba.ModelInfo
	// HeldBack keeps the candidate out of the competition for placements: the fallback.
	HeldBack bool
	// Doubt tells why the starting propensity stands in for a model's score.
	Doubt Doubt
	// Placed is set by Place, NoRoom by who asks for the room.
	Placed, NoRoom bool
}

// Doubt is why a model's score was not used.
type Doubt uint8

// The doubts.
const (
	NoDoubt   Doubt = iota
	Abstained       // the model gave no score, or none between 0 and 1
	Failed          // the model could not be called
)

// Lever is the factor of a sum of levers in percent: 0 is neutral, 10 is a tenth more. It is never
// negative.
func Lever(percent float64) float64 { return max(0, 1+percent/100) }

// Prioritize computes the priority of c from its factors.
func (c *Candidate) Prioritize() {
	c.ContextWeight = min(c.ContextWeight, MaxContextWeight)
	c.Priority = c.Propensity * c.ContextWeight * c.Value * c.Lever
}

// Ranks tells whether c may be proposed at all: a candidate without priority may not.
func (c *Candidate) Ranks() bool { return c.Priority > 0 && !math.IsInf(c.Priority, 1) }

// Rank sorts candidates by falling priority, and equal ones by the name of their action.
func Rank(candidates []Candidate) {
	slices.SortFunc(candidates, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Action.Name, b.Action.Name))
	})
}

// Place takes up to limit of the ranked candidates that have a treatment in a placement and are
// neither placed yet nor held back, best first, and marks them. room, if not nil, is asked before each, and those
// for which it is false are passed over. It appends their positions to into and tells how many there were to choose from. An action is placed at most once, so placements are to be filled in the order
// of the request.
func Place(ranked []Candidate, placementID, limit int, room func(*Candidate) bool, into []int) (positions []int, of int) {
	for i := range ranked {
		c := &ranked[i]
		if c.Placed || c.HeldBack || !c.Ranks() || c.Action.Treatment(placementID) == nil {
			continue
		}
		of++
		if limit > 0 && (room == nil || room(c)) {
			limit--
			c.Placed = true
			into = append(into, i)
		}
	}
	return into, of
}
