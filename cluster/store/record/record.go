package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of one record. MaxDataBytes bounds the encoded attribute values together: their end
// offsets are 16 bits wide.
const (
	MaxAttributes = nba.MaxAttributes
	MaxDataBytes  = math.MaxUint16
	MaxBytes      = fixedBytes + 2*8 + 2 + maxConsentsBytes + MaxAttributes*entryBytes + MaxDataBytes
)

// The layout: format, purpose width, count, version, granted, refused, in format 2 the length of the
// consents and the consents, table of entries, data.
const (
	format      = 1
	extended    = 2
	versionAt   = 4
	fixedBytes  = 12
	entryBytes  = 4
	idShift     = 20
	tagShift    = 16
	tagMask     = 0xf
	offsetMask  = 0xffff
	maxIntBytes = 8
)

// The tags of values. They are stored: append only.
const (
	tagInvalid = iota
	tagFalse
	tagTrue
	tagInt     // two's complement, little endian, no superfluous bytes
	tagFloat64 // IEEE 754 bits
	tagFloat32 // IEEE 754 bits of a float64 that is exact in 32
	tagWhole   // a float64 that is a whole number, as tagInt
	tagString
	tagMillis  // time in milliseconds, as tagInt
	tagSeconds // time in whole seconds, as tagInt
	tagDays    // time in whole days, as tagInt
	tagEnd
)

const (
	millisPerSecond = 1000
	millisPerDay    = 24 * 60 * 60 * millisPerSecond
)

// ErrCorrupt is returned when bytes are not a record.
var ErrCorrupt = errors.New("subject record is corrupt")

// ErrTooLarge is returned when the attributes of one subject exceed MaxDataBytes.
var ErrTooLarge = fmt.Errorf("the attributes of one subject take more than %d bytes", MaxDataBytes)

// ErrConsents is returned when the consents of one subject are more than nba.MaxChannelConsents channels,
// or not in order.
var ErrConsents = fmt.Errorf("the consents of one subject name more than %d channels, or are not in order", nba.MaxChannelConsents)

// Attr is one attribute with its value.
type Attr struct {
	ID    nba.AttributeID
	Value nba.Value
}

// Record reads one encoded subject. The zero Record is empty; Reset points it at bytes, which must
// not change while it is used. A Record is used by one goroutine; it implements nba.Subject.
type Record struct {
	ref     nba.SubjectRef
	table   []byte // count entries of entryBytes
	data    []byte
	version uint64
	granted nba.PurposeSet
	refused nba.PurposeSet

	extended bool // of format 2
	consents Consents
}

var _ nba.Consenting = (*Record)(nil)

// Reset points r at an encoded record and checks all of it, so that no later read can fail. It
// keeps b and allocates nothing. Bytes that are not a record give ErrCorrupt and an empty Record.
func (r *Record) Reset(ref nba.SubjectRef, b []byte) error {
	*r = Record{ref: ref}
	if len(b) < fixedBytes || b[0] != format && b[0] != extended {
		return ErrCorrupt
	}
	width := int(b[1])
	count := int(binary.LittleEndian.Uint16(b[2:]))
	head := fixedBytes + 2*width
	if width != 1 && width != 2 && width != 4 && width != 8 || count > MaxAttributes || len(b) < head+count*entryBytes {
		return ErrCorrupt
	}
	granted, refused := readSet(b[fixedBytes:], width), readSet(b[fixedBytes+width:], width)
	if granted&refused != 0 {
		return ErrCorrupt
	}
	if b[0] == extended {
		consents, ok := readConsents(b[head:], granted|refused)
		if head += 2 + len(consents); !ok || len(b) < head+count*entryBytes {
			return ErrCorrupt
		}
		r.consents, r.extended = consents, true
	}
	table, data := b[head:head+count*entryBytes], b[head+count*entryBytes:]
	if !valid(table, data) {
		*r = Record{ref: ref}
		return ErrCorrupt
	}
	r.table, r.data = table, data
	r.version = binary.LittleEndian.Uint64(b[versionAt:])
	r.granted, r.refused = granted, refused
	return nil
}

// readConsents takes the consents of a record of format 2 off the front of b. No purpose of them may be in
// the purpose sets.
func readConsents(b []byte, answered nba.PurposeSet) (Consents, bool) {
	if len(b) < 2 {
		return nil, false
	}
	size := int(binary.LittleEndian.Uint16(b))
	if size > maxConsentsBytes || len(b) < 2+size {
		return nil, false
	}
	consents := Consents(b[2 : 2+size : 2+size])
	purposes, ok := consents.check()
	return consents, ok && purposes&answered == 0
}

// valid checks that ids ascend, offsets never descend, the last one is the end of data, and every
// value has a size its tag allows.
func valid(table, data []byte) bool {
	next, start := -1, 0
	for len(table) >= entryBytes {
		e := binary.LittleEndian.Uint32(table)
		table = table[entryBytes:]
		id, end := int(e>>idShift), int(e&offsetMask)
		size := end - start
		if id <= next || size < 0 || end > len(data) || !sizeFits(e>>tagShift&tagMask, size) {
			return false
		}
		next, start = id, end
	}
	return start == len(data)
}

func sizeFits(tag uint32, size int) bool {
	switch tag {
	case tagFalse, tagTrue:
		return size == 0
	case tagInt, tagWhole, tagMillis, tagSeconds, tagDays:
		return size <= maxIntBytes
	case tagFloat64:
		return size == 8
	case tagFloat32:
		return size == 4
	case tagString:
		return size <= nba.MaxStringBytes
	default:
		return false
	}
}

// Ref implements nba.Subject.
func (r *Record) Ref() nba.SubjectRef { return r.ref }

// Version implements nba.Subject.
func (r *Record) Version() uint64 { return r.version }

// Granted implements nba.Subject. Consents for a period are not in it: PurposesAt has them.
func (r *Record) Granted() nba.PurposeSet { return r.granted }

// Refused is the set of purposes the subject refused, without a period. It never meets Granted; a purpose
// in neither and not in Consents was never answered.
func (r *Record) Refused() nba.PurposeSet { return r.refused }

// Len is the number of attributes.
func (r *Record) Len() int { return len(r.table) / entryBytes }

// At is the i-th attribute in the order of ids, 0 <= i < Len(). A string in it shares the memory of
// the record.
func (r *Record) At(i int) Attr {
	e := r.entry(i)
	return Attr{ID: nba.AttributeID(e >> idShift), Value: r.value(i, e)}
}

// Attribute implements nba.Subject. A string in the value shares the memory of the record.
func (r *Record) Attribute(id nba.AttributeID) (nba.Value, bool) {
	// Ids ascend without repetition, so an id stands at its own number or before it. Where no lower
	// id is missing, the first look finds it.
	high := min(int(id), r.Len()-1)
	if high < 0 {
		return nba.Value{}, false
	}
	if e := r.entry(high); nba.AttributeID(e>>idShift) == id {
		return r.value(high, e), true
	}
	low := 0
	for low < high {
		mid := int(uint(low+high) >> 1)
		e := r.entry(mid)
		switch at := nba.AttributeID(e >> idShift); {
		case at == id:
			return r.value(mid, e), true
		case at < id:
			low = mid + 1
		default:
			high = mid
		}
	}
	return nba.Value{}, false
}

func (r *Record) entry(i int) uint32 { return binary.LittleEndian.Uint32(r.table[i*entryBytes:]) }

func (r *Record) cell(i int, e uint32) []byte {
	start := 0
	if i > 0 {
		start = int(r.entry(i-1) & offsetMask)
	}
	return r.data[start:int(e&offsetMask)]
}

func (r *Record) value(i int, e uint32) nba.Value {
	return decode(e>>tagShift&tagMask, r.cell(i, e))
}

// decode reads a value whose size was checked.
func decode(tag uint32, cell []byte) nba.Value {
	switch tag {
	case tagFalse:
		return nba.Bool(false)
	case tagTrue:
		return nba.Bool(true)
	case tagInt:
		return nba.Int(readInt(cell))
	case tagFloat64:
		return nba.Scalar(nba.KindFloat, binary.LittleEndian.Uint64(cell))
	case tagFloat32:
		return nba.Float(float64(math.Float32frombits(binary.LittleEndian.Uint32(cell))))
	case tagWhole:
		return nba.Float(float64(readInt(cell)))
	case tagString:
		return nba.String(unsafe.String(unsafe.SliceData(cell), len(cell)))
	case tagMillis:
		return nba.TimeMillis(readInt(cell))
	case tagSeconds:
		return nba.TimeMillis(readInt(cell) * millisPerSecond)
	case tagDays:
		return nba.TimeMillis(readInt(cell) * millisPerDay)
	default:
		return nba.Value{}
	}
}

func readSet(b []byte, width int) nba.PurposeSet {
	switch width {
	case 1:
		return nba.PurposeSet(b[0])
	case 2:
		return nba.PurposeSet(binary.LittleEndian.Uint16(b))
	case 4:
		return nba.PurposeSet(binary.LittleEndian.Uint32(b))
	default:
		return nba.PurposeSet(binary.LittleEndian.Uint64(b))
	}
}

// readInt reads a little-endian two's complement number of up to 8 bytes.
func readInt(b []byte) int64 {
	switch len(b) {
	case 0:
		return 0
	case 1:
		return int64(int8(b[0]))
	case 2:
		return int64(int16(binary.LittleEndian.Uint16(b)))
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(b)))
	case 8:
		return int64(binary.LittleEndian.Uint64(b))
	}
	var u uint64
	for i, c := range b {
		u |= uint64(c) << (8 * i)
	}
	shift := 64 - 8*len(b)
	return int64(u<<shift) >> shift
}
