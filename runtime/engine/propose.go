package engine

import (
	"math/rand/v2"
	"slices"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/arbitration"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The codes of the reasons of propositions.
const (
	ReasonRankedFirst = "RANKED_FIRST"
	ReasonRanked      = "RANKED"
	ReasonExplored    = "EXPLORED"
	ReasonFallback    = "FALLBACK"
)

// arbitrate gives every candidate its priority and ranks them.
func (d *decision) arbitrate() {
	for i := range d.candidates {
		c := &d.candidates[i]
		c.Lever = arbitration.Lever(d.leverPercent(c.Action))
		if d.isControl(catalog.NoLevers) {
			c.Lever = 1
		}
		c.ContextWeight = d.contextWeight(c.Action)
		c.Value, _ = d.value(c.Action)
		if d.isControl(catalog.PropensityOnly) {
			c.ContextWeight, c.Value, c.Lever = 1, 1, 1
		}
		c.HeldBack = c.Action.Fallback
		c.Prioritize()
		c.Below = c.Propensity < d.in.Catalog.Arbitration.MinPropensity || c.Priority < d.in.Catalog.Arbitration.MinPriority
	}
	arbitration.Join(d.candidates, len(d.in.Catalog.Bundles))
	arbitration.Rank(d.candidates)
}

// leverPercent is the sum of the levers of an action, those from tables included. A table without a result
// moves nothing.
func (d *decision) leverPercent(a *catalog.Action) float64 {
	percent := a.LeverPercent
	for _, program := range a.Levers {
		if lever, ok := d.evaluator.Number(program, a.Purpose.ID); ok {
			percent += min(max(lever, catalog.MinLeverPercent), catalog.MaxLeverPercent)
		}
	}
	return percent
}

// contextWeight is the product of the context weights whose condition is true.
func (d *decision) contextWeight(a *catalog.Action) float64 {
	weight := 1.0
	for i := range a.Weights {
		if d.evaluator.Verdict(a.Weights[i].When, a.Purpose.ID) == expr.True {
			weight *= a.Weights[i].Weight
		}
	}
	return weight
}

// value is what an action is worth for this subject; ok is false, and the value 0, where the
// expression has no result between 0 and catalog.MaxValue.
func (d *decision) value(a *catalog.Action) (value float64, ok bool) {
	if a.Value.Program == nil {
		return a.Value.Constant, true
	}
	value, ok = d.evaluator.Number(a.Value.Program, a.Purpose.ID)
	if !ok || value < 0 || value > catalog.MaxValue {
		return 0, false
	}
	return value, true
}

// propose fills the placements in the order of the request.
func (d *decision) propose() {
	d.placing.Reset()
	rules := &d.in.Catalog.Arbitration
	d.placing.MaxPerIssue, d.placing.MaxPerGroup, d.placing.Explore = rules.MaxPerIssue, rules.MaxPerGroup, rules.Explore
	if d.isControl(catalog.RandomRelevant) {
		d.placing.Explore = 1
	}
	if d.placing.Explore > 0 {
		d.placing.Random = rand.New(rand.NewPCG(d.in.Seed, exploreStream))
	}
	if len(d.in.Catalog.Contacts.Policies) > 0 {
		d.placing.Room = d.roomForAll
		d.placing.Take = func(c *arbitration.Candidate) { d.takeRoom(c.Action) }
	}
	for i, placement := range d.placements {
		items := d.nextPlacement(placement)
		var of int
		slot, arranged := arbitration.Slot{Placement: placement.ID, Limit: d.in.Request.Placements[i].Limit}, d.arrangementOf(placement)
		if arranged != nil {
			slot.Order, d.out.Propositions[i].Strategy = arranged.order, arranged.info
		}
		d.positions, of = d.placing.Place(d.candidates, slot, d.positions[:0])
		for rank, position := range d.positions {
			c := &d.candidates[position]
			item := d.proposition(c, placement, rank+1)
			item.SelectionProbability = c.SelectionProbability
			item.Reason = d.reason(c, rank, of)
			if arranged != nil {
				arranged.render(&item, c, position, placement)
				item.Reason.Label += " as strategy " + arranged.call.Name + " arranged them"
			}
			items = append(items, item)
		}
		d.out.Propositions[i].Items = items
	}
}

// exploreStream is the stream of the seed that exploration draws from.
const exploreStream = 0x6578706c6f7265 // "explore"

// nextPlacement adds an entry for a placement and gives its items, empty, with the memory of an
// earlier decision.
func (d *decision) nextPlacement(placement *catalog.Placement) []nba.Proposition {
	n := len(d.out.Propositions)
	var items []nba.Proposition
	if n < cap(d.out.Propositions) {
		d.out.Propositions = d.out.Propositions[:n+1]
		items = d.out.Propositions[n].Items[:0]
	} else {
		d.out.Propositions = append(d.out.Propositions, nba.PlacementPropositions{})
	}
	if items == nil {
		items = []nba.Proposition{}
	}
	d.out.Propositions[n] = nba.PlacementPropositions{Placement: placement.Name, Items: items}
	return items
}

func (d *decision) proposition(c *arbitration.Candidate, placement *catalog.Placement, rank int) nba.Proposition {
	a, treatment := c.Action, c.Action.Treatment(placement.ID)
	return nba.Proposition{
		Rank: rank, Action: a.Name, Label: a.Label, Issue: a.Issue, Group: a.Group, Treatment: treatment.Name, Offering: a.Offering,
		Propensity: c.Propensity, ContextWeight: c.ContextWeight, Value: c.Value, Lever: c.Lever, Priority: c.Priority,
		SelectionProbability: 1, Model: c.Model, Content: treatment.Content,
		ExpiresAt: d.in.Catalog.Contacts.Until(a, d.onChannel, d.in.Request.Direction, d.in.Now),
	}
}

// reason tells why a candidate has its rank (from 0) among so many.
func (d *decision) reason(c *arbitration.Candidate, rank, of int) nba.Reason {
	var reason nba.Reason
	if c.SelectionProbability < 0.5 && d.placing.Explore > 0 {
		reason = nba.Reason{Code: ReasonExplored, Label: "drawn among " + strconv.Itoa(of)}
	} else if rank == 0 {
		reason = nba.Reason{Code: ReasonRankedFirst, Label: d.engine.labels.first(of)}
	} else {
		reason = nba.Reason{Code: ReasonRanked, Label: d.engine.labels.next(of)}
	}
	if c.Doubt != arbitration.NoDoubt {
		plugin := d.in.Catalog.Models[c.Action.Propensity.Model].Plugin
		what := " abstained"
		if c.Doubt == arbitration.Failed {
			what = " failed"
		}
		reason.Label += "; starting propensity because model " + plugin + what
	}
	return reason
}

// fallBack proposes, in each placement that got nothing, the first of the fallbacks that has a treatment
// there and is neither excluded by the request nor proposed already. Fallbacks do not compete.
func (d *decision) fallBack() {
	if len(d.in.Catalog.Fallbacks) == 0 {
		return
	}
	for i, placement := range d.placements {
		entry := &d.out.Propositions[i]
		if len(entry.Items) > 0 {
			continue
		}
		c := d.fallbackFor(placement)
		if c == nil {
			continue
		}
		item := d.proposition(c, placement, 1)
		item.Reason = nba.Reason{Code: ReasonFallback, Label: "nothing else is left for this placement"}
		if d.timedOut {
			item.Reason.Label = "the deadline passed before the actions were ranked"
		}
		entry.Items = append(entry.Items, item)
	}
}

// fallbackFor is the fallback of a placement, placed; nil if there is none.
func (d *decision) fallbackFor(placement *catalog.Placement) *arbitration.Candidate {
	for _, fallback := range d.in.Catalog.Fallbacks {
		if fallback.Treatment(placement.ID) == nil || d.isExcluded(fallback) || d.isPlaced(fallback) || !d.mayFallBack(fallback) {
			continue
		}
		return d.fallbackCandidate(fallback)
	}
	return nil
}

func (d *decision) isPlaced(a *catalog.Action) bool {
	return slices.ContainsFunc(d.candidates, func(c arbitration.Candidate) bool { return c.Placed && c.Action == a })
}

// mayFallBack tells whether the contact policies allow the fallback too. It may not have passed their
// stage: the deadline may have come first.
func (d *decision) mayFallBack(fallback *catalog.Action) bool {
	if len(d.in.Catalog.Contacts.Policies) == 0 {
		return true
	}
	d.beginContacts()
	if d.forbidden(fallback, nil) || !d.room(fallback) {
		return false
	}
	d.takeRoom(fallback)
	return true
}

// fallbackCandidate is the fallback as arbitration left it, or with what is known without it.
func (d *decision) fallbackCandidate(fallback *catalog.Action) *arbitration.Candidate {
	for i := range d.candidates {
		if d.candidates[i].Action == fallback {
			d.candidates[i].Placed = true
			return &d.candidates[i]
		}
	}
	c := arbitration.Candidate{Action: fallback, Propensity: fallback.Propensity.Starting, ContextWeight: 1,
		Lever: arbitration.Lever(d.leverPercent(fallback)), Placed: true}
	c.Value, _ = d.value(fallback)
	c.Prioritize()
	d.candidates = append(d.candidates, c)
	return &d.candidates[len(d.candidates)-1]
}

// isExcluded tells whether the request leaves an action out, or it is none of those that are asked for.
func (d *decision) isExcluded(a *catalog.Action) bool {
	if d.in.Among != nil && (a.Index >= len(d.in.Among) || !d.in.Among[a.Index]) {
		return true
	}
	for _, excluded := range d.excluded {
		if excluded == a {
			return true
		}
	}
	return false
}
