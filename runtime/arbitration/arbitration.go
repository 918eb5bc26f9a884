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
	// Placed is set by Place, and when it did not place the candidate, NoRoom that Free said no and
	// Crowded that its issue or group has enough propositions.
	Placed, NoRoom, Crowded bool
	// SelectionProbability is set by Place.
	SelectionProbability float64
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

// Rank sorts candidates by falling priority, and equal ones by the name of their action.
func Rank(candidates []Candidate) {
	slices.SortFunc(candidates, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(a.Action.Name, b.Action.Name))
	})
}
