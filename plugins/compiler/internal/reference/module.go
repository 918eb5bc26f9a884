package reference

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/arbiterhq/arbiter/plugins/compiler/emit"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// guest runs an emitted module as a host would.
type guest struct {
	tb         testing.TB
	memory     api.Memory
	score, raw api.Function
	input, out uint32
	subject    int
}

// instantiate emits m with its first subject inputs belonging to the subject.
func instantiate(tb testing.TB, m *ir.Model, subject, rows int) *guest {
	tb.Helper()
	module, err := emit.Emit(m, subject)
	if err != nil {
		tb.Fatal(err)
	}
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	tb.Cleanup(func() { _ = r.Close(ctx) })
	g, err := r.Instantiate(ctx, module.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	at, err := g.ExportedFunction("arbiter_reserve").Call(ctx, uint64(subject), uint64(rows), uint64(len(m.Inputs)-subject))
	if err != nil || int64(at[0]) == -1 {
		tb.Fatalf("arbiter_reserve: %v, %v", at, err)
	}
	return &guest{tb: tb, memory: g.Memory(), score: g.ExportedFunction("arbiter_score"), raw: g.ExportedFunction("arbiter_score_raw"),
		input: uint32(at[0] >> 32), out: uint32(at[0]), subject: subject}
}

// run scores rows that have the same subject inputs.
func (g *guest) run(f api.Function, rows [][]float64) []float64 {
	g.tb.Helper()
	at := g.write(g.input, rows[0][:g.subject])
	start := (at + 15) &^ 15
	at = start
	for _, row := range rows {
		at = g.write(at, row[g.subject:])
	}
	status, err := f.Call(context.Background(), uint64(g.input), uint64(g.subject), uint64(start), uint64(len(rows)), uint64(len(rows[0])-g.subject), uint64(g.out))
	if err != nil || uint32(status[0]) != 0 {
		g.tb.Fatalf("scoring: status %v, %v", status, err)
	}
	out := make([]float64, len(rows))
	for i := range out {
		out[i], _ = g.memory.ReadFloat64Le(g.out + uint32(8*i))
	}
	return out
}

func (g *guest) write(at uint32, values []float64) uint32 {
	for _, x := range values {
		g.memory.WriteFloat64Le(at, x)
		at += 8
	}
	return at
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
		single := instantiate(tb, model, len(m.Inputs), 1)
		for _, row := range rows {
			check(tb, oracle, single, [][]float64{row})
		}
		const together = 8
		for _, subject := range [...]int{0, len(m.Inputs) / 2} {
			if subject > 0 && subject == len(m.Inputs) {
				continue
			}
			many := instantiate(tb, model, subject, together)
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
	raw, score := g.run(g.raw, rows), g.run(g.score, rows)
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
