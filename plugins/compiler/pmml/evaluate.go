package pmml

import (
	"slices"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// result is what a model predicts.
type result struct {
	// value is the number of a regression, or the probabilities of classes in their order, or with
	// second that of the second of two classes alone. raw is the same before normalisation.
	value, raw ir.Ref
	second     bool
	classes    []string // empty for a regression
}

// classifies tells what the model's functionName says.
func classifies(model *element) (bool, error) {
	switch f := model.attr("functionName"); f {
	case "classification":
		return true, nil
	case "regression":
		return false, nil
	default:
		return false, model.fail("the functionName %q is not supported; only regression and classification are", shorten(f))
	}
}

// maxModels bounds models inside each other.
const maxModels = 16

// evaluate reads a model whose MiningSchema was applied to s already.
func (d *document) evaluate(s *scope, model *element) (*result, error) {
	if d.depth++; d.depth > maxModels {
		return nil, model.fail("more than %d models are inside each other", maxModels)
	}
	defer func() { d.depth-- }()
	if model.attr("isScorable") == "false" {
		return nil, model.fail("it is marked as not scorable")
	}
	if t := model.child("LocalTransformations"); t != nil {
		if err := s.derive(t); err != nil {
			return nil, err
		}
	}
	var r *result
	var err error
	switch model.name {
	case "TreeModel":
		r, err = d.tree(s, model)
	case "RegressionModel":
		r, err = d.regression(s, model)
	case "MiningModel":
		r, err = d.mining(s, model)
	case "Scorecard":
		r, err = d.scorecard(s, model)
	case "NeuralNetwork":
		r, err = d.network(s, model)
	default:
		return nil, model.unsupported()
	}
	if err != nil {
		return nil, err
	}
	if t := model.child("Targets"); t != nil {
		return r, d.targets(t, r, width(model))
	}
	return r, nil
}

// inside evaluates a model of a segment, with a scope of its own.
func (d *document) inside(s *scope, model *element) (*result, error) {
	own := s.inner()
	if err := own.schema(model, nil); err != nil {
		return nil, err
	}
	return d.evaluate(own, model)
}

// width is the precision that the model asks for.
func width(model *element) ir.Width {
	if model.attr("mathContext") == "float" || model.attr("x-mathContext") == "float" {
		return ir.F32
	}
	return ir.F64
}

// rounded is v in the precision w.
func rounded(w ir.Width, v float64) float64 {
	if w == ir.F32 {
		return float64(float32(v))
	}
	return v
}

// classes lists the classes of a classification: the Values of the target's DataField, or else all that
// the model names, in the order of the document.
func (d *document) classes(model *element) ([]string, error) {
	if schema := model.child("MiningSchema"); schema != nil {
		for _, f := range schema.all("MiningField") {
			if usage := f.attr("usageType"); usage != "target" && usage != "predicted" {
				continue
			}
			if e := d.data[f.attr("name")]; e != nil {
				if list := valuesOf(e); len(list) > 1 {
					return list, nil
				}
			}
		}
	}
	var list []string
	add := func(label string, ok bool) {
		if ok && !slices.Contains(list, label) && len(list) <= ir.MaxOutputs {
			list = append(list, label)
		}
	}
	model.walk(func(e *element) {
		switch e.name {
		case "ScoreDistribution":
			add(e.lookup("value"))
		case "Node":
			if e.child("ScoreDistribution") == nil {
				add(e.lookup("score"))
			}
		case "RegressionTable":
			add(e.lookup("targetCategory"))
		}
	})
	if len(list) < 2 || len(list) > ir.MaxOutputs {
		return nil, model.fail("its classes are not between 2 and %d", ir.MaxOutputs)
	}
	return list, nil
}

func valuesOf(e *element) []string {
	var list []string
	for _, v := range e.all("Value") {
		if p := v.attr("property"); p == "" || p == "valid" {
			list = append(list, v.attr("value"))
		}
	}
	return list
}

// probabilities is the vector of r's probabilities, one for each of classes.
func (d *document) probabilities(e *element, r *result, classes []string) (ir.Ref, error) {
	if len(r.classes) == 0 {
		return 0, e.fail("its result is a number where classes are needed")
	}
	m := d.model
	all := r.value
	if r.second {
		first := m.Append(&ir.Arith{Op: ir.Sub, A: d.constant(1), B: r.value})
		all = m.Append(&ir.Concat{Parts: []ir.Ref{first, r.value}})
	}
	if slices.Equal(r.classes, classes) {
		return all, nil
	}
	// A class that this model does not know has probability 0.
	var columns []int
	zero := -1
	for _, c := range classes {
		at := slices.Index(r.classes, c)
		if at < 0 {
			if zero < 0 {
				zero = len(r.classes)
				all = m.Append(&ir.Concat{Parts: []ir.Ref{all, d.constant(0)}})
			}
			at = zero
		}
		columns = append(columns, at)
	}
	return m.Append(&ir.Gather{In: all, Columns: columns}), nil
}

// targets applies Targets to the number of a regression: bounds, then factor, then constant, then
// rounding.
func (d *document) targets(e *element, r *result, w ir.Width) error {
	if len(r.classes) > 0 {
		return nil
	}
	list := e.all("Target")
	if len(list) != 1 {
		return e.fail("only one Target is supported")
	}
	t := list[0]
	for _, v := range t.all("TargetValue") {
		if _, ok := v.lookup("defaultValue"); ok {
			return v.fail("a defaultValue for missing predictions is not supported; let the action's starting propensity do that")
		}
	}
	for _, part := range []struct {
		name string
		op   ir.ArithOp
	}{{"min", ir.Max}, {"max", ir.Min}, {"rescaleFactor", ir.Mul}, {"rescaleConstant", ir.Add}} {
		if _, ok := t.lookup(part.name); !ok {
			continue
		}
		v, err := t.number(part.name)
		if err != nil {
			return err
		}
		if part.op == ir.Mul && v == 1 || part.op == ir.Add && v == 0 {
			continue
		}
		r.value = d.model.Append(&ir.Arith{Op: part.op, A: r.value, B: d.constant(rounded(w, v)), Width: w})
	}
	switch t.attr("castInteger") {
	case "":
	case "round":
		half := d.model.Append(&ir.Arith{Op: ir.Add, A: r.value, B: d.constant(0.5)})
		r.value = d.model.Append(&ir.Cast{In: half, To: ir.ToFloor})
	case "floor":
		r.value = d.model.Append(&ir.Cast{In: r.value, To: ir.ToFloor})
	case "ceiling":
		r.value = d.negated(d.model.Append(&ir.Cast{In: d.negated(r.value), To: ir.ToFloor}))
	default:
		return t.fail("the castInteger is unknown")
	}
	r.raw = r.value
	return nil
}

func (d *document) negated(r ir.Ref) ir.Ref {
	return d.model.Append(&ir.Activation{In: r, Func: ir.Neg})
}

// publish makes the OutputFields of a model fields of s. Those that are not numbers or classes of the
// prediction stay unknown, and are refused when something reads them.
func (d *document) publish(s *scope, model *element, r *result) error {
	out := model.child("Output")
	if out == nil {
		return nil
	}
	for _, e := range out.all("OutputField") {
		f := &field{name: e.attr("name"), missing: true}
		switch e.attr("feature") {
		case "", "predictedValue":
			if len(r.classes) == 0 {
				f.ref = r.value
				break
			}
			all, err := d.probabilities(e, r, r.classes)
			if err != nil {
				return err
			}
			f.ref = d.model.Append(&ir.Reduce{In: all, By: ir.ReduceArgMax})
			f.kind, f.set, f.missing = words, newTexts(), false
			for _, c := range r.classes {
				f.set.code(c)
			}
		case "probability":
			value, named := e.lookup("value")
			at := slices.Index(r.classes, value)
			if !named || at < 0 {
				continue
			}
			all, err := d.probabilities(e, r, r.classes)
			if err != nil {
				return err
			}
			f.ref = d.model.Append(&ir.Gather{In: all, Columns: []int{at}})
		case "transformedValue":
			made, err := s.expressionOf(e)
			if err != nil {
				return err
			}
			f, made.name = made, f.name
		default:
			continue
		}
		if e.attr("dataType") == "float" && f.kind == double {
			f.kind, f.ref = single, d.model.Append(&ir.Cast{In: f.ref, To: ir.ToF32})
		}
		s.fields[f.name] = f
	}
	return nil
}
