package onnx

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/arbiterhq/arbiter/plugins/compiler/emit"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// ofClass is m with the scores of one of its classes only.
func ofClass(m *ir.Model, class, of int) *ir.Model {
	if of == 1 {
		return m
	}
	one := *m
	one.Steps, one.Classes = slices.Clone(m.Steps), nil
	one.Raw = one.Append(&ir.Gather{In: m.Raw, Columns: []int{class}})
	one.Output = one.Append(&ir.Gather{In: m.Output, Columns: []int{class}})
	return &one
}

// module runs an emitted module as a host would; the first subject inputs belong to the subject.
type module struct {
	tb         testing.TB
	memory     api.Memory
	score, raw api.Function
	input, out uint32
	subject    int
}

func compiled(tb testing.TB, m *ir.Model, subject, rows int) *module {
	tb.Helper()
	emitted, err := emit.Emit(m, subject)
	if err != nil {
		tb.Fatal(err)
	}
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	tb.Cleanup(func() { _ = r.Close(ctx) })
	guest, err := r.Instantiate(ctx, emitted.Bytes)
	if err != nil {
		tb.Fatal(err)
	}
	at, err := guest.ExportedFunction("arbiter_reserve").Call(ctx, uint64(subject), uint64(rows), uint64(len(m.Inputs)-subject))
	if err != nil || int64(at[0]) == -1 {
		tb.Fatalf("arbiter_reserve: %v, %v", at, err)
	}
	return &module{tb: tb, memory: guest.Memory(), score: guest.ExportedFunction("arbiter_score"), raw: guest.ExportedFunction("arbiter_score_raw"),
		input: uint32(at[0] >> 32), out: uint32(at[0]), subject: subject}
}

// run scores rows that have the same subject inputs.
func (g *module) run(f api.Function, rows ...[]float64) []float64 {
	g.tb.Helper()
	at := g.input
	for _, x := range rows[0][:g.subject] {
		g.memory.WriteFloat64Le(at, x)
		at += 8
	}
	at = (at + 15) &^ 15
	start := at
	candidate := len(rows[0]) - g.subject
	for _, row := range rows {
		for _, x := range row[g.subject:] {
			g.memory.WriteFloat64Le(at, x)
			at += 8
		}
	}
	status, err := f.Call(context.Background(), uint64(g.input), uint64(g.subject), uint64(start), uint64(len(rows)), uint64(candidate), uint64(g.out))
	if err != nil || uint32(status[0]) != 0 {
		g.tb.Fatalf("scoring: status %v, %v", status, err)
	}
	out := make([]float64, len(rows))
	for i := range out {
		out[i], _ = g.memory.ReadFloat64Le(g.out + uint32(8*i))
	}
	return out
}

func sameBits(a, b float64) bool {
	return math.Float64bits(a) == math.Float64bits(b) || math.IsNaN(a) && math.IsNaN(b)
}

// oddRows are copies of rows with values that are missing, infinite, negative zero or no category.
func oddRows(rows [][]float64) [][]float64 {
	var out [][]float64
	for i, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), 0, -1, .5, 1e30, 16777217, 1e-40} {
		for k := range rows[0] {
			row := slices.Clone(rows[(i+k)%len(rows)])
			row[k] = v
			out = append(out, row)
		}
	}
	return out
}

// agree holds the module of every class against the interpreter: raw scores and outputs, bit for bit,
// row by row and as the candidates of one subject.
func agree(t *testing.T, m *ir.Model, rows [][]float64) {
	t.Helper()
	run := interpreter(t, m)
	_, out := run.Run(rows[0])
	classes := len(out)
	for class := range classes {
		one := ofClass(m, class, classes)
		oracle := interpreter(t, one)
		single := compiled(t, one, len(m.Inputs), 1)
		for i, row := range rows {
			raw, out := oracle.Run(row)
			if got := single.run(single.raw, row)[0]; !sameBits(got, raw[0]) {
				t.Fatalf("class %d, row %d: the module's raw score is %v, the interpreter's %v", class, i, got, raw[0])
			}
			if got := single.run(single.score, row)[0]; !sameBits(got, out[0]) {
				t.Fatalf("class %d, row %d: the module's score is %v, the interpreter's %v", class, i, got, out[0])
			}
		}
		const candidates = 5
		split := len(m.Inputs) / 2
		many := compiled(t, one, split, candidates)
		for i := range rows {
			var batch [][]float64
			for k := range candidates {
				batch = append(batch, append(slices.Clone(rows[i][:split]), rows[(i+k)%len(rows)][split:]...))
			}
			for k, got := range many.run(many.score, batch...) {
				if _, out := oracle.Run(batch[k]); !sameBits(got, out[0]) {
					t.Fatalf("class %d, row %d, candidate %d: the module's score is %v, the interpreter's %v", class, i, k, got, out[0])
				}
			}
		}
	}
}

// TestModules holds the modules of the models of testdata against the interpreter.
func TestModules(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) { agree(t, s.model, append(oddRows(s.rows), s.rows...)) })
	}
}

// TestScikitLearnModules does so for the reference models, and holds them against scikit-learn.
func TestScikitLearnModules(t *testing.T) {
	for _, name := range []string{"skl_dt", "skl_gb", "skl_impute_onehot_lr", "skl_lr_multi", "skl_mlp", "skl_rf", "skl_scaler_lr"} {
		t.Run(name, func(t *testing.T) {
			m := readModel(t, realdata.Path(t, "model-reference/"+name+".onnx"))
			rows := readCSV(t, realdata.Path(t, "model-reference/"+name+".rows.csv"))
			want := readCSV(t, realdata.Path(t, "model-reference/"+name+".pred.csv"))
			agree(t, m, append(oddRows(rows), rows...))
			last := max(len(m.Classes)-1, 1)
			_, out := interpreter(t, m).Run(rows[0])
			one := ofClass(m, len(out)-1, len(out))
			g := compiled(t, one, len(m.Inputs), 1)
			for i, row := range rows {
				if got := g.run(g.score, row)[0]; !(math.Abs(got-want[i][last]) <= 1e-5) {
					t.Errorf("row %d: got %v, want %v", i, got, want[i][last])
				}
			}
		})
	}
}
