package emit

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// shape is what a random step of trees looks like.
type shape struct {
	trees, depth int
	row, acc     ir.Width
	outputs      int
	vectors      bool
	linear       bool
	compares     []ir.Compare
	missing      []ir.Missing
	wideRange    bool
}

func (w shape) fit(v float64) float64 {
	if w.acc == ir.F32 {
		return float64(float32(v))
	}
	return v
}

var everyCompare = []ir.Compare{ir.LT, ir.LE, ir.GT, ir.GE, ir.EQ, ir.NE, ir.In, ir.NotIn}
var everyMissing = []ir.Missing{ir.MissingNaN, ir.MissingZero, ir.MissingNone}

// randomSplit asks for a value on, beside or far from those of randomRow.
func (w shape) randomSplit(random *rand.Rand, features int) ir.Split {
	s := ir.Split{Feature: int32(random.IntN(features)), Compare: w.compares[random.IntN(len(w.compares))],
		Missing: w.missing[random.IntN(len(w.missing))], Default: random.IntN(2) == 0, Value: float64(random.IntN(9)-4) / 2}
	switch random.IntN(6) {
	case 0:
		s.Value = []float64{0, math.Copysign(0, -1), math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat32, math.MaxFloat64,
			-math.MaxFloat32, math.Inf(1), math.Inf(-1), ir.ZeroThreshold, -ir.ZeroThreshold, 1e-60, -1e-60}[random.IntN(12)]
	case 1:
		s.Value = math.Nextafter(s.Value, math.Inf(random.IntN(2)*2-1))
	case 2:
		s.Value = float64(math.Nextafter32(float32(s.Value), float32(math.Inf(random.IntN(2)*2-1))))
	}
	if w.wideRange {
		s.Value = random.NormFloat64()
	}
	if s.Compare >= ir.In {
		s.Set, s.Value = int32(random.IntN(3)), 0
	}
	return s
}

func (w shape) randomTrees(random *rand.Rand, features int) *ir.Trees {
	s := &ir.Trees{Row: w.row, Acc: w.acc, Outputs: w.outputs, Sets: [][]int32{{0, 2}, {1, 3, 70}, {}}, NegativeZero: random.IntN(2) == 0}
	for range w.outputs {
		s.Base = append(s.Base, w.fit(random.NormFloat64()))
	}
	for i := range w.trees {
		t := ir.Tree{Output: int32(i % w.outputs), Nodes: []ir.Node{{}}}
		values := 1
		if w.vectors && random.IntN(4) > 0 {
			t.Output, values = ir.AllOutputs, w.outputs
		}
		levels := []int{0}
		for i := 0; i < len(t.Nodes); i++ {
			if levels[i] >= w.depth || i > 0 && random.IntN(4) == 0 || len(t.Nodes) > 300 {
				t.Nodes[i] = ir.Node{Leaf: int32(len(s.Leaves))}
				for range values {
					s.Leaves = append(s.Leaves, w.fit(random.NormFloat64()))
				}
				if w.linear && random.IntN(2) == 0 {
					l := ir.LinearLeaf{Constant: random.NormFloat64()}
					for range random.IntN(4) {
						l.Features = append(l.Features, int32(random.IntN(features)))
						l.Coefficients = append(l.Coefficients, random.NormFloat64())
					}
					s.LinearLeaves = append(s.LinearLeaves, l)
					t.Nodes[i].Linear = int32(len(s.LinearLeaves))
				}
				continue
			}
			n := int32(len(t.Nodes))
			t.Nodes[i] = ir.Node{Split: w.randomSplit(random, features), Left: n, Right: n + 1}
			if random.IntN(2) == 0 {
				t.Nodes[i].Left, t.Nodes[i].Right = n+1, n
			}
			t.Nodes = append(t.Nodes, ir.Node{}, ir.Node{})
			levels = append(levels, levels[i]+1, levels[i]+1)
		}
		s.Trees = append(s.Trees, t)
	}
	return s
}

func (w shape) randomOblivious(random *rand.Rand, features int) *ir.Oblivious {
	s := &ir.Oblivious{Row: w.row, Acc: w.acc, Outputs: w.outputs}
	for range 40 {
		split := w.randomSplit(random, features)
		if split.Compare >= ir.In {
			split.Compare, split.Set = ir.GT, 0
		}
		s.Splits = append(s.Splits, split)
	}
	for range w.trees {
		t := ir.ObliviousTree{}
		depth := w.depth
		if w.linear {
			depth = random.IntN(w.depth + 1)
		}
		for range depth {
			t.Splits = append(t.Splits, int32(random.IntN(len(s.Splits))))
		}
		for range w.outputs << len(t.Splits) {
			t.Leaves = append(t.Leaves, w.fit(random.NormFloat64()))
		}
		s.Trees = append(s.Trees, t)
	}
	return s
}

// randomRow holds values on, beside and far from the thresholds.
func randomRow(random *rand.Rand, n int) []float64 {
	row := make([]float64, n)
	for i := range row {
		x := float64(random.IntN(9)-4) / 2
		switch random.IntN(10) {
		case 0:
			x = math.NaN()
		case 1:
			x = math.Copysign(0, -1)
		case 2:
			x = math.Inf(random.IntN(2)*2 - 1)
		case 3:
			x = float64(math.Nextafter32(float32(x), float32(math.Inf(random.IntN(2)*2-1))))
		case 4:
			x = math.Nextafter(x, math.Inf(random.IntN(2)*2-1)) // rounds to a threshold in 32 bits
		case 6, 7:
			x = random.NormFloat64()
		case 5:
			x = []float64{1e300, -1e300, 1e-300, math.SmallestNonzeroFloat32 / 2, 3.5e38, math.Float64frombits(0xfff8000000000001),
				ir.ZeroThreshold, -ir.ZeroThreshold, 1.1e-35, -0.5, -0.99, 70.5, 71, 1e9}[random.IntN(14)]
		}
		row[i] = x
	}
	return row
}

func same(a, b float64) bool {
	return math.Float64bits(a) == math.Float64bits(b) || a != a && b != b
}

func inputs(n int) (v []ir.Variable) {
	for i := range n {
		v = append(v, ir.Variable{Name: fmt.Sprintf("f%d", i)})
	}
	return v
}

// checkModule compares the module of m with the interpreter on random rows, one and many, and checks
// that the fuel of the limits covers each call.
func checkModule(t *testing.T, random *rand.Rand, m *ir.Model, subject int, mode mode) *Module {
	t.Helper()
	in, err := ir.NewInterpreter(m)
	if err != nil {
		t.Fatal(err)
	}
	out, err := emit(m, subject, maxRows, mode)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wasmbin.Check(out.Bytes, wasmbin.Limits{}); err != nil {
		t.Fatal(err)
	}
	candidate := len(m.Inputs) - subject
	guests := []*guest{instantiate(t, out.Bytes, subject, candidate, out.Limits.MaxRows, false), instantiate(t, out.Bytes, subject, candidate, out.Limits.MaxRows, true)}
	counts := []int{0, 1, 2, 6, 7, 8, 9, 16, 40}
	if hasTrees(m) && mode != modeKeys && mode != modePlain {
		counts = []int{1, 2, 4, 9, 40, 128, 3, 200, 12}
	}
	for _, rows := range counts {
		if rows > out.Limits.MaxRows {
			continue
		}
		row, candidates := randomRow(random, subject), randomRow(random, candidate*rows)
		for linked := range 2 {
			for _, g := range guests {
				f := [...]func() ([]float64, uint32){func() ([]float64, uint32) { return g.call(g.raw, row, candidates, rows) },
					func() ([]float64, uint32) { return g.call(g.score, row, candidates, rows) }}[linked]
				got, status := f()
				if status != 0 {
					t.Fatalf("%d rows: status %d", rows, status)
				}
				for i := range got {
					full := append(append([]float64{}, row...), candidates[i*candidate:(i+1)*candidate]...)
					raw, score := in.Run(full)
					want := raw[0]
					if linked == 1 {
						want = score[0]
					}
					if !same(got[i], want) {
						t.Fatalf("%d rows, linked %d, row %d: %v, want %v; row %v", rows, linked, i, got[i], want, full)
					}
				}
			}
			if budget := out.Limits.FuelBase + int64(rows)*out.Limits.FuelPerRow; guests[1].used() > budget {
				t.Errorf("%d rows used %d fuel, the limits allow %d", rows, guests[1].used(), budget)
			}
		}
	}
	return out
}

// TestTrees compares modules of every layout with the interpreter.
func TestTrees(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	less, nan := []ir.Compare{ir.LT}, []ir.Missing{ir.MissingNaN}
	for _, c := range []struct {
		shape
		features, candidate int
		layout              string
	}{
		{shape{trees: 1, depth: 0, acc: ir.F32, row: ir.F32, compares: less, missing: nan}, 1, 0, "heap8"},
		{shape{trees: 7, depth: 3, acc: ir.F32, row: ir.F32, compares: less, missing: nan}, 5, 2, "heap8"},
		{shape{trees: 20, depth: 6, acc: ir.F32, row: ir.F32, compares: everyCompare, missing: everyMissing}, 45, 9, "heap8"},
		{shape{trees: 20, depth: 6, acc: ir.F32, row: ir.F32, compares: everyCompare, missing: everyMissing, outputs: 3}, 45, 9, "heap8"},
		{shape{trees: 40, depth: 14, acc: ir.F32, row: ir.F32, compares: everyCompare, missing: everyMissing}, 30, 7, "loop8"},
		{shape{trees: 40, depth: 14, acc: ir.F64, row: ir.F32, compares: everyCompare, missing: everyMissing}, 30, 7, "loop8"},
		{shape{trees: 40, depth: 14, acc: ir.F64, row: ir.F64, compares: everyCompare, missing: everyMissing}, 30, 7, "loop8"},
		{shape{trees: 40, depth: 14, acc: ir.F32, row: ir.F64, compares: everyCompare, missing: everyMissing, outputs: 2}, 30, 30, "loop8"},
		{shape{trees: 30, depth: 9, acc: ir.F64, row: ir.F64, compares: everyCompare, missing: everyMissing, outputs: 4, vectors: true}, 30, 3, "loop8"},
		{shape{trees: 30, depth: 9, acc: ir.F32, row: ir.F32, compares: everyCompare, missing: everyMissing, outputs: 4, vectors: true}, 30, 0, "loop8"},
		{shape{trees: 30, depth: 5, acc: ir.F64, row: ir.F64, compares: everyCompare, missing: everyMissing, linear: true}, 12, 5, "loop8"},
		{shape{trees: 10, depth: 5, acc: ir.F32, row: ir.F32, compares: less, missing: nan}, 700, 350, "heap8"},
		{shape{trees: 10, depth: 5, acc: ir.F64, row: ir.F64, compares: everyCompare, missing: everyMissing}, 700, 350, "loop8"},
		{shape{trees: 30, depth: 5, acc: ir.F32, row: ir.F32, compares: everyCompare, missing: everyMissing}, 4000, 0, "loop8"},
		{shape{trees: 60, depth: 12, acc: ir.F64, row: ir.F64, compares: less, missing: everyMissing, wideRange: true}, 3, 1, "loop8"},
		{shape{trees: 60, depth: 8, acc: ir.F64, row: ir.F32, compares: less, missing: nan, wideRange: true}, 2, 1, "loop8"},
		{shape{trees: 60, depth: 7, acc: ir.F32, row: ir.F32, compares: less, missing: nan, wideRange: true}, 2, 2, "heap8"},
		{shape{trees: 5, depth: 40, acc: ir.F64, row: ir.F64, compares: less, missing: nan, wideRange: true}, 4, 2, "loop8"},
	} {
		c.outputs = max(c.outputs, 1)
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			for _, mode := range []mode{modeAny, modeAnswers, modePerfect, modeKeys, modePlain} {
				m := &ir.Model{Inputs: inputs(c.features)}
				s := c.randomTrees(random, c.features)
				m.Raw = m.Append(s)
				if c.outputs > 1 {
					soft := m.Append(&ir.Activation{In: m.Raw, Func: ir.Softmax})
					m.Output = m.Append(&ir.Gather{In: soft, Columns: []int{1}})
					m.Raw = m.Append(&ir.Gather{In: m.Raw, Columns: []int{c.outputs - 1}})
				} else {
					m.Output = m.Append(&ir.Activation{In: m.Raw, Func: ir.SigmoidXG, Width: ir.F32})
				}
				out := checkModule(t, random, m, c.features-c.candidate, mode)
				if mode == modeKeys && out.Layouts[0] != c.layout {
					t.Errorf("layouts %v, want %s", out.Layouts, c.layout)
				}
			}
		})
	}
}

func TestOblivious(t *testing.T) {
	random := rand.New(rand.NewPCG(9, 7))
	for _, c := range []struct {
		shape
		features, candidate int
	}{
		{shape{trees: 20, depth: 6, row: ir.F32, acc: ir.F64, outputs: 1, compares: []ir.Compare{ir.GT}, missing: everyMissing}, 9, 3},
		{shape{trees: 20, depth: 6, row: ir.F32, acc: ir.F32, outputs: 1, compares: everyCompare, missing: everyMissing}, 9, 0},
		{shape{trees: 90, depth: 5, row: ir.F64, acc: ir.F64, outputs: 1, compares: everyCompare, missing: everyMissing, linear: true}, 9, 4},
		{shape{trees: 12, depth: 3, row: ir.F32, acc: ir.F64, outputs: 3, compares: everyCompare, missing: everyMissing, linear: true}, 9, 4},
		{shape{trees: 5, depth: 0, row: ir.F32, acc: ir.F64, outputs: 1, compares: everyCompare, missing: everyMissing}, 2, 1},
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			m := &ir.Model{Inputs: inputs(c.features)}
			sums := m.Append(c.randomOblivious(random, c.features))
			m.Raw = m.Append(&ir.Gather{In: sums, Columns: []int{c.outputs - 1}})
			m.Output = m.Append(&ir.Activation{In: m.Raw, Func: ir.Sigmoid})
			checkModule(t, random, m, c.features-c.candidate, modeAny)
		})
	}
}

// TestSteps runs every plain step in both widths.
func TestSteps(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 7))
	const n = 7
	some := func(n int) []float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = random.NormFloat64()
		}
		return v
	}
	nan := math.NaN()
	steps := map[string]func(w ir.Width) ir.Step{
		"gather":       func(ir.Width) ir.Step { return &ir.Gather{Columns: []int{3, 3, 0, 6}} },
		"gather one":   func(ir.Width) ir.Step { return &ir.Gather{Columns: []int{4}} },
		"long gather":  func(ir.Width) ir.Step { c := make([]int, 100); c[99] = 5; return &ir.Gather{Columns: c} },
		"concat":       func(ir.Width) ir.Step { return &ir.Concat{Parts: []ir.Ref{0, 1, 0}} },
		"const":        func(ir.Width) ir.Step { return &ir.Const{Values: some(3)} },
		"impute":       func(ir.Width) ir.Step { return &ir.Impute{Values: some(n), Missing: nan} },
		"impute value": func(ir.Width) ir.Step { return &ir.Impute{Values: some(1), Missing: 1.5, KeepNaN: true} },
		"affine":       func(w ir.Width) ir.Step { return &ir.Affine{Offset: some(n), Scale: some(1), Width: w} },
		"one-hot": func(ir.Width) ir.Step {
			return &ir.OneHot{Categories: [][]float64{{0, 1}, {}, {0.5}, {2, 1, -1}, {0}, {1}, {-0.5, 0, 0.5}}}
		},
		"lookup": func(ir.Width) ir.Step {
			return &ir.Lookup{Keys: []float64{-2, -0.5, 0, 1, 1.5}, Values: some(5), Default: 7, Missing: 8}
		},
		"lookup of one": func(ir.Width) ir.Step {
			return &ir.Lookup{Keys: []float64{0}, Values: some(1), Default: nan, Missing: 8}
		},
		"empty lookup": func(ir.Width) ir.Step { return &ir.Lookup{Default: 3, Missing: 8} },
		"bucket": func(ir.Width) ir.Step {
			return &ir.Bucket{Bounds: [][]float64{{0, 1}, {}, {0.5}, {-1, 1, 2}, {0}, {1}, {-0.5, 0}}}
		},
		"closed bucket": func(ir.Width) ir.Step {
			return &ir.Bucket{Bounds: [][]float64{{0, 1}, {}, {0.5}, {-1, 1, 2}, {0}, {1}, {-0.5, 0}}, Closed: true}
		},
		"linear": func(w ir.Width) ir.Step { return &ir.Linear{Weights: [][]float64{some(n)}, Bias: some(1), Width: w} },
		"linear last": func(w ir.Width) ir.Step {
			return &ir.Linear{Weights: [][]float64{some(n), some(n), some(n)}, Bias: some(3), BiasLast: true, Width: w, SkipMissing: true}
		},
		"linear wide": func(w ir.Width) ir.Step {
			s := &ir.Linear{Width: w, SkipMissing: true}
			for range 37 {
				s.Weights = append(s.Weights, some(n))
			}
			return s
		},
		"where":   func(ir.Width) ir.Step { return &ir.Where{Cond: 0, A: 1, B: 0} },
		"where 1": func(ir.Width) ir.Step { return &ir.Where{Cond: 2, A: 1, B: 0} },
	}
	for op := ir.Add; op <= ir.NotEqual; op++ {
		steps[fmt.Sprintf("arith %d", op)] = func(w ir.Width) ir.Step { return &ir.Arith{Op: op, A: 1, B: 0, Width: w} }
		steps[fmt.Sprintf("arith %d with one", op)] = func(w ir.Width) ir.Step { return &ir.Arith{Op: op, A: 2, B: 0, Width: w} }
	}
	for kind := ir.ToF32; kind <= ir.ToRounded; kind++ {
		steps[fmt.Sprintf("cast %d", kind)] = func(ir.Width) ir.Step { return &ir.Cast{To: kind} }
	}
	for fn := ir.Identity; fn <= ir.CLogLog; fn++ {
		steps[fmt.Sprintf("function %d", fn)] = func(w ir.Width) ir.Step { return &ir.Activation{In: 0, Func: fn, Width: w} }
		steps[fmt.Sprintf("function %d of one", fn)] = func(w ir.Width) ir.Step { return &ir.Activation{In: 2, Func: fn, Width: w, Param: 1.7} }
	}
	for norm := ir.NormL1; norm <= ir.NormSum; norm++ {
		steps[fmt.Sprintf("norm %d", norm)] = func(w ir.Width) ir.Step { return &ir.Normalize{Norm: norm, Width: w} }
	}
	for by := ir.ReduceSum; by <= ir.ReduceArgMax; by++ {
		steps[fmt.Sprintf("reduce %d", by)] = func(w ir.Width) ir.Step { return &ir.Reduce{By: by, Width: w} }
		steps[fmt.Sprintf("reduce %d of one", by)] = func(w ir.Width) ir.Step { return &ir.Reduce{In: 2, By: by, Width: w} }
	}
	for name, step := range steps {
		for _, w := range []ir.Width{ir.F64, ir.F32} {
			t.Run(fmt.Sprintf("%s/%d", name, w), func(t *testing.T) {
				m := &ir.Model{Inputs: inputs(n)}
				m.Append(&ir.Affine{Offset: []float64{0.25}, Scale: some(n)})
				m.Append(&ir.Gather{Columns: []int{2}})
				out := m.Append(step(w))
				lengths, err := m.Lengths()
				if err != nil {
					t.Fatal(err)
				}
				for _, subject := range []int{n, 4} {
					for c := range lengths[out] {
						m.Raw = m.Append(&ir.Gather{In: out, Columns: []int{c}})
						m.Output = m.Raw
						if c%5 == 0 || c == lengths[out]-1 {
							checkModule(t, random, m, subject, modeAny)
						}
						m.Steps = m.Steps[:out]
					}
				}
			})
		}
	}
}

// TestTreesWithinPipelines puts trees behind and beside other steps.
func TestTreesWithinPipelines(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 7))
	w := shape{trees: 11, depth: 5, row: ir.F32, acc: ir.F32, outputs: 1, compares: everyCompare, missing: everyMissing}
	m := &ir.Model{Inputs: inputs(9)}
	scaled := m.Append(&ir.Affine{Offset: []float64{0.5}, Scale: []float64{2}})
	a := w.randomTrees(random, 9)
	a.In = scaled
	first := m.Append(a)
	second := m.Append(w.randomTrees(random, 9))
	w.row, w.acc = ir.F64, ir.F64
	o := w.randomOblivious(random, 9)
	o.In = scaled
	third := m.Append(o)
	m.Raw = m.Append(&ir.Arith{Op: ir.Mul, A: m.Append(&ir.Arith{A: first, B: second}), B: third})
	m.Output = m.Append(&ir.Activation{In: m.Raw, Func: ir.Log1pExp})
	for _, subject := range []int{9, 5, 0} {
		checkModule(t, random, m, subject, modeAny)
	}
}

// TestKeysKeepOrder checks the integers that stand for floats.
func TestKeysKeepOrder(t *testing.T) {
	ordered := []float64{math.Inf(-1), -math.MaxFloat32, -1, -math.SmallestNonzeroFloat32, 0, math.SmallestNonzeroFloat32, 1, math.MaxFloat32, math.Inf(1)}
	thresholds := append([]float64{1e-60, -1e-60, math.MaxFloat64, 0.1, -0.1, math.Nextafter(1, 2), math.Nextafter(1, 0)}, ordered...)
	for _, a := range ordered {
		if k := key32(float32(a)); k <= missingLow32 || k >= missingHigh32 {
			t.Errorf("the key of %v is not between those of missing values", a)
		}
		for _, b := range thresholds {
			for _, wide := range []bool{false, true} {
				k := int64(key32(float32(a)))
				if wide {
					k = key64(a)
				}
				if low := k <= greatestLow(b, true, wide); low != (a < b) {
					t.Errorf("%v < %v: %v", a, b, low)
				}
				if low := k <= greatestLow(b, false, wide); low != (a <= b) {
					t.Errorf("%v <= %v: %v", a, b, low)
				}
			}
		}
	}
}
