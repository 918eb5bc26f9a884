package engine

import (
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// What a plugin said of an action for an engagement policy.
const (
	unasked uint8 = iota
	allowed
	forbidden
	unanswered // the plugin failed
)

var everyKind = [...]catalog.PolicyKind{catalog.Eligibility, catalog.Applicability, catalog.Suitability}

// judge asks the plugins that decide policies of these kinds about the actions still in the funnel, each
// plugin once with all of them. It does nothing for catalogs without such policies.
func (d *decision) judge(kinds ...catalog.PolicyKind) {
	if !d.in.Catalog.Ruled {
		return
	}
	if len(d.verdicts) == 0 {
		needed := len(d.in.Catalog.Models) * len(d.in.Catalog.Actions)
		if cap(d.verdicts) < needed {
			d.verdicts = make([]uint8, needed)
		}
		d.verdicts = d.verdicts[:needed]
		clear(d.verdicts)
	}
	for model := range d.in.Catalog.Models {
		if d.late() {
			return
		}
		d.judgeWith(model, kinds)
	}
}

// judgeWith asks one plugin.
func (d *decision) judgeWith(model int, kinds []catalog.PolicyKind) {
	s := &d.scoring
	s.candidates, s.rows = s.candidates[:0], s.rows[:0]
	for _, a := range d.actions {
		if *d.verdict(model, a) == unasked && a.Ruled(model, kinds...) {
			s.candidates, s.rows = append(s.candidates, a), append(s.rows, a.Index)
		}
	}
	if len(s.rows) == 0 {
		return
	}
	if cap(s.out) < len(s.rows) {
		s.out = make([]float64, len(s.rows), 2*len(s.rows))
	}
	s.out = s.out[:len(s.rows)]
	s.call = ScoreCall{
		Model: d.in.Catalog.Models[model].Plugin, Subject: d.in.Subject, Now: d.in.Now, Mask: d.mask,
		Contexts: d.in.Request.Contexts, Candidates: s.candidates, Out: s.out,
	}
	s.call.Parameters = d.in.Catalog.Parameters[s.call.Model]
	_, err := d.callScorer()
	if err != nil {
		d.degrade(DegradedModel + s.call.Model)
		if d.engine.options.ModelFailed != nil {
			d.engine.options.ModelFailed(s.call.Model, err)
		}
	} else if d.in.Reads.answer(s.call.StandIn) {
		d.degrade(DegradedStandIn + s.call.Model)
	}
	for i, index := range s.rows {
		verdict := &d.verdicts[model*len(d.in.Catalog.Actions)+index]
		switch {
		case err != nil:
			*verdict = unanswered
		case s.out[i] == 1:
			*verdict = allowed
		default:
			*verdict = forbidden
		}
	}
}

func (d *decision) verdict(model int, a *catalog.Action) *uint8 {
	return &d.verdicts[model*len(d.in.Catalog.Actions)+a.Index]
}

// obeys tells whether an action passes the policies of one kind that plugins decide; judge was called.
func (d *decision) obeys(a *catalog.Action, kind catalog.PolicyKind, into *nba.Stage) bool {
	for i := range a.Rules[kind] {
		rule := &a.Rules[kind][i]
		switch *d.verdict(rule.Model, a) {
		case allowed:
			continue
		case forbidden:
			remove(into, a, rule.Code, func() string { return rule.Label })
		default:
			remove(into, a, rule.Code, func() string {
				return withCause(rule.Label, "plugin "+d.in.Catalog.Models[rule.Model].Plugin+" did not answer")
			})
		}
		return false
	}
	return true
}

// obedient keeps the actions that pass the policies of plugins, where nobody asks which took one out.
func (d *decision) obedient() {
	if !d.in.Catalog.Ruled {
		return
	}
	d.judge(everyKind[:]...)
	kept := d.actions[:0]
	for _, a := range d.actions {
		if d.obeys(a, catalog.Eligibility, nil) && d.obeys(a, catalog.Applicability, nil) && d.obeys(a, catalog.Suitability, nil) {
			kept = append(kept, a)
		}
	}
	d.actions = kept
}
