package fsm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func newControl(t testing.TB, onApply func(*ControlState)) *Control {
	t.Helper()
	c, err := NewControl(openStore(t), onApply)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func uptr(v uint64) *uint64 { return &v }

func TestDictionaryGrows(t *testing.T) {
	c := newControl(t, nil)
	declare := func(attributes ...nba.AttributeDeclaration) Result {
		return do(t, c, &command.DeclareAttributes{Attributes: attributes})
	}
	got := declare(nba.AttributeDeclaration{Name: "partner", Type: nba.KindBool}, nba.AttributeDeclaration{Name: "tenure", Type: nba.KindInt})
	if d, ok := got.Value.(*nba.Dictionary); !ok || len(d.Attributes()) != 2 {
		t.Fatalf("got %v %v", got.Value, got.Err)
	}
	before := c.State()
	if got := declare(nba.AttributeDeclaration{Name: "partner", Type: nba.KindInt}); nba.CodeOf(got.Err) != nba.CodeConflict {
		t.Errorf("another type: got %v, want CONFLICT", got.Err)
	}
	if c.State().Dictionary != before.Dictionary {
		t.Error("a refused declaration changed the dictionary")
	}
	declare(nba.AttributeDeclaration{Name: "monthly", Type: nba.KindFloat})
	if len(before.Dictionary.Attributes()) != 2 || len(c.State().Dictionary.Attributes()) != 3 {
		t.Error("a state that was handed out changed, or the new one did not")
	}
	again, err := NewControl(c.Store(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if a, ok := again.State().Dictionary.Attribute("monthly"); !ok || a.ID != 2 || a.Type != nba.KindFloat {
		t.Errorf("after opening again: %+v %v", a, ok)
	}
}

func TestCatalogVersions(t *testing.T) {
	c := newControl(t, nil)
	stored := func(doc string, ifHead *uint64) operation {
		return &command.StoreCatalog{Name: "demo", Digest: "sha256:" + doc, Document: []byte(doc), IfHead: ifHead}
	}
	for _, step := range []struct {
		name                string
		op                  operation
		code                nba.Code
		version             uint64
		head, active, cvers uint64
		states              string
	}{
		{"activate nothing", &command.ActivateCatalog{Version: 1}, nba.CodeCatalogUnknown, 0, 0, 0, 0, ""},
		{"store, expecting another", stored("one", uptr(9)), nba.CodePrecondition, 0, 0, 0, 0, ""},
		{"store the first", stored("one", uptr(0)), "", 3, 3, 0, 0, "staged"},
		{"store it again", stored("one", nil), "", 3, 3, 0, 0, "staged"},
		{"store a first again", stored("two", uptr(0)), nba.CodePrecondition, 0, 3, 0, 0, "staged"},
		{"activate", &command.ActivateCatalog{Version: 3}, "", 6, 3, 3, 6, "active"},
		{"activate again", &command.ActivateCatalog{Version: 3}, "", 6, 3, 3, 6, "active"},
		{"store the second", stored("two", uptr(3)), "", 8, 8, 3, 6, "active staged"},
		{"activate the second", &command.ActivateCatalog{Version: 8}, "", 9, 8, 8, 9, "retired active"},
		{"back to the first", &command.ActivateCatalog{Version: 3}, "", 10, 8, 3, 10, "active retired"},
		{"the first as a new document", stored("one", uptr(8)), "", 11, 11, 3, 10, "active retired staged"},
	} {
		result := do(t, c, step.op)
		catalog := c.State().Catalog
		var states []string
		for _, v := range catalog.Versions {
			states = append(states, string(v.State))
		}
		if nba.CodeOf(result.Err) != step.code || result.Version != step.version || catalog.Head != step.head || catalog.Active != step.active ||
			catalog.CatalogVersion != step.cvers || strings.Join(states, " ") != step.states {
			t.Errorf("%s: got %q %d, head %d, active %d as %d, %v; want %+v", step.name, nba.CodeOf(result.Err), result.Version,
				catalog.Head, catalog.Active, catalog.CatalogVersion, states, step)
		}
	}
	document, ok, err := c.Document(8)
	if err != nil || !ok || string(document) != "two" {
		t.Errorf("document 8: got %s %v %v", document, ok, err)
	}
	if _, ok, _ := c.Document(7); ok {
		t.Error("there is a document 7")
	}
	for catalogVersion, want := range map[uint64]uint64{6: 3, 9: 8, 10: 3, 7: 0, 3: 0} {
		if got := c.State().Catalog.Document(catalogVersion); got != want {
			t.Errorf("catalogVersion %d is document %d, want %d", catalogVersion, got, want)
		}
	}
	if v, ok := c.State().Catalog.Version(3); !ok || v.ActivatedAt == nil || v.ActivatedAt.UnixMilli() != testMS || v.CatalogVersion != 10 {
		t.Errorf("version 3 is %+v", v)
	}
}

func TestTwoDocumentsInOneEntry(t *testing.T) {
	c := newControl(t, nil)
	answer := c.Apply(entry(t, 5, &command.StoreCatalog{Digest: "1", Document: []byte("1")}, &command.StoreCatalog{Digest: "2", Document: []byte("2")}))
	results, ok := answer.(Results)
	if !ok || results[0].Err != nil || nba.CodeOf(results[1].Err) != nba.CodeConflict {
		t.Errorf("got %v", answer)
	}
}

func TestPluginVersions(t *testing.T) {
	c := newControl(t, nil)
	digest := func(d string) string { return "sha256:" + strings.Repeat(d, 64) }
	stage := func(version, d string) Result {
		return do(t, c, &command.StagePlugin{Plugin: nba.PluginVersion{Name: "churn", Version: version, Kind: "scorer", Digest: digest(d), Manifest: []byte(`{"abi":1}`)}})
	}
	if got := stage("1.0.0", "a"); got.Err != nil || got.Value.(nba.PluginVersion).PushedAt.UnixMilli() != testMS {
		t.Fatalf("got %+v", got)
	}
	if got := stage("1.0.0", "b"); nba.CodeOf(got.Err) != nba.CodeConflict {
		t.Errorf("another artifact under the same version: got %v", got.Err)
	}
	if got := do(t, c, &command.ActivatePlugin{Name: "churn", Version: "2.0.0"}); nba.CodeOf(got.Err) != nba.CodePluginUnknown {
		t.Errorf("an unknown version: got %v", got.Err)
	}
	stage("2.0.0", "b")
	for _, version := range []string{"1.0.0", "2.0.0", "1.0.0"} {
		if got := do(t, c, &command.ActivatePlugin{Name: "churn", Version: version}); got.Err != nil {
			t.Fatal(got.Err)
		}
	}
	if got := c.State().Plugins.Active()["churn"]; got != digest("a") {
		t.Errorf("active is %s", got)
	}
	again, err := NewControl(c.Store(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := again.State().Plugins.Active()["churn"]; got != digest("a") {
		t.Errorf("after opening again active is %s", got)
	}
}

func TestControlIsAnnouncedAndRestored(t *testing.T) {
	var announced []uint64
	c := newControl(t, func(s *ControlState) { announced = append(announced, s.Index) })
	c.ApplyBatch([]*raft.Log{
		entry(t, 2, &command.StoreCatalog{Name: "a", Digest: "1", Document: []byte("1")}),
		entry(t, 3, &command.ActivateCatalog{Version: 2}),
	})
	c.Announce()
	if len(announced) != 1 || announced[0] != 3 {
		t.Errorf("announced %v, want [3]", announced)
	}
	other := newControl(t, nil)
	if err := other.Restore(io.NopCloser(bytes.NewReader(stateOf(t, c)))); err != nil {
		t.Fatal(err)
	}
	if got := other.State(); got.Index != 3 || got.Catalog.Active != 2 || got.Catalog.CatalogVersion != 3 {
		t.Errorf("restored %+v", got)
	}
	if !bytes.Equal(stateOf(t, other), stateOf(t, c)) {
		t.Error("the state differs")
	}
}

// controlScript is a long run of every operation of the control group, some of them refused.
func controlScript(t testing.TB, n int) []*raft.Log {
	random := rand.New(rand.NewPCG(5, 5))
	var logs []*raft.Log
	for i := range n {
		index := uint64(i + 2)
		var op operation
		switch random.IntN(8) {
		case 0:
			op = &command.DeclareAttributes{Attributes: []nba.AttributeDeclaration{{Name: fmt.Sprint("a", random.IntN(50)), Type: nba.KindInt}}}
		case 1:
			op = &command.StoreCatalog{Name: "demo", Digest: fmt.Sprint("sha256:", random.IntN(9)), Document: []byte(fmt.Sprint("document ", i))}
		case 2:
			op = &command.ActivateCatalog{Version: index - random.Uint64N(min(index, 12))}
		case 3:
			op = &command.StagePlugin{Plugin: nba.PluginVersion{Name: "churn", Version: fmt.Sprint("1.0.", random.IntN(9)), Kind: "scorer",
				Digest: "sha256:" + strings.Repeat(fmt.Sprint(random.IntN(9)), 64), Manifest: []byte(`{"abi":1}`)}}
		case 4:
			op = &command.ActivatePlugin{Name: "churn", Version: fmt.Sprint("1.0.", random.IntN(9))}
		case 5:
			op = announced(fmt.Sprint("n", random.IntN(3)), command.Level(1+random.Uint32N(3)), "n0", "n1", "n2")
		case 6:
			op = &command.SetRetention{Retention: nba.Retention{MaxAgeDays: random.IntN(9), IdempotencyHours: random.IntN(3)}}
		case 7:
			op = &command.Mark{}
		}
		logs = append(logs, entryAt(t, index, testMS+int64(i), op))
	}
	return logs
}

// TestControlBatchesDoNotMatter is TestBatchesDoNotMatter for the control group.
func TestControlBatchesDoNotMatter(t *testing.T) {
	logs := controlScript(t, 400)
	answers := func(list []any) (out string) {
		for _, a := range list {
			for _, r := range a.(Results) {
				value, err := json.Marshal(r.Value)
				if err != nil {
					t.Fatal(err)
				}
				out += fmt.Sprintf("%d %v %v %s %q\n", r.Version, r.Created, r.Duplicate, value, nba.CodeOf(r.Err))
			}
		}
		return out
	}
	single := newControl(t, nil)
	var list []any
	for _, l := range logs {
		list = append(list, single.Apply(l))
	}
	want, wantText := stateOf(t, single), answers(list)
	if err := errors.Join(single.Err(), single.Verify()); err != nil || single.Mark().Index == 0 {
		t.Fatal(err)
	}
	if s := single.State(); len(s.Catalog.Activations) < 5 || len(s.Plugins.Versions()) < 5 || s.Features.Level < 2 || s.Retention == nba.DefaultRetention() {
		t.Fatalf("the script leaves %+v: it tests too little", s)
	}
	same := func(t *testing.T, c *Control) {
		t.Helper()
		if !bytes.Equal(stateOf(t, c), want) || c.Digest() != single.Digest() || c.Mark() != single.Mark() {
			t.Errorf("the state differs: digest %+v and %+v, mark %+v and %+v", c.Digest(), single.Digest(), c.Mark(), single.Mark())
		}
		if err := errors.Join(c.Err(), c.Verify()); err != nil {
			t.Error(err)
		}
	}
	for seed := range uint64(5) {
		t.Run(fmt.Sprint("batched ", seed), func(t *testing.T) {
			c, random := newControl(t, nil), rand.New(rand.NewPCG(seed, 3))
			var list []any
			for rest := logs; len(rest) > 0; {
				n := min(len(rest), 1+random.IntN(64))
				list = append(list, c.ApplyBatch(rest[:n])...)
				rest = rest[n:]
			}
			if answers(list) != wantText {
				t.Error("the answers differ")
			}
			same(t, c)
		})
	}
	t.Run("restored", func(t *testing.T) {
		half, c := newControl(t, nil), newControl(t, nil)
		half.ApplyBatch(logs[:200])
		c.ApplyBatch(logs[:20])
		if err := c.Restore(io.NopCloser(bytes.NewReader(stateOf(t, half)))); err != nil {
			t.Fatal(err)
		}
		c.ApplyBatch(logs[150:])
		same(t, c)
	})
}
