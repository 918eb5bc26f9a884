package command

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// contactOps are the operations on contacts and volumes.
func contactOps() []interface{ Append([]byte) ([]byte, error) } {
	claim := new(contact.Claim)
	claim.Add(1, contact.PlaceOf("sms", "Grow", "Plans", "a", nba.Outbound), 5, []contact.Limit{{Max: 3}})
	id := ulid.ULID{1, 2, 3}
	return []interface{ Append([]byte) ([]byte, error) }{
		&Reserve{Key: testKey(), Decision: id, TimeMS: 1, KeepMS: 2, HoldMS: 3, Claim: claim},
		&Tell{News: []News{{Key: testKey(), Decision: id, What: NewsOutcome, Position: 2, Outcome: 3, TimeMS: 4}, {Key: testKey(), Decision: id, What: NewsVoid}}},
		&Elapse{UntilMS: 1, ForgetMS: 2, Limit: 3},
		&Resolve{Decisions: []ulid.ULID{id, {9}}},
		&Delivered{Keys: [][]byte{{1, 2}, {3}}},
		&GrantLease{Volume: "a/day", StartMS: 1, EndMS: 2, Granted: 300},
		&ReturnLease{Volume: "a/day", StartMS: 1, Amount: 3},
	}
}

// decodeContactOp decodes an operation into a new value of its kind; nil for another kind.
func decodeContactOp(op Op) (decoded interface{ Append([]byte) ([]byte, error) }, err error) {
	type decoder interface {
		Append([]byte) ([]byte, error)
		Decode([]byte) error
	}
	into := map[Kind]decoder{ContactsReserved: new(Reserve), ContactsTold: new(Tell), TimeElapsed: new(Elapse), DecisionsResolved: new(Resolve),
		NewsDelivered: new(Delivered), LeaseGranted: new(GrantLease), LeaseReturned: new(ReturnLease)}[op.Kind]
	if into == nil {
		return nil, nil
	}
	return into, into.Decode(op.Body)
}

func TestContactOperationsTravel(t *testing.T) {
	for _, op := range contactOps() {
		encoded, err := op.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		kind, version := KindOf(encoded)
		if level, ok := Needs(kind, version); !ok || level != LevelRollouts {
			t.Errorf("%T needs level %d, %v", op, level, ok)
		}
		body := encoded[opHeadBytes:]
		got, err := decodeContactOp(Op{Kind: kind, Version: version, Body: body})
		if err != nil {
			t.Errorf("%T: %v", op, err)
			continue
		}
		if again, _ := got.Append(nil); !bytes.Equal(again, encoded) {
			t.Errorf("%T travels to %+v", op, got)
		}
		if _, is := op.(*Reserve); !is {
			if diff := cmp.Diff(op, got); diff != "" {
				t.Errorf("%T:\n%s", op, diff)
			}
		}
		for cut := range body {
			part, err := decodeContactOp(Op{Kind: kind, Version: version, Body: body[:cut]})
			if again, _ := part.Append(nil); err == nil && !bytes.Equal(again[opHeadBytes:], body[:cut]) {
				t.Errorf("%T: the first %d bytes become %+v", op, cut, part)
			}
		}
	}
}

func TestSectionsOfContacts(t *testing.T) {
	timeout := Timeout{AfterMS: 5000, Shown: true}
	if got, err := DecodeTimeout(timeout.Append(nil)); err != nil || got != timeout {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := DecodeRelease(AppendRelease(nil, 77)); err != nil || got != 77 {
		t.Errorf("%d, %v", got, err)
	}
	keys, err := DecodeLinks(AppendLinks(nil, testKey(), testKey()))
	if err != nil || len(keys) != 2 || !bytes.Equal(keys[1], testKey()) {
		t.Errorf("%v, %v", keys, err)
	}
	for _, bad := range [][]byte{{1}, {0, 0}, append(testKey(), 1)} {
		if _, err := DecodeLinks(bad); err == nil {
			t.Errorf("%v are taken for links", bad)
		}
	}
	if _, _, _, err := DecodeResponse(NoResponse()); err != nil {
		t.Error(err)
	}
	if record := (&Decision{Kept: Sections(nil).Put(KeptLinks, testKey())}).appendRecord(nil); !HasSections(record) {
		t.Error("a record with sections has none")
	}
}

func FuzzContactOperations(f *testing.F) {
	for _, op := range contactOps() {
		encoded, err := op.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(encoded[0], encoded[opHeadBytes:])
	}
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		got, err := decodeContactOp(Op{Kind: Kind(kind), Version: 1, Body: body})
		if err != nil || got == nil {
			return
		}
		again, err := got.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeContactOp(Op{Kind: Kind(kind), Version: 1, Body: again[opHeadBytes:]}); err != nil {
			t.Errorf("kind %d: what was read cannot be read again: %v", kind, err)
		}
	})
}
