package table

import (
	"cmp"
	"math"
	"slices"

	"github.com/arbiterhq/arbiter/runtime/expr"
)

// rows is a set of rows: bit i of word i/64 is row i.
type rows []uint64

func newRows(n int) rows { return make(rows, (n+63)/64) }

func (r rows) add(row int) { r[row/64] |= 1 << (row % 64) }

// some is a set of rows besides those that a column lets pass for every value: a list when they are few.
type some struct {
	list []uint16
	bits rows
}

// newSome keeps what is smaller.
func newSome(list []uint16, n int) some {
	if len(list)*2 <= (n+63)/64*8 {
		return some{list: slices.Clip(list)}
	}
	bits := newRows(n)
	for _, row := range list {
		bits.add(int(row))
	}
	return some{bits: bits}
}

// column finds, for a value of one input, the rows whose test it passes. Rows with - pass in any case
// and are not in the other sets.
type column struct {
	input   *expr.Program
	any     rows
	missing some
	// numbers are the ends of all intervals, ascending; segment 2i is what lies between end i-1 and
	// end i, segment 2i+1 is end i itself.
	numbers  []float64
	segments []some
	texts    map[string]some
	other    some // texts that no row names
	bools    [2]some
}

func newColumn(input *expr.Program, tests []test) *column {
	c := &column{input: input, any: newRows(len(tests))}
	for row := range tests {
		if tests[row].any {
			c.any.add(row)
		}
	}
	set := func(passes func(t *test) bool) some {
		var list []uint16
		for row := range tests {
			if !tests[row].any && passes(&tests[row]) {
				list = append(list, uint16(row))
			}
		}
		return newSome(list, len(tests))
	}
	c.missing = set((*test).undefined)
	switch input.Kind() {
	case expr.NumberKind:
		c.segment(tests)
	case expr.BoolKind:
		for i, value := range [...]bool{false, true} {
			c.bools[i] = set(func(t *test) bool { return t.bool(value) })
		}
	default:
		c.name(tests, set)
	}
	return c
}

// segment cuts the numbers at the ends of all intervals: within a segment every number passes the same
// tests.
func (c *column) segment(tests []test) {
	for row := range tests {
		for _, i := range tests[row].numbers {
			for _, end := range [...]float64{i.low, i.high} {
				if !math.IsInf(end, 0) {
					c.numbers = append(c.numbers, end)
				}
			}
		}
	}
	slices.Sort(c.numbers)
	c.numbers = slices.Compact(c.numbers)
	lists := make([][]uint16, 2*len(c.numbers)+1)
	for row := range tests {
		if tests[row].any || tests[row].missing {
			continue
		}
		c.mark(lists, uint16(row), &tests[row])
	}
	c.segments = make([]some, len(lists))
	for i, list := range lists {
		c.segments[i] = newSome(list, len(tests))
	}
}

// mark enters a row into the segments whose numbers pass its test.
func (c *column) mark(lists [][]uint16, row uint16, t *test) {
	if t.negated {
		for s := range lists {
			if t.number(c.inside(s)) {
				lists[s] = append(lists[s], row)
			}
		}
		return
	}
	last := -1 // intervals of a list may overlap, and a row is entered once
	ordered := slices.Clone(t.numbers)
	slices.SortFunc(ordered, func(a, b interval) int { return cmp.Compare(a.low, b.low) })
	for _, i := range ordered {
		for s := max(c.segmentOf(i.low), last+1); s <= c.segmentOf(i.high); s++ {
			if i.holds(c.inside(s)) {
				lists[s] = append(lists[s], row)
				last = s
			}
		}
	}
}

// segmentOf is the segment of a number.
func (c *column) segmentOf(f float64) int {
	i, found := slices.BinarySearch(c.numbers, f)
	if found {
		return 2*i + 1
	}
	return 2 * i
}

// inside is a number of a segment.
func (c *column) inside(segment int) float64 {
	i := segment / 2
	switch {
	case segment%2 == 1:
		return c.numbers[i]
	case len(c.numbers) == 0:
		return 0
	case i == 0:
		return math.Nextafter(c.numbers[0], math.Inf(-1))
	default:
		return math.Nextafter(c.numbers[i-1], math.Inf(1))
	}
}

func (c *column) name(tests []test, set func(func(*test) bool) some) {
	c.texts = map[string]some{}
	for row := range tests {
		for _, text := range tests[row].texts {
			if _, ok := c.texts[text]; !ok {
				c.texts[text] = set(func(t *test) bool { return t.text(text) })
			}
		}
	}
	// No row names a text with this byte, which UTF-8 has not.
	c.other = set(func(t *test) bool { return t.text("\xff") })
}

// size is about how many bytes the column holds.
func (c *column) size() int {
	bytes := func(s some) int { return len(s.list)*2 + len(s.bits)*8 + 48 }
	total := len(c.any)*8 + bytes(c.missing) + bytes(c.other) + bytes(c.bools[0]) + bytes(c.bools[1])
	for _, s := range c.segments {
		total += bytes(s) + 8
	}
	for text, s := range c.texts {
		total += bytes(s) + len(text)
	}
	return total
}

// passing is the set for the value that the input has now.
func (c *column) passing(v *expr.Vars) some {
	switch c.input.Kind() {
	case expr.BoolKind:
		switch c.input.Bool(v) {
		case expr.True:
			return c.bools[1]
		case expr.False:
			return c.bools[0]
		}
	case expr.NumberKind:
		if f, ok := c.input.Number(v); ok {
			return c.segments[c.segmentOf(f)]
		}
	default:
		if text, ok := c.input.Text(v); ok {
			if s, ok := c.texts[text]; ok {
				return s
			}
			return c.other
		}
	}
	return c.missing
}

// narrow keeps of hits the rows that pass. scratch has the length of hits.
func (c *column) narrow(v *expr.Vars, hits, scratch rows) (left bool) {
	s := c.passing(v)
	copy(scratch, c.any)
	for _, row := range s.list {
		scratch.add(int(row))
	}
	var all uint64
	if s.bits != nil {
		for i := range hits {
			hits[i] &= scratch[i] | s.bits[i]
			all |= hits[i]
		}
		return all != 0
	}
	for i := range hits {
		hits[i] &= scratch[i]
		all |= hits[i]
	}
	return all != 0
}
