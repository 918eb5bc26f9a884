package pmml

import (
	"math"
	"slices"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// kind is what the values of a field are.
type kind uint8

const (
	double  kind = iota
	single       // numbers rounded to 32 bits
	boolean      // 1 for true, 0 for false
	words        // texts by their codes
)

// field is a named value: an input, or what was made of inputs.
type field struct {
	name    string
	ref     ir.Ref
	column  int
	kind    kind
	set     *texts // of words
	missing bool   // may be missing
	unused  bool   // an input that is left out
}

func (f *field) text() bool { return f.kind == words }

// parse reads a number of the document that is compared with the field.
func (f *field) parse(e *element, text string) (float64, error) {
	if f.kind == boolean {
		switch strings.TrimSpace(text) {
		case "true":
			return 1, nil
		case "false":
			return 0, nil
		}
	}
	// Exporters write INF to ask whether a value is there at all.
	switch strings.TrimSpace(text) {
	case "INF", "+INF", "Infinity":
		return math.Inf(1), nil
	case "-INF", "-Infinity":
		return math.Inf(-1), nil
	}
	v, ok := parseNumber(text)
	if !ok {
		return 0, e.fail("the value for field %q is not a number", f.name)
	}
	if f.kind == single {
		v = float64(float32(v))
	}
	return v, nil
}

// texts gives texts their codes.
type texts struct {
	list  []string
	codes map[string]int32
}

func newTexts() *texts { return &texts{codes: map[string]int32{}} }

// code is the code of a text, a new one for a new text.
func (t *texts) code(text string) int32 {
	c, ok := t.codes[text]
	if !ok {
		c = int32(len(t.list))
		t.codes[text] = c
		t.list = append(t.list, text)
	}
	return c
}

// ascending sorts codes and drops repeated ones.
func ascending(codes []int32) []int32 {
	slices.Sort(codes)
	return slices.Compact(codes)
}

// scope is what a model can name: the fields that it makes and those of the scope around it.
type scope struct {
	d      *document
	around *scope // nil for the outermost
	fields map[string]*field
	calls  int // of functions of the document, around this scope
}

func (s *scope) inner() *scope {
	return &scope{d: s.d, around: s, fields: map[string]*field{}, calls: s.calls}
}

func (s *scope) lookup(e *element, name string) (*field, error) {
	for at := s; at != nil; at = at.around {
		if f, ok := at.fields[name]; ok {
			return f, nil
		}
	}
	if name == "" {
		return nil, e.fail("it names no field")
	}
	return nil, e.fail("the field %q is neither in the MiningSchema nor derived before it is used", shorten(name))
}

func shorten(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return s
}

// inputs makes the inputs of the model: the active fields of its MiningSchema, in order.
func (s *scope) inputs(dictionary, model *element) error {
	schema := model.child("MiningSchema")
	if schema == nil {
		return model.fail("it has no MiningSchema")
	}
	for _, e := range schema.all("MiningField") {
		name := e.attr("name")
		if usage := e.attr("usageType"); usage != "" && usage != "active" {
			continue
		}
		if _, twice := s.fields[name]; twice {
			return e.fail("the field %q is there twice", shorten(name))
		}
		if len(s.d.inputs) >= ir.MaxInputs {
			return e.fail("the model has more than %d active fields; select fields before training", ir.MaxInputs)
		}
		from := s.d.data[name]
		if from == nil && dictionary != nil {
			return e.fail("the field %q is not in the DataDictionary", shorten(name))
		}
		f := &field{name: name, column: len(s.d.model.Inputs), missing: true}
		var err error
		if from != nil {
			err = f.declared(from)
		} else {
			f.guess(model)
		}
		if err != nil {
			return err
		}
		if f.text() && len(f.set.list) == 0 && !s.d.reads(name) {
			// A text that nothing is compared with has no codes, so no row could hold it.
			f.unused = true
			s.fields[name] = f
			s.d.warn("the field %q is a text that the model does not use; it is left out", shorten(name))
			continue
		}
		s.d.model.Inputs = append(s.d.model.Inputs, ir.Variable{Name: name})
		s.d.inputs = append(s.d.inputs, f)
		s.fields[name] = f
		if f.kind == single {
			// One step rounds all inputs; fields of 64 bits keep reading the row itself.
			f.ref = s.d.rounded()
		}
		if from != nil {
			if f, err = s.withoutMarks(from, f); err != nil {
				return err
			}
			s.fields[name] = f
		}
	}
	if len(s.d.inputs) == 0 {
		return schema.fail("it has no active fields")
	}
	return nil
}

// declared reads the type of a DataField and its valid texts.
func (f *field) declared(e *element) error {
	switch e.attr("dataType") {
	case "double", "integer":
		f.kind = double
	case "float":
		f.kind = single
	case "boolean":
		f.kind = boolean
	case "string":
		f.kind, f.set = words, newTexts()
		for _, v := range e.all("Value") {
			if p := v.attr("property"); p == "" || p == "valid" {
				f.set.code(v.attr("value"))
			}
		}
	default:
		return e.fail("the field %q has the dataType %q, which is not supported; turn it into a number or a text before the model", shorten(f.name), shorten(e.attr("dataType")))
	}
	return nil
}

// guess finds the type of a field of a bare model, which has no DataDictionary, by how it is used.
func (f *field) guess(model *element) {
	text := false
	model.walk(func(e *element) {
		switch {
		case e.attr("field") != f.name:
		case e.name == "SimpleSetPredicate" && e.child("Array") != nil:
			text = text || e.child("Array").attr("type") == "string"
		case e.name == "SimplePredicate":
			if v, ok := e.lookup("value"); ok {
				_, number := parseNumber(v)
				text = text || !number
			}
		}
	})
	if text {
		f.kind, f.set = words, newTexts()
	}
}

// withoutMarks makes missing what the DataField marks as missing or, out of its intervals, as invalid.
func (s *scope) withoutMarks(e *element, f *field) (*field, error) {
	for _, v := range e.all("Value") {
		switch p := v.attr("property"); p {
		case "", "valid":
		case "missing":
			if v.attr("value") == "NaN" && !f.text() {
				continue
			}
			p, err := f.comparison(v, "equal", v.attr("value"))
			if err != nil {
				return nil, err
			}
			if f, err = s.blank(v, f, p); err != nil {
				return nil, err
			}
		case "invalid":
			return nil, v.fail("values marked as invalid are not supported; mark them as missing")
		default:
			return nil, v.fail("the property is unknown")
		}
	}
	return f, nil
}

// blank makes a field missing where p holds.
func (s *scope) blank(e *element, f *field, p *predicate) (*field, error) {
	cond, err := s.d.indicator(e, p, 1, 0, 0)
	if err != nil {
		return nil, err
	}
	m := s.d.model
	nan := s.d.constant(math.NaN())
	out := *f
	out.ref, out.column, out.missing = m.Append(&ir.Where{Cond: cond, A: nan, B: s.d.vector(f)}), 0, true
	return &out, nil
}

// schema applies the MiningSchema of a model to the fields it is handed.
func (s *scope) schema(model, dictionary *element) error {
	schema := model.child("MiningSchema")
	if schema == nil {
		return model.fail("it has no MiningSchema")
	}
	for _, e := range schema.all("MiningField") {
		if usage := e.attr("usageType"); usage != "" && usage != "active" {
			continue
		}
		f, err := s.lookup(e, e.attr("name"))
		if err != nil {
			return err
		}
		if f.unused {
			continue
		}
		if f, err = s.treat(e, f, dictionary); err != nil {
			return err
		}
		s.fields[e.attr("name")] = f
	}
	return nil
}

// treat applies what a MiningField says of outliers, invalid and missing values, in this order.
func (s *scope) treat(e *element, f *field, dictionary *element) (*field, error) {
	key := treatment{field: f}
	for i, a := range [...]string{"outliers", "lowValue", "highValue", "invalidValueTreatment", "missingValueReplacement", "missingValueTreatment"} {
		key.attrs[i] = e.attr(a)
	}
	if done, ok := s.d.treated[key]; ok {
		return done, nil
	}
	var err error
	out := f
	for _, stage := range []func(*element, *field, *element) (*field, error){s.invalid, s.outliers, s.replacement} {
		if out, err = stage(e, out, dictionary); err != nil {
			return nil, err
		}
	}
	s.d.treated[key] = out
	return out, nil
}

// treatment names what was done to a field, so that a hundred trees with the same schema share it.
type treatment struct {
	field *field
	attrs [6]string
}

// invalid treats numbers outside of the intervals of their DataField. Texts need nothing: one that is
// not listed has no code.
func (s *scope) invalid(e *element, f *field, dictionary *element) (*field, error) {
	how := e.attr("invalidValueTreatment")
	switch how {
	case "", "returnInvalid", "asIs", "asMissing":
	default:
		return nil, e.fail("the invalidValueTreatment %q is not supported; use asMissing with a missingValueReplacement", shorten(how))
	}
	if dictionary == nil || how == "asIs" || f.text() {
		return f, nil
	}
	from := s.d.data[f.name]
	if from == nil || from.child("Interval") == nil {
		return f, nil
	}
	valid := &predicate{test: testOr}
	for _, i := range from.all("Interval") {
		p, err := s.interval(i, f)
		if err != nil {
			return nil, err
		}
		valid.parts = append(valid.parts, p)
	}
	if how == "asMissing" {
		cond, err := s.d.indicator(e, valid, 1, 0, 0)
		if err != nil {
			return nil, err
		}
		out := *f
		out.ref, out.column, out.missing = s.d.model.Append(&ir.Where{Cond: cond, A: s.d.vector(f), B: s.d.constant(math.NaN())}), 0, true
		return &out, nil
	}
	guard, err := s.d.indicator(e, valid, 1, 0, 1)
	if err != nil {
		return nil, err
	}
	s.d.guards = append(s.d.guards, guard)
	return f, nil
}

// interval reads an Interval as a predicate.
func (s *scope) interval(e *element, f *field) (*predicate, error) {
	p := &predicate{test: testAnd}
	low, high := ir.GT, ir.LT
	switch e.attr("closure") {
	case "openOpen":
	case "openClosed":
		high = ir.LE
	case "closedOpen":
		low = ir.GE
	case "closedClosed":
		low, high = ir.GE, ir.LE
	default:
		return nil, e.fail("the closure is unknown")
	}
	for _, side := range []struct {
		name    string
		compare ir.Compare
	}{{"leftMargin", low}, {"rightMargin", high}} {
		if text, ok := e.lookup(side.name); ok {
			v, err := f.parse(e, text)
			if err != nil {
				return nil, err
			}
			p.parts = append(p.parts, &predicate{test: testCompare, field: f, compare: side.compare, value: v})
		}
	}
	if len(p.parts) == 0 {
		p.parts = append(p.parts, &predicate{test: testNotMissing, field: f})
	}
	return p, nil
}

// outliers treats numbers beyond lowValue and highValue.
func (s *scope) outliers(e *element, f *field, _ *element) (*field, error) {
	how := e.attr("outliers")
	if how == "" || how == "asIs" {
		return f, nil
	}
	if how != "asMissingValues" && how != "asExtremeValues" || f.text() {
		return nil, e.fail("the treatment of outliers is unknown, or of texts")
	}
	out := *f
	for _, side := range []struct {
		name    string
		op      ir.ArithOp
		compare ir.Compare
	}{{"lowValue", ir.Max, ir.LT}, {"highValue", ir.Min, ir.GT}} {
		if _, ok := e.lookup(side.name); !ok {
			continue
		}
		v, err := e.number(side.name)
		if err != nil {
			return nil, err
		}
		if how == "asExtremeValues" {
			out.ref, out.column = s.d.model.Append(&ir.Arith{Op: side.op, A: s.d.vector(&out), B: s.d.constant(v)}), 0
			continue
		}
		narrowed := out
		blank, err := s.blank(e, &narrowed, &predicate{test: testCompare, field: &narrowed, compare: side.compare, value: v})
		if err != nil {
			return nil, err
		}
		out = *blank
	}
	return &out, nil
}

// replacement replaces missing values.
func (s *scope) replacement(e *element, f *field, _ *element) (*field, error) {
	if e.attr("missingValueTreatment") == "returnInvalid" {
		guard, err := s.d.indicator(e, &predicate{test: testMissing, field: f}, 0, 1, 1)
		if err != nil {
			return nil, err
		}
		s.d.guards = append(s.d.guards, guard)
		out := *f
		out.missing = false
		return &out, nil
	}
	text, ok := e.lookup("missingValueReplacement")
	if !ok || !f.missing {
		return f, nil
	}
	return s.impute(e, f, text)
}

// impute replaces missing values of f by the value that text tells.
func (s *scope) impute(e *element, f *field, text string) (*field, error) {
	var v float64
	if f.text() {
		v = float64(f.set.code(text))
	} else {
		var err error
		if v, err = f.parse(e, text); err != nil {
			return nil, err
		}
	}
	out := *f
	out.ref, out.column, out.missing = s.d.model.Append(&ir.Impute{In: s.d.vector(f), Values: []float64{v}, Missing: math.NaN()}), 0, false
	return &out, nil
}
