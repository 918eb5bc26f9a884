package compiler

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

const (
	// gateTrees bounds how many trees the gate walks, rows × trees: about two seconds.
	gateTrees = 40_000_000
	// minGateRows and maxGateRows bound the rows of the gate.
	minGateRows = 2_000
	maxGateRows = 200_000
	// plainGateRows is how many rows a model without trees gets.
	plainGateRows = 2_000
)

// Scorer runs a module on one row, in the order of the manifest, and returns what arbiter_score_raw and
// arbiter_score give.
type Scorer func(ctx context.Context, row []float64) (raw, output float64, err error)

// Gated tells what the gate compared.
type Gated struct {
	// Rows were scored by the module and by the interpreter, and were equal bit for bit.
	Rows int
	// Splits is how many splits of trees the model has, Covered how many of them got rows of their own.
	Splits, Covered int
}

// Gate holds the module against the interpreter of the intermediate form, the oracle, on rows made for
// every split of the model: rows that reach it, with its threshold, the numbers beside it in 64 and in 32
// bits, NaN, the infinities and both zeros, or with categories in and out of its set, and no categories
// at all. Where that would take too long it takes an even share of them. An error with CodeInternal is a
// fault of the compiler; others are those of score and ctx.
func (o *Output) Gate(ctx context.Context, score Scorer) (Gated, error) {
	g := &gate{ctx: ctx, score: score, c: o.compiled, random: rand.New(rand.NewPCG(2, 3))}
	g.base = make([][]float64, 0, len(o.Manifest.Golden))
	for i := range o.Manifest.Golden {
		g.base = append(g.base, o.Manifest.Golden[i].Row(nil))
	}
	if len(g.base) == 0 {
		g.base = [][]float64{make([]float64, len(o.Manifest.Features))}
	}
	err := g.run()
	return g.done, err
}

// gate is one run of Gate.
type gate struct {
	ctx    context.Context
	score  Scorer
	c      *compilation
	random *rand.Rand
	base   [][]float64
	row    []float64
	splits []split
	spans  []span
	total  int // rows that will be made
	done   Gated
}

func (g *gate) run() error {
	splits := splitsOf(g.c.model)
	g.splits = splits
	g.done.Splits = len(splits)
	if len(splits) == 0 {
		return g.plain()
	}
	values := 0
	for i := range splits {
		values += len(splits[i].values())
	}
	trees := max(1, measure(g.c.model).trees)
	g.total = min(values, max(minGateRows, min(maxGateRows, gateTrees/trees)))
	made, seen := 0, 0
	for i := range splits {
		covered := false
		for _, v := range splits[i].values() {
			// Value number seen of all is taken when the share taken so far would fall behind.
			if seen++; made*values >= seen*g.total {
				continue
			}
			made, covered = made+1, true
			g.row = append(g.row[:0], g.base[made%len(g.base)]...)
			g.reach(i)
			g.row[splits[i].column] = v
			if err := g.compare(); err != nil {
				return err
			}
		}
		if covered {
			g.done.Covered++
		}
	}
	return nil
}

// plain makes rows for a model without trees.
func (g *gate) plain() error {
	odd := [...]float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), 0, -0.5, 0.5, -1, 1, 1e-40, 1e30, -1e30, 16777217, 3, 100}
	g.total = plainGateRows
	for n := range g.total {
		g.row = append(g.row[:0], g.base[n%len(g.base)]...)
		for range 1 + n%3 {
			column := g.random.IntN(len(g.row))
			if categories := len(g.c.model.Inputs[column].Categories); categories > 0 && n%2 == 0 {
				g.row[column] = float64(g.random.IntN(categories+2) - 1)
				continue
			}
			g.row[column] = odd[g.random.IntN(len(odd))]
		}
		if err := g.compare(); err != nil {
			return err
		}
	}
	return nil
}

// compare scores g.row both ways.
func (g *gate) compare() error {
	g.c.progress("comparing the module with the model", g.done.Rows, g.total)
	if g.done.Rows%256 == 0 && g.ctx.Err() != nil {
		return g.ctx.Err()
	}
	wantRaw, want := g.c.run(g.row)
	raw, output, err := g.score(g.ctx, g.row)
	if err != nil {
		return err
	}
	if !sameNumber(raw, wantRaw) || !sameNumber(output, want) {
		return nba.Errorf(nba.CodeInternal, "the module gives %v (raw %v) for a row where the model gives %v (raw %v): this is a fault of the compiler; keep the model file and report it", output, raw, want, wantRaw)
	}
	g.done.Rows++
	return nil
}

func sameNumber(a, b float64) bool {
	return math.Float64bits(a) == math.Float64bits(b) || math.IsNaN(a) && math.IsNaN(b)
}
