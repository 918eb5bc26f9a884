package engine

import (
	"context"
	"slices"
	"time"

	"github.com/arbiterhq/arbiter/runtime/arbitration"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/eligibility"
	"github.com/arbiterhq/arbiter/runtime/expr"
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

// decision is the state of one decision. It is reused; release forgets what it refers to.
type decision struct {
	engine *Engine
	ctx    context.Context
	in     Input
	out    *nba.Decision

	mask       nba.PurposeSet
	said       nba.ConsentState // to the channel
	addressed  bool             // it may be, in the channel
	onChannel  *catalog.Channel
	placements []*catalog.Placement // of the request, in its order
	excluded   []*catalog.Action
	evaluator  eligibility.Evaluator
	timedOut   bool

	actions    []*catalog.Action // still in the funnel
	live       eligibility.Live
	candidates []arbitration.Candidate
	positions  []int
	scoring    scoring
	contacts   contacts
	placing    arbitration.Placing
	control    *catalog.ControlGroup // of the subject; nil: none
	// arrangements are those of the strategies, by position in Catalog.Strategies.
	arrangements []arrangement
	history      histories
	local        time.Time // the time of the decision where the subject is; zero: not asked for yet

	explanation *nba.Explanation // nil unless explaining
	insights    []insight        // by catalog.Action.Index; only for ExplainFull
}

// begin resolves the request and starts the funnel.
func (d *decision) begin(ctx context.Context, e *Engine, in Input, out *nba.Decision) error {
	in.Reads.begin(&in)
	d.engine, d.ctx, d.in, d.out = e, ctx, in, out
	*out = nba.Decision{
		DecisionID: in.DecisionID, CatalogVersion: in.CatalogVersion, DecidedAt: in.Now,
		Propositions: out.Propositions[:0],
	}
	if err := d.resolve(); err != nil {
		return err
	}
	if d.control = in.Catalog.ControlGroup(in.Subject.Ref()); d.control != nil {
		out.InControlGroup, out.ControlGroup = true, d.control.Name
	}
	d.mask = consent.MaskAt(in.Dictionary, in.Subject, in.Now, in.Catalog.Consent.AllowPurposes)
	d.said, d.addressed = consent.Channel(in.Subject, d.onChannel.Name, in.Now, d.onChannel.AllowUnanswered)
	d.history.begin(d)
	vars := expr.Vars{
		Subject: in.Subject, Mask: d.mask, Contexts: in.Request.Contexts, Now: in.Now.UTC(),
		Channel: in.Request.Channel, Direction: string(in.Request.Direction),
	}
	if in.Catalog.Histories > 0 {
		vars.History = &d.history
	}
	d.evaluator.Reset(vars, in.Catalog.Predicates)
	if in.Request.Options.Explain == nba.ExplainNone || in.Request.Options.Explain == "" {
		d.actions = append(d.actions, d.onChannel.Actions...)
		return nil
	}
	d.actions = append(d.actions, in.Catalog.Actions...)
	d.explanation = &nba.Explanation{Stages: make([]nba.Stage, 0, len(pipeline))}
	if in.Request.Options.Explain == nba.ExplainFull {
		d.insights = make([]insight, len(in.Catalog.Actions))
	}
	return nil
}

// resolve looks up what the request names. ValidateRequest has reported what is missing; what is
// missing nevertheless is an error without detail.
func (d *decision) resolve() error {
	channel, ok := d.in.Catalog.Channel(d.in.Request.Channel)
	if !ok {
		return nba.Invalid("/channel", "the catalog has no such channel")
	}
	d.onChannel = channel
	for i := range d.in.Request.Placements {
		placement, ok := channel.Placement(d.in.Request.Placements[i].ID)
		if !ok {
			return nba.Invalid("/placements", "the channel has no such placement")
		}
		d.placements = append(d.placements, placement)
	}
	for _, name := range d.in.Request.ExcludedActions {
		if action, ok := d.in.Catalog.Action(name); ok {
			d.excluded = append(d.excluded, action)
		}
	}
	return nil
}

// release forgets everything that d refers to and returns it to the pool.
func (e *Engine) release(d *decision) {
	clear(d.placements)
	clear(d.excluded)
	clear(d.actions[:cap(d.actions)]) // stages have shortened these two
	clear(d.candidates[:cap(d.candidates)])
	d.scoring.forget()
	d.history.forget()
	for i := range d.arrangements {
		d.arrangements[i].forget()
	}
	d.placing.Reset()
	d.contacts.forget()
	d.evaluator.Reset(expr.Vars{}, 0)
	*d = decision{
		placements: d.placements[:0], excluded: d.excluded[:0], actions: d.actions[:0], candidates: d.candidates[:0],
		positions: d.positions[:0], evaluator: d.evaluator, scoring: d.scoring, live: d.live,
		placing:  d.placing,
		contacts: d.contacts, arrangements: d.arrangements, history: d.history,
	}
	e.pool.Put(d)
}

// late tells whether the deadline has passed, and marks the decision.
func (d *decision) late() bool {
	if !d.timedOut && d.in.Reads.deadline(d.ctx.Err() != nil) {
		d.timedOut = true
		d.degrade(DegradedTimeout)
		d.candidates = d.candidates[:0]
	}
	return d.timedOut
}

// degrade marks the decision; the first reason stays, but a timeout overrules.
func (d *decision) degrade(reason string) {
	if !d.out.Degraded || reason == DegradedTimeout {
		d.out.DegradedReason = reason
	}
	d.out.Degraded = true
}

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
	d.filter(catalog.Eligibility.String(), func(d *decision, a *catalog.Action, into *nba.Stage) bool {
		return d.valid(a, into) && d.passes(a, catalog.Eligibility, into)
	})
}

func (d *decision) applicability() {
	if d.explanation == nil || d.isControl(catalog.EligibilityOnly) {
		return
	}
	d.filter(catalog.Applicability.String(), func(d *decision, a *catalog.Action, into *nba.Stage) bool {
		return d.passes(a, catalog.Applicability, into)
	})
}

func (d *decision) suitability() {
	if d.explanation == nil || d.isControl(catalog.EligibilityOnly) {
		return
	}
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
		return true
	}
	remove(into, a, failing.Code, func() string {
		return withCause(failing.Label, d.evaluator.Why(failing.When.Program, d.in.Dictionary, a.Purpose))
	})
	return false
}
