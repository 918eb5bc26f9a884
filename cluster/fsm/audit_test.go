package fsm

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/auth"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// by puts an operation under an attribution.
func by(t *testing.T, name string, op operation) *command.AttributedOp {
	t.Helper()
	encoded, err := op.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &command.AttributedOp{
		By: command.Attribution{Actor: auth.Principal{Kind: auth.KindKey, ID: "k1", Name: name}, Action: "test", Object: "/v1/test"}, Op: encoded,
	}
}

func newAPIKey(t *testing.T, name string, roles ...auth.Role) auth.Key {
	t.Helper()
	token, err := auth.NewToken(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return auth.Key{ID: token.ID, Name: name, Roles: roles, Hash: token.Hash()}
}

func TestChangesAreOnRecord(t *testing.T) {
	c := newControl(t, nil)
	do(t, c, by(t, "Ann", &command.DeclareAttributes{Attributes: []nba.AttributeDeclaration{{Name: "tenure", Type: nba.KindInt}}}))
	do(t, c, by(t, "Ann", &command.DeclareAttributes{Attributes: []nba.AttributeDeclaration{{Name: "tenure", Type: nba.KindInt}}})) // changes nothing
	do(t, c, &command.DeclareAttributes{Attributes: []nba.AttributeDeclaration{{Name: "plan", Type: nba.KindString}}})              // the node itself
	first := newAPIKey(t, "first", auth.Admin)
	if got := do(t, c, by(t, "Bob", &command.CreateKey{Key: first, Founding: true})); got.Err != nil {
		t.Fatal(got.Err)
	}
	if got := do(t, c, by(t, "Eve", &command.CreateKey{Key: newAPIKey(t, "second", auth.Admin), Founding: true})); nba.CodeOf(got.Err) != nba.CodeConflict {
		t.Errorf("founding twice: %v", got.Err)
	}
	retention := c.State().Retention
	retention.MaxAgeDays = 30
	do(t, c, by(t, "Bob", &command.SetRetention{Retention: retention}))

	check := func(c *Control) {
		t.Helper()
		records, head, err := c.Audit(0, 10)
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		previous := ""
		for i, r := range records {
			hash, err := r.Chain()
			if err != nil || hash != r.Hash || r.Previous != previous || r.Seq != uint64(i+1) {
				t.Errorf("record %d is not in the chain: %v, hash %s, previous %s", i, err, hash, previous)
			}
			previous = r.Hash
			for _, change := range r.Changes {
				lines = append(lines, r.Actor.Name+": "+change.Fact)
			}
		}
		if got, want := strings.Join(lines, "; "), "Ann: attribute tenure; Bob: key "+first.ID+"; Bob: retention"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if head.Seq != 3 || head.Hash != previous {
			t.Errorf("the chain ends at %+v", head)
		}
		if last := records[2].Changes[0]; !strings.Contains(last.Before, ":400") || !strings.Contains(last.After, ":30") {
			t.Errorf("from %s to %s", last.Before, last.After)
		}
		if raw := records[1].Changes[0].After; strings.Contains(raw, "hash") {
			t.Errorf("the record of a key tells more than a view: %s", raw)
		}
		some, _, err := c.Audit(1, 1)
		if err != nil || len(some) != 1 || some[0].Seq != 2 {
			t.Errorf("a page: %+v, %v", some, err)
		}
	}
	check(c)
	again, err := NewControl(c.Store(), nil)
	if err != nil {
		t.Fatal(err)
	}
	check(again)
	if _, ok := again.State().Keys.Get(first.ID); !ok || !again.State().Keys.Founded {
		t.Error("the key is gone after opening again")
	}
	if got := do(t, again, by(t, "Bob", &command.RevokeKey{ID: first.ID})); nba.CodeOf(got.Err) != nba.CodeConflict {
		t.Errorf("the last admin's key was revoked: %v", got.Err)
	}
}

// TestRecordsTellTampering: whoever changes a record breaks the chain.
func TestRecordsTellTampering(t *testing.T) {
	r := AuditRecord{Seq: 1, Changes: []Change{{Fact: "retention", Before: "a", After: "b"}}}
	honest, err := r.Chain()
	if err != nil {
		t.Fatal(err)
	}
	r.Changes[0].Before = "c"
	if forged, err := r.Chain(); err != nil || forged == honest {
		t.Errorf("another record, the same hash: %v", err)
	}
}
