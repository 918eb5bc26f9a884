package emit

import (
	"context"
	"encoding/binary"
	"math"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
)

// guest runs a compiled module as a host would.
type guest struct {
	tb        testing.TB
	module    api.Module
	score     api.Function
	raw       api.Function
	memory    api.Memory
	fuel      api.MutableGlobal // nil when the module is not metered
	input     uint32
	out       uint32
	subject   int
	candidate int
	stack     [6]uint64
}

const plenty = 1 << 40

func instantiate(tb testing.TB, module []byte, subject, candidate, rows int, metered bool) *guest {
	tb.Helper()
	ctx := context.Background()
	if metered {
		var err error
		if module, err = wasmbin.Inject(module, wasmbin.InjectOptions{}); err != nil {
			tb.Fatal(err)
		}
	}
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())
	tb.Cleanup(func() { _ = r.Close(ctx) })
	m, err := r.Instantiate(ctx, module)
	if err != nil {
		tb.Fatal(err)
	}
	g := &guest{tb: tb, module: m, score: m.ExportedFunction("arbiter_score"), raw: m.ExportedFunction("arbiter_score_raw"),
		memory: m.Memory(), subject: subject, candidate: candidate}
	if metered {
		g.fuel = fuelOf(m)
		g.fuel.Set(plenty)
	}
	at, err := m.ExportedFunction("arbiter_reserve").Call(ctx, uint64(subject), uint64(rows), uint64(candidate))
	if err != nil {
		tb.Fatal(err)
	}
	if int64(at[0]) == -1 {
		tb.Fatalf("arbiter_reserve refuses %d subject features, %d rows, %d candidate features", subject, rows, candidate)
	}
	g.input, g.out = uint32(at[0]>>32), uint32(at[0])
	return g
}

// call scores rows candidates and returns the outputs and the status.
func (g *guest) call(f api.Function, subject []float64, candidates []float64, rows int) ([]float64, uint32) {
	g.tb.Helper()
	at := g.input
	for _, x := range subject {
		g.memory.WriteFloat64Le(at, x)
		at += 8
	}
	at = (at + 15) &^ 15
	start := at
	for _, x := range candidates {
		g.memory.WriteFloat64Le(at, x)
		at += 8
	}
	if g.fuel != nil {
		g.fuel.Set(plenty)
	}
	g.stack = [6]uint64{uint64(g.input), uint64(g.subject), uint64(start), uint64(rows), uint64(g.candidate), uint64(g.out)}
	if err := f.CallWithStack(context.Background(), g.stack[:]); err != nil {
		g.tb.Fatal(err)
	}
	status := uint32(g.stack[0])
	b, _ := g.memory.Read(g.out, uint32(8*rows))
	out := make([]float64, rows)
	for i := range out {
		out[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
	}
	return out, status
}

// used is the fuel of the last call.
func (g *guest) used() int64 { return plenty - int64(g.fuel.Get()) }

// fuelOf is the fuel global of a metered module.
func fuelOf(m api.Module) api.MutableGlobal {
	return m.ExportedGlobal(wasmbin.FuelGlobal).(api.MutableGlobal)
}
