package compiler

import (
	"math"
	"slices"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// split is one split of a tree that reads an input, and what leads to it.
type split struct {
	ir.Split
	column int     // of the row
	set    []int32 // of In and NotIn
	narrow bool    // values are rounded to 32 bits before they are compared
	parent int     // index among the splits, -1 for none
	left   bool    // the side of the parent
}

// splitsOf are the splits of all trees that read inputs as they are, or rounded.
func splitsOf(m *ir.Model) []split {
	var out []split
	for _, s := range m.Steps {
		switch s := s.(type) {
		case *ir.Trees:
			columns, narrow := origin(m, s.In)
			for t := range s.Trees {
				out = appendTree(out, s, s.Trees[t].Nodes, columns, narrow || s.Row == ir.F32)
			}
		case *ir.Oblivious:
			columns, narrow := origin(m, s.In)
			for i := range s.Splits {
				if c := columns[s.Splits[i].Feature]; c >= 0 {
					out = append(out, split{Split: s.Splits[i], column: c, narrow: narrow || s.Row == ir.F32, parent: -1})
				}
			}
		}
	}
	return out
}

// appendTree appends the splits of one tree. Children come after their parents.
func appendTree(out []split, s *ir.Trees, nodes []ir.Node, columns []int, narrow bool) []split {
	type side struct {
		parent int
		left   bool
	}
	above := make([]side, len(nodes))
	above[0].parent = -1
	for i := range nodes {
		n := &nodes[i]
		if n.Compare == ir.Leaf {
			continue
		}
		at := above[i].parent
		if c := columns[n.Feature]; c >= 0 {
			this := split{Split: n.Split, column: c, narrow: narrow, parent: at, left: above[i].left}
			if n.Compare >= ir.In {
				this.set = s.Sets[n.Set]
			}
			at = len(out)
			out = append(out, this)
		}
		above[n.Left], above[n.Right] = side{at, true}, side{at, false}
	}
	return out
}

// origin tells which input each column of a vector is, -1 where it is computed, and whether it is
// rounded to 32 bits on the way.
func origin(m *ir.Model, r ir.Ref) (columns []int, narrow bool) {
	if r == ir.Input {
		columns = make([]int, len(m.Inputs))
		for i := range columns {
			columns[i] = i
		}
		return columns, false
	}
	switch s := m.Steps[r-1].(type) {
	case *ir.Cast:
		if s.To == ir.ToF32 {
			columns, _ = origin(m, s.In)
			return columns, true
		}
	case *ir.Impute:
		return origin(m, s.In)
	case *ir.Gather:
		from, narrow := origin(m, s.In)
		for _, c := range s.Columns {
			columns = append(columns, from[c])
		}
		return columns, narrow
	case *ir.Concat:
		for _, part := range s.Parts {
			from, rounded := origin(m, part)
			columns, narrow = append(columns, from...), narrow || rounded
		}
		return columns, narrow
	}
	lengths, err := m.Lengths()
	if err != nil { // the model was validated
		return nil, false
	}
	return slices.Repeat([]int{-1}, lengths[r]), false
}

// up and down are the next numbers in the width that the split compares in.
func (s *split) up(x float64) float64   { return s.beside(x, 1) }
func (s *split) down(x float64) float64 { return s.beside(x, -1) }

func (s *split) beside(x float64, sign int) float64 {
	if s.narrow {
		return float64(math.Nextafter32(float32(x), float32(math.Inf(sign))))
	}
	return math.Nextafter(x, math.Inf(sign))
}

// values are the ones on which a wrong comparison would show.
func (s *split) values() []float64 {
	out := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1)}
	if s.Compare < ir.In {
		t, narrow := s.Value, float32(s.Value)
		return append(out, t, math.Nextafter(t, math.Inf(1)), math.Nextafter(t, math.Inf(-1)), float64(narrow),
			float64(math.Nextafter32(narrow, float32(math.Inf(1)))), float64(math.Nextafter32(narrow, float32(math.Inf(-1)))))
	}
	out = append(out, -1, -0.5, 0.5, 1e9, 1e30, float64(s.outside()))
	if n := len(s.set); n > 0 {
		for _, code := range [...]int32{s.set[0], s.set[n/2], s.set[n-1]} {
			out = append(out, float64(code), float64(code)+0.75, float64(code)+1)
		}
	}
	return out
}

// outside is the least code that is not in the set.
func (s *split) outside() int32 {
	for i, code := range s.set {
		if int(code) != i {
			return int32(i)
		}
	}
	return int32(len(s.set))
}

// span is what the splits on the way leave for one column: lo to hi, both included, or one value.
type span struct {
	column int
	lo, hi float64
}

// reach changes g.row so that it comes to split i, as far as its columns can be set one by one.
func (g *gate) reach(i int) {
	g.spans = g.spans[:0]
	for i >= 0 && g.splits[i].parent >= 0 {
		left := g.splits[i].left
		i = g.splits[i].parent
		s := &g.splits[i]
		lo, hi := s.side(left)
		at := slices.IndexFunc(g.spans, func(o span) bool { return o.column == s.column })
		if at < 0 {
			g.spans = append(g.spans, span{s.column, lo, hi})
			continue
		}
		g.spans[at].lo, g.spans[at].hi = max(g.spans[at].lo, lo), min(g.spans[at].hi, hi)
	}
	for _, s := range g.spans {
		x := g.row[s.column]
		switch {
		case x >= s.lo && x <= s.hi:
		case !math.IsInf(s.lo, 0):
			g.row[s.column] = s.lo
		case !math.IsInf(s.hi, 0):
			g.row[s.column] = s.hi
		}
	}
}

// side is what values lead to one side of a split.
func (s *split) side(left bool) (lo, hi float64) {
	below, t := math.Inf(-1), s.Value
	above := math.Inf(1)
	switch s.Compare {
	case ir.LE:
		if left {
			return below, t
		}
		return s.up(t), above
	case ir.LT:
		if left {
			return below, s.down(t)
		}
		return t, above
	case ir.GE:
		if left {
			return t, above
		}
		return below, s.down(t)
	case ir.GT:
		if left {
			return s.up(t), above
		}
		return below, t
	case ir.EQ, ir.NE:
		if left == (s.Compare == ir.EQ) {
			return t, t
		}
		return s.up(t), above
	}
	if left == (s.Compare == ir.In) && len(s.set) > 0 {
		return float64(s.set[0]), float64(s.set[0])
	}
	code := float64(s.outside())
	return code, code
}
