package artifact

import (
	"fmt"
	"math"
	"strings"
)

// Diagnosis limits: how many features are tried one by one, and up to how many pairs of them are.
const (
	maxSuspects      = 3
	maxDiagnosed     = 512
	maxDiagnosePairs = 40
)

// cause is a way in which a value of a row may have been changed between the library and the row.
type cause struct {
	change func(float64) (float64, bool) // false: does not apply
	why    string
}

// causes are the usual ones, most telling first.
func causes() []cause {
	finite := func(change func(float64) float64) func(float64) (float64, bool) {
		return func(x float64) (float64, bool) {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				return x, false
			}
			y := change(x)
			return y, y != x
		}
	}
	digits := "it lies on a threshold of the model or beside it, and was rounded on its way into the row: write rows with 17 digits"
	missing := func(x float64) (float64, bool) { return math.NaN(), !math.IsNaN(x) }
	return []cause{
		{finite(func(x float64) float64 { return float64(float32(x)) }), "the library was given it as a 32-bit float: cast the rows to float32 before writing them"},
		{finite(func(x float64) float64 { return math.Nextafter(x, math.Inf(1)) }), digits},
		{finite(func(x float64) float64 { return math.Nextafter(x, math.Inf(-1)) }), digits},
		{finite(func(x float64) float64 { return float64(math.Nextafter32(float32(x), float32(math.Inf(1)))) }), digits},
		{finite(func(x float64) float64 { return float64(math.Nextafter32(float32(x), float32(math.Inf(-1)))) }), digits},
		{finite(func(x float64) float64 { return x + 1e-6*math.Abs(x) }), digits},
		{finite(func(x float64) float64 { return x - 1e-6*math.Abs(x) }), digits},
		{func(x float64) (float64, bool) { return 0, math.IsNaN(x) }, "it is missing in the row, and the library was given 0: leave gaps empty for both, or fill both"},
		{func(x float64) (float64, bool) {
			y, ok := missing(x)
			return y, ok && (x == 0 || x < 0)
		}, "the library takes this value for a missing one (a marker such as 0 or -999): leave the field empty"},
		{finite(func(x float64) float64 {
			if x == 0 || x == 1 {
				return 1 - x
			}
			return x
		}), "0 and 1 are swapped: the level of a one-hot feature, or a bool, is the other one"},
		{finite(func(x float64) float64 { return whole(x, x+1) }), "codes of categories are off by one: the levels are in another order, or begin with another number, than in training"},
		{finite(func(x float64) float64 { return whole(x, x-1) }), "codes of categories are off by one: the levels are in another order, or begin with another number, than in training"},
		{missing, "the library was given a missing value there: an unknown category, or another column"},
	}
}

// whole is y if x is a small whole number, else x.
func whole(x, y float64) float64 {
	if x == math.Trunc(x) && math.Abs(x) < 1<<20 {
		return y
	}
	return x
}

// Diagnose tells what may be wrong with a row whose score is not the expected one: it tries the usual
// mistakes, one value at a time, then whole rows, then pairs of columns that may be swapped, and asks
// agrees, which scores a row and compares, about each. names are those of the values of the row. The
// answer is a sentence without a full stop; "" when no such change explains the difference. It names
// features, and never a value.
func Diagnose(names []string, row []float64, agrees func(row []float64) bool) string {
	changed := append([]float64(nil), row...)
	found, why := []string(nil), ""
	all := causes()
	for i := range row[:min(len(row), maxDiagnosed)] {
		for c := range all {
			y, ok := all[c].change(row[i])
			if !ok {
				continue
			}
			changed[i] = y
			same := agrees(changed)
			changed[i] = row[i]
			if same {
				if len(found) == 0 {
					why = all[c].why
				}
				found = append(found, fmt.Sprintf("%q", names[i]))
				break
			}
		}
		if len(found) == maxSuspects {
			break
		}
	}
	if len(found) > 0 {
		return "suspicious: feature " + strings.Join(found, " or ") + "; the scores agree when it is changed so: " + why
	}
	for c := range all {
		any := false
		for i := range row {
			y, ok := all[c].change(row[i])
			if ok {
				changed[i], any = y, true
			}
		}
		same := any && agrees(changed)
		copy(changed, row)
		if same {
			return "suspicious: several features at once; the scores agree when all are changed so: " + all[c].why
		}
	}
	if len(row) > maxDiagnosePairs {
		return ""
	}
	for i := range row {
		for j := range i {
			if row[i] == row[j] {
				continue
			}
			changed[i], changed[j] = row[j], row[i]
			same := agrees(changed)
			changed[i], changed[j] = row[i], row[j]
			if same {
				return fmt.Sprintf("suspicious: features %q and %q; the scores agree when they are swapped: the columns are in another order than in training", names[j], names[i])
			}
		}
	}
	return ""
}

// Names are those of the features of m, in order.
func (m *Manifest) Names() []string {
	names := make([]string, len(m.Features))
	for i := range m.Features {
		names[i] = m.Features[i].Name
	}
	return names
}
