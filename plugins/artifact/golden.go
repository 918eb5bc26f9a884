package artifact

import "math"

// GoldenRow is one input with the output that the module must give for it.
type GoldenRow struct {
	// Features are in the order of the manifest; null is a missing value, which is handed over as NaN.
	Features []*float64 `json:"features"`
	// Raw is what arbiter_score_raw must return, bit for bit; nil when the module has no such export.
	Raw *float64 `json:"raw,omitempty"`
	// Score is what arbiter_score must return, within ScoreTolerance.
	Score float64 `json:"score"`
}

// ScoreTolerance is the relative difference allowed between a golden score and the module's: two units
// in the last place of a 32-bit float, because libraries compute the exponential differently.
const ScoreTolerance = 2.0 / (1 << 23)

// Row appends the features of g to into, missing ones as NaN.
func (g *GoldenRow) Row(into []float64) []float64 {
	for _, f := range g.Features {
		if f == nil {
			into = append(into, math.NaN())
		} else {
			into = append(into, *f)
		}
	}
	return into
}

// MatchesScore tells whether score is the golden one within ScoreTolerance.
func (g *GoldenRow) MatchesScore(score float64) bool {
	return score == g.Score || math.Abs(score-g.Score) <= ScoreTolerance*math.Abs(g.Score)
}

// MatchesRaw tells whether raw is the golden one bit for bit, or whether there is none.
func (g *GoldenRow) MatchesRaw(raw float64) bool {
	return g.Raw == nil || math.Float64bits(raw) == math.Float64bits(*g.Raw)
}
