package compiler

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// sandboxed admits the module and runs it as a node does.
func sandboxed(t *testing.T, module []byte) Scorer {
	t.Helper()
	ctx := context.Background()
	sandbox, err := wasm.New(wasm.Config{Instances: 1, MaxCallFuel: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sandbox.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	admitted, err := admission.Admit(ctx, sandbox, module, admission.Policy{MaxBytes: 64 << 20, MaxMemoryPages: 1024, MaxCallFuel: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(admitted.Pool.Release)
	instance, err := admitted.Pool.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admitted.Pool.Put(instance) })
	return admission.NewRowScorer(admitted.Manifest, instance).Score
}

// gatedModels are one file of each kind of tree and of program; the packages of the formats hold all of
// theirs against the interpreter on rows of their own.
var gatedModels = [...]string{"lgb_binary_cat.txt", "lgb_zero_as_missing.txt", "xgb_logistic.json", "xgb_dart.ubj", "xgb_gblinear.json", "skl_rf.onnx",
	"skl_impute_onehot_lr.onnx", "skl_mlp.onnx", "float_binary_model.json.gz", "nonsym_binary_model.json.gz", "cat_onehot_small_model.json.gz",
	"random_forest.pmml", "neural_network.pmml", "toy_categorical_model.txt"}

// TestGate holds modules against the interpreter, and expects one that is off by a unit to be found.
func TestGate(t *testing.T) {
	for _, path := range material(t) {
		name := filepath.Base(path)
		if !slices.Contains(gatedModels[:], name) || testing.Short() && name != gatedModels[0] {
			continue
		}
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		m, err := read(file)
		if err != nil {
			continue // see TestMaterial
		}
		class := ""
		if len(m.Classes) > 0 {
			class = m.Classes[len(m.Classes)-1]
		}
		t.Run(name, func(t *testing.T) {
			out, err := Compile(file, Options{Name: "m", Class: class, Features: hashedLevels(m, path)})
			if err != nil {
				t.Fatal(err, details(err))
			}
			score := sandboxed(t, out.Module)
			done, err := out.Gate(t.Context(), score)
			if err != nil {
				t.Fatal(err)
			}
			if done.Rows < min(100, 10*done.Splits) || done.Covered < min(done.Splits, 100) || done.TriedThresholds < done.Thresholds {
				t.Errorf("%+v", done)
			}
			t.Logf("%+v", done)
			wrong := func(ctx context.Context, row []float64) (float64, float64, error) {
				raw, output, err := score(ctx, row)
				return math.Nextafter(raw, 1e9), output, err
			}
			if _, err := out.Gate(t.Context(), wrong); nba.CodeOf(err) != nba.CodeInternal {
				t.Errorf("a module that is off by one unit: %v", err)
			}
		})
	}
}
