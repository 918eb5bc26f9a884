package serving_test

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/arbiterhq/arbiter/runtime/wasm/wasmtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// subject is an nba.Subject over a map.
type subject struct {
	attributes map[nba.AttributeID]nba.Value
	granted    nba.PurposeSet
}

func (s *subject) Ref() nba.SubjectRef { return nba.SubjectRef{ID: "S-1", Type: nba.Subscriber} }
func (s *subject) Version() uint64     { return 1 }
func (s *subject) Attribute(id nba.AttributeID) (nba.Value, bool) {
	v, ok := s.attributes[id]
	return v, ok
}
func (s *subject) Granted() nba.PurposeSet { return s.granted }

// action is an engine.Candidate.
type action map[string]float64

func (a action) Property(name string) (float64, bool) {
	f, ok := a[name]
	return f, ok
}

// dictionary has one attribute of each type, and one that profiling may not use.
func dictionary(tb testing.TB) *nba.Dictionary {
	tb.Helper()
	d, _, err := nba.NewDictionary().Declare([]nba.AttributeDeclaration{
		{Name: "tenure", Type: nba.KindInt}, {Name: "charges", Type: nba.KindFloat}, {Name: "partner", Type: nba.KindBool},
		{Name: "contract", Type: nba.KindString}, {Name: "since", Type: nba.KindTime},
		{Name: "iban", Type: nba.KindString, Purposes: []string{nba.PurposeService}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// person is a subject that consented to profiling.
func person(tb testing.TB, d *nba.Dictionary, attributes map[string]nba.Value) *subject {
	tb.Helper()
	purpose, _ := d.Purpose(nba.PurposeProfiling)
	s := &subject{attributes: map[nba.AttributeID]nba.Value{}, granted: nba.PurposeSet(0).With(purpose.ID)}
	for name, v := range attributes {
		a, ok := d.Attribute(name)
		if !ok {
			tb.Fatalf("no attribute %s", name)
		}
		s.attributes[a.ID] = v
	}
	return s
}

func newHost(tb testing.TB, options serving.Options) *serving.Host {
	tb.Helper()
	h, err := serving.NewHost(options)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			tb.Error(err)
		}
	})
	return h
}

func feature(name string, recipe artifact.Recipe) artifact.Feature {
	f := artifact.Feature{Name: name, Recipe: recipe}
	f.Scope = recipe.ScopeOf()
	return f
}

func manifest(version string, features ...artifact.Feature) *artifact.Manifest {
	return &artifact.Manifest{Name: "churn", Version: version, Kind: artifact.KindScorer, ABI: artifact.ABIVersion,
		Output: artifact.OutputValue, Features: features,
		Limits: artifact.Limits{MemoryPages: 4, FuelBase: 100_000, FuelPerRow: 10_000, MaxRows: 64}}
}

// module embeds the manifest into a guest with one weight for each feature.
func module(tb testing.TB, g wasmtest.Guest, m *artifact.Manifest) []byte {
	tb.Helper()
	if g.Weights == nil {
		g.Weights = make([]float64, len(m.Features))
	}
	b, err := artifact.Embed(g.Module(), m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// set prepares one module and makes a Set of it.
func set(tb testing.TB, h *serving.Host, d *nba.Dictionary, b []byte) *serving.Set {
	tb.Helper()
	digest := artifact.Digest(b)
	if err := h.Prepare(context.Background(), digest, b); err != nil {
		tb.Fatal(err)
	}
	s, err := h.NewSet(map[string]string{"churn": digest}, d)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func call(d *nba.Dictionary, who *subject, actions ...action) *engine.ScoreCall {
	c := &engine.ScoreCall{Model: "churn", Subject: who, Mask: consent.Mask(d, who.granted), Out: make([]float64, len(actions))}
	for _, a := range actions {
		c.Candidates = append(c.Candidates, a)
	}
	return c
}

func number(f float64) *float64 { return &f }

func TestRecipes(t *testing.T) {
	d := dictionary(t)
	since := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	full := map[string]nba.Value{"tenure": nba.Int(12), "charges": nba.Float(70.5), "partner": nba.Bool(true),
		"contract": nba.String("Two year"), "since": nba.Time(since)}
	missing := math.NaN()
	oneHot := func(attribute, level string) artifact.Recipe {
		return artifact.Recipe{OneHot: &artifact.OneHot{Attribute: attribute, Level: level}}
	}
	buckets := func(bounds ...float64) artifact.Recipe {
		return artifact.Recipe{Bucket: &artifact.Bucket{Attribute: "tenure", Bounds: bounds}}
	}
	ordinal := func(attribute string, levels ...string) artifact.Recipe {
		return artifact.Recipe{Attribute: attribute, Levels: levels}
	}
	tests := []struct {
		name   string
		recipe artifact.Recipe
		has    map[string]nba.Value
		want   float64
	}{
		{name: "int", recipe: artifact.Recipe{Attribute: "tenure"}, has: full, want: 12},
		{name: "float", recipe: artifact.Recipe{Attribute: "charges"}, has: full, want: 70.5},
		{name: "bool", recipe: artifact.Recipe{Attribute: "partner"}, has: full, want: 1},
		{name: "time", recipe: artifact.Recipe{Attribute: "since"}, has: full, want: float64(since.UnixMilli())},
		{name: "absent", recipe: artifact.Recipe{Attribute: "tenure"}, want: missing},
		{name: "absent with default", recipe: artifact.Recipe{Attribute: "tenure", Default: number(3)}, want: 3},
		{name: "one-hot equal", recipe: oneHot("contract", "Two year"), has: full, want: 1},
		{name: "one-hot other", recipe: oneHot("contract", "One year"), has: full, want: 0},
		{name: "one-hot is exact", recipe: oneHot("contract", "two year"), has: full, want: 0},
		{name: "one-hot absent", recipe: oneHot("contract", "Two year"), want: missing},
		{name: "one-hot bool Yes", recipe: oneHot("partner", "Yes"), has: full, want: 1},
		{name: "one-hot bool TRUE", recipe: oneHot("partner", "TRUE"), has: full, want: 1},
		{name: "one-hot bool No", recipe: oneHot("partner", "No"), has: full, want: 0},
		{name: "one-hot bool other word", recipe: oneHot("partner", "No internet service"), has: full, want: 0},
		{name: "one-hot false is no", recipe: oneHot("partner", "no"), has: map[string]nba.Value{"partner": nba.Bool(false)}, want: 1},
		{name: "one-hot int", recipe: oneHot("tenure", "12"), has: full, want: 1},
		{name: "one-hot int as float", recipe: oneHot("tenure", "12.0"), has: full, want: 1},
		{name: "one-hot int no number", recipe: oneHot("tenure", "twelve"), has: full, want: 0},
		{name: "one-hot float", recipe: oneHot("charges", "70.50"), has: full, want: 1},
		{name: "one-hot negative zero", recipe: oneHot("charges", "0"), has: map[string]nba.Value{"charges": nba.Float(math.Copysign(0, -1))}, want: 1},
		{name: "one-hot time", recipe: oneHot("since", "2026-01-01"), has: full, want: 1},
		{name: "bucket below", recipe: buckets(13, 24), has: full, want: 0},
		{name: "bucket at the bound", recipe: buckets(12, 24), has: full, want: 1},
		{name: "bucket above", recipe: buckets(1, 2, 3, 4, 5), has: full, want: 5},
		{name: "bucket absent", recipe: buckets(1), want: missing},
		{name: "ordinal", recipe: ordinal("contract", "Month-to-month", "One year", "Two year"), has: full, want: 2},
		{name: "ordinal unknown level", recipe: ordinal("contract", "Month-to-month"), has: full, want: missing},
		{name: "ordinal bool", recipe: ordinal("partner", "No", "Yes"), has: full, want: 1},
		{name: "ordinal bool without level", recipe: ordinal("partner", "No"), has: full, want: missing},
		{name: "log", recipe: artifact.Recipe{Log: &artifact.Log{Attribute: "charges"}}, has: full, want: math.Log(70.5)},
		{name: "log1p", recipe: artifact.Recipe{Log: &artifact.Log{Attribute: "tenure", Offset: 1}}, has: full, want: math.Log1p(12)},
		{name: "log of a bool", recipe: artifact.Recipe{Log: &artifact.Log{Attribute: "partner", Offset: 1}}, has: full, want: math.Log1p(1)},
		{name: "log of nothing", recipe: artifact.Recipe{Log: &artifact.Log{Attribute: "charges"}}, has: map[string]nba.Value{"charges": nba.Float(0)}, want: missing},
		{name: "log absent", recipe: artifact.Recipe{Log: &artifact.Log{Attribute: "charges"}, Default: number(-1)}, want: -1},
		{name: "ratio", recipe: artifact.Recipe{Ratio: &artifact.Ratio{Attribute: "charges", By: "tenure"}}, has: full, want: 70.5 / 12},
		{name: "ratio by zero", recipe: artifact.Recipe{Ratio: &artifact.Ratio{Attribute: "charges", By: "tenure"}},
			has: map[string]nba.Value{"charges": nba.Float(1), "tenure": nba.Int(0)}, want: missing},
		{name: "ratio absent", recipe: artifact.Recipe{Ratio: &artifact.Ratio{Attribute: "charges", By: "tenure"}, Default: number(2)},
			has: map[string]nba.Value{"charges": nba.Float(1)}, want: 2},
		{name: "context", recipe: artifact.Recipe{Context: "balance"}, want: 4.5},
		{name: "context no number", recipe: artifact.Recipe{Context: "page"}, want: missing},
		{name: "context infinite", recipe: artifact.Recipe{Context: "inf", Default: number(7)}, want: 7},
		{name: "context absent", recipe: artifact.Recipe{Context: "other"}, want: missing},
		{name: "property", recipe: artifact.Recipe{ActionProperty: "value"}, want: 120},
		{name: "property absent", recipe: artifact.Recipe{ActionProperty: "term"}, want: missing},
		{name: "property default", recipe: artifact.Recipe{ActionProperty: "term", Default: number(24)}, want: 24},
		{name: "withheld", recipe: oneHot("iban", "x"), has: map[string]nba.Value{"iban": nba.String("x")}, want: missing},
	}
	h := newHost(t, serving.Options{Sandbox: wasm.Config{Instances: 1}, MaxWarm: 1})
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := manifest(fmt.Sprintf("1.0.%d", i), feature("f", tt.recipe))
			s := set(t, h, d, module(t, wasmtest.Guest{Weights: []float64{1}}, m))
			defer s.Release()
			c := call(d, person(t, d, tt.has), action{"value": 120})
			c.Contexts = []nba.ContextValue{{Key: "balance", Value: "4.5"}, {Key: "page", Value: "plans"}, {Key: "inf", Value: "Inf"}}
			c.Features = &engine.ScoreFeatures{}
			if _, err := s.Score(context.Background(), c); err != nil {
				t.Fatal(err)
			}
			if c.Out[0] != tt.want && !(math.IsNaN(c.Out[0]) && math.IsNaN(tt.want)) {
				t.Errorf("feature = %v, want %v", c.Out[0], tt.want)
			}
			got, ok := c.Features.Rows[0]["f"]
			if ok == math.IsNaN(tt.want) || ok && got != tt.want {
				t.Errorf("explained as %v, %v; want %v", got, ok, tt.want)
			}
			f, err := serving.BindFeatures(m.Features, m.Purpose, d)
			if err != nil {
				t.Fatal(err)
			}
			if row, err := f.Row(c, nil); err != nil || len(row) != 1 || row[0] != tt.want && !(math.IsNaN(row[0]) && math.IsNaN(tt.want)) {
				t.Errorf("exported as %v, %v; want %v", row, err, tt.want)
			}
		})
	}
}

// mixed reads two subject attributes, one of them twice, and two action properties.
func mixed(version string) *artifact.Manifest {
	return manifest(version, feature("tenure", artifact.Recipe{Attribute: "tenure"}),
		feature("long", artifact.Recipe{Bucket: &artifact.Bucket{Attribute: "tenure", Bounds: []float64{10}}}),
		feature("charges", artifact.Recipe{Attribute: "charges", Default: number(1)}),
		feature("value", artifact.Recipe{ActionProperty: "value"}),
		feature("term", artifact.Recipe{ActionProperty: "term", Default: number(0)}))
}

var mixedGuest = wasmtest.Guest{Weights: []float64{1, 100, 1000, 10000, 0.5}}

func TestScoreManyCandidatesInChunks(t *testing.T) {
	d := dictionary(t)
	// 2 rows fit into the fuel of one call.
	h := newHost(t, serving.Options{Sandbox: wasm.Config{Instances: 1, MaxCallFuel: 125_000}})
	s := set(t, h, d, module(t, mixedGuest, mixed("1.0.0")))
	defer s.Release()
	who := person(t, d, map[string]nba.Value{"tenure": nba.Int(12), "charges": nba.Float(2)})
	c := call(d, who, action{"value": 1}, action{"value": 2, "term": 2}, action{"value": 3}, action{"value": 4}, action{})
	c.Features = &engine.ScoreFeatures{Rows: make([]map[string]float64, 2)}
	info, err := s.Score(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	want := []float64{12112, 22113, 32112, 42112}
	if diff := cmp.Diff(want, c.Out[:4]); diff != "" || !math.IsNaN(c.Out[4]) {
		t.Errorf("scores %v, want %v and NaN", c.Out, want)
	}
	if info.Name != "churn" || info.Version != "1.0.0" || !strings.HasPrefix(info.Digest, "sha256:") {
		t.Errorf("info = %+v", info)
	}
	wantRow := map[string]float64{"tenure": 12, "long": 1, "charges": 2, "value": 2, "term": 2}
	if len(c.Features.Rows) != 5 || !cmp.Equal(c.Features.Rows[1], wantRow) || c.Features.Withheld != nil {
		t.Errorf("explained: %v, withheld %v", c.Features.Rows, c.Features.Withheld)
	}
	if diff := cmp.Diff([]string{"churn"}, s.Models()); diff != "" {
		t.Error(diff)
	}
}

// A subject that did not consent looks to the model like one that has no attributes.
func TestConsent(t *testing.T) {
	d := dictionary(t)
	h := newHost(t, serving.Options{Sandbox: wasm.Config{Instances: 1}})
	s := set(t, h, d, module(t, mixedGuest, mixed("1.0.0")))
	defer s.Release()
	who := person(t, d, map[string]nba.Value{"tenure": nba.Int(12), "charges": nba.Float(2)})
	who.granted = 0
	c := call(d, who, action{"value": 1})
	c.Features = &engine.ScoreFeatures{}
	if _, err := s.Score(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	if !math.IsNaN(c.Out[0]) {
		t.Errorf("score %v of a subject without consent, want NaN", c.Out[0])
	}
	want := engine.ScoreFeatures{Rows: []map[string]float64{{"charges": 1, "value": 1, "term": 0}}, Withheld: []string{"tenure", "charges"}}
	if diff := cmp.Diff(want, *c.Features); diff != "" {
		t.Errorf("explained (-want +got):\n%s", diff)
	}
}

func TestSubjectModelScoresOneRow(t *testing.T) {
	d := dictionary(t)
	h := newHost(t, serving.Options{Sandbox: wasm.Config{Instances: 1}})
	m := manifest("1.0.0", feature("tenure", artifact.Recipe{Attribute: "tenure"}))
	m.Limits.MaxRows = 1
	s := set(t, h, d, module(t, wasmtest.Guest{Weights: []float64{2}}, m))
	defer s.Release()
	c := call(d, person(t, d, map[string]nba.Value{"tenure": nba.Int(12)}), action{}, action{}, action{})
	c.Features = &engine.ScoreFeatures{}
	if _, err := s.Score(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]float64{24, 24, 24}, c.Out); diff != "" {
		t.Error(diff)
	}
	if len(c.Features.Rows) != 3 {
		t.Errorf("%d explained rows, want 3", len(c.Features.Rows))
	}
	if _, err := s.Score(context.Background(), call(d, person(t, d, nil))); err != nil {
		t.Errorf("no candidates: %v", err)
	}
}

func TestScoreErrors(t *testing.T) {
	d := dictionary(t)
	h := newHost(t, serving.Options{Sandbox: wasm.Config{Instances: 1, MaxWait: 10 * time.Second}})
	m := manifest("1.0.0", feature("tenure", artifact.Recipe{Attribute: "tenure"}))
	m.Output = artifact.OutputProbability
	s := set(t, h, d, module(t, wasmtest.Guest{Weights: []float64{1}, Behaviour: wasmtest.TrapIfNegative}, m))
	defer s.Release()
	f := func(name string, tenure int64, change func(*engine.ScoreCall), want nba.Code, reason wasm.Reason) {
		t.Helper()
		c := call(d, person(t, d, map[string]nba.Value{"tenure": nba.Int(tenure)}), action{})
		if change != nil {
			change(c)
		}
		info, err := s.Score(context.Background(), c)
		if nba.CodeOf(err) != want || wasm.ReasonOf(err) != reason || (info == nil) != (err != nil) {
			t.Errorf("%s: info %v, error %v (%s, %s); want %s, %s", name, info, err, nba.CodeOf(err), wasm.ReasonOf(err), want, reason)
		}
	}
	for range 3 { // the pool recovers
		f("fine", 1, nil, "", "")
		f("trap", -1, nil, nba.CodeUnavailable, wasm.ReasonTrap)
		f("no probability", 2, nil, nba.CodeUnavailable, "")
	}
	f("unknown model", 1, func(c *engine.ScoreCall) { c.Model = "other" }, nba.CodePluginUnknown, "")
	f("lengths differ", 1, func(c *engine.ScoreCall) { c.Out = nil }, nba.CodeInternal, "")
}

func TestNewSetRefuses(t *testing.T) {
	d := dictionary(t)
	h := newHost(t, serving.Options{Sandbox: wasm.Config{Instances: 1}})
	tests := []struct {
		name   string
		change func(m *artifact.Manifest)
		recipe artifact.Recipe
		as     string
		code   nba.Code
		want   string
	}{
		{name: "unknown attribute", recipe: artifact.Recipe{Attribute: "tenur"}, code: nba.CodeInvalid, want: "did you mean tenure?"},
		{name: "nothing near", recipe: artifact.Recipe{Attribute: "zzzzzzzzz"}, code: nba.CodeInvalid, want: "PUT /v1/attributes"},
		{name: "string as number", recipe: artifact.Recipe{Attribute: "contract"}, code: nba.CodeInvalid, want: "its type is string"},
		{name: "bucket of a string", recipe: artifact.Recipe{Bucket: &artifact.Bucket{Attribute: "contract", Bounds: []float64{1}}}, code: nba.CodeInvalid, want: "its type is string"},
		{name: "level of a number", recipe: artifact.Recipe{Attribute: "tenure", Levels: []string{"a"}}, code: nba.CodeInvalid, want: "its type is int"},
		{name: "unknown purpose", recipe: artifact.Recipe{Attribute: "tenure"}, change: func(m *artifact.Manifest) { m.Purpose = "fraud" },
			code: nba.CodeInvalid, want: "service, marketing, profiling"},
		{name: "other plugin", recipe: artifact.Recipe{Attribute: "tenure"}, as: "upsell", code: nba.CodeInvalid, want: "of plugin churn"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := manifest(fmt.Sprintf("1.0.%d", i), feature("f", tt.recipe))
			if tt.change != nil {
				tt.change(m)
			}
			b := module(t, wasmtest.Guest{}, m)
			digest := artifact.Digest(b)
			if err := h.Prepare(context.Background(), digest, b); err != nil {
				t.Fatal(err)
			}
			name := "churn"
			if tt.as != "" {
				name = tt.as
			}
			_, err := h.NewSet(map[string]string{name: digest}, d)
			if nba.CodeOf(err) != tt.code || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v (%s), want %s with %q", err, nba.CodeOf(err), tt.code, tt.want)
			}
		})
	}
	if _, err := h.NewSet(map[string]string{"churn": "sha256:unknown"}, d); nba.CodeOf(err) != nba.CodeUnavailable {
		t.Errorf("not prepared: %v", err)
	}
}

func TestPrepare(t *testing.T) {
	d := dictionary(t)
	h := newHost(t, serving.Options{Sandbox: wasm.Config{Instances: 1}, MaxWarm: 2})
	ctx := context.Background()
	version := func(i int) []byte {
		return module(t, wasmtest.Guest{Bias: float64(i)}, manifest(fmt.Sprintf("1.0.%d", i), feature("tenure", artifact.Recipe{Attribute: "tenure"})))
	}
	first := version(0)
	if err := h.Prepare(ctx, "sha256:"+strings.Repeat("0", 64), first); nba.CodeOf(err) != nba.CodePluginRefused {
		t.Errorf("wrong digest: %v", err)
	}
	if err := h.Prepare(ctx, artifact.Digest([]byte("garbage")), []byte("garbage")); nba.CodeOf(err) != nba.CodePluginRefused {
		t.Errorf("garbage: %v", err)
	}
	errs := make(chan error)
	for range 8 {
		go func() { errs <- h.Prepare(ctx, artifact.Digest(first), first) }()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if err := h.Prepare(cancelled, artifact.Digest(first), first); err != nil {
		t.Errorf("already prepared: %v", err)
	}
	if m, ok := h.Manifest(artifact.Digest(first)); !ok || m.Version != "1.0.0" {
		t.Errorf("Manifest = %v, %v", m, ok)
	}
	// A version in a Set stays, of the others the two prepared last.
	digest := func(i int) string { return artifact.Digest(version(i)) }
	s, err := h.NewSet(map[string]string{"churn": digest(0)}, d)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 4; i++ {
		if err := h.Prepare(ctx, digest(i), version(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []bool{true, false, false, true, true} {
		if got := h.Prepared(digest(i)); got != want {
			t.Errorf("version %d prepared: %v, want %v", i, got, want)
		}
	}
	// Those that await activation outlive the one that leaves service.
	s.Release()
	if s.Acquire() {
		t.Error("Acquire after the last Release succeeded")
	}
	if h.Prepared(digest(0)) || !h.Prepared(digest(3)) {
		t.Error("a version that left service pushed out one that awaits activation")
	}
	// What left service is kept warm for a rollback while there is room.
	next, err := h.NewSet(map[string]string{"churn": digest(3)}, d)
	if err != nil {
		t.Fatal(err)
	}
	next.Release()
	if !h.Prepared(digest(3)) || !h.Prepared(digest(4)) {
		t.Error("a version that left service was not kept warm for a rollback")
	}
}

func TestCloseWaitsForSets(t *testing.T) {
	d := dictionary(t)
	h, err := serving.NewHost(serving.Options{Sandbox: wasm.Config{Instances: 1}})
	if err != nil {
		t.Fatal(err)
	}
	b := module(t, wasmtest.Guest{Weights: []float64{1}}, manifest("1.0.0", feature("tenure", artifact.Recipe{Attribute: "tenure"})))
	s := set(t, h, d, b)
	short, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := h.Close(short); err == nil {
		t.Error("Close reported success while a Set is in use")
	}
	c := call(d, person(t, d, map[string]nba.Value{"tenure": nba.Int(5)}), action{})
	if _, err := s.Score(context.Background(), c); err != nil || c.Out[0] != 5 {
		t.Errorf("a decision under way while closing: %v, %v", c.Out, err)
	}
	if err := h.Prepare(context.Background(), artifact.Digest(b), b); nba.CodeOf(err) != nba.CodeUnavailable {
		t.Errorf("Prepare while closing: %v", err)
	}
	if _, err := h.NewSet(map[string]string{"churn": artifact.Digest(b)}, d); nba.CodeOf(err) != nba.CodeUnavailable {
		t.Errorf("NewSet while closing: %v", err)
	}
	empty, err := h.NewSet(nil, d)
	if err != nil {
		t.Fatalf("the empty Set while closing: %v", err)
	}
	if _, err := empty.Score(context.Background(), c); nba.CodeOf(err) != nba.CodePluginUnknown {
		t.Errorf("Score of the empty Set: %v", err)
	}
	empty.Release()
	s.Release()
	if err := h.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
