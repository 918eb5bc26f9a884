package compiler

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

const (
	// maxGoldenRows and maxGoldenBytes bound the files.
	maxGoldenRows  = 100_000
	maxGoldenBytes = 256 << 20
)

// GoldenFiles are feature rows and what the library that trained the model made of them.
//
// Both are text tables, separated by commas, tabs or semicolons, with or without a header. Rows with a
// header name the features in any order and may have other columns; without one they are in the order
// of the model. An empty field, nan or na is a missing value.
//
// Expected matches Rows line by line; when it is nil, Rows has the expected columns too, or none. Its
// header tells what a column holds: margin or raw the raw score, prob, score, pred or prediction the
// output, each alone or with _ and a class. Without such a header the name of the file tells, as in
// NAME.margin.csv, NAME.raw.csv and NAME.pred.csv, and several columns are the classes in their order.
type GoldenFiles struct {
	Rows, Expected         []byte
	RowsName, ExpectedName string
}

// Golden are parsed GoldenFiles.
type Golden struct {
	rows, expected *textTable // expected is nil when it is in rows, or absent
}

// textTable is the content of one file.
type textTable struct {
	file    string
	records [][]string
	lines   []int
}

// ParseGolden reads two files that match line by line and have headers; see ReadGolden.
func ParseGolden(rows, expected []byte) (*Golden, error) {
	return ReadGolden(GoldenFiles{Rows: rows, Expected: expected})
}

// ReadGolden reads rows and expectations. What they mean depends on the model; see Table. Errors are
// *nba.Error with CodeModelInvalid whose details name the line, or CodeTooLarge.
func ReadGolden(f GoldenFiles) (*Golden, error) {
	if len(f.Rows)+len(f.Expected) > maxGoldenBytes {
		return nil, nba.Errorf(nba.CodeTooLarge, "the golden rows have more than %d bytes; keep fewer rows", maxGoldenBytes)
	}
	g := &Golden{}
	var err error
	if g.rows, err = readTable(f.Rows, cmp.Or(f.RowsName, "golden rows")); err != nil {
		return nil, err
	}
	if f.Expected != nil {
		g.expected, err = readTable(f.Expected, cmp.Or(f.ExpectedName, "expected values"))
	}
	return g, err
}

// Table is Golden as a model reads it.
type Table struct {
	// Rows holds the features in the order of the model, missing ones as NaN.
	Rows [][]float64
	// Margins and Outputs are the expected raw scores and outputs; nil when there are none.
	Margins, Outputs []float64

	file       string
	lines      []int // of each row
	complement bool  // Outputs are those of the other of two classes
}

// AgreesMargin and AgreesOutput tell whether what a model of that format gives for row i is what is
// expected, where anything is.
func (t *Table) AgreesMargin(format string, i int, raw float64) bool {
	return t.Margins == nil || Agree(format, t.Margins[i], raw, false)
}

// AgreesOutput is described with AgreesMargin.
func (t *Table) AgreesOutput(format string, i int, output float64) bool {
	switch {
	case t.Outputs == nil:
		return true
	case t.complement: // the subtraction rounds, on one side or the other
		return Agree(format, t.Outputs[i], 1-output, true) || Agree(format, 1-t.Outputs[i], output, true)
	}
	return Agree(format, t.Outputs[i], output, true)
}

// Complement tells that Outputs are those of the other of two classes, as libraries give them.
func (t *Table) Complement() bool { return t.complement }

// Place names row i for messages: the file and its line.
func (t *Table) Place(i int) string { return fmt.Sprintf("%s, line %d", t.file, t.lines[i]) }

// shape is what of a model the meaning of a table depends on.
type shape struct {
	names       []string
	levels      func(feature int) []string
	classes     []string
	class       int // the one that is scored
	probability bool
}

// TableOf reads the rows for the model of an artifact, in the order of its manifest.
func (g *Golden) TableOf(m *artifact.Manifest) (*Table, error) {
	order := modelOrder(m)
	s := shape{probability: m.Output == artifact.OutputProbability, names: make([]string, len(order)),
		levels: func(i int) []string { return m.Features[order[i]].Recipe.Levels }}
	for i, at := range order {
		s.names[i] = m.Features[at].Name
	}
	if m.Source != nil {
		s.classes = m.Source.Classes
		s.class = max(0, slices.Index(s.classes, m.Source.Class))
	}
	t, err := g.table(&s)
	if err != nil {
		return nil, err
	}
	for i, row := range t.Rows {
		t.Rows[i] = permute(row, order)
	}
	return t, nil
}

// modelOrder tells the place in the manifest of each feature of the model, in the model's order.
func modelOrder(m *artifact.Manifest) []int {
	order := make([]int, len(m.Features))
	for i := range order {
		order[i] = i
	}
	if m.Source != nil && len(m.Source.Order) == len(order) {
		sorted := slices.Clone(m.Source.Order)
		slices.Sort(sorted)
		if slices.Equal(sorted, order) {
			return m.Source.Order
		}
	}
	return order
}

// table reads the rows and the expectations for a model of that shape.
func (g *Golden) table(s *shape) (*Table, error) {
	columns, body, err := g.rows.locate(s.names)
	if err != nil {
		return nil, err
	}
	if len(body.records) == 0 {
		return nil, goldenError(g.rows.file, 1, "there are no rows under the header")
	}
	t := &Table{Rows: make([][]float64, len(body.records)), file: g.rows.file, lines: body.lines}
	levels := make([][]string, len(columns))
	for i := range levels {
		levels[i] = s.levels(i)
	}
	values := make([]float64, len(columns)*len(body.records))
	for r, record := range body.records {
		t.Rows[r] = values[r*len(columns) : (r+1)*len(columns) : (r+1)*len(columns)]
		for i, column := range columns {
			if t.Rows[r][i], err = feature(record[column], levels[i]); err != nil {
				return nil, goldenError(g.rows.file, body.lines[r],
					"column %d is neither a number nor empty; the rows hold features as the model sees them, already encoded", column+1)
			}
		}
	}
	return t, g.expectations(t, s, len(body.records) < len(g.rows.records))
}

// feature reads a field: the position of a level, a number, or missing.
func feature(field string, levels []string) (float64, error) {
	field = strings.TrimSpace(field)
	if code := slices.Index(levels, field); code >= 0 {
		return float64(code), nil
	}
	v, err := number(field)
	if err != nil && len(levels) > 0 {
		return math.NaN(), nil // a text that is none of the levels is missing
	}
	return v, err
}

// number reads a number; empty, nan, na and null in any case mean missing.
func number(field string) (float64, error) {
	field = strings.TrimSpace(field)
	switch strings.ToLower(field) {
	case "", "nan", "na", "null", "?":
		return math.NaN(), nil
	}
	return strconv.ParseFloat(field, 64)
}

// locate finds the columns of the features. body is the table without its header.
func (t *textTable) locate(names []string) (columns []int, body *textTable, err error) {
	header := t.records[0]
	at := make(map[string]int, len(header))
	for i, name := range header {
		at[strings.TrimSpace(name)] = i
	}
	columns = make([]int, len(names))
	for i, name := range names {
		column, ok := at[strings.TrimSpace(name)]
		if !ok {
			if !numeric(header) {
				return nil, nil, goldenError(t.file, t.lines[0], "the header has no column for the model's feature %q%s", name, suggest(name, header))
			}
			if len(header) != len(names) {
				return nil, nil, goldenError(t.file, t.lines[0], "there is no header, and %d columns for %d features; name the columns in a header", len(header), len(names))
			}
			for i := range columns {
				columns[i] = i
			}
			return columns, t, nil
		}
		columns[i] = column
	}
	return columns, &textTable{file: t.file, records: t.records[1:], lines: t.lines[1:]}, nil
}

// numeric tells whether every field of a record could be a value, so that it need not be a header.
func numeric(record []string) bool {
	for _, field := range record {
		if _, err := number(field); err != nil {
			return false
		}
	}
	return true
}

// expectations fills t.Margins and t.Outputs.
func (g *Golden) expectations(t *Table, s *shape, rowsHaveHeader bool) error {
	e, header := g.expected, []string(nil)
	switch {
	case e == nil && !rowsHaveHeader:
		return nil
	case e == nil: // in the same file as the rows, under names that are no features
		e, header = &textTable{g.rows.file, g.rows.records[1:], g.rows.lines[1:]}, slices.Clone(g.rows.records[0])
		for i, name := range header {
			if slices.Contains(s.names, strings.TrimSpace(name)) {
				header[i] = ""
			}
		}
	case len(e.records) == len(t.Rows)+1:
		e, header = &textTable{e.file, e.records[1:], e.lines[1:]}, e.records[0]
	case len(e.records) < len(t.Rows):
		return goldenError(e.file, e.lines[len(e.lines)-1], "there are fewer lines than golden rows; the files match line by line")
	case len(e.records) > len(t.Rows):
		surplus := len(t.Rows)
		if !numeric(e.records[0]) {
			surplus++
		}
		return goldenError(e.file, e.lines[surplus], "there are more lines than golden rows; the files match line by line")
	case !numeric(e.records[0]):
		return goldenError(e.file, e.lines[len(e.lines)-1], "there are fewer lines under the header than golden rows; the files match line by line")
	}
	margin, output := namedColumns(header, s)
	if margin < 0 && output < 0 && g.expected != nil {
		column, raw, err := e.unnamedColumn(header, s)
		if err != nil {
			return err
		}
		if margin = column; !raw {
			margin, output = -1, column
		}
		if err := e.read(t, s, margin, output); err != nil {
			return err
		}
		if len(e.records[0]) == 1 && len(s.classes) == 2 && s.class == 0 { // libraries give the second of two classes
			t.complement = t.Outputs != nil
		}
		return nil
	}
	return e.read(t, s, margin, output)
}

// read takes the two columns, -1 for none.
func (e *textTable) read(t *Table, s *shape, margin, output int) error {
	column := func(at int) ([]float64, error) {
		if at < 0 {
			return nil, nil
		}
		values := make([]float64, len(e.records))
		for i, record := range e.records {
			v, err := number(record[at])
			if err != nil {
				return nil, goldenError(e.file, e.lines[i], "column %d is no number; it holds what the library gave for the row", at+1)
			}
			values[i] = v
		}
		return values, nil
	}
	var err error
	if t.Margins, err = column(margin); err != nil {
		return err
	}
	t.Outputs, err = column(output)
	// What is called a prediction is a raw score where it cannot be a probability.
	if s.probability && t.Margins == nil && slices.ContainsFunc(t.Outputs, func(p float64) bool { return p < 0 || p > 1 }) {
		t.Margins, t.Outputs = t.Outputs, nil
	}
	return err
}

// namedColumns finds the columns that the header names for the class that is scored, -1 if there is none.
func namedColumns(header []string, s *shape) (margin, output int) {
	margin, output = -1, -1
	for pass := range 2 { // those of the class before those of none
		for i, name := range header {
			kind, class, ok := expectation(name)
			if !ok || (class == "") != (pass == 1) || class != "" && !s.scores(class) {
				continue
			}
			if kind == columnMargin && margin < 0 {
				margin = i
			} else if kind == columnProb && output < 0 {
				output = i
			}
		}
	}
	return margin, output
}

// scores tells whether class is the one that is scored.
func (s *shape) scores(class string) bool {
	return len(s.classes) > 0 && s.classes[s.class] == class
}

const (
	columnMargin = "margin"
	columnProb   = "prob"
)

// kindOf reads a word as the kind of a column, "" if it is none.
func kindOf(word string) string {
	switch strings.ToLower(word) {
	case "margin", "margins", "raw", "logit", "logits":
		return columnMargin
	case "prob", "probs", "proba", "probability", "probabilities", "score", "scores", "pred", "preds", "predicted", "prediction", "predictions", "output", "outputs":
		return columnProb
	}
	return ""
}

// expectation tells what a column of that name holds, and of which class.
func expectation(name string) (kind, class string, ok bool) {
	name = strings.TrimSpace(name)
	switch strings.ToLower(name) {
	case "raw_score", "raw_scores", "rawscore", "raw_prediction", "raw_predictions":
		return columnMargin, "", true
	}
	head, class, _ := strings.Cut(name, "_")
	kind = kindOf(head)
	return kind, class, kind != ""
}

// unnamedColumn finds the column by the file's name, and by the number of columns or their names.
func (e *textTable) unnamedColumn(header []string, s *shape) (column int, raw bool, err error) {
	kind := ""
	for word := range strings.FieldsFuncSeq(strings.TrimSuffix(filepath.Base(e.file), filepath.Ext(e.file)), func(c rune) bool { return !unicode.IsLetter(c) }) {
		if found := kindOf(word); kind == "" || found == columnMargin {
			kind = found
		}
	}
	if kind == "" {
		return 0, false, goldenError(e.file, 1, "neither a header nor the file's name tells what the numbers are; name the columns margin (raw score) or prob (output)%s, or the file NAME.margin.csv or NAME.pred.csv", s.hint())
	}
	raw = kind == columnMargin
	if i := slices.IndexFunc(header, s.scores); i >= 0 {
		return i, raw, nil
	}
	switch n := len(e.records[0]); {
	case n == 1:
		return 0, raw, nil
	case n == len(s.classes):
		return s.class, raw, nil
	case n == 2 && len(s.classes) < 2:
		return 1, raw, nil
	default:
		return 0, false, goldenError(e.file, 1, "there are %d columns for a model of %d classes; name the columns margin or prob%s", n, len(s.classes), s.hint())
	}
}

// hint is how to name the column of the class that is scored.
func (s *shape) hint() string {
	if len(s.classes) < 3 {
		return ""
	}
	return fmt.Sprintf(", such as prob_%s for the class %s", s.classes[s.class], s.classes[s.class])
}

// goldenError locates a mistake in one of the two files.
func goldenError(file string, line int, format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	return &nba.Error{Code: nba.CodeModelInvalid, Message: "the rows cannot be used",
		Details: []nba.Detail{{File: file, Line: line, Code: nba.CodeModelInvalid, Detail: text}}}
}

// readTable splits a file into records of the same number of fields.
func readTable(content []byte, file string) (*textTable, error) {
	content = bytes.TrimPrefix(content, []byte("\xef\xbb\xbf"))
	r := csv.NewReader(bytes.NewReader(content))
	r.Comma = separator(content)
	t := &textTable{file: file}
	for {
		record, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if parse, ok := errors.AsType[*csv.ParseError](err); ok {
			return nil, goldenError(file, parse.Line, "not CSV: %v; every line has as many fields as the first", parse.Err)
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", file, err)
		}
		line, _ := r.FieldPos(0)
		if len(t.records) > maxGoldenRows {
			return nil, goldenError(file, line, "there are more than %d rows; keep fewer", maxGoldenRows)
		}
		t.records, t.lines = append(t.records, record), append(t.lines, line)
	}
	if len(t.records) == 0 {
		return nil, goldenError(file, 1, "there are no rows; the file is empty")
	}
	return t, nil
}

// separator is what stands between the fields of the first line: a comma, else a tab, else a semicolon.
func separator(content []byte) rune {
	first, _, _ := bytes.Cut(content, []byte("\n"))
	for _, c := range ",\t;" {
		if bytes.ContainsRune(first, c) {
			return c
		}
	}
	return ','
}
