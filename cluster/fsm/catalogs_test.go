package fsm

import (
	"fmt"
	"testing"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestCatalogsAreBounded: the newest documents are kept, and the active one whatever its age; with a document
// its activations go.
func TestCatalogsAreBounded(t *testing.T) {
	c := newControl(t, nil)
	do(t, c, &command.AnnounceNode{Node: "a", Level: command.LevelKnown, Members: []string{"a"}})
	put := func(i int) uint64 {
		t.Helper()
		got := do(t, c, &command.StoreCatalog{Name: "demo", Digest: fmt.Sprintf("sha256:%d", i), Document: []byte(fmt.Sprint(i))})
		if got.Err != nil {
			t.Fatal(got.Err)
		}
		return got.Version
	}
	first, second := put(0), put(1)
	activate := func(version uint64, note string) Result {
		return do(t, c, &command.ActivateCatalog{Version: version, Note: note, Dated: true})
	}
	for _, version := range []uint64{first, second, first} {
		if got := activate(version, fmt.Sprint("of ", version)); got.Err != nil {
			t.Fatal(got.Err)
		}
	}
	for i := 2; i < MaxCatalogs+20; i++ {
		put(i)
	}
	state := c.State().Catalog
	if len(state.Versions) != MaxCatalogs || state.Versions[0].Version != first || state.Active != first {
		t.Fatalf("%d documents are kept, the oldest is %d, %d is active", len(state.Versions), state.Versions[0].Version, state.Active)
	}
	for _, gone := range []uint64{second} {
		if _, stored, err := c.Document(gone); stored || err != nil {
			t.Errorf("document %d is still there, %v", gone, err)
		}
	}
	if document, stored, err := c.Document(first); !stored || string(document) != "0" || err != nil {
		t.Errorf("the active document is %q, %v", document, err)
	}
	if len(state.Activations) != 2 || state.Activations[0].Version != first || state.Activations[1].Note != fmt.Sprint("of ", first) ||
		state.Activations[1].At.UnixMilli() != testMS {
		t.Errorf("activations %+v", state.Activations)
	}
	if got := activate(state.Head, string(make([]byte, nba.MaxNoteBytes+1))); nba.CodeOf(got.Err) != nba.CodeTooLarge {
		t.Errorf("a long note: %v", got.Err)
	}
	again, err := NewControl(c.Store(), nil)
	if err != nil || len(again.State().Catalog.Versions) != MaxCatalogs || !again.State().Catalog.Activations[1].At.Equal(state.Activations[1].At) {
		t.Errorf("opened again: %v", err)
	}
}

// TestNothingIsForgottenBefore: while a node may be of a release that keeps all documents, this one does too.
func TestNothingIsForgottenBefore(t *testing.T) {
	c := newControl(t, nil)
	for i := range MaxCatalogs + 3 {
		do(t, c, &command.StoreCatalog{Name: "demo", Digest: fmt.Sprintf("sha256:%d", i), Document: []byte("x")})
	}
	if n := len(c.State().Catalog.Versions); n != MaxCatalogs+3 {
		t.Errorf("%d documents are kept", n)
	}
	features := c.State().Features
	for kind, version := range map[command.Kind]uint8{command.SubjectPut: 2, command.SubjectPatch: 2, command.CatalogActivated: 2} {
		if err := features.Allows(kind, version); nba.CodeOf(err) != nba.CodeUnavailable {
			t.Errorf("operation %d of version %d at level %d: %v", kind, version, features.Level, err)
		}
		if err := features.Allows(kind, 1); err != nil {
			t.Errorf("operation %d: %v", kind, err)
		}
	}
}
