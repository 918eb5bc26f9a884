package engine

import (
	"slices"
	"time"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The stages of the funnel besides the three engagement policies, which name their own.
const (
	stageConsent     = "consent"
	stageChannel     = "channel"
	stageArbitration = "arbitration"
)

// The codes of removals that the catalog does not name.
const (
	CodeNoConsent      = "NO_CONSENT"
	CodeNoChannel      = "NO_CHANNEL_CONSENT"
	CodeExcluded       = "EXCLUDED"
	CodeNotAsked       = "NOT_ASKED" // it is not among the actions that the decision is made among
	CodeNoTreatment    = "NO_TREATMENT"
	CodeNotYetValid    = "NOT_YET_VALID"
	CodeExpired        = "EXPIRED"
	CodeValueUndefined = "VALUE_UNDEFINED"
	CodeZeroPriority   = "ZERO_PRIORITY"
	CodeOutranked      = "OUTRANKED"
	CodeHeldBack       = "HELD_BACK"
	CodeHeldOut        = "HELD_OUT"
	CodeBelowThreshold = "BELOW_THRESHOLD"
	CodeCrowded        = "DIVERSITY" // the issue or group has enough propositions
	CodeOutOfSeason    = "OUT_OF_SEASON"
	CodeBundle         = "BUNDLE"        // another action of the bundle cannot be proposed, or there is no room for all
	CodeOneOf          = "ONE_OF"        // another action of a set of which one is proposed was
	CodeStrategy       = "STRATEGY"      // a strategy left the action out
	CodeContactLimit   = "CONTACT_LIMIT" // the propositions of this decision use the limit up
)

// lateCheck is the number of actions between two looks at the deadline within a stage.
const lateCheck = 16

// filter is one stage of the funnel: actions for which keep is false leave. keep gets the stage to
// enter the reason into, nil when nothing is explained.
func (d *decision) filter(stage string, keep func(d *decision, a *catalog.Action, into *nba.Stage) bool) {
	entry := d.stage(stage, len(d.actions))
	kept := d.actions[:0]
	for i, a := range d.actions {
		if i%lateCheck == lateCheck-1 && d.late() {
			d.dropStage()
			return
		}
		if keep(d, a, entry) {
			kept = append(kept, a)
		}
	}
	d.actions = kept
	if entry != nil {
		entry.Out = len(kept)
	}
}

func (d *decision) consent() {
	d.filter(stageConsent, func(d *decision, a *catalog.Action, into *nba.Stage) bool {
		if d.isControl(catalog.UniversalHoldout) && !d.in.Dictionary.WithoutConsent().Has(a.Purpose.ID) {
			remove(into, a, CodeHeldOut, func() string { return "control group " + d.control.Name })
			return false
		}
		if !d.mask.Has(a.Purpose.ID) {
			remove(into, a, CodeNoConsent, func() string { return "no consent for " + a.Purpose.Name })
			return false
		}
		if d.onChannel.Addressable(a.Purpose, d.addressed) {
			return true
		}
		remove(into, a, CodeNoChannel, func() string {
			if d.said == nba.Refused {
				return "channel " + d.onChannel.Name + " is refused"
			}
			return "no consent to channel " + d.onChannel.Name
		})
		return false
	})
}

func (d *decision) channel() {
	d.filter(stageChannel, func(d *decision, a *catalog.Action, into *nba.Stage) bool {
		if d.in.Among != nil && (a.Index >= len(d.in.Among) || !d.in.Among[a.Index]) {
			remove(into, a, CodeNotAsked, func() string { return "not among the actions asked for" })
			return false
		}
		for _, excluded := range d.excluded {
			if excluded == a {
				remove(into, a, CodeExcluded, func() string { return "excluded by the request" })
				return false
			}
		}
		for _, placement := range d.placements {
			if a.Treatment(placement.ID) != nil {
				return true
			}
		}
		remove(into, a, CodeNoTreatment, func() string {
			if a.InChannel(d.onChannel) {
				return "no treatment for the placements asked for"
			}
			return "no treatment for channel " + d.onChannel.Name
		})
		return false
	})
}

// engagement is the three stages of engagement policies at once, where nobody asks which of them took an
// action out.
func (d *decision) engagement() {
	d.live = d.live.Reset(len(d.in.Catalog.Actions))
	for _, a := range d.actions {
		if d.valid(a, nil) {
			d.live.Add(a.Index)
		}
	}
	if !d.evaluator.Pass(d.in.Catalog.Gates, d.live, d.inTime) {
		return
	}
	kept := d.actions[:0]
	for _, a := range d.actions {
		if d.live.Has(a.Index) {
			kept = append(kept, a)
		}
	}
	d.actions = kept
	d.obedient()
}

// isControl tells whether the subject is in a control group of a kind.
func (d *decision) isControl(kind catalog.ControlKind) bool {
	return d.control != nil && d.control.Kind == kind
}

func (d *decision) inTime() bool { return !d.late() }

func (d *decision) eligibility() {
	if d.explanation == nil && !d.isControl(catalog.EligibilityOnly) {
		d.engagement()
		return
	}
	d.judge(catalog.Eligibility)
	d.filter(catalog.Eligibility.String(), func(d *decision, a *catalog.Action, into *nba.Stage) bool {
		return d.valid(a, into) && d.passes(a, catalog.Eligibility, into)
	})
}

func (d *decision) applicability() {
	if d.explanation == nil || d.isControl(catalog.EligibilityOnly) {
		return
	}
	d.judge(catalog.Applicability)
	d.filter(catalog.Applicability.String(), func(d *decision, a *catalog.Action, into *nba.Stage) bool {
		return d.passes(a, catalog.Applicability, into)
	})
}

func (d *decision) suitability() {
	if d.explanation == nil || d.isControl(catalog.EligibilityOnly) {
		return
	}
	d.judge(catalog.Suitability)
	d.filter(catalog.Suitability.String(), func(d *decision, a *catalog.Action, into *nba.Stage) bool {
		return d.passes(a, catalog.Suitability, into)
	})
}

// valid tells whether the time of the decision is within the validity of an action.
func (d *decision) valid(a *catalog.Action, into *nba.Stage) bool {
	switch {
	case a.From != nil && d.in.Now.Before(*a.From):
		remove(into, a, CodeNotYetValid, func() string { return "valid from " + a.From.Format(time.RFC3339) })
		return false
	case a.To != nil && !d.in.Now.Before(*a.To):
		remove(into, a, CodeExpired, func() string { return "valid until " + a.To.Format(time.RFC3339) })
		return false
	default:
		return d.inSeason(a, into)
	}
}

// inSeason tells whether, for each of issue, group and action that has seasons, one of them is on.
func (d *decision) inSeason(a *catalog.Action, into *nba.Stage) bool {
	for _, seasons := range a.Seasons {
		if d.local.IsZero() {
			d.local = d.localTime()
		}
		if !slices.ContainsFunc(seasons, func(s *catalog.Season) bool { return s.On(d.local) }) {
			remove(into, a, CodeOutOfSeason, func() string { return "not the time of " + seasons[0].String() })
			return false
		}
	}
	return true
}

// passes tells whether an action passes its policies of one kind.
func (d *decision) passes(a *catalog.Action, kind catalog.PolicyKind, into *nba.Stage) bool {
	failing := d.evaluator.Failing(a, kind)
	if failing == nil {
		return d.obeys(a, kind, into)
	}
	remove(into, a, failing.Code, func() string {
		return withCause(failing.Label, d.evaluator.Why(failing.When.Program, d.in.Dictionary, a.Purpose))
	})
	return false
}
