package command

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
)

func testTrigger() Trigger {
	return Trigger{ID: ulid.ULID{1, 2}, Key: testKey(), Origin: "strategy:roaming", RaisedMS: 1, NotBeforeMS: 2, ExpiresMS: 3, EventType: "roaming", Contexts: []byte("[]")}
}

func testDelivery() Delivery {
	return Delivery{
		ID: ulid.ULID{3}, Decision: ulid.ULID{4}, Key: testKey(), State: DeliveryDead, CreatedMS: 1, DueMS: 2, ExpiresMS: 3, RaisedMS: 4,
		ChangedMS: 5, Attempts: 6, Origin: "journey:cart", EventType: "e", Channel: "sms", Sink: "gateway", Action: "a", Treatment: "t",
		Problem: "status 500", Payload: []byte("{}"),
	}
}

func outboxOps() []interface {
	Append([]byte) ([]byte, error)
	Decode([]byte) error
} {
	return []interface {
		Append([]byte) ([]byte, error)
		Decode([]byte) error
	}{
		&CloseTriggers{ForgetMS: 7, Limit: 8, Closed: []ClosedTrigger{
			{Key: testKey(), ID: ulid.ULID{1}, Reason: CloseNothing, Detail: "CONTACT_LIMIT"}, {Key: testKey(), ID: ulid.ULID{2}, UntilMS: 9},
		}},
		&ChangeDeliveries{ForgetMS: 1, Limit: 2, Changes: []DeliveryChange{
			{ID: ulid.ULID{1}, State: DeliverySent, AtMS: 3, Tried: true}, {ID: ulid.ULID{2}, Replay: true, AtMS: 4, DueMS: 5, Problem: "p"},
		}},
	}
}

func TestOutboxOperationsTravel(t *testing.T) {
	for _, op := range outboxOps() {
		encoded, err := op.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		kind, version := KindOf(encoded)
		if level, ok := Needs(kind, version); !ok || level != LevelEvents {
			t.Errorf("%T needs level %d, %v", op, level, ok)
		}
		got := map[Kind]interface {
			Append([]byte) ([]byte, error)
			Decode([]byte) error
		}{TriggersClosed: new(CloseTriggers), DeliveriesChanged: new(ChangeDeliveries)}[kind]
		if err := got.Decode(encoded[opHeadBytes:]); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(op, got); diff != "" {
			t.Errorf("%T:\n%s", op, diff)
		}
		for cut := range len(encoded) - opHeadBytes {
			if got.Decode(encoded[opHeadBytes:opHeadBytes+cut]) == nil {
				t.Fatalf("%T: the first %d bytes are taken for the whole", op, cut)
			}
		}
	}
}

// coded is what has bytes of its own.
type coded interface {
	Append([]byte) []byte
	Decode([]byte) error
}

func outboxRecords() []coded {
	trigger, delivery := testTrigger(), testDelivery()
	return []coded{
		&trigger, &delivery, &ShutTrigger{Trigger: testTrigger(), Reason: CloseExpired, ClosedMS: 6, Detail: "d"},
		&RaisedBy{Origin: "strategy:roaming", EventType: "e", Trigger: ulid.ULID{5}, RaisedMS: 7},
	}
}

func emptyRecord(of coded) coded {
	switch of.(type) {
	case *Trigger:
		return new(Trigger)
	case *Delivery:
		return new(Delivery)
	case *ShutTrigger:
		return new(ShutTrigger)
	}
	return new(RaisedBy)
}

func TestOutboxRecordsTravel(t *testing.T) {
	for _, want := range outboxRecords() {
		encoded, got := want.Append(nil), emptyRecord(want)
		if err := got.Decode(encoded); err != nil {
			t.Fatalf("%T: %v", want, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%T:\n%s", want, diff)
		}
		for cut := range encoded {
			if got.Decode(encoded[:cut]) == nil {
				t.Fatalf("%T: the first %d bytes are taken for the whole", want, cut)
			}
		}
	}
	two := []Delivery{testDelivery(), testDelivery()}
	got, err := DecodeOutbox(AppendOutbox(nil, two))
	if diff := cmp.Diff(two, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func FuzzOutbox(f *testing.F) {
	for i, r := range outboxRecords() {
		f.Add(byte(i), r.Append(nil))
	}
	for i, op := range outboxOps() {
		encoded, _ := op.Append(nil)
		f.Add(byte(4+i), encoded[opHeadBytes:])
	}
	f.Add(byte(6), AppendOutbox(nil, []Delivery{testDelivery()}))
	f.Fuzz(func(t *testing.T, what byte, body []byte) {
		switch records := outboxRecords(); {
		case int(what) < len(records):
			r := emptyRecord(records[what])
			if r.Decode(body) != nil {
				return
			}
			again := r.Append(nil)
			if err := r.Decode(bytes.Clone(again)); err != nil {
				t.Errorf("%T: what was read cannot be read again: %v", r, err)
			}
		case what == 6:
			_, _ = DecodeOutbox(body)
		default:
			op := outboxOps()[what&1]
			if op.Decode(body) != nil {
				return
			}
			again, _ := op.Append(nil)
			if err := op.Decode(again[opHeadBytes:]); err != nil {
				t.Errorf("%T: what was read cannot be read again: %v", op, err)
			}
		}
	})
}
