package compiler

import (
	"encoding/csv"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// readTable reads a CSV file of numbers; names is nil when the first line is numbers too.
func readTable(t testing.TB, path string) (names []string, rows [][]float64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(strings.NewReader(string(b))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for i, record := range records {
		row := make([]float64, len(record))
		for j, field := range record {
			if row[j], err = number(field); err != nil {
				break
			}
		}
		if err != nil && i == 0 {
			names = record
			continue
		}
		if err != nil {
			t.Fatal(path, i, err)
		}
		rows = append(rows, row)
	}
	return names, rows
}

func readModel(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(realdata.Path(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// reference is a real model with rows and what XGBoost made of them.
type reference struct {
	name         string
	model        []byte
	rows         [][]float64
	margin, prob []float64
}

func references(t testing.TB) []reference {
	t.Helper()
	telco := reference{name: "telco", model: readModel(t, "xgboost-telco-churn/model.xgb.json")}
	_, telco.rows = readTable(t, realdata.Path(t, "xgboost-telco-churn/test_features.csv"))
	names, expected := readTable(t, realdata.Path(t, "xgboost-telco-churn/test_expected.csv"))
	for _, e := range expected {
		for i, name := range names {
			switch name {
			case "margin":
				telco.margin = append(telco.margin, e[i])
			case "prob":
				telco.prob = append(telco.prob, e[i])
			}
		}
	}
	out := []reference{telco}
	for _, name := range []string{"xgb_logistic", "xgb_squared"} {
		r := reference{name: name, model: readModel(t, "model-reference/"+name+".json")}
		_, r.rows = readTable(t, realdata.Path(t, "model-reference/"+name+".rows.csv"))
		_, margin := readTable(t, realdata.Path(t, "model-reference/"+name+".margin.csv"))
		_, prob := readTable(t, realdata.Path(t, "model-reference/"+name+".pred.csv"))
		for i := range margin {
			r.margin, r.prob = append(r.margin, margin[i][0]), append(r.prob, prob[i][0])
		}
		out = append(out, r)
	}
	return out
}

// TestReference holds the interpreter and the module, plain and metered, against XGBoost's own
// outputs: raw scores bit for bit, probabilities within two units in the last place.
func TestReference(t *testing.T) {
	for _, ref := range references(t) {
		t.Run(ref.name, func(t *testing.T) {
			if len(ref.rows) == 0 || len(ref.rows) != len(ref.margin) || len(ref.rows) != len(ref.prob) {
				t.Fatalf("%d rows, %d margins, %d probabilities", len(ref.rows), len(ref.margin), len(ref.prob))
			}
			e, err := xgboost(ref.model)
			if err != nil {
				t.Fatal(err)
			}
			out, err := Compile(ref.model, Options{Name: "reference"})
			if err != nil {
				t.Fatal(err)
			}
			n := len(e.names)
			plain := instantiate(t, out.Module, n, 0, 1, false)
			metered := instantiate(t, out.Module, n, 0, 1, true)
			budget := out.Manifest.Fuel(1)
			var worst, differ, most int64
			for i, row := range ref.rows {
				want := float32(ref.margin[i])
				if got := e.margin(row); math.Float32bits(got) != math.Float32bits(want) {
					t.Fatalf("row %d: interpreter margin %v, want %v", i, got, want)
				}
				for _, g := range []*guest{plain, metered} {
					raw, status := g.call(g.raw, row, nil, 1)
					if status != 0 || raw[0] != float64(want) {
						t.Fatalf("row %d: status %d, raw %v, want %v", i, status, raw[0], want)
					}
					prob, status := g.call(g.score, row, nil, 1)
					if status != 0 || math.Float64bits(prob[0]) != math.Float64bits(e.output(want)) {
						t.Fatalf("row %d: status %d, output %v, interpreter %v", i, status, prob[0], e.output(want))
					}
					d := ulps(float32(prob[0]), float32(ref.prob[i]))
					if worst = max(worst, d); d > 0 {
						differ++
					}
				}
				most = max(most, metered.used())
			}
			if worst > probabilityUlps {
				t.Errorf("output differs by %d units in the last place", worst)
			}
			if most > budget || budget > 2*most {
				t.Errorf("a row used up to %d fuel, the manifest allows %d", most, budget)
			}
			t.Logf("%s: %d rows, %d trees, layouts %v, %d bytes; raw bit-equal, output differs on %d rows by at most %d ulp; fuel %d of %d",
				ref.name, len(ref.rows), len(e.trees), out.Manifest.Source.Layouts, len(out.Module), differ/2, worst, most, budget)
		})
	}
}
