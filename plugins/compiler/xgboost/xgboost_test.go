package xgboost_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"reflect"
	"sort"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/compiler/internal/modeltest"
	"github.com/arbiterhq/arbiter/plugins/compiler/ir"
	"github.com/arbiterhq/arbiter/plugins/compiler/xgboost"
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

// raw scores one row of a file, read as JSON and, converted, as UBJSON.
func raw(t testing.TB, file []byte, row ...float64) []float64 {
	t.Helper()
	var first []float64
	for _, f := range [][]byte{file, ubjson(t, file, false), ubjson(t, file, true)} {
		m, err := xgboost.Read(f)
		if err != nil {
			t.Fatal(err)
		}
		got, _ := modeltest.Interpreted(t, m)(row)
		if first == nil {
			first = append(first, got...)
		} else if !reflect.DeepEqual(got, first) {
			t.Errorf("UBJSON gives %v, JSON %v", got, first)
		}
	}
	return first
}

// ubjson converts JSON to UBJSON, either plainly with every list ended by a bracket, or as XGBoost does
// with typed arrays of numbers and counted lists.
func ubjson(t testing.TB, file []byte, counted bool) []byte {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(file))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return appendUBJSON(nil, v, counted)
}

func appendUBJSON(b []byte, v any, counted bool) []byte {
	length := func(n int) {
		if counted {
			b = binary.BigEndian.AppendUint64(append(b, 'L'), uint64(n))
		} else {
			b = binary.BigEndian.AppendUint16(append(b, 'N', 'I'), uint16(n))
		}
	}
	switch v := v.(type) {
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		b = append(b, '{')
		for _, k := range keys {
			length(len(k))
			b = appendUBJSON(append(b, k...), v[k], counted)
		}
		return append(b, '}')
	case []any:
		b = append(b, '[')
		if !counted {
			for _, item := range v {
				b = appendUBJSON(append(b, 'N'), item, counted)
			}
			return append(b, ']')
		}
		numbers := len(v) > 0
		for _, item := range v {
			n, ok := item.(json.Number)
			numbers = numbers && ok && strings.ContainsAny(n.String(), ".E")
		}
		if numbers {
			b = append(b, "$d"...)
		}
		b = append(b, '#')
		length(len(v))
		for _, item := range v {
			if numbers {
				f, _ := item.(json.Number).Float64()
				b = binary.BigEndian.AppendUint32(b, math.Float32bits(float32(f)))
				continue
			}
			b = appendUBJSON(b, item, counted)
		}
		return b
	case string:
		b = append(b, 'S')
		length(len(v))
		return append(b, v...)
	case bool:
		if v {
			return append(b, 'T')
		}
		return append(b, 'F')
	case json.Number:
		if i, err := v.Int64(); err == nil {
			if int64(int8(i)) == i {
				return append(b, 'i', byte(i))
			}
			return binary.BigEndian.AppendUint64(append(b, 'L'), uint64(i))
		}
		f, _ := v.Float64()
		return binary.BigEndian.AppendUint64(append(b, 'D'), math.Float64bits(f))
	default:
		return append(b, 'Z')
	}
}

func TestStump(t *testing.T) {
	m, err := xgboost.Read([]byte(stump))
	if err != nil {
		t.Fatal(err)
	}
	if m.Source != (ir.Source{Format: "xgboost-json", Library: "xgboost 1.7.4", Objective: "binary:logistic"}) {
		t.Errorf("source %+v", m.Source)
	}
	if m.Inputs[1].Name != "spend" || !m.Probability || !reflect.DeepEqual(m.Classes, []string{"0", "1"}) {
		t.Errorf("%+v", m)
	}
	below := float64(math.Nextafter32(30.5, 0))
	for _, c := range []struct {
		spend float64
		want  float32
	}{{30.5, 0.6}, {below, -0.4}, {31, 0.6}, {-7, -0.4}, {math.NaN(), -0.4}, {math.Inf(1), 0.6}, {30.4999999999, 0.6}} {
		if got := raw(t, []byte(stump), 0, c.spend); got[0] != float64(c.want) {
			t.Errorf("spend %v: margin %v, want %v", c.spend, got, c.want)
		}
	}
}

// TestVersions reads what versions write differently.
func TestVersions(t *testing.T) {
	for name, model := range map[string][]byte{
		"vector base score":       edit(t, `"5E-1"`, `"[5E-1]"`, `[1,7,4]`, `[3,1,0]`),
		"bool default_left":       edit(t, `"default_left":[1,0,0]`, `"default_left":[true,false,false]`),
		"no split_type":           edit(t, `"split_type":[0,0,0],`, ``),
		"unknown fields":          edit(t, `"version"`, `"new":{"enc":[],"x":[{"y":null}]},"version"`),
		"no num_class":            edit(t, `"num_class":"0",`, ``),
		"no base weights":         edit(t, `"base_weights":[0.0,-1.0,1.0],`, ``),
		"numbers as integers":     edit(t, `"base_weights":[0.0,-1.0,1.0]`, `"base_weights":[0,-1,1]`),
		"deleted, unlinked nodes": edit(t, `[1,-1,-1]`, `[1,-1,-1,-1]`, `[2,-1,-1]`, `[2,-1,-1,-1]`, `[3.05E1,-4E-1,6E-1]`, `[3.05E1,-4E-1,6E-1,9.0]`, `"split_indices":[1,0,0]`, `"split_indices":[1,0,0,2147483647]`, `[1,0,0]`, `[1,0,0,0]`, `"split_type":[0,0,0]`, `"split_type":[0,0,0,0]`),
	} {
		t.Run(name, func(t *testing.T) {
			for spend, want := range map[float64]float32{1: -0.4, 99: 0.6} {
				if got := raw(t, model, 0, spend); got[0] != float64(want) {
					t.Errorf("spend %v: %v, want %v", spend, got, want)
				}
			}
		})
	}
	m, err := xgboost.Read(edit(t, `[1.0,0.0,0.0]`, `[NaN,Infinity,-Infinity]`, `["age","spend"]`, `[]`))
	if err != nil || m.Inputs[1].Name != "f1" {
		t.Errorf("numbers that are none in unused arrays, and features without names: %v", err)
	}
}

func TestObjectives(t *testing.T) {
	ln := func(x float64) float64 { return float64(float32(math.Log(x))) }
	for _, c := range []struct {
		objective, base string
		version         string
		base64          float64 // of the margin
		output          ir.Function
		classes         int
	}{
		{objective: "binary:logistic", base: "5E-1", output: ir.SigmoidXG, classes: 2},
		{objective: "binary:logistic", base: "2E-1", base64: -ln(4), output: ir.SigmoidXG, classes: 2},
		{objective: "binary:logistic", base: "0", version: "[3,2,0]", base64: -ln(1/float64(float32(1e-6)) - 1), output: ir.SigmoidXG, classes: 2},
		{objective: "binary:logitraw", base: "2E-1", base64: float64(float32(0.2)), classes: 2},
		{objective: "reg:logistic", base: "5E-1", output: ir.SigmoidXG},
		{objective: "reg:squarederror", base: "1.5E0", base64: 1.5},
		{objective: "reg:absoluteerror", base: "-3E0", base64: -3},
		{objective: "rank:ndcg", base: "5E-1", base64: 0.5},
		{objective: "count:poisson", base: "5E-1", base64: ln(0.5), output: ir.Exp},
		{objective: "reg:tweedie", base: "1E0", output: ir.Exp},
		{objective: "survival:aft", base: "5E-1", base64: ln(0.5), output: ir.Exp},
		{objective: "survival:cox", base: "5E-1", base64: ln(0.5), output: ir.Exp},
	} {
		version := c.version
		if version == "" {
			version = "[1,7,4]"
		}
		m, err := xgboost.Read(edit(t, "binary:logistic", c.objective, `"5E-1"`, `"`+c.base+`"`, "[1,7,4]", version))
		if err != nil {
			t.Errorf("%s: %v", c.objective, err)
			continue
		}
		output := ir.Identity
		if m.Output != m.Raw {
			output = m.Steps[m.Output-1].(*ir.Activation).Func
		}
		if base := m.Steps[0].(*ir.Trees).Base[0]; base != c.base64 || output != c.output || len(m.Classes) != c.classes {
			t.Errorf("%s from %s: base %v, want %v; output %v, classes %q", c.objective, c.base, base, c.base64, output, m.Classes)
		}
	}
	m, err := xgboost.Read(edit(t, "binary:logistic", "binary:hinge", "5E-1", "0"))
	if err != nil {
		t.Fatal(err)
	}
	for spend, want := range map[float64]float64{1: 0, 99: 1} {
		if _, out := modeltest.Interpreted(t, m)([]float64{0, spend}); out[0] != want {
			t.Errorf("hinge of %v: %v, want %v", spend, out, want)
		}
	}
}

// second adds a second tree with one leaf of value 1 that adds to an output.
func second(output string) []string {
	return []string{`"num_trees":"1"`, `"num_trees":"2"`, `"tree_info":[0]`, `"tree_info":[0,` + output + `]`, `"trees":[`,
		`"trees":[{"default_left":[0],"left_children":[-1],"right_children":[-1],"split_conditions":[1.0],"split_indices":[0],"tree_param":{}},`}
}

func TestSeveralOutputs(t *testing.T) {
	classes := edit(t, append(second("1"), `"num_class":"0"`, `"num_class":"3"`, "binary:logistic", "multi:softprob", "5E-1", "[1E0,2E0,3E0]", "[1,7,4]", "[3,1,0]")...)
	if got := raw(t, classes, 0, 99); !reflect.DeepEqual(got, []float64{2, float64(float32(2) + 0.6), 3}) {
		t.Errorf("classes: %v", got)
	}
	m, err := xgboost.Read(classes)
	if err != nil || !reflect.DeepEqual(m.Classes, []string{"0", "1", "2"}) {
		t.Errorf("classes %v, %v", m, err)
	}
	soft, err := xgboost.Read(edit(t, append(second("1"), `"num_class":"0"`, `"num_class":"2"`, "binary:logistic", "multi:softmax")...))
	if err != nil || len(soft.Warnings) != 1 {
		t.Errorf("softmax: %v, %v", soft, err)
	}
	quantiles := edit(t, append(second("1"), `"num_target":"1"`, `"num_target":"2"`, `binary:logistic"`, `reg:quantileerror","quantile_loss_param":{"quantile_alpha":"[0.1, 0.9]"}`)...)
	if m, err := xgboost.Read(quantiles); err != nil || !reflect.DeepEqual(m.Classes, []string{"0.1", "0.9"}) {
		t.Errorf("quantiles: %v, %v", m, err)
	}
	// Since 3.4 quantiles that cross are put in order.
	crossing := []byte(strings.Replace(strings.Replace(string(quantiles), "[1,7,4]", "[3,4,1]", 1), `"split_conditions":[1.0]`, `"split_conditions":[9.0]`, 1))
	m, err = xgboost.Read(crossing)
	if err != nil {
		t.Fatal(err)
	}
	if raw, out := modeltest.Interpreted(t, m)([]float64{0, 99}); !reflect.DeepEqual(raw, []float64{9.5, float64(float32(0.5) + 0.6)}) || out[0] != raw[1] || out[1] != raw[0] {
		t.Errorf("crossing quantiles: raw %v, output %v", raw, out)
	}
	vectors := edit(t, `"num_target":"1"`, `"num_target":"2"`, "binary:logistic", "reg:squarederror", `"num_nodes":"3","size_leaf_vector":"0"`, `"num_nodes":"3","size_leaf_vector":"2"`, `[0.0,-1.0,1.0]`, `[0.0,0.0,-1.0,-2.0,1.0,2.0]`)
	if got := raw(t, vectors, 0, 1); !reflect.DeepEqual(got, []float64{-0.5, -1.5}) {
		t.Errorf("vector leaves of 2.x: %v", got)
	}
	// Since 3.1 the right child of a leaf is its number among the leaf weights.
	vectors = edit(t, `"num_target":"1"`, `"num_target":"2"`, "binary:logistic", "reg:squarederror", `"num_nodes":"3","size_leaf_vector":"0"`, `"num_nodes":"3","size_leaf_vector":"2"`,
		`"right_children":[2,-1,-1]`, `"right_children":[2,1,0]`, `"loss_changes"`, `"leaf_weights":[1.0,2.0,3.0,4.0],"loss_changes"`)
	if got := raw(t, vectors, 0, 1); !reflect.DeepEqual(got, []float64{3.5, 4.5}) {
		t.Errorf("vector leaves of 3.x: %v", got)
	}
}

func TestDart(t *testing.T) {
	want := float64(float32(0.6) * float32(0.3))
	for name, model := range map[string][]byte{
		"before 3.3": edit(t, `"gradient_booster":{`, `"gradient_booster":{"gbtree":{`, `"name":"gbtree"}`, `"name":"gbtree"},"name":"dart","weight_drop":[3E-1]}`),
		"3.3":        edit(t, `"name":"gbtree"}`, `"name":"gbtree","weight_drop":[3E-1]}`),
		"3.4":        edit(t, `"tree_info"`, `"weight_drop":[3E-1],"tree_info"`),
	} {
		if got := raw(t, model, 0, 99); got[0] != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestLinear(t *testing.T) {
	model := edit(t, `"name":"gbtree"}`, `"name":"gblinear"}`, `"tree_info":[0]`, `"weights":[2E0,-1E0,5E-1],"boosted_rounds":3`)
	for _, c := range []struct{ age, spend, want float64 }{{1, 2, 0.5}, {math.NaN(), 2, -1.5}, {math.NaN(), math.NaN(), 0.5}} {
		if got := raw(t, model, c.age, c.spend); got[0] != c.want {
			t.Errorf("%v: %v", c, got)
		}
	}
}

// TestCategories splits on categories 2 and 40, which go right; all else goes left.
func TestCategories(t *testing.T) {
	model := edit(t, `"categories":[],"categories_nodes":[],"categories_segments":[],"categories_sizes":[]`,
		`"categories":[7,40,2],"categories_nodes":[0],"categories_segments":[1],"categories_sizes":[2]`,
		`"split_type":[0,0,0]`, `"split_type":[1,0,0]`, `[3.05E1,-4E-1,6E-1]`, `[1E30,-4E-1,6E-1]`, `"default_left":[1,0,0]`, `"default_left":[0,0,0]`)
	left, right := float64(float32(-0.4)), float64(float32(0.6))
	for x, want := range map[float64]float64{2: right, 40: right, 2.7: right, 7: left, 0: left, -0.5: left, -1: left, 41: left, 1e9: left, 1e30: left, math.Inf(1): left, math.NaN(): right} {
		if got := raw(t, model, 0, x); got[0] != want {
			t.Errorf("category %v: %v, want %v", x, got, want)
		}
	}
}

// TestSparseCategories renumbers categories that are far apart, which changes no score.
func TestSparseCategories(t *testing.T) {
	model := edit(t, `"categories":[],"categories_nodes":[],"categories_segments":[],"categories_sizes":[]`,
		`"categories":[0,4000000,2],"categories_nodes":[0],"categories_segments":[0],"categories_sizes":[3]`,
		`"split_type":[0,0,0]`, `"split_type":[1,0,0]`, `[3.05E1,-4E-1,6E-1]`, `[1E30,-4E-1,6E-1]`)
	left, right := float64(float32(-0.4)), float64(float32(0.6))
	for x, want := range map[float64]float64{0: right, 2: right, 2.7: right, 4e6: right, 4e6 + 0.1: right, -0.5: left, -1: left, 1: left, 3999999: left, math.Inf(1): left, math.NaN(): left} {
		if got := raw(t, model, 0, x); got[0] != want {
			t.Errorf("category %v: %v, want %v", x, got, want)
		}
	}
	m, err := xgboost.Read(model)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Steps) == 2 {
		t.Error("the categories were not renumbered")
	}
	modeltest.CheckModules(t, m, modeltest.Odd(m, [][]float64{{0, 0}, {0, 2}, {0, 4e6}, {0, 3e6}}, 100))
}

// TestWideModel leaves out columns that no tree reads where there are too many.
func TestWideModel(t *testing.T) {
	m, err := xgboost.Read(edit(t, `"num_feature":"2","num_target"`, `"num_feature":"9000","num_target"`, `["age","spend"]`, `[]`, `"split_indices":[1,0,0]`, `"split_indices":[8999,0,0]`))
	if err != nil || len(m.Inputs) != 1 || m.Inputs[0].Name != "f8999" || len(m.Warnings) != 1 {
		t.Fatalf("%+v, %v", m, err)
	}
	if raw, _ := modeltest.Interpreted(t, m)([]float64{99}); raw[0] != float64(float32(0.6)) {
		t.Errorf("raw %v", raw)
	}
}

// TestDataFrameCategories reads the categories that XGBoost keeps since 3.1: texts, and whole numbers
// that are not their own codes.
func TestDataFrameCategories(t *testing.T) {
	cats := `"cats":{"enc":[{"offsets":[0,1,4],"values":[77,65,108,108]},{"type":13,"values":[10,-20,40]}],"feature_segments":[0,2,5],"sorted_idx":[]},"tree_info"`
	m, err := xgboost.Read(edit(t, `"tree_info"`, cats))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(m.Inputs[0].Categories, []string{"M", "All"}) || m.Inputs[1].Categories != nil {
		t.Errorf("inputs %+v", m.Inputs)
	}
	// 40 has code 2, which is less than 30.5; itself it is not.
	if got := raw(t, edit(t, `"tree_info"`, cats), 0, 40); got[0] != float64(float32(-0.4)) {
		t.Errorf("category 40: %v", got)
	}
	if got := raw(t, edit(t, `"tree_info"`, cats, `[1,0,0]`, `[0,0,0]`), 0, 11); got[0] != float64(float32(0.6)) {
		t.Errorf("an unknown category is not missing: %v", got)
	}
}

func TestEarlyStoppingWarns(t *testing.T) {
	for best, want := range map[string]int{"0": 1, "1": 0} {
		m, err := xgboost.Read(edit(t, append(second("0"), `"attributes":{}`, `"attributes":{"best_iteration":"`+best+`"}`)...))
		if err != nil || len(m.Warnings) != want || want == 1 && !strings.Contains(m.Warnings[0], "round 1 was the best of 2") {
			t.Errorf("best round %s: %v, %v", best, m, err)
		}
	}
}

// TestFormatsAgree holds the UBJSON files of the library against its JSON files, node by node.
func TestFormatsAgree(t *testing.T) {
	for _, name := range referenceModels {
		a, b := read(t, "model-reference/"+name+".json"), read(t, "model-reference/"+name+".ubj")
		b.Source.Format = a.Source.Format
		if !reflect.DeepEqual(a, b) {
			t.Errorf("%s: JSON and UBJSON differ", name)
		}
	}
}

// TestRefusals names for each mistake what the message must say.
func TestRefusals(t *testing.T) {
	tooLarge := make([]byte, xgboost.MaxFileBytes+1)
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "empty"},
		{"white space", []byte(" \n"), "empty"},
		{"too large", tooLarge, "more than"},
		{"no model", []byte("hello"), "no XGBoost model"},
		{"JSON of something else", []byte(`{"a":1}`), "no learner"},
		{"LightGBM's dump", []byte(`{"name":"tree","tree_info":[]}`), "LightGBM"},
		{"dump", []byte(`[{"nodeid":0}]`), "dump"},
		{"text dump", []byte("booster[0]:\n0:[f0<1]"), "dump"},
		{"old binary", append(make([]byte, 144), "reg:linear\x00\x00\x00"...), "old binary format"},
		{"old binary with mark", []byte("binf1234"), "old binary format"},
		{"text after", append([]byte(stump), "x"...), "text after"},
		{"cut", []byte(stump)[:900], "malformed"},
		{"deep", bytes.Repeat([]byte(`{"a":`), 100), "too deeply"},
		{"no booster", edit(t, `"name":"gbtree"`, `"name":"other"`), "booster"},
		{"objective", edit(t, "binary:logistic", "mine"), "objective"},
		{"no trees", edit(t, `"trees":[`, `"none":[`), "no trees"},
		{"number of trees", edit(t, `"num_trees":"1"`, `"num_trees":"2"`), "another number of trees"},
		{"no features", edit(t, `"num_feature":"2","num_target"`, `"num_target"`), "num_feature"},
		{"names", edit(t, `["age","spend"]`, `["age"]`), "names 1 features"},
		{"same names", edit(t, `["age","spend"]`, `["age","age"]`), "repeated"},
		{"column", edit(t, `"split_indices":[1,0,0]`, `"split_indices":[2,0,0]`), "column"},
		{"negative column", edit(t, `"split_indices":[1,0,0]`, `"split_indices":[-1,0,0]`), "negative"},
		{"arrays", edit(t, `"split_indices":[1,0,0]`, `"split_indices":[1,0]`), "differ in length"},
		{"cycle", edit(t, `"left_children":[1,-1,-1]`, `"left_children":[1,0,-1]`), "two parents"},
		{"one child", edit(t, `"left_children":[1,-1,-1]`, `"left_children":[-1,-1,-1]`), "one child"},
		{"leaf", edit(t, `-4E-1`, `NaN`), "not finite"},
		{"threshold", edit(t, `3.05E1`, `NaN`), "not a number"},
		{"number", edit(t, `3.05E1`, `0x1p3`), "number of 32 bits"},
		{"base score", edit(t, `5E-1`, `2E0`), "between 0 and 1"},
		{"no base score", edit(t, `"base_score":"5E-1",`, ``), "base_score"},
		{"base scores", edit(t, `5E-1`, `[1E-1,2E-1]`), "2 values for 1 outputs"},
		{"output", edit(t, `"tree_info":[0]`, `"tree_info":[1]`), "output"},
		{"negative output", edit(t, `"tree_info":[0]`, `"tree_info":[-1]`), "output"},
		{"split type", edit(t, `"split_type":[0,0,0]`, `"split_type":[2,0,0]`), "unknown type"},
		{"no categories", edit(t, `"split_type":[0,0,0]`, `"split_type":[1,0,0]`), "has none"},
		{"category", edit(t, `"categories":[],"categories_nodes":[],"categories_segments":[],"categories_sizes":[]`, `"categories":[99999999],"categories_nodes":[0],"categories_segments":[0],"categories_sizes":[1]`), "beyond"},
		{"categories", edit(t, `"categories":[],"categories_nodes":[],"categories_segments":[],"categories_sizes":[]`, `"categories":[1],"categories_nodes":[0],"categories_segments":[0],"categories_sizes":[2]`), "out of range"},
		{"one class", edit(t, `binary:logistic`, `multi:softprob`), "one class"},
		{"dart without weights", edit(t, `"name":"gbtree"`, `"name":"dart"`), "weights"},
		{"vector leaves", edit(t, `"num_nodes":"3","size_leaf_vector":"0"`, `"num_nodes":"3","size_leaf_vector":"2"`), "values"},
		{"linear weights", edit(t, `"name":"gbtree"}`, `"name":"gblinear"}`), "0 weights"},
		{"UBJSON cut", ubjson(t, []byte(stump), true)[:700], "malformed"},
		{"UBJSON bomb", []byte("{U\x01a[$Z#l\x7f\xff\xff\xff}"), "no bytes"},
		{"UBJSON length", []byte("{U\x01aSL\x7f\xff\xff\xff\xff\xff\xff\xff"), "length"},
		{"UBJSON and more", append(ubjson(t, []byte(stump), true), 'T'), "after the model"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := xgboost.Read(c.file)
			if code := nba.CodeOf(err); code != nba.CodeModelInvalid && code != nba.CodeTooLarge {
				t.Fatalf("error %v", err)
			}
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %q does not say %q", err, c.want)
			}
		})
	}
}

// TestOldBinaryFiles are real files of the binary format before 1.0.
func TestOldBinaryFiles(t *testing.T) {
	for _, name := range [...]string{"model-leaves-testdata/xg_dart_agaricus.model", "model-leaves-testdata/xgagaricus.model",
		"model-leaves-testdata/xgblin_agaricus.model", "model-leaves-testdata/xgdermatology.model", "treelite/mushroom.model"} {
		file := modeltest.File(t, name)
		_, err := xgboost.Read(file)
		if nba.CodeOf(err) != nba.CodeModelInvalid || !strings.Contains(err.Error(), "old binary format") || !strings.Contains(err.Error(), "save_model") {
			t.Errorf("%s: %v", name, err)
		}
		if !xgboost.Detect(file) {
			t.Errorf("%s: not detected", name)
		}
	}
	for _, name := range [...]string{"model-leaves-testdata/sk_iris.model", "model-leaves-testdata/lg_1tree.json", "model-reference/skl_dt.onnx", "model-reference/lgb_rf.txt"} {
		if xgboost.Detect(modeltest.File(t, name)) {
			t.Errorf("%s: taken for a file of XGBoost", name)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(stump))
	f.Add(ubjson(f, []byte(stump), true))
	f.Add(ubjson(f, []byte(stump), false))
	f.Add(edit(f, `"categories":[],"categories_nodes":[],"categories_segments":[],"categories_sizes":[]`,
		`"categories":[7,40,2],"categories_nodes":[0],"categories_segments":[1],"categories_sizes":[2]`, `"split_type":[0,0,0]`, `"split_type":[1,0,0]`))
	f.Add(edit(f, `"name":"gbtree"}`, `"name":"gblinear"}`, `"tree_info":[0]`, `"weights":[2E0,-1E0,5E-1]`))
	f.Add(edit(f, `"tree_info"`, `"cats":{"enc":[{"offsets":[0,1,4],"values":[77,65,108,108]},{"type":13,"values":[10,-20,40]}]},"weight_drop":[3E-1],"tree_info"`))
	f.Fuzz(func(t *testing.T, file []byte) {
		xgboost.Detect(file)
		m, err := xgboost.Read(file)
		if err != nil {
			if code := nba.CodeOf(err); code != nba.CodeModelInvalid && code != nba.CodeTooLarge {
				t.Fatalf("error %v has code %s", err, code)
			}
			return
		}
		score := modeltest.Interpreted(t, m) // validates
		row := make([]float64, len(m.Inputs))
		for _, v := range [...]float64{0, -1, 30.5, math.NaN(), math.Inf(1), math.Inf(-1), 1e300} {
			for i := range row {
				row[i] = v
			}
			score(row)
		}
	})
}
