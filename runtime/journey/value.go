package journey

import (
	"encoding/binary"
	"math"
	"strconv"
	"time"
)

// Kind is the kind of a value that a journey carries along.
type Kind uint8

// The kinds. The numbers are stored: append only.
const (
	Text   Kind = 1
	Number Kind = 2 // in millionths
	Flag   Kind = 3
	Moment Kind = 4 // milliseconds since 1970

	kindEnd = 5
)

var kindNames = [...]string{"", "text", "number", "flag", "time"}

// String is the name of k in catalogs.
func (k Kind) String() string {
	if k < kindEnd {
		return kindNames[k]
	}
	return ""
}

// ParseKind is the inverse of Kind.String; ok is false for an unknown name.
func ParseKind(name string) (Kind, bool) {
	for k := Text; k < kindEnd; k++ {
		if kindNames[k] == name {
			return k, true
		}
	}
	return 0, false
}

// NumberScale is what one is as a Number.
const NumberScale = 1_000_000

// Value is one value: Text has a text, the others an integer. Numbers are whole millionths, so that every
// processor computes the same with them.
type Value struct {
	Kind Kind
	Text string
	Int  int64
}

// Field is a value with its name.
type Field struct {
	Name string
	Value
}

// NumberOf makes a Number of a float; ok is false for one that has too many digits before the point, and
// for what is no number.
func NumberOf(f float64) (v Value, ok bool) {
	scaled := math.Round(f * NumberScale)
	if math.IsNaN(scaled) || math.Abs(scaled) > 1<<53 {
		return Value{}, false
	}
	return Value{Kind: Number, Int: int64(scaled)}, true
}

// Float is a Number as a float.
func (v Value) Float() float64 { return float64(v.Int) / NumberScale }

// AppendText appends v as people read it, and as contexts have it.
func (v Value) AppendText(dst []byte) []byte {
	switch v.Kind {
	case Number:
		return appendNumber(dst, v.Int)
	case Flag:
		return strconv.AppendBool(dst, v.Int != 0)
	case Moment:
		return time.UnixMilli(v.Int).UTC().AppendFormat(dst, "2006-01-02T15:04:05.999Z07:00")
	default:
		return append(dst, v.Text...)
	}
}

// appendNumber writes millionths as a decimal number, without needless zeros.
func appendNumber(dst []byte, n int64) []byte {
	u := uint64(n)
	if n < 0 {
		dst, u = append(dst, '-'), -u
	}
	dst = strconv.AppendUint(dst, u/NumberScale, 10)
	rest := u % NumberScale
	if rest == 0 {
		return dst
	}
	dst = append(dst, '.')
	for unit := uint64(NumberScale / 10); rest > 0; unit /= 10 {
		dst = append(dst, byte('0'+rest/unit))
		rest %= unit
	}
	return dst
}

func appendFields(dst []byte, fields []Field) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(fields)))
	for i := range fields {
		f := &fields[i]
		dst = append(appendText(dst, f.Name), byte(f.Kind))
		if f.Kind == Text {
			dst = appendText(dst, f.Text)
		} else {
			dst = binary.AppendVarint(dst, f.Int)
		}
	}
	return dst
}

// fields reads fields, whose names ascend.
func (r *reader) fields() (fields []Field) {
	n := r.count(MaxFields)
	if n > 0 {
		fields = make([]Field, 0, n)
	}
	for range n {
		f := Field{Name: r.name(), Value: Value{Kind: Kind(r.byte())}}
		if f.Kind == Text {
			f.Text = r.text(MaxTextBytes)
		} else {
			f.Int = r.varint()
		}
		r.bad = r.bad || f.Kind == 0 || f.Kind >= kindEnd || len(fields) > 0 && fields[len(fields)-1].Name >= f.Name
		fields = append(fields, f)
	}
	return fields
}

// merged are the fields of two lists, those of next where both have one of a name. ok is false when they
// would be too many: then it is had.
func merged(had, next []Field) (all []Field, ok bool) {
	if len(next) == 0 {
		return had, true
	}
	all = make([]Field, 0, len(had)+len(next))
	for i, j := 0, 0; i < len(had) || j < len(next); {
		switch {
		case j == len(next) || i < len(had) && had[i].Name < next[j].Name:
			all = append(all, had[i])
			i++
		default:
			if i < len(had) && had[i].Name == next[j].Name {
				i++
			}
			all = append(all, next[j])
			j++
		}
	}
	if len(all) > MaxFields {
		return had, false
	}
	return all, true
}
