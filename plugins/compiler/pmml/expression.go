package pmml

import (
	"math"
	"slices"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// derive makes the DerivedFields of a TransformationDictionary or LocalTransformations, in order.
func (s *scope) derive(e *element) error {
	for _, k := range e.kids {
		switch k.name {
		case "DerivedField":
			f, err := s.derived(k)
			if err != nil {
				return err
			}
			s.fields[f.name] = f
		case "Extension", "DefineFunction":
			// A function of the document's own is evaluated where it is applied.
		default:
			return k.unsupported()
		}
	}
	return nil
}

// derived makes a DerivedField: its expression in its data type.
func (s *scope) derived(e *element) (*field, error) {
	made, err := s.expressionOf(e)
	if err != nil {
		return nil, err
	}
	f := *made
	f.name = e.attr("name")
	switch t := e.attr("dataType"); {
	case t == "string" && f.text():
	case f.text():
		return nil, e.fail("it makes a %s of a text, which is not supported", shorten(t))
	case t == "double", t == "integer", t == "":
		if f.kind == single {
			f.kind = double
		}
	case t == "boolean":
		f.kind = boolean
	case t == "float":
		if f.kind != single {
			f.ref, f.column, f.kind = s.d.model.Append(&ir.Cast{In: s.d.vector(&f), To: ir.ToF32}), 0, single
		}
	default:
		return nil, e.fail("it makes a %s of a number, which is not supported", shorten(t))
	}
	return &f, nil
}

// expressionOf is the expression inside of e.
func (s *scope) expressionOf(e *element) (*field, error) {
	for _, k := range e.kids {
		if k.name != "Extension" && k.name != "Value" && k.name != "Interval" {
			return s.expression(k, e.attr("dataType") == "string")
		}
	}
	return nil, e.fail("it has no expression")
}

// number is a field that holds a number made by a step.
func number(ref ir.Ref, missing bool) *field { return &field{ref: ref, missing: missing} }

// expression computes one; text tells that texts are wanted where numbers could be meant.
func (s *scope) expression(e *element, text bool) (*field, error) {
	if len(s.d.model.Steps) > ir.MaxSteps {
		return nil, e.fail("the expressions of the document need more than %d steps; derive fewer fields", ir.MaxSteps)
	}
	switch e.name {
	case "Constant":
		return s.constant(e)
	case "FieldRef":
		f, err := s.lookup(e, e.attr("field"))
		if err != nil {
			return nil, err
		}
		return s.mapped(e, f)
	case "NormContinuous":
		return s.normContinuous(e)
	case "NormDiscrete":
		return s.normDiscrete(e)
	case "Discretize":
		return s.discretize(e, text)
	case "MapValues":
		return s.mapValues(e, text)
	case "Apply":
		return s.apply(e)
	}
	return nil, e.unsupported()
}

// mapped replaces missing values where mapMissingTo or defaultValue ask for it.
func (s *scope) mapped(e *element, f *field) (*field, error) {
	for _, name := range [...]string{"mapMissingTo", "defaultValue"} {
		if text, ok := e.lookup(name); ok && f.missing {
			return s.impute(e, f, text)
		}
	}
	return f, nil
}

func (s *scope) constant(e *element) (*field, error) {
	if e.attr("missing") == "true" {
		return number(s.d.nan(), true), nil
	}
	if v, ok := parseNumber(e.text); ok && e.attr("dataType") != "string" {
		return number(s.d.constant(v), false), nil
	}
	switch e.attr("dataType") {
	case "boolean":
		f := &field{kind: boolean}
		v, err := f.parse(e, e.text)
		f.ref = s.d.constant(v)
		return f, err
	case "", "string":
		f := &field{kind: words, set: newTexts()}
		f.ref = s.d.constant(float64(f.set.code(e.text)))
		return f, nil
	}
	return nil, e.fail("it is not a number")
}

func (d *document) nan() ir.Ref { return d.constant(math.NaN()) }

// normContinuous is a line through points, with straight ends, cut ends, or no ends.
func (s *scope) normContinuous(e *element) (*field, error) {
	f, err := s.lookup(e, e.attr("field"))
	if err != nil {
		return nil, err
	}
	var orig, norm []float64
	for _, p := range e.all("LinearNorm") {
		o, err := p.number("orig")
		if err != nil {
			return nil, err
		}
		n, err := p.number("norm")
		if err != nil {
			return nil, err
		}
		if len(orig) > 0 && !(o > orig[len(orig)-1]) {
			return nil, p.fail("its orig is not greater than the one before")
		}
		orig, norm = append(orig, o), append(norm, n)
	}
	last := len(orig) - 1
	if last < 1 || f.text() {
		return nil, e.fail("it has fewer than 2 LinearNorms, or its field is a text")
	}
	d, m := s.d, s.d.model
	x := d.vector(f)
	switch e.attr("outliers") {
	case "", "asIs":
	case "asExtremeValues":
		x = m.Append(&ir.Arith{Op: ir.Max, A: x, B: d.constant(orig[0])})
		x = m.Append(&ir.Arith{Op: ir.Min, A: x, B: d.constant(orig[last])})
	case "asMissingValues":
		low := m.Append(&ir.Arith{Op: ir.Less, A: x, B: d.constant(orig[0])})
		high := m.Append(&ir.Arith{Op: ir.Less, A: d.constant(orig[last]), B: x})
		x = m.Append(&ir.Where{Cond: low, A: d.nan(), B: x})
		x = m.Append(&ir.Where{Cond: high, A: d.nan(), B: x})
	default:
		return nil, e.fail("the treatment of outliers is unknown")
	}
	y := d.line(x, orig[last-1], norm[last-1], orig[last], norm[last])
	for i := last - 2; i >= 0; i-- {
		before := m.Append(&ir.Arith{Op: ir.Less, A: x, B: d.constant(orig[i+1])})
		y = m.Append(&ir.Where{Cond: before, A: d.line(x, orig[i], norm[i], orig[i+1], norm[i+1]), B: y})
	}
	return s.mapped(e, number(y, f.missing || e.attr("outliers") == "asMissingValues"))
}

// normDiscrete is 1 where the field has a value, else 0.
func (s *scope) normDiscrete(e *element) (*field, error) {
	f, err := s.lookup(e, e.attr("field"))
	if err != nil {
		return nil, err
	}
	p, err := f.comparison(e, "equal", e.attr("value"))
	if err != nil {
		return nil, err
	}
	key := p.value
	if f.text() {
		key = float64(p.codes[0])
	}
	missing, err := e.numberOr("mapMissingTo", math.NaN())
	if err != nil {
		return nil, err
	}
	y := s.d.model.Append(&ir.Lookup{In: s.d.vector(f), Keys: []float64{key}, Values: []float64{1}, Missing: missing})
	return number(y, f.missing && missing != missing), nil
}

// outcome reads the values that an expression chooses from, as numbers or as texts.
type outcome struct {
	text bool
	set  *texts
}

func newOutcome(text bool) *outcome { return &outcome{text: text, set: newTexts()} }

func (o *outcome) value(e *element, text string) (float64, error) {
	if o.text {
		return float64(o.set.code(text)), nil
	}
	v, ok := parseNumber(text)
	if !ok {
		return 0, e.fail("the value is not a number")
	}
	return v, nil
}

// attr is the value of an attribute, NaN when it is not there.
func (o *outcome) attr(e *element, name string) (float64, error) {
	text, ok := e.lookup(name)
	if !ok {
		return math.NaN(), nil
	}
	return o.value(e, text)
}

func (o *outcome) field(ref ir.Ref) *field {
	if o.text {
		return &field{ref: ref, kind: words, set: o.set, missing: true}
	}
	return number(ref, true)
}

// discretize tells the interval that the field is in.
func (s *scope) discretize(e *element, text bool) (*field, error) {
	f, err := s.lookup(e, e.attr("field"))
	if err != nil {
		return nil, err
	}
	if f.text() {
		return nil, e.fail("the field %q is a text", shorten(f.name))
	}
	o := newOutcome(text || e.attr("dataType") == "string")
	var choices []choice
	for _, b := range e.all("DiscretizeBin") {
		interval := b.child("Interval")
		if interval == nil {
			return nil, b.fail("it has no Interval")
		}
		c := choice{}
		if c.when, err = s.interval(interval, f); err != nil {
			return nil, err
		}
		if c.value, err = o.value(b, b.attr("binValue")); err != nil {
			return nil, err
		}
		choices = append(choices, c)
	}
	if len(choices) == 0 {
		return nil, e.fail("it has no DiscretizeBin")
	}
	otherwise, err := o.attr(e, "defaultValue")
	if err != nil {
		return nil, err
	}
	missing, err := o.attr(e, "mapMissingTo")
	if err != nil {
		return nil, err
	}
	ref, err := s.d.choose(e, choices, otherwise, missing)
	return o.field(ref), err
}

// mapValues looks fields up in a table.
func (s *scope) mapValues(e *element, text bool) (*field, error) {
	o := newOutcome(text || e.attr("dataType") == "string")
	otherwise, err := o.attr(e, "defaultValue")
	if err != nil {
		return nil, err
	}
	missing, err := o.attr(e, "mapMissingTo")
	if err != nil {
		return nil, err
	}
	table := e.child("InlineTable")
	if table == nil {
		return nil, e.fail("it has no InlineTable; tables outside of the document are not supported")
	}
	pairs := e.all("FieldColumnPair")
	fields := make([]*field, len(pairs))
	for i, p := range pairs {
		if fields[i], err = s.lookup(p, p.attr("field")); err != nil {
			return nil, err
		}
	}
	var choices []choice
	for _, row := range table.all("row") {
		c := choice{when: &predicate{test: testAnd}}
		for i, p := range pairs {
			cell := row.child(local(p.attr("column")))
			if cell == nil {
				return nil, row.fail("it has no column %q", shorten(p.attr("column")))
			}
			part, err := fields[i].comparison(cell, "equal", cell.text)
			if err != nil {
				return nil, err
			}
			c.when.parts = append(c.when.parts, part)
		}
		out := row.child(local(e.attr("outputColumn")))
		if out == nil {
			return nil, row.fail("it has no column %q", shorten(e.attr("outputColumn")))
		}
		if c.value, err = o.value(out, out.text); err != nil {
			return nil, err
		}
		choices = append(choices, c)
	}
	if len(choices) > maxLevels {
		return nil, table.fail("it has more than %d rows", maxLevels)
	}
	if len(pairs) == 0 || len(choices) == 0 {
		return nil, e.fail("it has no FieldColumnPair or no row")
	}
	if len(pairs) == 1 {
		return o.field(s.table(fields[0], choices, otherwise, missing)), nil
	}
	ref, err := s.d.choose(e, choices, otherwise, missing)
	return o.field(ref), err
}

// local is a name without its prefix, as elements are known by.
func local(name string) string { return name[strings.LastIndexByte(name, ':')+1:] }

// table is a MapValues of one field.
func (s *scope) table(f *field, choices []choice, otherwise, missing float64) ir.Ref {
	type entry struct{ key, value float64 }
	var entries []entry
	for _, c := range choices {
		p := c.when.parts[0]
		key := p.value
		if f.text() {
			key = float64(p.codes[0])
		}
		if !slices.ContainsFunc(entries, func(e entry) bool { return e.key == key }) {
			entries = append(entries, entry{key, c.value})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		if a.key < b.key {
			return -1
		}
		return 1
	})
	step := &ir.Lookup{In: s.d.vector(f), Default: otherwise, Missing: missing}
	for _, e := range entries {
		step.Keys, step.Values = append(step.Keys, e.key), append(step.Values, e.value)
	}
	return s.d.model.Append(step)
}
