package compiler

import (
	"bytes"
	"compress/gzip"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// edit replaces parts of the stump; each must be there.
func edit(t testing.TB, pairs ...string) []byte {
	t.Helper()
	text := stump
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("the stump has no %s", pairs[i])
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	return []byte(text)
}

func TestEarlyStoppingWarns(t *testing.T) {
	out, err := Compile(edit(t, `"attributes":{}`, `"attributes":{"best_iteration":"0"}`), Options{Name: "m"})
	if err != nil || len(out.Warnings) != 0 {
		t.Errorf("the only round is the best: %v, %v", out.Warnings, err)
	}
	two := strings.Replace(stump, `"trees":[`, `"trees":[{"default_left":[0],"left_children":[-1],"right_children":[-1],"split_conditions":[1.0],"split_indices":[0]},`, 1)
	two = strings.Replace(two, `"tree_info":[0]`, `"tree_info":[0,0]`, 1)
	two = strings.Replace(two, `"num_trees":"1"`, `"num_trees":"2"`, 1)
	two = strings.Replace(two, `"attributes":{}`, `"attributes":{"best_iteration":"0"}`, 1)
	out, err = Compile([]byte(two), Options{Name: "m"})
	if err != nil || len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "round 1 was the best of 2") {
		t.Errorf("%+v, %v", out, err)
	}
}

// replay gives the golden rows of an artifact to its module, metered with the fuel the manifest
// declares, as admission does.
func replay(t testing.TB, out *Output) {
	t.Helper()
	m := out.Manifest
	if len(m.Golden) == 0 {
		t.Fatal("there are no golden rows")
	}
	n := m.SubjectFeatures()
	g := instantiate(t, out.Module, n, len(m.Features)-n, 1, true)
	for i := range m.Golden {
		row := m.Golden[i].Row(nil)
		raw, status := g.call(g.raw, row[:n], row[n:], 1)
		if status != 0 || !m.Golden[i].MatchesRaw(raw[0]) {
			t.Fatalf("golden row %d: status %d, raw %v, want %v", i, status, raw[0], *m.Golden[i].Raw)
		}
		score, status := g.call(g.score, row[:n], row[n:], 1)
		if status != 0 || score[0] != m.Golden[i].Score {
			t.Fatalf("golden row %d: status %d, score %v, want %v", i, status, score[0], m.Golden[i].Score)
		}
		if used := g.used(); used > m.Fuel(1) {
			t.Fatalf("golden row %d used %d fuel, the manifest allows %d", i, used, m.Fuel(1))
		}
	}
}

// material are the model files of the real data, by folder and pattern.
func material(t testing.TB) []string {
	t.Helper()
	var files []string
	for _, pattern := range [...]string{"model-reference/*.txt", "model-reference/*.json", "model-reference/*.ubj", "model-reference/*.onnx",
		"catboost-json/*_model.json.gz", "pmml/*.pmml", "pmml/*.xml", "treelite/*_model.txt",
		"model-leaves-testdata/*.model", "model-leaves-testdata/lg_breast_cancer.txt", "model-leaves-testdata/model_simple.txt", "xgboost-telco-churn/*.json"} {
		found, err := filepath.Glob(filepath.Join(filepath.Dir(realdata.Path(t, filepath.Dir(pattern)+"/.")), filepath.Dir(pattern), filepath.Base(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		t.Fatal("there is no material")
	}
	return files
}

// TestMaterial compiles every model file there is, for each of its classes, and replays the golden
// rows, which lie on the thresholds. What is refused must say why.
func TestMaterial(t *testing.T) {
	refused := map[string]string{
		"ctr_binary_model.json.gz": "CTR", "xg_dart_agaricus.model": "binary", "xgagaricus.model": "binary",
		"xgblin_agaricus.model": "binary", "xgdermatology.model": "binary", "sk_gradient_boosting_classifier.model": "pickle",
		"sk_iris.model": "pickle",
	}
	compiled := 0
	for _, path := range material(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			file, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			model, err := read(file)
			if want, ok := refused[filepath.Base(path)]; ok || err != nil {
				if nba.CodeOf(err) != nba.CodeModelInvalid || !ok || !strings.Contains(err.Error(), want) {
					t.Fatalf("error %v, want %q", err, want)
				}
				t.Logf("refused: %v", err)
				return
			}
			classes := model.Classes
			if len(classes) == 0 {
				classes = []string{""}
			}
			for _, class := range classes[:min(3, len(classes))] {
				spec := hashedLevels(model, path)
				out, err := Compile(file, Options{Name: "m", Class: class, Features: spec})
				if err != nil {
					t.Fatalf("class %q: %v %q", class, err, details(err))
				}
				replay(t, out)
				compiled++
				t.Logf("class %q: %s, %d trees, %v, %d bytes, %d golden rows", class, out.Manifest.Source.Format, out.Manifest.Source.Trees,
					out.Manifest.Source.Layouts, len(out.Module), len(out.Manifest.Golden))
			}
		})
	}
	t.Logf("%d artifacts", compiled)
}

// hashedLevels lists texts for inputs whose categories the file knows by their hashes only; nil when
// there are none.
func hashedLevels(m *ir.Model, path string) *FeatureSpec {
	hashed := false
	spec := &FeatureSpec{file: "f.yaml"}
	for i := range m.Inputs {
		f := specified{}
		f.Name, f.Scope, f.Recipe.Attribute = m.Inputs[i].Name, "subject", m.Inputs[i].Name
		if len(m.Inputs[i].Hashes) > 0 {
			hashed = true
			rows, _ := os.ReadFile(strings.TrimSuffix(path, "_model.json.gz") + "_test.json")
			for _, quoted := range strings.Split(string(rows), "\"") { // texts and what stands between them
				if !slices.Contains(f.Recipe.Levels, quoted) && len(quoted) < 40 {
					f.Recipe.Levels = append(f.Recipe.Levels, quoted)
				}
			}
		}
		spec.features = append(spec.features, f)
	}
	if !hashed {
		return nil
	}
	return spec
}

// TestGoldenOfAllFormats checks the libraries' own outputs of the reference models.
func TestGoldenOfAllFormats(t *testing.T) {
	header := func(columns []string, file []byte) []byte {
		return append([]byte(strings.Join(columns, ",")+"\n"), file...)
	}
	for _, c := range []struct{ model, raw string }{
		{"lgb_binary.txt", "raw"}, {"lgb_binary_cat.txt", "raw"}, {"lgb_dart.txt", "raw"}, {"lgb_multiclass.txt", "raw"}, {"lgb_poisson.txt", "raw"},
		{"lgb_rf.txt", "raw"}, {"lgb_zero_as_missing.txt", "raw"}, {"xgb_logistic.ubj", "margin"}, {"xgb_softprob.json", "margin"},
		{"xgb_squared.json", "margin"}, {"xgb_dart.json", "margin"}, {"xgb_gblinear.json", "margin"}, {"xgb_cat_onehot.json", "margin"},
	} {
		t.Run(c.model, func(t *testing.T) {
			name := "model-reference/" + strings.TrimSuffix(c.model, filepath.Ext(c.model))
			file := readModel(t, "model-reference/"+c.model)
			m, err := read(file)
			if err != nil {
				t.Fatal(err)
			}
			classes := m.Classes
			lengths, err := m.Lengths()
			if err != nil {
				t.Fatal(err)
			}
			if lengths[m.Output] == 1 {
				classes = []string{""}
			}
			var raws, preds []string
			for _, class := range classes {
				raws, preds = append(raws, strings.TrimSuffix("margin_"+class, "_")), append(preds, strings.TrimSuffix("prob_"+class, "_"))
			}
			rows := header(inputNames(m), readModel(t, name+".rows.csv"))
			both := [][2][]byte{{rows, header(raws, readModel(t, name+"."+c.raw+".csv"))}, {rows, header(preds, readModel(t, name+".pred.csv"))}}
			for _, class := range classes {
				for _, files := range both {
					golden, err := ParseGolden(files[0], files[1])
					if err != nil {
						t.Fatal(err)
					}
					out, err := Compile(file, Options{Name: "m", Class: class, Golden: golden})
					if err != nil {
						t.Fatalf("class %q: %v %q", class, err, details(err))
					}
					if want := bytes.Count(files[0], []byte("\n")) - 1; out.GoldenChecked != want {
						t.Errorf("%d of %d rows checked", out.GoldenChecked, want)
					}
					replay(t, out)
				}
			}
		})
	}
}

// TestModelRefused expects a reason for each kind of file that is no model, or none of ours.
func TestModelRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		model []byte
		want  string
	}{
		{"empty", nil, "empty"},
		{"blank", []byte(" \n"), "empty"},
		{"old binary", []byte("binf\x00\x00"), "binary"},
		{"dump", []byte(`[{"nodeid":0}]`), "dump"},
		{"LightGBM dump", []byte(`{"name":"tree","tree_info":[]}`), "dump"},
		{"text", []byte("hello"), "no model file"},
		{"pickle", []byte("\x80\x04\x95"), "pickle"},
		{"archive", []byte("PK\x03\x04"), "ZIP"},
		{"other JSON", []byte(`{"a":1}`), "XGBoost"},
		{"truncated", []byte(stump[:700]), "malformed"},
	} {
		_, err := Compile(c.model, Options{Name: "m"})
		if nba.CodeOf(err) != nba.CodeModelInvalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// TestClass picks the class of a model.
func TestClass(t *testing.T) {
	three := readModel(t, "model-reference/xgb_softprob.json")
	m, err := read(three)
	if err != nil || len(m.Classes) < 3 {
		t.Fatalf("classes %v, %v", m.Classes, err)
	}
	_, err = Compile(three, Options{Name: "m"})
	if nba.CodeOf(err) != nba.CodeModelInvalid || !strings.Contains(err.Error(), m.Classes[0]) || !strings.Contains(err.Error(), m.Classes[2]) {
		t.Errorf("no class: %v", err)
	}
	if _, err = Compile(three, Options{Name: "m", Class: "nobody"}); nba.CodeOf(err) != nba.CodeModelInvalid {
		t.Errorf("unknown class: %v", err)
	}
	if _, err = Compile(readModel(t, "model-reference/xgb_squared.json"), Options{Name: "m", Class: "1"}); nba.CodeOf(err) != nba.CodeModelInvalid {
		t.Errorf("class of a regression: %v", err)
	}
	two := readModel(t, "model-reference/lgb_binary.txt")
	if m, err = read(two); err != nil || len(m.Classes) != 2 {
		t.Fatalf("classes %v, %v", m.Classes, err)
	}
	last, err := Compile(two, Options{Name: "m"})
	if err != nil {
		t.Fatal(err)
	}
	first, err := Compile(two, Options{Name: "m", Class: m.Classes[0]})
	if err != nil {
		t.Fatal(err)
	}
	for i := range last.Manifest.Golden {
		if p, q := last.Manifest.Golden[i].Score, first.Manifest.Golden[i].Score; math.Abs(p+q-1) > 1e-15 {
			t.Fatalf("row %d: %v and %v", i, p, q)
		}
	}
}

// TestGzip reads a packed file.
func TestGzip(t *testing.T) {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(stump)); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	if _, err := Compile(b.Bytes(), Options{Name: "m"}); err != nil {
		t.Error(err)
	}
}

// TestReorder moves the inputs of models of every kind and expects the same scores.
func TestReorder(t *testing.T) {
	for _, name := range []string{"skl_impute_onehot_lr.onnx", "skl_scaler_lr.onnx", "skl_mlp.onnx", "lgb_binary_cat.txt", "xgb_gblinear.json"} {
		m, err := read(readModel(t, "model-reference/"+name))
		if err != nil {
			t.Fatal(name, err)
		}
		moved, err := read(readModel(t, "model-reference/"+name))
		if err != nil {
			t.Fatal(err)
		}
		n := len(m.Inputs)
		to := make([]int, n)
		for i := range to {
			to[i] = (i + 2) % n
		}
		reorder(moved, to)
		a, err := ir.NewInterpreter(m)
		if err != nil {
			t.Fatal(err)
		}
		b, err := ir.NewInterpreter(moved)
		if err != nil {
			t.Fatal(name, err)
		}
		row := make([]float64, n)
		for k := range 50 {
			for i := range row {
				row[i] = float64((k*7+i*3)%5) - 1
			}
			raw, out := a.Run(row)
			raw2, out2 := b.Run(permute(row, to))
			for i := range raw {
				if raw[i] != raw2[i] {
					t.Fatalf("%s: raw %v, want %v", name, raw2, raw)
				}
			}
			for i := range out {
				if out[i] != out2[i] {
					t.Fatalf("%s: output %v, want %v", name, out2, out)
				}
			}
			if moved.Inputs[to[0]].Name != m.Inputs[0].Name {
				t.Fatalf("%s: inputs are not renamed", name)
			}
		}
	}
}

// FuzzModel checks that no file makes the compiler panic, and that what it accepts compiles to a
// module whose golden rows the interpreter gives again.
func FuzzModel(f *testing.F) {
	f.Add([]byte(stump))
	f.Add(edit(f, `"5E-1"`, `"[5E-1]"`, `[1,0,0]`, `[true,false,false]`))
	f.Add(edit(f, "binary:logistic", "count:poisson", `3.05E1`, `-Infinity`))
	f.Add([]byte("tree\nversion=v4\nnum_class=1\nmax_feature_idx=0\n"))
	f.Add([]byte("<PMML version=\"4.4\"/>"))
	f.Add([]byte{8, 8, 18, 0})
	f.Fuzz(func(t *testing.T, model []byte) {
		if len(model) > 1<<16 {
			return
		}
		out, err := Compile(model, Options{Name: "fuzz"})
		if err != nil {
			if code := nba.CodeOf(err); code != nba.CodeModelInvalid && code != nba.CodeTooLarge && code != nba.CodePluginRefused {
				t.Fatalf("error %v has code %s", err, code)
			}
			return
		}
		replay(t, out)
	})
}
