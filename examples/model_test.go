package examples_test

import (
	"os"
	"testing"

	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/plugins/compiler"
)

// TestChurnModelCompiles compiles the model with its recipes. The golden rows are generated
// subscribers with the scores that XGBoost gave them: all must agree.
func TestChurnModelCompiles(t *testing.T) {
	spec, err := compiler.LoadFeatures(examples.ChurnFeatures(), "features.yaml")
	if err != nil {
		t.Fatal(err)
	}
	golden, err := compiler.ParseGolden(read(t, "model/churn.rows.csv"), read(t, "model/churn.expected.csv"))
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

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
