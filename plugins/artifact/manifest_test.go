package artifact

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func ptr(f float64) *float64 { return &f }

// good is a manifest with one feature of each kind.
func good() *Manifest {
	return &Manifest{
		Name: "churn", Version: "1.4.0", Kind: KindScorer, ABI: 1,
		Features: []Feature{
			{Name: "tenure", Recipe: Recipe{Attribute: "tenure", Default: ptr(0)}},
			{Name: "plan", Recipe: Recipe{Attribute: "plan", Levels: []string{"S", "M", "L"}}},
			{Name: "Contract_Two year", Recipe: Recipe{OneHot: &OneHot{Attribute: "contract", Level: "Two year"}}},
			{Name: "age", Recipe: Recipe{Bucket: &Bucket{Attribute: "age", Bounds: []float64{18, 30, 65}}}},
			{Name: "temperature", Recipe: Recipe{Context: "temperature"}},
			{Name: "value", Scope: ScopeCandidate, Recipe: Recipe{ActionProperty: "value"}},
		},
		Limits: Limits{MemoryPages: 2, FuelBase: 1000, FuelPerRow: 100, MaxRows: 256},
		Golden: []GoldenRow{{Features: []*float64{ptr(1), nil, ptr(0), ptr(2), nil, ptr(9.5)}, Raw: ptr(-0.5), Score: 0.25}},
		Source: &Source{Format: "xgboost-json", Trees: 200},
	}
}

func empty() []byte { return (&wasmbin.Builder{}).Bytes() }

func TestEmbedAndParse(t *testing.T) {
	m := good()
	module, err := Embed(empty(), m)
	if err != nil {
		t.Fatal(err)
	}
	if m.FeatureHash != "" || m.Features[0].Scope != "" {
		t.Error("Embed changed its argument")
	}
	got, err := Parse(module)
	if err != nil {
		t.Fatal(err)
	}
	want := good()
	want.normalize()
	want.FeatureHash = FeatureHash(want.Features)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	if got.Purpose != DefaultPurpose || got.Output != OutputProbability {
		t.Errorf("purpose %q, output %q", got.Purpose, got.Output)
	}
	if got.SubjectFeatures() != 5 || got.CandidateFeatures() != 1 || got.Fuel(3) != 1300 {
		t.Errorf("%d subject and %d candidate features, fuel %d", got.SubjectFeatures(), got.CandidateFeatures(), got.Fuel(3))
	}
	// Embedding again replaces the manifest.
	m.Version = "1.5.0"
	again, err := Embed(module, m)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Parse(again); err != nil || got.Version != "1.5.0" {
		t.Errorf("after the second Embed: %v, %v", got, err)
	}
	if Digest(module) == Digest(again) || !strings.HasPrefix(Digest(module), "sha256:") || len(Digest(module)) != 71 {
		t.Errorf("digests %s and %s", Digest(module), Digest(again))
	}
}

func TestParseRefuses(t *testing.T) {
	valid, err := json.Marshal(good())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, content, want string }{
		{"empty", "", "ends too early"},
		{"no JSON", "\n\n{name}", "line 3"},
		{"unknown field", `{"nam": "x"}`, `unknown field "nam"`},
		{"wrong type", `{"name": 7}`, "field name must be a string"},
		{"two values", string(valid) + "{}", "more than one JSON value"},
		{"null", "null", "the manifest has mistakes"},
		{"too large", strings.Repeat(" ", MaxManifestBytes+1), "larger than"},
		{"hash of other features", strings.Replace(string(valid), `"kind"`, `"featureHash":"sha256:00","kind"`, 1), "hash does not belong"},
	} {
		_, err := Parse(wasmbin.AppendCustomSection(empty(), SectionName, []byte(c.content)))
		if nba.CodeOf(err) != nba.CodePluginRefused || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := Parse(empty()); !strings.Contains(err.Error(), "no custom section") {
		t.Errorf("no manifest: %v", err)
	}
	if _, err := Parse([]byte("MZ")); nba.CodeOf(err) != nba.CodePluginRefused {
		t.Errorf("no module: %v", err)
	}
}

// TestValidate breaks one thing at a time and expects one detail with its pointer.
func TestValidate(t *testing.T) {
	for _, c := range []struct {
		pointer string
		change  func(m *Manifest)
	}{
		{"/name", func(m *Manifest) { m.Name = "Churn" }},
		{"/version", func(m *Manifest) { m.Version = "v1" }},
		{"/kind", func(m *Manifest) { m.Kind = "oracle" }},
		{"/abi", func(m *Manifest) { m.ABI = 2 }},
		{"/purpose", func(m *Manifest) { m.Purpose = "a\nb" }},
		{"/output", func(m *Manifest) { m.Output = "guess" }},
		{"/features", func(m *Manifest) { m.Features, m.Golden = nil, nil }},
		{"/features/1/name", func(m *Manifest) { m.Features[1].Name = "tenure" }},
		{"/features/0/name", func(m *Manifest) { m.Features[0].Name = "" }},
		{"/features/0/scope", func(m *Manifest) { m.Features[0].Scope = "galaxy" }},
		{"/features/1/scope", func(m *Manifest) {
			m.Features[0] = Feature{Name: "first", Scope: ScopeCandidate, Recipe: Recipe{ActionProperty: "value"}}
			m.Features = m.Features[:2]
			m.Golden = nil
		}},
		{"/features/0/recipe", func(m *Manifest) { m.Features[0].Recipe = Recipe{} }},
		{"/features/0/recipe", func(m *Manifest) { m.Features[0].Recipe.Context = "also" }},
		{"/features/0/recipe", func(m *Manifest) { m.Features[0].Recipe = Recipe{ActionProperty: "value"} }},
		{"/features/5/recipe", func(m *Manifest) { m.Features[5].Recipe = Recipe{Attribute: "a"} }},
		{"/features/0/recipe/default", func(m *Manifest) { m.Features[0].Recipe.Default = ptr(math.Inf(1)) }},
		{"/features/1/recipe/levels/2", func(m *Manifest) { m.Features[1].Recipe.Levels[2] = "S" }},
		{"/features/2/recipe/levels", func(m *Manifest) { m.Features[2].Recipe.Levels = []string{"x"} }},
		{"/features/2/recipe/oneHot", func(m *Manifest) { m.Features[2].Recipe.OneHot.Attribute = "" }},
		{"/features/3/recipe/bucket/attribute", func(m *Manifest) { m.Features[3].Recipe.Bucket.Attribute = "" }},
		{"/features/3/recipe/bucket/bounds", func(m *Manifest) { m.Features[3].Recipe.Bucket.Bounds = nil }},
		{"/features/3/recipe/bucket/bounds/1", func(m *Manifest) { m.Features[3].Recipe.Bucket.Bounds[1] = 18 }},
		{"/features/0/recipe/log", func(m *Manifest) { m.Features[0].Recipe = Recipe{Log: &Log{Attribute: "a", Offset: math.NaN()}} }},
		{"/features/0/recipe/ratio", func(m *Manifest) { m.Features[0].Recipe = Recipe{Ratio: &Ratio{Attribute: "a"}} }},
		{"/features/0/recipe", func(m *Manifest) {
			m.Features[0].Recipe = Recipe{Attribute: "a", Ratio: &Ratio{Attribute: "a", By: "b"}}
		}},
		{"/features/0/recipe/history/aggregate", func(m *Manifest) { m.Features[0].Recipe = Recipe{History: &History{Aggregate: "sum"}} }},
		{"/features/0/recipe/history/outcome", func(m *Manifest) { m.Features[0].Recipe = Recipe{History: &History{Aggregate: "responses"}} }},
		{"/features/0/recipe/history/outcome", func(m *Manifest) {
			m.Features[0].Recipe = Recipe{History: &History{Aggregate: "daysSince", Outcome: "Acepted"}}
		}},
		{"/features/0/recipe/history/outcome", func(m *Manifest) {
			m.Features[0].Recipe = Recipe{History: &History{Aggregate: "accepts", Outcome: "Accepted"}}
		}},
		{"/features/0/recipe/history/days", func(m *Manifest) { m.Features[0].Recipe = Recipe{History: &History{Aggregate: "contacts", Days: -1}} }},
		{"/features/0/recipe", func(m *Manifest) {
			m.Features[0].Recipe = Recipe{History: &History{Aggregate: "contacts", SameAction: true}}
		}},
		{"/golden/0/features", func(m *Manifest) { m.Golden[0].Features = m.Golden[0].Features[:3] }},
		{"/golden/0/score", func(m *Manifest) { m.Golden[0].Score = 1.5 }},
		{"/golden/0", func(m *Manifest) { m.Golden[0].Raw = ptr(math.Inf(-1)) }},
		{"/golden", func(m *Manifest) { m.Golden = slices.Repeat(m.Golden, MaxGoldenRows+1) }},
		{"/limits/memoryPages", func(m *Manifest) { m.Limits.MemoryPages = 0 }},
		{"/limits/memoryPages", func(m *Manifest) { m.Limits.MemoryPages = 65536 }},
		{"/limits/fuelBase", func(m *Manifest) { m.Limits.FuelBase, m.Limits.FuelPerRow = 0, 0 }},
		{"/limits/fuelBase", func(m *Manifest) { m.Limits.FuelPerRow = 1 << 62 }},
		{"/limits/maxRows", func(m *Manifest) { m.Limits.MaxRows = 0 }},
		{"/capabilities/0", func(m *Manifest) { m.Capabilities = []string{"network"} }},
		{"/capabilities/1", func(m *Manifest) { m.Capabilities = []string{"log", "log"} }},
		{"/capabilities/0", func(m *Manifest) { m.Capabilities = []string{"now_ms"} }},
		{"/attributes", func(m *Manifest) { m.Attributes = []string{"tenure"} }},
		{"/parameters", func(m *Manifest) { m.Parameters = map[string]string{"": "x"} }},
	} {
		m := good()
		m.normalize()
		c.change(m)
		m.FeatureHash = FeatureHash(m.Features)
		err := m.Validate()
		e, ok := errors.AsType[*nba.Error](err)
		if !ok || e.Code != nba.CodePluginRefused || len(e.Details) != 1 || e.Details[0].Pointer != c.pointer {
			t.Errorf("%s: %+v", c.pointer, err)
		}
	}
}

func TestValidateTellsAll(t *testing.T) {
	err := (&Manifest{}).Validate()
	e, ok := errors.AsType[*nba.Error](err)
	if !ok {
		t.Fatal(err)
	}
	var got []string
	for _, d := range e.Details {
		got = append(got, d.Pointer)
	}
	want := []string{"/name", "/version", "/abi", "/purpose", "/kind", "/limits/memoryPages", "/limits/fuelBase"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestStrategyManifest(t *testing.T) {
	m := &Manifest{Name: "ranker", Version: "0.1.0", Kind: KindStrategy, ABI: 1, Capabilities: []string{"log"},
		Limits: Limits{MemoryPages: 16, FuelBase: 1_000_000}}
	module, err := Embed(empty(), m)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Parse(module); err != nil || got.FeatureHash != "" || got.Output != "" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestValidateStrategy changes one thing of a good strategy at a time.
func TestValidateStrategy(t *testing.T) {
	for _, c := range []struct {
		pointer string
		change  func(m *Manifest)
	}{
		{"/golden", func(m *Manifest) { m.Golden = []GoldenRow{{}} }},
		{"/golden", func(m *Manifest) { m.Output = OutputValue }},
		{"/encoding", func(m *Manifest) { m.Encoding = "cbor" }},
		{"/features", func(m *Manifest) {
			m.Features = []Feature{{Name: "v", Scope: ScopeCandidate, Recipe: Recipe{ActionProperty: "value"}}}
			m.FeatureHash = FeatureHash(m.Features)
		}},
		{"/attributes/1", func(m *Manifest) { m.Attributes = []string{"plan", "plan"} }},
		{"/attributes/0", func(m *Manifest) { m.Attributes = []string{""} }},
		{"/attributes", func(m *Manifest) { m.Attributes = make([]string, MaxAttributes+1) }},
		{"/decisions", func(m *Manifest) { m.Decisions = make([]GoldenDecision, MaxGoldenDecisions+1) }},
		{"/decisions/0", func(m *Manifest) { m.Decisions[0].Output = []byte(`[]`) }},
		{"/decisions/0", func(m *Manifest) { m.Decisions[0].Input = []byte(`{`) }},
		{"/decisions/0/parameters", func(m *Manifest) { m.Decisions[0].Parameters = map[string]string{"": ""} }},
		{"/limits/maxRows", func(m *Manifest) { m.Limits.MaxRows = MaxCandidates + 1 }},
	} {
		m := &Manifest{Name: "ranker", Version: "0.1.0", Kind: KindStrategy, ABI: 1, Capabilities: []string{"log", "now_ms"},
			Attributes: []string{"plan"}, Parameters: map[string]string{"boost": "2"},
			Decisions: []GoldenDecision{{Name: "one", Input: []byte(`{"candidates":[]}`), Output: []byte(`{"picks":[]}`)}},
			Limits:    Limits{MemoryPages: 16, FuelBase: 1_000_000}}
		m.normalize()
		if err := m.Validate(); err != nil {
			t.Fatal(err)
		}
		c.change(m)
		e, ok := errors.AsType[*nba.Error](m.Validate())
		if !ok || len(e.Details) != 1 || e.Details[0].Pointer != c.pointer {
			t.Errorf("%s: %+v", c.pointer, e)
		}
	}
}

func TestFeatureHash(t *testing.T) {
	a := []Feature{{Name: "a", Recipe: Recipe{Attribute: "x"}}, {Name: "b", Recipe: Recipe{Attribute: "y"}}}
	scoped := slices.Clone(a)
	scoped[0].Scope = ScopeSubject
	if FeatureHash(a) != FeatureHash(scoped) {
		t.Error("an omitted scope changes the hash")
	}
	seen := map[string]string{FeatureHash(a): "a"}
	for name, other := range map[string][]Feature{
		"swapped":        {a[1], a[0]},
		"fewer":          a[:1],
		"other recipe":   {a[0], {Name: "b", Recipe: Recipe{Attribute: "z"}}},
		"with a default": {a[0], {Name: "b", Recipe: Recipe{Attribute: "y", Default: ptr(0)}}},
		"none":           {},
	} {
		if clash, ok := seen[FeatureHash(other)]; ok {
			t.Errorf("%s and %s have one hash", name, clash)
		}
		seen[FeatureHash(other)] = name
	}
	// Pinned: stored manifests carry hashes made by earlier builds.
	const want = "sha256:35bb06b65fb299a5360d6e962a3ee21dd2178146aa65d23e76d14f1b7c4c2a6c"
	if got := FeatureHash(a[:1]); got != want {
		t.Errorf("the hash of a known list became %s", got)
	}
}

func TestValidNamesAndVersions(t *testing.T) {
	for name, want := range map[string]bool{"a": true, "churn-2": true, "": false, "2a": false, "Churn": false, "a_b": false, "-a": false,
		"a" + strings.Repeat("b", 62): true, "a" + strings.Repeat("b", 63): false} {
		if got := ValidName(name); got != want {
			t.Errorf("name %q: %v", name, got)
		}
	}
	for version, want := range map[string]bool{"1.0.0": true, "0.0.1": true, "10.20.30-rc.1+build.5": true, "1.0.0-0a": true, "1.0.0+01": true,
		"1.0": false, "v1.0.0": false, "01.0.0": false, "1.0.0-": false, "1.0.0-01": false, "1.0.0+": false, "1.0.0-a..b": false, "1.0.x": false, "": false} {
		if got := ValidVersion(version); got != want {
			t.Errorf("version %q: %v", version, got)
		}
	}
}

func TestBoolLevel(t *testing.T) {
	for level, want := range map[string][2]bool{"Yes": {true, true}, "TRUE": {true, true}, "1": {true, true}, "no": {false, true}, "False": {false, true},
		"0": {false, true}, "": {false, false}, "maybe": {false, false}, "yes ": {false, false}, "No phone service": {false, false}, "\x19ES": {false, false}} {
		if v, ok := BoolLevel(level); v != want[0] || ok != want[1] {
			t.Errorf("level %q: %v %v", level, v, ok)
		}
	}
}

func TestGoldenMatching(t *testing.T) {
	g := GoldenRow{Features: []*float64{ptr(1), nil}, Raw: ptr(0.5), Score: 0.25}
	if row := g.Row(nil); len(row) != 2 || row[0] != 1 || !math.IsNaN(row[1]) {
		t.Errorf("row %v", row)
	}
	for score, want := range map[float64]bool{0.25: true, 0.25 * (1 + 1e-7): true, 0.25 * (1 + 1e-6): false, 0: false, math.NaN(): false} {
		if got := g.MatchesScore(score); got != want {
			t.Errorf("score %v: %v", score, got)
		}
	}
	if !g.MatchesRaw(0.5) || g.MatchesRaw(math.Nextafter(0.5, 1)) || g.MatchesRaw(math.NaN()) {
		t.Error("raw scores match bit for bit only")
	}
	if g.Raw = nil; !g.MatchesRaw(7) {
		t.Error("without a golden raw score any matches")
	}
}

// FuzzParse checks that no manifest makes the parser panic, and that what is accepted survives a round
// through Embed.
func FuzzParse(f *testing.F) {
	m := good()
	m.normalize()
	m.FeatureHash = FeatureHash(m.Features)
	b, err := json.Marshal(m)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"name":"a","version":"1.0.0","kind":"strategy","abi":1,"limits":{"memoryPages":1,"fuelBase":1}}`))
	f.Add([]byte(`{"features":[{"recipe":{"oneHot":null,"bucket":{}}}],"golden":[{"features":[null]}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		m, err := ParseJSON(content)
		if err != nil {
			if nba.CodeOf(err) != nba.CodePluginRefused {
				t.Fatalf("error %v has no code", err)
			}
			return
		}
		module, err := Embed(empty(), m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(module)
		if err != nil || again.FeatureHash != m.FeatureHash || again.Name != m.Name {
			t.Fatalf("the manifest changed: %v", err)
		}
	})
}
