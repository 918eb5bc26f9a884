package engine

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// WhyNot decides for in and tells why an action is not proposed: the first stage it leaves, the condition
// that is not met, actual against required, and the nearest change that would take it past. For an action
// that reached arbitration, its rank and what it was beaten by. in.Request must have passed
// ValidateRequest. Nothing is claimed. It is for people, and takes milliseconds.
func (e *Engine) WhyNot(ctx context.Context, in Input, action *catalog.Action) (*nba.WhyNot, error) {
	req := *in.Request
	req.Options.Explain = nba.ExplainFull
	in.Request, in.Claim, in.Reads = &req, nil, nil
	in.Linked = slices.Clone(in.Linked)
	for i := range in.Linked {
		in.Linked[i].Claim = nil
	}
	var out nba.Decision
	if err := e.Decide(ctx, in, &out); err != nil {
		return nil, err
	}
	why := &nba.WhyNot{Subject: req.Subject, Action: action.Name, Channel: req.Channel, CatalogVersion: in.CatalogVersion, At: in.Now,
		Parts: []nba.WhyNotPart{}, Changes: []string{}}
	environment, err := expr.NewEnv(in.Dictionary)
	if err != nil {
		return nil, err
	}
	d := e.pool.Get().(*decision)
	defer e.release(d)
	var scratch nba.Decision
	if err := d.begin(ctx, e, in, &scratch); err != nil {
		return nil, err
	}
	w := whyNot{decision: d, why: why, out: &out, action: action, env: environment}
	w.ranking()
	if w.proposed() {
		return why, nil
	}
	w.removed()
	return why, nil
}

// whyNot completes an answer.
type whyNot struct {
	*decision
	why    *nba.WhyNot
	out    *nba.Decision
	action *catalog.Action
	env    *expr.Env
}

func (w *whyNot) part(clause, actual, required string) {
	w.why.Parts = append(w.why.Parts, nba.WhyNotPart{Clause: clause, Actual: actual, Required: required})
}

func (w *whyNot) change(format string, args ...any) {
	w.why.Changes = append(w.why.Changes, fmt.Sprintf(format, args...))
}

// proposed fills in where the action is proposed, if it is.
func (w *whyNot) proposed() bool {
	for i := range w.out.Propositions {
		p := &w.out.Propositions[i]
		for j := range p.Items {
			if item := &p.Items[j]; item.Action == w.action.Name {
				w.why.Proposed, w.why.Placement, w.why.Rank = true, p.Placement, item.Rank
				w.why.Code, w.why.Label = item.Reason.Code, item.Reason.Label
				return true
			}
		}
	}
	return false
}

// ranking fills in how the action compared, if it reached arbitration.
func (w *whyNot) ranking() {
	at := slices.IndexFunc(w.out.Explanation.Candidates, func(c nba.CandidateExplanation) bool { return c.Action == w.action.Name })
	if at < 0 {
		return
	}
	c := &w.out.Explanation.Candidates[at]
	r := &nba.WhyNotRanking{Rank: at + 1, Of: len(w.out.Explanation.Candidates), Propensity: c.Propensity, ContextWeight: c.ContextWeight,
		Value: c.Value, Lever: c.Lever, Priority: c.Priority, BeatenBy: []nba.WhyNotRival{}}
	for i, placement := range w.placements {
		if w.action.Treatment(placement.ID) == nil || i >= len(w.out.Propositions) {
			continue
		}
		for _, item := range w.out.Propositions[i].Items {
			if item.Action != w.action.Name {
				r.BeatenBy = append(r.BeatenBy, nba.WhyNotRival{Action: item.Action, Placement: placement.Name, Rank: item.Rank, Priority: item.Priority})
			}
		}
	}
	w.why.Ranking = r
}

// removed fills in where the action left the funnel.
func (w *whyNot) removed() {
	for i := range w.out.Explanation.Stages {
		stage := &w.out.Explanation.Stages[i]
		for _, r := range stage.Removed {
			if r.Action == w.action.Name {
				w.why.Stage, w.why.Code, w.why.Label = stage.Stage, r.Code, r.Label
				w.stage()
				return
			}
		}
	}
	w.why.Code, w.why.Label = DegradedTimeout, "the deadline passed before the action was looked at"
	w.change("allow the decision more time")
}

// stage tells more of the stage where the action left.
func (w *whyNot) stage() {
	switch w.why.Stage {
	case stageConsent:
		w.consentStage()
	case stageChannel:
		w.channelStage()
	case stageContact:
		w.contactStage()
	case stageVolume:
		w.volumeStage()
	case stageArbitration:
		w.arbitrationStage()
	default:
		w.policyStage()
	}
}

func (w *whyNot) consentStage() {
	purpose := w.action.Purpose.Name
	switch w.why.Code {
	case CodeHeldOut:
		w.part("control group "+w.control.Name, "in it", "not in it")
		w.change("none for this customer: the control group %s is held out from what needs consent", w.control.Name)
	case CodeNoChannel:
		channel := w.onChannel.Name
		w.part("consent to channel "+channel, w.said.String(), nba.Granted.String())
		w.change("the customer consents to channel %s", channel)
	default:
		actual := nba.Unanswered.String()
		if who, ok := w.in.Subject.(nba.Consenting); ok {
			if _, refused := who.PurposesAt(w.in.Now.UnixMilli()); refused.Has(w.action.Purpose.ID) {
				actual = nba.Refused.String()
			}
		}
		w.part("consent to purpose "+purpose, actual, nba.Granted.String())
		w.change("the customer consents to %s", purpose)
	}
}

func (w *whyNot) channelStage() {
	if w.why.Code == CodeExcluded {
		w.part("excludedActions of the request", "names the action", "without it")
		w.change("leave the action out of excludedActions")
		return
	}
	asked := make([]string, len(w.placements))
	for i, placement := range w.placements {
		asked[i] = placement.Name
	}
	var with []string
	for _, channel := range w.in.Catalog.Channels {
		for i := range channel.Placements {
			if w.action.Treatment(channel.Placements[i].ID) != nil {
				with = append(with, channel.Name+"/"+channel.Placements[i].Name)
			}
		}
	}
	w.part("a treatment for the placement", w.onChannel.Name+"/"+strings.Join(asked, ", "), "one of "+strings.Join(with, ", "))
	w.change("ask for %s, or give the action a treatment for what was asked for", strings.Join(with, " or "))
}

// policyStage is one of the engagement policies, or validity.
func (w *whyNot) policyStage() {
	a := w.action
	switch w.why.Code {
	case CodeNotYetValid:
		w.part("validity", w.in.Now.Format(timeFormat), "from "+a.From.Format(timeFormat))
		w.change("wait until %s", a.From.Format(timeFormat))
		return
	case CodeExpired:
		w.part("validity", w.in.Now.Format(timeFormat), "before "+a.To.Format(timeFormat))
		w.change("extend the validity of the action")
		return
	case CodeOutOfSeason:
		w.part("season", w.localTime().Format(timeFormat), strings.TrimPrefix(w.why.Label, "not the "))
		w.change("wait for the season, or change it")
		return
	}
	for kind := range catalog.PolicyKind(catalog.PolicyKinds) {
		if kind.String() != w.why.Stage {
			continue
		}
		if failing := w.evaluator.Failing(a, kind); failing != nil {
			w.condition(failing.When)
			return
		}
		for i := range a.Rules[kind] {
			if rule := &a.Rules[kind][i]; rule.Code == w.why.Code {
				plugin := w.in.Catalog.Models[rule.Model].Plugin
				w.why.Clause = "plugin " + plugin
				w.part("plugin "+plugin, "not allowed", "allowed")
				w.change("what plugin %s decides of the action", plugin)
				return
			}
		}
	}
}

// condition takes a condition that is not true apart.
func (w *whyNot) condition(p *catalog.Predicate) {
	w.why.Clause = p.Program.Source()
	vars := w.evaluator.Vars(w.action.Purpose.ID)
	if p.Table != nil {
		row, misses := p.Table.Nearest(vars)
		for _, miss := range misses {
			w.part(miss.Input.Source(), w.env.Show(miss.Input, vars), fmt.Sprintf("%s (row %d)", miss.Cell, row+1))
			w.change("%s: %s", attributeName(miss.Input.Source()), miss.Cell)
		}
		if row >= 0 && len(misses) == 0 {
			w.part(p.Program.Source(), "several rows hit", "exactly one row")
			w.change("make the rows of the table exclude each other")
		}
		return
	}
	for _, clause := range w.env.Explain(p.Program.Source(), vars).Failing() {
		w.part(clause.Text, clause.Actual, clause.Required)
		subject := attributeName(clause.Subject)
		w.change("%s: %s", subject, clause.Required)
		if clause.Actual != "" && clause.Actual != expr.True.String() && clause.Actual != expr.False.String() {
			w.why.Changes[len(w.why.Changes)-1] += " (now " + clause.Actual + ")"
		}
	}
}

// attributeName is the name of what an expression reads, without the subject before it.
func attributeName(source string) string { return strings.TrimPrefix(source, "subject.") }

func short(f float64) string { return strconv.FormatFloat(f, 'g', 6, 64) }
