package pmml

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// oracle evaluates a document the plain way, element by element on each row, to hold the compiled form
// against. It knows what the tests use and panics at the rest.
type oracle struct {
	t      *testing.T
	root   *element
	labels []string // of the target
}

// cell is the value of a field on a row: missing, a number, or a text.
type cell struct {
	missing bool
	text    bool
	number  float64
	word    string
}

// row is the values of fields by name.
type row map[string]cell

func (r row) with() row {
	out := make(row, len(r))
	for k, v := range r {
		out[k] = v
	}
	return out
}

// answers of predicates.
const (
	no = iota
	yes
	unknown
)

func (o *oracle) ask(e *element, r row) int {
	truth := func(b bool) int {
		if b {
			return yes
		}
		return no
	}
	c := r[e.attr("field")]
	switch e.name {
	case "True":
		return yes
	case "False":
		return no
	case "SimplePredicate":
		switch e.attr("operator") {
		case "isMissing":
			return truth(c.missing)
		case "isNotMissing":
			return truth(!c.missing)
		}
		if c.missing {
			return unknown
		}
		return truth(o.holds(c, e.attr("operator"), e.attr("value")))
	case "SimpleSetPredicate":
		if c.missing {
			return unknown
		}
		items, err := e.child("Array").array()
		if err != nil {
			o.t.Fatal(err)
		}
		in := slices.ContainsFunc(items, func(item string) bool { return o.holds(c, "equal", item) })
		return truth(in == (e.attr("booleanOperator") == "isIn"))
	}
	return o.compound(e, r)
}

func (o *oracle) compound(e *element, r row) int {
	var list []int
	for _, k := range e.kids {
		list = append(list, o.ask(k, r))
	}
	has := func(a int) bool { return slices.Contains(list, a) }
	switch e.attr("booleanOperator") {
	case "and":
		switch {
		case has(no):
			return no
		case has(unknown):
			return unknown
		}
		return yes
	case "or":
		switch {
		case has(yes):
			return yes
		case has(unknown):
			return unknown
		}
		return no
	case "xor":
		if has(unknown) {
			return unknown
		}
		odd := no
		for _, a := range list {
			odd ^= a
		}
		return odd
	}
	for _, a := range list {
		if a != unknown {
			return a
		}
	}
	return unknown
}

func (o *oracle) holds(c cell, operator, value string) bool {
	if c.text {
		return (c.word == value) == (operator == "equal")
	}
	v, err := strconv.ParseFloat(value, 64)
	if err != nil {
		o.t.Fatal(err)
	}
	return map[string]bool{"equal": c.number == v, "notEqual": c.number != v, "lessThan": c.number < v, "lessOrEqual": c.number <= v,
		"greaterThan": c.number > v, "greaterOrEqual": c.number >= v}[operator]
}

func predicateIn(e *element) *element {
	for _, k := range e.kids {
		if isPredicate(k.name) {
			return k
		}
	}
	return &element{name: "True"}
}

// node is the node that decides the prediction of a tree, nil for none.
func (o *oracle) node(model, at *element, r row) *element {
	children := at.all("Node")
	if len(children) == 0 {
		return at
	}
	for _, k := range children {
		switch o.ask(predicateIn(k), r) {
		case yes:
			return o.node(model, k, r)
		case unknown:
			switch model.attr("missingValueStrategy") {
			case "lastPrediction":
				return at
			case "nullPrediction":
				return nil
			case "defaultChild":
				for _, d := range children {
					if d.attr("id") == at.attr("defaultChild") {
						return o.node(model, d, r)
					}
				}
				o.t.Fatal("no default child")
			}
		}
	}
	if model.attr("noTrueChildStrategy") == "returnLastPrediction" {
		return at
	}
	return nil
}

// score is the prediction of a tree: a number, or a number for each label.
func (o *oracle) score(model *element, r row, votes bool) []float64 {
	root := model.child("Node")
	var n *element
	if o.ask(predicateIn(root), r) == yes {
		n = o.node(model, root, r)
	}
	if model.attr("functionName") == "regression" {
		if n == nil || n.attr("score") == "" {
			return []float64{math.NaN()}
		}
		return []float64{o.number(n, "score")}
	}
	out := make([]float64, len(o.labels))
	if n == nil {
		for i := range out {
			out[i] = math.NaN()
		}
		return out
	}
	winner := slices.Index(o.labels, n.attr("score"))
	list := n.all("ScoreDistribution")
	if votes || len(list) == 0 {
		out[winner] = 1
		return out
	}
	sum := 0.0
	for _, s := range list {
		sum += o.number(s, "recordCount")
	}
	for _, s := range list {
		out[slices.Index(o.labels, s.attr("value"))] = o.number(s, "recordCount") / sum
	}
	return out
}

func (o *oracle) number(e *element, name string) float64 {
	v, err := strconv.ParseFloat(e.attr(name), 64)
	if err != nil {
		o.t.Fatalf("line %d: %v", e.line, err)
	}
	return v
}

// predict evaluates a model.
func (o *oracle) predict(model *element, r row, votes bool) []float64 {
	switch model.name {
	case "TreeModel":
		return o.score(model, r, votes)
	case "RegressionModel":
		return o.regression(model, r)
	case "Scorecard":
		total := o.number(model, "initialScore")
		for _, c := range model.child("Characteristics").all("Characteristic") {
			part := math.NaN()
			for _, a := range c.all("Attribute") {
				if o.ask(predicateIn(a), r) == yes {
					part = o.number(a, "partialScore")
					break
				}
			}
			total += part
		}
		return []float64{total}
	}
	return o.mining(model, r)
}

func (o *oracle) mining(model *element, r row) []float64 {
	segments := model.child("Segmentation")
	method := segments.attr("multipleModelMethod")
	var total []float64
	weights := 0.0
	for _, s := range segments.all("Segment") {
		if o.ask(predicateIn(s), r) != yes {
			continue
		}
		var inner *element
		for _, k := range s.kids {
			if isModel(k.name) {
				inner = k
			}
		}
		part := o.predict(inner, r, method == "majorityVote" || method == "weightedMajorityVote")
		w := 1.0
		if strings.HasPrefix(method, "weighted") && s.attr("weight") != "" {
			w = o.number(s, "weight")
		}
		switch method {
		case "modelChain":
			total = part
			if inner.child("Output") == nil {
				continue
			}
			for _, f := range inner.child("Output").all("OutputField") {
				c := cell{number: part[max(0, slices.Index(o.labels, f.attr("value")))]}
				c.missing = math.IsNaN(c.number)
				r[f.attr("name")] = c
			}
			continue
		case "selectFirst":
			return part
		}
		if total == nil {
			total = make([]float64, len(part))
		}
		for i := range part {
			total[i] += part[i] * w
		}
		weights += w
	}
	if method == "average" || method == "weightedAverage" || method == "majorityVote" || method == "weightedMajorityVote" {
		for i := range total {
			total[i] /= weights
		}
	}
	if t := model.child("Targets"); t != nil {
		target := t.child("Target")
		for _, a := range [...]string{"rescaleFactor", "rescaleConstant"} {
			if target.attr(a) != "" {
				if v := o.number(target, a); a == "rescaleFactor" {
					total[0] *= v
				} else {
					total[0] += v
				}
			}
		}
	}
	return total
}

func (o *oracle) regression(model *element, r row) []float64 {
	var y []float64
	var labels []string
	for _, table := range model.all("RegressionTable") {
		sum := o.number(table, "intercept")
		for _, k := range table.kids {
			c := r[k.attr("name")]
			switch k.name {
			case "NumericPredictor":
				x := c.number
				if c.missing {
					x = math.NaN()
				}
				n := 1.0
				if k.attr("exponent") != "" {
					n = o.number(k, "exponent")
				}
				sum += o.number(k, "coefficient") * math.Pow(x, n)
			case "CategoricalPredictor":
				if !c.missing && o.holds(c, "equal", k.attr("value")) {
					sum += o.number(k, "coefficient")
				}
			case "PredictorTerm":
				product := o.number(k, "coefficient")
				for _, f := range k.all("FieldRef") {
					if c := r[f.attr("field")]; c.missing {
						product = math.NaN()
					} else {
						product *= c.number
					}
				}
				sum += product
			}
		}
		y = append(y, sum)
		labels = append(labels, table.attr("targetCategory"))
	}
	n := model.attr("normalizationMethod")
	if model.attr("functionName") == "regression" {
		switch n {
		case "exp":
			y[0] = math.Exp(y[0])
		case "logit", "softmax":
			y[0] = 1 / (1 + math.Exp(-y[0]))
		case "cloglog":
			y[0] = 1 - math.Exp(-math.Exp(y[0]))
		case "loglog":
			y[0] = math.Exp(-math.Exp(-y[0]))
		}
		return y
	}
	switch n {
	case "softmax":
		sum, top := 0.0, slices.Max(y)
		for i := range y {
			y[i] = math.Exp(y[i] - top)
			sum += y[i]
		}
		for i := range y {
			y[i] /= sum
		}
	case "logit":
		y[0] = 1 / (1 + math.Exp(-y[0]))
		y[1] = 1 - y[0]
	case "simplemax":
		sum := 0.0
		for _, v := range y {
			sum += v
		}
		for i := range y {
			y[i] /= sum
		}
	}
	out := make([]float64, len(o.labels))
	for i, v := range y {
		out[slices.Index(o.labels, labels[i])] = v
	}
	return out
}
