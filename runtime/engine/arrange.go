package engine

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/arbiterhq/arbiter/runtime/arbitration"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// DegradedStrategy is followed by the name of the first strategy that failed.
const DegradedStrategy = "STRATEGY_FAILED:"

// errNoStrategy is the failure of every strategy where there is no Strategy.
var errNoStrategy = errors.New("no strategies")

// arrangement is what a strategy made of the ranking, for the placements that are bound to it. It is
// reused; an arrangement without a model info is none.
type arrangement struct {
	call  StrategyCall
	given []int // position among the candidates of the decision of each candidate of the call
	rest  []int // those behind them, which the strategy was not given
	info  *nba.ModelInfo

	picked   []int // by position among the candidates of the decision: 1 + position in call.Picks, or 0
	arranged []arbitration.Arranged
	order    []int
}

func (a *arrangement) forget() {
	clear(a.call.Candidates[:cap(a.call.Candidates)])
	clear(a.call.Picks[:cap(a.call.Picks)])
	a.call = StrategyCall{Placements: a.call.Placements[:0], Candidates: a.call.Candidates[:0], Picks: a.call.Picks[:0]}
	a.given, a.rest, a.info = a.given[:0], a.rest[:0], nil
}

// arrange asks the strategies of the placements of the request. Control groups that measure what
// arbitration is worth have none.
func (d *decision) arrange() {
	strategies := d.in.Catalog.Strategies
	if len(strategies) == 0 || d.timedOut || d.isControl(catalog.RandomRelevant) || d.isControl(catalog.PropensityOnly) {
		return
	}
	for len(d.arrangements) < len(strategies) {
		d.arrangements = append(d.arrangements, arrangement{})
	}
	for i, strategy := range strategies {
		a := &d.arrangements[i]
		if !d.give(a, i) {
			continue
		}
		a.call.Name = strategy
		if err := d.askStrategy(a); err != nil {
			a.info = nil
			d.degrade(DegradedStrategy + strategy)
			if d.engine.options.StrategyFailed != nil {
				d.engine.options.StrategyFailed(strategy, err)
			}
			continue
		}
		if d.in.Reads.answer(a.call.StandIn) {
			d.degrade(DegradedStandIn + strategy)
		}
		d.apply(a)
	}
}

// give fills the call of a strategy. It is false when there is nothing to ask.
func (d *decision) give(a *arrangement, strategy int) bool {
	for i, p := range d.placements {
		if p.Strategy == strategy {
			a.call.Placements = append(a.call.Placements, StrategyPlacement{Name: p.Name, Limit: d.in.Request.Placements[i].Limit, id: p.ID})
		}
	}
	full := false
	for i := range d.candidates {
		c := &d.candidates[i]
		if !slices.ContainsFunc(a.call.Placements, func(p StrategyPlacement) bool { return c.Competes(p.id) }) {
			continue
		}
		if b := c.Action.Bundle; b != nil && (i == 0 || d.candidates[i-1].Action.Bundle != b) {
			full = full || len(a.given)+len(b.Actions) > MaxStrategyCandidates // a bundle stays in one piece
		}
		if full = full || len(a.given) == MaxStrategyCandidates; full {
			a.rest = append(a.rest, i)
			continue
		}
		a.given = append(a.given, i)
		a.call.Candidates = append(a.call.Candidates, StrategyCandidate{Action: c.Action, Propensity: c.Propensity,
			ContextWeight: c.ContextWeight, Value: c.Value, Lever: c.Lever, Priority: c.Priority, Model: c.Model})
	}
	return len(a.given) > 0
}

func (d *decision) askStrategy(a *arrangement) (err error) {
	c, in := &a.call, &d.in
	c.Subject, c.Now, c.Seed, c.Mask = in.Subject, in.Now, in.Seed, d.mask
	c.Parameters = in.Catalog.Parameters[c.Name]
	c.Channel, c.Direction, c.Contexts = in.Request.Channel, in.Request.Direction, in.Request.Contexts
	c.Reads, c.History, c.Counted = in.Reads, &d.history.reader, &d.aggregates
	a.info, err = in.Reads.call(func() (*nba.ModelInfo, error) {
		if in.Strategy == nil {
			return nil, errNoStrategy
		}
		info, err := in.Strategy.Arrange(d.ctx, c)
		if err == nil && info == nil {
			err = errors.New("the strategy does not tell its version")
		}
		if err == nil {
			err = a.check(&d.addedContent)
		}
		return info, err
	})
	return err
}

// check refuses an answer that breaks the contract, as a whole: nothing is half applied. content is how much
// all strategies added so far.
func (a *arrangement) check(content *int) error {
	seen := [MaxStrategyCandidates]bool{}
	for i := range a.call.Picks {
		p := &a.call.Picks[i]
		if p.Candidate < 0 || p.Candidate >= len(a.call.Candidates) {
			return fmt.Errorf("pick %d is none of the candidates", i)
		}
		if seen[p.Candidate] {
			return fmt.Errorf("pick %d was picked before", i)
		}
		seen[p.Candidate] = true
		if !(p.Weight >= 0 && p.Weight <= MaxStrategyWeight) {
			return fmt.Errorf("the weight of pick %d is not between 0 and %d", i, MaxStrategyWeight)
		}
		if p.Treatment != "" && !a.hasTreatment(p) {
			return fmt.Errorf("the treatment of pick %d is none of its action in the placements", i)
		}
		added, err := checkContent(p.Content)
		if err != nil {
			return fmt.Errorf("pick %d: %w", i, err)
		}
		if *content += added; *content > MaxStrategyContentTotal {
			return fmt.Errorf("the strategies add more than %d bytes of content", MaxStrategyContentTotal)
		}
	}
	return nil
}

func (a *arrangement) hasTreatment(p *StrategyPick) bool {
	for placement := range a.call.Placements {
		if named(a.call.Treatments(p.Candidate, placement), p.Treatment) != nil {
			return true
		}
	}
	return false
}

func named(treatments []*catalog.Treatment, name string) *catalog.Treatment {
	for _, t := range treatments {
		if t.Name == name {
			return t
		}
	}
	return nil
}

// checkContent tells how many bytes of content a pick adds.
func checkContent(content map[string]string) (size int, err error) {
	if len(content) > MaxStrategyContent {
		return 0, fmt.Errorf("more than %d fields of content", MaxStrategyContent)
	}
	for name, text := range content {
		if name == "" || len(name) > MaxStrategyContentBytes || len(text) > MaxStrategyContentBytes {
			return 0, fmt.Errorf("a field of the content is not of 1 to %d bytes", MaxStrategyContentBytes)
		}
		size += len(name) + len(text)
	}
	return size, nil
}

// apply makes the order of the placements from the picks. The thresholds hold for weighted priorities
// too.
func (d *decision) apply(a *arrangement) {
	a.picked = slices.Grow(a.picked[:0], len(d.candidates))[:len(d.candidates)]
	clear(a.picked)
	a.arranged = a.arranged[:0]
	for i := range a.call.Picks {
		p := &a.call.Picks[i]
		if p.Weight == 0 {
			p.Weight = 1
		}
		at := a.given[p.Candidate]
		priority := d.candidates[at].Priority * p.Weight
		if priority >= d.in.Catalog.Arbitration.MinPriority && priority > 0 && !math.IsInf(priority, 1) {
			a.picked[at] = i + 1
			a.arranged = append(a.arranged, arbitration.Arranged{At: at, Weight: p.Weight})
		}
	}
	a.arranged = arbitration.Arrange(d.candidates, a.arranged, a.call.ByPriority)
	if a.order == nil {
		a.order = make([]int, 0, len(d.candidates)) // nil would be the order of the ranking
	}
	a.order = a.order[:0]
	for _, at := range a.given {
		d.candidates[at].Dropped = true
	}
	for i := range a.arranged {
		a.order = append(a.order, a.arranged[i].At)
		d.candidates[a.arranged[i].At].Dropped = false
	}
	a.order = append(a.order, a.rest...)
}

// arrangementOf is what a strategy made of the ranking for a placement, or nil.
func (d *decision) arrangementOf(p *catalog.Placement) *arrangement {
	if p.Strategy < 0 || p.Strategy >= len(d.arrangements) || d.arrangements[p.Strategy].info == nil {
		return nil
	}
	return &d.arrangements[p.Strategy]
}

// render gives a proposition what the strategy wants of it: weight, treatment and content. at is the
// position of the candidate.
func (a *arrangement) render(item *nba.Proposition, c *arbitration.Candidate, at int, p *catalog.Placement) {
	if a.picked[at] == 0 {
		return
	}
	pick := &a.call.Picks[a.picked[at]-1]
	if pick.Weight != 1 {
		item.StrategyWeight, item.Priority = pick.Weight, c.Priority*pick.Weight
	}
	if t := named(c.Action.Treatments(p.ID), pick.Treatment); t != nil {
		item.Treatment, item.Content = t.Name, t.Content
	}
	if len(pick.Content) > 0 {
		content := maps.Clone(pick.Content)
		maps.Copy(content, item.Content)
		item.Content = content
	}
}
