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
	r := m.Recode([]*Recoding{nil, {Codes: l}, nil})
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

func TestKeepUsed(t *testing.T) {
	s := &Trees{Trees: []Tree{{Nodes: []Node{
		{Split: Split{Compare: LE, Feature: 9}, Left: 1, Right: 2}, {}, {Linear: 1},
	}}, {Nodes: []Node{{Split: Split{Compare: LE, Feature: 4}, Left: 1, Right: 2}, {}, {}}}},
		LinearLeaves: []LinearLeaf{{Features: []int32{9, 7}}}}
	if kept := s.KeepUsed(); !slices.Equal(kept, []int{4, 7, 9}) {
		t.Errorf("kept %v", kept)
	}
	if s.Trees[0].Nodes[0].Feature != 2 || s.Trees[1].Nodes[0].Feature != 0 || !slices.Equal(s.LinearLeaves[0].Features, []int32{2, 1}) {
		t.Errorf("%+v", s)
	}
}

func TestCompact(t *testing.T) {
	for _, negativeZero := range [...]bool{true, false} {
		for _, row := range [...]Width{F64, F32} {
			compareCompact(t, negativeZero, row)
		}
	}
}

// compareCompact holds trees with renumbered categories against the same trees without.
func compareCompact(t *testing.T, negativeZero bool, row Width) {
	t.Helper()
	split := func(feature, set int32) []Node {
		return []Node{{Split: Split{Compare: In, Feature: feature, Set: set}, Left: 1, Right: 2}, {Leaf: 0}, {Leaf: 1}}
	}
	trees := func() *Trees {
		return &Trees{Outputs: 1, NegativeZero: negativeZero, Row: row, Leaves: []float64{1, 0}, Sets: [][]int32{{0, 7, 900_000}, {7}, {3}},
			Trees: []Tree{{Nodes: split(0, 0)}, {Nodes: split(0, 1)}, {Nodes: split(1, 1)}, {Nodes: split(1, 2)}}}
	}
	plain := &Model{Inputs: []Variable{{Name: "a"}, {Name: "b"}}}
	plain.Raw = plain.Append(trees())
	plain.Output = plain.Raw
	compact, s := &Model{Inputs: plain.Inputs}, trees()
	by := s.Compact(1000)
	if len(by) != 1 || len(by[0].Codes.Keys) != 3 {
		t.Fatalf("recodings %v", by)
	}
	s.In = compact.Recode([]*Recoding{by[0], nil})
	compact.Raw = compact.Append(s)
	compact.Output = compact.Raw
	want, err := NewInterpreter(plain)
	if err != nil {
		t.Fatal(err)
	}
	got, err := NewInterpreter(compact)
	if err != nil {
		t.Fatal(err)
	}
	values := []float64{0, math.Copysign(0, -1), -0.5, -1, 6.99999999999, 899_999.99999, 0.9, 3, 7, 7.5, 8, 900_000, 900_001, 1e12, math.NaN(), math.Inf(1), math.Inf(-1)}
	for _, a := range values {
		for _, b := range values {
			w, _ := want.Run([]float64{a, b})
			if g, _ := got.Run([]float64{a, b}); g[0] != w[0] {
				t.Errorf("%v, %v: %v, want %v", a, b, g[0], w[0])
			}
		}
	}
}
