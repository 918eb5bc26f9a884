package compiler

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/compiler/catboost"
	"github.com/arbiterhq/arbiter/plugins/compiler/onnx"
	"github.com/arbiterhq/arbiter/plugins/compiler/pmml"
)

// ulps32 and ulps64 are how far the library's output may be from ours, in units in the last place of 32
// and of 64 bits: libraries compute the exponential differently.
const (
	ulps32 = 2
	ulps64 = 4
)

// arrange checks every row against the model and returns how many there were, and those to embed, in
// the order of the model's inputs.
func (g *Golden) arrange(c *compilation) (checked int, embed [][]float64, err error) {
	if g == nil {
		return 0, nil, nil
	}
	t, err := g.table(&shape{names: inputNames(c.model), levels: func(i int) []string { return c.model.Inputs[i].Categories },
		classes: c.classes, class: c.classIndex, probability: c.model.Probability})
	if err != nil {
		return 0, nil, err
	}
	if t.Margins == nil && t.Outputs == nil && g.expected != nil {
		return 0, nil, goldenError(g.expected.file, 1, "the header has neither margin nor prob; name the columns so")
	}
	if t.Margins == nil && t.Outputs == nil {
		c.warn("the golden rows have no column margin or prob: nothing says what the library gives for them, so they were not compared, and what the model file gives went into the plugin")
	}
	var usable [][]float64
	for i, row := range t.Rows {
		c.progress("comparing golden rows", i, len(t.Rows))
		if err := c.compare(t, i); err != nil {
			return 0, nil, err
		}
		if !slices.ContainsFunc(row, func(x float64) bool { return math.IsInf(x, 0) }) { // JSON has no infinity
			usable = append(usable, row)
		}
	}
	count := min(len(usable), rowsToEmbed(len(c.model.Inputs)))
	for i := range count {
		embed = append(embed, usable[i*len(usable)/count])
	}
	if t.Margins != nil || t.Outputs != nil {
		checked = len(t.Rows)
	}
	return checked, embed, nil
}

// compare scores one golden row.
func (c *compilation) compare(t *Table, i int) error {
	format := c.model.Source.Format
	raw, output := c.run(t.Rows[i])
	if !t.AgreesMargin(format, i, raw) {
		return goldenError(t.file, t.lines[i], "the model gives another margin than expected; %s", c.reason(t.Rows[i], func(row []float64) bool {
			raw, _ := c.run(row)
			return t.AgreesMargin(format, i, raw)
		}, "check that rows, expected outputs and model file belong together, that all rounds were used (a model that stopped early predicts with the best of them), and that the column holds raw scores"))
	}
	if !t.AgreesOutput(format, i, output) {
		if len(c.classes) == 2 && Agree(format, 1-t.Outputs[i], output, true) {
			return goldenError(t.file, t.lines[i], "the expected output is that of the other class; name the class to score, or the column prob_%s", c.class)
		}
		return goldenError(t.file, t.lines[i], "the model gives another output than expected; %s", c.reason(t.Rows[i], func(row []float64) bool {
			_, output := c.run(row)
			return t.AgreesOutput(format, i, output)
		}, "check that rows, expected outputs and model file belong together, and that all rounds were used (a model that stopped early predicts with the best of them)"))
	}
	return nil
}

// reason tells which features of a row are suspicious, and why; else usual.
func (c *compilation) reason(row []float64, agrees func([]float64) bool, usual string) string {
	if text := artifact.Diagnose(inputNames(c.model), row, agrees); text != "" {
		return text
	}
	return c.suspects(row) + usual
}

// Agree tells whether the number of a model of that format is the library's: raw scores to the bit,
// outputs (linked) within some units in the last place. A number of 32 bits may be written with as few digits as tell it apart.
//
// ONNX and PMML fix neither the order nor the width of sums, and the tools that convert models to them
// change both, so that numbers are compared as their own conformance tests compare them.
func Agree(format string, want, got float64, linked bool) bool {
	if math.IsNaN(want) || math.IsNaN(got) {
		return math.IsNaN(want) && math.IsNaN(got)
	}
	switch format {
	case onnx.Format:
		return close(want, got, 1e-5)
	case pmml.Format:
		return close(want, got, 1e-6)
	case catboost.Format:
		// CatBoost's softmax has a quick exponential of its own, some units in the last place off.
		if linked && math.Abs(want-got) <= 1e-13*math.Abs(want) {
			return true
		}
	}
	if want == got || narrow(got) && float32(want) == float32(got) {
		return true
	}
	if !linked {
		return false
	}
	if narrow(got) {
		return distance(int64(order32(float32(want))), int64(order32(float32(got)))) <= ulps32
	}
	return distance(order64(want), order64(got)) <= ulps64
}

// close tells whether two numbers are within a tolerance, relative above 1.
func close(a, b, tolerance float64) bool {
	return math.Abs(a-b) <= tolerance*max(1, math.Abs(a), math.Abs(b))
}

// order32 numbers the floats in their order.
func order32(x float32) int32 {
	b := int32(math.Float32bits(x + 0))
	if b < 0 {
		return math.MinInt32 - b
	}
	return b
}

func order64(x float64) int64 {
	b := int64(math.Float64bits(x + 0))
	if b < 0 {
		return math.MinInt64 - b
	}
	return b
}

func distance(a, b int64) uint64 {
	if a < b {
		a, b = b, a
	}
	return uint64(a) - uint64(b)
}

// suspects names up to three features whose values lie next to a threshold, where a value that was
// rounded on its way into the file changes sides.
func (c *compilation) suspects(row []float64) string {
	type suspect struct {
		name string
		gap  float64
	}
	var found []suspect
	for i, thresholds := range c.thresholds() {
		x := row[i]
		nearest := math.Inf(1)
		for _, t := range thresholds {
			if gap := math.Abs(x-t) / max(math.Abs(t), math.SmallestNonzeroFloat32); gap < nearest {
				nearest = gap
			}
		}
		if nearest < 1e-6 {
			found = append(found, suspect{c.model.Inputs[i].Name, nearest})
		}
	}
	if len(found) == 0 {
		return ""
	}
	slices.SortFunc(found, func(a, b suspect) int { return cmp.Compare(a.gap, b.gap) })
	names := make([]string, 0, 3)
	for _, s := range found[:min(3, len(found))] {
		names = append(names, s.name)
	}
	return fmt.Sprintf("suspicious: %s, on a threshold of the model or beside it, so that rounding the rows to fewer digits changes the score; ", quoted(names))
}
