package compiler

import (
	"math"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// stump is a small model file: one split and two leaves, as XGBoost 1.x writes it.
const stump = `{"learner":{"attributes":{},"feature_names":["age","spend"],"feature_types":["float","float"],
"gradient_booster":{"model":{"gbtree_model_param":{"num_parallel_tree":"1","num_trees":"1","size_leaf_vector":"0"},"tree_info":[0],
"trees":[{"base_weights":[0.0,-1.0,1.0],"categories":[],"categories_nodes":[],"categories_segments":[],"categories_sizes":[],"default_left":[1,0,0],"id":0,
"left_children":[1,-1,-1],"loss_changes":[1.0,0.0,0.0],"parents":[2147483647,0,0],"right_children":[2,-1,-1],
"split_conditions":[3.05E1,-4E-1,6E-1],"split_indices":[1,0,0],"split_type":[0,0,0],"sum_hessian":[1.0,1.0,1.0],
"tree_param":{"num_deleted":"0","num_feature":"2","num_nodes":"3","size_leaf_vector":"0"}}]},"name":"gbtree"},
"learner_model_param":{"base_score":"5E-1","boost_from_average":"1","num_class":"0","num_feature":"2","num_target":"1"},
"objective":{"name":"binary:logistic","reg_loss_param":{"scale_pos_weight":"1"}}},"version":[1,7,4]}`

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

func TestStump(t *testing.T) {
	e, err := xgboost([]byte(stump))
	if err != nil {
		t.Fatal(err)
	}
	below := float64(math.Nextafter32(30.5, 0))
	for _, c := range []struct {
		spend float64
		want  float32
	}{{30.5, 0.6}, {below, -0.4}, {31, 0.6}, {-7, -0.4}, {math.NaN(), -0.4}, {math.Inf(1), 0.6}} {
		if got := e.margin([]float64{0, c.spend}); got != c.want {
			t.Errorf("spend %v: margin %v, want %v", c.spend, got, c.want)
		}
	}
	if e.library != "xgboost 1.7.4" || e.objective != "binary:logistic" {
		t.Errorf("library %q, objective %q", e.library, e.objective)
	}
}

// TestVersions reads what later versions write differently.
func TestVersions(t *testing.T) {
	want, err := xgboost([]byte(stump))
	if err != nil {
		t.Fatal(err)
	}
	for name, model := range map[string][]byte{
		"vector base score":       edit(t, `"5E-1"`, `"[5E-1]"`, `[1,7,4]`, `[3,1,0]`),
		"bool default_left":       edit(t, `"default_left":[1,0,0]`, `"default_left":[true,false,false]`),
		"no split_type":           edit(t, `"split_type":[0,0,0],`, ``),
		"unknown fields":          edit(t, `"version"`, `"cats":{"enc":[],"x":[{"y":null}]},"version"`),
		"no num_class":            edit(t, `"num_class":"0",`, ``),
		"no tree parameters":      edit(t, `"base_weights":[0.0,-1.0,1.0],`, ``),
		"NaN in unused arrays":    edit(t, `"loss_changes":[1.0,0.0,0.0]`, `"loss_changes":[NaN,Infinity,-Infinity]`),
		"deleted, unlinked nodes": edit(t, `[1,-1,-1]`, `[1,-1,-1,-1]`, `[2,-1,-1]`, `[2,-1,-1,-1]`, `[3.05E1,-4E-1,6E-1]`, `[3.05E1,-4E-1,6E-1,9.0]`, `"split_indices":[1,0,0]`, `"split_indices":[1,0,0,2147483647]`, `[1,0,0]`, `[1,0,0,0]`),
	} {
		e, err := xgboost(model)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, row := range [][]float64{{0, 1}, {0, 99}, {0, math.NaN()}} {
			if e.margin(row) != want.margin(row) {
				t.Errorf("%s: margin %v, want %v", name, e.margin(row), want.margin(row))
			}
		}
	}
}

func TestUnnamedFeatures(t *testing.T) {
	e, err := xgboost(edit(t, `["age","spend"]`, `[]`, `["float","float"]`, `[]`))
	if err != nil || len(e.names) != 2 || e.names[1] != "f1" {
		t.Errorf("%v, %v", e, err)
	}
}

func TestObjectives(t *testing.T) {
	for _, c := range []struct {
		objective, base string
		margin          float32
		link            link
	}{
		{"binary:logistic", "5E-1", 0, linkSigmoid},
		{"binary:logistic", "2E-1", -float32(math.Log(4)), linkSigmoid},
		{"reg:logistic", "5E-1", 0, linkSigmoid},
		{"reg:squarederror", "1.5E0", 1.5, linkIdentity},
		{"reg:absoluteerror", "-3E0", -3, linkIdentity},
		{"count:poisson", "5E-1", float32(math.Log(0.5)), linkExp},
		{"reg:tweedie", "1E0", 0, linkExp},
	} {
		e, err := xgboost(edit(t, "binary:logistic", c.objective, `"5E-1"`, `"`+c.base+`"`))
		if err != nil || e.link != c.link || e.base != c.margin {
			t.Errorf("%s from %s: %+v, %v", c.objective, c.base, e, err)
		}
	}
}

func TestEarlyStoppingWarns(t *testing.T) {
	out, err := Compile(edit(t, `"attributes":{}`, `"attributes":{"best_iteration":"0"}`), Options{Name: "m"})
	if err != nil || len(out.Warnings) != 0 {
		t.Errorf("the only round is the best: %v, %v", out.Warnings, err)
	}
	two := strings.Replace(stump, `"trees":[`, `"trees":[{"default_left":[0],"left_children":[-1],"right_children":[-1],"split_conditions":[1.0],"split_indices":[0]},`, 1)
	two = strings.Replace(two, `"num_trees":"1"`, `"num_trees":"2"`, 1)
	two = strings.Replace(two, `"attributes":{}`, `"attributes":{"best_iteration":"0"}`, 1)
	out, err = Compile([]byte(two), Options{Name: "m"})
	if err != nil || len(out.Warnings) != 1 || !strings.Contains(out.Warnings[0], "round 1 was the best of 2") {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestModelRefused expects a reason and a remedy for each kind of file that is not a model of ours.
func TestModelRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		model []byte
		want  string
	}{
		{"empty", nil, "empty"},
		{"blank", []byte(" \n"), "empty"},
		{"LightGBM", []byte("tree\nversion=v4\n"), "LightGBM"},
		{"old binary", []byte("binf\x00\x00"), "old binary format"},
		{"PMML", []byte("<?xml version=\"1.0\"?>"), "PMML"},
		{"UBJSON", []byte("{L\x00\x00\x00\x00\x00\x00\x00\x07learner"), "UBJSON"},
		{"dump", []byte(`[{"nodeid":0}]`), "model dump"},
		{"text", []byte("hello"), "no XGBoost JSON model"},
		{"other JSON", []byte(`{"a":1}`), "has no learner"},
		{"truncated", []byte(stump[:700]), "malformed at byte"},
		{"two values", []byte(stump + "{}"), "text after the model"},
		{"deep", []byte(`{"x":` + strings.Repeat("[", 1000)), "nest too deeply"},
		{"dart", edit(t, `"name":"gbtree"`, `"name":"dart"`), "dart"},
		{"gblinear", edit(t, `"name":"gbtree"`, `"name":"gblinear"`), "not gbtree"},
		{"multi-class", edit(t, `"num_class":"0"`, `"num_class":"3"`), "several outputs"},
		{"several targets", edit(t, `"num_target":"1"`, `"num_target":"2"`), "several outputs"},
		{"several bases", edit(t, `"5E-1"`, `"[5E-1,5E-1]"`), "several outputs"},
		{"tree of another class", edit(t, `"tree_info":[0]`, `"tree_info":[1]`), "several outputs"},
		{"categorical split", edit(t, `"split_type":[0,0,0]`, `"split_type":[1,0,0]`), "splits on categories"},
		{"categories", edit(t, `"categories":[]`, `"categories":[3]`), "splits on categories"},
		{"categorical feature", edit(t, `["float","float"]`, `["c","float"]`), "categorical features"},
		{"vector leaves", edit(t, `"num_nodes":"3","size_leaf_vector":"0"`, `"num_nodes":"3","size_leaf_vector":"4"`), "vector leaves"},
		{"ranking", edit(t, "binary:logistic", "rank:pairwise"), "objective is not supported"},
		{"base score 1", edit(t, `"5E-1"`, `"1E0"`), "between 0 and 1"},
		{"base score 0 for poisson", edit(t, `"5E-1"`, `"0E0"`, "binary:logistic", "count:poisson"), "positive"},
		{"no base score", edit(t, `"base_score":"5E-1",`, ``), "base_score is missing"},
		{"base score NaN", edit(t, `"5E-1"`, `"nan"`), "base_score is missing"},
		{"no trees", edit(t, `"trees":[{`, `"nothing":[{`), "no trees"},
		{"other number of trees", edit(t, `"num_trees":"1"`, `"num_trees":"7"`), "another number of trees"},
		{"no features", edit(t, `"num_feature":"2","num_target"`, `"num_feature":"0","num_target"`), "num_feature"},
		{"too many names", edit(t, `["age","spend"]`, `["age","spend","x"]`), "names 3 features"},
		{"repeated name", edit(t, `["age","spend"]`, `["age","age"]`), "repeated"},
		{"long name", edit(t, `"age"`, `"`+strings.Repeat("a", 257)+`"`), "longer than"},
		{"feature out of range", edit(t, `"split_indices":[1,0,0]`, `"split_indices":[2,0,0]`), "does not have"},
		{"negative feature", edit(t, `"split_indices":[1,0,0]`, `"split_indices":[-1,0,0]`), "negative"},
		{"child out of range", edit(t, `[2,-1,-1]`, `[3,-1,-1]`), "out of range"},
		{"cycle", edit(t, `[1,-1,-1]`, `[0,-1,-1]`), "out of range or has two parents"},
		{"one child twice", edit(t, `[2,-1,-1]`, `[1,-1,-1]`), "two parents"},
		{"one child only", edit(t, `[2,-1,-1]`, `[-1,-1,-1]`), "a child is missing"},
		{"child below -1", edit(t, `[2,-1,-1]`, `[2,-2,-2]`), "a child is missing"},
		{"arrays of different length", edit(t, `[2,-1,-1]`, `[2,-1]`), "differ in length"},
		{"empty tree", edit(t, `[1,-1,-1]`, `[]`), "differ in length"},
		{"NaN threshold", edit(t, `3.05E1`, `NaN`), "not finite"},
		{"infinite leaf", edit(t, `6E-1`, `Infinity`), "not finite"},
		{"threshold beyond 32 bits", edit(t, `3.05E1`, `1e99`), "number of 32 bits"},
		{"hexadecimal", edit(t, `3.05E1`, `0x10`), "number of 32 bits"},
		{"text for a number", edit(t, `3.05E1`, `"3"`), "number of 32 bits"},
		{"child that is no integer", edit(t, `[2,-1,-1]`, `[2.5,-1,-1]`), "whole number"},
		{"object for an array", edit(t, `"tree_info":[0]`, `"tree_info":{}`), "expected"},
		{"control character", edit(t, `"age"`, "\"a\nge\""), "control character"},
		{"broken escape", edit(t, `"age"`, `"\u00zz"`), "escape"},
	} {
		_, err := Compile(c.model, Options{Name: "m"})
		if nba.CodeOf(err) != nba.CodeModelInvalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

func TestRealModelsRefused(t *testing.T) {
	for name, want := range map[string]string{
		"xgb_cat_onehot.json": "categor", "xgb_dart.json": "dart", "xgb_gblinear.json": "not gbtree", "xgb_softprob.json": "several outputs",
		"xgb_logistic.ubj": "UBJSON", "lgb_binary.txt": "LightGBM",
	} {
		_, err := Compile(readModel(t, "model-reference/"+name), Options{Name: "m"})
		if nba.CodeOf(err) != nba.CodeModelInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// TestTruncatedModel cuts the stump at every byte.
func TestTruncatedModel(t *testing.T) {
	for n := range len(stump) {
		if _, err := xgboost([]byte(stump[:n])); nba.CodeOf(err) != nba.CodeModelInvalid {
			t.Fatalf("%d of %d bytes: %v", n, len(stump), err)
		}
	}
}

func TestEscapes(t *testing.T) {
	e, err := xgboost(edit(t, `"age"`, `"\"\\\/\b\f\n\r\t\u00e9é"`))
	if want := "\"\\/\b\f\n\r\téé"; err != nil || e.names[0] != want {
		t.Errorf("%q, %v; want %q", e.names, err, want)
	}
}

// FuzzModel checks that no file makes the compiler panic, and that what it accepts compiles to a
// module whose golden rows the interpreter gives again.
func FuzzModel(f *testing.F) {
	f.Add([]byte(stump))
	f.Add(edit(f, `"5E-1"`, `"[5E-1]"`, `[1,0,0]`, `[true,false,false]`))
	f.Add(edit(f, "binary:logistic", "count:poisson", `3.05E1`, `-Infinity`))
	f.Add([]byte(`{"learner":{"gradient_booster":{"gbtree":{},"name":"dart"}}}`))
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
		e, err := xgboost(model)
		if err != nil {
			t.Fatal(err)
		}
		for i := range out.Manifest.Golden {
			g := &out.Manifest.Golden[i]
			if row := g.Row(nil); !g.MatchesRaw(float64(e.margin(row))) || !g.MatchesScore(e.output(e.margin(row))) {
				t.Fatalf("golden row %d does not match", i)
			}
		}
	})
}
