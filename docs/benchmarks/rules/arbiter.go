package main

import (
	"fmt"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/eligibility"
	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/table"
)

// record is a subject as the store hands it over: values by attribute id.
type record struct{ values [6]nba.Value }

func (*record) Ref() nba.SubjectRef     { return nba.SubjectRef{ID: "S-1", Type: nba.Subscriber} }
func (*record) Version() uint64         { return 1 }
func (*record) Granted() nba.PurposeSet { return ^nba.PurposeSet(0) }
func (r *record) Attribute(id nba.AttributeID) (nba.Value, bool) {
	return r.values[id], true
}

func dictionary() (*nba.Dictionary, error) {
	d, _, err := nba.NewDictionary().Declare([]nba.AttributeDeclaration{{Name: "tenure", Type: nba.KindInt}, {Name: "usage", Type: nba.KindInt},
		{Name: "age", Type: nba.KindInt}, {Name: "charges", Type: nba.KindFloat}, {Name: "contract", Type: nba.KindString}, {Name: "region", Type: nba.KindString}})
	return d, err
}

func records(all []subject) (vars []expr.Vars) {
	for i := range all {
		s := &all[i]
		vars = append(vars, expr.Vars{Mask: ^nba.PurposeSet(0), Purpose: 1, Subject: &record{values: [6]nba.Value{nba.Int(s.Tenure), nba.Int(s.Usage), nba.Int(s.Age),
			nba.Float(s.Charges), nba.String(s.Contract), nba.String(s.Region)}}})
	}
	return vars
}

// arbiterEligibility is the engagement policies of a catalog, as a decision evaluates them.
func arbiterEligibility(all []subject) (*engine, error) {
	d, err := dictionary()
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.WriteString("apiVersion: arbiter/v1\nkind: Catalog\nname: bench\nchannels: [{name: web, placements: [hero]}]\nissues: [{name: G, groups: [{name: P}]}]\nactions:\n")
	for i, clauses := range actionRules() {
		fmt.Fprintf(&b, "  - {name: n%04d, issue: G, group: P, value: 1, treatments: [{name: t, channel: web}], eligibility: [{when: 'subject.%s'}, {when: 'subject.%s'}, {when: 'subject.%s'}]}\n",
			i, clauses[0], clauses[1], clauses[2])
	}
	c, err := catalog.Compile([]byte(b.String()), "bench.yaml", catalog.Env{Dictionary: d})
	if err != nil {
		return nil, err
	}
	vars := records(all)
	var evaluator eligibility.Evaluator
	var live eligibility.Live
	goOn := func() bool { return true }
	evaluate := func(input int) error {
		evaluator.Reset(vars[input], c.Predicates)
		live = live.Reset(len(c.Actions))
		for i := range c.Actions {
			live.Add(i)
		}
		if !evaluator.Pass(c.Gates, live, goOn) {
			return fmt.Errorf("stopped")
		}
		return nil
	}
	return &engine{name: "Arbiter", evaluate: evaluate, close: nothing,
		result: func(input int) (passing []int, err error) {
			if err := evaluate(input); err != nil {
				return nil, err
			}
			for i := range c.Actions {
				if live.Has(i) {
					passing = append(passing, i)
				}
			}
			return passing, nil
		}}, nil
}

func arbiterTable(all []subject) (*engine, error) {
	d, err := dictionary()
	if err != nil {
		return nil, err
	}
	env, err := expr.NewEnv(d)
	if err != nil {
		return nil, err
	}
	spec := table.Spec{Hit: table.First}
	for _, source := range []string{"subject.tenure", "subject.charges", "subject.contract", "subject.region"} {
		program, problems := env.Compile(source, expr.AnyResult)
		if program == nil {
			return nil, fmt.Errorf("%v", problems)
		}
		spec.Inputs = append(spec.Inputs, program)
	}
	orAny := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	for _, r := range rowRules() {
		spec.Rows = append(spec.Rows, []string{fmt.Sprintf("[%d..%d)", r.tenureFrom, r.tenureTo), fmt.Sprintf("[%d..%d)", r.chargesFrom, r.chargesTo), orAny(r.contract), orAny(r.region)})
	}
	compiled, problems := table.Compile(spec)
	if compiled == nil {
		return nil, fmt.Errorf("%v", problems)
	}
	vars := records(all)
	var scratch table.Scratch
	first := func(input int) ([]int, error) {
		row, ok := compiled.Row(&vars[input], &scratch)
		if !ok {
			return nil, fmt.Errorf("no row hits")
		}
		return []int{row}, nil
	}
	return &engine{name: "Arbiter", close: nothing, result: first,
		evaluate: func(input int) error {
			if _, ok := compiled.Row(&vars[input], &scratch); !ok {
				return fmt.Errorf("no row hits")
			}
			return nil
		}}, nil
}
