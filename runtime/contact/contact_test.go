package contact

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

const hour = int64(time.Hour / time.Millisecond)

func place(channel, action string) Place {
	return PlaceOf(channel, "Grow", "Plans", action, nba.Outbound)
}

func entry(decision byte, timeMS, reservedMS int64, p Place) *Entry {
	return &Entry{Decision: [16]byte{decision}, TimeMS: timeMS, ReservedMS: reservedMS, Place: p}
}

func TestLedgerKeepsEntries(t *testing.T) {
	want := Entry{Decision: [16]byte{1, 2, 3}, Position: 7, TimeMS: 1_700_000_000_123, ReservedMS: 5 * hour, Place: place("sms", "a"),
		Outcomes: OutcomesOf(nba.Impression, nba.Rejected), RespondedMS: 12_000}
	l := Ledger(nil).Append(&want)
	if err := l.Check(); err != nil || l.Len() != 1 || len(l) != 1+EntryBytes {
		t.Fatalf("%v, %d entries, %d bytes", err, l.Len(), len(l))
	}
	if got := l.At(0); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, bad := range []Ledger{{0}, {2}, l[:len(l)-1], append(bytes.Clone(l), 0)} {
		if bad.Check() == nil {
			t.Errorf("%d bytes beginning with %d are taken for a ledger", len(bad), bad[0])
		}
	}
}

func TestLimits(t *testing.T) {
	week := Policy{Max: 2, Window: Window{Rolling: 7 * 24 * time.Hour}, Same: PartChannel}
	shown := Policy{Max: 1, Window: Window{Since: Day}, Outcomes: Shown(), Pending: true}
	rejected := Policy{Same: PartAction, Window: Window{Rolling: 30 * 24 * time.Hour}, Outcomes: OutcomesOf(nba.Rejected)}
	begin := time.Date(2026, 11, 20, 8, 0, 0, 0, time.UTC)
	after := func(hours int) time.Time { return begin.Add(time.Duration(hours) * time.Hour) }
	var l Ledger
	reached := func(p *Policy, at Place, now time.Time) bool {
		limit := p.Limit(&at, now)
		return l.Reached(&limit, now.UnixMilli())
	}
	sms, mail := place("sms", "a"), place("email", "a")
	check := func(what string, got, want bool) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %v", what, got)
		}
	}
	check("an empty ledger has room", reached(&week, sms, after(0)), false)
	l = l.Append(entry(1, after(0).UnixMilli(), 4*hour, sms))
	check("one of two", reached(&week, sms, after(1)), false)
	check("a reservation counts as an impression", reached(&shown, sms, after(1)), true)
	check("until it expires", reached(&shown, sms, after(4)), false)
	l = l.Append(entry(2, after(5).UnixMilli(), 0, sms))
	check("two of two", reached(&week, sms, after(6)), true)
	check("another channel", reached(&week, mail, after(6)), false)
	check("the first is a week old", reached(&week, sms, after(7*24)), false)
	if !l.Respond([16]byte{1}, 0, OutcomesOf(nba.Rejected), after(6).UnixMilli()) {
		t.Error("a response to a contact of the ledger is not entered")
	}
	check("a rejection is an impression", reached(&shown, sms, after(7)), true)
	check("of today", reached(&shown, sms, after(24)), false)
	check("a rejection suppresses the action", reached(&rejected, mail, after(29*24)), true)
	check("not another", reached(&rejected, place("sms", "b"), after(29*24)), false)
	check("and not for ever", reached(&rejected, mail, after(31*24)), false)
	if l.Respond([16]byte{1}, 0, OutcomesOf(nba.Rejected), after(8).UnixMilli()) || l.Respond([16]byte{9}, 0, 1, 0) {
		t.Error("a duplicate, or a response to nothing, is entered")
	}
}

// TestNeverMoreThanMax makes contacts at random and holds Reached against counting the contacts of every
// window: whatever comes when, there are never more than Max.
func TestNeverMoreThanMax(t *testing.T) {
	random := rand.New(rand.NewPCG(20261122, 7))
	for range 200 {
		p := Policy{Max: uint16(1 + random.IntN(4)), Window: Window{Rolling: time.Duration(1+random.IntN(48)) * time.Hour}, Same: Parts(random.IntN(32))}
		now := time.UnixMilli(1_700_000_000_000)
		var l Ledger
		made := map[Place][]time.Time{}
		for i := range 300 {
			now = now.Add(time.Duration(random.IntN(int(3 * time.Hour))))
			at := place([]string{"sms", "email"}[random.IntN(2)], []string{"a", "b", "c"}[random.IntN(3)])
			limit := p.Limit(&at, now)
			if l.Reached(&limit, now.UnixMilli()) {
				continue
			}
			l = l.Append(entry(byte(i), now.UnixMilli(), 0, at))
			key := Place(limit.Scope)
			made[key] = append(made[key], now)
			if n := int(p.Max); len(made[key]) > n && made[key][len(made[key])-1-n].After(now.Add(-p.Window.Rolling)) {
				t.Fatalf("%d contacts within %v, and the limit is %d", n+1, p.Window.Rolling, n)
			}
			if random.IntN(10) == 0 {
				l = l.Prune(now.Add(-p.Window.Longest()).UnixMilli())
			}
		}
	}
}

func TestPruneAndBound(t *testing.T) {
	var l Ledger
	for i := range MaxEntries + 10 {
		l = l.Append(entry(byte(i), int64(i)*1000, 0, place("sms", "a")))
	}
	if l.Len() != MaxEntries || l.At(0).TimeMS != 10_000 {
		t.Errorf("%d entries from %d ms on", l.Len(), l.At(0).TimeMS)
	}
	l.Respond(l.At(0).Decision, 0, 1, 600_000)
	l = l.Prune(500_000)
	if l.Len() != 23 || l.At(0).TimeMS != 10_000 {
		t.Errorf("%d entries from %d ms on; the one with a late response stays", l.Len(), l.At(0).TimeMS)
	}
	if l.Prune(1e12) != nil {
		t.Error("an empty ledger has bytes")
	}
}

func TestCalendar(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		unit       Unit
		now, since string
	}{
		{Day, "2026-03-29T12:00:00+02:00", "2026-03-28T23:59:59.999+01:00"}, // the clocks went forward that night
		{Week, "2026-11-22T23:00:00+01:00", "2026-11-15T23:59:59.999+01:00"},
		{Week, "2026-11-23T00:00:00+01:00", "2026-11-22T23:59:59.999+01:00"},
		{Month, "2026-12-31T23:00:00+01:00", "2026-11-30T23:59:59.999+01:00"},
	} {
		now, err := time.Parse(time.RFC3339, c.now)
		if err != nil {
			t.Fatal(err)
		}
		since, err := time.Parse(time.RFC3339Nano, c.since)
		if err != nil {
			t.Fatal(err)
		}
		w := Window{Since: c.unit}
		if got := w.since(now.In(berlin)); !got.Equal(since) {
			t.Errorf("unit %d at %s: since %s, want %s", c.unit, c.now, got, c.since)
		}
		if now.Sub(since) > w.Longest() {
			t.Errorf("unit %d: Longest is too short", c.unit)
		}
	}
}

func TestQuietHours(t *testing.T) {
	night := Quiet{From: 21 * 60, To: 8 * 60, Days: EveryDay}
	weekend := Quiet{From: 22 * 60, To: 10 * 60, Days: 1<<time.Friday | 1<<time.Saturday}
	siesta := Quiet{From: 13 * 60, To: 15 * 60, Days: EveryDay}
	for _, c := range []struct {
		q    Quiet
		at   string
		want bool
	}{
		{night, "2026-11-20 20:59", false}, {night, "2026-11-20 21:00", true}, {night, "2026-11-21 07:59", true}, {night, "2026-11-21 08:00", false},
		{weekend, "2026-11-20 23:00", true}, {weekend, "2026-11-22 09:00", true}, {weekend, "2026-11-22 23:00", false}, {weekend, "2026-11-20 09:00", false},
		{siesta, "2026-11-20 14:00", true}, {siesta, "2026-11-20 15:00", false},
	} {
		at, err := time.Parse("2006-01-02 15:04", c.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.q.At(at); got != c.want {
			t.Errorf("%+v at %s: %v", c.q, c.at, got)
		}
	}
}

// TestSuppressionsKeepFewContacts: what no limit counts is remembered for the responses to come, and
// only so much of it.
func TestSuppressionsKeepFewContacts(t *testing.T) {
	at := place("web", "a")
	suppression := Limit{Outcomes: OutcomesOf(nba.Rejected), SinceMS: -1, Max: 1}
	var l Ledger
	for i := range 3 * MaxIdle {
		var claim Claim
		claim.Add(0, at, hour, []Limit{suppression})
		var ok bool
		if l, _, ok = l.Grant(&claim, [16]byte{byte(i)}, int64(i), 1000*hour); !ok {
			t.Fatalf("contact %d is refused", i)
		}
		if i == 3 {
			l.Respond([16]byte{3}, 0, OutcomesOf(nba.Clicked), 10)
		}
	}
	if l.Len() != MaxIdle+1 || l.At(0).Decision[0] != 3 || l.At(1).Decision[0] != 2*MaxIdle {
		t.Errorf("%d contacts, the first of decision %d: the one with a response and the newest are kept", l.Len(), l.At(0).Decision[0])
	}
	if l.Respond([16]byte{3*MaxIdle - 1}, 0, OutcomesOf(nba.Rejected), 1000); !l.Reached(&suppression, 2000) {
		t.Error("a rejection does not suppress")
	}
}

func FuzzLimit(f *testing.F) {
	limit := Limit{Scope: Scope{Channel: 1, Side: OutboundSide}, Outcomes: 3, Pending: true, SinceMS: -5, Max: 9}
	f.Add(limit.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, rest, ok := DecodeLimit(b)
		if !ok {
			return
		}
		if again := l.Append(nil); !bytes.Equal(append(again, rest...), b) {
			t.Errorf("decoded %+v, which encodes differently", l)
		}
	})
}

func FuzzLedger(f *testing.F) {
	f.Add([]byte(Ledger(nil).Append(entry(1, 2, 3, place("sms", "a")))))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := Ledger(b)
		if l.Check() != nil {
			return
		}
		var again Ledger
		for i := range l.Len() {
			e := l.At(i)
			again = again.Append(&e)
		}
		if again.Len() != l.Len() {
			t.Errorf("%d of %d entries", again.Len(), l.Len())
		}
		limit := Limit{Pending: true, Outcomes: 1}
		l.Used(&limit, 0)
	})
}

func BenchmarkReached(b *testing.B) {
	var l Ledger
	for i := range 30 {
		l = l.Append(entry(byte(i), int64(i), 0, place("sms", "a")))
	}
	limit := Limit{Max: 40, SinceMS: -1}
	b.ReportAllocs()
	for b.Loop() {
		if l.Reached(&limit, 100) {
			b.Fatal("reached")
		}
	}
}

// TestGrantIsAllOrNothing grants a claim of two contacts only when both have room, and the second sees
// the first.
func TestGrantIsAllOrNothing(t *testing.T) {
	at := place("sms", "a")
	limit := Limit{Scope: Scope{Channel: NameOf("sms")}, Max: 1, SinceMS: -1}
	var claim Claim
	claim.Add(0, at, hour, []Limit{limit})
	claim.Add(3, place("sms", "b"), 0, nil)
	l, _, ok := Ledger(nil).Grant(&claim, [16]byte{5}, 1000, hour)
	if !ok || l.Len() != 2 || l.At(0).ReservedMS != hour || l.At(1).Position != 3 || l.At(1).Decision != [16]byte{5} {
		t.Fatalf("granted %v: %d entries", ok, l.Len())
	}
	before := bytes.Clone(l)
	claim.Reset()
	claim.Add(0, place("web", "c"), 0, nil)
	claim.Add(1, at, 0, []Limit{limit})
	if next, refused, ok := l.Grant(&claim, [16]byte{6}, 2000, hour); ok || refused != 1 || !bytes.Equal(next, before) {
		t.Errorf("granted %v, position %d refused, %d entries", ok, refused, next.Len())
	}
	if l, _, ok := l.Grant(&claim, [16]byte{6}, 2000+2*hour, hour); !ok || l.Len() != 2 {
		t.Errorf("contacts that are too old still count: %v, %d entries", ok, l.Len())
	}
}

func FuzzClaim(f *testing.F) {
	var claim Claim
	claim.Add(0, place("sms", "a"), hour, []Limit{{Max: 1}, {Max: 2, Pending: true, Outcomes: 1}})
	claim.Add(1, place("web", "b"), 0, nil)
	f.Add(claim.Append(nil))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var c, again Claim
		if _, err := c.Decode(b); err != nil {
			return
		}
		encoded := c.Append(nil)
		if rest, err := again.Decode(encoded); err != nil || len(rest) != 0 || !bytes.Equal(again.Append(nil), encoded) {
			t.Errorf("%v, %d bytes are left", err, len(rest))
		}
		if _, _, ok := Ledger(nil).Grant(&c, [16]byte{}, 0, 0); !ok && c.Empty() {
			t.Error("an empty claim is refused")
		}
	})
}
