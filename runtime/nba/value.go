package nba

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Kind is the type of an attribute and of its values. The numbers are stored: append only.
type Kind uint8

// The kinds. Times are milliseconds since the Unix epoch, UTC.
const (
	KindInvalid Kind = iota
	KindBool
	KindInt
	KindFloat
	KindString
	KindTime
)

var kindNames = [...]string{"invalid", "bool", "int", "float", "string", "time"}

// String is the name of k in catalogs, mappings and the API.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "invalid"
}

// ParseKind is the inverse of Kind.String; ok is false for an unknown name.
func ParseKind(name string) (k Kind, ok bool) {
	for i, known := range kindNames[1:] {
		if name == known {
			return Kind(i + 1), true
		}
	}
	return KindInvalid, false
}

// MarshalText writes the name of k.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads the name of a kind.
func (k *Kind) UnmarshalText(text []byte) error {
	parsed, ok := ParseKind(string(text))
	if !ok {
		return Invalid("", "an attribute type is one of bool, int, float, string, time")
	}
	*k = parsed
	return nil
}

// MaxStringBytes bounds the length of a string value.
const MaxStringBytes = 1024

// Value is one typed value. The zero Value is invalid and stands for "absent". Values are
// comparable; a string Value taken from a Subject shares that record's memory.
type Value struct {
	str  string
	bits uint64
	kind Kind
}

// Bool, Int, Float, String, Time make a Value. Time truncates to milliseconds.
func Bool(b bool) Value {
	v := Value{kind: KindBool}
	if b {
		v.bits = 1
	}
	return v
}

// Int makes an integer Value.
func Int(i int64) Value { return Value{kind: KindInt, bits: uint64(i)} }

// Float makes a floating-point Value.
func Float(f float64) Value { return Value{kind: KindFloat, bits: math.Float64bits(f)} }

// String makes a string Value.
func String(s string) Value { return Value{kind: KindString, str: s} }

// Time makes a time Value.
func Time(t time.Time) Value { return TimeMillis(t.UnixMilli()) }

// TimeMillis makes a time Value from milliseconds since the Unix epoch.
func TimeMillis(ms int64) Value { return Value{kind: KindTime, bits: uint64(ms)} }

// Scalar makes a Value of any kind but string from its raw bits, as Bits returns them.
func Scalar(k Kind, bits uint64) Value { return Value{kind: k, bits: bits} }

// Kind is the type of v; KindInvalid for the zero Value.
func (v Value) Kind() Kind { return v.kind }

// Bits are the raw 64 bits of a bool (0 or 1), int, float (IEEE 754) or time (milliseconds).
func (v Value) Bits() uint64 { return v.bits }

// Bool is the value of a KindBool.
func (v Value) Bool() bool { return v.bits != 0 }

// Int is the value of a KindInt, or the milliseconds of a KindTime.
func (v Value) Int() int64 { return int64(v.bits) }

// Float is the value of a KindFloat.
func (v Value) Float() float64 { return math.Float64frombits(v.bits) }

// Str is the value of a KindString.
func (v Value) Str() string { return v.str }

// Time is the value of a KindTime, in UTC.
func (v Value) Time() time.Time { return time.UnixMilli(int64(v.bits)).UTC() }

// Number is v as a model feature: bools are 0 and 1, times are milliseconds. ok is false for
// strings and for the zero Value.
func (v Value) Number() (f float64, ok bool) {
	switch v.kind {
	case KindBool, KindInt, KindTime:
		return float64(int64(v.bits)), true
	case KindFloat:
		return v.Float(), true
	default:
		return 0, false
	}
}

// Any is v as the API shows it: bool, int64, float64, or string (RFC 3339 for times).
func (v Value) Any() any {
	switch v.kind {
	case KindBool:
		return v.Bool()
	case KindInt:
		return v.Int()
	case KindFloat:
		return v.Float()
	case KindString:
		return v.str
	case KindTime:
		return v.Time().Format(time.RFC3339Nano)
	default:
		return nil
	}
}

// GoString shows the kind alone: values are customer data and stay out of logs.
func (v Value) GoString() string { return "nba.Value(" + v.kind.String() + ")" }

// ParseValue reads the text form of a value of kind k, as it stands in CSV files. Bools accept
// true/false, yes/no and 1/0 in any case; times accept RFC 3339 and 2006-01-02. The error says what
// was expected and never repeats the text.
func ParseValue(k Kind, text string) (Value, error) {
	switch k {
	case KindBool:
		switch len(text) {
		case 1:
			if text == "1" || text == "0" {
				return Bool(text == "1"), nil
			}
		case 2, 3, 4, 5:
			if b, ok := parseBoolWord(text); ok {
				return Bool(b), nil
			}
		}
		return Value{}, fmt.Errorf("not a bool: expected true, false, yes, no, 1 or 0")
	case KindInt:
		i, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return Value{}, fmt.Errorf("not an int: expected a whole number of at most 64 bits")
		}
		return Int(i), nil
	case KindFloat:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return Value{}, fmt.Errorf("not a float: expected a finite decimal number")
		}
		return Float(f), nil
	case KindString:
		if len(text) > MaxStringBytes {
			return Value{}, fmt.Errorf("string longer than %d bytes", MaxStringBytes)
		}
		return String(text), nil
	case KindTime:
		for _, layout := range [...]string{time.RFC3339Nano, time.DateOnly} {
			if t, err := time.Parse(layout, text); err == nil {
				return Time(t), nil
			}
		}
		return Value{}, fmt.Errorf("not a time: expected RFC 3339 or YYYY-MM-DD")
	default:
		return Value{}, fmt.Errorf("unknown attribute type")
	}
}

func parseBoolWord(text string) (value, ok bool) {
	lower := make([]byte, len(text))
	for i := range len(text) {
		lower[i] = text[i] | 0x20
	}
	switch string(lower) {
	case "true", "yes":
		return true, true
	case "false", "no":
		return false, true
	}
	return false, false
}
