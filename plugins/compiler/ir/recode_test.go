package ir

import (
	"math"
	"slices"
	"testing"
)

func TestRecode(t *testing.T) {
	if l, err := Codes([]float64{0, 1, 2}); l != nil || err != nil {
		t.Errorf("numbers that are their own codes: %v, %v", l, err)
	}
	for _, bad := range [][]float64{{3, 3}, {1, math.NaN()}} {
		if _, err := Codes(bad); err == nil {
			t.Errorf("%v is no list of categories", bad)
		}
	}
	l, err := Codes([]float64{30, 10, 20})
	if err != nil {
		t.Fatal(err)
	}
	m := &Model{Inputs: []Variable{{Name: "a"}, {Name: "b"}, {Name: "c"}}}
	r := m.Recode([]*Lookup{nil, l, nil})
	m.Raw = m.Append(&Gather{In: r, Columns: []int{0}})
	m.Output = m.Raw
	in, err := NewInterpreter(m)
	if err != nil {
		t.Fatal(err)
	}
	for b, want := range map[float64]float64{30: 0, 10: 1, 20: 2} {
		in.Run([]float64{7, b, 9})
		if got := in.Value(r); !slices.Equal(got, []float64{7, want, 9}) {
			t.Errorf("%v: %v", b, got)
		}
	}
	for _, b := range []float64{11, math.NaN(), 0} {
		in.Run([]float64{7, b, 9})
		if got := in.Value(r)[1]; got == got {
			t.Errorf("%v has no code, got %v", b, got)
		}
	}
}
