package catalog

import (
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

type segmentSpec struct{ name, label, when text }

func (d *decoder) segment(n *yaml.Node) segmentSpec {
	var s segmentSpec
	d.object(n, "a segment",
		required("name", d.name(&s.name)),
		optional("label", d.label(&s.label, MaxLabelBytes)),
		required("when", d.expression(&s.when)),
	)
	return s
}

// segments makes the segments known to all expressions. One may name those declared before it.
func (c *compiler) segments() {
	first := map[string]*yaml.Node{}
	for i := range c.doc.segments {
		spec := &c.doc.segments[i]
		if !c.unique(first, spec.name, "segment") || !spec.when.given() {
			continue
		}
		program, problems := c.expressions.AddSegment(spec.name.value, spec.when.value)
		for _, p := range problems {
			line, column := c.place(spec.when.node, p)
			c.failAt(line, column, p.Code, p.Detail)
		}
		if program == nil {
			continue
		}
		c.asks(spec.when, program)
		s := Segment{Name: spec.name.value, Label: spec.label.value, When: program}
		if s.Label == "" {
			s.Label = s.Name
		}
		c.catalog.Segments = append(c.catalog.Segments, s)
	}
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
