package engine

import (
	"math"

	"github.com/arbiterhq/arbiter/runtime/expr"
)

var _ expr.Scores = (*scores)(nil)

// scores answers what models say of the subject itself, apart from any action: each model once, and only where
// an expression asks. Where the decision is made again the answer is the one of then.
type scores struct {
	d     *decision
	known map[string]float64 // NaN: no answer
	call  ScoreCall
	rows  []Candidate
	out   []float64
}

// nobody is the candidate of a score that is of the subject alone: it has no properties.
type nobody struct{}

// Property implements Candidate.
func (nobody) Property(string) (float64, bool) { return 0, false }

func (s *scores) begin(d *decision) { s.d = d }

// forget keeps nothing but memory.
func (s *scores) forget() {
	clear(s.known)
	*s = scores{known: s.known, rows: s.rows, out: s.out}
}

// SubjectScore implements expr.Scores.
func (s *scores) SubjectScore(model string) (score float64, ok bool) {
	score, asked := s.known[model]
	if !asked {
		score = math.NaN()
		if !s.d.in.Reads.plays() {
			score = s.ask(model)
		}
		score = s.d.in.Reads.Aggregate(score)
		if s.known == nil {
			s.known = map[string]float64{}
		}
		s.known[model] = score
	}
	return score, !math.IsNaN(score)
}

// ask has the model score the subject. A failure is no answer, and marks the decision.
func (s *scores) ask(model string) float64 {
	d := s.d
	plugin, ok := d.in.Catalog.PluginOf(model)
	if !ok || d.in.Scorer == nil {
		return math.NaN()
	}
	if len(s.rows) == 0 {
		s.rows, s.out = []Candidate{nobody{}}, make([]float64, 1)
	}
	subject := d.in.Subject
	if r, ok := subject.(*Reads); ok {
		subject = r.Beneath() // the score is noted, not what it is made of
	}
	s.call = ScoreCall{Model: plugin, Subject: subject, Now: d.in.Now, Mask: d.mask, Contexts: d.in.Request.Contexts, Candidates: s.rows,
		Out: s.out, Parameters: d.in.Catalog.Parameters[plugin], History: &d.history.reader, Counted: &d.aggregates}
	if _, err := d.in.Scorer.Score(d.ctx, &s.call); err != nil {
		if d.engine.options.ModelFailed != nil {
			d.engine.options.ModelFailed(plugin, err)
		}
		return math.NaN()
	}
	return s.out[0]
}

// plays tells whether the decision is made again.
func (r *Reads) plays() bool { return r != nil && r.playing }
