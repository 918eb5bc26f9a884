package engine

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/arbiterhq/arbiter/runtime/contact"
)

const timeFormat = time.RFC3339

// contactStage finds the contact policy that forbids the action, and when it will not any more.
func (w *whyNot) contactStage() {
	w.beginContacts()
	at := w.place(w.action)
	policies := w.in.Catalog.Contacts.Policies
	for i := range policies {
		p := &policies[i]
		if !p.For.Covers(&at) || !w.forbids(p, &at, w.in.Now) {
			continue
		}
		w.why.Clause = p.Name
		switch {
		case p.Quiet != nil:
			w.part("quiet hours", w.contacts.local.Format(timeFormat), fmt.Sprintf("outside %s to %s", clock(p.Quiet.From), clock(p.Quiet.To)))
		case p.Max == 0:
			w.part(p.Name, fmt.Sprintf("%d contacts answered so", max(w.used(p, &at, w.in.Now), 1)), "none within the time of the suppression")
		default:
			w.part(p.Name, fmt.Sprintf("%d contacts", w.used(p, &at, w.in.Now)), fmt.Sprintf("fewer than %d", p.Max))
		}
		if free, ok := w.freeFrom(p, &at); ok {
			w.change("wait until %s", free.Format(timeFormat))
		} else {
			w.change("change the contact policy: it does not end by itself")
		}
		return
	}
}

func clock(minute int) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }

func (w *whyNot) used(p *contact.Policy, at *contact.Place, now time.Time) int {
	limit := p.Limit(at, now.In(w.contacts.local.Location()))
	return w.contacts.books[w.bookOf(p)].ledger.Used(&limit, now.UnixMilli())
}

// forbids tells whether a policy forbids a contact at a moment, if nothing else happens until then.
func (w *whyNot) forbids(p *contact.Policy, at *contact.Place, now time.Time) bool {
	if p.Quiet != nil {
		return p.Quiet.At(now.In(w.contacts.local.Location()))
	}
	return w.used(p, at, now) >= max(int(p.Max), 1)
}

// freeFrom is the first moment, to the minute, at which a policy does not forbid the contact.
func (w *whyNot) freeFrom(p *contact.Policy, at *contact.Place) (time.Time, bool) {
	const nearby, far = 48 * time.Hour, 400 * 24 * time.Hour
	begin := w.in.Now.Truncate(time.Minute)
	for after := time.Minute; after <= nearby; after += time.Minute {
		if !w.forbids(p, at, begin.Add(after)) {
			return begin.Add(after), true
		}
	}
	for after := nearby; after <= far; after += time.Hour {
		if w.forbids(p, at, begin.Add(after)) {
			continue
		}
		for after -= time.Hour; w.forbids(p, at, begin.Add(after)); {
			after += time.Minute
		}
		return begin.Add(after), true
	}
	return time.Time{}, false
}

func (w *whyNot) volumeStage() {
	for i := range w.action.Volumes {
		v := &w.action.Volumes[i]
		period := v.Period(w.in.Now)
		if w.in.Volumes == nil || !w.in.Volumes.Spent(v, period) {
			continue
		}
		w.why.Clause = v.Label
		w.part("volume over all customers", "used up", fmt.Sprintf("fewer than %d", v.Max))
		if v.Per == contact.NoUnit {
			w.change("raise the volume of the action")
		} else {
			w.change("wait until %s, or raise the volume of the action", time.UnixMilli(period.EndMS).In(v.Zone).Format(timeFormat))
		}
		return
	}
}

// arbitrationStage tells what the action would have needed to be proposed.
func (w *whyNot) arbitrationStage() {
	r, rules := w.why.Ranking, &w.in.Catalog.Arbitration
	if r == nil {
		return
	}
	switch w.why.Code {
	case CodeBelowThreshold:
		if r.Propensity < rules.MinPropensity {
			w.part("minPropensity", short(r.Propensity), "at least "+short(rules.MinPropensity))
			w.change("a propensity of at least %s", short(rules.MinPropensity))
		}
		if r.Priority < rules.MinPriority {
			w.part("minPriority", short(r.Priority), "at least "+short(rules.MinPriority))
			w.raise(rules.MinPriority)
		}
	case CodeZeroPriority, CodeValueUndefined:
		w.zero()
	case CodeCrowded:
		w.crowded()
	case CodeOutranked:
		w.outranked()
	case CodeHeldBack:
		w.part("fallback", "something else is proposed", "nothing else is left for the placement")
		w.change("none: the fallback does not compete")
	case CodeContactLimit:
		w.part("contact limit", "used up by the propositions before it", "room for one more")
		w.change("a higher priority than those before it, or a higher limit")
	case CodeBundle, CodeOneOf, CodeStrategy:
		w.part(strings.ToLower(strings.ReplaceAll(w.why.Code, "_", " ")), w.why.Label, "otherwise")
		w.change("see %s", strings.ToLower(w.why.Label))
	}
}

// raise names what would lift the priority to a number.
func (w *whyNot) raise(to float64) {
	r := w.why.Ranking
	if r.Priority <= 0 || math.IsInf(to, 0) {
		w.change("a priority above %s", short(to))
		return
	}
	factor := to / r.Priority
	w.change("a priority above %s: a value above %s, or a lever above %s, or a propensity above %s", short(to), short(r.Value*factor),
		short(r.Lever*factor), short(r.Propensity*factor))
}

func (w *whyNot) outranked() {
	r := w.why.Ranking
	lowest := math.Inf(1)
	rival := ""
	for _, other := range r.BeatenBy {
		if other.Priority < lowest {
			lowest, rival = other.Priority, other.Action
		}
	}
	if rival == "" {
		w.part("the placements", "full", "one position left")
		w.change("ask for more propositions")
		return
	}
	w.part("priority", short(r.Priority), "more than "+short(lowest)+" of "+rival)
	w.raise(lowest)
}

func (w *whyNot) crowded() {
	inIssue, inGroup := 0, 0
	for i := range w.out.Propositions {
		for _, item := range w.out.Propositions[i].Items {
			if item.Issue == w.action.Issue {
				inIssue++
				if item.Group == w.action.Group {
					inGroup++
				}
			}
		}
	}
	rules := &w.in.Catalog.Arbitration
	if rules.MaxPerGroup > 0 && inGroup >= rules.MaxPerGroup {
		w.part("maxPerGroup", fmt.Sprintf("%d propositions of group %s", inGroup, w.action.Group), fmt.Sprintf("fewer than %d", rules.MaxPerGroup))
	}
	if rules.MaxPerIssue > 0 && inIssue >= rules.MaxPerIssue {
		w.part("maxPerIssue", fmt.Sprintf("%d propositions of issue %s", inIssue, w.action.Issue), fmt.Sprintf("fewer than %d", rules.MaxPerIssue))
	}
	w.change("a higher priority than those of its issue and group")
}

func (w *whyNot) zero() {
	r := w.why.Ranking
	if w.why.Code == CodeValueUndefined {
		program := w.action.Value.Program
		if program == nil {
			return
		}
		w.why.Clause = program.Source()
		w.part("value "+program.Source(), w.env.Show(program, w.evaluator.Vars(w.action.Purpose.ID)), "a number from 0")
		w.change("what the value reads is known, or the value does without it")
		return
	}
	for _, factor := range [...]struct {
		name string
		is   float64
	}{{"propensity", r.Propensity}, {"context weight", r.ContextWeight}, {"value", r.Value}, {"lever", r.Lever}} {
		if factor.is <= 0 {
			w.part(factor.name, short(factor.is), "more than 0")
			w.change("a %s above 0", factor.name)
		}
	}
}
