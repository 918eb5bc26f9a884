// Package eligibility evaluates the engagement policies of actions for one subject: eligibility (may
// we), applicability (does it make sense now), suitability (is it good for the customer), in this
// order.
//
// A policy lets an action stay only where its condition is true. A condition that is undefined,
// because an attribute is absent or may not be used, is not true: what is not known is never assumed
// in favour of contacting somebody. The package reads no clock.
package eligibility

import (
	"slices"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Evaluator evaluates conditions for one subject and request. Each distinct condition is evaluated
// once for each purpose, however many actions share it. An Evaluator belongs to one goroutine; Reset
// makes it ready for the next decision and keeps its memory.
type Evaluator struct {
	vars       expr.Vars
	predicates int
	slots      [nba.MaxPurposes]int16 // by purpose: 1 + position of its block in memo, 0 if unused
	memo       []uint8                // blocks of one byte a predicate: 0, or 1 + verdict
}

// Reset begins a decision over vars, whose Purpose is set as needed, with a catalog of so many
// predicates.
func (e *Evaluator) Reset(vars expr.Vars, predicates int) {
	e.vars, e.predicates = vars, predicates
	e.slots = [nba.MaxPurposes]int16{}
	e.memo = e.memo[:0]
}

// Verdict is the result of a condition for an action of a purpose.
func (e *Evaluator) Verdict(p *catalog.Predicate, purpose nba.PurposeID) expr.Verdict {
	known := &e.block(purpose)[p.ID]
	if *known == 0 {
		e.vars.Purpose = purpose
		*known = 1 + uint8(p.Program.Bool(&e.vars))
	}
	return expr.Verdict(*known - 1)
}

// block is the memo of one purpose.
func (e *Evaluator) block(purpose nba.PurposeID) []uint8 {
	slot := int(e.slots[purpose])
	if slot == 0 {
		slot = len(e.memo)/max(e.predicates, 1) + 1
		e.slots[purpose] = int16(slot)
		e.memo = slices.Grow(e.memo, e.predicates)[:len(e.memo)+e.predicates]
		clear(e.memo[len(e.memo)-e.predicates:])
	}
	return e.memo[(slot-1)*e.predicates : slot*e.predicates]
}

// Vars are those that conditions of a purpose are evaluated over, for explanations.
func (e *Evaluator) Vars(purpose nba.PurposeID) *expr.Vars {
	e.vars.Purpose = purpose
	return &e.vars
}

// Number evaluates a value for an action of a purpose. ok is false when it is undefined.
func (e *Evaluator) Number(p *expr.Program, purpose nba.PurposeID) (value float64, ok bool) {
	e.vars.Purpose = purpose
	return p.Number(&e.vars)
}

// Failing is the first policy of a kind that takes the action out, or nil.
func (e *Evaluator) Failing(a *catalog.Action, kind catalog.PolicyKind) *catalog.Policy {
	policies := a.Policies[kind]
	for i := range policies {
		if e.Verdict(policies[i].When, a.Purpose.ID) != expr.True {
			return &policies[i]
		}
	}
	return nil
}

// Why tells what kept an expression from having a result: the first attribute that is absent or
// withheld. It is empty when the expression has a result, or failed for another reason.
func (e *Evaluator) Why(p *expr.Program, d *nba.Dictionary, purpose nba.Purpose) string {
	e.vars.Purpose = purpose.ID
	if p.Defined(&e.vars) {
		return ""
	}
	gap := e.vars.Gap()
	if gap.Known && gap.History {
		if gap.Withheld {
			return "the history may not be used for " + purpose.Name
		}
		return "the history does not tell"
	}
	if gap.Known && gap.Journey != "" {
		if gap.Withheld {
			return "journeys may not be used for " + purpose.Name
		}
		return "the subject is not in journey " + gap.Journey + ", or that does not carry this along"
	}
	if gap.Known && gap.Strategy != "" {
		if gap.Withheld {
			return "what event strategy " + gap.Strategy + " counts may not be used for " + purpose.Name
		}
		return "event strategy " + gap.Strategy + " has not counted anything"
	}
	attribute, known := d.AttributeByID(gap.Attribute)
	switch {
	case !gap.Known || !known:
		return ""
	case gap.Withheld:
		return attribute.Name + " may not be used for " + purpose.Name
	default:
		return attribute.Name + " is not known"
	}
}
