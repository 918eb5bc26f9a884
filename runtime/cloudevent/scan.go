package cloudevent

import (
	"strings"
	"unicode/utf8"
)

// maxDepth bounds how deep the data of an event is nested.
const maxDepth = 32

// scanner passes over one JSON text (RFC 8259), strictly: valid UTF-8, paired surrogates, no control
// characters in strings, bounded depth. fault is set by the first mistake; from then on every method fails.
type scanner struct {
	text  string
	pos   int
	fault string
}

func (s *scanner) fail(what string) bool {
	if s.fault == "" {
		s.fault = what
	}
	s.pos = len(s.text)
	return false
}

// peek is the first byte of the next token, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) take(c byte, what string) bool {
	if s.peek() != c {
		return s.fail(what)
	}
	s.pos++
	return true
}

// end tells whether nothing follows.
func (s *scanner) end() bool {
	if s.peek() != 0 || s.pos < len(s.text) {
		return s.fail("there is text after the end of the JSON value")
	}
	return s.fault == ""
}

// plain are the bytes of a string that stand for themselves and are ASCII.
func plain(c byte) bool { return c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf }

// str passes a string, whose quote comes next: raw is what is between the quotes, escaped whether it must be
// unescaped.
func (s *scanner) str() (raw string, escaped, ok bool) {
	if s.peek() != '"' {
		return "", false, s.fail("a string is missing")
	}
	start, ascii, i := s.pos+1, true, s.pos+1
	text := s.text
	for i < len(text) {
		c := text[i]
		if plain(c) {
			i++
			continue
		}
		switch {
		case c == '"':
			raw = text[start:i]
			if !ascii && !utf8.ValidString(raw) {
				return "", false, s.fail("a string is not UTF-8")
			}
			s.pos = i + 1
			return raw, escaped, true
		case c == '\\':
			n := escapeBytes(text[i:])
			if n == 0 {
				return "", false, s.fail("an escape cannot be read")
			}
			escaped = true
			i += n
		case c < 0x20:
			return "", false, s.fail("a string holds a control character: escape it")
		default:
			ascii = false
			i++
		}
	}
	return "", false, s.fail("a string has no end")
}

// escapeBytes is the length of the escape that text begins with, of a surrogate pair both halves; 0: it is none.
func escapeBytes(text string) int {
	if len(text) < 2 {
		return 0
	}
	if strings.IndexByte(`"\/bfnrt`, text[1]) >= 0 {
		return 2
	}
	first, ok := hex4(text)
	switch {
	case !ok || first >= 0xDC00 && first < 0xE000:
		return 0
	case first < 0xD800 || first >= 0xE000:
		return 6
	}
	second, ok := hex4(text[6:])
	if !ok || second < 0xDC00 || second >= 0xE000 {
		return 0
	}
	return 12
}

// hex4 reads \uXXXX.
func hex4(text string) (r rune, ok bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	for _, c := range []byte(text[2:6]) {
		r <<= 4
		switch {
		case c >= '0' && c <= '9':
			r |= rune(c - '0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r |= rune(c|0x20-'a') + 10
		default:
			return 0, false
		}
	}
	return r, true
}

// unescape is what a string with valid escapes stands for.
func unescape(raw string) string {
	var b strings.Builder
	b.Grow(len(raw))
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			b.WriteByte(raw[i])
			i++
			continue
		}
		const from, to = `"\/bfnrt`, "\"\\/\b\f\n\r\t"
		if at := strings.IndexByte(from, raw[i+1]); at >= 0 {
			b.WriteByte(to[at])
			i += 2
			continue
		}
		r, _ := hex4(raw[i:])
		if i += 6; r >= 0xD800 && r < 0xDC00 {
			low, _ := hex4(raw[i:])
			r = 0x10000 + (r-0xD800)<<10 + (low - 0xDC00)
			i += 6
		}
		b.WriteRune(r)
	}
	return b.String()
}

// text passes a string and gives what it stands for.
func (s *scanner) string() (string, bool) {
	raw, escaped, ok := s.str()
	if escaped {
		raw = unescape(raw)
	}
	return raw, ok
}

// value passes any value and gives its text.
func (s *scanner) value() (raw string, ok bool) {
	s.peek()
	start := s.pos
	if !s.skip() {
		return "", false
	}
	return s.text[start:s.pos], true
}

// skip passes any value. What is open is kept as bits, one a level: 1 for an object.
func (s *scanner) skip() bool {
	var open uint64
	depth := 0
	for {
		c := s.peek()
		switch {
		case c == '{' || c == '[':
			if depth == maxDepth {
				return s.fail("the value is nested too deep")
			}
			s.pos++
			depth++
			open <<= 1
			if c == '{' {
				open |= 1
			}
			if closing := c + 2; s.peek() != closing { // '}' is '{'+2 and ']' is '['+2
				if c == '{' && !s.name() {
					return false
				}
				continue
			}
			s.pos++
			depth--
			open >>= 1
		case !s.scalar(c):
			return false
		}
		// A value has ended: so may what it stands in.
		for {
			if depth == 0 {
				return true
			}
			object := open&1 == 1
			switch c := s.peek(); {
			case c == ',':
				s.pos++
				if object && !s.name() {
					return false
				}
			case object && c == '}' || !object && c == ']':
				s.pos++
				depth--
				open >>= 1
				continue
			default:
				return s.fail("a comma or the end of an object or array is missing")
			}
			break
		}
	}
}

// name passes the name of a member and its colon.
func (s *scanner) name() bool {
	if _, _, ok := s.str(); !ok {
		return false
	}
	return s.take(':', "a colon is missing after the name")
}

func (s *scanner) scalar(c byte) bool {
	switch c {
	case '"':
		_, _, ok := s.str()
		return ok
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	}
	return s.number()
}

func (s *scanner) literal(word string) bool {
	if !strings.HasPrefix(s.text[s.pos:], word) {
		return s.fail("a value cannot be read")
	}
	s.pos += len(word)
	return true
}

func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.text) && s.text[s.pos] >= '0' && s.text[s.pos] <= '9' {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) at(c byte) bool { return s.pos < len(s.text) && s.text[s.pos] == c }

func (s *scanner) number() bool {
	if s.at('-') {
		s.pos++
	}
	switch {
	case s.at('0'):
		s.pos++
	case !s.digits():
		return s.fail("a value cannot be read")
	}
	if s.at('.') {
		if s.pos++; !s.digits() {
			return s.fail("a digit is missing after the point")
		}
	}
	if s.at('e') || s.at('E') {
		s.pos++
		if s.at('+') || s.at('-') {
			s.pos++
		}
		if !s.digits() {
			return s.fail("a digit is missing in the exponent")
		}
	}
	return true
}
