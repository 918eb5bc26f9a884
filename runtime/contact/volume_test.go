package contact

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// TestPeriods: a period begins and ends by the calendar of its zone, also where the clocks change.
func TestPeriods(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		per             Unit
		now, start, end string
	}{
		{Day, "2026-11-22T22:59:59Z", "2026-11-21T23:00:00Z", "2026-11-22T23:00:00Z"},
		{Day, "2026-11-22T23:00:00Z", "2026-11-22T23:00:00Z", "2026-11-23T23:00:00Z"},
		{Day, "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"}, // 23 hours
		{Day, "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"}, // 25 hours
		{Week, "2026-11-22T12:00:00Z", "2026-11-15T23:00:00Z", "2026-11-22T23:00:00Z"},
		{Month, "2026-12-31T23:30:00Z", "2026-12-31T23:00:00Z", "2027-01-31T23:00:00Z"},
	} {
		at := func(text string) time.Time {
			parsed, err := time.Parse(time.RFC3339, text)
			if err != nil {
				t.Fatal(err)
			}
			return parsed
		}
		v := Volume{Per: c.per, Zone: berlin}
		if got := v.Period(at(c.now)); got != (Period{at(c.start).UnixMilli(), at(c.end).UnixMilli()}) {
			t.Errorf("unit %d at %s: %v to %v", c.per, c.now, time.UnixMilli(got.StartMS).UTC(), time.UnixMilli(got.EndMS).UTC())
		}
	}
	total := Volume{}
	if p := total.Period(time.Now()); p.StartMS != 0 || p.EndMS <= time.Now().UnixMilli() {
		t.Errorf("the one period of a total is %v", p)
	}
}

func TestChargesAndLeasesTravel(t *testing.T) {
	charges := []Charge{{"a/day", 5}, {"b/total", 0}}
	encoded := AppendCharges(nil, charges)
	if got, err := DecodeCharges(nil, encoded); err != nil || !slices.Equal(got, charges) {
		t.Errorf("%v, %v", got, err)
	}
	for cut := range encoded {
		if _, err := DecodeCharges(nil, encoded[:cut]); err == nil {
			t.Errorf("the first %d bytes are taken for the whole", cut)
		}
	}
	lease := Lease{Granted: 300, Returned: 20, Used: 200, EndMS: 7, UsedMS: 3}
	encoded = lease.Append(nil)
	if got, err := DecodeLease(encoded); err != nil || got != lease || got.Left() != 80 {
		t.Errorf("%+v, %v", got, err)
	}
	for cut := range encoded {
		if _, err := DecodeLease(encoded[:cut]); err == nil {
			t.Errorf("the first %d bytes are taken for the whole", cut)
		}
	}
}

func FuzzCharges(f *testing.F) {
	f.Add(AppendCharges(nil, []Charge{{"a/day", 5}}))
	f.Add((&Lease{Granted: 3}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if charges, err := DecodeCharges(nil, b); err == nil {
			if again, err := DecodeCharges(nil, AppendCharges(nil, charges)); err != nil || !slices.Equal(again, charges) {
				t.Errorf("%v becomes %v, %v", charges, again, err)
			}
		}
		if lease, err := DecodeLease(b); err == nil {
			if again, err := DecodeLease(lease.Append(nil)); err != nil || again != lease {
				t.Errorf("%+v becomes %+v, %v", lease, again, err)
			}
		}
	})
}

// TestBudgetIsParted: parts get smaller, all of it is given, and never more is out than there is.
func TestBudgetIsParted(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		b := Budget{Max: random.Uint64N(5000), Version: 1}
		have, last := make([]uint64, 5), uint64(0)
		for b.Out() < b.Max {
			g := random.Uint64N(5)
			granted := b.Grant(g, have[g], 5)
			part := granted - have[g]
			if part == 0 || last > 0 && part > last {
				t.Fatalf("a part of %d after one of %d", part, last)
			}
			have[g], last = granted, part
			if again := b.Grant(g, have[g]-part, 5); again != granted {
				t.Fatal("what was not heard of is not told again")
			}
		}
		if b.Out() != b.Max || last > 1 {
			t.Fatalf("%d of %d are out, the last part was %d", b.Out(), b.Max, last)
		}
		if b.Grant(0, have[0], 5) != have[0] || b.Max > 0 && !b.Wanted {
			t.Fatal("more than there is")
		}
		b.Return(1, 3)
		b.Return(1, 2) // it comes late
		if got := b.Grant(0, have[0], 5) - have[0]; have[1] >= 3 && got != 1 {
			t.Fatalf("%d granted of 3 that were given back", got)
		}
	}
}

// TestStandings: how many count, how many are reserved, when there is room again.
func TestStandings(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	at := func(ago time.Duration) int64 { return now.Add(-ago).UnixMilli() }
	var l Ledger
	l = l.Append(&Entry{TimeMS: at(50 * time.Hour), Place: place("sms", "a"), Outcomes: OutcomesOf(nba.Impression)})
	l = l.Append(&Entry{TimeMS: at(time.Hour), ReservedMS: 5 * hour, Place: place("sms", "b")})
	l = l.Append(&Entry{TimeMS: at(2 * time.Hour), Place: place("email", "a"), Outcomes: OutcomesOf(nba.Rejected), RespondedMS: hour})
	limit := Policy{Name: "l", Max: 2, Window: Window{Rolling: 72 * time.Hour}, Outcomes: Shown(), Pending: true}
	got := limit.Standings(l, now)
	if len(got) != 1 || got[0].Used != 3 || got[0].Reserved != 1 || !got[0].Reached || got[0].FreeMS != at(-22*time.Hour) {
		t.Errorf("a limit over all: %+v, free in %v", got, time.UnixMilli(got[0].FreeMS).Sub(now))
	}
	each := Policy{Name: "e", Max: 1, Window: Window{Since: Day}, Same: PartAction}
	if got = each.Standings(l, now); len(got) != 2 || got[0].Used != 1 || got[0].Scope.Action != NameOf("a") || got[0].FreeMS != at(-12*time.Hour) {
		t.Errorf("each action once a day: %+v", got)
	}
	no := Policy{Name: "n", Max: 1, Window: Window{Rolling: 30 * 24 * time.Hour}, Same: PartAction, Outcomes: OutcomesOf(nba.Rejected)}
	if got = no.Standings(l, now); len(got) != 1 || !got[0].Reached || got[0].FreeMS != at(time.Hour)+30*24*hour {
		t.Errorf("what was rejected: %+v", got)
	}
	night := Policy{Name: "q", Quiet: &Quiet{From: 11 * 60, To: 13 * 60, Days: EveryDay}}
	if got = night.Standings(l, now); len(got) != 1 || !got[0].Reached {
		t.Errorf("quiet hours: %+v", got)
	}
}

// TestReleaseAndWithout: a released contact counts only with an outcome, and one that never was is gone.
func TestReleaseAndWithout(t *testing.T) {
	now := int64(1_700_000_000_000)
	limit := Limit{Max: 2, Outcomes: Shown(), Pending: true}
	l := Ledger(nil).Append(entry(1, now, 5*hour, place("sms", "a"))).Append(entry(2, now, 5*hour, place("sms", "a")))
	if !l.Release([16]byte{1}) || l.Release([16]byte{1}) || l.Release([16]byte{9}) || l.Used(&limit, now+1) != 1 {
		t.Errorf("%d count after one was released", l.Used(&limit, now+1))
	}
	if !l.Respond([16]byte{1}, 0, OutcomesOf(nba.Clicked), now+hour) || l.Used(&limit, now+2*hour) != 2 {
		t.Error("a late report does not count")
	}
	if !l.Holds([16]byte{2}) {
		t.Error("a contact is not found")
	}
	if l = l.Without([16]byte{2}); l.Len() != 1 || l.Holds([16]byte{2}) || l.Without([16]byte{1}) != nil {
		t.Errorf("%d contacts are left", l.Len())
	}
}
