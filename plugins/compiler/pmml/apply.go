package pmml

import (
	"math"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// arguments are the expressions that a function is applied to.
func (e *element) arguments() []*element {
	var list []*element
	for _, k := range e.kids {
		if k.name != "Extension" {
			list = append(list, k)
		}
	}
	return list
}

// apply applies one of PMML's own functions.
func (s *scope) apply(e *element) (*field, error) {
	name, args := e.attr("function"), e.arguments()
	if isCondition(name) {
		p, err := s.condition(e)
		if err != nil {
			return nil, err
		}
		ref, err := s.d.indicator(e, p, 1, 0, math.NaN())
		if err != nil {
			return nil, err
		}
		return s.mapped(e, &field{ref: ref, kind: boolean, missing: true})
	}
	if own := s.d.defined(name); own != nil {
		f, err := s.call(e, own, args)
		if err != nil {
			return nil, err
		}
		return s.mapped(e, f)
	}
	if name == "if" {
		f, err := s.either(e, args)
		if err != nil {
			return nil, err
		}
		return s.mapped(e, f)
	}
	var values []ir.Ref
	missing := false
	for _, a := range args {
		f, err := s.expression(a, false)
		if err != nil {
			return nil, err
		}
		if f.text() {
			return nil, a.fail("the function %q of a text is not supported", shorten(name))
		}
		missing = missing || f.missing
		values = append(values, s.d.vector(f))
	}
	ref, err := s.function(e, name, args, values, missing)
	if err != nil {
		return nil, err
	}
	return s.mapped(e, number(ref, true))
}

// defined is the document's own function of that name, or nil.
func (d *document) defined(name string) *element {
	t := d.root.child("TransformationDictionary")
	if t == nil || name == "" {
		return nil
	}
	for _, e := range t.all("DefineFunction") {
		if e.attr("name") == name {
			return e
		}
	}
	return nil
}

// maxCalls bounds functions that apply functions of the document.
const maxCalls = 16

// call evaluates a function of the document with its parameters as fields: it sees no others.
func (s *scope) call(e, function *element, args []*element) (*field, error) {
	if s.calls >= maxCalls {
		return nil, e.fail("functions apply functions more than %d deep", maxCalls)
	}
	own := &scope{d: s.d, fields: map[string]*field{}, calls: s.calls + 1}
	parameters := function.all("ParameterField")
	if len(parameters) != len(args) {
		return nil, e.fail("the function %q has %d parameters, not %d", shorten(function.attr("name")), len(parameters), len(args))
	}
	for i, p := range parameters {
		f, err := s.expression(args[i], p.attr("dataType") == "string")
		if err != nil {
			return nil, err
		}
		own.fields[p.attr("name")] = f
	}
	for _, k := range function.kids {
		if k.name != "ParameterField" && k.name != "Extension" {
			return own.expression(k, function.attr("dataType") == "string")
		}
	}
	return nil, function.fail("it has no expression")
}

// function computes a function of numbers. NaN arguments give NaN, as missing ones give missing.
func (s *scope) function(e *element, name string, args []*element, x []ir.Ref, missing bool) (ir.Ref, error) {
	m, d := s.d.model, s.d
	f := func(f ir.Function, x ir.Ref) ir.Ref { return m.Append(&ir.Activation{In: x, Func: f}) }
	arith := func(op ir.ArithOp, a, b ir.Ref) ir.Ref { return m.Append(&ir.Arith{Op: op, A: a, B: b}) }
	floor := func(x ir.Ref) ir.Ref { return m.Append(&ir.Cast{In: x, To: ir.ToFloor}) }
	if op, ok := map[string]ir.ArithOp{"+": ir.Add, "-": ir.Sub, "*": ir.Mul, "/": ir.Div}[name]; ok && len(x) == 2 {
		return arith(op, x[0], x[1]), nil
	}
	if op, ok := map[string]ir.ArithOp{"min": ir.Min, "max": ir.Max, "sum": ir.Add, "avg": ir.Add, "product": ir.Mul}[name]; ok && len(x) > 0 {
		if missing && len(x) > 1 {
			return 0, e.fail("the function %q leaves missing values out, which is not supported; give its fields a missingValueReplacement", name)
		}
		y := x[0]
		for _, v := range x[1:] {
			y = arith(op, y, v)
		}
		if name == "avg" {
			y = arith(ir.Div, y, d.constant(float64(len(x))))
		}
		return y, nil
	}
	if name == "pow" && len(x) == 2 && args[1].name == "Constant" {
		n, ok := parseNumber(args[1].text)
		switch {
		case ok && n == 0.5:
			return f(ir.Sqrt, x[0]), nil
		case ok && n == float64(int(n)) && n >= 1 && n <= 16:
			return d.power(x[0], int(n)), nil
		}
		return 0, e.fail("only whole exponents between 1 and 16, and 0.5, are supported")
	}
	if len(x) == 1 {
		switch name {
		case "+":
			return x[0], nil
		case "-":
			return f(ir.Neg, x[0]), nil
		case "exp":
			return f(ir.Exp, x[0]), nil
		case "ln":
			return f(ir.Log, x[0]), nil
		case "log10":
			return arith(ir.Div, f(ir.Log, x[0]), d.constant(math.Ln10)), nil
		case "sqrt":
			return f(ir.Sqrt, x[0]), nil
		case "abs":
			return f(ir.Abs, x[0]), nil
		case "floor":
			return floor(x[0]), nil
		case "ceil":
			return d.negated(floor(d.negated(x[0]))), nil
		case "round":
			return floor(arith(ir.Add, x[0], d.constant(0.5))), nil
		}
	}
	return 0, e.fail("the function %q with %d arguments is not supported", shorten(name), len(x))
}

// either is if(condition, then, else): missing when the condition is unknown, or when there is no else.
func (s *scope) either(e *element, args []*element) (*field, error) {
	if len(args) != 2 && len(args) != 3 {
		return nil, e.fail("if has 2 or 3 arguments, not %d", len(args))
	}
	p, err := s.condition(args[0])
	if err != nil {
		return nil, err
	}
	if f, err := s.eitherText(e, p, args[1:]); f != nil || err != nil {
		return f, err
	}
	var values [2]ir.Ref
	missing := len(args) < 3
	for i, a := range args[1:] {
		f, err := s.expression(a, false)
		if err != nil {
			return nil, err
		}
		if f.text() {
			return nil, a.fail("if with texts that are no Constants is not supported")
		}
		missing = missing || f.missing
		values[i] = s.d.vector(f)
	}
	if len(args) == 2 {
		values[1] = s.d.nan()
	}
	yes, err := s.d.indicator(args[0], p, 1, 0, 0)
	if err != nil {
		return nil, err
	}
	y := s.d.model.Append(&ir.Where{Cond: yes, A: values[0], B: values[1]})
	if p.lossy() {
		lost, err := s.d.indicator(args[0], p, 0, 0, 1)
		if err != nil {
			return nil, err
		}
		missing = true
		y = s.d.model.Append(&ir.Where{Cond: lost, A: s.d.nan(), B: y})
	}
	return number(y, missing), nil
}

// eitherText is an if whose results are text Constants; nil when they are not.
func (s *scope) eitherText(e *element, p *predicate, args []*element) (*field, error) {
	for _, a := range args {
		_, isNumber := parseNumber(a.text)
		if a.name != "Constant" || isNumber && a.attr("dataType") != "string" || a.attr("missing") == "true" || a.attr("dataType") == "boolean" {
			return nil, nil
		}
	}
	o := newOutcome(true)
	otherwise := math.NaN()
	yes, err := o.value(args[0], args[0].text)
	if err != nil {
		return nil, err
	}
	if len(args) == 2 {
		if otherwise, err = o.value(args[1], args[1].text); err != nil {
			return nil, err
		}
	}
	ref, err := s.d.indicator(e, p, yes, otherwise, math.NaN())
	return o.field(ref), err
}

// lossy tells whether the answer may be unknown.
func (p *predicate) lossy() bool {
	switch p.test {
	case testCompare, testIn, testNotIn:
		return p.field.missing
	}
	for _, part := range p.parts {
		if part.lossy() {
			return true
		}
	}
	return false
}

func isCondition(function string) bool {
	switch function {
	case "equal", "notEqual", "lessThan", "lessOrEqual", "greaterThan", "greaterOrEqual",
		"and", "or", "not", "isMissing", "isNotMissing", "isIn", "isNotIn", "threshold":
		return true
	}
	return false
}

// condition reads an expression as a predicate.
func (s *scope) condition(e *element) (*predicate, error) {
	name, args := e.attr("function"), e.arguments()
	if e.name != "Apply" || !isCondition(name) {
		f, err := s.expression(e, false)
		if err != nil {
			return nil, err
		}
		if f.kind != boolean {
			return nil, e.fail("it is no condition")
		}
		return &predicate{test: testCompare, field: f, compare: ir.NE}, nil
	}
	if _, ok := e.lookup("mapMissingTo"); ok {
		return nil, e.fail("mapMissingTo of a condition is not supported")
	}
	switch name {
	case "and", "or", "not":
		return s.logic(e, name, args)
	case "isMissing", "isNotMissing":
		if len(args) != 1 {
			return nil, e.fail("it has %d arguments, not 1", len(args))
		}
		f, err := s.expression(args[0], false)
		if err != nil {
			return nil, err
		}
		if name == "isMissing" {
			return &predicate{test: testMissing, field: f}, nil
		}
		return &predicate{test: testNotMissing, field: f}, nil
	case "isIn", "isNotIn":
		return s.oneOf(e, name == "isIn", args)
	}
	return s.relation(e, name, args)
}

func (s *scope) logic(e *element, name string, args []*element) (*predicate, error) {
	p := &predicate{test: testAnd}
	if name == "or" {
		p.test = testOr
	}
	for _, a := range args {
		part, err := s.condition(a)
		if err != nil {
			return nil, err
		}
		p.parts = append(p.parts, part)
	}
	if name == "not" && len(args) == 1 {
		p.test, p.parts = testXor, append(p.parts, &predicate{test: testTrue})
	} else if name == "not" || len(args) < 2 {
		return nil, e.fail("it has %d arguments", len(args))
	}
	return p, nil
}

func (s *scope) oneOf(e *element, in bool, args []*element) (*predicate, error) {
	if len(args) < 2 {
		return nil, e.fail("it has fewer than 2 arguments")
	}
	f, err := s.expression(args[0], false)
	if err != nil {
		return nil, err
	}
	var items []string
	for _, a := range args[1:] {
		if a.name != "Constant" {
			return nil, a.fail("only Constants are supported here")
		}
		items = append(items, a.text)
	}
	return f.membership(e, items, in)
}

// relation compares an expression with a constant, or two numbers by their difference, which is 0 or
// has a sign exactly when the numbers are equal or differ.
func (s *scope) relation(e *element, name string, args []*element) (*predicate, error) {
	if len(args) != 2 {
		return nil, e.fail("it has %d arguments, not 2", len(args))
	}
	if name == "threshold" {
		name = "greaterThan"
	}
	a, err := s.expression(args[0], false)
	if err != nil {
		return nil, err
	}
	if args[1].name == "Constant" && args[1].attr("missing") != "true" {
		return a.comparison(e, name, args[1].text)
	}
	b, err := s.expression(args[1], false)
	if err != nil {
		return nil, err
	}
	if a.text() || b.text() {
		return nil, e.fail("two texts are compared, which is not supported; compare with a Constant")
	}
	difference := number(s.d.model.Append(&ir.Arith{Op: ir.Sub, A: s.d.vector(a), B: s.d.vector(b)}), a.missing || b.missing)
	return difference.comparison(e, name, "0")
}
