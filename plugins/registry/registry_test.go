package registry_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/plugins/registry"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func digest(c string) string { return "sha256:" + strings.Repeat(c, 64) }

func version(name, v, d string) nba.PluginVersion {
	return nba.PluginVersion{Name: name, Version: v, Kind: "scorer", Digest: digest(d), SizeBytes: 10, PushedAt: noon,
		Manifest: json.RawMessage(`{"name":"` + name + `"}`)}
}

// states is the state of every version, such as "churn 1.0.0 active".
func states(s *registry.State) (out []string) {
	for _, v := range s.Versions() {
		out = append(out, fmt.Sprintf("%s %s %s", v.Name, v.Version, v.State))
	}
	return out
}

func stage(t *testing.T, s *registry.State, v nba.PluginVersion) *registry.State {
	t.Helper()
	next, record, changed, err := s.Stage(v)
	if err != nil || !changed || record.State != nba.StateStaged {
		t.Fatalf("Stage: %v, changed %v, record %v", err, changed, record.State)
	}
	return next
}

func activate(t *testing.T, s *registry.State, name, v string) *registry.State {
	t.Helper()
	next, record, changed, err := s.Activate(name, v, noon)
	if err != nil || !changed || record.State != nba.StateActive || record.ActivatedAt == nil || !record.ActivatedAt.Equal(noon) {
		t.Fatalf("Activate: %v, changed %v, record %+v", err, changed, record)
	}
	return next
}

func TestLifeOfAVersion(t *testing.T) {
	s0 := &registry.State{}
	s1 := stage(t, s0, version("upsell", "1.0.0", "a"))
	s2 := stage(t, s1, version("churn", "1.0.0", "b"))
	s3 := stage(t, s2, version("churn", "1.1.0", "c"))
	s4 := activate(t, s3, "churn", "1.0.0")
	s5 := activate(t, s4, "churn", "1.1.0")
	s6 := activate(t, s5, "churn", "1.0.0") // rollback

	for _, tt := range []struct {
		name  string
		state *registry.State
		want  []string
	}{
		{name: "empty", state: s0},
		{name: "sorted by name", state: s2, want: []string{"churn 1.0.0 staged", "upsell 1.0.0 staged"}},
		{name: "earlier states do not change", state: s3, want: []string{"churn 1.0.0 staged", "churn 1.1.0 staged", "upsell 1.0.0 staged"}},
		{name: "active", state: s4, want: []string{"churn 1.0.0 active", "churn 1.1.0 staged", "upsell 1.0.0 staged"}},
		{name: "swapped", state: s5, want: []string{"churn 1.0.0 retired", "churn 1.1.0 active", "upsell 1.0.0 staged"}},
		{name: "rolled back", state: s6, want: []string{"churn 1.0.0 active", "churn 1.1.0 retired", "upsell 1.0.0 staged"}},
	} {
		if diff := cmp.Diff(tt.want, states(tt.state)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
	if diff := cmp.Diff(map[string]string{"churn": digest("c")}, s5.Active()); diff != "" {
		t.Errorf("Active (-want +got):\n%s", diff)
	}

	content, err := json.Marshal(s6)
	if err != nil {
		t.Fatal(err)
	}
	back, err := registry.Parse(content)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s6, back); diff != "" {
		t.Errorf("after JSON (-want +got):\n%s", diff)
	}
}

func TestRepeats(t *testing.T) {
	s := activate(t, stage(t, &registry.State{}, version("churn", "1.0.0", "a")), "churn", "1.0.0")
	again := version("churn", "1.0.0", "a")
	again.PushedAt = noon.Add(time.Hour)
	next, record, changed, err := s.Stage(again)
	if err != nil || changed || next != s || record.State != nba.StateActive || !record.PushedAt.Equal(noon) {
		t.Errorf("staging the same bytes again: %v, changed %v, record %+v", err, changed, record)
	}
	next, _, changed, err = s.Activate("churn", "1.0.0", noon.Add(time.Hour))
	if err != nil || changed || next != s {
		t.Errorf("activating again: %v, changed %v", err, changed)
	}
}

func TestErrors(t *testing.T) {
	s := stage(t, &registry.State{}, version("churn", "1.0.0", "a"))
	f := func(want nba.Code, word string, err error) {
		t.Helper()
		if nba.CodeOf(err) != want || !strings.Contains(err.Error(), word) {
			t.Errorf("error %v (%s), want %s with %q", err, nba.CodeOf(err), want, word)
		}
	}
	_, _, _, err := s.Stage(version("churn", "1.0.0", "b"))
	f(nba.CodeConflict, "raise the version", err)
	_, _, _, err = s.Stage(version("Churn", "1.0.0", "b"))
	f(nba.CodeInvalid, "name", err)
	_, _, _, err = s.Stage(version("churn", "one", "b"))
	f(nba.CodeInvalid, "version", err)
	_, _, _, err = s.Stage(version("churn", "2.0.0", "X"))
	f(nba.CodeInvalid, "digest", err)
	_, _, _, err = s.Activate("chorn", "1.0.0", noon)
	f(nba.CodePluginUnknown, "did you mean churn?", err)
	_, _, _, err = s.Activate("churn", "9.9.9", noon)
	f(nba.CodePluginUnknown, "no such version", err)
	_, err = s.Version("upsell", "1.0.0")
	f(nba.CodePluginUnknown, "push it first", err)
}

func TestLimits(t *testing.T) {
	s := &registry.State{}
	for i := range registry.MaxVersions {
		s = stage(t, s, version("churn", fmt.Sprintf("1.0.%d", i), "a"))
	}
	if _, _, _, err := s.Stage(version("churn", "2.0.0", "a")); nba.CodeOf(err) != nba.CodeTooLarge {
		t.Errorf("too many staged versions: %v", err)
	}
	s = activate(t, activate(t, s, "churn", "1.0.3"), "churn", "1.0.4")
	s = stage(t, s, version("churn", "2.0.0", "a"))
	if _, err := s.Version("churn", "1.0.3"); nba.CodeOf(err) != nba.CodePluginUnknown {
		t.Errorf("the retired version did not make room: %v", err)
	}
	s = &registry.State{}
	for i := range registry.MaxPlugins {
		s = stage(t, s, version(fmt.Sprintf("p%d", i), "1.0.0", "a"))
	}
	if _, _, _, err := s.Stage(version("q", "1.0.0", "a")); nba.CodeOf(err) != nba.CodeTooLarge {
		t.Errorf("too many plugins: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"plugins":[]}`))
	f.Add([]byte(`{"plugins":[{"name":"a","versions":[]}]}`))
	f.Add([]byte(`{"plugins":[{"name":"a","versions":[{"name":"a","version":"1.0.0","digest":"` + digest("0") + `","state":"active"}]}]}`))
	f.Add([]byte(`{"plugins":[{"name":"a","versions":[{"name":"b","version":"1.0.0","digest":"` + digest("0") + `","state":"staged"}]}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		s, err := registry.Parse(content)
		if err != nil {
			return
		}
		for _, v := range s.Versions() {
			if _, _, _, err := s.Activate(v.Name, v.Version, noon); err != nil {
				t.Errorf("activating a listed version: %v", err)
			}
		}
	})
}
