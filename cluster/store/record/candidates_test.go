package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"testing"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The formats that were measured against each other; docs/benchmarks/subject-record.md has the
// figures. The ones that were not taken live here alone. All three check a record before they read
// it, hold the same header and give the same values.

type candidate struct {
	name   string
	encode func(dst []byte, attrs []Attr) []byte
	// open checks b and gives a function that reads one attribute of it.
	open func(b []byte) (reader, error)
}

type reader interface {
	Attribute(id nba.AttributeID) (nba.Value, bool)
}

var errCandidate = errors.New("not a record")

func candidates() []candidate {
	var table Record
	var ranked rankRecord
	var list protoRecord
	return []candidate{
		{"table", func(dst []byte, attrs []Attr) []byte {
			dst, err := Append(dst, attrs, 3, 4)
			if err != nil {
				panic(err)
			}
			return dst
		}, func(b []byte) (reader, error) { return &table, table.Reset(testSubject, b) }},
		{"bitmap", appendRank, func(b []byte) (reader, error) { return &ranked, ranked.reset(b) }},
		{"protowire", appendProto, func(b []byte) (reader, error) { return &list, list.reset(b) }},
	}
}

// rankRecord: a bitmap of the ids there are; the number of bits below an id is its place in a table
// of three bytes each (tag, end offset); then the data.
type rankRecord struct {
	bitmap, table, data []byte
}

func appendRank(dst []byte, attrs []Attr) []byte {
	words := 0
	if n := len(attrs); n > 0 {
		words = int(attrs[n-1].ID)/64 + 1
	}
	dst, _, err := appendHead(dst, words, 3, 4, nil)
	if err != nil {
		panic(err)
	}
	bitmapAt := len(dst)
	dst = append(dst, make([]byte, 8*words)...)
	for _, a := range attrs {
		dst[bitmapAt+int(a.ID)/8] |= 1 << (a.ID % 8)
	}
	tableAt := len(dst)
	dst = append(dst, make([]byte, 3*len(attrs))...)
	dataAt := len(dst)
	for i, a := range attrs {
		var tag uint32
		if tag, dst, err = appendValue(dst, a.Value); err != nil {
			panic(err)
		}
		dst[tableAt+3*i] = byte(tag)
		binary.LittleEndian.PutUint16(dst[tableAt+3*i+1:], uint16(len(dst)-dataAt))
	}
	return dst
}

func (r *rankRecord) reset(b []byte) error {
	if len(b) < 14 || b[1] != 1 {
		return errCandidate
	}
	words := int(binary.LittleEndian.Uint16(b[2:]))
	b = b[14:]
	if words > MaxAttributes/64 || len(b) < 8*words {
		return errCandidate
	}
	r.bitmap = b[:8*words]
	count := 0
	for i := 0; i < len(r.bitmap); i += 8 {
		count += bits.OnesCount64(binary.LittleEndian.Uint64(r.bitmap[i:]))
	}
	b = b[8*words:]
	if len(b) < 3*count {
		return errCandidate
	}
	r.table, r.data = b[:3*count], b[3*count:]
	start := 0
	for i := 0; i < len(r.table); i += 3 {
		end := int(binary.LittleEndian.Uint16(r.table[i+1:]))
		if end < start || end > len(r.data) || !sizeFits(uint32(r.table[i]), end-start) {
			return errCandidate
		}
		start = end
	}
	if start != len(r.data) {
		return errCandidate
	}
	return nil
}

func (r *rankRecord) Attribute(id nba.AttributeID) (nba.Value, bool) {
	word := int(id) / 64 * 8
	if word >= len(r.bitmap) {
		return nba.Value{}, false
	}
	w := binary.LittleEndian.Uint64(r.bitmap[word:])
	if w>>(id%64)&1 == 0 {
		return nba.Value{}, false
	}
	rank := bits.OnesCount64(w & (1<<(id%64) - 1))
	for i := 0; i < word; i += 8 {
		rank += bits.OnesCount64(binary.LittleEndian.Uint64(r.bitmap[i:]))
	}
	start := 0
	if rank > 0 {
		start = int(binary.LittleEndian.Uint16(r.table[3*rank-2:]))
	}
	return decode(uint32(r.table[3*rank]), r.data[start:binary.LittleEndian.Uint16(r.table[3*rank+1:])]), true
}

// protoRecord: a protobuf message with a field for each attribute, its number the id plus one, in the
// wire type of its kind. Without the dictionary the kinds of varints are not known: the low bits of
// the number hold them.
type protoRecord struct{ b []byte }

func appendProto(dst []byte, attrs []Attr) []byte {
	dst = append(dst, format, 1)
	dst = binary.LittleEndian.AppendUint64(dst, 0)
	dst = append(dst, 3, 4)
	for _, a := range attrs {
		number := protowire.Number(int(a.ID)*8 + int(a.Value.Kind()) + 1)
		switch a.Value.Kind() {
		case nba.KindString:
			dst = protowire.AppendString(protowire.AppendTag(dst, number, protowire.BytesType), a.Value.Str())
		case nba.KindFloat:
			dst = protowire.AppendFixed64(protowire.AppendTag(dst, number, protowire.Fixed64Type), a.Value.Bits())
		default:
			dst = protowire.AppendVarint(protowire.AppendTag(dst, number, protowire.VarintType), protowire.EncodeZigZag(a.Value.Int()))
		}
	}
	return dst
}

func (r *protoRecord) reset(b []byte) error {
	if len(b) < 12 {
		return errCandidate
	}
	r.b = b[12:]
	for rest := r.b; len(rest) > 0; {
		_, _, n := protowire.ConsumeField(rest)
		if n < 0 {
			return errCandidate
		}
		rest = rest[n:]
	}
	return nil
}

func (r *protoRecord) Attribute(id nba.AttributeID) (nba.Value, bool) {
	for rest := r.b; len(rest) > 0; {
		number, wire, n := protowire.ConsumeTag(rest)
		rest = rest[n:]
		if (int(number)-1)/8 == int(id) {
			kind := nba.Kind((int(number) - 1) % 8)
			switch wire {
			case protowire.BytesType:
				s, _ := protowire.ConsumeBytes(rest)
				return nba.String(unsafe.String(unsafe.SliceData(s), len(s))), true
			case protowire.Fixed64Type:
				v, _ := protowire.ConsumeFixed64(rest)
				return nba.Float(math.Float64frombits(v)), true
			default:
				v, _ := protowire.ConsumeVarint(rest)
				return nba.Scalar(kind, uint64(protowire.DecodeZigZag(v))), true
			}
		}
		rest = rest[protowire.ConsumeFieldValue(number, wire, rest):]
	}
	return nba.Value{}, false
}

// telco are n attributes in the proportions of a telco customer: a third flags and short words, the
// rest counts, amounts and dates.
func telco(n int) []Attr {
	words := []string{"Month-to-month", "Fiber optic", "Electronic check", "No internet service", "DSL"}
	attrs := make([]Attr, n)
	for i := range attrs {
		v := nba.Value{}
		switch i % 6 {
		case 0, 1:
			v = nba.Bool(i%4 == 0)
		case 2:
			v = nba.Int(int64(i * 37 % 1000))
		case 3:
			v = nba.Float(float64(i*1793%20000) / 100)
		case 4:
			v = nba.String(words[i%len(words)])
		case 5:
			v = nba.TimeMillis(int64(15000+i) * millisPerDay)
		}
		attrs[i] = Attr{ID: nba.AttributeID(i), Value: v}
	}
	return attrs
}

func TestCandidatesAgree(t *testing.T) {
	for _, n := range []int{0, 1, 20, 80, 300} {
		attrs := telco(n)
		for _, c := range candidates() {
			r, err := c.open(c.encode(nil, attrs))
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			for _, a := range attrs {
				if v, ok := r.Attribute(a.ID); !ok || !sameValue(v, a.Value) {
					t.Errorf("%s with %d attributes: attribute %d differs", c.name, n, a.ID)
				}
			}
			if _, ok := r.Attribute(nba.AttributeID(n)); ok {
				t.Errorf("%s: an attribute too many", c.name)
			}
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, n := range []int{20, 80} {
		attrs := telco(n)
		for _, c := range candidates() {
			b.Run(fmt.Sprintf("%s/attributes=%d", c.name, n), func(b *testing.B) {
				b.ReportAllocs()
				var dst []byte
				for b.Loop() {
					dst = c.encode(dst[:0], attrs)
				}
				b.ReportMetric(float64(len(dst)), "bytes")
			})
		}
	}
}

// BenchmarkOpenAndRead10 is what a decision does: check the record, read 10 attributes by id.
func BenchmarkOpenAndRead10(b *testing.B) {
	for _, n := range []int{20, 80} {
		attrs := telco(n)
		for _, c := range candidates() {
			b.Run(fmt.Sprintf("%s/attributes=%d", c.name, n), func(b *testing.B) {
				encoded := c.encode(nil, attrs)
				b.ReportAllocs()
				for b.Loop() {
					r, err := c.open(encoded)
					if err != nil {
						b.Fatal(err)
					}
					for i := range 10 {
						if _, ok := r.Attribute(nba.AttributeID(i * n / 10)); !ok {
							b.Fatal("missing")
						}
					}
				}
			})
		}
	}
}

// BenchmarkOpenAndRead10Sparse reads records that have one in three ids of 240.
func BenchmarkOpenAndRead10Sparse(b *testing.B) {
	attrs := telco(80)
	for i := range attrs {
		attrs[i].ID *= 3
	}
	for _, c := range candidates() {
		b.Run(c.name, func(b *testing.B) {
			encoded := c.encode(nil, attrs)
			b.ReportAllocs()
			b.ReportMetric(float64(len(encoded)), "bytes")
			for b.Loop() {
				r, err := c.open(encoded)
				if err != nil {
					b.Fatal(err)
				}
				for i := range 10 {
					if _, ok := r.Attribute(nba.AttributeID(i * 24)); !ok {
						b.Fatal("missing")
					}
				}
			}
		})
	}
}
