package command

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

const testID = "01JD7Q3X1Z8Y6W5V4T3S2R1Q0P"

const testDigest = "sha256:6a2da20943931e9834fc12cfe5bb47bbd9ae43489a30726962b576f4e3993e50"

func testKey() []byte {
	return AppendSubjectKey(nil, nba.SubjectRef{ID: "447700900123", Type: nba.Account})
}

func testDecision() *Decision {
	d := &Decision{
		ID: testID, Subject: nba.SubjectRef{ID: "447700900123", Type: nba.Account}, Time: time.UnixMilli(1_750_000_000_123).UTC(),
		Channel: "web", Direction: nba.Inbound, CatalogVersion: 300, RequestID: "req-1", Degraded: true,
		DegradedReason: "MODEL_FAILED", InControlGroup: true, Placements: []string{"empty", "hero", "banner"}, Explanation: []byte(`{"stages":[]}`), Keep: 1000,
	}
	for i, action := range []string{"family-plan", "fiber", "fallback"} {
		d.Propositions = append(d.Propositions, Proposition{
			Placement: []string{"hero", "hero", "banner"}[i], Rank: i + 1, Action: action, Treatment: action + "-web",
			Propensity: 0.25, ContextWeight: []float64{1, 1.5, 1}[i], Value: []float64{120, 0.5, -3}[i], Lever: []float64{1.1, 1, 1}[i],
			Priority: 0.25 * []float64{120 * 1.1, 1.5 * 0.5, 7}[i], SelectionProbability: []float64{1, 0.5, 1}[i],
			ReasonCode: "RANKED", ReasonLabel: "rank " + string(rune('1'+i)) + " of 3",
			ModelName: []string{"churn", "churn", ""}[i], ModelVersion: []string{"1.0.0", "1.0.1", ""}[i],
			ModelDigest: []string{testDigest, "sha256:bb", ""}[i],
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
	version := uint8(opVersion)
	if kind == DecisionRecorded {
		version = decisionVersion
	}
	if !ok || got.Kind != kind || got.Version != version {
		t.Fatalf("got kind %d version %d, want %d version %d", got.Kind, got.Version, kind, version)
	}
	if k, v := KindOf(encoded); k != kind || v != version {
		t.Fatalf("KindOf gives %d version %d", k, v)
	}
	if _, known := Needs(kind, version); !known {
		t.Fatalf("no level knows kind %d version %d", kind, version)
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
	if err := got.Decode(body(t, want, DecisionRecorded), decisionVersion); err != nil {
		t.Fatal(err)
	}
	if got.Keep != 1000 || !got.Counted {
		t.Errorf("got keep %d, counted %v", got.Keep, got.Counted)
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
		CatalogVersion: r.CatalogVersion, RequestID: r.RequestID, Degraded: r.Degraded, DegradedReason: r.DegradedReason,
		InControlGroup: r.InControlGroup, Placements: r.Placements, Keep: got.Keep,
	}
	for p, ok := r.Next(); ok; p, ok = r.Next() {
		read.Propositions = append(read.Propositions, p)
	}
	read.Explanation = r.Explanation()
	if d := cmp.Diff(*want, read); d != "" || r.Err() != nil {
		t.Errorf("%v (-want +got):\n%s", r.Err(), d)
	}
	t.Logf("%d bytes for %d propositions", len(got.Record), len(want.Propositions))
	want.Explanation = make([]byte, MaxExplanation+1)
	if _, err := want.Append(nil); nba.CodeOf(err) != nba.CodeTooLarge {
		t.Errorf("a huge explanation: got %v", err)
	}
	want.Explanation = nil
	want.Propositions[0].ReasonLabel = strings.Repeat("x", maxText+1)
	if _, err := want.Append(nil); !errors.Is(err, ErrMalformed) {
		t.Errorf("a label that is too long: got %v", err)
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
	if err := got.Decode(body(t, &want, ResponseRecorded), 1); err != nil {
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
	add(&Expire{BeforeMS: -1, KeysMS: 2, Limit: 3})
	add(&Mark{Of: 4, Digest: Digest{Hi: 2, Lo: 1}})
	add(&KeyedOp{ID: [KeyBytes]byte{15: 1}, Fingerprint: [KeyBytes]byte{2}, TTL: 300, Op: mustAppend(t, &Delete{Key: key})})
	add(&Decision{
		ID: testID, Subject: nba.SubjectRef{ID: "a", Type: nba.Subscriber}, Time: time.UnixMilli(1), Channel: "c", Direction: "d", CatalogVersion: 7,
		RequestID: "r", DegradedReason: "g", Degraded: true, Placements: []string{"p", "q"}, Explanation: []byte("{}"), Keep: 200,
		Propositions: []Proposition{
			{Placement: "q", Rank: 1, Action: "x", Treatment: "y", Propensity: 1, ContextWeight: 2, Value: 3, Lever: 4, Priority: 5, SelectionProbability: 6,
				ReasonCode: "k", ReasonLabel: "l", ModelName: "m", ModelVersion: "v", ModelDigest: testDigest},
			{Placement: "p", Rank: 1, Action: "x", Treatment: "z", Propensity: 1, ContextWeight: 1, Value: -1, Lever: 1, Priority: 5, SelectionProbability: 1,
				ReasonCode: "k", ReasonLabel: "l"},
		},
	})
	f := func(v uint8) string {
		return hex.EncodeToString(binary.LittleEndian.AppendUint64(nil, math.Float64bits(float64(v))))
	}
	want := "0101" + "0201000000000000" + "09000000" +
		"01010d000000" + "03" + "0200000000000000" + "000161" + "52" +
		"02010c000000" + "00" + "000161" + "01" + "02" + "ac02" + "01" + "0500" + "53" +
		"030104000000" + "00" + "000161" +
		"050125000000" + hex.EncodeToString(idBytes()) + "01" + "0100000000000000" + "0166" + "00" + "00" + "000000000000f03f" +
		"42010d000000" + hex.EncodeToString([]byte(`{"version":9}`)) +
		"070114000000" + "ffffffffffffffff" + "0200000000000000" + "03000000" +
		"080118000000" + "0400000000000000" + "0100000000000000" + "0200000000000000" +
		"06012c000000" + "00000000000000000000000000000001" + "02000000000000000000000000000000" + "ac02" + "030104000000" + "00" + "000161" +
		"0402b3000000" + hex.EncodeToString(idBytes()) + "000161" + "c801" +
		"02" + "05" + "0100000000000000" + "07" + "0163" + "0164" + "0172" + "0167" + "02" + "0170" + "0171" + "02" +
		"01" + "01" + "000178" + "000179" + "1d" + f(1) + f(2) + "03" + f(4) + f(5) + f(6) + "00016b" + "00016c" + "00016d" + "000176" +
		"0021" + "01" + testDigest[7:] +
		"00" + "01" + "07" + "00017a" + "02" + f(1) + "000000000000f0bf" + f(5) + "06" + "05" +
		"02" + hex.EncodeToString([]byte("{}"))
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
	seed(&Expire{BeforeMS: 5, KeysMS: 6, Limit: 7})
	seed(&Mark{Of: 3, Digest: Digest{Hi: 1, Lo: 2}})
	inner, err := testDecision().Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	seed(&KeyedOp{ID: [KeyBytes]byte{1}, TTL: 9, Op: inner})
	f.Add(entryOf(decision1()))
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
	case Expired:
		var e Expire
		if e.Decode(op.Body) == nil {
			same(e.Append(nil))
		}
	case StateMarked:
		var m Mark
		if m.Decode(op.Body) == nil {
			same(m.Append(nil))
		}
	case Keyed:
		var k KeyedOp
		if inner, err := k.Decode(op.Body); err == nil {
			checkOp(t, inner)
		}
	case DecisionRecorded:
		var d Recorded
		if d.Decode(op.Body, op.Version) == nil {
			r, err := OpenDecision(d.Record)
			if err != nil || r.Left() != d.Propositions {
				t.Fatalf("a checked decision does not open: %v", err)
			}
			for range d.Propositions {
				if _, ok := r.Next(); !ok {
					t.Fatal("a checked decision ends early")
				}
			}
			if r.sections && r.Sections() == nil || d.Effects.check() != nil {
				t.Fatal("a checked decision has sections that are none")
			}
			if r.Err() != nil || r.explanation && len(r.Explanation()) == 0 {
				t.Fatalf("a checked decision: %v", r.Err())
			}
		}
	case ResponseRecorded:
		var r Responded
		if r.Decode(op.Body, op.Version) == nil {
			if r.Effects.check() != nil {
				t.Fatal("a checked response has sections that are none")
			}
			if _, _, _, err := DecodeResponse(r.Record); err != nil {
				t.Fatalf("a checked response does not open: %v", err)
			}
		}
	case JourneyMoved:
		var m MoveJourney
		_ = m.Decode(op.Body)
	default:
		var a ActivatePlugin
		_ = DecodeControl(op.Body, &a)
	}
}

// decision1 is a DecisionRecorded of version 1 with a record of format 1, as the first release wrote it.
func decision1() []byte {
	id := idBytes()
	b, at := beginOp(nil, DecisionRecorded)
	b = append(append(b, id...), testKey()...)
	b = append(b, recordFormat1, flagDegraded)
	b = append(b, 1, 0, 0, 0, 0, 0, 0, 0) // time
	b = append(b, 42)                     // catalogVersion
	b = appendText(appendText(appendText(b, "web"), "inbound"), "req-1")
	b = append(b, 2)
	one := func(rank byte, placement, action, digest string, share byte) {
		b = append(b, rank)
		if share == 0 {
			b = appendText(append(b, 0), placement)
		} else {
			b = append(b, share)
		}
		b = appendText(appendText(b, action), action+"-web")
		if share == 0 {
			b = appendText(append(b, 0), digest)
		} else {
			b = append(b, share)
		}
		for range 3 {
			b = append(b, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f)
		}
	}
	one(1, "hero", "x", "sha256:aa", 0)
	one(2, "hero", "y", "sha256:aa", 1)
	return endOp(b, at)
}

func entryOf(op []byte) []byte {
	var b Builder
	b.Reset(1)
	b.Add(op)
	return b.Bytes()
}

// TestOldDecisionsAreRead: logs and stores outlive releases.
func TestOldDecisionsAreRead(t *testing.T) {
	var p Recorded
	if err := p.Decode(decision1()[opHeadBytes:], 1); err != nil || p.Propositions != 2 || p.Counted || p.Keep != 0 {
		t.Fatalf("got %+v, %v", p, err)
	}
	r, err := OpenDecision(p.Record)
	if err != nil || r.Complete() || !r.Degraded || r.CatalogVersion != 42 || r.Channel != "web" || r.RequestID != "req-1" || r.Placements != nil {
		t.Fatalf("got %+v, %v", r, err)
	}
	for i, action := range []string{"x", "y"} {
		got, ok := r.Next()
		want := Proposition{Placement: "hero", Rank: i + 1, Action: action, Treatment: action + "-web", Propensity: 1, Priority: 1,
			SelectionProbability: 1, ModelDigest: "sha256:aa"}
		if !ok || got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if r.Err() != nil {
		t.Error(r.Err())
	}
}

func TestKeyed(t *testing.T) {
	inner, err := (&Delete{Key: testKey()}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	want := KeyedOp{ID: KeyID(SubjectDelete, testKey(), 0, "k"), Fingerprint: [KeyBytes]byte{7}, TTL: 86_400_000, Op: inner}
	var got KeyedOp
	op, err := got.Decode(body(t, &want, Keyed))
	if d := cmp.Diff(want, got); err != nil || d != "" || op.Kind != SubjectDelete || op.Version != 1 {
		t.Errorf("%v, %+v (-want +got):\n%s", err, op, d)
	}
	ids := map[[KeyBytes]byte]string{}
	for name, id := range map[string][KeyBytes]byte{
		"same": want.ID, "kind": KeyID(SubjectPut, testKey(), 0, "k"), "scope": KeyID(SubjectDelete, testKey()[:5], 0, "k"),
		"part": KeyID(SubjectDelete, testKey(), 1, "k"), "key": KeyID(SubjectDelete, testKey(), 0, "l"),
		"border": KeyID(SubjectDelete, append(testKey(), 'k'), 0, ""),
	} {
		if other, taken := ids[id]; taken {
			t.Errorf("%s and %s have the same id", name, other)
		}
		ids[id] = name
	}
	for name, op := range map[string]operation{
		"a key in a key":      &KeyedOp{Op: mustAppend(t, &want)},
		"a control operation": &KeyedOp{Op: mustAppend(t, &ActivateCatalog{Version: 1})},
		"nothing":             &KeyedOp{},
		"too long":            &KeyedOp{TTL: MaxKeyTTL + 1, Op: inner},
		"cut":                 &KeyedOp{Op: inner[:len(inner)-1]},
	} {
		if _, err := got.Decode(body(t, op, Keyed)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", name, err)
		}
	}
}

type operation interface{ Append([]byte) ([]byte, error) }

func mustAppend(t testing.TB, op operation) []byte {
	t.Helper()
	b, err := op.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestExpireAndMark(t *testing.T) {
	expire := Expire{BeforeMS: -1, KeysMS: 1 << 50, Limit: MaxExpired}
	var gotExpire Expire
	if err := gotExpire.Decode(body(t, &expire, Expired)); err != nil || gotExpire != expire {
		t.Errorf("got %+v, %v", gotExpire, err)
	}
	for _, limit := range []uint32{0, MaxExpired + 1} {
		if err := gotExpire.Decode(body(t, &Expire{Limit: limit}, Expired)); !errors.Is(err, ErrMalformed) {
			t.Errorf("limit %d: got %v", limit, err)
		}
	}
	mark := Mark{Of: 9, Digest: Digest{Hi: 1 << 63, Lo: 5}}
	var gotMark Mark
	if err := gotMark.Decode(body(t, &mark, StateMarked)); err != nil || gotMark != mark {
		t.Errorf("got %+v, %v", gotMark, err)
	}
}

// TestClaimTravels: a decision that makes contacts under limits is of version 3, and carries them.
func TestClaimTravels(t *testing.T) {
	d := testDecision()
	var claim contact.Claim
	claim.Add(1, contact.PlaceOf("web", "Grow", "Plans", "a", nba.Inbound), 60_000, []contact.Limit{{Max: 2, SinceMS: 5}})
	d.Claim, d.KeepContactsMS, d.Keep = &claim, 86_400_000, 7
	op, err := d.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	kind, version := KindOf(op)
	if kind != DecisionRecorded || version != claimingVersion {
		t.Fatalf("kind %d version %d", kind, version)
	}
	var got Recorded
	if err := got.Decode(op[opHeadBytes:], version); err != nil || got.Keep != 7 || got.KeepContactsMS != 86_400_000 || got.TimeMS != d.Time.UnixMilli() {
		t.Fatalf("got %+v, %v", got, err)
	}
	if !bytes.Equal(got.Claim.Append(nil), claim.Append(nil)) {
		t.Error("another claim arrives")
	}
	for cut := range len(op) - opHeadBytes {
		if got.Decode(op[opHeadBytes:opHeadBytes+cut], version) == nil {
			t.Fatalf("the first %d bytes are taken for the whole", cut)
		}
	}
	claim.Reset()
	if op, err = d.Append(nil); err != nil {
		t.Fatal(err)
	} else if _, version := KindOf(op); version != decisionVersion {
		t.Errorf("a decision without contacts is of version %d", version)
	}
}

// TestLevels: every kind has a level, and nothing else has.
func TestLevels(t *testing.T) {
	for _, step := range []struct {
		kind    Kind
		version uint8
		level   Level
	}{
		{SubjectPut, 1, 1}, {SubjectPatch, 1, 1}, {SubjectDelete, 1, 1}, {SubjectDelete, 2, 4}, {DecisionRecorded, 1, 1}, {DecisionRecorded, 2, 2}, {ResponseRecorded, 1, 1},
		{Keyed, 1, 2}, {Expired, 1, 2}, {StateMarked, 1, 2}, {AttributesDeclared, 1, 1}, {CatalogStored, 1, 1}, {CatalogActivated, 1, 1},
		{PluginStaged, 1, 1}, {PluginActivated, 1, 1}, {NodeAnnounced, 1, 1}, {RetentionSet, 1, 2},
		{0, 1, 0}, {SubjectPut, 2, 4}, {SubjectPatch, 2, 4}, {CatalogActivated, 2, 4}, {SubjectPut, 3, 0}, {DecisionRecorded, 3, 3}, {DecisionRecorded, 4, 4}, {DecisionRecorded, 5, 0}, {60, 1, 0}, {StateMarked, 0, 0},
	} {
		level, known := Needs(step.kind, step.version)
		if level != step.level || known != (step.level > 0) || level > LevelKnown {
			t.Errorf("kind %d version %d: got %d %v, want %d", step.kind, step.version, level, known, step.level)
		}
	}
}
