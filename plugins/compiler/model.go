package compiler

import (
	"math"
	"strings"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/compiler/catboost"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// inputNames are the names of the model's inputs.
func inputNames(m *ir.Model) []string {
	names := make([]string, len(m.Inputs))
	for i := range m.Inputs {
		names[i] = m.Inputs[i].Name
	}
	return names
}

// choose keeps one output of m: that of the class, or the only one. It returns the index of the class,
// 0 for a model without classes.
func choose(m *ir.Model, class string) (int, error) {
	lengths, err := m.Lengths()
	if err != nil {
		return 0, err
	}
	if len(m.Classes) == 0 {
		if class != "" {
			return 0, invalidModel("the model has no classes; leave out the class")
		}
		return 0, nil
	}
	index := -1
	for i, name := range m.Classes {
		if name == class {
			index = i
		}
	}
	switch {
	case class == "" && len(m.Classes) <= 2 && (m.Probability || len(m.Classes) == 1):
		index = len(m.Classes) - 1
	case class == "":
		return 0, invalidModel("the model has %d outputs; name the class to score: %s", len(m.Classes), quoted(m.Classes))
	case index < 0:
		return 0, invalidModel("the model has no class %q%s; its classes are %s", class, suggest(class, m.Classes), quoted(m.Classes))
	}
	if lengths[m.Output] > 1 {
		m.Output = m.Append(&ir.Gather{In: m.Output, Columns: []int{index}})
	} else if index == 0 && len(m.Classes) == 2 {
		one := m.Append(&ir.Const{Values: []float64{1}})
		m.Output = m.Append(&ir.Arith{Op: ir.Sub, A: one, B: m.Output})
	}
	if lengths[m.Raw] > 1 {
		m.Raw = m.Append(&ir.Gather{In: m.Raw, Columns: []int{index}})
	}
	return index, nil
}

// quoted lists names, the first twenty of them.
func quoted(names []string) string {
	const most = 20
	shown := names
	if len(shown) > most {
		shown = shown[:most]
	}
	text := `"` + strings.Join(shown, `", "`) + `"`
	if len(shown) < len(names) {
		text += ", …"
	}
	return text
}

// codeCategories gives the recipes of inputs with categories their levels, in the model's order of
// codes.
func codeCategories(m *ir.Model, features []artifact.Feature) error {
	for i := range m.Inputs {
		v, r := &m.Inputs[i], &features[i].Recipe
		if len(v.Hashes) > 0 {
			if len(r.Levels) == 0 {
				return invalidModel("the model knows the categories of feature %q by their hashes only; list them as levels of the feature, in any order", v.Name)
			}
			found, err := catboost.Name(v, r.Levels)
			if err != nil {
				return err
			}
			if found == 0 {
				return invalidModel("the model knows none of the levels of feature %q; list them as they were in training", v.Name)
			}
			r.Levels = v.Categories
			continue
		}
		if len(v.Categories) == 0 {
			continue
		}
		if len(v.Categories) > artifact.MaxLevels {
			return invalidModel("feature %q has %d categories, more than %d; group the rare ones before training", v.Name, len(v.Categories), artifact.MaxLevels)
		}
		if r.Attribute == "" {
			return invalidModel("feature %q has categories, so its recipe is an attribute", v.Name)
		}
		if len(r.Levels) > 0 && !sameTexts(r.Levels, v.Categories) {
			return invalidModel("the levels of feature %q are not the model's categories in their order; leave them out, the model file has them", v.Name)
		}
		r.Levels = v.Categories
	}
	return nil
}

func sameTexts(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// reorder renumbers the inputs: the new number of input i is to[i].
func reorder(m *ir.Model, to []int) {
	same := true
	for i, t := range to {
		same = same && i == t
	}
	if same {
		return
	}
	inputs := make([]ir.Variable, len(m.Inputs))
	for i := range m.Inputs {
		inputs[to[i]] = m.Inputs[i]
	}
	m.Inputs = inputs
	// Steps that name columns are renumbered; the others read the inputs through a step that puts them
	// back into their old order.
	restored := ir.Ref(0)
	out := &ir.Model{}
	moved := make([]ir.Ref, len(m.Steps)+1)
	for i, s := range m.Steps {
		switch s := s.(type) {
		case *ir.Trees:
			if s.In == ir.Input {
				reorderTrees(s, to)
			}
		case *ir.Oblivious:
			for k := range s.Splits {
				if s.In == ir.Input {
					s.Splits[k].Feature = int32(to[s.Splits[k].Feature])
				}
			}
		case *ir.Gather:
			for k := range s.Columns {
				if s.In == ir.Input {
					s.Columns[k] = to[s.Columns[k]]
				}
			}
		default:
			for _, r := range s.From(nil) {
				if r == ir.Input && restored == 0 {
					restored = out.Append(&ir.Gather{Columns: to})
				}
			}
		}
		ir.Redirect(s, func(r ir.Ref) ir.Ref {
			if r != ir.Input {
				return moved[r]
			}
			switch s.(type) {
			case *ir.Trees, *ir.Oblivious, *ir.Gather:
				return r
			}
			return restored
		})
		moved[i+1] = out.Append(s)
	}
	place := func(r ir.Ref) ir.Ref {
		if r == ir.Input {
			return out.Append(&ir.Gather{Columns: to})
		}
		return moved[r]
	}
	m.Raw, m.Output = place(m.Raw), place(m.Output)
	m.Steps = out.Steps
}

func reorderTrees(s *ir.Trees, to []int) {
	for i := range s.Trees {
		for j := range s.Trees[i].Nodes {
			if n := &s.Trees[i].Nodes[j]; n.Compare != ir.Leaf {
				n.Feature = int32(to[n.Feature])
			}
		}
	}
	for i := range s.LinearLeaves {
		for j := range s.LinearLeaves[i].Features {
			s.LinearLeaves[i].Features[j] = int32(to[s.LinearLeaves[i].Features[j]])
		}
	}
}

// extent counts the trees of a model.
type extent struct{ trees, depth, nodes int }

func measure(m *ir.Model) (e extent) {
	for _, s := range m.Steps {
		switch s := s.(type) {
		case *ir.Trees:
			e.trees += len(s.Trees)
			for i := range s.Trees {
				e.nodes += len(s.Trees[i].Nodes)
				e.depth = max(e.depth, depthOf(&s.Trees[i]))
			}
		case *ir.Oblivious:
			e.trees += len(s.Trees)
			for i := range s.Trees {
				d := len(s.Trees[i].Splits)
				e.nodes += d + 1<<d
				e.depth = max(e.depth, d)
			}
		}
	}
	return e
}

func depthOf(t *ir.Tree) int {
	depth, deepest := make([]int, len(t.Nodes)), 0
	for i := range t.Nodes {
		if n := &t.Nodes[i]; n.Compare != ir.Leaf {
			depth[n.Left], depth[n.Right] = depth[i]+1, depth[i]+1
		}
		deepest = max(deepest, depth[i])
	}
	return deepest
}

// narrow tells whether v fits 32 bits: then it is taken for the result of a library that computes so.
func narrow(v float64) bool { return float64(float32(v)) == v || math.IsNaN(v) }
