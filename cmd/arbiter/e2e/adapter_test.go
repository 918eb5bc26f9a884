package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

const foreignModules = "../../../plugins/adapter/testdata"

const ruleSpec = `name: family-rule
version: 1.0.0
output: verdict
features:
  - {name: partner, attribute: partner, levels: ["false", "true"]}
  - {name: monthlyCharges, attribute: monthlyCharges}
  - {name: plan, attribute: plan, levels: [P0, P1, P20]}
  - {name: term, actionProperty: term}
cases:
  - {name: a family that pays, features: {partner: 1, monthlyCharges: 20, plan: 2, term: 12}, score: 1}
  - {name: a term that is no longer sold, features: {partner: 1, monthlyCharges: 20, plan: 2, term: 24}, score: 0}
`

const fitSpec = `name: fit
version: 1.0.0
features:
  - {name: tenure, attribute: tenure}
  - {name: plan, attribute: plan, levels: [P0, P20]}
  - {name: value, actionProperty: value}
cases:
  - {name: a customer, features: {tenure: 10, plan: 1, value: 100}, score: 0.52}
`

const foreignCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: foreign
channels: [{name: web, direction: inbound, placements: [hero]}]
models: {fit: {plugin: fit}}
issues:
  - name: Grow
    groups: [{name: Plans}]
    eligibility: [{plugin: family-rule, code: NO_FAMILY, label: The family rule says no}]
actions:
  - {name: family-12, issue: Grow, group: Plans, purpose: service, value: 100, properties: {term: 12}, propensity: {model: fit, starting: 0.1}, treatments: [{name: t, channel: web}]}
  - {name: family-24, issue: Grow, group: Plans, purpose: service, value: 200, properties: {term: 24}, propensity: {model: fit, starting: 0.1}, treatments: [{name: t, channel: web}]}
`

// TestForeignPlugins brings an OPA policy and an Extism plugin in by the command line and decides with both:
// the policy is an engagement policy of the catalog, the plugin scores what the policy leaves. Then a WASI
// command takes the plugin's place.
func TestForeignPlugins(t *testing.T) {
	t.Parallel()
	s := start(t, "dev", "--no-demo", "--subscribers", "1")
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	foreign := func(name string) string { return filepath.Join(foreignModules, name) }

	if r := s.call("PUT", "/v1/attributes", `{"attributes":[{"name":"plan","type":"string"}]}`); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	activate := func(catalog string) {
		t.Helper()
		etag := s.call("GET", "/v1/catalog", nil).header.Get("ETag")
		stored := decode[nba.CatalogVersion](t, s.call("PUT", "/v1/catalog", catalog, "Content-Type", "application/yaml", "If-Match", etag), 201)
		if r := s.call("POST", fmt.Sprintf("/v1/catalog/versions/%d/activate", stored.Version), nil); r.status != 200 {
			t.Fatalf("activating the catalog: %d %s", r.status, r.body)
		}
	}
	// The actions come first, then the plugins that read their properties, then what binds the two.
	activate(strings.NewReplacer("models: {fit: {plugin: fit}}", "", "eligibility: [{plugin: family-rule, code: NO_FAMILY, label: The family rule says no}]", "",
		"propensity: {model: fit, starting: 0.1}, ", "").Replace(foreignCatalog))
	wrapped := filepath.Join(dir, "family-rule.wasm")
	out := s.mustCLI("plugin", "wrap", foreign("policy.wasm"), "--adapter", "opa", "--entrypoint", "telco/eligible",
		"--data", file("data.json", `{"withdrawn":[24]}`), "--spec", file("rule.yaml", ruleSpec), "--out", wrapped)
	if !strings.Contains(out, "pages of memory") {
		t.Errorf("wrap says %s", out)
	}
	s.mustCLI("plugin", "push", wrapped, "--activate")
	s.mustCLI("plugin", "push", foreign("extism.wasm"), "--adapter", "extism", "--spec", file("fit.yaml", fitSpec), "--activate")
	if _, stderr, code := s.cli("plugin", "wrap", foreign("clock.wasm"), "--adapter", "opa", "--entrypoint", "telco/late", "--spec", file("rule.yaml", ruleSpec),
		"--out", filepath.Join(dir, "clock.wasm")); code == 0 || !strings.Contains(stderr, "time.now_ns") {
		t.Errorf("a policy that needs a builtin: exit %d: %s", code, stderr)
	}

	activate(foreignCatalog)
	for id, partner := range map[string]bool{"F-1": true, "F-2": false} {
		if r := s.call("PUT", "/v1/subjects/"+id, map[string]any{"consents": map[string]bool{"profiling": true, "marketing": true},
			"attributes": map[string]any{"partner": partner, "monthlyCharges": 40.5, "plan": "P20", "tenure": 10}}); r.status/100 != 2 {
			t.Fatalf("%d %s", r.status, r.body)
		}
	}
	s.expectFamily("1.0.0")
	alone := s.decideAs("F-2")
	removed := 0
	for _, stage := range alone.Explanation.Stages {
		for _, r := range stage.Removed {
			if stage.Stage == "eligibility" && r.Code == "NO_FAMILY" {
				removed++
			}
		}
	}
	if removed != 2 || alone.Degraded {
		t.Errorf("of somebody without a family %d actions were removed: %+v", removed, alone.Explanation)
	}
	first := s.decideAs("F-1")
	s.mustCLI("plugin", "push", foreign("command.wasm"), "--adapter", "wasi-command", "--version", "2.0.0", "--spec", file("fit.yaml", fitSpec), "--activate")
	s.expectFamily("2.0.0")
	// The past decision is made again with the policy and the plugin of then.
	if r := s.call("POST", "/v1/decisions/"+first.DecisionID+"/replay", nil); r.status != 200 || !strings.Contains(string(r.body), `"version":"1.0.0"`) || strings.Contains(string(r.body), `"version":"2.0.0"`) {
		t.Errorf("making it again: %d %s", r.status, r.body)
	}
}

func (s *server) decideAs(id string) nba.Decision {
	s.t.Helper()
	return decode[nba.Decision](s.t, s.call("POST", "/v1/decisions", map[string]any{"subject": map[string]any{"id": id}, "channel": "web",
		"placements": []map[string]any{{"id": "hero", "limit": 2}}, "options": map[string]any{"explain": "reasons"}}), 200)
}

// expectFamily decides for somebody with a family and looks for what the rule leaves, scored by a version.
func (s *server) expectFamily(version string) {
	t := s.t
	t.Helper()
	d := s.decideAs("F-1")
	if got, scored := propensityOf(&d, "family-12"); got != 0.52 || !scored || d.Degraded {
		t.Errorf("family-12 has propensity %v: %+v", got, d)
	}
	if _, scored := propensityOf(&d, "family-24"); scored {
		t.Error("an action of a withdrawn term is proposed")
	}
	if item := d.Propositions[0].Items[0]; item.Model == nil || item.Model.Version != version {
		t.Errorf("scored by %+v, want version %s", item.Model, version)
	}
}
