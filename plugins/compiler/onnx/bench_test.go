package onnx

import (
	"context"
	"os"
	"testing"

	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// BenchmarkRead reads a forest of 9440 nodes.
func BenchmarkRead(b *testing.B) {
	file, err := os.ReadFile(realdata.Path(b, "model-reference/skl_rf.onnx"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		if _, err := Read(file); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkModule scores one row in an emitted module, the rows in turn.
func BenchmarkModule(b *testing.B) {
	for _, name := range []string{"skl_dt", "skl_gb", "skl_rf", "skl_scaler_lr", "skl_mlp", "skl_impute_onehot_lr"} {
		b.Run(name, func(b *testing.B) {
			m := readModel(b, realdata.Path(b, "model-reference/"+name+".onnx"))
			rows := readCSV(b, realdata.Path(b, "model-reference/"+name+".rows.csv"))
			g := compiled(b, m, len(m.Inputs), 1)
			var stack [6]uint64
			i := 0
			for b.Loop() {
				for k, x := range rows[i%len(rows)] {
					g.memory.WriteFloat64Le(g.input+uint32(8*k), x)
				}
				stack = [6]uint64{uint64(g.input), uint64(g.subject), uint64(g.input) + 64, 1, 0, uint64(g.out)}
				if err := g.score.CallWithStack(context.Background(), stack[:]); err != nil {
					b.Fatal(err)
				}
				i++
			}
		})
	}
}
