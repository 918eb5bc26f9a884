package record

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Sort orders attributes by id, the order Append wants. Of several values for one id the last wins.
func Sort(attrs []Attr) []Attr {
	slices.SortStableFunc(attrs, func(a, b Attr) int { return int(a.ID) - int(b.ID) })
	kept := attrs[:0]
	for i, a := range attrs {
		if i+1 < len(attrs) && attrs[i+1].ID == a.ID {
			continue
		}
		kept = append(kept, a)
	}
	return kept
}

// Append appends an encoded record of version 0 to dst. The attributes must be in ascending order of
// ids, without repetition, as Sort leaves them; the purpose sets must not meet. It allocates only
// what dst lacks. Attributes that take too much room give ErrTooLarge.
func Append(dst []byte, attrs []Attr, granted, refused nba.PurposeSet) ([]byte, error) {
	return AppendExtended(dst, attrs, granted, refused, nil)
}

// AppendExtended is Append with the consents that the sets cannot hold, as MakeConsents made them. Those
// that are not nil, if only empty, make a record of format 2; IsExtended tells.
func AppendExtended(dst []byte, attrs []Attr, granted, refused nba.PurposeSet, consents Consents) ([]byte, error) {
	dst, tableAt, err := appendHead(dst, len(attrs), granted, refused, consents)
	if err != nil {
		return dst, err
	}
	dst = slices.Grow(dst, len(attrs)*entryBytes)
	dst = dst[:len(dst)+len(attrs)*entryBytes]
	dataAt := len(dst)
	last := -1
	for i, a := range attrs {
		if int(a.ID) <= last || a.ID >= MaxAttributes {
			return dst, fmt.Errorf("attribute ids must ascend below %d", MaxAttributes)
		}
		last = int(a.ID)
		var tag uint32
		if tag, dst, err = appendValue(dst, a.Value); err != nil {
			return dst, err
		}
		if len(dst)-dataAt > MaxDataBytes {
			return dst, ErrTooLarge
		}
		putEntry(dst[tableAt:], i, uint32(a.ID), tag, len(dst)-dataAt)
	}
	return dst, nil
}

// IsExtended tells whether b is a record of format 2, which releases before it cannot read.
func IsExtended(b []byte) bool { return len(b) > 0 && b[0] == extended }

// SetVersion writes the version into an encoded record. b must hold a whole record.
func SetVersion(b []byte, version uint64) { binary.LittleEndian.PutUint64(b[versionAt:], version) }

// Change is what AppendMerge does to a record.
type Change struct {
	// Set holds the attributes that are added or replaced, itself a record; nil sets none. Its purpose
	// sets and version are not looked at. Its Consents are set too, where Unanswered removes.
	Set *Record
	// Unset are the ids to remove, ascending; those that are also set stay.
	Unset []nba.AttributeID
	// Grant, Refuse and Clear change the consents: Clear first, then Refuse, then Grant.
	Grant, Refuse, Clear nba.PurposeSet
	// Forget removes all consents before the others are set.
	Forget bool
}

// AppendMerge appends old with the change made, as an encoded record with the version of old. Values
// are copied as they are, without decoding. It allocates only what dst lacks.
func AppendMerge(dst []byte, old *Record, c Change) ([]byte, error) {
	none := Record{}
	set := c.Set
	if set == nil {
		set = &none
	}
	granted, refused, consents := c.consents(old, set)

	count := mergedLen(old, set, c.Unset)
	base := len(dst)
	dst, tableAt, err := appendHead(dst, count, granted, refused, consents)
	if err != nil {
		return dst, err
	}
	dst = slices.Grow(dst, count*entryBytes+len(old.data)+len(set.data))
	dst = dst[:len(dst)+count*entryBytes]
	dataAt := len(dst)
	m := merger{old: old, set: set, unset: c.Unset}
	for i := 0; ; i++ {
		from, at, ok := m.next()
		if !ok {
			break
		}
		e := from.entry(at)
		dst = append(dst, from.cell(at, e)...)
		if len(dst)-dataAt > MaxDataBytes {
			return dst, ErrTooLarge
		}
		putEntry(dst[tableAt:], i, e>>idShift, e>>tagShift&tagMask, len(dst)-dataAt)
	}
	SetVersion(dst[base:], old.version)
	return dst, nil
}

// consents are those of old with the change made; nil if the sets hold all of them.
func (c *Change) consents(old, set *Record) (granted, refused nba.PurposeSet, rest Consents) {
	before, clear := old.consents, c.Clear
	if c.Forget {
		before, clear = nil, ^nba.PurposeSet(0)
	}
	named, _ := set.consents.check()
	clear |= named
	refused = old.refused&^clear | c.Refuse
	granted = (old.granted&^clear)&^c.Refuse | c.Grant
	refused &^= c.Grant
	if rest = mergeConsents(before, set.consents, clear|c.Refuse|c.Grant); len(rest) == 0 {
		rest = nil
	}
	return granted, refused, rest
}

// Put is put as it is stored in the place of old, at a moment in milliseconds since 1970: its consents
// are those of Replacing. A put with nothing to merge is stored as it is.
func Put(dst []byte, old, put *Record, stored []byte, ms int64) ([]byte, error) {
	if !put.extended && len(old.consents) == 0 {
		return append(dst, stored...), nil
	}
	granted, refused, consents := Replacing(old, put, ms)
	if len(consents) == 0 {
		consents = nil
	}
	dst, tableAt, err := appendHead(dst, put.Len(), granted, refused, consents)
	if err != nil {
		return dst, err
	}
	dst = append(dst[:tableAt], put.table...)
	return append(dst, put.data...), nil
}

// merger walks two records in the order of ids; where both hold an id, set wins.
type merger struct {
	old, set *Record
	unset    []nba.AttributeID
	i, j     int
}

func (m *merger) next() (from *Record, at int, ok bool) {
	for m.i < m.old.Len() {
		id := m.old.entry(m.i) >> idShift
		if m.j < m.set.Len() {
			switch other := m.set.entry(m.j) >> idShift; {
			case other < id:
				m.j++
				return m.set, m.j - 1, true
			case other == id:
				m.i, m.j = m.i+1, m.j+1
				return m.set, m.j - 1, true
			}
		}
		m.i++
		for len(m.unset) > 0 && uint32(m.unset[0]) < id {
			m.unset = m.unset[1:]
		}
		if len(m.unset) > 0 && uint32(m.unset[0]) == id {
			continue
		}
		return m.old, m.i - 1, true
	}
	if m.j < m.set.Len() {
		m.j++
		return m.set, m.j - 1, true
	}
	return nil, 0, false
}

func mergedLen(old, set *Record, unset []nba.AttributeID) int {
	m := merger{old: old, set: set, unset: unset}
	n := 0
	for {
		if _, _, ok := m.next(); !ok {
			return n
		}
		n++
	}
}

func appendHead(dst []byte, count int, granted, refused nba.PurposeSet, consents Consents) (head []byte, tableAt int, err error) {
	if count > MaxAttributes {
		return dst, 0, fmt.Errorf("more than %d attributes", MaxAttributes)
	}
	if granted&refused != 0 {
		return dst, 0, fmt.Errorf("a purpose is both granted and refused")
	}
	purposes, ok := consents.check()
	if !ok || len(consents) > maxConsentsBytes {
		return dst, 0, ErrConsents
	}
	if purposes&(granted|refused) != 0 {
		return dst, 0, fmt.Errorf("a purpose is answered twice")
	}
	width, layout := setWidth(granted|refused), byte(format)
	if consents != nil {
		layout = extended
	}
	dst = append(dst, layout, byte(width))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(count))
	dst = binary.LittleEndian.AppendUint64(dst, 0)
	for _, set := range [...]nba.PurposeSet{granted, refused} {
		for range width {
			dst = append(dst, byte(set))
			set >>= 8
		}
	}
	if consents != nil {
		dst = append(binary.LittleEndian.AppendUint16(dst, uint16(len(consents))), consents...)
	}
	return dst, len(dst), nil
}

// setWidth is the least of 1, 2, 4 and 8 bytes that hold s.
func setWidth(s nba.PurposeSet) int {
	switch n := bits.Len64(uint64(s)); {
	case n <= 8:
		return 1
	case n <= 16:
		return 2
	case n <= 32:
		return 4
	default:
		return 8
	}
}

func putEntry(table []byte, i int, id, tag uint32, end int) {
	binary.LittleEndian.PutUint32(table[i*entryBytes:], id<<idShift|tag<<tagShift|uint32(end))
}

func appendValue(dst []byte, v nba.Value) (tag uint32, out []byte, err error) {
	switch v.Kind() {
	case nba.KindBool:
		if v.Bool() {
			return tagTrue, dst, nil
		}
		return tagFalse, dst, nil
	case nba.KindInt:
		return tagInt, appendInt(dst, v.Int()), nil
	case nba.KindFloat:
		tag, dst = appendFloat(dst, v.Float())
		return tag, dst, nil
	case nba.KindString:
		if len(v.Str()) > nba.MaxStringBytes {
			return 0, dst, fmt.Errorf("string value longer than %d bytes", nba.MaxStringBytes)
		}
		return tagString, append(dst, v.Str()...), nil
	case nba.KindTime:
		ms := v.Int()
		switch {
		case ms%millisPerDay == 0:
			return tagDays, appendInt(dst, ms/millisPerDay), nil
		case ms%millisPerSecond == 0:
			return tagSeconds, appendInt(dst, ms/millisPerSecond), nil
		}
		return tagMillis, appendInt(dst, ms), nil
	default:
		return 0, dst, fmt.Errorf("attribute value of no kind")
	}
}

// maxWholeFloat bounds the floats stored as whole numbers: beyond it they would not be shorter.
const maxWholeFloat = 1 << 23

func appendFloat(dst []byte, f float64) (tag uint32, out []byte) {
	negativeZero := f == 0 && math.Signbit(f)
	if f >= -maxWholeFloat && f < maxWholeFloat && f == math.Trunc(f) && !negativeZero {
		return tagWhole, appendInt(dst, int64(f))
	}
	if short := float32(f); math.Float64bits(float64(short)) == math.Float64bits(f) {
		return tagFloat32, binary.LittleEndian.AppendUint32(dst, math.Float32bits(short))
	}
	return tagFloat64, binary.LittleEndian.AppendUint64(dst, math.Float64bits(f))
}

// appendInt appends the fewest bytes that give i back through readInt.
func appendInt(dst []byte, i int64) []byte {
	if i == 0 {
		return dst
	}
	// The sign takes a bit: n bytes hold 8n-1 bits beside it.
	magnitude := bits.Len64(uint64(i ^ i>>63))
	for range magnitude/8 + 1 {
		dst = append(dst, byte(i))
		i >>= 8
	}
	return dst
}
