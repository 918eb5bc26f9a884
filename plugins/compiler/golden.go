package compiler

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/compiler/onnx"
	"github.com/arbiterhq/arbiter/plugins/compiler/pmml"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

const (
	// embeddedRows bounds the golden rows, and the boundary rows, in a manifest; embeddedValues bounds
	// the values of either together.
	embeddedRows   = 64
	embeddedValues = 20_000
	// maxGoldenRows and maxGoldenBytes bound the files.
	maxGoldenRows  = 100_000
	maxGoldenBytes = 64 << 20
	// ulps32 and ulps64 are how far the library's output may be from ours, in units in the last place of
	// 32 and of 64 bits: libraries compute the exponential differently.
	ulps32 = 2
	ulps64 = 4
)

// Golden are feature rows with the outputs that the library gave for them.
type Golden struct {
	names []string // of the features; nil when the file has no header
	rows  []goldenRow
	lines []int // of each row in the file of rows
	// columns are the names of the columns of expectations: margin, prob, or these of one class.
	columns []string
}

type goldenRow struct {
	fields   []string
	expected []float64 // by column
}

// Rows is the number of rows.
func (g *Golden) Rows() int { return len(g.rows) }

// ParseGolden reads two CSV files that match line by line: rows holds the features under a header with
// their names, empty or nan where missing; expected has a header with the column margin (the raw
// score), prob (the output), or both, and any others. Errors are *nba.Error with CodeModelInvalid
// whose details name the line.
func ParseGolden(rows, expected []byte) (*Golden, error) {
	if len(rows)+len(expected) > maxGoldenBytes {
		return nil, nba.Errorf(nba.CodeTooLarge, "the golden rows have more than %d bytes; keep fewer rows", maxGoldenBytes)
	}
	g := &Golden{}
	if err := g.readRows(rows); err != nil {
		return nil, err
	}
	if err := g.readExpected(expected); err != nil {
		return nil, err
	}
	return g, nil
}

// goldenError locates a mistake in one of the two files.
func goldenError(file string, line int, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	return &nba.Error{Code: nba.CodeModelInvalid, Message: "the golden rows cannot be used",
		Details: []nba.Detail{{File: file, Line: line, Code: nba.CodeModelInvalid, Detail: text}}}
}

const (
	rowsFile     = "golden rows"
	expectedFile = "expected outputs"
)

// eachRecord calls row for each line of a CSV file, the header included.
func eachRecord(file string, content []byte, row func(line int, record []string) error) error {
	r := csv.NewReader(bytes.NewReader(content))
	r.ReuseRecord = true
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if parse, ok := errors.AsType[*csv.ParseError](err); ok {
			return goldenError(file, parse.Line, "not CSV: %v; every line has as many fields as the header", parse.Err)
		}
		if err != nil {
			return fmt.Errorf("reading %s: %w", file, err)
		}
		line, _ := r.FieldPos(0)
		if err := row(line, record); err != nil {
			return err
		}
	}
}

func (g *Golden) readRows(content []byte) error {
	err := eachRecord(rowsFile, content, func(line int, record []string) error {
		if g.names == nil {
			for _, name := range record {
				g.names = append(g.names, strings.Clone(name))
			}
			return nil
		}
		if len(g.rows) == maxGoldenRows {
			return goldenError(rowsFile, line, "there are more than %d rows; keep fewer", maxGoldenRows)
		}
		row := goldenRow{fields: slices.Clone(record)}
		g.rows = append(g.rows, row)
		g.lines = append(g.lines, line)
		return nil
	})
	if err == nil && len(g.rows) == 0 {
		return goldenError(rowsFile, 1, "there are no rows under the header")
	}
	return err
}

// number reads a feature; empty, nan and na in any case mean missing.
func number(field string) (float64, error) {
	field = strings.TrimSpace(field)
	switch strings.ToLower(field) {
	case "", "nan", "na", "null":
		return math.NaN(), nil
	}
	return strconv.ParseFloat(field, 64)
}

// expectation tells whether a column holds expectations: margin or raw for raw scores, prob, score or
// prediction for outputs, each alone or with _ and a class. It returns the name in one form.
func expectation(name string) (string, bool) {
	name = strings.TrimSpace(name)
	head, class, of := strings.Cut(name, "_")
	switch strings.ToLower(head) {
	case "margin", "raw":
		head = columnMargin
	case "prob", "score", "prediction":
		head = columnProb
	default:
		return "", false
	}
	if of {
		return head + "_" + class, true
	}
	return head, true
}

const (
	columnMargin = "margin"
	columnProb   = "prob"
)

func (g *Golden) readExpected(content []byte) error {
	var columns []int
	row := -1
	err := eachRecord(expectedFile, content, func(line int, record []string) error {
		if row++; row == 0 {
			for i, name := range record {
				if column, ok := expectation(name); ok {
					columns, g.columns = append(columns, i), append(g.columns, column)
				}
			}
			if len(columns) == 0 {
				return goldenError(expectedFile, line, "the header has neither margin nor prob; name the columns so")
			}
			return nil
		}
		if row > len(g.rows) {
			return goldenError(expectedFile, line, "there are more lines than golden rows; the files match line by line")
		}
		for _, column := range columns {
			v, err := strconv.ParseFloat(strings.TrimSpace(record[column]), 64)
			if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
				return goldenError(expectedFile, line, "margin or prob is not a finite number")
			}
			g.rows[row-1].expected = append(g.rows[row-1].expected, v)
		}
		return nil
	})
	if err == nil && row < len(g.rows) {
		return goldenError(expectedFile, row+1, "there are fewer lines than golden rows; the files match line by line")
	}
	return err
}

// column is the index of the expectations of that kind for the class that is scored, -1 if there are
// none.
func (g *Golden) column(kind, class string) int {
	if i := slices.Index(g.columns, kind+"_"+class); i >= 0 && class != "" {
		return i
	}
	return slices.Index(g.columns, kind)
}

// arrange checks every row against the model and returns how many there were, and those to embed, in
// the order of the model's inputs.
func (g *Golden) arrange(c *compilation) (checked int, embed [][]float64, err error) {
	if g == nil {
		return 0, nil, nil
	}
	columns, err := g.locate(inputNames(c.model))
	if err != nil {
		return 0, nil, err
	}
	margin, prob := g.column(columnMargin, c.class), g.column(columnProb, c.class)
	if margin < 0 && prob < 0 {
		return 0, nil, goldenError(expectedFile, 1, "the header has neither margin nor prob for class %q; name a column prob_%s", c.class, c.class)
	}
	row := make([]float64, len(columns))
	var usable []int
	for i := range g.rows {
		if err := g.pick(row, i, columns, c.model.Inputs); err != nil {
			return 0, nil, err
		}
		raw, output := c.run(row)
		if margin >= 0 && !c.agrees(g.rows[i].expected[margin], raw, false) {
			return 0, nil, goldenError(rowsFile, g.lines[i], "the model gives another margin than expected%s; check that rows, expected outputs and model file belong together and that all rounds were used", c.suspects(row))
		}
		if prob >= 0 && !c.agrees(g.rows[i].expected[prob], output, true) {
			return 0, nil, goldenError(rowsFile, g.lines[i], "the model gives another output than expected%s; check that rows, expected outputs and model file belong together", c.suspects(row))
		}
		if !slices.ContainsFunc(row, func(x float64) bool { return math.IsInf(x, 0) }) { // JSON has no infinity
			usable = append(usable, i)
		}
	}
	count := min(len(usable), rowsToEmbed(len(columns)))
	for i := range count {
		row := make([]float64, len(columns))
		if err := g.pick(row, usable[i*len(usable)/count], columns, c.model.Inputs); err != nil {
			return 0, nil, err
		}
		embed = append(embed, row)
	}
	return len(g.rows), embed, nil
}

// agrees tells whether the model's number is the library's: raw scores to the bit, outputs within some
// units in the last place. A number of 32 bits may be written with as few digits as tell it apart.
//
// ONNX and PMML fix neither the order nor the width of sums, and the tools that convert models to them
// change both, so that numbers are compared as their own conformance tests compare them.
func (c *compilation) agrees(want, got float64, linked bool) bool {
	switch c.model.Source.Format {
	case onnx.Format:
		return close(want, got, 1e-5)
	case pmml.Format:
		return close(want, got, 1e-6)
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
	return fmt.Sprintf(" (%s: on a threshold of the model or beside it, so that rounding the rows to fewer digits changes the score; write them with 17)", quoted(names))
}

// pick reads row i in the model's order of inputs.
func (g *Golden) pick(row []float64, i int, columns []int, inputs []ir.Variable) error {
	for j, column := range columns {
		field := g.rows[i].fields[column]
		if code := slices.Index(inputs[j].Categories, strings.TrimSpace(field)); code >= 0 {
			row[j] = float64(code)
			continue
		}
		v, err := number(field)
		switch {
		case err != nil && len(inputs[j].Categories) > 0:
			v = math.NaN() // a text that is none of the categories is missing
		case err != nil:
			return goldenError(rowsFile, g.lines[i], "column %d is neither a number nor empty; the rows hold features as the model sees them, already encoded", column+1)
		}
		row[j] = v
	}
	return nil
}

// rowsToEmbed is how many rows of that many features a manifest gets.
func rowsToEmbed(features int) int { return min(embeddedRows, max(8, embeddedValues/features)) }

// locate finds each feature of the model among the columns of the rows.
func (g *Golden) locate(names []string) ([]int, error) {
	at := make(map[string]int, len(g.names))
	for i, name := range g.names {
		at[name] = i
	}
	columns := make([]int, len(names))
	for i, name := range names {
		column, ok := at[name]
		if !ok {
			return nil, goldenError(rowsFile, 1, "the header has no column for the model's feature %q%s", name, suggest(name, g.names))
		}
		columns[i] = column
	}
	return columns, nil
}

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

// thresholds are what the trees compare each input with, as far as they read it as it is.
func (c *compilation) thresholds() [][]float64 {
	out := make([][]float64, len(c.model.Inputs))
	add := func(s *ir.Split) {
		if s.Compare < ir.In && !math.IsInf(s.Value, 0) {
			out[s.Feature] = append(out[s.Feature], s.Value)
		}
	}
	for _, s := range c.model.Steps {
		switch s := s.(type) {
		case *ir.Trees:
			for i := range s.Trees {
				for j := range s.Trees[i].Nodes {
					if n := &s.Trees[i].Nodes[j]; s.In == ir.Input && n.Compare != ir.Leaf {
						add(&n.Split)
					}
				}
			}
		case *ir.Oblivious:
			for i := range s.Splits {
				if s.In == ir.Input {
					add(&s.Splits[i])
				}
			}
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
