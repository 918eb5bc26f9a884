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
)

// generated is a file testdata/NAME.rows.json of generate.py.
type generated struct {
	Rows       [][]any     `json:"rows"`
	Raw        [][]float64 `json:"raw"`
	Prediction [][]float64 `json:"prediction"`
}

// input lays a row out for a model whose inputs are some of the columns, told by their names or numbers.
func input(t *testing.T, m *ir.Model, row []any) []float64 {
	t.Helper()
	names := []string{"w1", "w2", "w3", "w4", "city", "lines"}
	out := make([]float64, len(m.Inputs))
	for i, v := range m.Inputs {
		column := slices.Index(names, v.Name)
		if column < 0 {
			column = int(v.Name[0] - '0')
		}
		switch x := row[column].(type) {
		case nil:
			out[i] = math.NaN()
		case float64:
			out[i] = x
		case string:
			code := slices.Index(v.Categories, x)
			if v.Hashes != nil {
				code = slices.Index(v.Hashes, Hash(x))
			}
			if out[i] = float64(code); code < 0 {
				out[i] = math.NaN()
			}
		}
	}
	return out
}

// load reads the models of generate.py with their rows, by name.
func load(t testing.TB) (models map[string]*ir.Model, rows map[string]*generated) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.json.gz")
	if err != nil || len(files) == 0 {
		t.Fatalf("no models: %v", err)
	}
	models, rows = map[string]*ir.Model{}, map[string]*generated{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json.gz")
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if models[name], err = Read(text); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if text, err = os.ReadFile("testdata/" + name + ".rows.json"); err != nil {
			t.Fatal(err)
		}
		rows[name] = &generated{}
		if err := json.Unmarshal(text, rows[name]); err != nil {
			t.Fatal(err)
		}
	}
	return models, rows
}

// TestGenerated compares models of every kind on rows that lie on, just above and just below borders:
// raw values bit for bit, predictions within 4 ulp.
func TestGenerated(t *testing.T) {
	models, rows := load(t)
	for name, m := range models {
		t.Run(name, func(t *testing.T) {
			in, err := ir.NewInterpreter(m)
			if err != nil {
				t.Fatal(err)
			}
			ref := rows[name]
			worst := int64(0)
			var inputs [][]float64
			for i, row := range ref.Rows {
				inputs = append(inputs, input(t, m, row))
				raw, out := in.Run(inputs[i])
				want := ref.Raw[i]
				if name == "uncertainty" {
					want = want[:1]
				}
				if !slices.Equal(raw, want) {
					t.Fatalf("row %d: raw %v, want %v", i, raw, want)
				}
				if ref.Prediction == nil {
					continue
				}
				p := ref.Prediction[i]
				if len(out) == 1 && len(p) == 2 {
					p = p[1:]
				}
				for j := range p {
					if worst = max(worst, apart(out[j], p[j])); worst > 4 {
						t.Fatalf("row %d: prediction %v, want %v", i, out, p)
					}
				}
			}
			modeltest.CheckModules(t, m, modeltest.Odd(m, inputs, 2*len(inputs)))
			t.Logf("%s: %d rows, predictions at most %d ulp apart", m.Source.Library, len(ref.Rows), worst)
		})
	}
}

func TestNamedCategories(t *testing.T) {
	models, _ := load(t)
	find := func(m *ir.Model) *ir.Variable {
		for i := range m.Inputs {
			if v := &m.Inputs[i]; v.Name == "city" || v.Name == "4" {
				return v
			}
		}
		t.Fatal("no city")
		return nil
	}
	named := find(models["named"])
	if named.Hashes != nil || !slices.Contains(named.Categories, "München") {
		t.Errorf("a file that lists its texts has categories %q, hashes %v", named.Categories, named.Hashes)
	}
	hashed := find(models["hashed"])
	if hashed.Categories != nil || len(hashed.Hashes) == 0 {
		t.Fatalf("a file without texts has categories %q", hashed.Categories)
	}
	codes := slices.Clone(hashed.Hashes)
	found, err := Name(hashed, []string{"nowhere", "München", "Oslo", "Oslo"})
	if err != nil || found != 2 {
		t.Fatalf("found %d, %v", found, err)
	}
	if at := slices.Index(hashed.Categories, "München"); at < 0 || codes[at] != Hash("München") {
		t.Errorf("München has code %d in %q", at, hashed.Categories)
	}
	if slices.Contains(hashed.Categories, "nowhere") || hashed.Hashes != nil || len(hashed.Categories) != len(codes) {
		t.Errorf("categories are %q", hashed.Categories)
	}
}

func TestWhatIsTold(t *testing.T) {
	models, _ := load(t)
	tests := []struct {
		name    string
		classes []string
		input   string
		prob    bool
	}{
		{name: "named", classes: []string{"0", "1"}, input: "w1", prob: true},
		{name: "multiclass_lossguide", classes: []string{"bronze", "gold", "silver"}, input: "0", prob: true},
		{name: "rmse_scaled", input: "0"},
		{name: "multirmse", classes: []string{"0", "1"}, input: "0"},
	}
	for _, test := range tests {
		m := models[test.name]
		if !slices.Equal(m.Classes, test.classes) || m.Inputs[0].Name != test.input || m.Probability != test.prob || m.Source.Library != "catboost 1.2.10" {
			t.Errorf("%s: classes %q, first input %q, probability %v, library %q", test.name, m.Classes, m.Inputs[0].Name, m.Probability, m.Source.Library)
		}
	}
}
