package importer

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// jsonCursor reads one JSON text (RFC 8259) token by token. It accepts exactly what encoding/json
// accepts, but for lone surrogates in strings, which it refuses where encoding/json replaces them.
// The caller checks that the text is UTF-8.
type jsonCursor struct {
	b     []byte
	i     int
	plain []byte // holds unescaped strings until reset
}

// jsonKind is the kind of a JSON value.
type jsonKind uint8

const (
	jsonInvalid jsonKind = iota
	jsonNull
	jsonTrue
	jsonFalse
	jsonNumber
	jsonString
	jsonObject
	jsonArray
)

// maxJSONDepth bounds nesting in values that are passed over.
const maxJSONDepth = 64

func (c *jsonCursor) reset(b []byte) { c.b, c.i, c.plain = b, 0, c.plain[:0] }

func (c *jsonCursor) space() {
	for c.i < len(c.b) && (c.b[c.i] == ' ' || c.b[c.i] == '\t' || c.b[c.i] == '\n' || c.b[c.i] == '\r') {
		c.i++
	}
}

// eat passes spaces and then the byte ch, if it is next.
func (c *jsonCursor) eat(ch byte) bool {
	c.space()
	if c.i < len(c.b) && c.b[c.i] == ch {
		c.i++
		return true
	}
	return false
}

// atEnd tells whether nothing but spaces is left.
func (c *jsonCursor) atEnd() bool {
	c.space()
	return c.i == len(c.b)
}

// peek is the kind of the next value, judged by its first byte.
func (c *jsonCursor) peek() jsonKind {
	c.space()
	if c.i >= len(c.b) {
		return jsonInvalid
	}
	switch ch := c.b[c.i]; {
	case ch == '"':
		return jsonString
	case ch == '{':
		return jsonObject
	case ch == '[':
		return jsonArray
	case ch == 't':
		return jsonTrue
	case ch == 'f':
		return jsonFalse
	case ch == 'n':
		return jsonNull
	case ch == '-' || ch >= '0' && ch <= '9':
		return jsonNumber
	default:
		return jsonInvalid
	}
}

// firstKey passes the opening brace of an object; nextKey reads its next key and colon. Usage:
//
//	for key, more := c.firstKey(); more; key, more = c.nextKey() { read the value }
//
// c.bad tells afterwards whether the loop ended at the closing brace.
func (c *jsonCursor) firstKey() (key []byte, more bool) {
	if !c.eat('{') {
		return nil, c.fail()
	}
	if c.eat('}') {
		return nil, false
	}
	return c.key()
}

func (c *jsonCursor) nextKey() (key []byte, more bool) {
	if c.eat('}') {
		return nil, false
	}
	if !c.eat(',') {
		return nil, c.fail()
	}
	return c.key()
}

func (c *jsonCursor) key() ([]byte, bool) {
	if c.peek() != jsonString {
		return nil, c.fail()
	}
	key, ok := c.str()
	if !ok || !c.eat(':') {
		return nil, c.fail()
	}
	return key, true
}

// fail puts the cursor beyond the text for good, so that every later step fails too.
func (c *jsonCursor) fail() bool {
	c.i = len(c.b) + 1
	return false
}

func (c *jsonCursor) failed() bool { return c.i > len(c.b) }

// scalar reads a value that is neither object nor array. text is the unescaped string or the literal
// as it stands; it stays valid until reset.
func (c *jsonCursor) scalar() (kind jsonKind, text []byte, ok bool) {
	if c.failed() {
		return jsonInvalid, nil, false
	}
	kind = c.peek()
	from := c.i
	switch kind {
	case jsonString:
		text, ok = c.str()
	case jsonNull:
		ok = c.literal("null")
	case jsonTrue:
		ok = c.literal("true")
	case jsonFalse:
		ok = c.literal("false")
	case jsonNumber:
		ok = c.number()
	default:
	}
	if !ok {
		c.fail()
		return kind, nil, false
	}
	if kind != jsonString {
		text = c.b[from:c.i]
	}
	return kind, text, true
}

func (c *jsonCursor) literal(word string) bool {
	if !bytes.HasPrefix(c.b[c.i:], []byte(word)) {
		return false
	}
	c.i += len(word)
	return true
}

// number passes a number by the grammar of RFC 8259.
func (c *jsonCursor) number() bool {
	b, i := c.b, c.i
	if i < len(b) && b[i] == '-' {
		i++
	}
	digits := func() bool {
		from := i
		for i < len(b) && b[i] >= '0' && b[i] <= '9' {
			i++
		}
		return i > from
	}
	if i < len(b) && b[i] == '0' {
		i++
	} else if !digits() {
		return false
	}
	if i < len(b) && b[i] == '.' {
		i++
		if !digits() {
			return false
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		i++
		if i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		if !digits() {
			return false
		}
	}
	c.i = i
	return true
}

// str reads a string. Without escapes it is a part of the text, else it lies in c.plain.
func (c *jsonCursor) str() ([]byte, bool) {
	b := c.b
	from := c.i + 1
	for i := from; i < len(b); i++ {
		switch ch := b[i]; {
		case ch == '"':
			c.i = i + 1
			return b[from:i:i], true
		case ch == '\\':
			return c.escaped(from, i)
		case ch < 0x20:
			return nil, false
		}
	}
	return nil, false
}

// escaped reads a string whose first escape is at i.
func (c *jsonCursor) escaped(from, i int) ([]byte, bool) {
	b := c.b
	start := len(c.plain)
	c.plain = append(c.plain, b[from:i]...)
	for i < len(b) {
		ch := b[i]
		switch {
		case ch == '"':
			c.i = i + 1
			return c.plain[start:len(c.plain):len(c.plain)], true
		case ch < 0x20:
			return nil, false
		case ch != '\\':
			c.plain = append(c.plain, ch)
			i++
			continue
		}
		if i+1 == len(b) {
			return nil, false
		}
		if b[i+1] == 'u' {
			r, n := unicodeEscape(b[i:])
			if n == 0 {
				return nil, false
			}
			c.plain = utf8.AppendRune(c.plain, r)
			i += n
			continue
		}
		at := bytes.IndexByte([]byte(`"\/bfnrt`), b[i+1])
		if at < 0 {
			return nil, false
		}
		c.plain = append(c.plain, "\"\\/\b\f\n\r\t"[at])
		i += 2
	}
	return nil, false
}

// unicodeEscape reads \uXXXX, or two of them that are a surrogate pair, and returns how many bytes
// it took; 0 is a mistake.
func unicodeEscape(b []byte) (rune, int) {
	r, ok := hex4(b)
	if !ok {
		return 0, 0
	}
	if !utf16.IsSurrogate(r) {
		return r, 6
	}
	low, ok := hex4(b[6:])
	if !ok {
		return 0, 0
	}
	if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
		return 0, 0
	}
	return r, 12
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// skip passes any value.
func (c *jsonCursor) skip(depth int) bool {
	if depth > maxJSONDepth {
		return c.fail()
	}
	switch c.peek() {
	case jsonObject:
		for _, more := c.firstKey(); more; _, more = c.nextKey() {
			if !c.skip(depth + 1) {
				return false
			}
		}
		return !c.failed()
	case jsonArray:
		c.i++
		if c.eat(']') {
			return true
		}
		for {
			if !c.skip(depth + 1) {
				return false
			}
			if c.eat(']') {
				return true
			}
			if !c.eat(',') {
				return c.fail()
			}
		}
	default:
		_, _, ok := c.scalar()
		return ok
	}
}
