package catalog

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/history"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Place is the issue and the group of an action; ok is false when the catalog has none of that name. It is
// a history.Places.
func (c *Catalog) Place(action string) (issue, group string, ok bool) {
	a, ok := c.actions[action]
	if !ok {
		return "", "", false
	}
	return a.Issue, a.Group, true
}

// asks notes what an expression asks of the history, to be checked when all names are known.
func (c *compiler) asks(source text, program *expr.Program) {
	c.asksJourneys(source, program)
	for _, name := range program.Scores() {
		if c.scored == nil {
			c.scored = map[string][]*yaml.Node{}
		}
		if nodes := c.scored[name]; !slices.Contains(nodes, source.node) {
			c.scored[name] = append(nodes, source.node)
		}
	}
	for _, name := range program.Counts() {
		if c.counted == nil {
			c.counted = map[string][]*yaml.Node{}
		}
		if nodes := c.counted[name]; !slices.Contains(nodes, source.node) {
			c.counted[name] = append(nodes, source.node)
		}
	}
	for _, q := range program.Asks() {
		if c.asked == nil {
			c.asked = map[history.Query][]*yaml.Node{}
		}
		if nodes := c.asked[q]; !slices.Contains(nodes, source.node) {
			c.asked[q] = append(nodes, source.node)
		}
	}
}

// histories reports names in questions to the history that the catalog does not have.
func (c *compiler) histories() {
	c.catalog.Histories = len(c.asked)
	groups := map[string]bool{}
	for _, issue := range c.issues {
		for i := range issue.groups {
			groups[issue.groups[i].name.value] = true
		}
	}
	for q, nodes := range c.asked {
		if len(c.asked) > expr.MaxHistoryQueries {
			c.fail(nodes[0], nba.CodeTooLarge, "the expressions ask %d different questions to the history, of at most %d: share periods and outcomes", len(c.asked), expr.MaxHistoryQueries)
		}
		check(c, nodes, "channel", q.Channel, c.catalog.channels)
		check(c, nodes, "issue", q.Issue, c.issues)
		check(c, nodes, "group", q.Group, groups)
		check(c, nodes, "action", q.Action, c.catalog.actions)
	}
}

func check[T any](c *compiler, nodes []*yaml.Node, what, name string, known map[string]T) {
	if _, ok := known[name]; ok || name == "" {
		return
	}
	for _, n := range nodes {
		line, column := c.place(n, expr.Problem{Line: 1, Column: 1})
		c.failAt(line, column, nba.CodeInvalid, fmt.Sprintf("unknown %s %s in what is asked of the history%s", what, quote(name),
			c.suggest(name, sortedKeys(known), "the catalog has none of this name")))
	}
}
