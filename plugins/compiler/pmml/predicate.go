package pmml

import (
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// test is what a predicate asks.
type test uint8

const (
	testTrue test = iota
	testFalse
	testMissing
	testNotMissing
	testCompare // field compare value
	testIn      // code of a text in codes
	testNotIn   //
	testAnd
	testOr
	testXor
	testSurrogate
)

// predicate is a question with three answers: yes, no, and unknown when a value is missing.
type predicate struct {
	test    test
	field   *field
	compare ir.Compare // LT … NE
	value   float64
	codes   []int32 // ascending
	parts   []*predicate
}

// predicateNames are the elements that are predicates.
func isPredicate(name string) bool {
	switch name {
	case "True", "False", "SimplePredicate", "SimpleSetPredicate", "CompoundPredicate":
		return true
	}
	return false
}

// predicateOf finds the predicate among the children of e.
func (s *scope) predicateOf(e *element) (*predicate, error) {
	for _, k := range e.kids {
		if isPredicate(k.name) {
			return s.predicate(k)
		}
	}
	return nil, e.fail("it has no predicate (True, SimplePredicate, SimpleSetPredicate or CompoundPredicate)")
}

func (s *scope) predicate(e *element) (*predicate, error) {
	switch e.name {
	case "True":
		return &predicate{test: testTrue}, nil
	case "False":
		return &predicate{test: testFalse}, nil
	case "SimplePredicate":
		return s.simple(e)
	case "SimpleSetPredicate":
		return s.set(e)
	case "CompoundPredicate":
		return s.compound(e)
	}
	return nil, e.unsupported()
}

func (s *scope) simple(e *element) (*predicate, error) {
	f, err := s.lookup(e, e.attr("field"))
	if err != nil {
		return nil, err
	}
	op := e.attr("operator")
	switch op {
	case "isMissing":
		return &predicate{test: testMissing, field: f}, nil
	case "isNotMissing":
		return &predicate{test: testNotMissing, field: f}, nil
	}
	text, ok := e.lookup("value")
	if !ok {
		return nil, e.fail("the attribute value is missing")
	}
	return f.comparison(e, op, text)
}

// comparison compares a field with a text of the document.
func (f *field) comparison(e *element, op, text string) (*predicate, error) {
	compare, ok := map[string]ir.Compare{"equal": ir.EQ, "notEqual": ir.NE, "lessThan": ir.LT, "lessOrEqual": ir.LE, "greaterThan": ir.GT, "greaterOrEqual": ir.GE}[op]
	if !ok {
		return nil, e.fail("the operator is unknown")
	}
	if f.text() {
		switch compare {
		case ir.EQ:
			return &predicate{test: testIn, field: f, codes: []int32{f.set.code(text)}}, nil
		case ir.NE:
			return &predicate{test: testNotIn, field: f, codes: []int32{f.set.code(text)}}, nil
		}
		return nil, e.fail("the texts of field %q are compared by order, which is not supported", f.name)
	}
	v, err := f.parse(e, text)
	if err != nil {
		return nil, err
	}
	return &predicate{test: testCompare, field: f, compare: compare, value: v}, nil
}

func (s *scope) set(e *element) (*predicate, error) {
	f, err := s.lookup(e, e.attr("field"))
	if err != nil {
		return nil, err
	}
	list := e.child("Array")
	if list == nil {
		return nil, e.fail("it has no Array")
	}
	items, err := list.array()
	if err != nil {
		return nil, err
	}
	in := false
	switch e.attr("booleanOperator") {
	case "isIn":
		in = true
	case "isNotIn":
	default:
		return nil, e.fail("the booleanOperator is unknown")
	}
	return f.membership(list, items, in)
}

// membership asks whether a field is one of items.
func (f *field) membership(e *element, items []string, in bool) (*predicate, error) {
	if f.text() {
		p := &predicate{test: testIn, field: f}
		for _, item := range items {
			p.codes = append(p.codes, f.set.code(item))
		}
		p.codes = ascending(p.codes)
		if !in {
			p.test = testNotIn
		}
		return p, nil
	}
	op, all := "equal", &predicate{test: testOr}
	if !in {
		op, all.test = "notEqual", testAnd
	}
	for _, item := range items {
		p, err := f.comparison(e, op, item)
		if err != nil {
			return nil, err
		}
		all.parts = append(all.parts, p)
	}
	return all, nil
}

func (s *scope) compound(e *element) (*predicate, error) {
	kinds := map[string]test{"and": testAnd, "or": testOr, "xor": testXor, "surrogate": testSurrogate}
	kind, ok := kinds[e.attr("booleanOperator")]
	if !ok {
		return nil, e.fail("the booleanOperator is unknown")
	}
	p := &predicate{test: kind}
	for _, k := range e.kids {
		if k.name == "Extension" {
			continue
		}
		part, err := s.predicate(k)
		if err != nil {
			return nil, err
		}
		p.parts = append(p.parts, part)
	}
	if len(p.parts) == 0 {
		return nil, e.fail("it has no predicates")
	}
	return p, nil
}
