package compiler

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// maxNesting bounds how deep JSON values may nest in a model file.
const maxNesting = 32

// scanner walks JSON text without building a tree, so that memory stays proportional to what is kept.
// It accepts NaN, Infinity and -Infinity as numbers, because XGBoost writes them. The first mistake
// sticks: later calls do nothing.
type scanner struct {
	text  []byte
	at    int
	depth int
	err   error
}

// fail records the first mistake. reason says what is wrong and never quotes the text.
func (s *scanner) fail(reason string) {
	if s.err == nil {
		s.err = nba.Errorf(nba.CodeModelInvalid, "the model file is malformed at byte %d: %s; save it again with booster.save_model(\"model.json\")", s.at, reason)
	}
	s.at = len(s.text)
}

// peek skips white space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for ; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case ' ', '\t', '\n', '\r':
		default:
			return s.text[s.at]
		}
	}
	return 0
}

func (s *scanner) expect(c byte) bool {
	if s.peek() != c || s.at >= len(s.text) {
		s.fail("expected " + strconv.QuoteRune(rune(c)))
		return false
	}
	s.at++
	return true
}

// object calls field for each key; field must consume the value.
func (s *scanner) object(field func(key string)) {
	s.items('{', '}', func() {
		key := s.str()
		if s.expect(':') {
			field(key)
		}
	})
}

// array calls item for each element; item must consume it.
func (s *scanner) array(item func()) { s.items('[', ']', item) }

func (s *scanner) items(open, closing byte, item func()) {
	if !s.expect(open) {
		return
	}
	if s.depth++; s.depth > maxNesting {
		s.fail("values nest too deeply")
		return
	}
	defer func() { s.depth-- }()
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

// str reads a string.
func (s *scanner) str() string {
	if !s.expect('"') {
		return ""
	}
	start, plain := s.at, true
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			raw := s.text[start:s.at]
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
func (s *scanner) unquote(raw []byte) string {
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
			out = append(out, map[byte]byte{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}[c])
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
func (s *scanner) token() string {
	s.peek()
	start := s.at
	for ; s.at < len(s.text); s.at++ {
		c := s.text[s.at]
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '+' && c != '-' && c != '.' {
			break
		}
	}
	return string(s.text[start:s.at])
}

// float reads a number as the nearest 32-bit float, as XGBoost does.
func (s *scanner) float() float32 {
	t := s.token()
	f, err := strconv.ParseFloat(t, 32)
	if err != nil || strings.ContainsAny(t, "xX") || strings.HasPrefix(t, "+") {
		s.fail("expected a number of 32 bits")
		return 0
	}
	return float32(f)
}

// integer reads a whole number of 32 bits; true and false count as 1 and 0.
func (s *scanner) integer() int32 {
	t := s.token()
	switch t {
	case "true":
		return 1
	case "false":
		return 0
	}
	i, err := strconv.ParseInt(t, 10, 32)
	if err != nil {
		s.fail("expected a whole number of 32 bits")
	}
	return int32(i)
}

// integers reads an array of whole numbers into dst, which it reuses.
func (s *scanner) integers(dst []int32) []int32 {
	dst = dst[:0]
	s.array(func() { dst = append(dst, s.integer()) })
	return dst
}

func (s *scanner) floats(dst []float32) []float32 {
	dst = dst[:0]
	s.array(func() { dst = append(dst, s.float()) })
	return dst
}

// skip consumes any value.
func (s *scanner) skip() {
	switch s.peek() {
	case '{':
		s.object(func(string) { s.skip() })
	case '[':
		s.array(s.skip)
	case '"':
		s.str()
	default:
		if s.token() == "" {
			s.fail("expected a value")
		}
	}
}

// texts reads an object whose values are strings.
func (s *scanner) texts() map[string]string {
	out := map[string]string{}
	s.object(func(key string) {
		if s.peek() != '"' || len(out) >= 1024 {
			s.skip()
			return
		}
		out[key] = s.str()
	})
	return out
}
