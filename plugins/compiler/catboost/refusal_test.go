package catboost

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/inflate"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// small is a model of one tree; tests replace parts of it.
const small = `{"features_info":{"float_features":[{"feature_index":0,"flat_feature_index":0,"feature_id":"x","has_nans":false,"nan_value_treatment":"AsIs","borders":[0.5]}]},
"model_info":{"params":{"loss_function":{"type":"RMSE","params":{}}}},
"oblivious_trees":[{"leaf_values":[1,2],"splits":[{"border":0.5,"float_feature_index":0,"split_index":0,"split_type":"FloatFeature"}]}],"scale_and_bias":[1,[0]]}`

func TestRefusals(t *testing.T) {
	tests := []struct {
		name, old, new, want string
	}{
		{name: "binary", old: small, new: "CBM1\x00\x01", want: "binary format"},
		{name: "no JSON", old: small, new: "<PMML/>", want: "byte 1"},
		{name: "empty", old: small, want: "malformed"},
		{name: "other JSON", old: small, new: `{"learner":{}}`, want: "XGBoost"},
		{name: "no trees", old: small, new: `{}`, want: "no trees"},
		{name: "both kinds", old: `"scale_and_bias"`, new: `"trees":[{"value":1}],"scale_and_bias"`, want: "both"},
		{name: "leaves", old: "[1,2]", new: "[1,2,3]", want: "3 leaf values"},
		{name: "no leaves", old: "[1,2]", new: "[]", want: "leaf values"},
		{name: "text leaf", old: "[1,2]", new: `["1",2]`, want: "oblivious_trees.leaf_values"},
		{name: "huge leaf", old: "[1,2]", new: `[1e999,2]`, want: "malformed"},
		{name: "split type", old: "FloatFeature", new: "TextFeature", want: "unknown kind"},
		{name: "CTR split", old: "FloatFeature", new: "OnlineCtr", want: "one_hot_max_size"},
		{name: "feature", old: `"float_feature_index":0`, new: `"float_feature_index":7`, want: "does not list"},
		{name: "no feature", old: `"float_feature_index":0,`, want: "without its feature"},
		{name: "no border", old: `"border":0.5,`, want: "without its feature"},
		{name: "treatment", old: "AsIs", new: "AsPlease", want: "nan_value_treatment"},
		{name: "text features", old: `"float_features"`, new: `"text_features":[{}],"float_features"`, want: "text features"},
		{name: "embeddings", old: `"float_features"`, new: `"embedding_features":[{}],"float_features"`, want: "embedding"},
		{name: "CTR tables", old: `"scale_and_bias"`, new: `"ctr_data":{"a":{}},"scale_and_bias"`, want: "one_hot_max_size"},
		{name: "scale", old: "[1,[0]]", new: "[1]", want: "scale_and_bias"},
		{name: "biases", old: "[1,[0]]", new: "[1,[1,2,3]]", want: "3 biases"},
		{name: "outputs of a loss", old: "[1,2]", new: "[1,2,3,4]", want: "loss function"},
		{name: "unknown loss of several outputs", old: `RMSE","params":{}}}},
"oblivious_trees":[{"leaf_values":[1,2]`, new: `Secret","params":{}}}},
"oblivious_trees":[{"leaf_values":[1,2,3,4]`, want: "not known"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := strings.Replace(small, test.old, test.new, 1)
			if file == small {
				t.Fatal("the test changes nothing")
			}
			_, err := Read([]byte(file))
			e, ok := errors.AsType[*nba.Error](err)
			if !ok || e.Code != nba.CodeModelInvalid {
				t.Fatalf("error %v, want a refusal", err)
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not tell %q", err, test.want)
			}
		})
	}
}

func TestDeepTree(t *testing.T) {
	split := `{"split":{"border":0.5,"float_feature_index":0,"split_type":"FloatFeature"},"left":{"value":1},"right":`
	deep := func(n int) string {
		tree := strings.Repeat(split, n) + `{"value":2}` + strings.Repeat("}", n)
		return small[:strings.Index(small, `"oblivious_trees"`)] + `"trees":[` + tree + `]}`
	}
	if _, err := Read([]byte(deep(200))); err != nil {
		t.Errorf("200 levels: %v", err)
	}
	for _, n := range []int{300, 20_000} {
		if _, err := Read([]byte(deep(n))); err == nil {
			t.Errorf("%d levels were read", n)
		}
	}
}

// TestEmptyLists reads a file whose lists of what is not supported are empty.
func TestEmptyLists(t *testing.T) {
	file := strings.Replace(small, `"float_features"`, `"ctrs":[ ],"text_features":null,"float_features"`, 1)
	if _, err := Read([]byte(strings.Replace(file, `"scale_and_bias"`, `"ctr_data":{ },"scale_and_bias"`, 1))); err != nil {
		t.Error(err)
	}
	many := `{"trees":[` + strings.Repeat("{},", maxObjects) + `{}]}`
	if _, err := Read([]byte(many)); err == nil || !strings.Contains(err.Error(), "objects") {
		t.Errorf("many objects: %v", err)
	}
}

// TestMissingAbove gives NaN the place above all finite borders, but not above an infinite one.
func TestMissingAbove(t *testing.T) {
	for border, want := range map[string]float64{"0.5": 2, "-3.4028234663852886e+38": 2} {
		file := strings.ReplaceAll(strings.Replace(small, `"has_nans":false,"nan_value_treatment":"AsIs"`, `"has_nans":true,"nan_value_treatment":"AsTrue"`, 1), `"border":0.5`, `"border":`+border)
		m, err := Read([]byte(file))
		if err != nil {
			t.Fatal(err)
		}
		in, err := ir.NewInterpreter(m)
		if err != nil {
			t.Fatal(err)
		}
		if raw, _ := in.Run([]float64{math.NaN()}); raw[0] != want {
			t.Errorf("NaN against %s gives %v, want %v", border, raw[0], want)
		}
	}
}

// TestHash compares with hashes that CatBoost wrote for texts of all lengths.
func TestHash(t *testing.T) {
	text, err := os.ReadFile("testdata/named.json.gz")
	if err != nil {
		t.Fatal(err)
	}
	if text, err = inflate.Bytes(text, maxFileBytes); err != nil {
		t.Fatal(err)
	}
	var file modelFile
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	lengths := map[int]bool{}
	for _, h := range file.Features.Hashes {
		if got := uint32(Hash(h.Text)); got != h.Hash {
			t.Errorf("hash of %q is %d, want %d", h.Text, got, h.Hash)
		}
		lengths[len(h.Text)] = true
	}
	for _, n := range []int{0, 1, 4, 8, 12, 14, 31, 58, 64, 65, 130} {
		if !lengths[n] {
			t.Errorf("no text of %d bytes", n)
		}
	}
	tests := map[string]int32{"": 0x2f90404f, "München": 1684924333, "1": 1121341681}
	for text, want := range tests {
		if got := Hash(text); got != want {
			t.Errorf("hash of %q is %d, want %d", text, got, want)
		}
	}
}

// FuzzRead looks for files that make the reader panic or write a model that does not run.
func FuzzRead(f *testing.F) {
	f.Add([]byte(small))
	f.Add([]byte(strings.Replace(small, "RMSE", "Logloss", 1)))
	files, err := filepath.Glob("testdata/*.json.gz")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		if text, err = inflate.Bytes(text, maxFileBytes); err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		m, err := Read(file)
		if err != nil {
			if _, ok := errors.AsType[*nba.Error](err); !ok {
				t.Fatalf("error %v is no *nba.Error", err)
			}
			return
		}
		in, err := ir.NewInterpreter(m)
		if err != nil {
			t.Fatal(err)
		}
		in.Run(make([]float64, len(m.Inputs)))
	})
}

func BenchmarkRead(b *testing.B) {
	file, err := os.ReadFile(realdata.Path(b, "catboost-json/multiclass_3_model.json.gz"))
	if err != nil {
		b.Fatal(err)
	}
	if file, err = inflate.Bytes(file, maxFileBytes); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(file)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(file); err != nil {
			b.Fatal(err)
		}
	}
}
