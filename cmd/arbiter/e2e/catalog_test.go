package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// catalogFolder writes files and returns the folder.
func catalogFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "catalog")
	for name, text := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const folderHead = `apiVersion: arbiter/v1
kind: Catalog
name: folder
channels: [{name: web, placements: [hero]}]
issues: [{name: Grow, groups: [{name: Plans}]}, {name: Serve, groups: [{name: Self}]}]
fallback: {action: self-service}
`

const folderActions = `actions:
  - {name: fibre, issue: Grow, group: Plans, value: 100, treatments: [{name: t, channel: web}]}
  - {name: self-service, issue: Serve, group: Self, purpose: service, value: 1, treatments: [{name: t, channel: web}]}
`

// TestCatalogTool takes a catalog in a folder from its mistakes to decisions, to a change that is shown and
// applied, and back, with the real program.
func TestCatalogTool(t *testing.T) {
	t.Parallel()
	s := start(t, "dev", "--no-demo", "--subscribers", "20")
	bad := catalogFolder(t, map[string]string{"head.yaml": folderHead, "a.yaml": folderActions, "sub/b.yml": strings.Replace(folderActions, "value: 100", "value: 'subject.tenur * 2.0'", 1) +
		"  - {name: tv, issue: Gro, group: Plans, value: 1, treatments: [{name: t, channel: web}]}\n", "notes.txt": "not read", ".hidden/c.yaml": "actions: 1"})
	_, stderr, code := s.cli("catalog", "validate", bad)
	for _, want := range []string{`catalog/sub/b.yml:2:12`, `"fibre" is in actions twice: first at catalog/a.yaml:2`, `catalog/sub/b.yml:4:23`, `unknown issue "Gro" in`, "did you mean Grow?"} {
		want = strings.TrimSuffix(want, " in")
		if !strings.Contains(stderr, want) || code != 1 {
			t.Errorf("exit code %d, without %q:\n%s", code, want, stderr)
		}
	}
	if _, _, code := s.cli("catalog", "apply", bad); code != 1 {
		t.Error("a folder with mistakes was applied")
	}
	first := catalogFolder(t, map[string]string{"head.yaml": folderHead, "actions.yaml": folderActions})
	if text := s.mustCLI("catalog", "validate", first); !strings.Contains(text, "is valid") {
		t.Error(text)
	}
	s.mustCLI("catalog", "apply", first, "--note", "the first one")
	second := catalogFolder(t, map[string]string{"head.yaml": folderHead, "actions.yaml": strings.Replace(folderActions, "value: 100", "value: 120, lever: 10", 1)})
	var diff struct{ Changes []catalog.Change }
	text := s.mustCLI("catalog", "diff", second, "-o", "json")
	if err := json.Unmarshal([]byte(text), &diff); err != nil || len(diff.Changes) != 2 || diff.Changes[0].String() != "action fibre value: 100 -> 120" ||
		diff.Changes[1].String() != "action fibre lever: 0 -> 10" {
		t.Errorf("diff: %s", text)
	}
	if _, _, code := s.cli("catalog", "diff", second, "--exit-code"); code != 1 {
		t.Error("a difference does not show in the exit code")
	}
	s.mustCLI("catalog", "apply", second, "--note", "a better price")
	if text := s.mustCLI("catalog", "diff", second); !strings.Contains(text, "They mean the same.") {
		t.Error(text)
	}
	s.mustCLI("catalog", "revert", "--note", "too dear")
	var history []nba.CatalogActivation
	if err := json.Unmarshal([]byte(s.mustCLI("catalog", "history", "-o", "json")), &history); err != nil {
		t.Fatal(err)
	}
	var notes []string
	for _, a := range history[:3] {
		notes = append(notes, a.Note)
	}
	if got := strings.Join(notes, ", "); got != "too dear, a better price, the first one" || history[0].Version != history[2].Version ||
		history[0].CatalogVersion <= history[1].CatalogVersion || !history[0].Active || history[0].ActivatedAt == nil {
		t.Errorf("history: %+v", history[:3])
	}
	// The reverted one decides, and the one in between can be pinned.
	value := func(args ...string) float64 {
		var d nba.Decision
		if err := json.Unmarshal([]byte(s.mustCLI(append([]string{"decide", "S-000001", "--channel", "web", "-o", "json"}, args...)...)), &d); err != nil {
			t.Fatal(err)
		}
		for _, p := range d.Propositions {
			for _, item := range p.Items {
				return item.Value
			}
		}
		return -1
	}
	s.mustCLI("subject", "consents", "S-000001", "--grant", "marketing")
	if now, then := value(), value("--catalog-version", strconv.FormatUint(history[1].CatalogVersion, 10)); now != 100 || then != 120 {
		t.Errorf("the value is %v now and %v pinned, want 100 and 120", now, then)
	}
	if text := s.mustCLI("catalog", "diff", strconv.FormatUint(history[1].CatalogVersion, 10), "active"); !strings.Contains(text, "action fibre value: 120 -> 100") {
		t.Errorf("diff of versions: %s", text)
	}
}

// TestConsentsTool: what a customer says on the command line decides what is proposed.
func TestConsentsTool(t *testing.T) {
	t.Parallel()
	s := start(t, "dev", "--no-demo", "--subscribers", "5")
	s.mustCLI("catalog", "apply", catalogFolder(t, map[string]string{"head.yaml": strings.Replace(folderHead, "channels: [", "consent: {channels: deny}\nchannels: [", 1),
		"actions.yaml": folderActions}))
	stages := func() string { return s.mustCLI("decide", "S-000001", "--channel", "web", "--explain") }
	s.mustCLI("subject", "consents", "S-000001", "--grant", "marketing", "--from", "2020-01-01")
	if text := stages(); !strings.Contains(text, "NO_CHANNEL_CONSENT") {
		t.Errorf("a channel without consent: %s", text)
	}
	if text := s.mustCLI("subject", "consents", "S-000001", "--grant", "channel:web"); !strings.Contains(text, "granted") || !strings.Contains(text, "2020-01-01") {
		t.Error(text)
	}
	if text := stages(); strings.Contains(text, "NO_CHANNEL_CONSENT") || !strings.Contains(text, "fibre") {
		t.Errorf("a channel with consent: %s", text)
	}
	s.mustCLI("subject", "consents", "S-000001", "--withdraw", "marketing")
	if text := stages(); !strings.Contains(text, "NO_CONSENT") {
		t.Errorf("a purpose that was withdrawn: %s", text)
	}
	if _, stderr, code := s.cli("subject", "consents", "S-000001", "--grant", "marketin"); code != 1 || !strings.Contains(stderr, "no such purpose") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if text := s.mustCLI("subject", "get", "S-000001"); !strings.Contains(text, "consent to channel web granted") {
		t.Error(text)
	}
}
