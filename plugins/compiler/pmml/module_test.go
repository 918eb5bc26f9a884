package pmml

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/tetratelabs/wazero"

	"github.com/arbiterhq/arbiter/plugins/compiler/emit"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
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

// scored runs the module of a model on rows of candidates, as many at once as a call takes: raw scores
// and outputs.
func scored(t *testing.T, m *ir.Model, rows [][]float64) (raw, out []float64) {
	t.Helper()
	emitted, err := emit.Emit(m, 0)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	guest, err := r.Instantiate(ctx, emitted.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	width := len(m.Inputs)
	for batch := range slices.Chunk(rows, emitted.Limits.MaxRows) {
		at, err := guest.ExportedFunction("arbiter_reserve").Call(ctx, 0, uint64(len(batch)), uint64(width))
		if err != nil || int64(at[0]) == -1 {
			t.Fatalf("arbiter_reserve: %v, %v", at, err)
		}
		in, to := uint32(at[0]>>32), uint32(at[0])
		for i, row := range batch {
			for j, v := range row {
				guest.Memory().WriteFloat64Le(in+uint32(8*(i*width+j)), v)
			}
		}
		for name, list := range map[string]*[]float64{"arbiter_score_raw": &raw, "arbiter_score": &out} {
			status, err := guest.ExportedFunction(name).Call(ctx, uint64(in), 0, uint64(in), uint64(len(batch)), uint64(width), uint64(to))
			if err != nil || uint32(status[0]) != 0 {
				t.Fatalf("%s: status %v, %v", name, status, err)
			}
			for i := range batch {
				v, _ := guest.Memory().ReadFloat64Le(to + uint32(8*i))
				*list = append(*list, v)
			}
		}
	}
	return raw, out
}

func sameBits(a, b float64) bool {
	return math.Float64bits(a) == math.Float64bits(b) || a != a && b != b
}

// odd adds copies of rows with values that are missing, infinite, negative zero or no category.
func odd(rows [][]float64) [][]float64 {
	out := slices.Clone(rows)
	for i, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), math.Copysign(0, -1), 0, 1, -1, .5, 1e30, 16777217, 1e-40} {
		for k := range rows[0] {
			row := slices.Clone(rows[(i+k)%len(rows)])
			row[k] = v
			out = append(out, row)
		}
	}
	return out
}

// agree holds the module of every class against the interpreter, bit for bit.
func agree(t *testing.T, m *ir.Model, rows [][]float64) {
	t.Helper()
	rows = odd(rows)
	in, err := ir.NewInterpreter(m)
	if err != nil {
		t.Fatal(err)
	}
	_, all := in.Run(rows[0])
	for class := range len(all) {
		raw, out := scored(t, ofClass(m, class, len(all)), rows)
		for i, row := range rows {
			wantRaw, want := in.Run(row)
			at := min(class, len(wantRaw)-1)
			if !sameBits(raw[i], wantRaw[at]) || !sameBits(out[i], want[class]) {
				t.Fatalf("class %d, row %v: the module gives %v and %v, the interpreter %v and %v", class, row, raw[i], out[i], wantRaw[at], want[class])
			}
		}
	}
}
