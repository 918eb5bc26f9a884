package api

import (
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// stringOf reads a string of at most limit bytes.
func (r *jsonReader) stringOf(limit int) string {
	if !r.expect('"', "a string") {
		return ""
	}
	s := r.str()
	if len(s) > limit {
		r.invalid("the string is longer than " + strconv.Itoa(limit) + " bytes")
		return ""
	}
	return s
}

// boolean reads true or false.
func (r *jsonReader) boolean() bool {
	switch r.peek() {
	case 't':
		r.literal("true")
		return true
	case 'f':
		r.literal("false")
	case 0:
	default:
		r.wrongType("true or false")
	}
	return false
}

// null passes a null and tells whether there was one.
func (r *jsonReader) null() bool {
	if r.peek() != 'n' {
		return false
	}
	r.literal("null")
	return r.fault == nil
}

// integer reads a whole number between low and high.
func (r *jsonReader) integer(low, high int64) int64 {
	if c := r.peek(); c != '-' && (c < '0' || c > '9') {
		if c != 0 {
			r.wrongType("a whole number")
		}
		return 0
	}
	token, whole := r.number()
	if r.fault != nil {
		return 0
	}
	n, err := strconv.ParseInt(token, 10, 64)
	if !whole || err != nil || n < low || n > high {
		r.invalid("the value must be a whole number from " + strconv.FormatInt(low, 10) + " to " + strconv.FormatInt(high, 10))
		return 0
	}
	return n
}

// unsigned reads a whole number of 64 bits without sign.
func (r *jsonReader) unsigned() uint64 {
	if c := r.peek(); c < '0' || c > '9' {
		if c != 0 {
			r.wrongType("a whole number that is not negative")
		}
		return 0
	}
	token, whole := r.number()
	if r.fault != nil {
		return 0
	}
	n, err := strconv.ParseUint(token, 10, 64)
	if !whole || err != nil {
		r.invalid("the value must be a whole number of at most 64 bits")
		return 0
	}
	return n
}

// float reads a number that is finite as a float64.
func (r *jsonReader) float() float64 {
	if c := r.peek(); c != '-' && (c < '0' || c > '9') {
		if c != 0 {
			r.wrongType("a number")
		}
		return 0
	}
	token, _ := r.number()
	if r.fault != nil {
		return 0
	}
	return r.parseFloat(token)
}

func (r *jsonReader) parseFloat(token string) float64 {
	f, err := strconv.ParseFloat(token, 64)
	if err != nil || math.IsInf(f, 0) {
		r.invalid("the number is beyond the range of a double")
		return 0
	}
	return f
}

// scalar reads a bool, int64, float64 or string; a whole number without point and exponent is an int64
// if it fits. nil for null and after a fault.
func (r *jsonReader) scalar(limit int) any {
	switch c := r.peek(); c {
	case 0:
		return nil
	case 'n':
		r.literal("null")
		return nil
	case 't', 'f':
		return r.boolean()
	case '"':
		return r.stringOf(limit)
	case '{', '[':
		r.wrongType("a bool, a number or a string")
		return nil
	default:
		token, whole := r.number()
		if r.fault != nil {
			return nil
		}
		if whole {
			if n, err := strconv.ParseInt(token, 10, 64); err == nil {
				return n
			}
		}
		return r.parseFloat(token)
	}
}

func (r *jsonReader) literal(word string) {
	if !strings.HasPrefix(r.text[r.pos:], word) {
		r.malformed("a value cannot be read")
		return
	}
	r.pos += len(word)
}

// skip passes any value.
func (r *jsonReader) skip() {
	switch r.peek() {
	case 0:
	case '{':
		r.entries("", func(string) { r.skip() })
	case '[':
		r.items(math.MaxInt, func(int) { r.skip() })
	case '"':
		r.str()
	case 't':
		r.literal("true")
	case 'f':
		r.literal("false")
	case 'n':
		r.literal("null")
	default:
		r.number()
	}
}

// number passes a number and returns its text, and whether it has neither point nor exponent.
func (r *jsonReader) number() (token string, whole bool) {
	start := r.pos
	if r.at('-') {
		r.pos++
	}
	switch {
	case r.at('0'):
		r.pos++
	case !r.digits():
		r.malformed("a value cannot be read")
		return "", false
	}
	whole = true
	if r.at('.') {
		whole = false
		r.pos++
		if !r.digits() {
			r.malformed("a digit is missing after the point")
			return "", false
		}
	}
	if r.at('e') || r.at('E') {
		whole = false
		r.pos++
		if r.at('+') || r.at('-') {
			r.pos++
		}
		if !r.digits() {
			r.malformed("a digit is missing in the exponent")
			return "", false
		}
	}
	return r.text[start:r.pos], whole
}

func (r *jsonReader) at(c byte) bool { return r.pos < len(r.text) && r.text[r.pos] == c }

func (r *jsonReader) digits() bool {
	start := r.pos
	for r.pos < len(r.text) && r.text[r.pos] >= '0' && r.text[r.pos] <= '9' {
		r.pos++
	}
	return r.pos > start
}

// str passes a string, whose quote comes next, and returns it.
func (r *jsonReader) str() string {
	r.pos++
	start, ascii := r.pos, true
	for r.pos < len(r.text) {
		switch c := r.text[r.pos]; {
		case c == '"':
			s := r.text[start:r.pos]
			if !ascii && !utf8.ValidString(s) {
				r.malformed("a string is not UTF-8")
				return ""
			}
			r.pos++
			return s
		case c == '\\':
			return r.escaped(start)
		case c < 0x20:
			r.malformed("a string holds a control character: escape it")
			return ""
		case c >= utf8.RuneSelf:
			ascii = false
		}
		r.pos++
	}
	r.malformed("a string has no end")
	return ""
}

// escaped reads on a string in which an escape comes next.
func (r *jsonReader) escaped(start int) string {
	var b strings.Builder
	b.WriteString(r.text[start:r.pos])
	for r.pos < len(r.text) {
		switch c := r.text[r.pos]; {
		case c == '"':
			if !utf8.ValidString(b.String()) {
				r.malformed("a string is not UTF-8")
				return ""
			}
			r.pos++
			return b.String()
		case c < 0x20:
			r.malformed("a string holds a control character: escape it")
			return ""
		case c != '\\':
			b.WriteByte(c)
			r.pos++
		default:
			if !r.escape(&b) {
				return ""
			}
		}
	}
	r.malformed("a string has no end")
	return ""
}

func (r *jsonReader) escape(b *strings.Builder) bool {
	if r.pos+1 >= len(r.text) {
		r.malformed("a string has no end")
		return false
	}
	const from, to = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
	c := r.text[r.pos+1]
	if i := strings.IndexByte(from, c); i >= 0 {
		b.WriteByte(to[i])
		r.pos += 2
		return true
	}
	first, ok := r.hex4(r.pos)
	if !ok {
		r.malformed("an escape cannot be read")
		return false
	}
	r.pos += 6
	switch {
	case first >= 0xDC00 && first < 0xE000:
		r.malformed("an escape is half of a surrogate pair")
		return false
	case first >= 0xD800 && first < 0xDC00:
		second, ok := r.hex4(r.pos)
		if !ok || second < 0xDC00 || second >= 0xE000 {
			r.malformed("an escape is half of a surrogate pair")
			return false
		}
		r.pos += 6
		first = 0x10000 + (first-0xD800)<<10 + (second - 0xDC00)
	}
	b.WriteRune(first)
	return true
}

// hex4 reads \uXXXX at pos.
func (r *jsonReader) hex4(pos int) (rune, bool) {
	if pos+6 > len(r.text) || r.text[pos] != '\\' || r.text[pos+1] != 'u' {
		return 0, false
	}
	for _, c := range []byte(r.text[pos+2 : pos+6]) {
		if !(c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f') {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(r.text[pos+2:pos+6], 16, 16)
	return rune(n), err == nil
}
