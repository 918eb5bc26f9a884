package compiler

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// threadCPU is the processor time of this thread in nanoseconds: on a busy machine it says more than
// the clock does. The benchmarks report it as cpu-ns/op.
func threadCPU(b *testing.B) int64 {
	b.Helper()
	runtime.LockOSThread()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		b.Fatal(err)
	}
	return now.Nano()
}

// reportCPU reports the time since start for each of n things an iteration does.
func reportCPU(b *testing.B, start int64, n int, unit string) {
	b.Helper()
	b.ReportMetric(float64(threadCPU(b)-start)/float64(b.N*n), "cpu-ns/"+unit)
	runtime.UnlockOSThread()
	runtime.UnlockOSThread()
}

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
			start := threadCPU(b)
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
			reportCPU(b, start, 1, "row")
		})
	}
	b.Run("go-interpreter", func(b *testing.B) {
		_, e, rows := telcoGuest(b, 0, false)
		i, sum := 0, 0.0
		b.ReportAllocs()
		start := threadCPU(b)
		for b.Loop() {
			sum += e.output(e.margin(rows[i%len(rows)]))
			i++
		}
		reportCPU(b, start, 1, "row")
	})
}

// BenchmarkRows is one call for many candidates of which each has 9 features of its own.
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
				start := threadCPU(b)
				for b.Loop() {
					if g.fuel != nil {
						g.fuel.Set(plenty)
					}
					g.stack = args
					if err := g.score.CallWithStack(ctx, g.stack[:]); err != nil {
						b.Fatal(err)
					}
				}
				reportCPU(b, start, rows, "row")
			})
		}
	}
}

// BenchmarkLayouts walks the same trees in both layouts, one row a call: the choice of prefersHeap
// rests on it.
func BenchmarkLayouts(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 1))
	telco, err := xgboost(references(b)[0].model)
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		e    *ensemble
	}{
		{"telco-200x4", telco},
		{"500x6", randomEnsemble(random, 500, 6, 50, linkSigmoid)},
		{"500x8", randomEnsemble(random, 500, 8, 50, linkSigmoid)},
		{"500x14", randomEnsemble(random, 500, 14, 50, linkSigmoid)},
	} {
		for _, heap := range []bool{true, false} {
			if heap && c.e.depth() > maxHeapDepth {
				continue
			}
			b.Run(fmt.Sprintf("%s/heap=%v", c.name, heap), func(b *testing.B) {
				n := len(c.e.names)
				out := emitLayout(c.e, n, maxRows, heap)
				g := instantiate(b, out.module, n, 0, 1, true)
				rows := make([][]byte, 1024)
				for i := range rows {
					for _, x := range randomRow(random, n) {
						rows[i] = binary.LittleEndian.AppendUint64(rows[i], math.Float64bits(x))
					}
				}
				args := [6]uint64{uint64(g.input), uint64(n), uint64(g.input), 1, 0, uint64(g.out)}
				i, ctx := 0, context.Background()
				start := threadCPU(b)
				for b.Loop() {
					g.memory.Write(g.input, rows[i%len(rows)])
					g.fuel.Set(plenty)
					g.stack = args
					if err := g.score.CallWithStack(ctx, g.stack[:]); err != nil {
						b.Fatal(err)
					}
					i++
				}
				reportCPU(b, start, 1, "row")
				b.ReportMetric(float64(len(out.module)), "module-bytes")
			})
		}
	}
}

// BenchmarkCompile is the whole way from the model file to the artifact.
func BenchmarkCompile(b *testing.B) {
	model := references(b)[0].model
	b.SetBytes(int64(len(model)))
	for b.Loop() {
		if _, err := Compile(model, Options{Name: "churn"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInject meters the compiled model, as each node does once at admission.
func BenchmarkInject(b *testing.B) {
	out, err := Compile(references(b)[0].model, Options{Name: "churn"})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(out.Module)))
	for b.Loop() {
		if _, err := wasmbin.Inject(out.Module, wasmbin.InjectOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}
