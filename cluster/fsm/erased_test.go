package fsm

import (
	"testing"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
)

// TestErasedDecisionsAreNoted: the ids of decisions that went with their subject are known until the
// decisions would have been removed, and not at all by an operation of an earlier level.
func TestErasedDecisionsAreNoted(t *testing.T) {
	for _, note := range []bool{true, false} {
		d := newData(t)
		var made []*command.Decision
		for _, subject := range []string{"a", "b"} {
			do(t, d, &command.Put{Key: key(subject), Record: rec(t, 0, 0)})
			for n := byte(1); n <= 3; n++ {
				made = append(made, aged(int64(n)*100, n+10*subject[0], subject, 0))
				do(t, d, made[len(made)-1])
			}
		}
		do(t, d, &command.Delete{Key: key("a"), Note: note})
		erased := func() (n int) {
			r, err := d.Store().Acquire()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Release()
			for i, decision := range made {
				if Erased(r, ulid.MustParseStrict(decision.ID)) {
					if n++; i >= 3 {
						t.Error("a decision of another subject is erased")
					}
				}
			}
			return n
		}
		want := 0
		if note {
			want = 3
		}
		if got := erased(); got != want || keys(t, d, store.Decisions) != 3 {
			t.Errorf("note %v: %d decisions are noted, want %d", note, got, want)
		}
		if due, err := d.Due(150, 0); err != nil || !due {
			t.Errorf("nothing is due: %v", err)
		}
		do(t, d, &command.Expire{BeforeMS: 150, Limit: 100})
		if got := erased(); got != max(want-1, 0) {
			t.Errorf("note %v: %d decisions are noted after one expired", note, got)
		}
		do(t, d, &command.Expire{BeforeMS: 1000, Limit: 100})
		if due, err := d.Due(1000, 0); err != nil || due || erased() != 0 || keys(t, d, store.Due) != 0 {
			t.Errorf("note %v: something is left: %v", note, err)
		}
	}
}
