package emit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"golang.org/x/sys/unix"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/compiler/lightgbm"
	"github.com/arbiterhq/arbiter/plugins/compiler/xgboost"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// figureRounds is how often everything is measured in turn; figureTime nanoseconds of processor time each.
const (
	figureRounds = 21
	figureTime   = 4_000_000
	maxFuelRatio = 1.1
	maxEmit      = 200.0     // milliseconds
	maxCompile   = 25.0 / 4  // milliseconds for each MB of module, of at least 4 MB
	compileBase  = 4_000_000 // bytes
)

// TestFigures measures what fuel, emitting and the engine's compilation cost for the models in the folder
// that ARBITER_BENCH_MODELS names (make bench-models), and holds them against the goals.
func TestFigures(t *testing.T) {
	folder := os.Getenv("ARBITER_BENCH_MODELS")
	if folder == "" {
		t.Skip("ARBITER_BENCH_MODELS names no folder of models; make bench-models does")
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.[lx]gb.*"))
	if err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	fmt.Println("| model | shape | layouts | fuel: with ÷ without | module MB | emit ms | compile ms |")
	fmt.Println("|---|---|---|---|---|---|---|")
	for _, file := range files {
		if strings.HasSuffix(file, ".lgb.txt") || strings.HasSuffix(file, ".xgb.json") {
			figures(t, file)
		}
	}
}

// processor is the processor time of this thread in nanoseconds.
func processor(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano()
}

func figures(t *testing.T, file string) {
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	read := lightgbm.Read
	if strings.HasSuffix(file, ".json") {
		read = xgboost.Read
	}
	m, err := read(content)
	if err != nil {
		t.Fatal(err)
	}
	m.Classes = nil
	n := len(m.Inputs)
	for _, shape := range []struct {
		name            string
		candidate, rows int
	}{{"one row", 0, 1}, {"batch of 256", n, 256}, {"50 candidates", n / 5, 50}} {
		var out *Module
		emitted := median(t, 5, func() {
			if out, err = Emit(m, n-shape.candidate); err != nil {
				t.Fatal(err)
			}
		})
		compiled := compileTime(t, out.Bytes)
		ratio := fuelRatio(t, m, out, n-shape.candidate, shape.candidate, min(shape.rows, out.Limits.MaxRows))
		name, _, _ := strings.Cut(filepath.Base(file), ".")
		fmt.Printf("| %s | %s | %s | %.3f | %.2f | %.1f | %.1f |\n", name, shape.name, strings.Join(out.Layouts, " "), ratio, float64(len(out.Bytes))/1e6, emitted, compiled)
		if ratio > maxFuelRatio {
			t.Errorf("%s, %s: with fuel it takes %.3f times as long, the goal is %.2f", name, shape.name, ratio, maxFuelRatio)
		}
		if limit := maxCompile * max(compileBase, float64(len(out.Bytes))) / 1e6; compiled > limit {
			t.Errorf("%s, %s: compiling %d bytes takes %.1f ms, the goal is %.1f", name, shape.name, len(out.Bytes), compiled, limit)
		}
		if emitted > maxEmit {
			t.Errorf("%s, %s: emitting takes %.1f ms, the goal is %.0f", name, shape.name, emitted, maxEmit)
		}
	}
}

// median is the median of the milliseconds that n runs take.
func median(t *testing.T, n int, run func()) float64 {
	times := make([]float64, n)
	for i := range times {
		start := processor(t)
		run()
		times[i] = float64(processor(t)-start) / 1e6
	}
	slices.Sort(times)
	return times[n/2]
}

// compileTime is how long the engine takes for the module as a node runs it, with fuel.
func compileTime(t *testing.T, module []byte) float64 {
	metered, err := wasmbin.Inject(module, wasmbin.InjectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	return median(t, 7, func() {
		r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
		if _, err := r.CompileModule(ctx, metered); err != nil {
			t.Fatal(err)
		}
		_ = r.Close(ctx)
	})
}

// fuelRatio is the median ratio of calls of the module with fuel and without, measured in turns.
func fuelRatio(t *testing.T, m *ir.Model, out *Module, subject, candidate, rows int) float64 {
	random := rand.New(rand.NewPCG(1, 2))
	const variants = 512
	data := make([][]float64, variants)
	for i := range data {
		data[i] = rowNearThresholds(random, m)
	}
	guests := []*guest{instantiate(t, out.Bytes, subject, candidate, rows, false), instantiate(t, out.Bytes, subject, candidate, rows, true)}
	measure := func(g *guest) float64 {
		start, calls, spent := processor(t), 0, int64(0)
		for spent < figureTime {
			for range 4 {
				row := data[calls%variants]
				if candidate < subject || calls%16 == 0 { // filling in 256 whole rows takes longer than scoring them
					g.fill(data, calls, row, rows)
				}
				g.run()
				calls++
			}
			spent = processor(t) - start
		}
		return float64(spent) / float64(calls)
	}
	var ratios []float64
	for range figureRounds {
		without, with := measure(guests[0]), measure(guests[1])
		ratios = append(ratios, with/without)
	}
	slices.Sort(ratios)
	return ratios[len(ratios)/2]
}

// fill writes the subject's features and those of the candidates, each from another row.
func (g *guest) fill(data [][]float64, first int, row []float64, rows int) {
	at := g.input
	for _, x := range row[:g.subject] {
		g.memory.WriteFloat64Le(at, x)
		at += 8
	}
	at = (at + 15) &^ 15
	g.stack = [6]uint64{uint64(g.input), uint64(g.subject), uint64(at), uint64(rows), uint64(g.candidate), uint64(g.out)}
	if g.candidate == 0 {
		return
	}
	for k := range rows {
		for _, x := range data[(first+k)%len(data)][g.subject:] {
			g.memory.WriteFloat64Le(at, x)
			at += 8
		}
	}
}

// run calls with what fill left.
func (g *guest) run() {
	if g.fuel != nil {
		g.fuel.Set(plenty)
	}
	args := g.stack
	if err := g.score.CallWithStack(context.Background(), g.stack[:]); err != nil {
		g.tb.Fatal(err)
	}
	g.stack = args
}
