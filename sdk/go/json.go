package arbiter

import (
	"strconv"
	"unicode/utf8"
	"unsafe"
)

// reader reads JSON (RFC 8259) from its beginning to its end. encoding/json would double the size of a
// plugin and use several times the fuel. After the first mistake every method answers nothing.
type reader struct {
	text  []byte
	at    int
	wrong bool
	first bool // nothing of the current object or list was read yet
	depth int
}

const maxDepth = 64

func (r *reader) peek() byte {
	for r.at < len(r.text) {
		switch c := r.text[r.at]; c {
		case ' ', '\t', '\n', '\r':
			r.at++
		default:
			return c
		}
	}
	return 0
}

func (r *reader) fail() { r.wrong, r.at = true, len(r.text) }

func (r *reader) take(c byte) {
	if r.peek() != c {
		r.fail()
		return
	}
	r.at++
}

// enter begins an object or a list; next tells whether there is another member, and ends it otherwise.
func (r *reader) enter(open byte) {
	r.take(open)
	if r.depth++; r.depth > maxDepth {
		r.fail()
	}
	r.first = true
}

func (r *reader) next(end byte) bool {
	if r.wrong {
		return false
	}
	if r.peek() == end {
		r.at++
		r.depth--
		r.first = false
		return false
	}
	if !r.first {
		r.take(',')
	}
	r.first = false
	return !r.wrong
}

// key is the name of the next member of an object.
func (r *reader) key() string {
	name := r.string()
	r.take(':')
	return name
}

// powers are those of ten that a 64-bit float holds exactly.
var powers = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// number reads up to 15 digits with one multiplication or division, which is exact (Clinger 1990); what the
// host writes has no more.
func (r *reader) number() float64 {
	r.peek()
	begin, negative := r.at, false
	if r.at < len(r.text) && r.text[r.at] == '-' {
		negative = true
		r.at++
	}
	whole, digits := r.digits(0, 0)
	scale := 0
	if r.at < len(r.text) && r.text[r.at] == '.' {
		r.at++
		point := r.at
		whole, digits = r.digits(whole, digits)
		scale = point - r.at
	}
	if r.at < len(r.text) && r.text[r.at]|0x20 == 'e' {
		r.at++
		minus := r.at < len(r.text) && r.text[r.at] == '-'
		if minus || r.at < len(r.text) && r.text[r.at] == '+' {
			r.at++
		}
		exponent, size := r.digits(0, 0)
		if size > 4 {
			exponent = 9999
		}
		if minus {
			scale -= int(exponent)
		} else {
			scale += int(exponent)
		}
	}
	if digits == 0 && r.at == begin || digits > 15 || scale < -22 || scale > 22 {
		return r.slow(begin)
	}
	f := float64(whole)
	if scale < 0 {
		f /= powers[-scale]
	} else {
		f *= powers[scale]
	}
	if negative {
		f = -f
	}
	return f
}

// digits reads digits behind whole, which has so many significant ones.
func (r *reader) digits(whole uint64, digits int) (uint64, int) {
	for r.at < len(r.text) && r.text[r.at]-'0' <= 9 {
		whole = whole*10 + uint64(r.text[r.at]-'0')
		if whole != 0 {
			digits++
		}
		r.at++
	}
	return whole, digits
}

func (r *reader) slow(begin int) float64 {
	f, err := strconv.ParseFloat(string(r.text[begin:r.at]), 64)
	if err != nil {
		r.fail()
	}
	return f
}

func (r *reader) bool() bool {
	if r.peek() == 't' {
		r.word("true")
		return !r.wrong
	}
	r.word("false")
	return false
}

func (r *reader) word(w string) {
	if r.at+len(w) > len(r.text) || string(r.text[r.at:r.at+len(w)]) != w {
		r.fail()
		return
	}
	r.at += len(w)
}

func (r *reader) string() string {
	r.take('"')
	begin, at, text := r.at, r.at, r.text
	for at < len(text) && text[at] != '"' && text[at] != '\\' && text[at] >= 0x20 {
		at++
	}
	r.at = at
	switch {
	case at == len(text) || text[at] < 0x20:
		r.fail()
		return ""
	case text[at] == '\\':
		return r.escaped(begin)
	}
	r.at++
	return unsafe.String(unsafe.SliceData(text[begin:at]), at-begin) // the input outlives the call
}

// escaped reads the rest of a string that began at begin and has an escape at r.at.
func (r *reader) escaped(begin int) string {
	out := append([]byte(nil), r.text[begin:r.at]...)
	for r.at < len(r.text) {
		c := r.text[r.at]
		r.at++
		switch {
		case c == '"':
			return string(out)
		case c < 0x20:
			r.fail()
			return ""
		case c != '\\':
			out = append(out, c)
		case r.at < len(r.text):
			out = r.escape(out)
		}
	}
	r.fail()
	return ""
}

func (r *reader) escape(out []byte) []byte {
	c := r.text[r.at]
	r.at++
	switch c {
	case '"', '\\', '/':
		return append(out, c)
	case 'b':
		return append(out, '\b')
	case 'f':
		return append(out, '\f')
	case 'n':
		return append(out, '\n')
	case 'r':
		return append(out, '\r')
	case 't':
		return append(out, '\t')
	case 'u':
		high := r.hex()
		if high >= 0xd800 && high < 0xdc00 && r.at+1 < len(r.text) && r.text[r.at] == '\\' && r.text[r.at+1] == 'u' {
			before := r.at
			r.at += 2
			if low := r.hex(); low >= 0xdc00 && low < 0xe000 {
				return utf8.AppendRune(out, (high-0xd800)<<10+(low-0xdc00)+0x10000)
			}
			r.at = before
		}
		return utf8.AppendRune(out, high) // half a pair becomes the replacement character
	}
	r.fail()
	return out
}

func (r *reader) hex() rune {
	if r.at+4 > len(r.text) {
		r.fail()
		return 0
	}
	n, err := strconv.ParseUint(string(r.text[r.at:r.at+4]), 16, 32)
	if err != nil {
		r.fail()
		return 0
	}
	r.at += 4
	return rune(n)
}

// skip reads a value of any kind.
func (r *reader) skip() {
	switch r.peek() {
	case '{':
		for r.enter('{'); r.next('}'); {
			r.key()
			r.skip()
		}
	case '[':
		for r.enter('['); r.next(']'); {
			r.skip()
		}
	case '"':
		r.string()
	case 't', 'f':
		r.bool()
	case 'n':
		r.word("null")
	default:
		r.number()
	}
}

// finish tells whether everything was read and nothing was wrong.
func (r *reader) finish() bool { return r.peek() == 0 && !r.wrong }

// appendText appends a JSON string.
func appendText(dst []byte, text string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	begin := 0
	for i := 0; i < len(text); i++ {
		c := text[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, text[begin:i]...)
		begin = i + 1
		if c < 0x20 {
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		} else {
			dst = append(dst, '\\', c)
		}
	}
	return append(append(dst, text[begin:]...), '"')
}
