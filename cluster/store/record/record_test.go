package record

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

var testSubject = nba.SubjectRef{ID: "447700900123", Type: nba.Subscriber}

// oneOfEach holds the values at which the encoding changes its form.
func oneOfEach() []Attr {
	day := time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)
	values := []nba.Value{
		nba.Bool(false), nba.Bool(true),
		nba.Int(0), nba.Int(1), nba.Int(-1), nba.Int(127), nba.Int(128), nba.Int(-128), nba.Int(-129), nba.Int(1 << 15), nba.Int(1<<31 - 1),
		nba.Int(1 << 47), nba.Int(math.MaxInt64), nba.Int(math.MinInt64),
		nba.Float(0), nba.Float(math.Copysign(0, -1)), nba.Float(1), nba.Float(-3), nba.Float(0.5), nba.Float(0.1), nba.Float(29.85),
		nba.Float(maxWholeFloat - 1), nba.Float(maxWholeFloat), nba.Float(-maxWholeFloat), nba.Float(math.MaxFloat64),
		nba.Float(math.SmallestNonzeroFloat64), nba.Float(math.Inf(-1)), nba.Float(math.NaN()),
		nba.String(""), nba.String("Month-to-month"), nba.String("žluťoučký"), nba.String(strings.Repeat("x", nba.MaxStringBytes)),
		nba.Time(day), nba.Time(day.Add(time.Second)), nba.Time(day.Add(time.Millisecond)), nba.TimeMillis(0),
		nba.TimeMillis(-1), nba.TimeMillis(-86_400_000), nba.TimeMillis(math.MaxInt64), nba.TimeMillis(math.MinInt64),
	}
	attrs := make([]Attr, len(values))
	for i, v := range values {
		attrs[i] = Attr{ID: nba.AttributeID(i * 7), Value: v}
	}
	return attrs
}

func mustAppend(t testing.TB, attrs []Attr, granted, refused nba.PurposeSet) []byte {
	t.Helper()
	b, err := Append(nil, attrs, granted, refused)
	if err != nil {
		t.Fatalf("Append: %v", err)
	}
	return b
}

func mustReset(t testing.TB, b []byte) *Record {
	t.Helper()
	r := &Record{}
	if err := r.Reset(testSubject, b); err != nil {
		t.Fatalf("Reset: %v", err)
	}
	return r
}

func all(r *Record) []Attr {
	var attrs []Attr
	for i := range r.Len() {
		attrs = append(attrs, r.At(i))
	}
	return attrs
}

func sameValue(a, b nba.Value) bool {
	return a.Kind() == b.Kind() && a.Bits() == b.Bits() && a.Str() == b.Str()
}

func diff(want, got []Attr) string {
	return cmp.Diff(want, got, cmp.Comparer(sameValue))
}

func TestRoundTrip(t *testing.T) {
	for _, sets := range []struct{ granted, refused nba.PurposeSet }{
		{0, 0}, {3, 4}, {1 << 7, 1}, {1 << 8, 1}, {1 << 16, 3}, {1 << 31, 2}, {1 << 63, 1},
	} {
		want := oneOfEach()
		b := mustAppend(t, want, sets.granted, sets.refused)
		SetVersion(b, 42)
		r := mustReset(t, b)
		if d := diff(want, all(r)); d != "" {
			t.Errorf("attributes (-want +got):\n%s", d)
		}
		if r.Version() != 42 || r.Granted() != sets.granted || r.Refused() != sets.refused || r.Ref() != testSubject {
			t.Errorf("got version %d, sets %x %x, want 42, %x %x", r.Version(), r.Granted(), r.Refused(), sets.granted, sets.refused)
		}
	}
}

func TestAttributeFindsEachIDAndNoOther(t *testing.T) {
	for _, step := range []int{1, 2, 7, 200} {
		var attrs []Attr
		for id := step / 2; id < MaxAttributes && len(attrs) < 300; id += step {
			attrs = append(attrs, Attr{ID: nba.AttributeID(id), Value: nba.Int(int64(id))})
		}
		r := mustReset(t, mustAppend(t, attrs, 0, 0))
		for id := range nba.AttributeID(MaxAttributes) {
			_, want := slices.BinarySearchFunc(attrs, id, func(a Attr, id nba.AttributeID) int { return int(a.ID) - int(id) })
			v, got := r.Attribute(id)
			if got != want || got && v.Int() != int64(id) {
				t.Fatalf("step %d: Attribute(%d) = %v, %v; want present %v", step, id, v.Int(), got, want)
			}
		}
		if _, ok := r.Attribute(math.MaxUint16); ok {
			t.Errorf("step %d: an id beyond the dictionary was found", step)
		}
	}
	if _, ok := mustReset(t, mustAppend(t, nil, 0, 0)).Attribute(0); ok {
		t.Error("an attribute was found in an empty record")
	}
}

func TestAppendRefuses(t *testing.T) {
	long := nba.String(strings.Repeat("x", nba.MaxStringBytes))
	var tooMuch []Attr
	for id := range nba.AttributeID(65) {
		tooMuch = append(tooMuch, Attr{ID: id, Value: long})
	}
	for name, test := range map[string]struct {
		attrs            []Attr
		granted, refused nba.PurposeSet
		is               error
	}{
		"unsorted":        {attrs: []Attr{{ID: 2, Value: nba.Int(1)}, {ID: 1, Value: nba.Int(1)}}},
		"repeated":        {attrs: []Attr{{ID: 2, Value: nba.Int(1)}, {ID: 2, Value: nba.Int(1)}}},
		"id too large":    {attrs: []Attr{{ID: MaxAttributes, Value: nba.Int(1)}}},
		"no value":        {attrs: []Attr{{ID: 1}}},
		"long string":     {attrs: []Attr{{ID: 1, Value: nba.String(long.Str() + "x")}}},
		"too much":        {attrs: tooMuch, is: ErrTooLarge},
		"both in one set": {granted: 5, refused: 4},
	} {
		_, err := Append(nil, test.attrs, test.granted, test.refused)
		if err == nil || test.is != nil && !errors.Is(err, test.is) {
			t.Errorf("%s: got error %v, want %v", name, err, test.is)
		}
	}
}

func TestSortKeepsTheLast(t *testing.T) {
	got := Sort([]Attr{{ID: 3, Value: nba.Int(1)}, {ID: 1, Value: nba.Int(2)}, {ID: 3, Value: nba.Int(3)}})
	want := []Attr{{ID: 1, Value: nba.Int(2)}, {ID: 3, Value: nba.Int(3)}}
	if d := diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestMerge compares AppendMerge with the same change made to a map.
func TestMerge(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func() (attrs []Attr) {
		for range random.IntN(30) {
			attrs = append(attrs, Attr{ID: nba.AttributeID(random.IntN(40)), Value: nba.Int(random.Int64())})
		}
		return Sort(attrs)
	}
	for range 2000 {
		before, set := pick(), pick()
		var unset []nba.AttributeID
		for _, a := range pick() {
			unset = append(unset, a.ID)
		}
		granted := nba.PurposeSet(random.Uint64N(256))
		refused := nba.PurposeSet(random.Uint64N(256)) &^ granted
		c := Change{Unset: unset, Grant: nba.PurposeSet(random.Uint64N(512)), Refuse: nba.PurposeSet(random.Uint64N(256)), Clear: nba.PurposeSet(random.Uint64N(256))}
		c.Set = mustReset(t, mustAppend(t, set, 0, 0))
		old := mustAppend(t, before, granted, refused)
		SetVersion(old, 9)

		want := map[nba.AttributeID]nba.Value{}
		for _, a := range before {
			want[a.ID] = a.Value
		}
		for _, id := range unset {
			delete(want, id)
		}
		for _, a := range set {
			want[a.ID] = a.Value
		}
		prefix := []byte("prefix")
		merged, err := AppendMerge(prefix, mustReset(t, old), c)
		if err != nil {
			t.Fatal(err)
		}
		got := mustReset(t, merged[len(prefix):])
		if got.Len() != len(want) || got.Version() != 9 {
			t.Fatalf("got %d attributes of version %d, want %d of version 9", got.Len(), got.Version(), len(want))
		}
		for _, a := range all(got) {
			if want[a.ID] != a.Value {
				t.Fatalf("attribute %d is %d, want %d", a.ID, a.Value.Int(), want[a.ID].Int())
			}
		}
		for p := range nba.PurposeID(10) {
			wantGranted := c.Grant.Has(p) || granted.Has(p) && !c.Clear.Has(p) && !c.Refuse.Has(p)
			wantRefused := !c.Grant.Has(p) && (c.Refuse.Has(p) || refused.Has(p) && !c.Clear.Has(p))
			if got.Granted().Has(p) != wantGranted || got.Refused().Has(p) != wantRefused {
				t.Fatalf("purpose %d: granted %v refused %v, want %v %v", p, got.Granted().Has(p), got.Refused().Has(p), wantGranted, wantRefused)
			}
		}
	}
}

func TestMergeWithNothingIsTheSameBytes(t *testing.T) {
	old := mustAppend(t, oneOfEach(), 3, 4)
	SetVersion(old, 7)
	merged, err := AppendMerge(nil, mustReset(t, old), Change{})
	if err != nil || !bytes.Equal(merged, old) {
		t.Errorf("got %x, %v, want %x", merged, err, old)
	}
}

func TestReadingDoesNotAllocate(t *testing.T) {
	b := mustAppend(t, oneOfEach(), 3, 4)
	r := &Record{}
	allocs := testing.AllocsPerRun(100, func() {
		if r.Reset(testSubject, b) != nil {
			t.Fatal("not a record")
		}
		for id := range nba.AttributeID(300) {
			if v, ok := r.Attribute(id); ok && v.Kind() == nba.KindInvalid {
				t.Fatal("invalid value")
			}
		}
		for i := range r.Len() {
			_ = r.At(i)
		}
	})
	if allocs != 0 {
		t.Errorf("reading allocated %v times", allocs)
	}
}

// TestFormatIsFixed pins the bytes: records outlive releases.
func TestFormatIsFixed(t *testing.T) {
	b := mustAppend(t, []Attr{
		{ID: 0, Value: nba.Bool(true)}, {ID: 1, Value: nba.Int(-2)}, {ID: 5, Value: nba.Float(2.5)},
		{ID: 4095, Value: nba.String("hi")},
	}, 1, 6)
	SetVersion(b, 0x0102)
	want := []byte{
		1, 1, 4, 0, 2, 1, 0, 0, 0, 0, 0, 0, 1, 6,
		0, 0, 2, 0, 1, 0, 0x13, 0, 5, 0, 0x55, 0, 7, 0, 0xf7, 0xff,
		0xfe, 0, 0, 0x20, 0x40, 'h', 'i',
	}
	if !bytes.Equal(b, want) {
		t.Errorf("got  %x\nwant %x", b, want)
	}
}

// FuzzReset checks that any bytes are an error or a record whose every read agrees with every other.
func FuzzReset(f *testing.F) {
	for _, attrs := range [][]Attr{nil, oneOfEach(), oneOfEach()[:3]} {
		b := mustAppend(f, attrs, 1, 2)
		f.Add(b)
		for _, at := range []int{0, 1, 2, 12, 13, 14, 16, 17, len(b) - 1} {
			if at < len(b) {
				broken := slices.Clone(b)
				broken[at] ^= 0x41
				f.Add(broken)
			}
		}
		f.Add(b[:len(b)/2])
	}
	f.Add(extendedRecord(f, nba.Consent{Purpose: 1, State: nba.Granted, From: 10, Until: 20}, nba.Consent{Channel: "sms", State: nba.Withdrawn}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Record
		if err := r.Reset(testSubject, b); err != nil {
			if r.Len() != 0 || r.Granted() != 0 {
				t.Fatal("a refused record is not empty")
			}
			return
		}
		attrs := all(&r)
		for i, a := range attrs {
			if i > 0 && attrs[i-1].ID >= a.ID {
				t.Fatal("ids do not ascend")
			}
			v, ok := r.Attribute(a.ID)
			if !ok || !sameValue(v, a.Value) || v.Kind() == nba.KindInvalid {
				t.Fatalf("attribute %d reads differently by id", a.ID)
			}
		}
		merged, err := AppendMerge(nil, &r, Change{Set: &r})
		if err != nil {
			t.Fatalf("merging a record with itself: %v", err)
		}
		var again Record
		if err := again.Reset(testSubject, merged); err != nil {
			t.Fatalf("the merged record is not one: %v", err)
		}
		if d := diff(attrs, all(&again)); d != "" || again.Version() != r.Version() {
			t.Fatalf("merging with itself changed the record (-want +got):\n%s", d)
		}
		encoded, err := Append(nil, attrs, r.Granted(), r.Refused())
		if err != nil {
			return // longer than it came: not every record is in its shortest form
		}
		if err := again.Reset(testSubject, encoded); err != nil {
			t.Fatalf("encoding again: %v", err)
		}
		if d := diff(attrs, all(&again)); d != "" {
			t.Fatalf("encoding again changed the record (-want +got):\n%s", d)
		}
	})
}
