package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// subject is an input of both rule sets.
type subject struct {
	Tenure, Usage, Age int64
	Charges            float64
	Contract, Region   string
}

// clause compares an attribute with a number.
type clause struct {
	attribute, operator string
	number              int
}

func (c clause) String() string { return fmt.Sprintf("%s %s %d", c.attribute, c.operator, c.number) }

func (c clause) true(s *subject) bool {
	value := map[string]int64{"tenure": s.Tenure, "usage": s.Usage, "age": s.Age}[c.attribute]
	switch c.operator {
	case ">=":
		return value >= int64(c.number)
	case "<":
		return value < int64(c.number)
	default:
		return value != int64(c.number)
	}
}

// actionRules are 1,000 actions with 3 clauses each, of which 300 are different.
func actionRules() (actions [][]clause) {
	for i := range 1000 {
		actions = append(actions, []clause{{"tenure", ">=", i % 100}, {"usage", "!=", (i * 7) % 100}, {"age", "<", 20 + (i*3)%100}})
	}
	return actions
}

// row is a row of the decision table: a range of the tenure, a range of the charges, and a contract and a
// region, "" for any.
type row struct {
	tenureFrom, tenureTo   int
	chargesFrom, chargesTo int
	contract, region       string
}

const tableRows = 3700

// rowRules are 3,700 rows such as a tariff list has; the last takes what no other did.
func rowRules() (rows []row) {
	r := rand.New(rand.NewPCG(20261122, 1))
	for range tableRows - 1 {
		tenure, charges := r.IntN(70), 5*r.IntN(24)
		one := row{tenureFrom: tenure, tenureTo: tenure + 1 + r.IntN(6), chargesFrom: charges, chargesTo: charges + 5 + 5*r.IntN(3),
			contract: contracts[r.IntN(len(contracts))], region: fmt.Sprintf("region-%02d", r.IntN(40))}
		if r.IntN(10) == 0 {
			one.contract = ""
		}
		rows = append(rows, one)
	}
	return append(rows, row{tenureTo: 1000, chargesTo: 1000})
}

var contracts = [...]string{"Month-to-month", "One year", "Two year"}

func (r *row) hits(s *subject) bool {
	return s.Tenure >= int64(r.tenureFrom) && s.Tenure < int64(r.tenureTo) && s.Charges >= float64(r.chargesFrom) && s.Charges < float64(r.chargesTo) &&
		(r.contract == "" || r.contract == s.Contract) && (r.region == "" || r.region == s.Region)
}

// condition is the row as an expression, which CEL and Rego read alike with their own word for "and".
func (r *row) condition(prefix, and string) string {
	parts := []string{fmt.Sprintf("%stenure >= %d", prefix, r.tenureFrom), fmt.Sprintf("%stenure < %d", prefix, r.tenureTo),
		fmt.Sprintf("%scharges >= %d.0", prefix, r.chargesFrom), fmt.Sprintf("%scharges < %d.0", prefix, r.chargesTo)}
	if r.contract != "" {
		parts = append(parts, fmt.Sprintf("%scontract == %q", prefix, r.contract))
	}
	if r.region != "" {
		parts = append(parts, fmt.Sprintf("%sregion == %q", prefix, r.region))
	}
	return strings.Join(parts, and)
}

// subjects are the inputs, the same for every engine.
func subjects() (all []subject) {
	r := rand.New(rand.NewPCG(20261122, 2))
	for range 256 {
		all = append(all, subject{Tenure: r.Int64N(76), Usage: r.Int64N(100), Age: 18 + r.Int64N(70), Charges: float64(r.IntN(1300)) / 10,
			Contract: contracts[r.IntN(len(contracts))], Region: fmt.Sprintf("region-%02d", r.IntN(40))})
	}
	return all
}

// object is a subject as JSON has it.
func (s *subject) object() map[string]any {
	return map[string]any{"tenure": s.Tenure, "usage": s.Usage, "age": s.Age, "charges": s.Charges, "contract": s.Contract, "region": s.Region}
}

// expected are the results in plain Go: the positions of the actions that pass, and the first row that hits.
func expected(all []subject) (actions [][]int, rows [][]int) {
	rules, table := actionRules(), rowRules()
	for i := range all {
		var passing []int
		for a, clauses := range rules {
			if clauses[0].true(&all[i]) && clauses[1].true(&all[i]) && clauses[2].true(&all[i]) {
				passing = append(passing, a)
			}
		}
		actions = append(actions, passing)
		for at := range table {
			if table[at].hits(&all[i]) {
				rows = append(rows, []int{at})
				break
			}
		}
	}
	return actions, rows
}
