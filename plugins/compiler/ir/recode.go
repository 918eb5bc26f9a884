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

// Recode appends the steps that pass the row of inputs through lookups, one for each input and nil for
// those that stay as they are, and gives the recoded row.
func (m *Model) Recode(lookups []*Lookup) Ref {
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
	for i, l := range lookups {
		if l == nil {
			continue
		}
		unchanged(i)
		l.In = m.Append(&Gather{In: Input, Columns: []int{i}})
		parts = append(parts, m.Append(l))
		from = i + 1
	}
	unchanged(len(lookups))
	return m.Append(&Concat{Parts: parts})
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
