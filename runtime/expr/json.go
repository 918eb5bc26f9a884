package expr

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unsafe"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// step is one step into a JSON value: the name of a field, or a position of a list where name is empty and
// list is true.
type step struct {
	name string
	at   int
	list bool
}

// scan walks JSON without making anything of what it passes. It takes what is well-formed as RFC 8259 has
// it, and ends at what is not.
type scan struct {
	b  []byte
	at int
}

func (s *scan) space() {
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// peek is the next byte that is no space, 0 at the end.
func (s *scan) peek() byte {
	if s.space(); s.at < len(s.b) {
		return s.b[s.at]
	}
	return 0
}

// take passes c, if it is next.
func (s *scan) take(c byte) bool {
	if s.peek() != c {
		return false
	}
	s.at++
	return true
}

// text passes a string and gives it with its quotes; nil if there is none.
func (s *scan) text() []byte {
	if s.peek() != '"' {
		return nil
	}
	from := s.at
	for s.at++; s.at < len(s.b); s.at++ {
		switch s.b[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return s.b[from:s.at]
		}
	}
	return nil
}

// value passes a value and gives its bytes; nil if there is none.
func (s *scan) value() []byte {
	switch s.peek() {
	case '"':
		return s.text()
	case '{', '[':
		return s.composite()
	case 0, '}', ']', ',', ':':
		return nil
	}
	from := s.at
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case ',', '}', ']', ' ', '\t', '\n', '\r':
			return s.b[from:s.at]
		}
		s.at++
	}
	return s.b[from:]
}

func (s *scan) composite() []byte {
	from, depth := s.at, 0
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case '"':
			if s.text() == nil {
				return nil
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.at++
		if depth == 0 {
			return s.b[from:s.at]
		}
	}
	return nil
}

// find follows path into data. raw is nil where it leads nowhere; missing then tells that only its last step
// does, into what is no list: has() of CEL is then false, and elsewhere undefined.
func find(data []byte, path []step) (raw []byte, missing bool) {
	s := scan{b: data}
	for i := range path {
		var ok bool
		asked := s.peek() != '[' && s.peek() != 0
		if path[i].list {
			ok = s.element(path[i].at)
		} else {
			ok = s.field(path[i].name)
		}
		if !ok {
			return nil, asked && i == len(path)-1
		}
	}
	return s.value(), false
}

// field goes to the value of a field of the object that is next. Of equal names the first counts.
func (s *scan) field(name string) bool {
	if !s.take('{') || s.peek() == '}' {
		return false
	}
	for {
		key := s.text()
		if key == nil || !s.take(':') {
			return false
		}
		if inner := key[1 : len(key)-1]; string(inner) == name || bytes.IndexByte(inner, '\\') >= 0 && unquote(key) == name {
			return true
		}
		if s.value() == nil || !s.take(',') {
			return false
		}
	}
}

// element goes to a position of the list that is next.
func (s *scan) element(at int) bool {
	if !s.take('[') || s.peek() == ']' {
		return false
	}
	for ; at > 0; at-- {
		if s.value() == nil || !s.take(',') {
			return false
		}
	}
	return true
}

// unquote is the text of a JSON string with its quotes. It shares the memory of raw where nothing is
// escaped.
func unquote(raw []byte) string {
	inner := raw[1 : len(raw)-1]
	for _, c := range inner {
		if c == '\\' || c >= 0x80 || c < 0x20 {
			var text string
			if json.Unmarshal(raw, &text) != nil {
				return ""
			}
			return text
		}
	}
	return unsafe.String(unsafe.SliceData(inner), len(inner))
}

// scalar is what raw JSON is; the zero Value for null, lists and objects.
func scalar(raw []byte) nba.Value {
	switch raw[0] {
	case '"':
		return nba.String(unquote(raw))
	case 't':
		return nba.Bool(true)
	case 'f':
		return nba.Bool(false)
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		number, err := strconv.ParseFloat(unsafe.String(unsafe.SliceData(raw), len(raw)), 64)
		if err != nil {
			return nba.Value{}
		}
		return nba.Float(number)
	}
	return nba.Value{}
}
