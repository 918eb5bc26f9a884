package serving_test

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/history"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/arbiterhq/arbiter/sdk/abi"
)

// conformance is the conformance strategy under another manifest.
func conformance(tb testing.TB, change func(m *artifact.Manifest)) []byte {
	tb.Helper()
	_, module, err := abi.LoadStrategy("strategy.json")
	if err != nil {
		tb.Fatal(err)
	}
	m, err := artifact.Parse(module)
	if err != nil {
		tb.Fatal(err)
	}
	if change != nil {
		change(m)
	}
	if module, err = artifact.Embed(module, m); err != nil {
		tb.Fatal(err)
	}
	return module
}

// strategySet serves modules that were prepared; the first is active, the second the last good one.
func strategySet(tb testing.TB, h *serving.Host, d *nba.Dictionary, modules ...[]byte) *serving.Set {
	tb.Helper()
	plan := serving.Plan{Active: map[string]string{}, LastGood: map[string]string{}}
	for i, module := range modules {
		digest := artifact.Digest(module)
		if err := h.Prepare(context.Background(), digest, module); err != nil {
			tb.Fatal(err)
		}
		if i == 0 {
			plan.Active["conformance"] = digest
		} else {
			plan.LastGood["conformance"] = digest
		}
	}
	s, err := h.Serve(plan, d)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(s.Release)
	return s
}

// reader is a subject that consented to profiling and marketing.
func reader(tb testing.TB, d *nba.Dictionary, attributes map[string]nba.Value) *subject {
	tb.Helper()
	who := person(tb, d, attributes)
	marketing, _ := d.Purpose(nba.PurposeMarketing)
	who.granted = who.granted.With(marketing.ID)
	return who
}

func strategyDictionary(tb testing.TB) *nba.Dictionary {
	tb.Helper()
	d, _, err := nba.NewDictionary().Declare([]nba.AttributeDeclaration{
		{Name: "plan", Type: nba.KindString}, {Name: "vip", Type: nba.KindBool}, {Name: "score", Type: nba.KindFloat}})
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// strategyCatalog has actions a to d in two placements, of which the first has two treatments.
func strategyCatalog(tb testing.TB, d *nba.Dictionary) *catalog.Catalog {
	tb.Helper()
	document := `apiVersion: arbiter/v1
kind: Catalog
name: demo
channels: [{name: web, placements: [{name: hero, strategy: conformance}, side]}, {name: refuse, placements: [box]}]
issues: [{name: care, groups: [{name: g}]}]
actions:
`
	for _, name := range []string{"a", "b", "c", "d"} {
		document += "- {name: " + name + ", issue: care, group: g, value: 1, properties: {minutes: 5}, treatments: [{name: t-" + name +
			", channel: web}, {name: u-" + name + ", channel: web, placements: [hero]}]}\n"
	}
	c, err := catalog.Compile([]byte(document), "catalog.yaml", catalog.Env{Dictionary: d})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// decideWith lets the engine decide with a set, which is how strategies are called.
func decideWith(tb testing.TB, s *serving.Set, d *nba.Dictionary, c *catalog.Catalog, who nba.Subject, change func(*nba.DecisionRequest)) *nba.Decision {
	tb.Helper()
	req := &nba.DecisionRequest{Subject: who.Ref(), Channel: "web", Placements: []nba.PlacementRequest{{ID: "hero", Limit: 4}}}
	if change != nil {
		change(req)
	}
	if err := engine.ValidateRequest(req, c); err != nil {
		tb.Fatal(err)
	}
	out := &nba.Decision{}
	in := engine.Input{Subject: who, Dictionary: d, Catalog: c, Scorer: s, Strategy: s, Request: req, Now: time.UnixMilli(1_700_000_000_123), Seed: 7}
	if err := engine.New(engine.Options{StrategyFailed: func(_ string, err error) { tb.Logf("the strategy failed: %v", err) }}).Decide(context.Background(), in, out); err != nil {
		tb.Fatal(err)
	}
	return out
}

func actions(d *nba.Decision) (names []string) {
	for _, item := range d.Propositions[0].Items {
		names = append(names, item.Action)
	}
	return names
}

func TestStrategy(t *testing.T) {
	d := strategyDictionary(t)
	c := strategyCatalog(t, d)
	registry := prometheus.NewRegistry()
	h := newHost(t, serving.Options{Sandbox: wasm.Config{Instances: 1}, Registerer: registry})
	s := strategySet(t, h, d, conformance(t, nil))
	who := reader(t, d, map[string]nba.Value{"plan": nba.String("Gold Family"), "vip": nba.Bool(true)})

	out := decideWith(t, s, d, c, who, nil)
	item := out.Propositions[0].Items[0]
	if got := actions(out); !slices.Equal(got, []string{"a", "b", "c", "d"}) || out.Degraded {
		t.Fatalf("actions %v, degraded %v %s", got, out.Degraded, out.DegradedReason)
	}
	if item.Treatment != "u-a" || item.Content["headline"] != "a / Gold Family" || item.StrategyWeight != 2 {
		t.Errorf("the first proposition: %+v", item)
	}
	if by := out.Propositions[0].Strategy; by == nil || by.Name != "conformance" || by.Version != "1.0.0" {
		t.Errorf("the strategy is told as %+v", by)
	}

	// What the subject did not consent to is not told.
	who.granted = 0
	c2 := decideWith(t, s, d, c, who, nil)
	if len(c2.Propositions[0].Items) != 0 {
		t.Errorf("without consent for marketing: %v", actions(c2))
	}
	marketing, _ := d.Purpose(nba.PurposeMarketing)
	who.granted = nba.PurposeSet(0).With(marketing.ID)
	if got := decideWith(t, s, d, c, who, nil).Propositions[0].Items[0]; got.Content["headline"] != "a / -" {
		t.Errorf("without consent for profiling: %+v", got)
	}

	// The log holds what the plugin wrote, and nothing of the subject.
	lines, written := h.Logs("conformance", 0)
	if written != 2 || lines[0].Text != "picked 4 for [redacted]" || lines[0].Level != "info" || lines[0].Version != "1.0.0" || lines[1].Text != "picked 4 for -" {
		t.Errorf("log: %d %+v", written, lines)
	}
	if more, _ := h.Logs("conformance", written); len(more) != 0 {
		t.Errorf("lines again: %v", more)
	}
	if got := counted(t, registry, "arbiter_plugin_custom_total"); got != 8 {
		t.Errorf("the plugin's counter is %v, want 8", got)
	}
}

// counted is the sum of a metric over its labels.
func counted(tb testing.TB, registry *prometheus.Registry, name string) (sum float64) {
	tb.Helper()
	families, err := registry.Gather()
	if err != nil {
		tb.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// Time and chance are those of the decision: the same seed and moment give the same answer.
func TestStrategyIsReproducible(t *testing.T) {
	d := strategyDictionary(t)
	c := strategyCatalog(t, d)
	h := newHost(t, serving.Options{Sandbox: wasm.Config{Instances: 2}})
	s := strategySet(t, h, d, conformance(t, nil))
	who := reader(t, d, nil)
	with := func(req *nba.DecisionRequest) { req.Contexts = []nba.ContextValue{{Key: "host", Value: "1"}} }
	first, err := json.Marshal(decideWith(t, s, d, c, who, with))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(first), "at 1700000000123") {
		t.Errorf("the moment of the decision is not told: %s", first)
	}
	for range 5 {
		decideWith(t, s, d, c, who, nil)
		again, _ := json.Marshal(decideWith(t, s, d, c, who, with))
		if string(again) != string(first) {
			t.Errorf("decided again:\n%s\nwant\n%s", again, first)
		}
	}
}

// What a policy or the strategy's own answer took out stays out, and what it was not told of comes behind.
func TestStrategyCannotBringBack(t *testing.T) {
	d := strategyDictionary(t)
	c := strategyCatalog(t, d)
	h := newHost(t, serving.Options{Sandbox: wasm.Config{Instances: 1}})
	s := strategySet(t, h, d, conformance(t, func(m *artifact.Manifest) { m.Limits.MaxRows = 2 }))
	who := reader(t, d, nil)
	out := decideWith(t, s, d, c, who, func(req *nba.DecisionRequest) { req.ExcludedActions = []string{"a"} })
	if got := actions(out); !slices.Equal(got, []string{"b", "c", "d"}) {
		t.Errorf("actions %v, want b and c as arranged and d behind them", got)
	}
	c.Parameters = map[string]map[string]string{"conformance": {"minPropensity": "0.9"}}
	if got := actions(decideWith(t, s, d, c, who, nil)); !slices.Equal(got, []string{"c", "d"}) {
		t.Errorf("the strategy dropped the two that it was told of, and left %v", got)
	}
}

// A strategy that keeps failing is taken out: the last good version answers, then nobody, and the decision
// says so.
func TestStrategyBreaker(t *testing.T) {
	d := strategyDictionary(t)
	c := strategyCatalog(t, d)
	h := newHost(t, serving.Options{Sandbox: wasm.Config{Instances: 1}})
	// Fuel for the least input, and not for this one: as a plugin that fails for some customers only.
	bad := conformance(t, func(m *artifact.Manifest) { m.Version = "2.0.0"; m.Limits.FuelBase, m.Limits.FuelPerRow = 80_000, 1 })
	s := strategySet(t, h, d, bad, conformance(t, nil))
	who := reader(t, d, map[string]nba.Value{"plan": nba.String("Gold")})
	large := func(req *nba.DecisionRequest) { req.Contexts = []nba.ContextValue{{Key: "large", Value: "1"}} }
	failed := 0
	for range 20 {
		out := decideWith(t, s, d, c, who, large)
		if got := actions(out); len(got) != 4 {
			t.Fatalf("a failing strategy cost the answer: %v", got)
		}
		if !out.Degraded {
			t.Fatal("the decision does not say that it is degraded")
		}
		if out.DegradedReason == "STRATEGY_FAILED:conformance" {
			failed++
			continue
		}
		if out.DegradedReason != "LAST_GOOD_VERSION:conformance" || out.Propositions[0].Strategy.Version != "1.0.0" {
			t.Fatalf("reason %s, by %+v", out.DegradedReason, out.Propositions[0].Strategy)
		}
	}
	if failed != 5 {
		t.Errorf("the strategy was taken out after %d failures", failed)
	}
	if health := s.Health()["conformance"]; health.State != nba.BreakerOpen || health.StandIn != "1.0.0" || health.Reason != "fuel" || health.NextTrial == nil {
		t.Errorf("health: %+v", health)
	}

	alone := strategySet(t, h, d, bad) // no last good version
	if out := decideWith(t, alone, d, c, who, large); out.DegradedReason != "STRATEGY_FAILED:conformance" || len(actions(out)) != 4 || out.Propositions[0].Strategy != nil {
		t.Errorf("without a last good version: %+v", out)
	}
}

func TestStrategyBinding(t *testing.T) {
	d := dictionary(t)
	h := newHost(t, serving.Options{Sandbox: wasm.Config{Instances: 1}})
	module := conformance(t, func(m *artifact.Manifest) { m.Attributes = []string{"tenur"} })
	if err := h.Prepare(context.Background(), artifact.Digest(module), module); err != nil {
		t.Fatal(err)
	}
	_, err := h.NewSet(map[string]string{"conformance": artifact.Digest(module)}, d)
	if nba.CodeOf(err) != nba.CodeInvalid || !strings.Contains(err.Error(), "did you mean tenure?") {
		t.Errorf("an unknown attribute: %v", err)
	}
	m, _ := artifact.Parse(module)
	if err := serving.CheckBinding(m, d); err == nil || !strings.Contains(err.Error(), "/conformance/attributes/0") {
		t.Errorf("CheckBinding: %v", err)
	}
}

// BenchmarkStrategy is a decision of 30 candidates with a strategy, in process.
func BenchmarkStrategy(b *testing.B) {
	d := strategyDictionary(b)
	c := strategyCatalog(b, d)
	h := newHost(b, serving.Options{Sandbox: wasm.Config{Instances: 1}})
	s := strategySet(b, h, d, conformance(b, nil))
	who := reader(b, d, map[string]nba.Value{"plan": nba.String("Gold")})
	var touches history.Reader
	call := &engine.StrategyCall{Name: "conformance", Subject: who, Now: time.Now(), Channel: "web", History: &touches,
		Placements: []engine.StrategyPlacement{{Name: "hero", Limit: 1}}}
	for range 30 {
		call.Candidates = append(call.Candidates, engine.StrategyCandidate{Action: c.Actions[0], Propensity: 0.123, ContextWeight: 1, Value: 1, Lever: 1, Priority: 0.123})
	}
	b.ReportAllocs()
	for b.Loop() {
		call.Picks = call.Picks[:0]
		if _, err := s.Arrange(context.Background(), call); err != nil {
			b.Fatal(err)
		}
	}
}
