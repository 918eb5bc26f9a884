package emit

import (
	"bytes"
	"compress/gzip"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/catboost"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/compiler/lightgbm"
	"github.com/arbiterhq/arbiter/plugins/compiler/xgboost"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// TestRealModels holds the modules of real models in every layout against the interpreter, on rows whose
// values are thresholds, their neighbours, and what else is special.
func TestRealModels(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	for pattern, read := range map[string]func([]byte) (*ir.Model, error){
		"model-reference/lgb_*.txt":                    lightgbm.Read,
		"model-reference/xgb_*.json":                   xgboost.Read,
		"catboost-json/*_model.json.gz":                catboost.Read,
		"xgboost-telco-churn/model.xgb.json":           xgboost.Read,
		"model-leaves-testdata/lg_breast_cancer.mode*": lightgbm.Read,
	} {
		files, err := filepath.Glob(filepath.Join(realdata.Path(t, filepath.Dir(pattern)), filepath.Base(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.Contains(file, "ctr_") {
				continue // refused
			}
			t.Run(filepath.Base(file), func(t *testing.T) { checkReal(t, random, file, read) })
		}
	}
}

func checkReal(t *testing.T, random *rand.Rand, file string, read func([]byte) (*ir.Model, error)) {
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(file, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		if content, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	m, err := read(content)
	if err != nil {
		t.Fatal(err)
	}
	m.Classes = nil
	lengths, err := m.Lengths()
	if err != nil {
		t.Fatal(err)
	}
	if n := lengths[m.Raw]; n > 1 {
		m.Raw = m.Append(&ir.Gather{In: m.Raw, Columns: []int{n - 1}})
	}
	if n := lengths[m.Output]; n > 1 {
		m.Output = m.Append(&ir.Gather{In: m.Output, Columns: []int{n - 1}})
	}
	rows := make([][]float64, 160)
	for i := range rows {
		rows[i] = rowNearThresholds(random, m)
		for j, x := range rows[i] {
			switch random.IntN(10) {
			case 0:
				x = math.NaN()
			case 1:
				x = []float64{0, math.Copysign(0, -1), math.Inf(1), math.Inf(-1), -1, 3.7, 1e10, 1e-36}[random.IntN(8)]
			case 2:
				x = float64(float32(x))
			case 3, 4:
				x = math.Nextafter(x, math.Inf(random.IntN(2)*2-1))
			case 5, 6:
				x = float64(math.Nextafter32(float32(x), float32(math.Inf(random.IntN(2)*2-1))))
			}
			rows[i][j] = x
		}
	}
	in, err := ir.NewInterpreter(m)
	if err != nil {
		t.Fatal(err)
	}
	n := len(m.Inputs)
	for _, mode := range []mode{modeAnswers, modePerfect, modeKeys} {
		for _, candidate := range []int{0, n / 2, n} {
			out, err := emit(m, n-candidate, maxRows, mode)
			if err != nil {
				t.Fatal(err)
			}
			count := min(len(rows), out.Limits.MaxRows)
			g := instantiate(t, out.Bytes, n-candidate, candidate, count, false)
			for _, k := range []int{1, count} {
				var candidates []float64
				for i := range k {
					candidates = append(candidates, rows[i][n-candidate:]...)
				}
				got, status := g.call(g.raw, rows[0][:n-candidate], candidates, k)
				if status != 0 {
					t.Fatalf("status %d", status)
				}
				for i := range got {
					raw, _ := in.Run(append(append([]float64{}, rows[0][:n-candidate]...), rows[i][n-candidate:]...))
					if !same(got[i], raw[0]) {
						t.Fatalf("mode %d (%v), %d candidate features, row %d of %d: %v, want %v", mode, out.Layouts, candidate, i, k, got[i], raw[0])
					}
				}
			}
			if candidate == 0 {
				for i := range rows {
					got, _ := g.call(g.raw, rows[i], nil, 1)
					if raw, _ := in.Run(rows[i]); !same(got[0], raw[0]) {
						t.Fatalf("mode %d (%v), row %d: %v, want %v", mode, out.Layouts, i, got[0], raw[0])
					}
				}
			}
		}
	}
}

// rowNearThresholds takes each value from the thresholds of its feature, so that walks go everywhere.
func rowNearThresholds(random *rand.Rand, m *ir.Model) []float64 {
	row := make([]float64, len(m.Inputs))
	seen := make([]int, len(row))
	for _, s := range m.Steps {
		if o, ok := s.(*ir.Oblivious); ok && o.In == ir.Input {
			for i := range o.Splits {
				f := o.Splits[i].Feature
				if seen[f]++; random.IntN(seen[f]) == 0 {
					row[f] = o.Splits[i].Value
				}
			}
		}
		trees, ok := s.(*ir.Trees)
		if !ok || trees.In != ir.Input {
			continue
		}
		for i := range trees.Trees {
			for j := range trees.Trees[i].Nodes {
				n := &trees.Trees[i].Nodes[j]
				if n.Compare == ir.Leaf {
					continue
				}
				if seen[n.Feature]++; random.IntN(seen[n.Feature]) == 0 {
					row[n.Feature] = n.Value
				}
			}
		}
	}
	return row
}
