package compiler

import (
	"errors"
	"fmt"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/sdk/realdata"
)

// details are the mistakes of err as "file:line: text".
func details(err error) []string {
	e, ok := errors.AsType[*nba.Error](err)
	if !ok {
		return []string{fmt.Sprint(err)}
	}
	var out []string
	for _, d := range e.Details {
		out = append(out, fmt.Sprintf("%s:%d: %s", d.File, d.Line, d.Detail))
	}
	return out
}

func TestLoadFeatures(t *testing.T) {
	spec, err := LoadFeatures([]byte(`
purpose: service
features:
  - {name: tenure, attribute: tenure, default: 0}
  - {name: plan, attribute: plan, levels: [S, M, L]}
  - name: age
    bucket: {attribute: age, bounds: [18, 30.5]}
  - {name: value, actionProperty: value}
  - {name: temperature, context: temperature}
  - {name: logSpend, log: {attribute: spend, offset: 1}}
  - {name: share, ratio: {attribute: spend, by: total}}
  - {name: refused, history: {aggregate: responses, outcome: Rejected, days: 30, channel: web, sameAction: true}}
  - {name: "Contract_None", oneHot: {attribute: other, level: None}}
oneHotPrefixes: {"Contract_": contract, "Contract_Old_": oldContract}
`), "f.yaml")
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"Contract_Old_Two year", "value", "age", "Contract_One year", "plan", "tenure", "temperature", "Contract_None",
		"logSpend", "share", "refused"}
	got, err := spec.resolve(names)
	if err != nil {
		t.Fatal(err)
	}
	zero := 0.0
	oneHot := func(attribute, level string) artifact.Recipe {
		return artifact.Recipe{OneHot: &artifact.OneHot{Attribute: attribute, Level: level}}
	}
	recipes := []artifact.Recipe{oneHot("oldContract", "Two year"), {ActionProperty: "value"}, {Bucket: &artifact.Bucket{Attribute: "age", Bounds: []float64{18, 30.5}}},
		oneHot("contract", "One year"), {Attribute: "plan", Levels: []string{"S", "M", "L"}}, {Attribute: "tenure", Default: &zero}, {Context: "temperature"}, oneHot("other", "None"),
		{Log: &artifact.Log{Attribute: "spend", Offset: 1}}, {Ratio: &artifact.Ratio{Attribute: "spend", By: "total"}},
		{History: &artifact.History{Aggregate: "responses", Outcome: "Rejected", Days: 30, Channel: "web", SameAction: true}}}
	for i, f := range got {
		scope := artifact.ScopeSubject
		if i == 1 || names[i] == "refused" {
			scope = artifact.ScopeCandidate
		}
		if want := (artifact.Feature{Name: names[i], Scope: scope, Recipe: recipes[i]}); !reflect.DeepEqual(f, want) {
			t.Errorf("feature %d is %+v, want %+v", i, f, want)
		}
	}
	if spec.Purpose != "service" {
		t.Errorf("purpose %q", spec.Purpose)
	}
}

func TestLoadFeaturesMistakes(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"empty", "", []string{"f.yaml:1: the file is empty"}},
		{"syntax", "features:\n  - {name: x\n", []string{"f.yaml:"}},
		{"scalar", "hello", []string{"f.yaml:1: expected a mapping"}},
		{"unknown key", "feature: []", []string{`f.yaml:1: unknown key "feature" (did you mean "features"?)`}},
		{"several at once", "purpose: [x]\nfeatures:\n  - {nam: a, attribute: a}\n  - {name: b}\n  - {name: c, attribute: c, context: d}\n", []string{
			"f.yaml:1: expected a text", `f.yaml:3: unknown key "nam" (did you mean "name"?)`, "f.yaml:3: the feature has no name",
			`f.yaml:4: feature "b": a recipe has exactly one`, `f.yaml:5: feature "c": a recipe has exactly one`}},
		{"repeated feature", "features:\n  - {name: a, attribute: a}\n  - {name: a, attribute: b}", []string{`f.yaml:3: feature "a" is already listed on line 2`}},
		{"repeated key", "features:\n  - {name: a, name: b, attribute: x}", []string{"f.yaml:2: the key name is repeated"}},
		{"repeated prefix", "oneHotPrefixes:\n  a_: x\n  a_: y", []string{"f.yaml:3: the prefix"}},
		{"history", "features:\n  - {name: a, history: {aggregate: sum, days: x}}", []string{"f.yaml:2: expected a whole number", `f.yaml:2: feature "a": an aggregate is`}},
		{"ratio", "features:\n  - {name: a, ratio: {attribute: x, over: y}}", []string{`f.yaml:2: unknown key "over"`, `f.yaml:2: feature "a": ratio needs two attributes`}},
		{"text for a number", "features:\n  - {name: a, attribute: a, default: none}", []string{"f.yaml:2: expected a number"}},
		{"alias", "features: &f\n  - {name: a, attribute: a}\noneHotPrefixes: *f", []string{"f.yaml:3: expected a mapping"}},
		{"two documents", "features: []\n---\nfeatures: []", []string{"f.yaml:1: the file holds more than one document"}},
		{"candidate attribute", "features:\n  - {name: a, attribute: a, scope: candidate}", []string{"f.yaml:2: feature \"a\": actionProperty, and history with sameAction, need scope candidate"}},
		{"bounds", "features:\n  - name: a\n    bucket: {attribute: a, bounds: [3, 1]}", []string{"f.yaml:2: feature \"a\": bounds are finite"}},
	} {
		_, err := LoadFeatures([]byte(c.text), "f.yaml")
		got := details(err)
		if nba.CodeOf(err) != nba.CodeModelInvalid || len(got) != len(c.want) {
			t.Errorf("%s: %v: %q", c.name, err, got)
			continue
		}
		for i := range got {
			if !strings.HasPrefix(got[i], c.want[i]) {
				t.Errorf("%s: %q, want %q", c.name, got[i], c.want[i])
			}
		}
	}
}

func TestFeaturesMustFit(t *testing.T) {
	spec, err := LoadFeatures([]byte("features:\n  - {name: tenur, attribute: tenure}\n  - {name: MonthlyCharges, attribute: charges}\noneHotPrefixes:\n  Contrct_: contract\n"), "f.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, err = spec.resolve([]string{"tenure", "MonthlyCharges", "Contract_One year"})
	want := []string{
		`f.yaml:2: feature "tenur" is not in the model (did you mean "tenure"?)`,
		`f.yaml:0: the model's feature "tenure" is not listed and matches no prefix (did you mean "tenur"?)`,
		`f.yaml:0: the model's feature "Contract_One year" is not listed and matches no prefix`,
		`f.yaml:5: no feature of the model that is not listed begins with the prefix "Contrct_"`,
	}
	if got := details(err); nba.CodeOf(err) != nba.CodeModelInvalid || !slices.Equal(got, want) {
		t.Errorf("%v: %q", err, got)
	}
}

// TestCandidateFeatures compiles the real model with features of the candidate in its middle: the
// manifest sorts them to the end, and scores do not change.
func TestCandidateFeatures(t *testing.T) {
	_, telcoRows := table(t, "xgboost-telco-churn/test_features.csv")
	_, telcoExpected := table(t, "xgboost-telco-churn/test_expected.csv")
	model := readModel(t, "xgboost-telco-churn/model.xgb.json")
	spec, err := LoadFeatures([]byte(`
features:
  - {name: SeniorCitizen, attribute: seniorCitizen}
  - {name: tenure, attribute: tenure}
  - {name: MonthlyCharges, actionProperty: price}
  - {name: TotalCharges, attribute: totalCharges}
oneHotPrefixes: {gender_: gender, Partner_: partner, Dependents_: dependents, PhoneService_: phoneService, MultipleLines_: multipleLines,
  InternetService_: internetService, OnlineSecurity_: onlineSecurity, OnlineBackup_: onlineBackup, DeviceProtection_: deviceProtection,
  TechSupport_: techSupport, StreamingTV_: streamingTV, StreamingMovies_: streamingMovies, Contract_: contract,
  PaperlessBilling_: paperlessBilling, PaymentMethod_: paymentMethod}
`), "churn.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rows, expected := goldenFiles(t)
	golden, err := ParseGolden(rows, expected)
	if err != nil {
		t.Fatal(err)
	}
	out, err := Compile(model, Options{Name: "churn", Version: "2.1.0", Features: spec, Golden: golden})
	if err != nil {
		t.Fatal(details(err))
	}
	m := out.Manifest
	if m.SubjectFeatures() != 44 || m.CandidateFeatures() != 1 || m.Features[44].Name != "MonthlyCharges" || m.Features[2].Name != "TotalCharges" {
		t.Fatalf("%d and %d features, the last is %q", m.SubjectFeatures(), m.CandidateFeatures(), m.Features[44].Name)
	}
	if out.GoldenChecked != len(telcoRows) || len(m.Golden) != 128 {
		t.Errorf("%d golden rows checked, %d embedded", out.GoldenChecked, len(m.Golden))
	}
	g := instantiate(t, out.Module, 44, 1, 16, true)
	for i := 0; i+16 <= len(telcoRows); i += 16 {
		subject := slices.Delete(slices.Clone(telcoRows[i]), 2, 3)
		prices := make([]float64, 16)
		for j := range prices {
			prices[j] = telcoRows[i+j][2]
		}
		got, status := g.call(g.raw, subject, prices, 16)
		if status != 0 || got[0] != float64(float32(telcoExpected[i][1])) {
			t.Fatalf("row %d: status %d, raw %v, want %v", i, status, got[0], telcoExpected[i][1])
		}
	}
	// The embedded rows hold for the module as admission replays them.
	for i := range m.Golden {
		row := m.Golden[i].Row(nil)
		raw, _ := g.call(g.raw, row[:44], row[44:], 1)
		score, _ := g.call(g.score, row[:44], row[44:], 1)
		if !m.Golden[i].MatchesRaw(raw[0]) || !m.Golden[i].MatchesScore(score[0]) {
			t.Errorf("golden row %d: raw %v, score %v", i, raw[0], score[0])
		}
	}
	summary, err := Inspect(out.Module)
	if err != nil || summary.Digest != out.Digest || summary.Source.Trees != 200 || summary.CandidateFeatures != 1 ||
		summary.Features[44].From != "action property price" || summary.Features[4].From != `attribute gender is "Male"` {
		t.Errorf("%+v, %v", summary, err)
	}
}

func TestCompileIsDeterministic(t *testing.T) {
	a, err := Compile([]byte(stump), Options{Name: "m"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Compile([]byte(stump), Options{Name: "m"})
	if err != nil || a.Digest != b.Digest {
		t.Errorf("digests %s and %s, %v", a.Digest, b.Digest, err)
	}
	if a.Manifest.Version != "1.0.0" || a.Manifest.Purpose != artifact.DefaultPurpose || a.Manifest.Output != artifact.OutputProbability {
		t.Errorf("%+v", a.Manifest)
	}
	if _, err := Compile([]byte(stump), Options{Name: "Bad Name"}); nba.CodeOf(err) != nba.CodePluginRefused {
		t.Errorf("bad name: %v", err)
	}
}

func goldenFiles(t testing.TB) (rows, expected []byte) {
	t.Helper()
	rows, err := os.ReadFile(realdata.Path(t, "xgboost-telco-churn/test_features.csv"))
	if err != nil {
		t.Fatal(err)
	}
	expected, err = os.ReadFile(realdata.Path(t, "xgboost-telco-churn/test_expected.csv"))
	if err != nil {
		t.Fatal(err)
	}
	return rows, expected
}

func TestGoldenMistakes(t *testing.T) {
	const rows = "spend,age,extra\n1,2,3\n40,,\n"
	for _, c := range []struct{ name, rows, expected, want string }{
		{"empty", "", "margin\n", "golden rows:1: there are no rows"},
		{"header only", "age,spend\n", "margin\n", "golden rows:1: there are no rows"},
		{"no number", "age,spend\n1,x\n", "margin\n1\n", "golden rows:2: column 2 is neither"},
		{"ragged", "age,spend\n1\n", "margin\n1\n", "golden rows:2: not CSV"},
		{"no column", rows, "label\n1\n0\n", "expected values:1: neither a header nor"},
		{"too few", rows, "margin\n-0.4\n", "expected values:2: there are fewer lines"},
		{"too many", rows, "margin\n-0.4\n0.6\n0.6\n", "expected values:4: there are more lines"},
		{"missing", rows, "margin\n-0.4\nnan\n", "golden rows:3: the model gives another margin"},
		{"no expectation", rows, "margin\n-0.4\nx\n", "expected values:3: column 1 is no number"},
		{"columns without names", "1,2,3\n40,,\n", "margin\n-0.4\n0.6\n", "golden rows:1: there is no header, and 3 columns for 2 features"},
		{"wrong margin", rows, "margin\n-0.4\n0.61\n", "golden rows:3: the model gives another margin"},
		{"wrong prob", rows, "prob\n0.40131235\n0.7\n", "golden rows:3: the model gives another output"},
		{"no such feature", "Age,spend\n1,2\n", "margin\n-0.4\n", `golden rows:1: the header has no column for the model's feature "age" (did you mean "Age"?)`},
	} {
		golden, err := ParseGolden([]byte(c.rows), []byte(c.expected))
		if err == nil {
			_, err = Compile([]byte(stump), Options{Name: "m", Golden: golden})
		}
		if got := details(err); nba.CodeOf(err) != nba.CodeModelInvalid || !strings.HasPrefix(got[0], c.want) {
			t.Errorf("%s: %v: %q, want %q", c.name, err, got, c.want)
		}
	}
	golden, err := ParseGolden([]byte(rows), []byte("label,margin,prob\n0,-0.4,0.40131235\n1,6e-1,0.6456563\n"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := Compile([]byte(stump), Options{Name: "m", Golden: golden})
	if err != nil || out.GoldenChecked != 2 {
		t.Fatalf("%v, %v", err, details(err))
	}
	if row := out.Manifest.Golden[1].Row(nil); !math.IsNaN(row[0]) || row[1] != 40 {
		t.Errorf("row %v", row)
	}
}

// FuzzFeatures checks that no feature file makes the loader panic.
func FuzzFeatures(f *testing.F) {
	f.Add([]byte("purpose: profiling\nfeatures:\n  - {name: a, attribute: a, default: 1.5}\noneHotPrefixes: {b_: b}\n"))
	f.Add([]byte("features:\n  - {name: a, bucket: {attribute: x, bounds: [1, 2]}}\n  - {name: b, oneHot: {attribute: x, level: y}}\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, content []byte) {
		spec, err := LoadFeatures(content, "fuzz.yaml")
		if err != nil {
			if code := nba.CodeOf(err); code != nba.CodeModelInvalid && code != nba.CodeTooLarge {
				t.Fatalf("error %v has code %s", err, code)
			}
			return
		}
		_, _ = spec.resolve([]string{"a", "b_x"})
	})
}

// FuzzGolden checks that no pair of files makes the parser panic.
func FuzzGolden(f *testing.F) {
	f.Add([]byte("age,spend\n1,2\n,nan\n"), []byte("margin,prob\n1,0.5\n2,0.6\n"))
	f.Fuzz(func(t *testing.T, rows, expected []byte) {
		golden, err := ParseGolden(rows, expected)
		if err != nil {
			if code := nba.CodeOf(err); code != nba.CodeModelInvalid && code != nba.CodeTooLarge {
				t.Fatalf("error %v has code %s", err, code)
			}
			return
		}
		_, _ = Compile([]byte(stump), Options{Name: "m", Golden: golden})
	})
}
