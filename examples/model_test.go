package examples_test

import (
	"bytes"
	"os"
	"testing"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/plugins/compiler"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// TestChurnModelCompiles compiles the model with its recipes. The golden rows are generated
// subscribers with the scores that XGBoost gave them: all must agree.
func TestChurnModelCompiles(t *testing.T) {
	spec, err := compiler.LoadFeatures(examples.ChurnFeatures(), "features.yaml")
	if err != nil {
		t.Fatal(err)
	}
	golden, err := compiler.ParseGolden(examples.ChurnGolden())
	if err != nil {
		t.Fatal(err)
	}
	out, err := compiler.Compile(examples.ChurnModel(), compiler.Options{
		Name: examples.ChurnPlugin, Version: examples.ChurnVersion, Features: spec, Golden: golden,
	})
	if err != nil {
		t.Fatal(err)
	}
	if out.GoldenChecked != 101 {
		t.Errorf("%d golden rows agreed, want 101", out.GoldenChecked)
	}
	if s := out.Manifest.Source; s.Trees != 200 || s.MaxDepth > 4 {
		t.Errorf("the model has %d trees of depth %d, want 200 of at most 4", s.Trees, s.MaxDepth)
	}
	_, dict := dictionary(t)
	for _, f := range out.Manifest.Features {
		if name := f.Recipe.AttributeName(); name == "gender" {
			t.Error("the model reads gender")
		} else if _, ok := dict.Attribute(name); !ok {
			t.Errorf("feature %s reads %s, which no subscriber has", f.Name, name)
		}
	}
}

// TestTelcoIBM compiles the reference model over the real file with the walk-through's recipes: they
// must read what its mapping declares, and the reference margins must come out.
func TestTelcoIBM(t *testing.T) {
	model := read(t, realdata.Path(t, "xgboost-telco-churn/model.xgb.json"))
	rows := read(t, realdata.Path(t, "xgboost-telco-churn/test_features.csv"))
	golden, err := compiler.ParseGolden(rows, read(t, realdata.Path(t, "xgboost-telco-churn/test_expected.csv")))
	if err != nil {
		t.Fatal(err)
	}
	spec, err := compiler.LoadFeatures(read(t, "telco-ibm/features.yaml"), "features.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out, err := compiler.Compile(model, compiler.Options{Name: "churn", Features: spec, Golden: golden})
	if err != nil {
		t.Fatal(err)
	}
	if want := bytes.Count(rows, []byte("\n")) - 1; out.GoldenChecked != want {
		t.Errorf("%d of %d reference rows agree", out.GoldenChecked, want)
	}
	m, err := importer.ParseMapping(read(t, "telco-ibm/mapping.yaml"), "mapping.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dict, _, err := nba.NewDictionary().Declare(m.Declarations())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range out.Manifest.Features {
		if _, ok := dict.Attribute(f.Recipe.AttributeName()); !ok {
			t.Errorf("feature %s reads %s, which the mapping does not declare", f.Name, f.Recipe.AttributeName())
		}
	}
	// Both mappings may be used on one cluster: they never declare an attribute differently.
	demo, _ := dictionary(t)
	if _, _, err := dict.Declare(demo.Declarations()); err != nil {
		t.Errorf("the demo's attributes contradict the walk-through's: %v", err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
