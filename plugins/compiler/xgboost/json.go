package xgboost

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// jsonDecoder reads JSON. It accepts NaN, Infinity and -Infinity as numbers, because XGBoost writes
// them.
type jsonDecoder struct{ position }

// peek skips white space and returns the next byte, 0 at the end.
func (s *jsonDecoder) peek() byte {
	for ; s.at < len(s.file); s.at++ {
		switch s.file[s.at] {
		case ' ', '\t', '\n', '\r':
		default:
			return s.file[s.at]
		}
	}
	return 0
}

func (s *jsonDecoder) expect(c byte) bool {
	if s.peek() != c || s.at >= len(s.file) {
		s.fail("expected " + strconv.QuoteRune(rune(c)))
		return false
	}
	s.at++
	return true
}

func (s *jsonDecoder) next() kind {
	switch s.peek() {
	case '{':
		return kindObject
	case '[':
		return kindArray
	case '"':
		return kindString
	default:
		return kindScalar
	}
}

func (s *jsonDecoder) end() {
	if s.err == nil && (s.peek() != 0 || s.at < len(s.file)) {
		s.fail("there is text after the model")
	}
}

func (s *jsonDecoder) object(field func(key string)) {
	s.items('{', '}', func() {
		key := s.str()
		if s.expect(':') {
			field(key)
		}
	})
}

func (s *jsonDecoder) array(item func()) { s.items('[', ']', item) }

func (s *jsonDecoder) items(open, closing byte, item func()) {
	if !s.expect(open) || !s.enter() {
		return
	}
	defer s.leave()
	if s.peek() == closing {
		s.at++
		return
	}
	for s.err == nil {
		item()
		switch s.peek() {
		case ',':
			s.at++
		case closing:
			s.at++
			return
		default:
			s.fail("expected a comma or the end of the list")
		}
	}
}

func (s *jsonDecoder) str() string {
	if !s.expect('"') {
		return ""
	}
	start, plain := s.at, true
	for ; s.at < len(s.file); s.at++ {
		switch c := s.file[s.at]; {
		case c == '"':
			raw := s.file[start:s.at]
			s.at++
			if plain && utf8.Valid(raw) {
				return string(raw)
			}
			return s.unquote(raw)
		case c == '\\':
			plain = false
			s.at++
		case c < 0x20:
			s.fail("a control character in a string")
			return ""
		}
	}
	s.fail("a string does not end")
	return ""
}

// unquote resolves the escapes of a JSON string.
func (s *jsonDecoder) unquote(raw []byte) string {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		if i++; i >= len(raw) {
			s.fail("an escape is cut short")
			return ""
		}
		switch c := raw[i]; c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b', 'f', 'n', 'r', 't':
			out = append(out, "\b\f\n\r\t"[bytes.IndexByte([]byte("bfnrt"), c)])
		case 'u':
			if i+4 >= len(raw) {
				s.fail("an escape is cut short")
				return ""
			}
			code, err := strconv.ParseUint(string(raw[i+1:i+5]), 16, 16)
			if err != nil {
				s.fail("an escape is no hexadecimal number")
				return ""
			}
			out = utf8.AppendRune(out, rune(code))
			i += 4
		default:
			s.fail("an unknown escape")
			return ""
		}
	}
	if !utf8.Valid(out) {
		s.fail("a string is not UTF-8")
		return ""
	}
	return string(out)
}

// token returns the letters and digits of a number or literal.
func (s *jsonDecoder) token() []byte {
	s.peek()
	start := s.at
	for ; s.at < len(s.file); s.at++ {
		c := s.file[s.at]
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '+' && c != '-' && c != '.' {
			break
		}
	}
	return s.file[start:s.at]
}

func (s *jsonDecoder) float() float32 {
	t := s.token()
	f, err := strconv.ParseFloat(string(t), 32)
	if err != nil || bytes.ContainsAny(t, "xX") || bytes.HasPrefix(t, []byte("+")) {
		s.fail("expected a number of 32 bits")
		return 0
	}
	return float32(f)
}

func (s *jsonDecoder) integer() int64 {
	t := s.token()
	switch string(t) {
	case "true":
		return 1
	case "false":
		return 0
	}
	i, err := strconv.ParseInt(string(t), 10, 64)
	if err != nil {
		s.fail("expected a whole number of 64 bits")
	}
	return i
}

func (s *jsonDecoder) skip() {
	switch s.next() {
	case kindObject:
		s.object(func(string) { s.skip() })
	case kindArray:
		s.array(s.skip)
	case kindString:
		s.str()
	default:
		if len(s.token()) == 0 {
			s.fail("expected a value")
		}
	}
}
