package compiler

import (
	"math"
	"math/rand/v2"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// embeddedRows bounds the golden rows, and the boundary rows, in a manifest; embeddedValues bounds the
// values of either together.
const (
	embeddedRows   = 64
	embeddedValues = 20_000
)

// rowsToEmbed is how many rows of that many features a manifest gets.
func rowsToEmbed(features int) int { return min(embeddedRows, max(8, embeddedValues/features)) }

// golden is row with what the model makes of it; not ok where that is no finite number.
func (c *compilation) golden(row []float64) (g artifact.GoldenRow, ok bool) {
	raw, score := c.run(row)
	if raw-raw != 0 || score-score != 0 {
		return g, false
	}
	g = artifact.GoldenRow{Features: make([]*float64, len(row)), Raw: &raw, Score: score}
	for i, x := range row {
		if !math.IsNaN(x) {
			g.Features[i] = &x
		}
	}
	return g, true
}

// thresholds are what the trees compare each input with, as far as they read it as it is, or rounded.
func (c *compilation) thresholds() [][]float64 {
	out := make([][]float64, len(c.model.Inputs))
	for _, s := range splitsOf(c.model) {
		if s.Compare < ir.In && !math.IsInf(s.Value, 0) {
			out[s.column] = append(out[s.column], s.Value)
		}
	}
	return out
}

// boundaryRows makes rows whose values lie on thresholds, one unit in the last place of 32 or 64 bits to
// either side, are codes of categories and beside them, or are missing: where a wrong comparison shows.
// The same model always gives the same rows.
func (c *compilation) boundaryRows() []artifact.GoldenRow {
	thresholds, inputs := c.thresholds(), c.model.Inputs
	count := rowsToEmbed(len(inputs))
	random := rand.New(rand.NewPCG(1, uint64(measure(c.model).trees)))
	out := make([]artifact.GoldenRow, 0, count)
	row := make([]float64, len(inputs))
	for range count {
		for i := range row {
			row[i] = boundaryValue(thresholds[i], len(inputs[i].Categories), random)
		}
		if g, ok := c.golden(row); ok {
			out = append(out, g)
		}
	}
	return out
}

func boundaryValue(thresholds []float64, categories int, random *rand.Rand) float64 {
	switch {
	case random.IntN(8) == 0:
		return math.NaN()
	case categories > 0:
		return float64(random.IntN(categories+2) - 1)
	case len(thresholds) == 0:
		return [...]float64{0, 1, -1, 0.5, 100, 3}[random.IntN(6)]
	}
	t := thresholds[random.IntN(len(thresholds))]
	up := math.Inf(random.IntN(2)*2 - 1)
	switch random.IntN(4) {
	case 0:
		t = math.Nextafter(t, up)
	case 1:
		t = float64(math.Nextafter32(float32(t), float32(up)))
	case 2:
		t = float64(float32(t))
	}
	if math.IsInf(t, 0) {
		return 0
	}
	return t
}
