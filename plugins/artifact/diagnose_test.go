package artifact

import (
	"math"
	"slices"
	"strings"
	"testing"
)

// TestDiagnose changes a row in each of the usual ways and expects the feature and the reason.
func TestDiagnose(t *testing.T) {
	nan := math.NaN()
	names := []string{"age", "spend", "plan", "flag"}
	for _, c := range []struct {
		name      string
		row, want []float64
		expect    []string
	}{
		{"gap", []float64{nan, 7, 2, 1}, []float64{0, 7, 2, 1}, []string{`"age"`, "missing in the row"}},
		{"marker", []float64{-999, 7, 2, 1}, []float64{nan, 7, 2, 1}, []string{`"age"`, "leave the field empty"}},
		{"code", []float64{3, 7.5, 2, 1}, []float64{3, 7.5, 3, 1}, []string{`"plan"`, "off by one"}},
		{"flag", []float64{3.5, 7.5, 2.5, 1}, []float64{3.5, 7.5, 2.5, 0}, []string{`"flag"`, "swapped"}},
		{"digits", []float64{1.2345678, 7.5, 2.5, 5}, []float64{math.Nextafter(1.2345678, 2), 7.5, 2.5, 5}, []string{"17 digits"}},
		{"order", []float64{1.5, 7.5, 2.5, 5}, []float64{7.5, 1.5, 2.5, 5}, []string{`"age" and "spend"`, "another order"}},
		{"all gaps", []float64{nan, nan, 2.5, 5}, []float64{0, 0, 2.5, 5}, []string{"several", "missing in the row"}},
		{"nothing", []float64{1.5, 7.5, 2.5, 5}, []float64{10, 20, 30, 40}, nil},
	} {
		got := Diagnose(names, c.row, func(row []float64) bool {
			return slices.EqualFunc(row, c.want, func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) })
		})
		if (got == "") != (c.expect == nil) {
			t.Errorf("%s: %q", c.name, got)
		}
		for _, part := range c.expect {
			if !strings.Contains(got, part) {
				t.Errorf("%s: %q does not say %s", c.name, got, part)
			}
		}
	}
}
