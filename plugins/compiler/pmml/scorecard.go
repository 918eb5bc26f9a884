package pmml

import (
	"math"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// scorecard reads a Scorecard: the initial score and, for each characteristic, the partial score of its
// first attribute whose predicate holds. A characteristic without one makes the score missing. Reason
// codes are left out.
func (d *document) scorecard(s *scope, model *element) (*result, error) {
	list := model.child("Characteristics")
	if list == nil {
		return nil, model.fail("it has no Characteristics")
	}
	initial, err := model.numberOr("initialScore", 0)
	if err != nil {
		return nil, err
	}
	b := newBuilder(d, 1, ir.F64)
	for _, e := range list.kids {
		switch e.name {
		case "Characteristic":
		case "Extension":
			continue
		default:
			return nil, e.unsupported()
		}
		if err := characteristic(s, b, e); err != nil {
			return nil, err
		}
	}
	r := &result{value: d.model.Append(b.step([]float64{initial}))}
	r.raw = r.value
	return r, nil
}

func characteristic(s *scope, b *builder, e *element) error {
	attributes := e.all("Attribute")
	var from func(i int) (int32, error)
	from = func(i int) (int32, error) {
		if i == len(attributes) {
			return b.leaf([]float64{math.NaN()})
		}
		a := attributes[i]
		if c := a.child("ComplexPartialScore"); c != nil {
			return 0, c.unsupported()
		}
		p, err := s.predicateOf(a)
		if err != nil {
			return 0, err
		}
		next := b.way(func() (int32, error) { return from(i + 1) })
		return b.ask(p, b.way(func() (int32, error) {
			score, err := a.numberOr("partialScore", 0)
			if _, ok := a.lookup("partialScore"); !ok {
				return 0, a.fail("the attribute partialScore is missing")
			}
			if err != nil {
				return 0, err
			}
			return b.leaf([]float64{score})
		}), next, next)
	}
	return b.tree(e, func() (int32, error) { return from(0) })
}
