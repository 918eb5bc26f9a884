package catboost

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
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// reference is a file NAME_test.json: rows with the library's own predictions.
type reference struct {
	Dimension int    `json:"output_dimension"`
	Type      string `json:"prediction_type"`
	Samples   []struct {
		Floats     []*float64 `json:"floats"`
		Categories []string   `json:"cats"`
	} `json:"samples"`
	Predictions [][]float64 `json:"predictions"`
}

// references are the names of the models with rows; the file of each model is NAME_model.json.gz.
func references(t testing.TB) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(realdata.Path(t, "catboost-json"), "*_model.json.gz"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no models beside each other: %v", err)
	}
	names := map[string]string{}
	for _, file := range files {
		names[strings.TrimSuffix(filepath.Base(file), "_model.json.gz")] = file
	}
	return names
}

func readReference(t *testing.T, model string) *reference {
	t.Helper()
	text, err := os.ReadFile(strings.TrimSuffix(model, "_model.json.gz") + "_test.json")
	if err != nil {
		t.Fatal(err)
	}
	ref := &reference{}
	if err := json.Unmarshal(text, ref); err != nil {
		t.Fatal(err)
	}
	return ref
}

// rows lays the samples out as the model's inputs want them: numbers first, then categories, which is
// the order the reference models were trained with.
func (ref *reference) rows(m *ir.Model) [][]float64 {
	rows := make([][]float64, len(ref.Samples))
	for i, s := range ref.Samples {
		for _, f := range s.Floats {
			if f == nil {
				rows[i] = append(rows[i], math.NaN())
			} else {
				rows[i] = append(rows[i], *f)
			}
		}
		for _, c := range s.Categories {
			v := &m.Inputs[len(rows[i])]
			code := slices.Index(v.Categories, c)
			if v.Hashes != nil {
				code = slices.Index(v.Hashes, Hash(c))
			}
			if code < 0 {
				rows[i] = append(rows[i], math.NaN())
			} else {
				rows[i] = append(rows[i], float64(code))
			}
		}
	}
	return rows
}

// apart is how many numbers of 64 bits lie between two of the same sign.
func apart(a, b float64) int64 {
	d := int64(math.Float64bits(a)) - int64(math.Float64bits(b))
	return max(d, -d)
}

func TestReferenceModels(t *testing.T) {
	for name, file := range references(t) {
		t.Run(name, func(t *testing.T) {
			model, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			m, err := Read(model)
			if name == "ctr_binary" {
				if err == nil || !strings.Contains(err.Error(), "one_hot_max_size") {
					t.Fatalf("a model with CTRs: %v, want it refused with the way out", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			in, err := ir.NewInterpreter(m)
			if err != nil {
				t.Fatal(err)
			}
			ref := readReference(t, file)
			worst := int64(0)
			for i, row := range ref.rows(m) {
				raw, out := in.Run(row)
				worst = max(worst, ref.compare(t, i, raw, out))
			}
			rows := ref.rows(m)
			modeltest.CheckModules(t, m, modeltest.Odd(m, rows, 2*len(rows)))
			t.Logf("%d rows as %q, at most %d ulp apart", len(ref.Samples), ref.Type, worst)
		})
	}
}

// compare holds one row against the library: raw scores bit for bit, what passed through an exponential
// within 4 ulp.
func (ref *reference) compare(t *testing.T, i int, raw, out []float64) (worst int64) {
	t.Helper()
	want, got, limit := ref.Predictions[i], out, int64(4)
	switch ref.Type {
	case "":
		got, limit = raw, 0
	case "Exponent":
		got = []float64{ir.ExpOf(raw[0])}
	case "Class":
		class := 0.0
		if raw[0] > 0 {
			class = 1
		}
		got, limit = []float64{class}, 0
	}
	if len(got) != len(want) || len(got) != ref.Dimension {
		t.Fatalf("row %d: %d outputs, want %d", i, len(got), len(want))
	}
	for j := range want {
		d := apart(got[j], want[j])
		if worst = max(worst, d); d > limit {
			t.Errorf("row %d, output %d: %v, want %v (%d ulp)", i, j, got[j], want[j], d)
		}
	}
	return worst
}
