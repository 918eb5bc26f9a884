package command

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

const testID = "01JD7Q3X1Z8Y6W5V4T3S2R1Q0P"

func testKey() []byte {
	return AppendSubjectKey(nil, nba.SubjectRef{ID: "447700900123", Type: nba.Account})
}

func testDecision() *Decision {
	d := &Decision{
		ID: testID, Subject: nba.SubjectRef{ID: "447700900123", Type: nba.Account}, Time: time.UnixMilli(1_750_000_000_123).UTC(),
		Channel: "web", Direction: nba.Inbound, CatalogVersion: 300, RequestID: "req-1", Degraded: true,
	}
	for i, action := range []string{"family-plan", "fiber", "fallback"} {
		d.Propositions = append(d.Propositions, Proposition{
			Placement: []string{"hero", "hero", "banner"}[i], Rank: i + 1, Action: action, Treatment: action + "-web",
			Propensity: 0.25, Priority: float64(i) * 1.5, SelectionProbability: 1, ModelDigest: []string{"sha256:aa", "sha256:bb", "sha256:aa"}[i],
		})
	}
	return d
}

// body appends one operation and takes it out of an entry again.
func body(t testing.TB, op interface{ Append([]byte) ([]byte, error) }, kind Kind) []byte {
	t.Helper()
	encoded, err := op.Append(nil)
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	var b Builder
	b.Reset(1)
	b.Add(encoded)
	e, err := Open(b.Bytes())
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	got, ok := e.Next()
	if !ok || got.Kind != kind || got.Version != opVersion {
		t.Fatalf("got kind %d version %d, want %d version 1", got.Kind, got.Version, kind)
	}
	return got.Body
}

func TestEntry(t *testing.T) {
	var b Builder
	for range 2 { // the builder is used again
		b.Reset(-5)
		for i := range 3 {
			b.AddPut(&Put{Key: testKey(), Record: bytes.Repeat([]byte{1}, i)})
		}
		e, err := Open(b.Bytes())
		if err != nil || e.ProposedMS() != -5 || e.Len() != 3 || b.Len() != 3 || b.Size() != len(b.Bytes()) {
			t.Fatalf("got %d operations proposed at %d, %v", e.Len(), e.ProposedMS(), err)
		}
		for i := range 3 {
			op, ok := e.Next()
			var p Put
			if err := p.Decode(op.Body); !ok || err != nil || len(p.Record) != i {
				t.Errorf("operation %d: %v %v, record of %d bytes", i, ok, err, len(p.Record))
			}
		}
		if _, ok := e.Next(); ok {
			t.Error("there is a fourth operation")
		}
	}
	kept := b.Detach()
	before := bytes.Clone(kept)
	b.Reset(1)
	b.AddPut(&Put{Key: testKey()})
	if !bytes.Equal(kept, before) {
		t.Error("a detached entry was overwritten")
	}
}

func TestOpenRefuses(t *testing.T) {
	var b Builder
	b.Reset(1)
	b.AddPut(&Put{Key: testKey(), Record: []byte("record")})
	good := b.Bytes()
	for at := range len(good) {
		if _, err := Open(good[:at]); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut at %d: got %v, want ErrMalformed", at, err)
		}
	}
	if _, err := Open(append(bytes.Clone(good), 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("a byte too many: got %v", err)
	}
	later := bytes.Clone(good)
	later[0], later[1] = 2, 2
	if _, err := Open(later); !errors.Is(err, ErrTooNew) {
		t.Errorf("a later format: got %v, want ErrTooNew", err)
	}
}

func TestSubjectOperations(t *testing.T) {
	for _, want := range []Put{
		{Key: testKey(), Record: []byte("record")},
		{Key: testKey(), Record: []byte{}, Merge: true},
		{Key: testKey(), Record: []byte("r"), HasIf: true, IfVersion: math.MaxUint64},
	} {
		var got Put
		if err := got.Decode(body(t, &want, SubjectPut)); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		if encoded, _ := want.Append(nil); len(encoded) > want.Size() {
			t.Errorf("Size is %d for %d bytes", want.Size(), len(encoded))
		}
	}
	patch := Patch{Key: testKey(), Set: []byte("set"), Unset: []nba.AttributeID{1, 300, 4095}, Grant: 1, Refuse: 1 << 63, Clear: 4, HasIf: true, IfVersion: 7}
	got := Patch{Unset: []nba.AttributeID{9, 9, 9, 9}}
	if err := got.Decode(body(t, &patch, SubjectPatch)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(patch, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	patch.Unset = []nba.AttributeID{2, 2}
	if err := got.Decode(body(t, &patch, SubjectPatch)); !errors.Is(err, ErrMalformed) {
		t.Errorf("a repeated id: got %v, want ErrMalformed", err)
	}
	erase := Delete{Key: testKey(), HasIf: true, IfVersion: 1}
	var gotErase Delete
	if err := gotErase.Decode(body(t, &erase, SubjectDelete)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(erase, gotErase); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestSubjectKey(t *testing.T) {
	ref, ok := ParseSubjectKey(testKey())
	if !ok || ref.ID != "447700900123" || ref.Type != nba.Account {
		t.Errorf("got %v %v", ref.Type, ok)
	}
	for _, bad := range [][]byte{nil, {0}, {0, 0}, {0, 2, 'a'}, {0, 1, 'a', 'b'}, {9, 1, 'a'}, append([]byte{0, 200}, make([]byte, 200)...)} {
		if _, ok := ParseSubjectKey(bad); ok {
			t.Errorf("%x was taken for a key", bad)
		}
	}
}

func TestDecision(t *testing.T) {
	want := testDecision()
	var got Recorded
	if err := got.Decode(body(t, want, DecisionRecorded)); err != nil {
		t.Fatal(err)
	}
	if got.ID != ulid.MustParseStrict(testID) || !bytes.Equal(got.Key, testKey()) || got.Propositions != 3 || got.TimeMS != want.Time.UnixMilli() {
		t.Errorf("got %v, %d propositions, time %d", got.ID, got.Propositions, got.TimeMS)
	}
	r, err := OpenDecision(got.Record)
	if err != nil {
		t.Fatal(err)
	}
	read := Decision{
		ID: got.ID.String(), Subject: want.Subject, Time: time.UnixMilli(r.TimeMS).UTC(), Channel: r.Channel, Direction: r.Direction,
		CatalogVersion: r.CatalogVersion, RequestID: r.RequestID, Degraded: r.Degraded,
	}
	for p, ok := r.Next(); ok; p, ok = r.Next() {
		read.Propositions = append(read.Propositions, p)
	}
	if d := cmp.Diff(*want, read); d != "" || r.Err() != nil {
		t.Errorf("%v (-want +got):\n%s", r.Err(), d)
	}
	want.ID = "not a ulid"
	if _, err := want.Append(nil); nba.CodeOf(err) != nba.CodeInvalid {
		t.Errorf("a bad id: got %v", err)
	}
}

func TestResponse(t *testing.T) {
	want := Response{
		DecisionID: testID, Action: "fiber", Treatment: "fiber-web", Outcome: nba.Accepted, Behaviour: "call", Value: -1.5, Time: time.UnixMilli(77),
	}
	var got Responded
	if err := got.Decode(body(t, &want, ResponseRecorded)); err != nil {
		t.Fatal(err)
	}
	treatment, behaviour, value, err := DecodeResponse(got.Record)
	if err != nil || got.Action != "fiber" || nba.Outcomes[got.Outcome] != nba.Accepted || got.TimeMS != 77 ||
		treatment != "fiber-web" || behaviour != "call" || value != -1.5 {
		t.Errorf("got %+v, %s %s %v, %v", got, treatment, behaviour, value, err)
	}
	for _, bad := range []Response{{DecisionID: "x", Outcome: nba.Accepted}, {DecisionID: testID, Outcome: "Laughed"}} {
		if _, err := bad.Append(nil); err == nil {
			t.Errorf("%+v was encoded", bad)
		}
	}
}

func TestControlBodies(t *testing.T) {
	head := uint64(3)
	want := StoreCatalog{Name: "demo", Digest: "sha256:00", Document: []byte("apiVersion: arbiter/v1\n"), IfHead: &head}
	var got StoreCatalog
	if err := DecodeControl(body(t, &want, CatalogStored), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, bad := range []string{"", "{", `{"nam": 1}`, `{"name":"a"}{}`, `{"name":"a"}}`, `{"name":"a","unknown":true}`, `[]`} {
		if err := DecodeControl([]byte(bad), &got); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", bad, err)
		}
	}
}

// TestFormatIsFixed pins the bytes: logs outlive releases.
func TestFormatIsFixed(t *testing.T) {
	var b Builder
	b.Reset(258)
	add := func(op interface{ Append([]byte) ([]byte, error) }) {
		encoded, err := op.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		b.Add(encoded)
	}
	key := AppendSubjectKey(nil, nba.SubjectRef{ID: "a", Type: nba.Subscriber})
	add(&Put{Key: key, Record: []byte("R"), HasIf: true, IfVersion: 2, Merge: true})
	add(&Patch{Key: key, Set: []byte("S"), Unset: []nba.AttributeID{5}, Grant: 1, Refuse: 2, Clear: 300})
	add(&Delete{Key: key})
	add(&Response{DecisionID: testID, Action: "f", Outcome: nba.Clicked, Time: time.UnixMilli(1), Value: 1})
	add(&ActivateCatalog{Version: 9})
	want := "0101" + "0201000000000000" + "05000000" +
		"01010d000000" + "03" + "0200000000000000" + "000161" + "52" +
		"02010c000000" + "00" + "000161" + "01" + "02" + "ac02" + "01" + "0500" + "53" +
		"030104000000" + "00" + "000161" +
		"050125000000" + hex.EncodeToString(idBytes()) + "01" + "0100000000000000" + "0166" + "00" + "00" + "000000000000f03f" +
		"42010d000000" + hex.EncodeToString([]byte(`{"version":9}`))
	if got := hex.EncodeToString(b.Bytes()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func idBytes() []byte {
	id := ulid.MustParseStrict(testID)
	return id[:]
}

// FuzzEntry feeds any bytes to every decoder: they answer with an error or with an operation that
// encodes to what it was read from.
func FuzzEntry(f *testing.F) {
	seed := func(op interface{ Append([]byte) ([]byte, error) }) {
		encoded, err := op.Append(nil)
		if err != nil {
			f.Fatal(err)
		}
		var b Builder
		b.Reset(1)
		b.Add(encoded)
		f.Add(b.Bytes())
	}
	seed(&Put{Key: testKey(), Record: []byte("record"), HasIf: true})
	seed(&Patch{Key: testKey(), Set: []byte("set"), Unset: []nba.AttributeID{1, 2}})
	seed(&Delete{Key: testKey()})
	seed(testDecision())
	seed(&Response{DecisionID: testID, Action: "a", Outcome: nba.Impression})
	seed(&ActivatePlugin{Name: "churn", Version: "1.0.0"})
	seed(&DeclareAttributes{Attributes: []nba.AttributeDeclaration{{Name: "a", Type: nba.KindBool}}})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, entry []byte) {
		e, err := Open(entry)
		if err != nil {
			return
		}
		for op, ok := e.Next(); ok; op, ok = e.Next() {
			checkOp(t, op)
		}
	})
}

func checkOp(t *testing.T, op Op) {
	same := func(again []byte, err error) {
		if err != nil || !bytes.Equal(again[opHeadBytes:], op.Body) {
			t.Fatalf("kind %d: %x encodes to %x, %v", op.Kind, op.Body, again, err)
		}
	}
	switch op.Kind {
	case SubjectPut:
		var p Put
		if p.Decode(op.Body) == nil {
			same(p.Append(nil))
		}
	case SubjectPatch:
		var p Patch
		_ = p.Decode(op.Body) // uvarints have longer forms: it need not encode to the same
	case SubjectDelete:
		var d Delete
		if d.Decode(op.Body) == nil && op.Body[0]&flagMerge == 0 {
			same(d.Append(nil))
		}
	case DecisionRecorded:
		var d Recorded
		if d.Decode(op.Body) == nil {
			r, err := OpenDecision(d.Record)
			if err != nil || r.Left() != d.Propositions {
				t.Fatalf("a checked decision does not open: %v", err)
			}
			for range d.Propositions {
				if _, ok := r.Next(); !ok {
					t.Fatal("a checked decision ends early")
				}
			}
		}
	case ResponseRecorded:
		var r Responded
		if r.Decode(op.Body) == nil {
			if _, _, _, err := DecodeResponse(r.Record); err != nil {
				t.Fatalf("a checked response does not open: %v", err)
			}
		}
	default:
		var a ActivatePlugin
		_ = DecodeControl(op.Body, &a)
	}
}
