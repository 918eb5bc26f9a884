package catalog

import (
	"encoding/csv"
	"errors"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/table"
)

// MaxTables bounds the decision tables of a document.
const MaxTables = 64

// tableSpec is a decision table as it is written. Its rows are a list of lists, or CSV text.
type tableSpec struct {
	node           *yaml.Node
	name           text
	hit, aggregate text
	inputs         []text
	outputs        []text
	rows           []*yaml.Node
	csv            text
}

// tableUse is where a table is named as the source of a number: a value or a lever.
type tableUse struct {
	name, output text
	otherwise    number
}

func (d *decoder) table(n *yaml.Node) tableSpec {
	t := tableSpec{node: n}
	var hits, aggregates []string
	for _, h := range table.Hits() {
		hits = append(hits, string(h))
	}
	for _, a := range table.Aggregates() {
		aggregates = append(aggregates, string(a))
	}
	d.object(n, "a table",
		required("name", d.name(&t.name)),
		required("hit", d.oneOf(&t.hit, hits...)),
		optional("aggregate", d.oneOf(&t.aggregate, aggregates...)),
		required("inputs", d.list("inputs", table.MaxInputs, func(n *yaml.Node) {
			var input text
			if d.expression(&input)(n); input.given() {
				t.inputs = append(t.inputs, input)
			}
		})),
		optional("outputs", d.list("outputs", table.MaxOutputs, d.names(&t.outputs))),
		optional("rows", d.list("rows", table.MaxRows, func(n *yaml.Node) {
			cell := jsonSchema{"type": []string{"string", "number", "boolean"}}
			if d.describing == nil || !d.takes(n, jsonSchema{"type": "array", "items": cell}) {
				t.rows = append(t.rows, n)
			}
		})),
		optional("csv", d.label(&t.csv, MaxDocumentBytes)),
	)
	if (t.csv.given()) == (len(t.rows) > 0) {
		d.fail(n, nba.CodeInvalid, "a table has rows, or csv with one row a line")
	}
	return t
}

func (d *decoder) tableUse(to *tableUse, low, high float64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		d.object(n, "a number from a table", required("table", d.name(&to.name)), required("output", d.name(&to.output)),
			optional("otherwise", d.number(&to.otherwise, low, high)))
	}
}

// namedTable is a compiled table, or nil if it has mistakes.
type namedTable struct {
	*table.Table
	reads   []nba.AttributeID
	scratch *sync.Pool
}

// tables compiles the decision tables.
func (c *compiler) tables() {
	c.known = map[string]*namedTable{}
	first := map[string]*yaml.Node{}
	for i := range c.doc.tables {
		if spec := &c.doc.tables[i]; c.unique(first, spec.name, "table") {
			c.known[spec.name.value] = c.compileTable(spec)
		}
	}
}

func (c *compiler) compileTable(spec *tableSpec) *namedTable {
	named := &namedTable{scratch: &sync.Pool{New: func() any { return new(table.Scratch) }}}
	s := table.Spec{Hit: table.Hit(spec.hit.value), Aggregate: table.Aggregate(spec.aggregate.value)}
	for _, input := range spec.inputs {
		program := c.program(input, expr.AnyResult)
		if program == nil {
			return nil
		}
		s.Inputs = append(s.Inputs, program)
		named.reads = append(named.reads, program.Reads()...)
	}
	slices.Sort(named.reads)
	named.reads = slices.Compact(named.reads)
	for _, output := range spec.outputs {
		s.Outputs = append(s.Outputs, output.value)
	}
	place, ok := c.rows(spec, &s)
	if !ok {
		return nil
	}
	compiled, problems := table.Compile(s)
	for _, p := range problems {
		line, column := spec.node.Line, spec.node.Column
		if p.Row >= 0 {
			line, column = place(p.Row, max(p.Column, 0))
		}
		c.failAt(line, column, nba.CodeInvalid, p.Detail)
	}
	if compiled == nil {
		return nil
	}
	named.Table = compiled
	return named
}

// rows reads the cells of a table. place tells where one stands.
func (c *compiler) rows(spec *tableSpec, s *table.Spec) (place func(row, column int) (line, col int), ok bool) {
	if spec.csv.given() {
		return c.csvRows(spec, s)
	}
	for _, row := range spec.rows {
		if row.Kind != yaml.SequenceNode {
			c.fail(row, nba.CodeInvalid, "a row is a list: a cell for each input, then one for each output")
			return nil, false
		}
		cells := make([]string, len(row.Content))
		for i, cell := range row.Content {
			if cell.Kind != yaml.ScalarNode {
				c.fail(cell, nba.CodeInvalid, "a cell is plain text or a number: put ranges and lists in quotes")
				return nil, false
			}
			cells[i] = cell.Value
		}
		s.Rows = append(s.Rows, cells)
	}
	return func(row, column int) (int, int) {
		n := spec.rows[row]
		if column < len(n.Content) {
			n = n.Content[column]
		}
		return n.Line, n.Column
	}, true
}

func (c *compiler) csvRows(spec *tableSpec, s *table.Spec) (place func(row, column int) (line, col int), ok bool) {
	reader := csv.NewReader(strings.NewReader(spec.csv.value))
	reader.TrimLeadingSpace = true
	begin := spec.csv.node.Line // the indicator of block text; the first row is on the next line
	all, err := reader.ReadAll()
	if err != nil {
		line := begin
		if parse, ok := errors.AsType[*csv.ParseError](err); ok {
			line, err = begin+parse.Line, parse.Err
		}
		c.failAt(line, 1, nba.CodeInvalid, "not CSV: "+err.Error())
		return nil, false
	}
	s.Rows = all
	return func(row, _ int) (int, int) { return begin + row + 1, 1 }, true
}

// use finds the table that is named at a place; nil after reporting that there is none.
func (c *compiler) use(name text) *namedTable {
	known, ok := c.known[name.value]
	if !ok {
		c.fail(name.node, nba.CodeInvalid, "unknown table %s%s", quote(name.value), c.suggest(name.value, sortedKeys(c.known), "declare it under tables"))
	}
	return known
}

// tablePredicate is true where a row of a table counts.
func (c *compiler) tablePredicate(name text) *Predicate {
	if p, ok := c.tested[name.value]; ok {
		return p
	}
	t := c.use(name)
	if t == nil {
		return nil
	}
	p := &Predicate{ID: len(c.predicates) + len(c.tested), Program: expr.BoolProgram("table "+name.value, t.reads, func(v *expr.Vars) (bool, bool) {
		scratch := t.scratch.Get().(*table.Scratch)
		defer t.scratch.Put(scratch)
		return t.Any(v, scratch), true
	}), Table: t.Table}
	c.tested[name.value] = p
	return p
}

// tableNumber is the number of an output of a table.
func (c *compiler) tableNumber(use *tableUse) *expr.Program {
	if !use.name.given() {
		return nil
	}
	t := c.use(use.name)
	if t == nil || !use.output.given() {
		return nil
	}
	output := t.OutputIndex(use.output.value)
	if output < 0 {
		c.fail(use.output.node, nba.CodeInvalid, "table %s has no output %s%s", use.name.value, quote(use.output.value),
			c.suggest(use.output.value, t.Outputs(), "name it under outputs"))
		return nil
	}
	otherwise := use.otherwise
	return expr.NumberProgram("table "+use.name.value+" "+use.output.value, t.reads, func(v *expr.Vars) (float64, bool) {
		scratch := t.scratch.Get().(*table.Scratch)
		defer t.scratch.Put(scratch)
		if number, ok := t.Number(v, scratch, output); ok {
			return number, true
		}
		return otherwise.value, otherwise.given
	})
}
