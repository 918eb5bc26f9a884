package registry

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func never(string) bool { return false }

func TestRemove(t *testing.T) {
	s := &State{}
	hour := func(h int) time.Time { return time.Date(2026, 1, 1, h, 0, 0, 0, time.UTC) }
	var err error
	for i, version := range []string{"1.0.0", "1.1.0", "1.2.0"} {
		digest := "sha256:" + strings.Repeat(string(rune('a'+i)), 64)
		if s, _, _, err = s.Stage(nba.PluginVersion{Name: "churn", Version: version, Digest: digest}); err != nil {
			t.Fatal(err)
		}
		if s, _, _, err = s.Activate("churn", version, hour(i)); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.LastGood()["churn"]; got != "sha256:"+strings.Repeat("b", 64) {
		t.Errorf("the last good version is %s", got)
	}
	refused := func(version string, used func(string) bool, code nba.Code, word string) {
		t.Helper()
		next, removed, err := s.Remove("churn", version, used)
		if next != s || removed != nil || nba.CodeOf(err) != code || !strings.Contains(err.Error(), word) {
			t.Errorf("remove %q: %v %v", version, removed, err)
		}
	}
	refused("1.2.0", never, nba.CodeConflict, "active")
	refused("", never, nba.CodeConflict, "active")
	refused("1.1.0", func(digest string) bool { return digest == "sha256:"+strings.Repeat("b", 64) }, nba.CodeConflict, "rollout")
	refused("1.1.9", never, nba.CodePluginUnknown, "no such version")
	if _, _, err := s.Remove("chrun", "", never); nba.CodeOf(err) != nba.CodePluginUnknown {
		t.Errorf("an unknown plugin: %v", err)
	}
	one, removed, err := s.Remove("churn", "1.0.0", never)
	if err != nil || len(removed) != 1 || removed[0].Version != "1.0.0" || len(one.Versions()) != 2 || len(s.Versions()) != 3 {
		t.Errorf("remove one: %v %v", removed, err)
	}
	off, changed, err := one.Deactivate("churn")
	if err != nil || !changed || len(off.Active()) != 0 || len(off.LastGood()) != 0 {
		t.Errorf("deactivate: %v %v", changed, err)
	}
	if _, changed, err := off.Deactivate("churn"); changed || err != nil {
		t.Errorf("deactivate again: %v %v", changed, err)
	}
	none, removed, err := off.Remove("churn", "", never)
	if err != nil || len(removed) != 2 || len(none.Plugins) != 0 || len(none.Digests()) != 0 {
		t.Errorf("remove all: %v %v", removed, err)
	}
}

func TestKeys(t *testing.T) {
	k := &Keys{}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	add := func(name string, fill byte, size int) (bool, error) {
		next, record, changed, err := k.Trust(nba.PluginKey{Name: name, PublicKey: bytes.Repeat([]byte{fill}, size)}, now)
		if err == nil && (record.ID == "" || !record.AddedAt.Equal(now)) {
			t.Errorf("%s: %+v", name, record)
		}
		k = next
		return changed, err
	}
	for i, name := range []string{"release", "ci", "backup"} {
		if changed, err := add(name, byte(i+1), 32); !changed || err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if changed, err := add("ci-again", 2, 32); changed || err != nil || len(k.Keys) != 3 {
		t.Errorf("the same key again: %v %v", changed, err)
	}
	if _, err := add("release", 9, 32); nba.CodeOf(err) != nba.CodeConflict {
		t.Errorf("a name that is taken: %v", err)
	}
	for name, size := range map[string]int{"short": 31, "No Good": 32} {
		if _, err := add(name, 9, size); nba.CodeOf(err) != nba.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	for i := 1; i < len(k.Keys); i++ {
		if k.Keys[i-1].ID >= k.Keys[i].ID {
			t.Error("the keys are not sorted")
		}
	}
	by, err := k.Distrust("release")
	if err != nil || len(by.Keys) != 2 {
		t.Errorf("remove by name: %v", err)
	}
	by, err = by.Distrust(by.Keys[0].ID)
	if err != nil || len(by.Keys) != 1 {
		t.Errorf("remove by id: %v", err)
	}
	if _, err := by.Distrust("release"); nba.CodeOf(err) != nba.CodeNotFound {
		t.Errorf("remove again: %v", err)
	}
}
