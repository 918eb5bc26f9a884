package pmml

import (
	"math"
	"slices"
)

// treeReader writes TreeModels into a builder.
type treeReader struct {
	s       *scope
	b       *builder
	model   *element
	classes []string // empty for a regression
	votes   bool     // leaves are votes for a class instead of probabilities
	weight  float64
}

// tree reads a model that is one tree.
func (d *document) tree(s *scope, model *element) (*result, error) {
	r := &result{}
	classify, err := classifies(model)
	if err != nil {
		return nil, err
	}
	outputs := 1
	if classify {
		if r.classes, err = d.classes(model); err != nil {
			return nil, err
		}
		outputs = len(r.classes)
	}
	t := treeReader{s: s, b: newBuilder(d, outputs, width(model)), model: model, classes: r.classes, weight: 1}
	if err := t.add(&predicate{test: testTrue}); err != nil {
		return nil, err
	}
	r.value = d.model.Append(t.b.step(nil))
	r.raw = r.value
	return r, nil
}

// add writes the tree of t.model; it adds nothing where the predicate when does not hold.
func (t *treeReader) add(when *predicate) error {
	root := t.model.child("Node")
	if root == nil {
		return t.model.fail("it has no Node")
	}
	p, err := t.s.predicateOf(root)
	if err != nil {
		return err
	}
	return t.b.tree(t.model, func() (int32, error) {
		null := t.null()
		none := t.b.way(func() (int32, error) { return t.b.leaf(make([]float64, t.b.outputs)) })
		return t.b.ask(when, t.b.way(func() (int32, error) {
			return t.b.ask(p, t.b.way(func() (int32, error) { return t.node(root) }), null, null)
		}), none, none)
	})
}

// null leads to no prediction.
func (t *treeReader) null() way {
	return t.b.way(func() (int32, error) {
		values := make([]float64, t.b.outputs)
		for i := range values {
			values[i] = math.NaN()
		}
		return t.b.leaf(values)
	})
}

// node writes what follows once a node is reached: its first child whose predicate holds.
func (t *treeReader) node(e *element) (int32, error) {
	var children []*element
	for _, k := range e.kids {
		switch {
		case k.name == "Node":
			children = append(children, k)
		case k.name == "ScoreDistribution", k.name == "Extension", k.name == "Partition", isPredicate(k.name):
		default:
			return 0, k.unsupported()
		}
	}
	own := func() (int32, error) {
		values, err := t.score(e)
		if err != nil {
			return 0, err
		}
		return t.b.leaf(values)
	}
	if len(children) == 0 {
		return own()
	}
	last := t.b.way(own)
	otherwise := t.null()
	switch t.model.attr("noTrueChildStrategy") {
	case "", "returnNullPrediction":
	case "returnLastPrediction":
		otherwise = last
	default:
		return 0, t.model.fail("the noTrueChildStrategy is unknown")
	}
	return t.child(e, children, last, otherwise)
}

// child asks the predicates of children from the first on. last leads to the node's own score.
func (t *treeReader) child(e *element, children []*element, last, otherwise way) (int32, error) {
	p, err := t.s.predicateOf(children[0])
	if err != nil {
		return 0, err
	}
	next := otherwise
	if len(children) > 1 {
		next = t.b.way(func() (int32, error) { return t.child(e, children[1:], last, otherwise) })
	}
	unknown := next
	switch strategy := t.model.attr("missingValueStrategy"); strategy {
	case "", "none":
	case "lastPrediction":
		unknown = last
	case "nullPrediction":
		unknown = t.null()
	case "defaultChild":
		unknown = t.b.way(func() (int32, error) { return t.defaultChild(e) })
	default:
		unknown = t.b.way(func() (int32, error) {
			return 0, t.model.fail("the missingValueStrategy %q is not supported where values may be missing; give every field a missingValueReplacement or use defaultChild", shorten(strategy))
		})
	}
	return t.b.ask(p, t.b.way(func() (int32, error) { return t.node(children[0]) }), next, unknown)
}

func (t *treeReader) defaultChild(e *element) (int32, error) {
	id, ok := e.lookup("defaultChild")
	if !ok {
		return 0, e.fail("it has no defaultChild, and the missingValueStrategy needs one where values may be missing")
	}
	for _, k := range e.all("Node") {
		if k.attr("id") == id {
			return t.node(k)
		}
	}
	return 0, e.fail("its defaultChild is none of its children")
}

// score is what a node predicts, times the weight of its tree.
func (t *treeReader) score(e *element) ([]float64, error) {
	if len(t.classes) == 0 {
		v := math.NaN()
		if text, ok := e.lookup("score"); ok {
			if v, ok = parseNumber(text); !ok {
				return nil, e.fail("its score is not a number")
			}
		}
		return []float64{v * t.weight}, nil
	}
	p, winner, err := t.distribution(e)
	if err != nil {
		return nil, err
	}
	if label, ok := e.lookup("score"); ok {
		if winner = slices.Index(t.classes, label); winner < 0 {
			return nil, e.fail("its score is none of the classes of the target")
		}
	}
	if p == nil || t.votes {
		p = make([]float64, len(t.classes))
		if winner >= 0 {
			p[winner] = 1
		}
	}
	for i := range p {
		if p[i] *= t.weight; winner < 0 {
			p[i] = math.NaN()
		}
	}
	return p, nil
}

// distribution reads the ScoreDistributions of a node: probabilities, or shares of the records. winner
// is the likeliest class, -1 when there are none.
func (t *treeReader) distribution(e *element) (p []float64, winner int, err error) {
	winner = -1
	sum, given := 0.0, true
	for _, s := range e.kids {
		if s.name != "ScoreDistribution" {
			continue
		}
		if p == nil {
			p = make([]float64, len(t.classes))
		}
		at := slices.Index(t.classes, s.attr("value"))
		if at < 0 {
			return nil, 0, s.fail("its value is none of the classes of the target")
		}
		count, err := s.number("recordCount")
		if _, ok := s.lookup("probability"); ok {
			count, err = s.number("probability")
		} else {
			given = false
		}
		if err != nil {
			return nil, 0, err
		}
		if count < 0 || given && count > 1 {
			return nil, 0, s.fail("it is no share of records")
		}
		p[at] = count
		sum += count
	}
	if p == nil {
		return nil, -1, nil
	}
	if !given && !(sum > 0) {
		return nil, 0, e.fail("its ScoreDistributions count no records")
	}
	for i := range p {
		if !given {
			p[i] /= sum
		}
		if winner < 0 || p[i] > p[winner] {
			winner = i
		}
	}
	return p, winner, nil
}
