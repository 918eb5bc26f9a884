package table

import (
	"math/bits"

	"github.com/arbiterhq/arbiter/runtime/expr"
)

// Miss is a cell of a row that does not hit.
type Miss struct {
	// Input is the expression of the column, Cell what the row asks of it.
	Input *expr.Program
	Cell  string
}

// Nearest is the row with the fewest cells that do not hit, of equal ones the first, and those cells. row
// is -1 for a table without rows. It is for explanations, and allocates.
func (t *Table) Nearest(v *expr.Vars) (row int, misses []Miss) {
	words := (t.rows + 63) / 64
	hits, other := make([]rows, len(t.columns)), make(rows, words)
	missed := make([]int, t.rows)
	for i, c := range t.columns {
		hits[i] = make(rows, words)
		for w := range hits[i] {
			hits[i][w] = ^uint64(0)
		}
		if !c.narrow(v, hits[i], other) {
			clear(hits[i])
		}
		for w, set := range hits[i] {
			for set = ^set; set != 0; set &= set - 1 {
				if at := w*64 + bits.TrailingZeros64(set); at < t.rows {
					missed[at]++
				}
			}
		}
	}
	row = -1
	for i := range missed {
		if row < 0 || missed[i] < missed[row] {
			row = i
		}
	}
	for i, c := range t.columns {
		if row >= 0 && hits[i][row/64]>>(row%64)&1 == 0 {
			misses = append(misses, Miss{Input: c.input, Cell: t.inputs[row][i]})
		}
	}
	return row, misses
}
