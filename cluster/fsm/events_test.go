package fsm

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// event makes an event of a subject that sets attributes.
func event(t testing.TB, id, subject string, ms int64, attrs ...record.Attr) command.AppliedEvent {
	t.Helper()
	e := nba.Event{ID: id, Source: "test", Type: "happened", Data: []byte(`{"n":1}`)}
	out := command.AppliedEvent{Hash: command.EventHash(e.Source, e.ID), Key: key(subject), TimeMS: ms, ReceivedMS: testMS, Record: command.AppendEvent(nil, &e)}
	if len(attrs) > 0 {
		body := command.AppendAttributes(nil, command.SetAttributes{Set: rec(t, 0, 0, attrs...)})
		out.Effects = out.Effects.Put(command.EffectAttributes, body)
	}
	return out
}

func forget(seen, kept int64) *command.ForgetEvents {
	return &command.ForgetEvents{SeenMS: seen, KeptMS: kept, LettersMS: math.MinInt64, Limit: 10}
}

func outcomes(t testing.TB, r Result) string {
	t.Helper()
	if r.Err != nil {
		return string(nba.CodeOf(r.Err))
	}
	var out []string
	applied, _ := r.Value.(AppliedEvents)
	for _, o := range applied.Outcomes {
		switch {
		case o.Code != "":
			out = append(out, string(o.Code))
		case o.Duplicate:
			out = append(out, fmt.Sprint("=", o.Number))
		default:
			out = append(out, fmt.Sprint(o.Number))
		}
	}
	return strings.Join(out, " ")
}

// eventOperation is one of those on events, at random.
func eventOperation(t testing.TB, random *rand.Rand, subject string) operation {
	switch random.IntN(8) {
	case 0:
		return &command.ApplyEvents{Forget: &command.ForgetEvents{SeenMS: testMS + random.Int64N(200), KeptMS: testMS + random.Int64N(300), MaxKept: random.Uint64N(60),
			LettersMS: testMS + random.Int64N(20), MaxLetters: random.Uint64N(20), Limit: 1 + random.Uint32N(3)}}
	case 1:
		return &command.RemoveLetters{Numbers: []uint64{random.Uint64N(40), random.Uint64N(40)}}
	case 2:
		return &command.NoteStreams{Steps: []command.StreamStep{{Stream: "a", From: random.Uint64N(3), Next: 2 + random.Uint64N(3)}}}
	}
	op := &command.ApplyEvents{}
	if random.IntN(4) == 0 {
		op.Step = command.StreamStep{Stream: "b", From: random.Uint64N(6), Next: 5 + random.Uint64N(4)}
	}
	for range random.IntN(5) {
		e := event(t, fmt.Sprint(random.IntN(150)), fmt.Sprint("s", random.IntN(12)), testMS+random.Int64N(50), attr(nba.AttributeID(random.IntN(4)), random.Int64N(9)))
		e.ReceivedMS = testMS + random.Int64N(300)
		op.Events = append(op.Events, e)
	}
	if random.IntN(3) == 0 {
		op.Letters = append(op.Letters, command.Letter{ReceivedMS: testMS + random.Int64N(30), Code: nba.CodeInvalid, Reason: "r", Raw: true, Body: []byte("{}"), Key: key(subject)})
	}
	return op
}

func TestEventsAreAppliedOnce(t *testing.T) {
	d := newData(t)
	do(t, d, &command.Put{Key: key("a"), Record: rec(t, 0, 0, attr(1, 1))})
	first := &command.ApplyEvents{Events: []command.AppliedEvent{
		event(t, "1", "a", 10, attr(1, 7)), event(t, "1", "a", 10, attr(1, 8)), event(t, "2", "none", 10), event(t, "3", "a", 20, attr(2, 5)),
	}}
	if got := outcomes(t, do(t, d, first)); got != "0 =0 SUBJECT_UNKNOWN 3" {
		t.Errorf("got %s", got)
	}
	if got, _ := read(t, d, "a"); got != "v3 +0 -0 1=7 2=5" {
		t.Errorf("the subject is %s", got)
	}
	if got := outcomes(t, do(t, d, first)); got != "=0 =0 SUBJECT_UNKNOWN =3" {
		t.Errorf("again: got %s", got)
	}
	if got, _ := read(t, d, "a"); got != "v3 +0 -0 1=7 2=5" {
		t.Errorf("again: the subject is %s", got)
	}
	letters, _, err := d.LettersFrom(0, 10, 1<<20)
	if err != nil || len(letters) != 2 {
		t.Fatalf("letters: %v, %v", letters, err)
	}
	l, err := command.DecodeLetter(letters[0].Letter)
	if err != nil || l.Code != nba.CodeSubjectUnknown || string(l.Key) != string(key("none")) {
		t.Errorf("got %+v, %v", l, err)
	}
	// The subject comes to be, and the event with it.
	do(t, d, &command.Put{Key: key("none"), Record: rec(t, 0, 0)})
	if got := outcomes(t, do(t, d, first)); got != "=0 =0 6 =3" {
		t.Errorf("with its subject: got %s", got)
	}
}

// TestOutOfOrder: what a later event set stays, and what it did not set is taken from an earlier one.
func TestOutOfOrder(t *testing.T) {
	d := newData(t)
	do(t, d, &command.Put{Key: key("a"), Record: rec(t, 0, 0)})
	unset := command.AppendAttributes(nil, command.SetAttributes{Unset: []nba.AttributeID{1, 3}, Set: rec(t, 0, 0)})
	gone := event(t, "4", "a", 25)
	gone.Effects = gone.Effects.Put(command.EffectAttributes, unset)
	for _, c := range []struct {
		event command.AppliedEvent
		want  string
	}{
		{event(t, "1", "a", 20, attr(1, 20)), "v2 +0 -0 1=20"},
		{event(t, "2", "a", 10, attr(1, 10), attr(2, 10)), "v3 +0 -0 1=20 2=10"},
		{event(t, "3", "a", 20, attr(1, 21)), "v4 +0 -0 1=21 2=10"},
		{gone, "v5 +0 -0 2=10"},
		{event(t, "5", "a", 24, attr(1, 24), attr(3, 24)), "v5 +0 -0 2=10"},
		{event(t, "6", "a", 30, attr(2, 10)), "v5 +0 -0 2=10"},
		{event(t, "7", "a", 29, attr(2, 29)), "v5 +0 -0 2=10"},
	} {
		do(t, d, &command.ApplyEvents{Events: []command.AppliedEvent{c.event}})
		if got, _ := read(t, d, "a"); got != c.want {
			t.Errorf("after %d: got %s, want %s", c.event.TimeMS, got, c.want)
		}
	}
}

func TestStreams(t *testing.T) {
	d := newData(t)
	do(t, d, &command.Put{Key: key("a"), Record: rec(t, 0, 0)})
	step := func(from, next uint64, id string) string {
		r := do(t, d, &command.ApplyEvents{Step: command.StreamStep{Stream: "topic/0", From: from, Next: next}, Events: []command.AppliedEvent{event(t, id, "a", 1)},
			Letters: []command.Letter{{Raw: true, Code: nba.CodeInvalid}}})
		if r.Duplicate {
			return "done"
		}
		return outcomes(t, r)
	}
	for i, c := range []struct {
		from, next uint64
		id, want   string
	}{
		{0, 5, "1", "0"}, {0, 5, "1", "done"}, {0, 3, "2", "done"}, {5, 7, "2", "1"}, {5, 8, "3", "CONFLICT"}, {9, 10, "3", "CONFLICT"}, {7, 8, "3", "2"},
	} {
		if got := step(c.from, c.next, c.id); got != c.want {
			t.Errorf("step %d: got %s, want %s", i, got, c.want)
		}
	}
	if r := do(t, d, &command.NoteStreams{Steps: []command.StreamStep{{Stream: "topic/0", From: 8, Next: 20}, {Stream: "topic/1", From: 1, Next: 2}, {Stream: "topic/2", Next: 9}}}); r.Version != 2 {
		t.Errorf("%d steps were made", r.Version)
	}
	for stream, want := range map[string]uint64{"topic/0": 20, "topic/1": 0, "topic/2": 9} {
		if got, err := d.StreamCursor(stream); got != want || err != nil {
			t.Errorf("%s is at %d, want %d, %v", stream, got, want, err)
		}
	}
	if letters, _, _ := d.LettersFrom(0, 10, 1<<20); len(letters) != 3 {
		t.Errorf("%d letters, want those of the 3 batches that were applied", len(letters))
	}
}

// TestEventsAreForgotten: first they cannot be read any more, then they are not recognized either.
func TestEventsAreForgotten(t *testing.T) {
	d := newData(t)
	do(t, d, &command.Put{Key: key("a"), Record: rec(t, 0, 0)})
	at := func(ms int64, op operation) Result {
		return d.Apply(entryAt(t, d.Position().Index+1, ms, op)).(Results)[0]
	}
	for i := range 6 {
		at(testMS+int64(i), &command.ApplyEvents{Events: []command.AppliedEvent{event(t, fmt.Sprint(i, "x"), "a", 1), event(t, fmt.Sprint(i, "y"), "a", 1)}})
	}
	list := func() string {
		events, next, err := d.EventsFrom(0, 100, 1<<20)
		if err != nil || next != 12 {
			t.Fatal(next, err)
		}
		var ids []string
		for _, e := range events {
			kept, _, _ := command.NextKept(e.Kept)
			full, err := kept.Event()
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, full.ID)
		}
		return strings.Join(ids, " ")
	}
	if got := list(); got != "0x 0y 1x 1y 2x 2y 3x 3y 4x 4y 5x 5y" {
		t.Errorf("got %s", got)
	}
	f := forget(testMS+2, testMS+4)
	if due, err := d.EventsDue(f); !due || err != nil {
		t.Error("nothing is due", err)
	}
	at(testMS+9, &command.ApplyEvents{Forget: f})
	if due, err := d.EventsDue(f); due || err != nil {
		t.Error("something is due still", err)
	}
	if got := list(); got != "4x 4y 5x 5y" {
		t.Errorf("got %s", got)
	}
	if got := outcomes(t, at(testMS+9, &command.ApplyEvents{Events: []command.AppliedEvent{event(t, "1x", "a", 1), event(t, "2x", "a", 1), event(t, "4x", "a", 1)}})); got != "12 =4 =8" {
		t.Errorf("got %s", got)
	}
	count := forget(0, 0)
	count.MaxKept = 4
	at(testMS+9, &command.ApplyEvents{Forget: count})
	if events, _, _ := d.EventsFrom(0, 100, 1<<20); len(events) != 3 { // of the 5 newest numbers two were duplicates
		t.Errorf("%d events are left", len(events))
	}
	at(testMS+9, &command.ApplyEvents{Forget: forget(math.MaxInt64, 0)})
	if n := keys(t, d, store.Seen); n != 0 {
		t.Errorf("%d entries of events are left", n)
	}
	if err := d.Verify(); err != nil {
		t.Error(err)
	}
}

// TestEventsOfErasedSubjects: nothing of a subject is left, and the others keep theirs.
func TestEventsOfErasedSubjects(t *testing.T) {
	d := newData(t)
	do(t, d, &command.Put{Key: key("a"), Record: rec(t, 0, 0)})
	do(t, d, &command.Put{Key: key("b"), Record: rec(t, 0, 0)})
	do(t, d, &command.ApplyEvents{Events: []command.AppliedEvent{event(t, "1", "a", 1, attr(1, 1)), event(t, "2", "b", 1), event(t, "3", "a", 1)},
		Letters: []command.Letter{{Key: key("a"), Body: event(t, "x", "a", 1).Record}, {Key: key("c"), Body: event(t, "y", "c", 1).Record}}})
	do(t, d, &command.ApplyEvents{Events: []command.AppliedEvent{event(t, "4", "a", 1)}})
	do(t, d, &command.Delete{Key: key("a")})
	if state := string(stateOf(t, d)); strings.Contains(state, string(key("a"))) {
		t.Error("the key of the subject is still there")
	}
	events, next, err := d.EventsFrom(0, 10, 1<<20)
	if err != nil || len(events) != 1 || events[0].Number != 1 || next != 4 && next != 3 {
		t.Errorf("got %v, %d, %v", events, next, err)
	}
	if r := do(t, d, &command.Delete{Key: key("c")}); r.Err != nil {
		t.Errorf("a subject of which there is a letter: %v", r.Err)
	}
	if r := do(t, d, &command.Delete{Key: key("c")}); nba.CodeOf(r.Err) != nba.CodeSubjectUnknown {
		t.Errorf("got %v", r.Err)
	}
	again, err := NewData(d.Store())
	if err != nil {
		t.Fatal(err)
	}
	if got := outcomes(t, do(t, again, &command.ApplyEvents{Events: []command.AppliedEvent{event(t, "5", "b", 1)}})); got != "4" {
		t.Errorf("after a restart the next number is %s", got)
	}
	if err := again.Verify(); err != nil {
		t.Error(err)
	}
}

func TestEventsOfASubject(t *testing.T) {
	d := newData(t)
	for _, id := range []string{"a", "ab"} {
		do(t, d, &command.Put{Key: key(id), Record: rec(t, 0, 0)})
	}
	for i := range 5 {
		do(t, d, &command.ApplyEvents{Events: []command.AppliedEvent{event(t, fmt.Sprint(i), "a", 1, attr(1, 1)), event(t, fmt.Sprint("o", i), "ab", 1)}})
	}
	var got []string
	for from := uint64(0); ; {
		events, next, err := d.EventsOf(key("a"), from, 2, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			got = append(got, fmt.Sprint(e.Number))
		}
		if from = next; len(events) == 0 {
			break
		}
	}
	if strings.Join(got, " ") != "0 2 4 6 8" {
		t.Errorf("got %v", got)
	}
	if events, next, err := d.EventsOf(key("a"), 0, 9, 1); len(events) != 1 || next != 2 || err != nil {
		t.Errorf("within a byte: %d events, then %d, %v", len(events), next, err)
	}
	if events, next, err := d.EventsFrom(1, 9, 1); len(events) != 1 || next != 2 || err != nil {
		t.Errorf("within a byte: %d events, then %d, %v", len(events), next, err)
	}
}

// TestManyEventsThatSetAttributes: the newest stand with the clocks of their subject, the others under their own
// keys, and all are recognized, listed, forgotten and erased alike.
func TestManyEventsThatSetAttributes(t *testing.T) {
	d := newData(t)
	do(t, d, &command.Put{Key: key("a"), Record: rec(t, 0, 0)})
	const n = 3*maxRecent + 1
	all := func() (out []command.AppliedEvent) {
		for i := range n {
			out = append(out, event(t, fmt.Sprint(i), "a", int64(i), attr(1, int64(i))))
		}
		return out
	}
	for _, e := range all() {
		do(t, d, &command.ApplyEvents{Events: []command.AppliedEvent{e}})
	}
	if entries := keys(t, d, store.Seen); entries != 1+n-maxRecent {
		t.Errorf("%d entries, want one of the subject and %d of events", entries, n-maxRecent)
	}
	for i, got := range strings.Fields(outcomes(t, do(t, d, &command.ApplyEvents{Events: all()}))) {
		if got != fmt.Sprint("=", i) {
			t.Errorf("event %d again: %s", i, got)
		}
	}
	if events, _, err := d.EventsOf(key("a"), 0, 100, 1<<20); len(events) != n || events[n-1].Number != n-1 || err != nil {
		t.Errorf("%d events of the subject, %v", len(events), err)
	}
	do(t, d, &command.ApplyEvents{Forget: forget(math.MaxInt64, 0)})
	do(t, d, &command.ApplyEvents{Forget: forget(math.MaxInt64, 0)})
	do(t, d, &command.ApplyEvents{Forget: forget(math.MaxInt64, 0)})
	if entries := keys(t, d, store.Seen); entries != 1 {
		t.Errorf("%d entries after all were forgotten, want the clocks", entries)
	}
	do(t, d, &command.ApplyEvents{Events: []command.AppliedEvent{event(t, "late", "a", 3, attr(1, 100))}})
	if got, _ := read(t, d, "a"); !strings.HasSuffix(got, fmt.Sprint("1=", n-1)) {
		t.Errorf("the clocks were forgotten: %s", got)
	}
	if err := d.Verify(); err != nil {
		t.Error(err)
	}
}

// FuzzEventsOfSubject: what is not well-formed is refused, and what is can be written again.
func FuzzEventsOfSubject(f *testing.F) {
	f.Add([]byte{0})
	f.Add(append([]byte{1, 5, 0, 1, 2, 3, 4, 5, 6, 7, 8}, append(make([]byte, 16), 1, 2)...))
	f.Fuzz(func(t *testing.T, stored []byte) {
		var k eventsOfSubject
		if k.open(stored) != nil {
			return
		}
		var again eventsOfSubject
		if err := again.open(k.without(nil)); err != nil || again.count != k.count || len(again.clocks) != len(k.clocks) {
			t.Fatalf("got %+v, %v, want %+v", again, err, k)
		}
		k.find(make([]byte, 16))
	})
}

func TestLettersAreForgotten(t *testing.T) {
	d := newData(t)
	for i := range 6 {
		do(t, d, &command.ApplyEvents{Letters: []command.Letter{{ReceivedMS: int64(i), Code: nba.CodeInvalid, Raw: true, Body: []byte("x")}}})
	}
	if r := do(t, d, &command.RemoveLetters{Numbers: []uint64{3, 3, 99}}); r.Version != 1 {
		t.Errorf("removed %d", r.Version)
	}
	numbers := func() (out string) {
		letters, _, err := d.LettersFrom(0, 10, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range letters {
			out += fmt.Sprint(l.Number, " ")
		}
		return out
	}
	f := &command.ForgetEvents{SeenMS: math.MinInt64, KeptMS: math.MinInt64, LettersMS: 1, MaxLetters: 4, Limit: 10}
	do(t, d, &command.ApplyEvents{Forget: f})
	if got := numbers(); got != "2 4 5 " {
		t.Errorf("got %s", got)
	}
	if due, err := d.EventsDue(f); due || err != nil {
		t.Error("something is due still", err)
	}
}

// BenchmarkApplyEvents applies batches of 32 events of 300 bytes to a million subjects, in operations as a leader
// proposes them.
func BenchmarkApplyEvents(b *testing.B) {
	d := newData(b)
	const subjects = 100_000
	for at := 0; at < subjects; at += 1000 {
		ops := make([]operation, 1000)
		for i := range ops {
			ops[i] = &command.Put{Key: key(fmt.Sprint("s", at+i)), Record: rec(b, 0, 0, attr(1, 1), attr(2, 2))}
		}
		d.Apply(entry(b, d.Position().Index+1, ops...))
	}
	data := []byte(`{"country":"US","mb":` + strings.Repeat("1", 200) + `}`)
	random := rand.New(rand.NewPCG(1, 1))
	n := 0
	b.ReportAllocs()
	start := time.Now()
	for b.Loop() {
		op := &command.ApplyEvents{}
		for range 32 {
			n++
			e := nba.Event{ID: fmt.Sprint(n), Source: "https://bench.example/source", Type: "bench.happened", Data: data}
			a := command.AppliedEvent{Hash: command.EventHash(e.Source, e.ID), Key: key(fmt.Sprint("s", random.IntN(subjects))), TimeMS: testMS + int64(n), ReceivedMS: testMS, Record: command.AppendEvent(nil, &e)}
			body := command.AppendAttributes(nil, command.SetAttributes{Set: rec(b, 0, 0, attr(2, int64(n)))})
			a.Effects = a.Effects.Put(command.EffectAttributes, body)
			op.Events = append(op.Events, a)
		}
		d.Apply(entry(b, d.Position().Index+1, op))
	}
	b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(n), "ns/event")
}
