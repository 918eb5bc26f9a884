package command

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func testEvent() nba.Event {
	return nba.Event{ID: "1", Source: "/s", Type: "t", SubjectName: "S-1", MediaType: "text/plain", Extensions: []byte(`{"a":1}`), Data: []byte(`"x"`)}
}

func testApply() *ApplyEvents {
	e := testEvent()
	bare := nba.Event{ID: "2", Source: "/s", Type: "t"}
	return &ApplyEvents{
		Step: StreamStep{Stream: "topic/0", From: 5, Next: 9},
		Events: []AppliedEvent{
			{Hash: EventHash(e.Source, e.ID), Key: testKey(), TimeMS: -5, ReceivedMS: 1_750_000_000_000, Record: AppendEvent(nil, &e),
				Effects: Sections(nil).Put(EffectAttributes, AppendAttributes(nil, SetAttributes{Unset: []nba.AttributeID{1, 9}, Set: []byte("record")}))},
			{Hash: EventHash(bare.Source, bare.ID), Key: testKey(), TimeMS: 7, ReceivedMS: 8, Record: AppendEvent(nil, &bare), Effects: Sections{}},
		},
		Letters: []Letter{{ReceivedMS: 3, TimeMS: 2, Code: nba.CodeInvalid, Reason: "why", Key: testKey(), Body: AppendEvent(nil, &e)}, {Code: nba.CodeMalformed, Raw: true, Body: []byte("{")}},
		Forget:  &ForgetEvents{SeenMS: 1, KeptMS: 2, MaxKept: 3, LettersMS: 4, MaxLetters: 5, Limit: 6},
	}
}

// plain takes out what only says how an operation was read.
func plain(o *ApplyEvents) *ApplyEvents {
	for i := range o.Events {
		o.Events[i].kept = nil
	}
	return o
}

func TestEventsTravel(t *testing.T) {
	for name, want := range map[string]*ApplyEvents{
		"all": testApply(), "nothing": {}, "a step": {Step: StreamStep{Stream: "s", Next: 1}}, "old ones": {Forget: &ForgetEvents{Limit: 1}},
	} {
		encoded, err := want.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if kind, version := KindOf(encoded); kind != EventsApplied || version != 1 {
			t.Errorf("%s: kind %d version %d", name, kind, version)
		}
		var got ApplyEvents
		if err := got.Decode(encoded[opHeadBytes:]); err != nil {
			t.Fatal(err)
		}
		again, err := got.Append(nil)
		if err != nil || !bytes.Equal(again, encoded) {
			t.Errorf("%s: it is written differently again, %v", name, err)
		}
		if len(want.Events) > 0 && !reflect.DeepEqual(plain(&got), plain(want)) {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
		for n := range len(encoded) - opHeadBytes {
			if got.Decode(encoded[opHeadBytes:opHeadBytes+n]) == nil {
				t.Errorf("%s: %d bytes of it are taken for all of it", name, n)
			}
		}
	}
}

func TestKeptEvents(t *testing.T) {
	o := testApply()
	kept := o.Events[1].AppendKept(o.Events[0].AppendKept(nil))
	first, rest, ok := NextKept(kept)
	if !ok {
		t.Fatal("the first is not there")
	}
	got, err := first.Event()
	want := testEvent()
	want.Subject, want.Time, want.Received = nba.SubjectRef{ID: got.Subject.ID, Type: got.Subject.Type}, time.UnixMilli(-5).UTC(), time.UnixMilli(1_750_000_000_000).UTC()
	if err != nil || !reflect.DeepEqual(got, want) || !bytes.Equal(AppendSubjectKey(nil, got.Subject), testKey()) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
	second, rest, ok := NextKept(rest)
	if got, err := second.Event(); !ok || err != nil || got.ID != "2" || got.Data != nil || len(rest) != 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

// TestEventFormatIsFixed pins docs/format/events.md.
func TestEventFormatIsFixed(t *testing.T) {
	e := testEvent()
	for name, c := range map[string]struct {
		got  []byte
		want string
	}{
		"event":  {AppendEvent(nil, &e), "010f" + "0131" + "022f73" + "0174" + "03532d31" + "0a746578742f706c61696e" + "077b2261223a317d" + "03227822"},
		"letter": {(&Letter{ReceivedMS: 1, TimeMS: -1, Code: "X", Reason: "r", Raw: true, Body: []byte("b")}).Append(nil), "01" + "02" + "01" + "0158" + "0172" + "0162"},
		"hash":   {func() []byte { h := EventHash("/s", "1"); return h[:] }(), "22ed8ea5a8eedad17703560ce3f8edde"},
	} {
		if hex.EncodeToString(c.got) != c.want {
			t.Errorf("%s: got %x, want %s", name, c.got, c.want)
		}
	}
	if EventHash("/", "s1") == EventHash("/s", "1") {
		t.Error("source and id run into each other")
	}
}

func TestWhatIsNoEvent(t *testing.T) {
	o := testApply()
	o.Events[0].Record = make([]byte, MaxEventRecord+1)
	if _, err := o.Append(nil); err == nil {
		t.Error("an event that is too large was written")
	}
	o = &ApplyEvents{Events: make([]AppliedEvent, MaxEvents+1)}
	if _, err := o.Append(nil); err == nil {
		t.Error("too many events were written")
	}
	for name, body := range map[string][]byte{
		"flags": {8, 0}, "a limit of 0": append(make([]byte, 0), append([]byte{2}, make([]byte, 31)...)...), "no subject": append([]byte{0, 1}, make([]byte, 40)...),
	} {
		if new(ApplyEvents).Decode(body) == nil {
			t.Errorf("%s: it was read", name)
		}
	}
	if _, err := DecodeAttributes([]byte{2, 5, 0, 5, 0}, nil); err == nil {
		t.Error("attributes that do not ascend were read")
	}
}

// FuzzEvents: whatever is read is written the same again, and what belongs to it can be read.
func FuzzEvents(f *testing.F) {
	for _, op := range []interface{ Append([]byte) ([]byte, error) }{
		testApply(), &ApplyEvents{}, &NoteStreams{Steps: []StreamStep{{Stream: "a", From: 1, Next: 2}}}, &RemoveLetters{Numbers: []uint64{1, 300}},
	} {
		encoded, err := op.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded[0], encoded[opHeadBytes:])
	}
	e := testEvent()
	f.Add(byte(0), AppendEvent(nil, &e))
	f.Add(byte(1), (&Letter{Key: testKey(), Body: []byte("b")}).Append(nil))
	f.Add(byte(2), AppendAttributes(nil, SetAttributes{Unset: []nba.AttributeID{1}, Set: []byte("s")}))
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		same := func(op interface{ Append([]byte) ([]byte, error) }) {
			t.Helper()
			if again, err := op.Append(nil); err != nil || len(again)-opHeadBytes > len(body) {
				t.Fatalf("it is written as %x, %v", again, err)
			}
		}
		switch Kind(kind) {
		case EventsApplied:
			var o ApplyEvents
			if o.Decode(body) != nil {
				return
			}
			same(&o)
			for i := range o.Events {
				_, _ = o.Events[i].Event()
				if _, rest, ok := NextKept(o.Events[i].AppendKept(nil)); !ok || len(rest) != 0 {
					t.Fatal("what is kept cannot be read")
				}
				_, _ = DecodeAttributes(o.Events[i].Effects.Get(EffectAttributes), nil)
			}
		case StreamsNoted:
			if o := new(NoteStreams); o.Decode(body) == nil {
				same(o)
			}
		case LettersRemoved:
			if o := new(RemoveLetters); o.Decode(body) == nil {
				same(o)
			}
		default:
			if e, err := OpenEvent(body); err == nil {
				if back, err := OpenEvent(AppendEvent(nil, &e)); err != nil || !reflect.DeepEqual(back, e) {
					t.Fatalf("got %+v, %v, want %+v", back, err, e)
				}
			}
			if l, err := DecodeLetter(body); err == nil {
				if back, err := DecodeLetter(l.Append(nil)); err != nil || !reflect.DeepEqual(back, l) {
					t.Fatalf("got %+v, %v, want %+v", back, err, l)
				}
			}
			_, _ = DecodeAttributes(body, nil)
			_, _, _ = NextKept(body)
		}
	})
}
