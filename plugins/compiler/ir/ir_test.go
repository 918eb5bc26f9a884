package ir_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// TestFunctions compares the functions with package math, in units in the last place.
func TestFunctions(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	tests := []struct {
		name           string
		got, want      func(float64) float64
		low, high, ulp float64
	}{
		{"exp", ir.ExpOf, math.Exp, -708, 709.4, 2},
		{"exp near 0", ir.ExpOf, math.Exp, -1e-3, 1e-3, 1},
		{"log", ir.LogOf, math.Log, 1e-300, 4, 1},
		{"log of large", ir.LogOf, math.Log, 1, 1e300, 1},
		{"tanh", ir.TanhOf, math.Tanh, -20, 20, 16},
		{"tanh near 0", ir.TanhOf, math.Tanh, -0.2, 0.2, 16},
		{"sigmoid", ir.SigmoidOf, func(x float64) float64 { return 1 / (1 + math.Exp(-x)) }, -700, 700, 3},
		{"log1pexp", ir.Log1pExpOf, func(x float64) float64 { return math.Log1p(math.Exp(x)) }, -40, 40, 4},
	}
	for _, test := range tests {
		worst, where := 0.0, 0.0
		for range 200_000 {
			x := test.low + random.Float64()*(test.high-test.low)
			got, want := test.got(x), test.want(x)
			ulp := math.Nextafter(math.Abs(want), math.Inf(1)) - math.Abs(want)
			if d := math.Abs(got-want) / ulp; d > worst || d != d {
				worst, where = d, x
			}
		}
		t.Logf("%s: at most %g ulp", test.name, worst)
		if !(worst <= test.ulp) {
			t.Errorf("%s(%g) is %g, %g ulp from %g", test.name, where, test.got(where), worst, test.want(where))
		}
	}
	inf := math.Inf(1)
	for _, c := range []struct{ got, want float64 }{
		{ir.ExpOf(inf), inf}, {ir.ExpOf(-inf), 0}, {ir.ExpOf(0), 1}, {ir.ExpOf(710), inf}, {ir.ExpOf(-746), 0},
		{ir.LogOf(inf), inf}, {ir.LogOf(0), -inf}, {ir.LogOf(1), 0}, {ir.LogOf(5e-324), -744.4400719213812},
		{ir.TanhOf(inf), 1}, {ir.TanhOf(-inf), -1}, {ir.SigmoidOf(inf), 1}, {ir.SigmoidOf(-inf), 0},
	} {
		if c.got != c.want {
			t.Errorf("got %g, want %g", c.got, c.want)
		}
	}
	if !math.IsNaN(ir.LogOf(-1)) || !math.IsNaN(ir.ExpOf(math.NaN())) || !math.IsNaN(ir.TanhOf(math.NaN())) {
		t.Error("NaN does not stay NaN")
	}
}

// TestSplits pins the rules of missing values, zeros and categories.
func TestSplits(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	sets := [][]int32{{0, 3, 40}}
	zero := ir.ZeroThreshold
	for i, c := range []struct {
		split    ir.Split
		x        float64
		negative bool
		want     bool
	}{
		{split: ir.Split{Compare: ir.LT, Value: 1}, x: 1},
		{split: ir.Split{Compare: ir.LE, Value: 1}, x: 1, want: true},
		{split: ir.Split{Compare: ir.LE, Value: inf}, x: inf, want: true},
		{split: ir.Split{Compare: ir.LE, Value: inf}, x: nan},
		{split: ir.Split{Compare: ir.LE, Value: -1, Default: true}, x: nan, want: true},
		{split: ir.Split{Compare: ir.LE, Value: 0, Missing: ir.MissingNone}, x: nan, want: true},
		{split: ir.Split{Compare: ir.LE, Value: -1, Missing: ir.MissingNone, Default: true}, x: nan},
		{split: ir.Split{Compare: ir.LE, Value: -1, Missing: ir.MissingZero, Default: true}, x: zero, want: true},
		{split: ir.Split{Compare: ir.LE, Value: -1, Missing: ir.MissingZero, Default: true}, x: math.Nextafter(zero, 1)},
		{split: ir.Split{Compare: ir.GE, Value: 0}, x: math.Copysign(0, -1), want: true},
		{split: ir.Split{Compare: ir.EQ, Value: 0}, x: math.Copysign(0, -1), want: true},
		{split: ir.Split{Compare: ir.NE, Value: 3}, x: 3},
		{split: ir.Split{Compare: ir.In}, x: 3.9, want: true},
		{split: ir.Split{Compare: ir.In}, x: -0.5},
		{split: ir.Split{Compare: ir.In}, x: -0.5, negative: true, want: true},
		{split: ir.Split{Compare: ir.In}, x: -1, negative: true},
		{split: ir.Split{Compare: ir.In}, x: 1e300},
		{split: ir.Split{Compare: ir.NotIn}, x: 1e300, want: true},
		{split: ir.Split{Compare: ir.In}, x: 41},
		{split: ir.Split{Compare: ir.In}, x: nan},
		{split: ir.Split{Compare: ir.In, Missing: ir.MissingNone}, x: nan, want: true},
	} {
		if got := c.split.Left(c.x, sets, c.negative); got != c.want {
			t.Errorf("case %d: %+v sends %g left: %v", i, c.split, c.x, got)
		}
	}
}

// TestValidate refuses what is no program or no tree.
func TestValidate(t *testing.T) {
	tree := func(edit func(*ir.Trees)) *ir.Model {
		trees := &ir.Trees{Outputs: 1, Leaves: []float64{1, 2}, Trees: []ir.Tree{{Nodes: []ir.Node{
			{Split: ir.Split{Compare: ir.LT, Value: 5}, Left: 1, Right: 2}, {Leaf: 0}, {Leaf: 1}}}}}
		edit(trees)
		m := &ir.Model{Inputs: []ir.Variable{{Name: "a"}}}
		m.Raw = m.Append(trees)
		m.Output = m.Append(&ir.Activation{In: m.Raw, Func: ir.Sigmoid})
		return m
	}
	in, err := ir.NewInterpreter(tree(func(*ir.Trees) {}))
	if err != nil {
		t.Fatal(err)
	}
	if raw, out := in.Run([]float64{3}); raw[0] != 1 || out[0] != ir.SigmoidOf(1) {
		t.Errorf("raw %v output %v", raw, out)
	}
	for i, edit := range []func(*ir.Trees){
		func(s *ir.Trees) { s.Trees[0].Nodes[0].Left = 0 },
		func(s *ir.Trees) { s.Trees[0].Nodes[0].Left = 2 },
		func(s *ir.Trees) { s.Trees[0].Nodes[0].Right = 3 },
		func(s *ir.Trees) { s.Trees[0].Nodes[0].Feature = 1 },
		func(s *ir.Trees) { s.Trees[0].Nodes[0].Value = math.NaN() },
		func(s *ir.Trees) { s.Trees[0].Nodes[0].Compare = ir.In },
		func(s *ir.Trees) { s.Trees[0].Nodes[1].Leaf = 2 },
		func(s *ir.Trees) { s.Trees[0].Output = 1 },
		func(s *ir.Trees) { s.Acc = ir.F32; s.Leaves[0] = 0.1 },
		func(s *ir.Trees) { s.Base = []float64{1, 2} },
		func(s *ir.Trees) { s.In = 1 },
		func(s *ir.Trees) { s.Trees[0].Nodes = nil },
	} {
		if err := tree(edit).Validate(); err == nil {
			t.Errorf("case %d is accepted", i)
		}
	}
}
