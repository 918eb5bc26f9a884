package compiler

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/internal/modeltest"
)

// TestReference compiles real model files of every library and runs the modules, plain and metered:
// raw scores are those of the library bit for bit, and a row stays within the fuel of the manifest.
func TestReference(t *testing.T) {
	for _, c := range []struct {
		model, rows, raw string
		column           int
		narrow           bool // the library computes in 32 bits
	}{
		{"xgboost-telco-churn/model.xgb.json", "xgboost-telco-churn/test_features.csv", "xgboost-telco-churn/test_expected.csv", 1, true},
		{"model-reference/xgb_logistic.json", "model-reference/xgb_logistic.rows.csv", "model-reference/xgb_logistic.margin.csv", 0, true},
		{"model-reference/xgb_logistic.ubj", "model-reference/xgb_logistic.rows.csv", "model-reference/xgb_logistic.margin.csv", 0, true},
		{"model-reference/xgb_squared.json", "model-reference/xgb_squared.rows.csv", "model-reference/xgb_squared.margin.csv", 0, true},
		{"model-reference/xgb_dart.json", "model-reference/xgb_dart.rows.csv", "model-reference/xgb_dart.margin.csv", 0, true},
		{"model-reference/lgb_binary.txt", "model-reference/lgb_binary.rows.csv", "model-reference/lgb_binary.raw.csv", 0, false},
		{"model-reference/lgb_dart.txt", "model-reference/lgb_dart.rows.csv", "model-reference/lgb_dart.raw.csv", 0, false},
		{"model-reference/lgb_poisson.txt", "model-reference/lgb_poisson.rows.csv", "model-reference/lgb_poisson.raw.csv", 0, false},
	} {
		t.Run(c.model, func(t *testing.T) {
			names, rows := table(t, c.rows)
			_, expected := table(t, c.raw)
			out, err := Compile(modeltest.File(t, c.model), Options{Name: "reference"})
			if err != nil {
				t.Fatal(err)
			}
			columns := columnsOf(t, out, names)
			guests := []*guest{instantiate(t, out.Module, len(columns), 0, 1, false), instantiate(t, out.Module, len(columns), 0, 1, true)}
			input := make([]float64, len(columns))
			for i, row := range rows {
				for j, column := range columns {
					input[j] = row[column]
				}
				want := expected[i][c.column]
				if c.narrow {
					want = float64(float32(want))
				}
				for _, g := range guests {
					if raw, status := g.call(g.raw, input, nil, 1); status != 0 || math.Float64bits(raw[0]) != math.Float64bits(want) {
						t.Fatalf("row %d: status %d, raw %v, the library says %v", i, status, raw[0], want)
					}
				}
				if used, budget := guests[1].used(), out.Manifest.Fuel(1); used > budget {
					t.Fatalf("row %d used %d fuel, the manifest allows %d", i, used, budget)
				}
			}
			if len(rows) < 100 || len(rows) != len(expected) {
				t.Errorf("%d rows, %d expected", len(rows), len(expected))
			}
		})
	}
}

// columnsOf finds the column of each feature, by name or, in a file without names, by its number.
func columnsOf(t *testing.T, out *Output, names []string) []int {
	t.Helper()
	columns := make([]int, len(out.Manifest.Features))
	for i, f := range out.Manifest.Features {
		columns[i] = slices.Index(names, f.Name)
		if columns[i] < 0 {
			number := strings.TrimLeft(f.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
			var err error
			if columns[i], err = strconv.Atoi(number); err != nil {
				t.Fatalf("no column for feature %s", f.Name)
			}
		}
	}
	return columns
}

// table reads a CSV file of numbers; names is nil when the first line is numbers too. Anything that
// is no number is missing.
func table(t testing.TB, file string) (names []string, rows [][]float64) {
	t.Helper()
	for i, line := range strings.Split(strings.TrimSpace(string(modeltest.File(t, file))), "\n") {
		fields := strings.Split(strings.TrimSpace(line), ",")
		row := make([]float64, len(fields))
		numbers := 0
		for j, field := range fields {
			f, err := strconv.ParseFloat(field, 64)
			if err != nil {
				f = math.NaN()
			} else {
				numbers++
			}
			row[j] = f
		}
		if i == 0 && numbers == 0 {
			names = fields
			continue
		}
		rows = append(rows, row)
	}
	return names, rows
}

func readModel(t testing.TB, name string) []byte {
	t.Helper()
	return modeltest.File(t, name)
}
