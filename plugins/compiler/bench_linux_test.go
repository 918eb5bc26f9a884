package compiler

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/arbiterhq/arbiter/plugins/compiler/emit"
	"github.com/arbiterhq/arbiter/plugins/compiler/internal/modeltest"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
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
func telcoGuest(b *testing.B, candidate int, metered bool) (*guest, *ir.Interpreter, [][]float64) {
	b.Helper()
	m, err := read(modeltest.File(b, telcoModel))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := choose(m, ""); err != nil {
		b.Fatal(err)
	}
	oracle, err := ir.NewInterpreter(withoutClasses(m))
	if err != nil {
		b.Fatal(err)
	}
	n := len(m.Inputs)
	out, err := emit.Emit(withoutClasses(m), n-candidate)
	if err != nil {
		b.Fatal(err)
	}
	_, rows := table(b, "xgboost-telco-churn/test_features.csv")
	return instantiate(b, out.Bytes, n-candidate, candidate, min(out.Limits.MaxRows, 256), metered), oracle, rows
}

const telcoModel = "xgboost-telco-churn/model.xgb.json"

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
			_, output := e.Run(rows[i%len(rows)])
			sum += output[0]
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

// BenchmarkReference scores the golden rows of reference models one by one, metered.
func BenchmarkReference(b *testing.B) {
	for _, name := range []string{"lgb_binary.txt", "lgb_binary_cat.txt", "xgb_logistic.json", "skl_rf.onnx", "skl_mlp.onnx"} {
		b.Run(name, func(b *testing.B) {
			m, err := read(readModel(b, "model-reference/"+name))
			if err != nil {
				b.Fatal(err)
			}
			class := ""
			if len(m.Classes) > 0 {
				class = m.Classes[len(m.Classes)-1]
			}
			out, err := Compile(readModel(b, "model-reference/"+name), Options{Name: "m", Class: class})
			if err != nil {
				b.Fatal(err)
			}
			n := len(m.Inputs)
			g := instantiate(b, out.Module, n, 0, 1, true)
			var rows [][]byte
			for i := range out.Manifest.Golden {
				var raw []byte
				for _, x := range out.Manifest.Golden[i].Row(nil) {
					raw = binary.LittleEndian.AppendUint64(raw, math.Float64bits(x))
				}
				rows = append(rows, raw)
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
			b.ReportMetric(float64(len(out.Module)), "module-bytes")
		})
	}
}

// BenchmarkCompile is the whole way from the model file to the artifact.
func BenchmarkCompile(b *testing.B) {
	model := modeltest.File(b, telcoModel)
	b.SetBytes(int64(len(model)))
	for b.Loop() {
		if _, err := Compile(model, Options{Name: "churn"}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInject meters the compiled model, as each node does once at admission.
func BenchmarkInject(b *testing.B) {
	out, err := Compile(modeltest.File(b, telcoModel), Options{Name: "churn"})
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
