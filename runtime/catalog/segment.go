package catalog

import (
	"fmt"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// MaxSegments bounds the segments of a document.
const MaxSegments = 256

// Segment is a condition with a name: a subject is in it as long as the condition is true for it. Expressions
// ask for it with segment("NAME").
type Segment struct {
	Name, Label string
	When        *expr.Program
}

// segmentSpec is a segment as it is written: it has a condition, or a range of the scores of a model.
type segmentSpec struct {
	node              *yaml.Node
	name, label, when text
	model             text
	from, below       number
}

func (d *decoder) segment(n *yaml.Node) segmentSpec {
	s := segmentSpec{node: n}
	before := d.mistakes
	d.object(n, "a segment",
		required("name", d.name(&s.name)),
		optional("label", d.label(&s.label, MaxLabelBytes)),
		optional("when", d.expression(&s.when)),
		optional("score", func(n *yaml.Node) {
			d.object(n, "the scores of a segment", required("model", d.name(&s.model)),
				optional("from", d.number(&s.from, -MaxValue, MaxValue)), optional("below", d.number(&s.below, -MaxValue, MaxValue)))
			if s.model.given() && !s.from.given && !s.below.given || s.from.given && s.below.given && s.from.value >= s.below.value {
				d.fail(n, nba.CodeInvalid, "the scores of a segment begin at from and end before below: give one of them, or from less than below")
			}
		}),
	)
	if d.mistakes == before && s.when.given() == s.model.given() {
		d.fail(n, nba.CodeInvalid, "a segment needs the field when, or score with a range of the scores of a model")
	}
	return s
}

// condition is the segment as an expression; the node is where mistakes in it are reported.
func (s *segmentSpec) condition() text {
	if s.when.given() {
		return s.when
	}
	asks := "scores[" + strconv.Quote(s.model.value) + "]"
	source := ""
	if s.from.given {
		source = asks + " >= double(" + formatNumber(s.from.value) + ")"
	}
	if s.below.given {
		if source != "" {
			source += " && "
		}
		source += asks + " < double(" + formatNumber(s.below.value) + ")"
	}
	return text{value: source, node: s.model.node}
}

// segments makes the segments known to all expressions. One may name those declared before it.
func (c *compiler) segments() {
	first := map[string]*yaml.Node{}
	for i := range c.doc.segments {
		spec := &c.doc.segments[i]
		if !c.unique(first, spec.name, "segment") || spec.when.given() == spec.model.given() {
			continue
		}
		condition := spec.condition()
		program, problems := c.expressions.AddSegment(spec.name.value, condition.value)
		for _, p := range problems {
			line, column := c.place(condition.node, p)
			c.failAt(line, column, p.Code, p.Detail)
		}
		if program == nil {
			continue
		}
		c.asks(condition, program)
		s := Segment{Name: spec.name.value, Label: spec.label.value, When: program}
		if s.Label == "" {
			s.Label = s.Name
		}
		c.catalog.Segments = append(c.catalog.Segments, s)
	}
}

// checkScores reports models in questions for scores that the catalog does not have.
func (c *compiler) checkScores() {
	names := make([]string, 0, len(c.models))
	for name := range c.models {
		names = append(names, name)
	}
	slices.Sort(names)
	for name, nodes := range c.scored {
		position, ok := c.models[name]
		if ok {
			if c.catalog.plugins == nil {
				c.catalog.plugins = map[string]string{}
			}
			c.catalog.plugins[name] = c.plugins[position]
			continue
		}
		for _, n := range nodes {
			line, column := c.place(n, expr.Problem{Line: 1, Column: 1})
			c.failAt(line, column, nba.CodeInvalid, fmt.Sprintf("unknown model %s in what is asked for its score%s", quote(name),
				c.suggest(name, names, "declare it under models")))
		}
	}
	c.catalog.Scored = len(c.catalog.plugins) > 0
	c.catalog.modelPlugins = map[string]string{}
	for name, position := range c.models {
		c.catalog.modelPlugins[name] = c.plugins[position]
	}
}

// PluginOf is the plugin of a model that expressions ask for scores; ok is false for another name.
func (c *Catalog) PluginOf(model string) (plugin string, ok bool) {
	plugin, ok = c.plugins[model]
	return plugin, ok
}

// ModelPlugin is the plugin of a model of the document; ok is false for another name.
func (c *Catalog) ModelPlugin(model string) (plugin string, ok bool) {
	plugin, ok = c.modelPlugins[model]
	return plugin, ok
}

// Segment looks a segment up by name.
func (c *Catalog) Segment(name string) (*Segment, bool) {
	for i := range c.Segments {
		if c.Segments[i].Name == name {
			return &c.Segments[i], true
		}
	}
	return nil, false
}

// purposeOf resolves the name of a purpose, by default marketing; whose names who has it.
func (c *compiler) purposeOf(name text, whose *yaml.Node) nba.Purpose {
	given := name.value
	if given == "" {
		given = defaultActionPurpose
	}
	purpose, ok := c.env.Dictionary.Purpose(given)
	if !ok {
		node := name.node
		if node == nil {
			node = whose
		}
		c.fail(node, nba.CodeInvalid, "unknown purpose %s%s", quote(given), c.suggest(given, c.env.Dictionary.PurposeNames(), "choose one of the dictionary"))
	}
	return purpose
}
