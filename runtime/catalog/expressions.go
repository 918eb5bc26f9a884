package catalog

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

type programKey struct {
	source string
	result expr.Result
}

// compiled is the outcome of one expression text, shared by all its places.
type compiled struct {
	program  *expr.Program
	problems []expr.Problem
	// reported holds the nodes whose mistakes are already in the report.
	reported map[*yaml.Node]bool
}

// program compiles an expression, each distinct text once, and reports its mistakes at every place
// the text stands. It is nil if there are any.
func (c *compiler) program(source text, result expr.Result) *expr.Program {
	if !source.given() {
		return nil
	}
	key := programKey{source: source.value, result: result}
	known, ok := c.programs[key]
	if !ok {
		if len(c.programs) == MaxExpressions {
			c.fail(source.node, nba.CodeTooLarge, "at most %d different expressions: share conditions at the group or the issue", MaxExpressions)
			return nil
		}
		known.program, known.problems = c.expressions.Compile(source.value, result)
		known.reported = map[*yaml.Node]bool{}
		c.programs[key] = known
	}
	if !known.reported[source.node] {
		known.reported[source.node] = true
		for _, p := range known.problems {
			line, column := c.place(source.node, p)
			c.failAt(line, column, p.Code, p.Detail)
		}
	}
	if known.program != nil {
		c.asks(source, known.program)
	}
	return known.program
}

// predicate compiles a condition; equal texts are one predicate.
func (c *compiler) predicate(when text) *Predicate {
	program := c.program(when, expr.BoolResult)
	if program == nil {
		return nil
	}
	p, ok := c.predicates[when.value]
	if !ok {
		p = &Predicate{ID: len(c.predicates) + len(c.tested), Program: program}
		c.predicates[when.value] = p
	}
	return p
}

// mayRead reports attributes that an expression reads for an action although they may never be used
// for the purpose of that action: they would always be absent.
func (c *compiler) mayRead(a *Action, source text, program *expr.Program) {
	if program == nil || a.Purpose.Name == "" {
		return
	}
	for _, id := range program.Reads() {
		attribute, _ := c.env.Dictionary.AttributeByID(id)
		if !attribute.PurposeSet.Has(a.Purpose.ID) {
			line, column := c.place(source.node, expr.Problem{Line: 1, Column: 1})
			c.failAt(line, column, nba.CodeInvalid, fmt.Sprintf(
				"attribute %s may be used for %s but not for %s, the purpose of action %s",
				attribute.Name, strings.Join(attribute.Purposes, ", "), a.Purpose.Name, a.Name))
		}
	}
}

// place finds where in the document a mistake inside an expression stands. For text on one line, and
// for block text written with |, that is exact; otherwise it is where the expression begins.
func (c *compiler) place(n *yaml.Node, p expr.Problem) (line, column int) {
	switch {
	case n.Style&yaml.LiteralStyle != 0:
		return c.placeInBlock(n, p)
	case p.Line > 1 || n.Style&yaml.FoldedStyle != 0 || strings.Contains(n.Value, "\n"):
		return n.Line, n.Column
	case n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		return n.Line, n.Column + 1 + c.quotedWidth(n, p.Column-1)
	default:
		return n.Line, n.Column + p.Column - 1
	}
}

// placeInBlock looks below the indicator for the first line of the text and its indentation.
func (c *compiler) placeInBlock(n *yaml.Node, p expr.Problem) (line, column int) {
	first := n.Line // the line after the indicator, counted from 0
	for first < len(c.lines) && strings.TrimSpace(c.lines[first]) == "" && !strings.HasPrefix(n.Value, "\n") {
		first++
	}
	line = first + p.Line
	if line > len(c.lines) {
		return n.Line, n.Column
	}
	content := c.lines[first]
	indent := len(content) - len(strings.TrimLeft(content, " "))
	return line, indent + p.Column
}

// quotedWidth is how many characters the first count characters of a quoted text take in the source,
// where some are written as two or more. It is count when the text spans lines.
func (c *compiler) quotedWidth(n *yaml.Node, count int) int {
	if n.Line > len(c.lines) {
		return count
	}
	source := []rune(c.lines[n.Line-1])
	start := n.Column // behind the opening quote
	width := 0
	for ; count > 0 && start+width < len(source); count-- {
		width += escapeWidth(source[start+width:], n.Style&yaml.DoubleQuotedStyle != 0)
	}
	return width + count
}

// escapeWidth is the length of the first character of text as written.
func escapeWidth(text []rune, double bool) int {
	if !double {
		if text[0] == '\'' && len(text) > 1 && text[1] == '\'' {
			return 2
		}
		return 1
	}
	if text[0] != '\\' || len(text) < 2 {
		return 1
	}
	switch text[1] {
	case 'x':
		return 4
	case 'u':
		return 6
	case 'U':
		return 10
	default:
		return 2
	}
}
