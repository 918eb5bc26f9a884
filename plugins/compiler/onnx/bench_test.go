package onnx

import (
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
