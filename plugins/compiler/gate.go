package compiler

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

const (
	// gateTrees bounds how many trees each half of the gate walks, rows × trees: about a second.
	gateTrees = 5_000_000
	// minGateRows and maxGateRows bound the rows of each half.
	minGateRows = 4_000
	maxGateRows = 50_000
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
	// Thresholds is how many different thresholds and sets of categories the inputs are compared with;
	// rows were made with the values of TriedThresholds of them.
	Thresholds, TriedThresholds int
	// Splits is how many splits of trees the model has, Covered how many of them got a row that comes to
	// them.
	Splits, Covered int
}

// Gate holds the module against the interpreter of the intermediate form, the oracle, on rows made for
// every threshold: the threshold itself, the numbers beside it in 64 and in 32 bits, NaN, the infinities
// and both zeros, or categories in and out of a set, and no categories at all. Half of the rows have such
// values in all their columns, the other half come to one split of a tree each. Where that would take
// too long it takes an even share of them. An error with CodeInternal is a
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
	most := max(minGateRows, min(maxGateRows, gateTrees/max(1, measure(g.c.model).trees)))
	columns, longest := g.columns()
	dense := min(longest, most)
	reaching := min(values, most)
	g.total = dense + reaching
	for k := range dense {
		g.row = append(g.row[:0], g.base[k%len(g.base)]...)
		for c, list := range columns {
			if len(list) > 0 && (k < len(list) || k%4 != 0) {
				g.row[c] = list[k*max(1, len(list)/dense)%len(list)]
			}
		}
		if err := g.compare(); err != nil {
			return err
		}
	}
	made, seen := 0, 0
	for i := range splits {
		covered := false
		for _, v := range splits[i].values() {
			// Value number seen of all is taken when the share taken so far would fall behind.
			if seen++; made*values >= seen*reaching {
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

// columns are the values to try in each column, of different thresholds only, and how many the longest
// list has. Where there are more than fit, TriedThresholds tells how many will be.
func (g *gate) columns() (columns [][]float64, longest int) {
	columns = make([][]float64, len(g.c.model.Inputs))
	type threshold struct {
		column int
		value  float64
		set    *int32
	}
	seen := map[threshold]bool{}
	count := make([]int, len(columns))
	for i := range g.splits {
		s := &g.splits[i]
		key := threshold{column: s.column, value: s.Value}
		if len(s.set) > 0 {
			key.value, key.set = 0, &s.set[0]
		}
		if seen[key] {
			continue
		}
		seen[key] = true
		columns[s.column] = append(columns[s.column], s.values()...)
		count[s.column]++
	}
	most := max(minGateRows, min(maxGateRows, gateTrees/max(1, measure(g.c.model).trees)))
	for c, list := range columns {
		longest = max(longest, len(list))
		if len(list) > most {
			count[c] = count[c] * most / len(list)
		}
		g.done.TriedThresholds += count[c]
	}
	g.done.Thresholds = len(seen)
	return columns, longest
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
