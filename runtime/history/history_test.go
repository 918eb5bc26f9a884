package history

import (
	"errors"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

const now = int64(100 * dayMS)

var errBroken = errors.New("broken")

// subject has a history that is read from the store.
type subject struct {
	nba.Subject
	touches []nba.Touch
	reads   int
	err     error
}

func (s *subject) Touches(fn func(*nba.Touch) bool) error {
	s.reads++
	for i := range s.touches {
		if !fn(&s.touches[i]) {
			break
		}
	}
	return s.err
}

func touch(daysAgo float64, action, channel string, outcome nba.Outcome) nba.Touch {
	return nba.Touch{TimeMS: now - int64(daysAgo*dayMS), Action: action, Channel: channel, Outcome: outcome}
}

func TestQueries(t *testing.T) {
	touches := []nba.Touch{
		touch(1, "plan", "web", nba.Rejected), touch(1.5, "plan", "web", ""), touch(10, "phone", "sms", nba.Accepted),
		touch(10, "phone", "sms", ""), touch(40, "gone", "sms", nba.Accepted), touch(40, "plan", "web", nba.Accepted),
	}
	places := func(action string) (string, string, bool) {
		groups := map[string]string{"plan": "Plans", "phone": "Phones"}
		return "Grow", groups[action], groups[action] != ""
	}
	for _, test := range []struct {
		q    Query
		want float64
		ok   bool
	}{
		{q: Query{}, want: 2, ok: true},
		{q: Query{Outcome: nba.Accepted}, want: 3, ok: true},
		{q: Query{Outcome: nba.Accepted, Within: 10 * 24 * time.Hour}, want: 1, ok: true},
		{q: Query{Outcome: nba.Accepted, Within: 10*24*time.Hour - time.Millisecond}, want: 0, ok: true},
		{q: Query{Outcome: nba.Accepted, Channel: "sms"}, want: 2, ok: true},
		{q: Query{Outcome: nba.Accepted, Action: "plan"}, want: 1, ok: true},
		{q: Query{Outcome: nba.Accepted, Issue: "Grow"}, want: 2, ok: true},
		{q: Query{Outcome: nba.Accepted, Group: "Phones"}, want: 1, ok: true},
		{q: Query{Outcome: nba.Accepted, Group: "Plans", Issue: "Serve"}, want: 0, ok: true},
		{q: Query{Outcome: nba.Accepted, DaysSince: true}, want: 10, ok: true},
		{q: Query{DaysSince: true}, want: 1.5, ok: true},
		{q: Query{Outcome: nba.Dismissed, DaysSince: true}},
		{q: Query{Outcome: nba.Accepted, DaysSince: true, Within: time.Hour}},
	} {
		if got, ok := test.q.Of(touches, now, places); got != test.want || ok != test.ok {
			t.Errorf("%+v: got %v %v, want %v %v", test.q, got, ok, test.want, test.ok)
		}
	}
}

func TestReaderReadsOnce(t *testing.T) {
	s := &subject{touches: []nba.Touch{touch(-1, "later", "web", ""), touch(1, "plan", "web", "")}}
	var r Reader
	r.Reset(s, time.UnixMilli(now))
	for range 3 {
		got, err := r.Touches()
		if err != nil || len(got) != 1 || got[0].Action != "plan" {
			t.Fatalf("got %+v %v: the entry after the moment does not count", got, err)
		}
	}
	if s.reads != 1 || r.NowMS() != now {
		t.Errorf("read %d times", s.reads)
	}
	many := &subject{}
	for range 2 * MaxTouches {
		many.touches = append(many.touches, touch(1, "plan", "web", ""))
	}
	r.Reset(many, time.UnixMilli(now))
	if got, err := r.Touches(); err != nil || len(got) != MaxTouches {
		t.Errorf("read %d: %v", len(got), err)
	}
	r.Reset(&subject{err: errBroken}, time.UnixMilli(now))
	for range 2 {
		if _, err := r.Touches(); !errors.Is(err, errBroken) {
			t.Errorf("got %v", err)
		}
	}
	r.Reset(nil, time.UnixMilli(now))
	if _, err := r.Touches(); err == nil {
		t.Error("a subject without a history can be read")
	}
}
