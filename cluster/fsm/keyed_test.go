package fsm

import (
	"testing"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func doAt(t *testing.T, d *Data, ms int64, op operation) Result {
	t.Helper()
	answer, ok := d.Apply(entryAt(t, d.Position().Index+1, ms, op)).(Results)
	if !ok {
		t.Fatal(d.Err())
	}
	return answer[0]
}

func TestKeyedOperations(t *testing.T) {
	d := newData(t)
	put := &command.Put{Key: key("a"), Record: rec(t, 0, 0)}
	guarded := &command.Put{Key: key("a"), Record: rec(t, 0, 0), HasIf: true, IfVersion: 9}
	first, second := decision(1, "a", "x"), decision(2, "a", "x")
	accepted := respond(first, "x", nba.Accepted, 5)
	for _, step := range []struct {
		name        string
		ms          int64
		id, request byte
		op          operation
		code        nba.Code
		version     uint64
		flags       string // created, duplicate, replayed
		decision    string
	}{
		{"put", 0, 1, 1, put, "", 1, "c", ""},
		{"put again", 10, 1, 1, put, "", 1, "cr", ""},
		{"the key with another request", 20, 1, 2, put, nba.CodeKeyReused, 0, "", ""},
		{"another key", 30, 2, 1, put, "", 2, "", ""},
		{"refused", 40, 3, 1, guarded, nba.CodePrecondition, 0, "", ""},
		{"a refusal is not kept", 50, 3, 2, put, "", 3, "", ""},
		{"a decision", 60, 4, 1, first, "", 0, "", first.ID},
		{"another decision for the same request", 70, 4, 1, second, "", 0, "r", first.ID},
		{"a response", 80, 5, 1, accepted, "", 0, "", ""},
		{"the response again", 90, 5, 1, accepted, "", 0, "r", ""},
		{"the response under another key", 90, 6, 1, accepted, "", 0, "d", ""},
		{"and that again", 90, 6, 1, accepted, "", 0, "dr", ""},
		{"put just before the key runs out", 99, 1, 1, put, "", 1, "cr", ""},
		{"put after it ran out", 100, 1, 1, put, "", 4, "", ""},
		{"delete", 110, 7, 1, &command.Delete{Key: key("a")}, "", 4, "", ""},
		{"delete again", 120, 7, 1, &command.Delete{Key: key("a")}, "", 4, "r", ""},
		{"the decision that was deleted", 130, 4, 1, second, "", 0, "r", first.ID},
	} {
		got := doAt(t, d, testMS+step.ms, keyed(t, step.id, step.request, 100, step.op))
		flags := ""
		for flag, on := range map[string]bool{"c": got.Created, "d": got.Duplicate, "r": got.Replayed} {
			if on {
				flags += flag
			}
		}
		if flags == "rc" || flags == "rd" {
			flags = string(flags[1]) + "r"
		}
		id := ""
		if got.Decision != (Result{}.Decision) {
			id = got.Decision.String()
		}
		if nba.CodeOf(got.Err) != step.code || got.Version != step.version || flags != step.flags || id != step.decision {
			t.Errorf("%s: got %q, version %d, %q, decision %s; want %+v", step.name, nba.CodeOf(got.Err), got.Version, flags, id, step)
		}
	}
	if n, due := keys(t, d, store.Idempotency), keys(t, d, store.Due); n != 7 || due != 7 {
		t.Errorf("%d keys are kept, %d of them due", n, due)
	}
	if e, ok, err := d.Keyed([16]byte{4}, testMS+159); !ok || err != nil || e.Result.Decision.String() != first.ID || !e.Result.Replayed {
		t.Errorf("looked up: %+v %v %v", e, ok, err)
	}
	if _, ok, err := d.Keyed([16]byte{4}, testMS+160); ok || err != nil {
		t.Errorf("looked up when it ran out: %v %v", ok, err)
	}
	if due, err := d.Due(0, testMS+131); err != nil || !due {
		t.Errorf("due: %v %v", due, err)
	}
	for _, want := range []Expiry{{Keys: 2, More: true}, {Keys: 2}, {}} {
		if got := do(t, d, &command.Expire{KeysMS: testMS + 180, Limit: 2}); got.Value != want {
			t.Errorf("got %+v, want %+v", got.Value, want)
		}
	}
	if n, due := keys(t, d, store.Idempotency), keys(t, d, store.Due); n != due || n != 3 {
		t.Errorf("%d keys are kept, %d of them due", n, due)
	}
	if err := d.Verify(); err != nil {
		t.Error(err)
	}
}

// TestKeyedInOneBatch: the second of two equal requests in one transaction sees the first.
func TestKeyedInOneBatch(t *testing.T) {
	d := newData(t)
	put := keyed(t, 1, 1, 100, &command.Put{Key: key("a"), Record: rec(t, 0, 0)})
	for i, answer := range d.ApplyBatch([]*raft.Log{entry(t, 2, put, put), entry(t, 3, put)}) {
		for j, got := range answer.(Results) {
			if got.Version != 1 || !got.Created || got.Replayed != (i+j > 0) {
				t.Errorf("entry %d operation %d: got %+v", i, j, got)
			}
		}
	}
}

func FuzzKeyedEntry(f *testing.F) {
	for _, e := range []KeyedEntry{
		{Kind: command.SubjectPut, ExpiresMS: 5, Result: Result{Version: 300, Created: true}},
		{Kind: command.DecisionRecorded, ExpiresMS: -1, Result: Result{Duplicate: true}},
	} {
		f.Add(e.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := OpenKeyedEntry(b)
		if err != nil {
			return
		}
		again, err := OpenKeyedEntry(e.append(nil))
		if err != nil || again != e {
			t.Fatalf("%+v became %+v, %v", e, again, err)
		}
	})
}
