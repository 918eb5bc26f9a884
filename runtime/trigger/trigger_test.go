package trigger

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

const baseMS = 1_760_000_000_000

// promised are strategies whose end state does not depend on the order in which events arrive, within the
// lateness.
func promised(t testing.TB) map[string]Spec {
	specs := map[string]Spec{}
	for _, words := range []string{
		"aggregate=last raise=crossing atLeast=5", "aggregate=distinct raise=never", "aggregate=min raise=never",
		"window=tumbling:10m aggregate=count raise=crossing atLeast=3 lateness=5m", "window=tumbling:10m aggregate=sum raise=never lateness=5m",
		"window=tumbling:1m aggregate=last raise=never lateness=5m", "window=tumbling:10m aggregate=distinct raise=never lateness=5m",
		"window=sliding:10m/1m aggregate=count raise=crossing atLeast=3", "window=sliding:10m/30s aggregate=max raise=never",
		"window=sliding:10m/1m aggregate=distinct raise=never", "window=sliding:3m/1m aggregate=last raise=never",
		"window=session:2m aggregate=count raise=never lateness=5m", "window=session:1m aggregate=sum raise=crossing atLeast=7 lateness=5m",
		"window=session:2m aggregate=distinct raise=never lateness=5m",
		"window=last:5 aggregate=sum raise=never", "window=last:5 aggregate=last raise=never",
		"raise=absent within=3m lateness=5m",
	} {
		specs[words] = specFrom(t, strings.Fields(words))
	}
	return specs
}

func randomEvents(r *rand.Rand, s *Spec, n int) []Event {
	events := make([]Event, n)
	ms := int64(baseMS)
	for i := range events {
		ms += 1 + r.Int64N(120_000)
		events[i] = Event{TimeMS: ms, ReceivedMS: ms, Value: r.Int64N(9) * Unit, Ends: s.Raise == Absent && r.IntN(3) == 0}
	}
	return events
}

// late gives the events in an order in which none arrives later than within after a newer one.
func late(r *rand.Rand, events []Event, within int64) []Event {
	type arriving struct {
		Event
		at int64
	}
	arrivals := make([]arriving, len(events))
	for i, e := range events {
		arrivals[i] = arriving{Event: e, at: e.TimeMS + r.Int64N(within+1)}
	}
	slices.SortStableFunc(arrivals, func(a, b arriving) int { return int(a.at - b.at) })
	out := make([]Event, len(events))
	for i := range arrivals {
		out[i] = arrivals[i].Event
	}
	return out
}

func run(t testing.TB, s *Spec, events []Event) (state []byte) {
	var m Machine
	for i := range events {
		in := events[i]
		change, err := m.Event(state, scriptID, s, &in, baseMS)
		if err != nil {
			t.Fatal(err)
		}
		state = slices.Clone(change.State)
	}
	return state
}

// essence is an entry without what depends on the order of arrival: when somebody looks at it next.
func essence(t testing.TB, s *Spec, state []byte) []byte {
	r, _, err := open(state)
	if err != nil {
		t.Fatal(err)
	}
	p, _ := r.part()
	var e entry
	if same, err := e.decode(p.body, s); err != nil || !same {
		t.Fatalf("%v %v", same, err)
	}
	e.timerMS, e.expiryMS, e.lagMS = 0, e.newestMS, 0
	return e.append(nil, s)
}

// TestOrderDoesNotMatter: within the lateness, events leave the same state in whatever order they arrive.
func TestOrderDoesNotMatter(t *testing.T) {
	for words, s := range promised(t) {
		r := rand.New(rand.NewPCG(1, uint64(len(words))))
		for round := range 200 {
			events := randomEvents(r, &s, 30)
			inOrder := run(t, &s, events)
			shuffled := run(t, &s, late(r, events, 5*60_000))
			if a, b := essence(t, &s, inOrder), essence(t, &s, shuffled); !bytes.Equal(a, b) {
				t.Errorf("%s, round %d: %x in order, %x shuffled", words, round, a, b)
				break
			}
		}
	}
}

// reference computes an aggregate from all events.
func reference(s *Spec, events []Event, nowMS int64) (int64, bool) {
	var in []Event
	newest := int64(0)
	for _, e := range events {
		newest = max(newest, e.TimeMS)
	}
	for _, e := range events {
		switch s.Window {
		case Tumbling:
			if floorTo(e.TimeMS, s.SizeMS) != floorTo(nowMS, s.SizeMS) {
				continue
			}
		case Sliding:
			if e.TimeMS < s.windowStart(nowMS) || floorTo(e.TimeMS, s.SliceMS) > nowMS || s.Aggregate == Distinct && e.TimeMS > nowMS {
				continue
			}
		}
		in = append(in, e)
	}
	slices.SortFunc(in, func(a, b Event) int {
		if a.TimeMS != b.TimeMS {
			return int(a.TimeMS - b.TimeMS)
		}
		return int(a.Value - b.Value)
	})
	if s.Window == SlidingCount && len(in) > int(s.Count) {
		in = in[len(in)-int(s.Count):]
	}
	if s.Window == Session {
		at := len(in)
		if at == 0 || nowMS >= newest+s.SizeMS {
			return 0, s.additive()
		}
		for at--; at > 0 && in[at].TimeMS-in[at-1].TimeMS < s.SizeMS; at-- {
		}
		in = in[at:]
	}
	if len(in) == 0 {
		return 0, s.additive()
	}
	result, different := in[0].Value, map[uint32]bool{}
	sum := int64(0)
	for _, e := range in {
		sum += e.Value
		different[uint32(e.Value)] = true
		switch s.Aggregate {
		case Min:
			result = min(result, e.Value)
		case Max:
			result = max(result, e.Value)
		case Last:
			result = e.Value
		}
	}
	switch s.Aggregate {
	case Count:
		return int64(len(in)) * Unit, true
	case Sum:
		return sum, true
	case Distinct:
		return int64(len(different)) * Unit, true
	}
	return result, true
}

// TestAgainstAllEvents: what is read from the state is what all events give.
func TestAgainstAllEvents(t *testing.T) {
	var m Machine
	for words, s := range promised(t) {
		if s.Raise == Absent {
			continue
		}
		r := rand.New(rand.NewPCG(2, uint64(len(words))))
		for round := range 100 {
			events := randomEvents(r, &s, 1+r.IntN(40))
			state := run(t, &s, late(r, events, 5*60_000))
			newest := events[len(events)-1].TimeMS
			for range 5 {
				now := newest + r.Int64N(60_000)
				got, ok, err := m.Read(state, scriptID, &s, now)
				want, wantOK := reference(&s, events, now)
				if err != nil || got != want || ok != wantOK {
					t.Fatalf("%s, round %d: got %d %v %v, want %d %v", words, round, got, ok, err, want, wantOK)
				}
			}
		}
	}
}

// TestCrossingsAreToldOnce: between two triggers of a crossing the threshold did not hold, or another window
// began.
func TestCrossingsAreToldOnce(t *testing.T) {
	s := specFrom(t, strings.Fields("aggregate=last raise=crossing atLeast=5"))
	r := rand.New(rand.NewPCG(3, 3))
	var m Machine
	var state []byte
	held, told := false, 0
	for _, in := range randomEvents(r, &s, 5000) {
		change, err := m.Event(state, scriptID, &s, &in, baseMS)
		if err != nil {
			t.Fatal(err)
		}
		state = slices.Clone(change.State)
		holds := in.Value >= 5*Unit
		if (len(change.Raised) == 1) != (holds && !held) {
			t.Fatalf("value %d after held=%v raised %d", in.Value, held, len(change.Raised))
		}
		held, told = holds, told+len(change.Raised)
	}
	if told < 500 {
		t.Errorf("told %d times", told)
	}
}

// TestStrategiesOfOneSubject: the state of one strategy does not touch that of another, and another shape
// begins anew.
func TestStrategiesOfOneSubject(t *testing.T) {
	specs := promised(t)
	var m Machine
	r := rand.New(rand.NewPCG(4, 4))
	var together []byte
	events := map[uint32][]Event{}
	ids := map[uint32]Spec{}
	for words, s := range specs {
		id := IDOf(words)
		ids[id], events[id] = s, randomEvents(r, &s, 20)
	}
	for i := range 20 {
		for id, s := range ids {
			in := events[id][i]
			change, err := m.Event(together, id, &s, &in, baseMS)
			if err != nil {
				t.Fatal(err)
			}
			together = slices.Clone(change.State)
		}
	}
	for id, s := range ids {
		alone := run(t, &s, events[id])
		now := events[id][19].TimeMS
		got, ok, err := m.Read(together, id, &s, now)
		want, wantOK, _ := m.Read(alone, scriptID, &s, now)
		if err != nil || got != want || ok != wantOK {
			t.Errorf("%+v: together %d %v, alone %d %v: %v", s, got, ok, want, wantOK, err)
		}
		other := s
		if other.Window != Tumbling {
			continue
		}
		other.SizeMS *= 2
		if got, _, err := m.Read(together, id, &other, now); err != nil || got != 0 {
			t.Errorf("another shape reads %d: %v", got, err)
		}
	}
	timers, err := Timers(together)
	if err != nil || len(timers) < 1 || timers[0].ID != 0 {
		t.Errorf("got %v %v", timers, err)
	}
}

func TestUpdates(t *testing.T) {
	var b []byte
	var want []Update
	for words, s := range promised(t) {
		u := Update{Name: words, Spec: s, Value: int64(len(words)) * Unit, Ends: s.Raise == Absent, Template: AppendTemplate(nil, "com.example", []byte(`[]`))}
		want = append(want, u)
		b = u.Append(b)
	}
	for i := range want {
		var u Update
		rest, ok, err := u.Next(b)
		if err != nil || !ok || u.Name != want[i].Name || u.Spec != want[i].Spec || u.Value != want[i].Value || u.Ends != want[i].Ends || !bytes.Equal(u.Template, want[i].Template) {
			t.Fatalf("got %+v %v %v, want %+v", u, ok, err, want[i])
		}
		b = rest
		name, spec, err := ParseTimer(AppendTimer(nil, u.Name, &u.Spec))
		if err != nil || name != u.Name || spec != u.Spec {
			t.Errorf("got %q %+v %v", name, spec, err)
		}
	}
	if len(b) != 0 {
		t.Error("something is left")
	}
}

// FuzzState: bytes that are not a state are an error, and what is made of those that are can be read.
func FuzzState(f *testing.F) {
	var specs []Spec
	var names []string
	for words := range promised(f) {
		names = append(names, words)
	}
	slices.Sort(names)
	r := rand.New(rand.NewPCG(5, 5))
	for i, words := range names {
		s := promised(f)[words]
		specs = append(specs, s)
		f.Add(run(f, &s, randomEvents(r, &s, 12)), uint8(i), int64(baseMS+300_000), int64(Unit))
	}
	f.Fuzz(func(t *testing.T, state []byte, which uint8, ms, value int64) {
		if len(state) == 0 {
			state = nil
		}
		s := &specs[int(which)%len(specs)]
		var m, again Machine
		_, _, _ = m.Read(state, scriptID, s, ms)
		_, _ = Timers(state)
		if swept, err := m.Sweep(state, ms); err == nil {
			if _, err := again.Sweep(swept.State, ms); err != nil {
				t.Fatalf("made what cannot be read: %v", err)
			}
		}
		change, eventErr := m.Event(state, scriptID, s, &Event{TimeMS: ms, ReceivedMS: ms, Value: value}, baseMS)
		if eventErr == nil {
			if _, _, err := again.Read(change.State, scriptID, s, ms); err != nil {
				t.Fatalf("made what cannot be read: %v", err)
			}
			if _, err := Timers(change.State); err != nil {
				t.Fatalf("made what cannot be read: %v", err)
			}
			if change.SetMS != 0 {
				if _, err := again.Fire(change.State, scriptID, s, change.SetMS, change.SetMS); err != nil {
					t.Fatalf("cannot fire: %v", err)
				}
			}
		}
	})
}

func FuzzUpdates(f *testing.F) {
	for words, s := range promised(f) {
		u := Update{Name: words, Spec: s, Value: 5, Template: []byte("x")}
		f.Add(u.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var u, again Update
		if name, spec, err := ParseTimer(b); err == nil && (name == "" || !spec.Valid()) {
			t.Fatal("a timer of nothing")
		}
		rest, ok, err := u.Next(b)
		if err != nil || !ok {
			return
		}
		if len(rest) >= len(b) || !u.Spec.Valid() {
			t.Fatal("nothing was taken, or no spec")
		}
		if left, ok, err := again.Next(u.Append(nil)); err != nil || !ok || len(left) != 0 || again.Spec != u.Spec {
			t.Fatalf("%v %v", ok, err)
		}
		_, _, _ = ParseTemplate(u.Template)
	})
}

func BenchmarkEvent(b *testing.B) {
	for _, words := range []string{"window=tumbling:1h aggregate=sum raise=crossing atLeast=1000000", "window=sliding:1h/1m aggregate=count raise=crossing atLeast=1000000", "raise=absent within=2h"} {
		s := specFrom(b, strings.Fields(words))
		b.Run(strings.Fields(words)[0], func(b *testing.B) {
			var m Machine
			var state []byte
			in := Event{TimeMS: baseMS, Value: Unit}
			b.ReportAllocs()
			for b.Loop() {
				in.TimeMS += 100
				in.ReceivedMS = in.TimeMS
				change, err := m.Event(state, scriptID, &s, &in, baseMS)
				if err != nil {
					b.Fatal(err)
				}
				state = append(state[:0], change.State...)
			}
			b.ReportMetric(float64(len(state)), "B/state")
		})
	}
}

// TestEventsThatMayRaiseNothing: an event that is too old to lead to a trigger counts, and does not make the
// threshold forget that it was told of.
func TestEventsThatMayRaiseNothing(t *testing.T) {
	for _, words := range []string{"window=tumbling:1h aggregate=count raise=crossing atLeast=2", "window=sliding:1h/1m aggregate=count raise=crossing atLeast=2",
		"aggregate=count raise=crossing atLeast=2"} {
		s := specFrom(t, strings.Fields(words))
		silent := s
		silent.Raise = Never
		var m Machine
		var state []byte
		raised := 0
		for i, spec := range []*Spec{&s, &s, &silent, &s, &silent, &s} {
			at := int64(baseMS - baseMS%3600_000 + int64(i)*1000)
			change, err := m.Event(state, scriptID, spec, &Event{TimeMS: at, ReceivedMS: at}, at)
			if err != nil {
				t.Fatal(err)
			}
			state, raised = slices.Clone(change.State), raised+len(change.Raised)
		}
		if value, _, err := m.Read(state, scriptID, &s, baseMS-baseMS%3600_000+6000); err != nil || value != 6*Unit || raised != 1 {
			t.Errorf("%s: counts %d and raised %d: %v", words, value, raised, err)
		}
	}
}
