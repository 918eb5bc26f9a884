package pmml

import (
	"strings"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// segment is a Segment of a MiningModel.
type segment struct {
	at     *element
	model  *element
	when   *predicate
	weight float64
}

// mining reads a MiningModel.
func (d *document) mining(s *scope, model *element) (*result, error) {
	e := model.child("Segmentation")
	if e == nil {
		return nil, model.fail("it has no Segmentation; models inside of other elements are not supported")
	}
	switch how := e.attr("missingPredictionTreatment"); how {
	case "", "continue", "returnMissing":
	default:
		return nil, e.fail("the missingPredictionTreatment %q is not supported", shorten(how))
	}
	method := e.attr("multipleModelMethod")
	list, err := d.segments(s, e, method)
	if err != nil {
		return nil, err
	}
	switch method {
	case "modelChain":
		return d.chain(s, list)
	case "selectFirst":
		return d.selectFirst(s, list)
	case "sum", "weightedSum", "average", "weightedAverage", "majorityVote", "weightedMajorityVote", "max":
	default:
		return nil, e.fail("the multipleModelMethod %q is not supported", shorten(method))
	}
	classify, err := classifies(model)
	if err != nil {
		return nil, err
	}
	votes := method == "majorityVote" || method == "weightedMajorityVote"
	switch {
	case votes && !classify:
		return nil, e.fail("only classifications can vote")
	case classify && (method == "sum" || method == "weightedSum" || method == "max"):
		return nil, e.fail("the multipleModelMethod %q of classifications is not supported; use average or majorityVote", method)
	}
	if !conditional(list) {
		// Votes of segments that do not take part are left out; a mean would need their number.
	} else if method != "sum" && method != "weightedSum" && !votes {
		return nil, e.fail("a Segment has a predicate, which the multipleModelMethod %q does not support", method)
	}
	c := combination{d: d, s: s, model: model, method: method, votes: votes, list: list}
	if classify {
		if c.classes, err = d.classes(model); err != nil {
			return nil, err
		}
	}
	if err := c.sum(); err != nil {
		return nil, err
	}
	return &result{value: c.total, raw: c.total, classes: c.classes}, nil
}

// conditional tells whether a segment has a predicate other than True.
func conditional(list []segment) bool {
	for _, s := range list {
		if s.when.test != testTrue {
			return true
		}
	}
	return false
}

func (d *document) segments(s *scope, e *element, method string) ([]segment, error) {
	var list []segment
	for _, k := range e.kids {
		switch k.name {
		case "Segment":
		case "Extension":
			continue
		default:
			return nil, k.unsupported()
		}
		g := segment{at: k, weight: 1}
		var err error
		if strings.HasPrefix(method, "weighted") {
			if g.weight, err = k.numberOr("weight", 1); err != nil {
				return nil, err
			}
			if g.weight < 0 {
				return nil, k.fail("its weight is below 0")
			}
		}
		for _, m := range k.kids {
			switch {
			case isModel(m.name) && g.model == nil:
				g.model = m
			case isPredicate(m.name), m.name == "Extension", m.name == "VariableWeight" && method == "modelChain":
			default:
				return nil, m.unsupported()
			}
		}
		if g.model == nil {
			return nil, k.fail("it has no model")
		}
		if method == "modelChain" {
			// Predicates may read the outputs of earlier segments; chain reads them.
			g.when = &predicate{test: testTrue}
		} else if g.when, err = s.predicateOf(k); err != nil {
			return nil, err
		}
		if g.when.test != testFalse {
			list = append(list, g)
		}
		if len(list) > ir.MaxTrees {
			return nil, k.fail("there are more than %d segments; train fewer trees", ir.MaxTrees)
		}
	}
	if len(list) == 0 {
		return nil, e.fail("it has no Segment")
	}
	return list, nil
}

// chain evaluates segments one after the other; each can read what the earlier ones publish. The last
// one's result is the model's.
func (d *document) chain(s *scope, list []segment) (*result, error) {
	own := s.inner()
	var r *result
	for _, g := range list {
		p, err := own.predicateOf(g.at)
		if err != nil {
			return nil, err
		}
		if p.test != testTrue {
			return nil, g.at.fail("a predicate in a modelChain is not supported")
		}
		inside := own.inner()
		if err := inside.schema(g.model, nil); err != nil {
			return nil, err
		}
		if r, err = d.evaluate(inside, g.model); err != nil {
			return nil, err
		}
		// Outputs read the scope of the segment and are read by the later ones.
		published := inside.inner()
		if err := d.publish(published, g.model, r); err != nil {
			return nil, err
		}
		for name, f := range published.fields {
			own.fields[name] = f
		}
	}
	return r, nil
}

// selectFirst takes the result of the first segment whose predicate holds.
func (d *document) selectFirst(s *scope, list []segment) (*result, error) {
	var out *result
	for i := len(list) - 1; i >= 0; i-- {
		r, err := d.inside(s, list[i].model)
		if err != nil {
			return nil, err
		}
		if out == nil {
			if len(r.classes) > 0 {
				if r.value, err = d.probabilities(list[i].at, r, r.classes); err != nil {
					return nil, err
				}
			}
			out = &result{value: r.value, classes: r.classes}
		} else if (len(r.classes) == 0) != (len(out.classes) == 0) {
			return nil, list[i].at.fail("its model classifies and others do not, or the other way round")
		} else if len(r.classes) > 0 {
			if r.value, err = d.probabilities(list[i].at, r, out.classes); err != nil {
				return nil, err
			}
		}
		otherwise := out.value
		if i == len(list)-1 {
			if list[i].when.test == testTrue {
				continue
			}
			otherwise = d.nan()
		}
		holds, err := d.indicator(list[i].at, list[i].when, 1, 0, 0)
		if err != nil {
			return nil, err
		}
		out.value = d.model.Append(&ir.Where{Cond: holds, A: r.value, B: otherwise})
	}
	out.raw = out.value
	return out, nil
}

// combination adds the results of segments.
type combination struct {
	d       *document
	s       *scope
	model   *element
	method  string
	votes   bool
	list    []segment
	classes []string
	total   ir.Ref
}

// sum computes the total: of trees in one step, of other models one by one.
func (c *combination) sum() error {
	d := c.d
	trees := c.method != "max"
	for _, g := range c.list {
		trees = trees && g.model.name == "TreeModel" && g.model.child("Targets") == nil
	}
	var err error
	switch {
	case trees:
		err = c.sumTrees()
	case c.method == "max":
		err = c.maximum()
	default:
		err = c.sumModels()
	}
	if err != nil {
		return err
	}
	w := width(c.model)
	weights := 0.0
	for _, g := range c.list {
		weights += g.weight
	}
	switch c.method {
	case "average", "weightedAverage":
		if !(weights > 0) {
			return c.model.fail("its segments have no weight")
		}
		c.total = d.model.Append(&ir.Arith{Op: ir.Div, A: c.total, B: d.constant(rounded(w, weights)), Width: w})
	case "majorityVote", "weightedMajorityVote":
		if conditional(c.list) || c.method == "weightedMajorityVote" {
			c.total = d.model.Append(&ir.Normalize{In: c.total, Norm: ir.NormSum, Width: w})
		} else {
			c.total = d.model.Append(&ir.Arith{Op: ir.Div, A: c.total, B: d.constant(weights), Width: w})
		}
	}
	return nil
}

func (c *combination) outputs() int { return max(1, len(c.classes)) }

// sumTrees reads all segments as trees of one step.
func (c *combination) sumTrees() error {
	b := newBuilder(c.d, c.outputs(), width(c.model))
	for _, g := range c.list {
		classify, err := classifies(g.model)
		if err != nil {
			return err
		}
		if classify != (len(c.classes) > 0) || g.model.attr("isScorable") == "false" {
			return g.model.fail("it is not scorable, or classifies where the mining model does not, or the other way round")
		}
		own := c.s.inner()
		if err := own.schema(g.model, nil); err != nil {
			return err
		}
		if local := g.model.child("LocalTransformations"); local != nil {
			if err := own.derive(local); err != nil {
				return err
			}
		}
		t := treeReader{s: own, b: b, model: g.model, classes: c.classes, votes: c.votes, weight: g.weight}
		if err := t.add(g.when); err != nil {
			return err
		}
	}
	c.total = c.d.model.Append(b.step(nil))
	return nil
}

// sumModels evaluates each segment and adds them in order.
func (c *combination) sumModels() error {
	d, w := c.d, width(c.model)
	for i, g := range c.list {
		r, err := c.d.inside(c.s, g.model)
		if err != nil {
			return err
		}
		value, err := c.part(g, r)
		if err != nil {
			return err
		}
		if g.weight != 1 {
			value = d.model.Append(&ir.Arith{Op: ir.Mul, A: value, B: d.constant(rounded(w, g.weight)), Width: w})
		}
		if g.when.test != testTrue {
			holds, err := d.indicator(g.at, g.when, 1, 0, 0)
			if err != nil {
				return err
			}
			value = d.model.Append(&ir.Where{Cond: holds, A: value, B: d.constant(0)})
		}
		if i == 0 {
			c.total = value
		} else {
			c.total = d.model.Append(&ir.Arith{Op: ir.Add, A: c.total, B: value, Width: w})
		}
	}
	return nil
}

// part is what a segment adds before it is weighed.
func (c *combination) part(g segment, r *result) (ir.Ref, error) {
	if len(c.classes) == 0 {
		if len(r.classes) > 0 {
			return 0, g.model.fail("it classifies where the mining model does not")
		}
		return r.value, nil
	}
	value, err := c.d.probabilities(g.model, r, c.classes)
	if err != nil || !c.votes {
		return value, err
	}
	m := c.d.model
	all := make([]float64, len(c.classes))
	for i := range all {
		all[i] = float64(i)
	}
	winner := m.Append(&ir.Reduce{In: value, By: ir.ReduceArgMax})
	vote := m.Append(&ir.OneHot{In: winner, Categories: [][]float64{all}})
	// A missing prediction is no vote for the first class: it makes the sum missing.
	nothing := m.Append(&ir.Arith{Op: ir.Mul, A: value, B: c.d.constant(0)})
	return m.Append(&ir.Arith{Op: ir.Add, A: vote, B: nothing}), nil
}

// maximum is the greatest of the results.
func (c *combination) maximum() error {
	for i, g := range c.list {
		r, err := c.d.inside(c.s, g.model)
		if err != nil {
			return err
		}
		if len(r.classes) > 0 {
			return g.model.fail("it classifies where the mining model does not")
		}
		if i == 0 {
			c.total = r.value
		} else {
			c.total = c.d.model.Append(&ir.Arith{Op: ir.Max, A: c.total, B: r.value})
		}
	}
	return nil
}
