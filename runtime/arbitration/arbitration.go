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
	// Below tells that a threshold keeps the candidate from being proposed.
	Below bool
	// HeldBack keeps the candidate out of the competition for placements: the fallback.
	HeldBack bool
	// Doubt tells why the starting propensity stands in for a model's score.
	Doubt Doubt
	// Maturity is the weight of the model's score in the propensity, from 0 to 1; 0 without a score.
	Maturity float64
	// Incomplete tells that another action of its bundle cannot be proposed. Join sets it.
	Incomplete bool
	// Dropped tells that a strategy left the candidate out.
	Dropped bool
	// Placed is set by Place, and when it did not place the candidate, why: NoRoom that Room said no,
	// Crowded that its issue or group has enough propositions, Excluded that another action of a set of
	// which one is proposed was, TooLarge that its bundle has more actions than positions were left.
	Placed, NoRoom, Crowded, Excluded, TooLarge bool
	// SelectionProbability is set by Place.
	SelectionProbability float64

	unitPriority float64 // what it competes with: its priority, or that of its bundle
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

// Ranks tells whether c may be proposed at all: a candidate without priority, or below a threshold, may
// not.
func (c *Candidate) Ranks() bool { return c.Priority > 0 && !math.IsInf(c.Priority, 1) && !c.Below }

// Rank sorts candidates that Join was given by falling priority of what they compete as, and equal ones
// by name. The candidates of a bundle follow one another.
func Rank(candidates []Candidate) {
	slices.SortFunc(candidates, func(a, b Candidate) int {
		if order := cmp.Compare(b.unitPriority, a.unitPriority); order != 0 {
			return order
		}
		return cmp.Or(cmp.Compare(a.unitName(), b.unitName()), cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Action.Name, b.Action.Name))
	})
}
