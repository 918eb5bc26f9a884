package compiler

import (
	"bytes"
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
	// probabilityUlps is how far the library's probability may be from ours, in units in the last place
	// of 32 bits: libraries compute the exponential differently.
	probabilityUlps = 2
)

// Golden are feature rows with the outputs that the library gave for them.
type Golden struct {
	names []string // of the features; nil when the file has no header
	rows  []goldenRow
	lines []int // of each row in the file of rows
}

type goldenRow struct {
	features     []float64
	margin, prob *float32
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
		row := goldenRow{features: make([]float64, len(record))}
		for i, field := range record {
			v, err := number(field)
			if err != nil {
				return goldenError(rowsFile, line, "column %d is neither a number nor empty; the rows hold features as the model sees them, already encoded", i+1)
			}
			row.features[i] = v
		}
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

func (g *Golden) readExpected(content []byte) error {
	margin, prob, row := -1, -1, -1
	err := eachRecord(expectedFile, content, func(line int, record []string) error {
		if row++; row == 0 {
			for i, name := range record {
				switch strings.ToLower(strings.TrimSpace(name)) {
				case "margin", "raw":
					margin = i
				case "prob", "score", "prediction":
					prob = i
				}
			}
			if margin < 0 && prob < 0 {
				return goldenError(expectedFile, line, "the header has neither margin nor prob; name the columns so")
			}
			return nil
		}
		if row > len(g.rows) {
			return goldenError(expectedFile, line, "there are more lines than golden rows; the files match line by line")
		}
		var err error
		to := &g.rows[row-1]
		if to.margin, err = expectation(record, margin); err == nil {
			to.prob, err = expectation(record, prob)
		}
		if err != nil {
			return goldenError(expectedFile, line, "margin or prob is not a finite number")
		}
		return nil
	})
	if err == nil && row < len(g.rows) {
		return goldenError(expectedFile, row+1, "there are fewer lines than golden rows; the files match line by line")
	}
	return err
}

func expectation(record []string, column int) (*float32, error) {
	if column < 0 {
		return nil, nil
	}
	v, err := strconv.ParseFloat(strings.TrimSpace(record[column]), 32)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return nil, errors.New("not a finite number")
	}
	f := float32(v)
	return &f, nil
}

// arrange checks every row against e and returns how many there were, and those to embed, in the
// order of e's features.
func (g *Golden) arrange(e *ensemble) (checked int, embed [][]float64, err error) {
	if g == nil {
		return 0, nil, nil
	}
	columns, err := g.columns(e.names)
	if err != nil {
		return 0, nil, err
	}
	row := make([]float64, len(e.names))
	var usable []int
	for i := range g.rows {
		r := &g.rows[i]
		g.pick(row, i, columns)
		margin := e.margin(row)
		if r.margin != nil && *r.margin != margin {
			return 0, nil, goldenError(rowsFile, g.lines[i], "the model gives another margin than expected; check that rows, expected outputs and model file belong together and that all rounds were used")
		}
		if r.prob != nil && ulps(*r.prob, float32(e.output(margin))) > probabilityUlps {
			return 0, nil, goldenError(rowsFile, g.lines[i], "the model gives another output than expected; check that rows, expected outputs and model file belong together")
		}
		if !slices.ContainsFunc(row, func(x float64) bool { return math.IsInf(x, 0) }) { // JSON has no infinity
			usable = append(usable, i)
		}
	}
	count := min(len(usable), rowsToEmbed(len(e.names)))
	for i := range count {
		row := make([]float64, len(e.names))
		g.pick(row, usable[i*len(usable)/count], columns)
		embed = append(embed, row)
	}
	return len(g.rows), embed, nil
}

// pick copies row i into the model's order of features.
func (g *Golden) pick(row []float64, i int, columns []int) {
	for j, column := range columns {
		row[j] = g.rows[i].features[column]
	}
}

// rowsToEmbed is how many rows of that many features a manifest gets.
func rowsToEmbed(features int) int { return min(embeddedRows, max(8, embeddedValues/features)) }

// columns finds each feature of the model among the columns of the rows.
func (g *Golden) columns(names []string) ([]int, error) {
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

// ulps is the distance of two floats in units in the last place.
func ulps(a, b float32) int64 {
	if a == b {
		return 0
	}
	return max(int64(key(a))-int64(key(b)), int64(key(b))-int64(key(a)))
}

// golden is row with what e makes of it.
func (e *ensemble) golden(row []float64) artifact.GoldenRow {
	margin := e.margin(row)
	raw := float64(margin)
	g := artifact.GoldenRow{Features: make([]*float64, len(row)), Raw: &raw, Score: e.output(margin)}
	for i, x := range row {
		if !math.IsNaN(x) {
			g.Features[i] = &x
		}
	}
	return g
}

// boundaryRows makes rows whose values lie on thresholds, one unit in the last place to either side,
// or are missing: where a wrong comparison shows. The same model always gives the same rows.
func boundaryRows(e *ensemble) []artifact.GoldenRow {
	thresholds := make([][]float32, len(e.names))
	for i := range e.trees {
		for _, n := range e.trees[i].nodes {
			if !n.leaf() && !math.IsInf(float64(n.value), 0) {
				thresholds[n.feature] = append(thresholds[n.feature], n.value)
			}
		}
	}
	count := rowsToEmbed(len(e.names))
	random := rand.New(rand.NewPCG(1, uint64(len(e.trees))))
	out := make([]artifact.GoldenRow, 0, count)
	row := make([]float64, len(e.names))
	for range count {
		for i := range row {
			row[i] = boundaryValue(thresholds[i], random)
		}
		if g := e.golden(row); !math.IsInf(*g.Raw, 0) && !math.IsNaN(*g.Raw) && !math.IsInf(g.Score, 0) {
			out = append(out, g)
		}
	}
	return out
}

func boundaryValue(thresholds []float32, random *rand.Rand) float64 {
	if len(thresholds) == 0 || random.IntN(8) == 0 {
		return math.NaN()
	}
	t := thresholds[random.IntN(len(thresholds))]
	switch random.IntN(3) {
	case 0:
		t = math.Nextafter32(t, float32(math.Inf(-1)))
	case 1:
		t = math.Nextafter32(t, float32(math.Inf(1)))
	}
	if math.IsInf(float64(t), 0) {
		return 0
	}
	return float64(t)
}
