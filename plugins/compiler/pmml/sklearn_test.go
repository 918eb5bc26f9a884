package pmml

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/internal/modeltest"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
)

// exported is a file testdata/sklearn/NAME.json of generate.py there.
type exported struct {
	Rows        []map[string]any `json:"rows"`
	Predictions [][]float64      `json:"predictions"`
	Classes     []string         `json:"classes"`
}

// input lays a row out for a model.
func (e *exported) input(t *testing.T, m *ir.Model, i int) []float64 {
	out := make([]float64, len(m.Inputs))
	for j, v := range m.Inputs {
		switch x := e.Rows[i][v.Name].(type) {
		case float64:
			out[j] = x
		case string:
			out[j] = float64(slices.Index(v.Categories, x))
		case nil:
			if out[j] = math.NaN(); len(v.Categories) > 0 {
				t.Fatalf("row %d has no %s", i, v.Name)
			}
		}
	}
	return out
}

// TestScikitLearn compares exported models with the libraries that trained them. They compute in another
// order and XGBoost in 32 bits, so 1e-6 is what can be asked for.
func TestScikitLearn(t *testing.T) {
	files, err := filepath.Glob("testdata/sklearn/*.pmml.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no documents: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".pmml.gz"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Read(text)
			if err != nil {
				t.Fatal(err)
			}
			in, err := ir.NewInterpreter(m)
			if err != nil {
				t.Fatal(err)
			}
			var ref exported
			if text, err = os.ReadFile(strings.TrimSuffix(file, ".pmml.gz") + ".json"); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, &ref); err != nil {
				t.Fatal(err)
			}
			worst := 0.0
			var inputs [][]float64
			for i, want := range ref.Predictions {
				inputs = append(inputs, ref.input(t, m, i))
				_, got := in.Run(inputs[i])
				if len(got) == 1 && len(want) == 2 {
					got = []float64{1 - got[0], got[0]}
				}
				for k := range want {
					at := k
					if len(ref.Classes) > 0 {
						at = slices.Index(m.Classes, ref.Classes[k])
					}
					if d := math.Abs(got[at] - want[k]); !(d <= worst) {
						worst = d
					}
				}
			}
			if !(worst <= 1e-6) {
				t.Errorf("a prediction is off by %g", worst)
			}
			t.Logf("%d rows, at most %g apart", len(inputs), worst)
			modeltest.CheckModules(t, m, modeltest.Odd(m, inputs, 2*len(inputs)))
		})
	}
}
