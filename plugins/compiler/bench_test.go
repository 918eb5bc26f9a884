package compiler

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"testing"
)

// telcoGuest is the real 200-tree model with its rows, the first candidate features of which belong to
// the candidate.
func telcoGuest(b *testing.B, candidate int, metered bool) (*guest, *ensemble, [][]float64) {
	b.Helper()
	ref := references(b)[0]
	e, err := xgboost(ref.model)
	if err != nil {
		b.Fatal(err)
	}
	n := len(e.names)
	out := emit(e, n-candidate)
	return instantiate(b, out.module, n-candidate, candidate, min(out.limits.MaxRows, 256), metered), e, ref.rows
}

// BenchmarkOneRow is one call for one customer: writing 45 features into the guest, the call, reading
// the probability. The rows rotate, so that the branch predictor cannot learn them.
func BenchmarkOneRow(b *testing.B) {
	for _, metered := range []bool{false, true} {
		b.Run(fmt.Sprintf("wasm/metered=%v", metered), func(b *testing.B) {
			g, _, rows := telcoGuest(b, 0, metered)
			raw := make([][]byte, len(rows))
			for i, row := range rows {
				for _, x := range row {
					raw[i] = binary.LittleEndian.AppendUint64(raw[i], math.Float64bits(x))
				}
			}
			ctx := context.Background()
			args := [6]uint64{uint64(g.input), uint64(g.subject), uint64(g.input) + 512, 1, 0, uint64(g.out)}
			i, sum := 0, 0.0
			b.ReportAllocs()
			for b.Loop() {
				g.memory.Write(g.input, raw[i%len(raw)])
				if g.fuel != nil {
					g.fuel.Set(plenty)
				}
				g.stack = args
				if err := g.score.CallWithStack(ctx, g.stack[:]); err != nil {
					b.Fatal(err)
				}
				p, _ := g.memory.ReadFloat64Le(g.out)
				sum += p
				i++
			}
		})
	}
	b.Run("go-interpreter", func(b *testing.B) {
		_, e, rows := telcoGuest(b, 0, false)
		i, sum := 0, 0.0
		b.ReportAllocs()
		for b.Loop() {
			sum += e.output(e.margin(rows[i%len(rows)]))
			i++
		}
	})
}

// BenchmarkRows is one call for many candidates of which each has 9 features of its own; ns/row is the
// figure to compare.
func BenchmarkRows(b *testing.B) {
	for _, rows := range []int{12, 50, 256} {
		for _, metered := range []bool{false, true} {
			b.Run(fmt.Sprintf("rows=%d/metered=%v", rows, metered), func(b *testing.B) {
				g, _, data := telcoGuest(b, 9, metered)
				var candidates []float64
				for i := range rows {
					candidates = append(candidates, data[i][36:]...)
				}
				if _, status := g.call(g.score, data[0][:36], candidates, rows); status != 0 {
					b.Fatal(status)
				}
				args := [6]uint64{uint64(g.input), 36, uint64((g.input + 36*8 + 15) &^ 15), uint64(rows), 9, uint64(g.out)}
				ctx := context.Background()
				b.ReportAllocs()
				for b.Loop() {
					if g.fuel != nil {
						g.fuel.Set(plenty)
					}
					g.stack = args
					if err := g.score.CallWithStack(ctx, g.stack[:]); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rows), "ns/row")
			})
		}
	}
}
