package table

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/expr"
)

// Hit is the hit policy: which of the rows that hit count.
type Hit string

// The hit policies, as in DMN (https://www.omg.org/dmn).
const (
	// First takes the first row that hits.
	First Hit = "first"
	// Unique takes the one row that hits; when several do, the table has no result.
	Unique Hit = "unique"
	// Priority takes the row that hits with the highest number in the output "priority", of equal ones
	// the first.
	Priority Hit = "priority"
	// Collect takes all rows that hit; their numbers are put together by an Aggregate.
	Collect Hit = "collect"
)

// Hits are all hit policies.
func Hits() []Hit { return []Hit{First, Unique, Priority, Collect} }

// Aggregate puts the numbers of several rows together.
type Aggregate string

// The aggregates of Collect. Sum is the default.
const (
	Sum   Aggregate = "sum"
	Min   Aggregate = "min"
	Max   Aggregate = "max"
	Count Aggregate = "count"
)

// Aggregates are all aggregates.
func Aggregates() []Aggregate { return []Aggregate{Sum, Min, Max, Count} }

// PriorityOutput is the output that Priority orders by.
const PriorityOutput = "priority"

// Limits of a table.
const (
	MaxRows    = 10_000
	MaxInputs  = 32
	MaxOutputs = 16
	MaxCell    = 1024     // bytes
	maxSize    = 32 << 20 // bytes of a compiled table
)

// Spec is a table as it is written. Every row has a cell for each input, then one for each output.
type Spec struct {
	Hit       Hit
	Aggregate Aggregate
	Inputs    []*expr.Program
	Outputs   []string
	Rows      [][]string
}

// Problem is a mistake in a cell. Row and Column count from 0; -1 means the whole.
type Problem struct {
	Row, Column int
	Detail      string
}

// Table is a compiled table. It is immutable and safe for concurrent use, each caller with its own
// Scratch.
type Table struct {
	hit       Hit
	aggregate Aggregate
	columns   []*column
	outputs   []string
	cells     [][]Cell // by output, then row
	rows      int
	order     []int      // for Priority: rows by falling priority
	inputs    [][]string // the cells of the inputs, and of the outputs, by row; for explanations
}

// Cell is an output: a number if IsNumber, and its text.
type Cell struct {
	Text     string
	Number   float64
	IsNumber bool
}

// Compile compiles a table, or reports every mistake.
func Compile(s Spec) (*Table, []Problem) {
	t := &Table{hit: s.Hit, aggregate: cmp.Or(s.Aggregate, Sum), outputs: s.Outputs, rows: len(s.Rows), inputs: s.Rows}
	var problems []Problem
	fail := func(row, column int, format string, args ...any) {
		problems = append(problems, Problem{Row: row, Column: column, Detail: fmt.Sprintf(format, args...)})
	}
	if len(s.Rows) > MaxRows || len(s.Inputs) > MaxInputs || len(s.Outputs) > MaxOutputs {
		fail(-1, -1, "a table has at most %d rows, %d inputs and %d outputs", MaxRows, MaxInputs, MaxOutputs)
		return nil, problems
	}
	width := len(s.Inputs) + len(s.Outputs)
	for i, row := range s.Rows {
		if len(row) != width {
			fail(i, -1, "the row has %d cells and the table %d columns", len(row), width)
			return nil, problems
		}
	}
	size := 0
	for at, input := range s.Inputs {
		tests := make([]test, len(s.Rows))
		for i, row := range s.Rows {
			problem := ""
			if len(row[at]) > MaxCell {
				problem = fmt.Sprintf("the cell is longer than %d bytes", MaxCell)
			} else {
				tests[i], problem = parseTest(row[at], input.Kind())
			}
			if problem != "" {
				fail(i, at, "%s", problem)
			}
		}
		if len(problems) == 0 {
			c := newColumn(input, tests)
			size += c.size()
			t.columns = append(t.columns, c)
		}
	}
	if size > maxSize {
		fail(-1, -1, "the table is too large to be indexed: split it, or use fewer different values")
	}
	t.readOutputs(s, fail)
	if len(problems) > 0 {
		return nil, problems
	}
	return t, nil
}

func (t *Table) readOutputs(s Spec, fail func(row, column int, format string, args ...any)) {
	for o := range s.Outputs {
		cells := make([]Cell, len(s.Rows))
		for i, row := range s.Rows {
			text := strings.TrimSpace(row[len(s.Inputs)+o])
			cells[i] = Cell{Text: text}
			if f, err := strconv.ParseFloat(text, 64); err == nil && f-f == 0 {
				cells[i].Number, cells[i].IsNumber = f, true
			} else if unquoted, err := strconv.Unquote(text); err == nil {
				cells[i].Text = unquoted
			}
		}
		t.cells = append(t.cells, cells)
	}
	if t.hit != Priority {
		return
	}
	at := slices.Index(s.Outputs, PriorityOutput)
	if at < 0 {
		fail(-1, -1, "the hit policy priority needs an output named %s", PriorityOutput)
		return
	}
	for i := range t.rows {
		if !t.cells[at][i].IsNumber {
			fail(i, len(s.Inputs)+at, "a priority is a number")
		}
		t.order = append(t.order, i)
	}
	slices.SortStableFunc(t.order, func(a, b int) int { return cmp.Compare(t.cells[at][b].Number, t.cells[at][a].Number) })
}

// Scratch is the memory of evaluations. It belongs to one goroutine; the zero value works.
type Scratch struct{ hits, other rows }

// Rows are the rows that hit, of which some count (see Row). They are valid until the next evaluation
// with the same scratch.
func (t *Table) match(v *expr.Vars, s *Scratch) (hits rows, any bool) {
	words := (t.rows + 63) / 64
	if cap(s.hits) < words {
		s.hits, s.other = make(rows, words), make(rows, words)
	}
	hits, s.other = s.hits[:words], s.other[:words]
	for i := range hits {
		hits[i] = ^uint64(0)
	}
	if tail := t.rows % 64; tail != 0 && words > 0 {
		hits[words-1] = 1<<tail - 1
	}
	for _, c := range t.columns {
		if !c.narrow(v, hits, s.other) {
			return hits, false
		}
	}
	return hits, t.rows > 0
}

// Any tells whether a row hits, and for Unique that no second one does.
func (t *Table) Any(v *expr.Vars, s *Scratch) bool {
	_, ok := t.Row(v, s)
	return ok
}

// Row is the row that counts; ok is false when none does. For Collect it is the first that hits.
func (t *Table) Row(v *expr.Vars, s *Scratch) (row int, ok bool) {
	hits, any := t.match(v, s)
	if !any {
		return 0, false
	}
	if t.hit == Priority {
		for _, row := range t.order {
			if hits[row/64]>>(row%64)&1 != 0 {
				return row, true
			}
		}
	}
	row = hits.first()
	if t.hit == Unique {
		hits[row/64] &^= 1 << (row % 64)
		return row, hits.first() < 0
	}
	return row, true
}

// first is the first row of the set, or -1.
func (r rows) first() int {
	for i, word := range r {
		if word != 0 {
			return i*64 + bits.TrailingZeros64(word)
		}
	}
	return -1
}

// Output is the cell of a row.
func (t *Table) Output(row, output int) Cell { return t.cells[output][row] }

// OutputIndex is the position of an output, or -1.
func (t *Table) OutputIndex(name string) int { return slices.Index(t.outputs, name) }

// Outputs are the names of the outputs. The caller must not change them.
func (t *Table) Outputs() []string { return t.outputs }

// Len is the number of rows.
func (t *Table) Len() int { return t.rows }

// Number is the number of an output: that of the row that counts, or for Collect what the aggregate
// makes of all rows that hit. ok is false when there is none.
func (t *Table) Number(v *expr.Vars, s *Scratch, output int) (number float64, ok bool) {
	if t.hit != Collect {
		row, ok := t.Row(v, s)
		if !ok {
			return 0, false
		}
		cell := t.Output(row, output)
		return cell.Number, cell.IsNumber
	}
	hits, _ := t.match(v, s)
	count := 0
	for i, word := range hits {
		for ; word != 0; word &= word - 1 {
			cell := t.Output(i*64+bits.TrailingZeros64(word), output)
			if t.aggregate != Count && !cell.IsNumber {
				return 0, false
			}
			count++
			switch {
			case t.aggregate == Sum:
				number += cell.Number
			case count == 1 || t.aggregate == Min && cell.Number < number || t.aggregate == Max && cell.Number > number:
				number = cell.Number
			}
		}
	}
	if t.aggregate == Count {
		return float64(count), true
	}
	return number, count > 0
}
