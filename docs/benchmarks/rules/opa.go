package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

// opaEngine is a prepared query, whose inputs are parsed beforehand.
func opaEngine(module, query string, all []subject) (*engine, error) {
	ctx := context.Background()
	prepared, err := rego.New(rego.Query(query), rego.Module("rules.rego", module)).PrepareForEval(ctx)
	if err != nil {
		return nil, err
	}
	var inputs []ast.Value
	for i := range all {
		v, err := ast.InterfaceToValue(all[i].object())
		if err != nil {
			return nil, err
		}
		inputs = append(inputs, v)
	}
	evaluate := func(input int) (rego.ResultSet, error) {
		results, err := prepared.Eval(ctx, rego.EvalParsedInput(inputs[input]))
		if err == nil && (len(results) != 1 || len(results[0].Expressions) != 1) {
			err = fmt.Errorf("%d results", len(results))
		}
		return results, err
	}
	return &engine{name: "OPA", close: nothing,
		result: func(input int) ([]int, error) {
			results, err := evaluate(input)
			if err != nil {
				return nil, err
			}
			return numbers(results[0].Expressions[0].Value)
		},
		evaluate: func(input int) error { _, err := evaluate(input); return err }}, nil
}

// numbers are those of a JSON number or of a list of them, ascending.
func numbers(value any) (all []int, err error) {
	list, ok := value.([]any)
	if !ok {
		list = []any{value}
	}
	for _, v := range list {
		number, ok := v.(json.Number)
		if !ok {
			return nil, fmt.Errorf("%T is no number", v)
		}
		n, err := number.Int64()
		if err != nil {
			return nil, err
		}
		all = append(all, int(n))
	}
	slices.Sort(all)
	return all, nil
}

// opaEligibility is a rule for each action.
func opaEligibility(all []subject) (*engine, error) {
	var b strings.Builder
	b.WriteString("package rules\n")
	for i, clauses := range actionRules() {
		fmt.Fprintf(&b, "passing contains %d if { input.%s; input.%s; input.%s }\n", i, clauses[0], clauses[1], clauses[2])
	}
	return opaEngine(b.String(), "data.rules.passing", all)
}

// opaTable is a rule for each row, of which those with another contract or region are left out by OPA's own
// index, and the lowest row that hits.
func opaTable(all []subject) (*engine, error) {
	var b strings.Builder
	b.WriteString("package rules\n")
	for i, r := range rowRules() {
		fmt.Fprintf(&b, "hits contains %d if { %s }\n", i, r.condition("input.", "; "))
	}
	b.WriteString("first := min(hits)\n")
	return opaEngine(b.String(), "data.rules.first", all)
}
