package engine

import (
	"context"
	"time"

	"github.com/arbiterhq/arbiter/runtime/arbitration"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/eligibility"
	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
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
	verdicts   []uint8 // of plugins on actions for engagement policies; empty: none was asked
	contacts   contacts
	placing    arbitration.Placing
	control    *catalog.ControlGroup // of the subject; nil: none
	// arrangements are those of the strategies, by position in Catalog.Strategies.
	arrangements []arrangement
	addedContent int // bytes that strategies added
	history      histories
	aggregates   aggregates
	scores       scores
	journeys     journeys
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
	d.journeys.begin(d)
	vars := expr.Vars{
		Subject: in.Subject, Mask: d.mask, Contexts: in.Request.Contexts, Now: in.Now.UTC(),
		Channel: in.Request.Channel, Direction: string(in.Request.Direction), Journeys: &d.journeys,
	}
	if in.Catalog.Histories > 0 {
		vars.History = &d.history
	}
	d.aggregates.begin(d)
	if in.Catalog.Counted {
		vars.Aggregates = &d.aggregates
	}
	if in.Catalog.Scored {
		d.scores.begin(d)
		vars.Scores = &d.scores
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
	d.aggregates.forget()
	d.scores.forget()
	d.journeys.forget()
	for i := range d.arrangements {
		d.arrangements[i].forget()
	}
	d.placing.Reset()
	d.contacts.forget()
	d.evaluator.Reset(expr.Vars{}, 0)
	*d = decision{
		placements: d.placements[:0], excluded: d.excluded[:0], actions: d.actions[:0], candidates: d.candidates[:0],
		positions: d.positions[:0], evaluator: d.evaluator, scoring: d.scoring, live: d.live, verdicts: d.verdicts[:0],
		placing:  d.placing,
		contacts: d.contacts, arrangements: d.arrangements, history: d.history, aggregates: d.aggregates, scores: d.scores, journeys: d.journeys,
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
