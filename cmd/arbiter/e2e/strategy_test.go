package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/plugins/project"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// toolchain skips languages that this machine cannot build; make sdk installs all of them.
func toolchain(t *testing.T, l project.Language) {
	t.Helper()
	missing := ""
	switch l {
	case project.C:
		if _, err := exec.LookPath("clang-19"); err != nil {
			missing = "clang-19"
		}
	case project.Rust:
		out, err := exec.Command("rustc", "--print", "target-libdir", "--target", "wasm32-unknown-unknown").Output()
		if err != nil {
			missing = "rustc"
		} else if _, err := os.Stat(strings.TrimSpace(string(out))); err != nil {
			missing = "the Rust target wasm32-unknown-unknown"
		}
	case project.AssemblyScript:
		if _, err := exec.LookPath("npm"); err != nil {
			missing = "npm"
		}
	}
	if missing != "" && os.Getenv("ARBITER_SDK") != "" {
		t.Fatalf("%s is not installed", missing)
	} else if missing != "" {
		t.Skipf("%s is not installed; make sdk installs it", missing)
	}
}

// withStrategy is the demo's catalog with a strategy for the hero of the web shop.
func withStrategy(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../../examples/catalog.yaml")
	if err != nil {
		t.Fatal(err)
	}
	bound := strings.Replace(string(text), "placements: [hero, banner]", "placements: [{name: hero, strategy: "+name+"}, banner]", 1)
	if bound == string(text) {
		t.Fatal("the example catalog has no placements [hero, banner]")
	}
	file := filepath.Join(t.TempDir(), "catalog.yaml")
	if err := os.WriteFile(file, []byte(bound), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestStrategiesInEveryLanguage goes from an empty folder to a decision that a strategy rearranged in four
// commands, in every language.
func TestStrategiesInEveryLanguage(t *testing.T) {
	for _, language := range project.Languages() {
		t.Run(string(language), func(t *testing.T) {
			toolchain(t, language)
			t.Parallel()
			s := start(t, "dev", "--no-demo", "--subscribers", "64")
			who := newcomer(t, s)
			before := heroes(t, s, who)

			folder := filepath.Join(t.TempDir(), "newcomers")
			s.mustCLI("plugin", "new", "newcomers", "--kind", "strategy", "--lang", string(language), "--dir", folder)
			s.mustCLI("plugin", "push", folder, "--activate")
			s.mustCLI("catalog", "apply", withStrategy(t, "newcomers"))
			told := s.mustCLI("decide", who, "--channel", "web", "--placement", "hero", "-o", "json")
			var decided nba.Decision
			if err := json.Unmarshal([]byte(told), &decided); err != nil {
				t.Fatalf("%s: %v", told, err)
			}
			rearranged(t, s, who, before, &decided)
		})
	}
}

// newcomer is a subscriber of less than a year for whom the hero of the web shop has several propositions, one
// of them to retain him.
func newcomer(t *testing.T, s *server) string {
	t.Helper()
	for i := range 64 {
		who := subscriberID(1 + i)
		doc := decode[nba.SubjectDocument](t, s.call("GET", "/v1/subjects/"+who, nil), 200)
		if tenure, ok := doc.Attributes["tenure"].(float64); !ok || tenure >= 12 {
			continue
		}
		if items := heroes(t, s, who).Propositions[0].Items; len(items) >= 2 &&
			slices.ContainsFunc(items, func(p nba.Proposition) bool { return p.Issue == "Retain" }) {
			return who
		}
	}
	t.Fatal("the demo has no newcomer with several propositions")
	return ""
}

// heroes decides what the hero of the web shop shows.
func heroes(t *testing.T, s *server, who string, excluded ...string) nba.Decision {
	t.Helper()
	return decode[nba.Decision](t, s.call("POST", "/v1/decisions", map[string]any{"subject": map[string]any{"id": who}, "channel": "web",
		"placements": []map[string]any{{"id": "hero", "limit": 5}}, "excludedActions": append([]string{}, excluded...),
		"options": map[string]any{"simulate": true}}), 200)
}

// rearranged holds the decisions of the strategy against those without it.
func rearranged(t *testing.T, s *server, who string, before nba.Decision, decided *nba.Decision) {
	t.Helper()
	hero := &decided.Propositions[0]
	if decided.Degraded || hero.Strategy == nil || hero.Strategy.Name != "newcomers" || len(hero.Items) == 0 {
		t.Fatalf("the strategy did not decide: %+v", decided)
	}
	all := heroes(t, s, who)
	weighted := 0
	for _, item := range all.Propositions[0].Items {
		want := 0.0
		if item.Issue == "Retain" {
			want = 1.5
			weighted++
		}
		if item.StrategyWeight != want && !(want == 0 && item.StrategyWeight == 1) {
			t.Errorf("%s of %s has the weight %v, want %v", item.Action, item.Issue, item.StrategyWeight, want)
		}
	}
	if weighted == 0 {
		t.Errorf("no proposition was weighted: %+v", all.Propositions[0].Items)
	}
	names := func(d nba.Decision) (list []string) {
		for _, item := range d.Propositions[0].Items {
			list = append(list, item.Action)
		}
		slices.Sort(list)
		return list
	}
	if got, want := names(all), names(before); !slices.Equal(got, want) {
		t.Errorf("the strategy proposes %v, and arbitration %v", got, want)
	}
	// It cannot bring back what was taken out.
	first := all.Propositions[0].Items[0].Action
	if got := names(heroes(t, s, who, first)); slices.Contains(got, first) {
		t.Errorf("%s was excluded and is proposed: %v", first, got)
	}
	// The decision can be made again, byte for byte.
	if r := s.call("POST", "/v1/decisions/"+decided.DecisionID+"/replay", nil); r.status != 200 || r.header.Get("Arbiter-Replay") != "identical" {
		t.Errorf("the replay: %d %s %s", r.status, r.header.Get("Arbiter-Replay"), r.body)
	}
}

// misbehaving is a strategy that picks what it was not given, tells its log what it knows of the customer,
// and never returns when the parameter spin is set.
const misbehaving = `#include "arbiter/arbiter.h"

int arbiter_strategy(const arbiter_input *in, arbiter_answer *answer) {
  const arbiter_field *tenure = arbiter_subject_number(in, "tenure"), *internet = arbiter_subject_text(in, "internetService");
  arbiter_text line = arbiter_text_of("tenure ");
  if (tenure) line = arbiter_join(line, arbiter_digits((unsigned long long)tenure->number));
  if (internet) line = arbiter_join(arbiter_join(line, arbiter_text_of(", internet ")), internet->text);
  arbiter_log(2, line);
  if (arbiter_context_of(in, "spin"))
    for (volatile int i = 0;; i++) {}
  for (int i = 0; i < in->candidate_count; i++) arbiter_pick(answer, i);
  if (arbiter_context_of(in, "cheat")) arbiter_pick(answer, in->candidate_count);
  return 0;
}
`

// TestStrategyThatMisbehaves: nothing it does costs an answer, brings back an action, or tells of a customer.
func TestStrategyThatMisbehaves(t *testing.T) {
	toolchain(t, project.C)
	t.Parallel()
	s := start(t, "dev", "--no-demo", "--subscribers", "64")
	who := newcomer(t, s)
	before := heroes(t, s, who)
	folder := filepath.Join(t.TempDir(), "rogue")
	s.mustCLI("plugin", "new", "rogue", "--kind", "strategy", "--lang", "c", "--dir", folder)
	for name, text := range map[string]string{"plugin.c": misbehaving, "plugin.yaml": "name: rogue\nversion: 1.0.0\nkind: strategy\nlanguage: c\n" +
		"attributes: [tenure, internetService]\ncapabilities: [log]\nlimits: {memoryPages: 20, fuelBase: 1000000, fuelPerRow: 10000}\n"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.mustCLI("plugin", "push", folder, "--activate")
	s.mustCLI("catalog", "apply", withStrategy(t, "rogue"))
	good := heroes(t, s, who)
	if good.Degraded || good.Propositions[0].Strategy == nil {
		t.Fatalf("the strategy did not decide: %+v", good)
	}
	for _, context := range []string{"cheat", "spin"} {
		got := decode[nba.Decision](t, s.call("POST", "/v1/decisions", map[string]any{"subject": map[string]any{"id": who}, "channel": "web",
			"placements": []map[string]any{{"id": "hero", "limit": 5}}, "contexts": []map[string]any{{"type": "t", "key": context, "value": "1"}}, "options": map[string]any{"simulate": true}}), 200)
		if !got.Degraded || got.DegradedReason != "STRATEGY_FAILED:rogue" || len(got.Propositions[0].Items) != len(before.Propositions[0].Items) {
			t.Errorf("%s: degraded %v (%s), %d propositions, want %d", context, got.Degraded, got.DegradedReason,
				len(got.Propositions[0].Items), len(before.Propositions[0].Items))
		}
	}
	if again := heroes(t, s, who); again.Degraded || again.Propositions[0].Strategy == nil {
		t.Errorf("after its failures: %+v", again)
	}
	logs := s.mustCLI("plugin", "logs", "rogue")
	if !strings.Contains(logs, "tenure [redacted], internet [redacted]") || strings.Contains(logs, "Fiber") || strings.Contains(logs, who) {
		t.Errorf("the log:\n%s", logs)
	}

	// Five failures in a row take it out: that is told by the list, and no call reaches it.
	for range 8 {
		s.call("POST", "/v1/decisions", map[string]any{"subject": map[string]any{"id": who}, "channel": "web", "options": map[string]any{"simulate": true},
			"contexts": []map[string]any{{"type": "t", "key": "cheat", "value": "1"}}})
	}
	version := activeVersion(t, s, "rogue")
	if version.Health == nil || version.Health.State != nba.BreakerOpen || version.Health.Reason != "answer" {
		t.Errorf("health: %+v", version.Health)
	}
	if out := s.mustCLI("plugin", "list"); !strings.Contains(out, "failing (answer)") {
		t.Errorf("the list does not tell:\n%s", out)
	}
}

// TestSignedPlugins: a cluster takes what a trusted key signed and nothing else, on every node, and removes
// plugins with their artifacts.
func TestSignedPlugins(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 3, "--plugins-unsigned", "refuse")
	s := nodes[0]
	folder := t.TempDir()
	file := func(name string) string { return filepath.Join(folder, name) }
	if r := s.call("PUT", "/v1/attributes", `{"attributes":[{"name":"tenure","type":"int"}]}`); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	s.mustCLI("plugin", "new", "signed-score", "--lang", "go", "--dir", file("plugin"))
	s.mustCLI("plugin", "build", file("plugin"), "--out", file("one.wasm"))
	refused := func(word string, args ...string) {
		t.Helper()
		if stdout, stderr, code := s.cli(args...); code == 0 || !strings.Contains(stderr, word) {
			t.Errorf("arbiter %s: exit %d\n%s%s", strings.Join(args, " "), code, stdout, stderr)
		}
	}
	refused("not signed", "plugin", "push", file("one.wasm"))
	s.mustCLI("plugin", "keys", "new", file("release.key"))
	s.mustCLI("plugin", "sign", file("one.wasm"), "--key", file("release.key"))
	refused("not trusted", "plugin", "push", file("one.wasm"))
	s.mustCLI("plugin", "keys", "add", "release", file("release.key.pub"))
	if out := s.mustCLI("plugin", "verify", file("one.wasm"), "--public-key", file("release.key.pub"), "--node"); !strings.Contains(out, "signed by key") || !strings.Contains(out, "the node would take it") {
		t.Errorf("verify says\n%s", out)
	}
	nodes[1].mustCLI("plugin", "push", file("one.wasm"), "--activate")
	version := activeVersion(t, nodes[2], "signed-score")
	if version.SignedBy == "" || version.Health == nil || version.Health.State != nba.BreakerClosed {
		t.Errorf("on the third node: %+v", version)
	}
	digest := strings.TrimPrefix(version.Digest, "sha256:")

	changed, err := os.ReadFile(file("one.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file("changed.wasm"), append(changed, 0, 3, 1, 'x', 'y'), 0o600); err != nil { // one more custom section
		t.Fatal(err)
	}
	refused("changed after signing", "plugin", "push", file("changed.wasm"))

	// A key that is not trusted any more activates nothing, on any node; what is active stays.
	second := file("plugin") + "/plugin.yaml"
	spec, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(second, []byte(strings.Replace(string(spec), "version: 0.1.0", "version: 0.2.0", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	s.mustCLI("plugin", "build", file("plugin"), "--out", file("two.wasm"))
	s.mustCLI("plugin", "sign", file("two.wasm"), "--key", file("release.key"))
	s.mustCLI("plugin", "push", file("two.wasm"))
	s.mustCLI("plugin", "keys", "rm", "release")
	refused("not trusted", "plugin", "activate", "signed-score", "0.2.0")
	if still := activeVersion(t, nodes[1], "signed-score"); still.Version != "0.1.0" {
		t.Errorf("active is %s", still.Version)
	}

	refused("active", "plugin", "rm", "signed-score")
	nodes[2].mustCLI("plugin", "rm", "signed-score", "0.2.0")
	nodes[2].mustCLI("plugin", "deactivate", "signed-score")
	nodes[2].mustCLI("plugin", "rm", "signed-score")
	eventually(t, "every node deletes the artifact", func() error {
		for _, s := range nodes {
			found, err := filepath.Glob(filepath.Join(argument(s, "--data"), "*", digest))
			if err != nil || len(found) > 0 {
				return fmt.Errorf("%v %v", found, err)
			}
		}
		return nil
	})
	if list := decode[struct{ Items []nba.PluginVersion }](t, nodes[0].call("GET", "/v1/plugins", nil), 200); len(list.Items) != 0 {
		t.Errorf("plugins: %+v", list.Items)
	}
}

// argument is the value of a flag of a server.
func argument(s *server, flag string) string {
	if i := slices.Index(s.args, flag); i >= 0 {
		return s.args[i+1]
	}
	return ""
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() error) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = holds(); err == nil {
			return
		}
	}
	t.Errorf("%s: %v", what, err)
}
