package pmml

import (
	"slices"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// terms collects what regression tables multiply with coefficients.
type terms struct {
	s       *scope
	numbers []*field           // columns of numbers
	columns map[*field]int     //
	powers  map[power]int      // index in products
	levels  []*levels          // one for each field of categories
	of      map[*field]int     // index in levels
	product []ir.Ref           // products of fields and powers
	rows    []map[slot]float64 // for each table its coefficients
}

type power struct {
	field    *field
	exponent int
}

// levels are the values of a field that tables give coefficients.
type levels struct {
	field  *field
	values []float64
}

// maxLevels bounds the levels of a field in a regression, and the rows of a table that maps one.
const maxLevels = 16_384

// slot names a term: a number, a level of a field, or a product.
type slot struct {
	kind  uint8 // 0 number, 1 level, 2 product
	index int
	level float64
}

// regression reads a RegressionModel.
func (d *document) regression(s *scope, model *element) (*result, error) {
	classify, err := classifies(model)
	if err != nil {
		return nil, err
	}
	tables := model.all("RegressionTable")
	if len(tables) == 0 {
		return nil, model.fail("it has no RegressionTable")
	}
	if !classify {
		if len(tables) != 1 {
			return nil, model.fail("a regression has one RegressionTable, not %d", len(tables))
		}
		r := &result{}
		if r.raw, err = d.linear(s, model, tables); err != nil {
			return nil, err
		}
		r.value, err = d.link(model, r.raw)
		return r, err
	}
	return d.classification(s, model, tables)
}

// link normalises the number of a regression, or that of the first of two classes.
func (d *document) link(model *element, y ir.Ref) (ir.Ref, error) {
	f := func(f ir.Function, in ir.Ref) ir.Ref {
		return d.model.Append(&ir.Activation{In: in, Func: f, Width: width(model)})
	}
	switch n := model.attr("normalizationMethod"); n {
	case "", "none":
		return y, nil
	case "softmax", "logit":
		return f(ir.Sigmoid, y), nil
	case "exp":
		return f(ir.Exp, y), nil
	case "cloglog":
		return f(ir.CLogLog, y), nil
	case "loglog":
		return f(ir.Exp, f(ir.Neg, f(ir.Exp, f(ir.Neg, y)))), nil
	default:
		return 0, model.fail("the normalizationMethod %q is not supported", shorten(n))
	}
}

func (d *document) classification(s *scope, model *element, tables []*element) (*result, error) {
	classes, err := d.classes(model)
	if err != nil {
		return nil, err
	}
	n := model.attr("normalizationMethod")
	vector := n == "softmax" || n == "simplemax"
	if n == "" || n == "none" || n == "exp" {
		d.unbounded = true
	}
	switch {
	case len(classes) == 2 && (!vector || len(tables) == 1):
		return d.twoClasses(s, model, tables, classes)
	case len(tables) != len(classes):
		return nil, model.fail("it has %d RegressionTables for %d classes", len(tables), len(classes))
	case !vector:
		return nil, model.fail("the normalizationMethod %q is only supported for two classes; use softmax or simplemax", shorten(n))
	}
	r := &result{}
	for _, t := range tables {
		label := t.attr("targetCategory")
		if !slices.Contains(classes, label) || slices.Contains(r.classes, label) {
			return nil, t.fail("its targetCategory is repeated or none of the classes of the target")
		}
		r.classes = append(r.classes, label)
	}
	if r.raw, err = d.linear(s, model, tables); err != nil {
		return nil, err
	}
	if n == "softmax" {
		r.value = d.model.Append(&ir.Activation{In: r.raw, Func: ir.Softmax, Width: width(model)})
	} else {
		r.value = d.model.Append(&ir.Normalize{In: r.raw, Norm: ir.NormSum, Width: width(model)})
	}
	// The classes in the order of the target.
	if !slices.Equal(r.classes, classes) {
		var columns []int
		for _, c := range classes {
			columns = append(columns, slices.Index(r.classes, c))
		}
		r.raw = d.model.Append(&ir.Gather{In: r.raw, Columns: columns})
		r.value = d.model.Append(&ir.Gather{In: r.value, Columns: columns})
		r.classes = classes
	}
	return r, nil
}

// twoClasses reads a model whose first table tells the probability of its class, and so that of the
// other.
func (d *document) twoClasses(s *scope, model *element, tables []*element, classes []string) (*result, error) {
	first := slices.Index(classes, tables[0].attr("targetCategory"))
	if first < 0 || len(tables) > 2 {
		return nil, tables[0].fail("its targetCategory is none of the classes of the target, or there are more tables than classes")
	}
	for _, t := range tables[1:] {
		if len(t.all("NumericPredictor"))+len(t.all("CategoricalPredictor"))+len(t.all("PredictorTerm")) > 0 {
			return nil, t.fail("with this normalizationMethod the second of two tables has no predictors")
		}
	}
	r := &result{classes: []string{classes[1-first], classes[first]}, second: true}
	var err error
	if r.raw, err = d.linear(s, model, tables[:1]); err != nil {
		return nil, err
	}
	r.value, err = d.link(model, r.raw)
	return r, err
}

// linear computes the sums of tables.
func (d *document) linear(s *scope, model *element, tables []*element) (ir.Ref, error) {
	t := &terms{s: s, columns: map[*field]int{}, powers: map[power]int{}, of: map[*field]int{}}
	var bias []float64
	for _, e := range tables {
		b, err := e.numberOr("intercept", 0)
		if err != nil {
			return 0, err
		}
		bias = append(bias, b)
		if err := t.table(e); err != nil {
			return 0, err
		}
	}
	in, starts := t.vector()
	if in < 0 {
		return d.constant(bias...), nil
	}
	length := starts[2] + len(t.product)
	step := &ir.Linear{In: in, Bias: bias, Width: width(model)}
	for _, row := range t.rows {
		weights := make([]float64, length)
		for at, c := range row {
			switch at.kind {
			case 0:
				weights[at.index] = c
			case 1:
				weights[starts[1]+t.before(at.index)+slices.Index(t.levels[at.index].values, at.level)] = c
			default:
				weights[starts[2]+at.index] = c
			}
		}
		step.Weights = append(step.Weights, weights)
	}
	if len(step.Weights)*length > ir.MaxWeights {
		return 0, model.fail("it has more than %d coefficients", ir.MaxWeights)
	}
	return d.model.Append(step), nil
}

// before counts the levels of the fields before number i.
func (t *terms) before(i int) (n int) {
	for _, l := range t.levels[:i] {
		n += len(l.values)
	}
	return n
}

// vector puts all terms side by side: numbers, levels, products. It is -1 when there are none.
func (t *terms) vector() (in ir.Ref, starts [3]int) {
	d := t.s.d
	var parts []ir.Ref
	if len(t.numbers) > 0 {
		from, columns := d.gather(t.numbers)
		pick := &ir.Gather{In: from}
		for _, c := range columns {
			pick.Columns = append(pick.Columns, int(c))
		}
		parts = append(parts, d.model.Append(pick))
	}
	starts[1] = len(t.numbers)
	for _, l := range t.levels {
		parts = append(parts, d.model.Append(&ir.OneHot{In: d.vector(l.field), Categories: [][]float64{l.values}}))
	}
	starts[2] = starts[1] + t.before(len(t.levels))
	parts = append(parts, t.product...)
	switch len(parts) {
	case 0:
		return -1, starts
	case 1:
		return parts[0], starts
	}
	return d.model.Append(&ir.Concat{Parts: parts}), starts
}

// table reads the coefficients of one table.
func (t *terms) table(e *element) error {
	row := map[slot]float64{}
	for _, k := range e.kids {
		var at slot
		var err error
		switch k.name {
		case "NumericPredictor":
			at, err = t.numeric(k)
		case "CategoricalPredictor":
			at, err = t.categorical(k)
		case "PredictorTerm":
			at, err = t.term(k)
		case "Extension":
			continue
		default:
			return k.unsupported()
		}
		if err != nil {
			return err
		}
		c, err := k.number("coefficient")
		if err != nil {
			return err
		}
		row[at] += c
	}
	t.rows = append(t.rows, row)
	return nil
}

func (t *terms) numeric(e *element) (slot, error) {
	f, err := t.s.lookup(e, e.attr("name"))
	if err != nil {
		return slot{}, err
	}
	if f.text() {
		return slot{}, e.fail("the field %q is a text", shorten(f.name))
	}
	exponent, err := e.numberOr("exponent", 1)
	if err != nil {
		return slot{}, err
	}
	if exponent == 1 {
		at, ok := t.columns[f]
		if !ok {
			at = len(t.numbers)
			t.columns[f] = at
			t.numbers = append(t.numbers, f)
		}
		return slot{kind: 0, index: at}, nil
	}
	if exponent != float64(int(exponent)) || exponent < 2 || exponent > 16 {
		return slot{}, e.fail("the exponent is not a whole number between 1 and 16; derive a field instead")
	}
	key := power{f, int(exponent)}
	at, ok := t.powers[key]
	if !ok {
		at = len(t.product)
		t.powers[key] = at
		t.product = append(t.product, t.s.d.power(t.s.d.vector(f), int(exponent)))
	}
	return slot{kind: 2, index: at}, nil
}

// power multiplies x n times.
func (d *document) power(x ir.Ref, n int) ir.Ref {
	y := x
	for range n - 1 {
		y = d.model.Append(&ir.Arith{Op: ir.Mul, A: y, B: x})
	}
	return y
}

func (t *terms) categorical(e *element) (slot, error) {
	name := e.attr("name")
	if name == "" {
		name = e.attr("field")
	}
	f, err := t.s.lookup(e, name)
	if err != nil {
		return slot{}, err
	}
	value, ok := e.lookup("value")
	if !ok {
		return slot{}, e.fail("the attribute value is missing")
	}
	var level float64
	if f.text() {
		level = float64(f.set.code(value))
	} else if level, err = f.parse(e, value); err != nil {
		return slot{}, err
	}
	at, ok := t.of[f]
	if !ok {
		at = len(t.levels)
		t.of[f] = at
		t.levels = append(t.levels, &levels{field: f})
	}
	if l := t.levels[at]; !slices.Contains(l.values, level) {
		if len(l.values) >= maxLevels {
			return slot{}, e.fail("the field %q has more than %d levels; group the rare ones before training", shorten(f.name), maxLevels)
		}
		l.values = append(l.values, level)
	}
	return slot{kind: 1, index: at, level: level}, nil
}

// term reads a product of fields.
func (t *terms) term(e *element) (slot, error) {
	product := ir.Ref(-1)
	for _, k := range e.kids {
		if k.name == "Extension" {
			continue
		}
		if k.name != "FieldRef" {
			return slot{}, k.unsupported()
		}
		f, err := t.s.lookup(k, k.attr("field"))
		if err != nil {
			return slot{}, err
		}
		if f.text() {
			return slot{}, k.fail("the field %q is a text", shorten(f.name))
		}
		if v := t.s.d.vector(f); product < 0 {
			product = v
		} else {
			product = t.s.d.model.Append(&ir.Arith{Op: ir.Mul, A: product, B: v})
		}
	}
	if product < 0 {
		return slot{}, e.fail("it has no FieldRef")
	}
	t.product = append(t.product, product)
	return slot{kind: 2, index: len(t.product) - 1}, nil
}
