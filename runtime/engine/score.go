package engine

import (
	"errors"
	"math"

	"github.com/arbiterhq/arbiter/runtime/arbitration"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The reasons of a degraded decision. DegradedModel is followed by the name of the first model that
// failed.
const (
	DegradedTimeout = "TIMEOUT"
	DegradedModel   = "MODEL_FAILED:"
	// DegradedStandIn is followed by the name of the first plugin that an earlier version stood in for.
	DegradedStandIn = "LAST_GOOD_VERSION:"
)

// errNoScorer is the failure of every model where there is no Scorer.
var errNoScorer = errors.New("no scorer")

// scoring is the reusable memory of the calls to the models.
type scoring struct {
	call       ScoreCall
	candidates []Candidate
	rows       []int // position of each of them among the candidates of the decision
	out        []float64
}

func (s *scoring) forget() {
	clear(s.candidates[:cap(s.candidates)])
	s.candidates, s.rows, s.call = s.candidates[:0], s.rows[:0], ScoreCall{}
}

// insight is what ExplainFull shows of the model's view on one action.
type insight struct {
	features map[string]float64
	withheld []string
}

// score gives every action left its propensity, with one call for each model.
func (d *decision) score() {
	for _, a := range d.actions {
		d.candidates = append(d.candidates, arbitration.Candidate{Action: a, Propensity: a.Propensity.Starting})
	}
	for model := range d.in.Catalog.Models {
		d.scoreWith(model)
	}
}

// scoreWith scores the candidates of one model. They keep their starting propensity when it fails or
// abstains.
func (d *decision) scoreWith(model int) {
	s := &d.scoring
	s.candidates, s.rows = s.candidates[:0], s.rows[:0]
	for i := range d.candidates {
		if a := d.candidates[i].Action; a.Propensity.Model == model {
			s.candidates, s.rows = append(s.candidates, a), append(s.rows, i)
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
	if d.insights != nil {
		s.call.Features = &ScoreFeatures{}
	}
	info, err := d.callScorer()
	if err != nil {
		d.modelFailed(s.call.Model, err)
		return
	}
	if d.in.Reads.answer(s.call.StandIn) {
		d.degrade(DegradedStandIn + s.call.Model)
	}
	for i, row := range s.rows {
		c := &d.candidates[row]
		takeScore(c, s.out[i], info)
		if f := s.call.Features; f != nil {
			view := insight{withheld: f.Withheld}
			if i < len(f.Rows) {
				view.features = f.Rows[i]
			}
			d.insights[c.Action.Index] = view
		}
	}
}

func (d *decision) callScorer() (*nba.ModelInfo, error) {
	d.scoring.call.Reads, d.scoring.call.History, d.scoring.call.Counted = d.in.Reads, &d.history.reader, &d.aggregates
	return d.in.Reads.call(func() (*nba.ModelInfo, error) {
		if d.in.Scorer == nil {
			return nil, errNoScorer
		}
		return d.in.Scorer.Score(d.ctx, &d.scoring.call)
	})
}

func (d *decision) modelFailed(model string, err error) {
	d.degrade(DegradedModel + model)
	for _, row := range d.scoring.rows {
		d.candidates[row].Doubt = arbitration.Failed
	}
	if d.engine.options.ModelFailed != nil {
		d.engine.options.ModelFailed(model, err)
	}
}

// takeScore interprets a score. A score that is no probability counts as an abstention. The propensity is
// the mean of the score and the starting propensity, weighted with the maturity: with e responses of
// evidence, and a starting propensity that is worth e0, (e × score + e0 × starting) / (e + e0).
func takeScore(c *arbitration.Candidate, score float64, info *nba.ModelInfo) {
	p := &c.Action.Propensity
	if math.IsNaN(score) || score < 0 || score > 1 {
		c.Propensity, c.Doubt = p.Starting, arbitration.Abstained
		return
	}
	if p.Invert {
		score = 1 - score
	}
	c.Propensity, c.Model, c.Maturity = score, info, p.Maturity
	if p.Maturity < 1 {
		c.Propensity = p.Maturity*score + (1-p.Maturity)*p.Starting
	}
}
