package fsm

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// aged is a decision whose id and record have the time ms.
func aged(ms int64, n byte, subject string, keep int) *command.Decision {
	d := decision(n, subject, "x", "y")
	id := ulid.ULID{15: n}
	_ = id.SetTime(uint64(ms))
	d.ID, d.Time, d.Keep = id.String(), time.UnixMilli(ms), keep
	return d
}

func respond(d *command.Decision, action string, outcome nba.Outcome, ms int64) *command.Response {
	return &command.Response{DecisionID: d.ID, Action: action, Outcome: outcome, Time: time.UnixMilli(ms)}
}

// held lists the times of the decisions of a subject, and how many responses and what count it has.
func held(t *testing.T, d *Data, subject string) (times []int64, responses, count int) {
	t.Helper()
	r, err := d.Store().Acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	k := key(subject)
	r.Scan(store.History, k, func(entry, value []byte) bool {
		if len(entry) == len(k) {
			count, _ = parseCount(value)
			return true
		}
		switch h, ok := ParseHistoryKey(entry, len(k)); {
		case !ok:
			t.Errorf("a key of %d bytes in the history", len(entry))
		case r.Get(store.Decisions, h.Decision[:]) == nil:
			t.Error("the history has a decision that is gone")
		case h.Kind == HistoryDecision:
			times = append(times, h.TimeMS)
		default:
			responses++
		}
		return true
	})
	return times, responses, count
}

func TestNewDecisionsDisplaceTheOldest(t *testing.T) {
	d := newData(t)
	do(t, d, &command.Put{Key: key("a"), Record: rec(t, 0, 0)})
	do(t, d, &command.Put{Key: key("b"), Record: rec(t, 0, 0)})
	do(t, d, aged(5, 99, "b", 1))
	for n := byte(1); n <= 6; n++ {
		made := aged(int64(n)*10, n, "a", 4)
		do(t, d, made)
		for _, outcome := range []nba.Outcome{nba.Impression, nba.Clicked} {
			// Some responses are older than every decision, some newer than all.
			if got := do(t, d, respond(made, "y", outcome, []int64{1, 1000}[n%2])); got.Err != nil {
				t.Fatal(got.Err)
			}
		}
	}
	times, responses, count := held(t, d, "a")
	if !slices.Equal(times, []int64{30, 40, 50, 60}) || responses != 8 || count != 4 {
		t.Errorf("got decisions %v, %d responses, count %d", times, responses, count)
	}
	// A lower bound is reached step by step, so that no operation has much to do; 0 is no bound.
	do(t, d, aged(70, 7, "a", 2))
	do(t, d, aged(80, 8, "a", 0))
	if times, _, count := held(t, d, "a"); !slices.Equal(times, []int64{60, 70, 80}) || count != 3 {
		t.Errorf("got decisions %v, count %d", times, count)
	}
	if times, _, count := held(t, d, "b"); !slices.Equal(times, []int64{5}) || count != 1 {
		t.Errorf("the other subject has decisions %v, count %d", times, count)
	}
	if got := do(t, d, respond(aged(10, 1, "a", 0), "x", nba.Clicked, 5)); nba.CodeOf(got.Err) != nba.CodeDecisionUnknown {
		t.Errorf("a response to a displaced decision: got %v", got.Err)
	}
	do(t, d, &command.Delete{Key: key("a")})
	if n := keys(t, d, store.Decisions); n != 1 {
		t.Errorf("%d decisions are left", n)
	}
	if err := d.Verify(); err != nil {
		t.Error(err)
	}
}

func TestExpire(t *testing.T) {
	d := newData(t)
	for s := range 3 {
		do(t, d, &command.Put{Key: key(fmt.Sprint(s)), Record: rec(t, 0, 0)})
	}
	for n := byte(0); n < 30; n++ {
		made := aged(int64(n)*10, n, fmt.Sprint(n%3), 0)
		do(t, d, made)
		do(t, d, respond(made, "x", nba.Accepted, 3))
	}
	for i, want := range []Expiry{{Decisions: 4, More: true}, {Decisions: 4, More: true}, {Decisions: 2}, {}} {
		if due, err := d.Due(100, 0); err != nil || due != (want.Decisions > 0) {
			t.Errorf("before step %d: due %v, %v", i, due, err)
		}
		if got := do(t, d, &command.Expire{BeforeMS: 100, Limit: 4}); got.Value != want {
			t.Errorf("step %d: got %+v, want %+v", i, got.Value, want)
		}
	}
	for s := range 3 {
		times, responses, count := held(t, d, fmt.Sprint(s))
		if want := []int{6, 7, 7}[s]; len(times) != want || responses != want || count != want || times[0] < 100 {
			t.Errorf("subject %d: decisions %v, %d responses, count %d", s, times, responses, count)
		}
	}
	if got := do(t, d, &command.Expire{BeforeMS: 1 << 50, Limit: 1000}); got.Value != (Expiry{Decisions: 20}) {
		t.Errorf("got %+v", got.Value)
	}
	if n := keys(t, d, store.History); n != 0 {
		t.Errorf("the history has %d keys", n)
	}
	r, err := d.Store().Acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Release()
	r.Scan(store.History, nil, func(_, _ []byte) bool { t.Error("a count is left"); return true })
	if err := d.Verify(); err != nil {
		t.Error(err)
	}
}

// TestHistoriesWithoutACount: the first release did not count.
func TestHistoriesWithoutACount(t *testing.T) {
	d := newData(t)
	do(t, d, &command.Put{Key: key("a"), Record: rec(t, 0, 0)})
	for n := byte(1); n <= 3; n++ {
		do(t, d, aged(int64(n), n, "a", 0))
	}
	u := func(tx *store.Tx) error { return tx.Delete(store.History, key("a")) }
	if err := d.Store().Update(u); err != nil {
		t.Fatal(err)
	}
	do(t, d, &command.Expire{BeforeMS: 2, Limit: 10})
	if times, _, count := held(t, d, "a"); len(times) != 2 || count != 0 {
		t.Errorf("got decisions %v, count %d", times, count)
	}
	do(t, d, aged(4, 4, "a", 2))
	if times, _, count := held(t, d, "a"); !slices.Equal(times, []int64{3, 4}) || count != 2 {
		t.Errorf("got decisions %v, count %d", times, count)
	}
}
