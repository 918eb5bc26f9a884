package engine

import (
	"fmt"
	"strconv"

	"github.com/arbiterhq/arbiter/runtime/arbitration"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// stage opens an entry of the funnel; nil when nothing is explained.
func (d *decision) stage(name string, in int) *nba.Stage {
	if d.explanation == nil {
		return nil
	}
	d.explanation.Stages = append(d.explanation.Stages, nba.Stage{Stage: name, In: in, Out: in, Removed: []nba.Removal{}})
	return &d.explanation.Stages[len(d.explanation.Stages)-1]
}

// dropStage takes the last entry back: the deadline passed within the stage.
func (d *decision) dropStage() {
	if d.explanation != nil {
		d.explanation.Stages = d.explanation.Stages[:len(d.explanation.Stages)-1]
	}
}

// remove enters a removal into a stage. label is asked only when it is shown.
func remove(into *nba.Stage, a *catalog.Action, code string, label func() string) {
	if into != nil {
		into.Removed = append(into.Removed, nba.Removal{Action: a.Name, Code: code, Label: label()})
	}
}

func withCause(label, cause string) string {
	if cause == "" {
		return label
	}
	return label + " (" + cause + ")"
}

// explain completes the funnel with arbitration and hands it over.
func (d *decision) explain() {
	if d.explanation == nil {
		return
	}
	if !d.timedOut {
		d.explainArbitration()
	}
	d.out.Explanation = d.explanation
}

func (d *decision) explainArbitration() {
	stage := d.stage(stageArbitration, len(d.candidates))
	stage.Out = 0
	ranking := 0
	for i := range d.candidates {
		if d.candidates[i].Ranks() && !d.candidates[i].HeldBack {
			ranking++
		}
	}
	rank := 0
	for i := range d.candidates {
		c := &d.candidates[i]
		if d.insights != nil {
			d.explanation.Candidates = append(d.explanation.Candidates, d.candidate(c))
		}
		if !c.HeldBack {
			rank++
		}
		if c.Placed {
			stage.Out++
			continue
		}
		code, label := d.whyNotPlaced(c, rank, ranking)
		remove(stage, c.Action, code, func() string { return label })
	}
}

// whyNotPlaced tells why a candidate was not proposed. rank counts from 1.
func (d *decision) whyNotPlaced(c *arbitration.Candidate, rank, of int) (code, label string) {
	if c.HeldBack {
		return CodeHeldBack, "the fallback: proposed only where nothing else is left"
	}
	if c.NoRoom {
		return CodeContactLimit, "the propositions before it use the contact limit up"
	}
	if c.Below {
		return CodeBelowThreshold, "the propensity or the priority is below the threshold"
	}
	if c.Crowded {
		return CodeCrowded, "its issue or group has enough propositions"
	}
	if code, label := whyNotOne(c); code != "" {
		return code, label
	}
	if c.Ranks() {
		return CodeOutranked, fmt.Sprintf("priority rank %d of %d: the placements are full", rank, of)
	}
	if _, ok := d.value(c.Action); !ok {
		cause := d.evaluator.Why(c.Action.Value.Program, d.in.Dictionary, c.Action.Purpose)
		return CodeValueUndefined, withCause("the value has no result in its range", cause)
	}
	zero := "the context weight"
	switch {
	case c.Propensity <= 0:
		zero = "the propensity"
	case c.Value <= 0:
		zero = "the value"
	case c.Lever <= 0:
		zero = "the lever"
	}
	return CodeZeroPriority, zero + " is 0"
}

// whyNotOne tells why a candidate was not proposed where bundles or strategies are the reason; "" is none.
func whyNotOne(c *arbitration.Candidate) (code, label string) {
	switch {
	case c.Incomplete && c.Ranks():
		return CodeBundle, "another action of bundle " + c.Action.Bundle.Name + " cannot be proposed"
	case c.Dropped:
		return CodeStrategy, "the strategy of its placements left it out"
	case c.Excluded:
		return CodeOneOf, "another action was proposed of a set of which one is"
	case c.TooLarge:
		return CodeBundle, "bundle " + c.Action.Bundle.Name + " needs more positions than the placements have left"
	default:
		return "", ""
	}
}

func (d *decision) candidate(c *arbitration.Candidate) nba.CandidateExplanation {
	view := d.insights[c.Action.Index]
	return nba.CandidateExplanation{
		Action: c.Action.Name, Propensity: c.Propensity, ContextWeight: c.ContextWeight, Value: c.Value, Lever: c.Lever,
		Priority: c.Priority, Model: c.Model, Maturity: c.Maturity, Features: view.features, WithheldAttributes: view.withheld,
	}
}

// labels are the texts of ranks, made once.
type labels struct{ firsts, nexts []string }

// maxLabels is the largest number of candidates whose labels are ready made.
const maxLabels = 512

func newLabels() labels {
	l := labels{firsts: make([]string, maxLabels+1), nexts: make([]string, maxLabels+1)}
	for i := range l.firsts {
		l.firsts[i], l.nexts[i] = firstLabel(i), nextLabel(i)
	}
	return l
}

func firstLabel(of int) string { return "highest priority of " + strconv.Itoa(of) }
func nextLabel(of int) string  { return "next highest priority of " + strconv.Itoa(of) }

func (l *labels) first(of int) string {
	if of < len(l.firsts) {
		return l.firsts[of]
	}
	return firstLabel(of)
}

func (l *labels) next(of int) string {
	if of < len(l.nexts) {
		return l.nexts[of]
	}
	return nextLabel(of)
}
