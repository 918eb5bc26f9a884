package modeltest

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/emit"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// guest is an emitted module in the host's sandbox, with the fuel that its manifest would ask for.
type guest struct {
	tb       testing.TB
	instance *wasm.Instance
	subject  int
}

// load emits m with its first subject inputs belonging to the subject.
func load(tb testing.TB, m *ir.Model, subject int) *guest {
	tb.Helper()
	module, err := emit.Emit(m, subject)
	if err != nil {
		tb.Fatal(err)
	}
	metered, err := wasmbin.Inject(module.Bytes, wasmbin.InjectOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	sandbox, err := wasm.New(wasm.Config{Instances: 1, MaxCallFuel: 1 << 40})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, l := context.Background(), module.Limits
	pool, err := sandbox.Load(ctx, metered, wasm.Spec{Digest: "test", MemoryPages: uint32(l.MemoryPages), FuelBase: uint64(l.FuelBase), FuelPerRow: uint64(l.FuelPerRow),
		MaxRows: l.MaxRows, SubjectFeatures: subject, CandidateFeatures: len(m.Inputs) - subject})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		pool.Release()
		if err := sandbox.Close(ctx); err != nil {
			tb.Error(err)
		}
	})
	instance, err := pool.Acquire(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { pool.Put(instance) })
	return &guest{tb: tb, instance: instance, subject: subject}
}

// run scores rows that have the same subject inputs: raw scores and outputs.
func (g *guest) run(rows [][]float64) (raw, output []float64) {
	g.tb.Helper()
	for n, x := range rows[0][:g.subject] {
		wasm.PutFloat(g.instance.Subject(), n, x)
	}
	candidate := len(rows[0]) - g.subject
	for i, row := range rows {
		for n, x := range row[g.subject:] {
			wasm.PutFloat(g.instance.Candidates(len(rows)), i*candidate+n, x)
		}
	}
	for _, score := range [...]func(context.Context, int) (uint64, error){g.instance.ScoreRaw, g.instance.Score} {
		if _, err := score(context.Background(), len(rows)); err != nil {
			g.tb.Fatal(err)
		}
		out := make([]float64, len(rows))
		for i := range out {
			out[i] = g.instance.ScoreAt(i)
		}
		raw, output = output, out
	}
	return raw, output
}

// one is m with the scores of one of its outputs only.
func one(m *ir.Model, output, of int) *ir.Model {
	if of == 1 {
		return m
	}
	o := *m
	o.Steps, o.Classes = slices.Clone(m.Steps), nil
	o.Raw = o.Append(&ir.Gather{In: m.Raw, Columns: []int{output}})
	o.Output = o.Append(&ir.Gather{In: m.Output, Columns: []int{output}})
	return &o
}

// CheckModules holds the emitted module of each output against the interpreter, bit for bit: row by
// row, and as candidates that have all inputs or the second half of them.
func CheckModules(tb testing.TB, m *ir.Model, rows [][]float64) {
	tb.Helper()
	in, err := ir.NewInterpreter(m)
	if err != nil {
		tb.Fatal(err)
	}
	_, out := in.Run(rows[0])
	for k, outputs := 0, len(out); k < outputs; k++ {
		model := one(m, k, outputs)
		oracle := Interpreted(tb, model)
		single := load(tb, model, len(m.Inputs))
		for _, row := range rows {
			check(tb, oracle, single, [][]float64{row})
		}
		const together = 8
		for _, subject := range [...]int{0, len(m.Inputs) / 2} {
			if subject > 0 && subject == len(m.Inputs) {
				continue
			}
			many := load(tb, model, subject)
			for i := 0; i < len(rows); i += together {
				batch := make([][]float64, 0, together)
				for j := range together - i%3 { // batches that are full, and such that are not
					row := slices.Clone(rows[(i+j)%len(rows)])
					copy(row[:subject], rows[i])
					batch = append(batch, row)
				}
				check(tb, oracle, many, batch)
			}
		}
	}
}

// check compares one call.
func check(tb testing.TB, oracle Scorer, g *guest, rows [][]float64) {
	tb.Helper()
	raw, score := g.run(rows)
	for i, row := range rows {
		wantRaw, want := oracle(row)
		if !sameBits(raw[i], wantRaw[0]) || !sameBits(score[i], want[0]) {
			tb.Fatalf("row %v as one of %d: the module gives %v and %v, the interpreter %v and %v", row, len(rows), raw[i], score[i], wantRaw[0], want[0])
		}
	}
}

func sameBits(a, b float64) bool {
	return math.Float64bits(a) == math.Float64bits(b) || a != a && b != b
}

// Odd adds to rows copies in which one value is missing, infinite, zero, no category or near what the
// trees of m compare it with; at most most rows in all.
func Odd(m *ir.Model, rows [][]float64, most int) [][]float64 {
	out := slices.Clone(rows[:min(len(rows), most)])
	add := func(column int, v float64) {
		if len(out) < most {
			row := slices.Clone(rows[len(out)%len(rows)])
			row[column] = v
			out = append(out, row)
		}
	}
	for _, v := range [...]float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), 0, -0.5, -1, 0.5, 1e30, 16777217, 1e-40, ir.ZeroThreshold} {
		for c := range m.Inputs {
			add(c, v)
		}
	}
	for _, s := range m.Steps {
		trees, ok := s.(*ir.Trees)
		if !ok || trees.In != ir.Input {
			continue
		}
		for i := range trees.Trees {
			for _, n := range trees.Trees[i].Nodes {
				if n.Compare == ir.Leaf {
					continue
				}
				c, t := int(n.Feature), n.Value
				if n.Compare >= ir.In && len(trees.Sets[n.Set]) > 0 {
					t = float64(trees.Sets[n.Set][0])
				}
				narrow := float32(t)
				for _, v := range [...]float64{t, math.Nextafter(t, math.Inf(1)), math.Nextafter(t, math.Inf(-1)), float64(narrow),
					float64(math.Nextafter32(narrow, float32(math.Inf(1)))), float64(math.Nextafter32(narrow, float32(math.Inf(-1))))} {
					add(c, v)
				}
			}
		}
	}
	return out
}
