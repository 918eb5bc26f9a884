package main

import (
	"fmt"

	"cel.dev/cel-go/cel"
)

// celEngine evaluates conditions one by one; each different text is compiled once.
type celEngine struct {
	env      *cel.Env
	programs map[string]cel.Program
	inputs   []map[string]any
}

func newCEL(all []subject) (*celEngine, error) {
	env, err := cel.NewEnv(cel.CrossTypeNumericComparisons(true), cel.Variable("tenure", cel.IntType), cel.Variable("usage", cel.IntType), cel.Variable("age", cel.IntType),
		cel.Variable("charges", cel.DoubleType), cel.Variable("contract", cel.StringType), cel.Variable("region", cel.StringType))
	if err != nil {
		return nil, err
	}
	c := &celEngine{env: env, programs: map[string]cel.Program{}}
	for i := range all {
		c.inputs = append(c.inputs, all[i].object())
	}
	return c, nil
}

func (c *celEngine) program(source string) (cel.Program, error) {
	if p, ok := c.programs[source]; ok {
		return p, nil
	}
	ast, issues := c.env.Compile(source)
	if issues.Err() != nil {
		return nil, issues.Err()
	}
	p, err := c.env.Program(ast)
	c.programs[source] = p
	return p, err
}

func celEligibility(all []subject) (*engine, error) {
	c, err := newCEL(all)
	if err != nil {
		return nil, err
	}
	var actions [][3]cel.Program
	for _, clauses := range actionRules() {
		var programs [3]cel.Program
		for i, clause := range clauses {
			if programs[i], err = c.program(clause.String()); err != nil {
				return nil, err
			}
		}
		actions = append(actions, programs)
	}
	pass := func(input int, found func(action int)) error {
		for a := range actions {
			all := true
			for i := 0; all && i < len(actions[a]); i++ {
				result, _, err := actions[a][i].Eval(c.inputs[input])
				if err != nil {
					return err
				}
				all = result.Value() == true
			}
			if all {
				found(a)
			}
		}
		return nil
	}
	return &engine{name: "cel-go", close: nothing,
		result: func(input int) (passing []int, err error) {
			return passing, pass(input, func(action int) { passing = append(passing, action) })
		},
		evaluate: func(input int) error { return pass(input, func(int) {}) }}, nil
}

func celTable(all []subject) (*engine, error) {
	c, err := newCEL(all)
	if err != nil {
		return nil, err
	}
	var rows []cel.Program
	for _, r := range rowRules() {
		p, err := c.program(r.condition("", " && "))
		if err != nil {
			return nil, err
		}
		rows = append(rows, p)
	}
	first := func(input int) ([]int, error) {
		for at, row := range rows {
			result, _, err := row.Eval(c.inputs[input])
			if err != nil {
				return nil, err
			}
			if result.Value() == true {
				return []int{at}, nil
			}
		}
		return nil, fmt.Errorf("no row hits")
	}
	return &engine{name: "cel-go", close: nothing, result: first,
		evaluate: func(input int) error { _, err := first(input); return err }}, nil
}
