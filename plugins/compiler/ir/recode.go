package ir

import (
	"cmp"
	"errors"
	"math"
	"slices"
)

// Codes is the Lookup that turns the numbers that a data frame held as categories into their codes,
// which are their positions; other numbers become missing. It is nil when numbers is empty or each is
// its own code already. In is for the caller to set, or for Recode.
func Codes(numbers []float64) (*Lookup, error) {
	order := make([]int, len(numbers))
	same := true
	for i, v := range numbers {
		if v != v {
			return nil, errors.New("a category is not a number")
		}
		order[i], same = i, same && v == float64(i)
	}
	if same {
		return nil, nil
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Compare(numbers[a], numbers[b])
	})
	l := &Lookup{Default: math.NaN(), Missing: math.NaN()}
	for _, i := range order {
		if n := len(l.Keys); n > 0 && !(numbers[i] > l.Keys[n-1]) {
			return nil, errors.New("a category is there twice")
		}
		l.Keys, l.Values = append(l.Keys, numbers[i]), append(l.Values, float64(i))
	}
	return l, nil
}

// Recoding is how the number of a column becomes another: rounded as Casts say, then looked up.
type Recoding struct {
	Casts []CastKind
	Codes *Lookup // In is for Recode to set
}

// Recode appends the steps that recode the row of inputs, by column and nil for those that stay as
// they are, and gives the recoded row: Input itself when nothing is to be done.
func (m *Model) Recode(columns []*Recoding) Ref {
	if !slices.ContainsFunc(columns, func(r *Recoding) bool { return r != nil }) {
		return Input
	}
	var parts []Ref
	from := 0
	unchanged := func(to int) {
		if from == to {
			return
		}
		columns := make([]int, 0, to-from)
		for c := from; c < to; c++ {
			columns = append(columns, c)
		}
		parts = append(parts, m.Append(&Gather{In: Input, Columns: columns}))
	}
	for i, r := range columns {
		if r == nil {
			continue
		}
		unchanged(i)
		r.Codes.In = m.Append(&Gather{In: Input, Columns: []int{i}})
		for _, to := range r.Casts {
			r.Codes.In = m.Append(&Cast{In: r.Codes.In, To: to})
		}
		parts = append(parts, m.Append(r.Codes))
		from = i + 1
	}
	unchanged(len(columns))
	return m.Append(&Concat{Parts: parts})
}

// Compact renumbers the categories of columns that have one beyond greatest, so that tables of them
// stay small, and gives the recodings by column. It leaves columns alone that trees read as numbers
// too.
func (s *Trees) Compact(greatest int32) map[int32]*Recoding {
	numeric, sets := map[int32]bool{}, map[int32][]int32{} // by column
	for i := range s.Trees {
		for _, n := range s.Trees[i].Nodes {
			switch {
			case n.Compare >= In:
				sets[n.Feature] = append(sets[n.Feature], n.Set)
			case n.Compare != Leaf:
				numeric[n.Feature] = true
			}
		}
	}
	for i := range s.LinearLeaves {
		for _, f := range s.LinearLeaves[i].Features {
			numeric[f] = true
		}
	}
	var casts []CastKind
	if s.Row == F32 {
		casts = append(casts, ToF32)
	}
	if s.NegativeZero {
		casts = append(casts, ToInteger)
	} else {
		casts = append(casts, ToFloor) // -0.5 is in no set
	}
	out := map[int32]*Recoding{}
	codes := map[int32]map[int32]int32{} // by column and category
	for column, used := range sets {
		var all []int32
		for _, set := range used {
			all = append(all, s.Sets[set]...)
		}
		slices.Sort(all)
		all = slices.Compact(all)
		if numeric[column] || len(all) == 0 || all[len(all)-1] <= greatest || len(all) >= MaxCategory {
			continue
		}
		l := &Lookup{Default: float64(len(all)), Missing: math.NaN()}
		codes[column] = make(map[int32]int32, len(all))
		for i, c := range all {
			l.Keys, l.Values = append(l.Keys, float64(c)), append(l.Values, float64(i))
			codes[column][c] = int32(i)
		}
		out[column] = &Recoding{Casts: casts, Codes: l}
	}
	s.renumber(codes)
	return out
}

// renumber gives the splits of columns new sets with the codes of their categories, and drops the sets
// that none has any more.
func (s *Trees) renumber(codes map[int32]map[int32]int32) {
	old, place := s.Sets, map[[2]int32]int32{} // by column, or -1 where it does not matter, and old set
	s.Sets = nil
	for i := range s.Trees {
		for j := range s.Trees[i].Nodes {
			n := &s.Trees[i].Nodes[j]
			if n.Compare < In {
				continue
			}
			known, set := [2]int32{-1, n.Set}, old[n.Set]
			if c := codes[n.Feature]; c != nil {
				known[0] = n.Feature
				set = slices.Clone(set)
				for k := range set {
					set[k] = c[set[k]]
				}
			}
			at, ok := place[known]
			if !ok {
				at = int32(len(s.Sets))
				s.Sets = append(s.Sets, set)
				place[known] = at
			}
			n.Set = at
		}
	}
}

// KeepUsed renumbers the columns that the trees read so that those they do not read can be left out,
// and gives the columns that remain, by their new numbers.
func (s *Trees) KeepUsed() []int {
	used := map[int32]int32{}
	each := func(visit func(column *int32)) {
		for i := range s.Trees {
			for j := range s.Trees[i].Nodes {
				if n := &s.Trees[i].Nodes[j]; n.Compare != Leaf {
					visit(&n.Feature)
				}
			}
		}
		for i := range s.LinearLeaves {
			for j := range s.LinearLeaves[i].Features {
				visit(&s.LinearLeaves[i].Features[j])
			}
		}
	}
	each(func(c *int32) { used[*c] = 0 })
	kept := make([]int, 0, len(used))
	for c := range used {
		kept = append(kept, int(c))
	}
	slices.Sort(kept)
	for i, c := range kept {
		used[int32(c)] = int32(i)
	}
	each(func(c *int32) { *c = used[*c] })
	return kept
}
