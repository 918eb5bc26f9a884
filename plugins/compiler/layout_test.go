package compiler

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// randomEnsemble grows trees of random shape whose thresholds include zeros, denormals and infinities.
func randomEnsemble(random *rand.Rand, trees, depth, features int, l link) *ensemble {
	e := &ensemble{base: float32(random.NormFloat64()), link: l}
	for i := range features {
		e.names = append(e.names, fmt.Sprintf("f%d", i))
	}
	odd := []float32{0, float32(math.Copysign(0, -1)), math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32,
		math.MaxFloat32, -math.MaxFloat32, float32(math.Inf(1)), float32(math.Inf(-1))}
	for range trees {
		t := tree{nodes: []node{{}}}
		levels := []int{0}
		for i := 0; i < len(t.nodes); i++ {
			if levels[i] >= depth || i > 0 && random.IntN(4) == 0 || len(t.nodes) > 400 {
				t.nodes[i] = node{feature: -1, value: float32(random.NormFloat64())}
				t.depth = max(t.depth, levels[i])
				continue
			}
			n := node{feature: int32(random.IntN(features)), left: int32(len(t.nodes)), value: float32(random.IntN(9)-4) / 2, defaultLeft: random.IntN(2) == 0}
			if random.IntN(4) == 0 {
				n.value = odd[random.IntN(len(odd))]
			}
			t.nodes[i] = n
			t.nodes = append(t.nodes, node{}, node{})
			levels = append(levels, levels[i]+1, levels[i]+1)
		}
		e.trees = append(e.trees, t)
	}
	return e
}

// randomRow holds values on, beside and far from the thresholds of randomEnsemble.
func randomRow(random *rand.Rand, n int) []float64 {
	row := make([]float64, n)
	for i := range row {
		x := float64(random.IntN(9)-4) / 2
		switch random.IntN(8) {
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
		case 5:
			x = []float64{1e300, -1e300, 1e-300, math.SmallestNonzeroFloat32 / 2, 3.5e38, math.Float64frombits(0xfff8000000000001)}[random.IntN(6)]
		}
		row[i] = x
	}
	return row
}

func (e *ensemble) wants(link bool, row []float64) float64 {
	if link {
		return e.output(e.margin(row))
	}
	return float64(e.margin(row))
}

func same(a, b float64) bool { return a == b || a != a && b != b }

// TestLayouts compares modules of every layout with the interpreter on random ensembles, one row and
// many, and checks that the fuel of the manifest covers each call.
func TestLayouts(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 7))
	for _, c := range []struct {
		trees, depth, features, candidate int
		link                              link
		layout                            string
	}{
		{1, 0, 1, 0, linkIdentity, "heap8"},
		{1, 1, 1, 1, linkSigmoid, "heap8"},
		{7, 3, 5, 2, linkSigmoid, "heap8"},
		{8, 4, 4, 4, linkExp, "heap8"},
		{20, 6, 45, 9, linkSigmoid, "heap8"},
		{33, 8, 13, 3, linkIdentity, "heap8"},
		{17, 12, 9, 0, linkSigmoid, "loop8"},
		{40, 14, 30, 7, linkSigmoid, "loop8"},
		{3, 30, 2, 1, linkIdentity, "loop8"},
		{10, 5, 300, 0, linkSigmoid, "heap8"},
		{10, 5, 700, 350, linkSigmoid, "heap8"},
		{300, 12, 20, 5, linkSigmoid, "loop8"},
	} {
		name := fmt.Sprintf("%d trees of depth %d, %d features, %d of the candidate", c.trees, c.depth, c.features, c.candidate)
		t.Run(name, func(t *testing.T) {
			e := randomEnsemble(random, c.trees, c.depth, c.features, c.link)
			subject := c.features - c.candidate
			out := emit(e, subject)
			if out.layouts[0] != c.layout {
				t.Fatalf("layouts %v, want %s", out.layouts, c.layout)
			}
			plain := instantiate(t, out.module, subject, c.candidate, out.limits.MaxRows, false)
			metered := instantiate(t, out.module, subject, c.candidate, out.limits.MaxRows, true)
			for _, rows := range []int{0, 1, 2, 6, 7, 8, 9, 12, 15, 16, 40} {
				if rows > out.limits.MaxRows {
					continue
				}
				row := randomRow(random, subject)
				candidates := randomRow(random, c.candidate*rows)
				for _, linked := range []bool{false, true} {
					for _, g := range []*guest{plain, metered} {
						f := g.raw
						if linked {
							f = g.score
						}
						got, status := g.call(f, row, candidates, rows)
						if status != 0 {
							t.Fatalf("%d rows: status %d", rows, status)
						}
						for i := range got {
							full := append(append([]float64{}, row...), candidates[i*c.candidate:(i+1)*c.candidate]...)
							if want := e.wants(linked, full); !same(got[i], want) {
								t.Fatalf("%d rows, linked %v, row %d: %v, want %v", rows, linked, i, got[i], want)
							}
						}
					}
					if budget := out.limits.FuelBase + int64(rows)*out.limits.FuelPerRow; metered.used() > budget {
						t.Errorf("%d rows used %d fuel, the manifest allows %d", rows, metered.used(), budget)
					}
				}
			}
		})
	}
}

// TestGuestRefuses calls with the wrong geometry.
func TestGuestRefuses(t *testing.T) {
	e := randomEnsemble(rand.New(rand.NewPCG(1, 1)), 3, 3, 5, linkSigmoid)
	out := emit(e, 3)
	g := instantiate(t, out.module, 3, 2, 4, true)
	reserve := g.module.ExportedFunction("arbiter_reserve")
	for _, args := range [][3]uint64{{2, 4, 2}, {3, 4, 3}, {3, uint64(out.limits.MaxRows) + 1, 2}, {3, math.MaxUint32, 2}} {
		at, err := reserve.Call(t.Context(), args[0], args[1], args[2])
		if err != nil || int64(at[0]) != -1 {
			t.Errorf("reserve %v: %v, %v", args, at, err)
		}
	}
	for _, c := range []struct {
		subject, rows, candidate, status uint64
	}{{2, 1, 2, statusFeatures}, {3, 1, 1, statusFeatures}, {3, uint64(out.limits.MaxRows) + 1, 2, statusRows}, {3, math.MaxUint32, 2, statusRows}, {3, 0, 2, 0}} {
		status, err := g.score.Call(t.Context(), uint64(g.input), c.subject, uint64(g.input), c.rows, c.candidate, uint64(g.out))
		if err != nil || status[0] != c.status {
			t.Errorf("%+v: status %v, %v", c, status, err)
		}
	}
	// Pointers beyond the memory trap.
	if _, err := g.score.Call(t.Context(), math.MaxUint32-8, 3, uint64(g.input), 1, 2, uint64(g.out)); err == nil {
		t.Error("a subject pointer beyond the memory does not trap")
	}
}

// TestModuleIsSmall checks what the contract and admission expect of a compiled module.
func TestModuleIsSmall(t *testing.T) {
	e := randomEnsemble(rand.New(rand.NewPCG(1, 1)), 100, 8, 4000, linkSigmoid)
	out := emit(e, 2000)
	m, err := wasmbin.Check(out.module, wasmbin.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Imports) != 0 || m.Start != -1 || len(m.Memories) != 1 || m.Memories[0].Min != m.Memories[0].Max || int(m.Memories[0].Min) != out.limits.MemoryPages {
		t.Errorf("imports %v, start %d, memories %v, %d pages", m.Imports, m.Start, m.Memories, out.limits.MemoryPages)
	}
}

// TestExp compares with the standard library, and the sigmoid with its mathematical value where it is not clipped.
func TestExp(t *testing.T) {
	for x := -103.0; x < 103; x += 0.00917 {
		if got, want := exp(x), math.Exp(x); math.Abs(got-want) > 1e-12*want {
			t.Fatalf("exp(%v) = %v, want %v", x, got, want)
		}
		got, want := float64(sigmoid(float32(x))), 1/(1+math.Exp(-float64(float32(x))))
		if math.Abs(x) < 88 && math.Abs(got-want) > 3e-7*want {
			t.Fatalf("sigmoid(%v) = %v, want %v", x, got, want)
		}
	}
	for x, want := range map[float32]float64{float32(math.Inf(1)): 1, float32(math.NaN()): math.NaN()} {
		if got := float64(sigmoid(x)); !same(got, want) {
			t.Errorf("sigmoid(%v) = %v, want %v", x, got, want)
		}
	}
	if got := sigmoid(float32(math.Inf(-1))); !(got > 0) || got > 1e-38 {
		t.Errorf("sigmoid(-inf) = %v", got)
	}
}

// TestKeysKeepOrder checks the integers that stand for floats.
func TestKeysKeepOrder(t *testing.T) {
	ordered := []float32{float32(math.Inf(-1)), -math.MaxFloat32, -1, -math.SmallestNonzeroFloat32, 0, math.SmallestNonzeroFloat32, 1, math.MaxFloat32, float32(math.Inf(1))}
	for i, a := range ordered {
		if key(a) <= missingLow || key(a) >= missingHigh {
			t.Errorf("the key of %v is not between those of missing values", a)
		}
		for j, b := range ordered {
			if (key(a) < key(b)) != (i < j) {
				t.Errorf("keys of %v and %v", a, b)
			}
			if left := key(a) <= splitKey(b); left != (a < b) {
				t.Errorf("%v goes left at %v: %v", a, b, left)
			}
		}
	}
}
