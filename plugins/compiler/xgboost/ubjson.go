package xgboost

import (
	"encoding/binary"
	"math"
	"strconv"
	"unicode/utf8"
)

// ubjsonDecoder reads Universal Binary JSON, draft 12 (ubjson.org): every value starts with a byte for
// its type; numbers are big-endian. Containers may name the type of all their elements ($) and their
// number (#), which XGBoost does for arrays of numbers.
type ubjsonDecoder struct {
	position
	// typed is the type of the elements of the container being read where it names one, else 0; it
	// stands for the type byte of the next value.
	typed byte
}

// marker consumes the type byte of a value.
func (u *ubjsonDecoder) marker() byte {
	if t := u.typed; t != 0 {
		u.typed = 0
		return t
	}
	t := u.peek()
	if u.at < len(u.file) {
		u.at++
	}
	return t
}

// peek is the type byte of the next value, after bytes that do nothing; 0 at the end.
func (u *ubjsonDecoder) peek() byte {
	if u.typed != 0 {
		return u.typed
	}
	for u.at < len(u.file) && u.file[u.at] == 'N' {
		u.at++
	}
	if u.at >= len(u.file) {
		return 0
	}
	return u.file[u.at]
}

func (u *ubjsonDecoder) next() kind {
	switch u.peek() {
	case '{':
		return kindObject
	case '[':
		return kindArray
	case 'S', 'C', 'H':
		return kindString
	default:
		return kindScalar
	}
}

func (u *ubjsonDecoder) end() {
	if u.err == nil && u.peek() != 0 {
		u.fail("there is something after the model")
	}
}

// bytes consumes n bytes.
func (u *ubjsonDecoder) bytes(n int64) []byte {
	if n < 0 || n > int64(len(u.file)-u.at) {
		u.fail("the file ends in the middle of a value")
		return nil
	}
	b := u.file[u.at : u.at+int(n)]
	u.at += int(n)
	return b
}

// whole reads the rest of a whole number of type t; ok is false when t is no such type.
func (u *ubjsonDecoder) whole(t byte) (v int64, ok bool) {
	size := int64(1)
	switch t {
	case 'i', 'U':
	case 'I':
		size = 2
	case 'l':
		size = 4
	case 'L':
		size = 8
	default:
		return 0, false
	}
	b := u.bytes(size)
	if b == nil {
		return 0, true
	}
	switch t {
	case 'i':
		return int64(int8(b[0])), true
	case 'U':
		return int64(b[0]), true
	case 'I':
		return int64(int16(binary.BigEndian.Uint16(b))), true
	case 'l':
		return int64(int32(binary.BigEndian.Uint32(b))), true
	default:
		return int64(binary.BigEndian.Uint64(b)), true
	}
}

// length reads a length: a whole number with its type.
func (u *ubjsonDecoder) length() int64 {
	n, ok := u.whole(u.marker())
	if !ok || n < 0 || n > int64(len(u.file)) {
		u.fail("a length is missing, negative or beyond the end of the file")
		return 0
	}
	return n
}

func (u *ubjsonDecoder) object(field func(key string)) {
	u.items('{', '}', func() {
		// A key is a string without its type byte, whatever the type of the values.
		typed := u.typed
		u.typed = 0
		key := u.text(u.length())
		u.typed = typed
		if u.err == nil {
			field(key)
		}
	})
}

func (u *ubjsonDecoder) array(item func()) { u.items('[', ']', item) }

func (u *ubjsonDecoder) items(open, closing byte, item func()) {
	if u.marker() != open {
		u.fail("expected " + strconv.QuoteRune(rune(open)))
		return
	}
	if u.err != nil || !u.enter() {
		return
	}
	defer u.leave()
	typed, count := u.header()
	if count < 0 {
		for u.err == nil {
			if u.peek() == closing {
				u.at++
				return
			}
			item()
		}
		return
	}
	for i := int64(0); i < count && u.err == nil; i++ {
		u.typed = typed
		item()
	}
	u.typed = 0
}

// header reads what a container says of its elements: their type or 0, their number or -1.
func (u *ubjsonDecoder) header() (typed byte, count int64) {
	if u.peek() == '$' {
		u.at++
		if typed = u.peek(); typed == 0 || typed == 'Z' || typed == 'T' || typed == 'F' {
			// Elements without bytes could stand for any number of them.
			u.fail("a list's type is missing, or its elements take no bytes")
			return 0, 0
		}
		u.at++
		if u.peek() != '#' {
			u.fail("a list with a type has no length")
			return 0, 0
		}
	}
	if u.peek() != '#' {
		return 0, -1
	}
	u.at++
	return typed, u.length()
}

func (u *ubjsonDecoder) str() string {
	switch u.marker() {
	case 'S', 'H':
		return u.text(u.length())
	case 'C':
		return u.text(1)
	default:
		u.fail("expected a string")
		return ""
	}
}

func (u *ubjsonDecoder) text(n int64) string {
	b := u.bytes(n)
	if !utf8.Valid(b) {
		u.fail("a string is not UTF-8")
		return ""
	}
	return string(b)
}

func (u *ubjsonDecoder) integer() int64 {
	t := u.marker()
	switch t {
	case 'T':
		return 1
	case 'F':
		return 0
	}
	v, ok := u.whole(t)
	if !ok {
		u.fail("expected a whole number")
	}
	return v
}

func (u *ubjsonDecoder) float() float32 {
	switch t := u.marker(); t {
	case 'd':
		if b := u.bytes(4); b != nil {
			return math.Float32frombits(binary.BigEndian.Uint32(b))
		}
		return 0
	case 'D':
		if b := u.bytes(8); b != nil {
			return float32(math.Float64frombits(binary.BigEndian.Uint64(b)))
		}
		return 0
	default:
		v, ok := u.whole(t)
		if !ok {
			u.fail("expected a number")
		}
		return float32(v)
	}
}

func (u *ubjsonDecoder) skip() {
	switch u.next() {
	case kindObject:
		u.object(func(string) { u.skip() })
	case kindArray:
		u.array(u.skip)
	case kindString:
		u.str()
	default:
		switch t := u.marker(); t {
		case 'Z', 'T', 'F':
		case 'd':
			u.bytes(4)
		case 'D':
			u.bytes(8)
		default:
			if _, ok := u.whole(t); !ok {
				u.fail("a value of an unknown type")
			}
		}
	}
}
