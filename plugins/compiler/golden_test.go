package compiler

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// TestGoldenByFileName compares every reference model with the libraries' files as they are: without
// headers, told apart by their names, several classes side by side.
func TestGoldenByFileName(t *testing.T) {
	folder := filepath.Dir(realdata.Path(t, "model-reference/lgb_binary.txt"))
	compared := 0
	for _, pattern := range [...]string{"*.txt", "*.json", "*.ubj", "*.onnx"} {
		models, err := filepath.Glob(filepath.Join(folder, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range models {
			base := strings.TrimSuffix(path, filepath.Ext(path))
			name := "model-reference/" + filepath.Base(base)
			file := readModel(t, "model-reference/"+filepath.Base(path))
			m, err := read(file)
			if err != nil {
				t.Fatal(path, err)
			}
			classes := m.Classes
			if len(classes) == 0 {
				classes = []string{""}
			}
			rows := readModel(t, name+".rows.csv")
			for _, kind := range [...]string{"raw", "margin", "pred"} {
				expected, err := filepath.Glob(base + "." + kind + ".csv")
				if err != nil || len(expected) == 0 {
					continue
				}
				for _, class := range classes {
					golden, err := ReadGolden(GoldenFiles{Rows: rows, Expected: readModel(t, name+"."+kind+".csv"), ExpectedName: expected[0]})
					if err != nil {
						t.Fatal(expected[0], err)
					}
					if kind != "pred" && len(classes) == 2 && class == classes[0] {
						continue // the raw score is that of the second class
					}
					out, err := Compile(file, Options{Name: "m", Class: class, Golden: golden})
					if err != nil {
						t.Errorf("%s, class %q: %v %q", expected[0], class, err, details(err))
						continue
					}
					table, err := golden.TableOf(out.Manifest)
					if err != nil || len(table.Rows) != out.GoldenChecked || (table.Margins == nil) == (kind != "pred") {
						t.Errorf("%s: %d rows, %d checked, %v", expected[0], len(table.Rows), out.GoldenChecked, err)
					}
					compared += out.GoldenChecked
				}
			}
		}
	}
	t.Logf("%d rows compared", compared)
}

// TestExpectations finds the expected columns by header, file name and class.
func TestExpectations(t *testing.T) {
	classes := &artifact.Source{Classes: []string{"low", "mid", "high"}, Class: "mid"}
	for _, c := range []struct {
		name                 string
		source               *artifact.Source
		rows, expected, file string
		margin, output       float64
		mistake              string
	}{
		{name: "header", rows: "a,b\n1,2\n", expected: "id,prob,raw\n7,0.5,3\n", margin: 3, output: 0.5},
		{name: "same file", rows: "b,a,margin\n1,2,4\n", margin: 4},
		{name: "tabs, by name", rows: "1\t2\n", expected: "0.5\n", file: "x.pred.tsv", output: 0.5},
		{name: "raw wins", rows: "1,2\n", expected: "5\n", file: "lg_true_raw_predictions.txt", margin: 5},
		{name: "impossible probability", rows: "1,2\n", expected: "-5\n", file: "lg_true_predictions.txt", margin: -5},
		{name: "class by header", source: classes, rows: "1,2\n", expected: "prob_low,prob_mid,prob_high\n0.1,0.2,0.7\n", output: 0.2},
		{name: "class by label", source: classes, rows: "1,2\n", expected: "high,mid,low\n0.1,0.2,0.7\n", file: "p.proba.csv", output: 0.2},
		{name: "class by position", source: classes, rows: "1,2\n", expected: "0.1,0.3,0.6\n", file: "p.proba.csv", output: 0.3},
		{name: "both of two", rows: "1,2\n", expected: "0.1,0.9\n", file: "p.pred.csv", output: 0.9},
		{name: "header and name", rows: "1,2\n", expected: "y\n0.4\n", file: "p.pred.csv", output: 0.4},
		{name: "nothing tells", rows: "1,2\n", expected: "0.4\n", file: "e.csv", mistake: "neither a header nor"},
		{name: "columns", source: classes, rows: "1,2\n", expected: "0.4,0.6\n", file: "e.pred.csv", mistake: "2 columns for a model of 3 classes"},
	} {
		golden, err := ReadGolden(GoldenFiles{Rows: []byte(c.rows), Expected: bytesOrNil(c.expected), ExpectedName: c.file})
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		m := &artifact.Manifest{Output: artifact.OutputProbability, Source: c.source, Features: []artifact.Feature{{Name: "a"}, {Name: "b"}}}
		table, err := golden.TableOf(m)
		if c.mistake != "" {
			if err == nil || !strings.Contains(details(err)[0], c.mistake) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if c.margin == 0 != (table.Margins == nil) || c.margin != 0 && table.Margins[0] != c.margin {
			t.Errorf("%s: margins %v", c.name, table.Margins)
		}
		if c.output == 0 != (table.Outputs == nil) || c.output != 0 && table.Outputs[0] != c.output {
			t.Errorf("%s: outputs %v", c.name, table.Outputs)
		}
	}
}

func bytesOrNil(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}

// TestRowsInModelOrder reads rows without a header for a model whose manifest has another order.
func TestRowsInModelOrder(t *testing.T) {
	spec, err := LoadFeatures([]byte("features:\n  - {name: age, actionProperty: age}\n  - {name: spend, attribute: spend}\n"), "f.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out, err := Compile([]byte(stump), Options{Name: "m", Features: spec})
	if err != nil {
		t.Fatal(err, details(err))
	}
	if got := out.Manifest.Names(); got[0] != "spend" {
		t.Fatalf("order %v", got)
	}
	golden, err := ReadGolden(GoldenFiles{Rows: []byte("1,2\n")})
	if err != nil {
		t.Fatal(err)
	}
	table, err := golden.TableOf(out.Manifest)
	if err != nil || table.Rows[0][0] != 2 || table.Rows[0][1] != 1 {
		t.Fatalf("%v, %v", table, err)
	}
}
