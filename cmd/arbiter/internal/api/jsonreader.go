package api

import (
	"strconv"
	"strings"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of every JSON body.
const (
	maxJSONDepth    = 16
	maxJSONProblems = 20
)

// jsonReader reads one JSON text (RFC 8259) strictly: no unknown or repeated names, nothing after the
// value, valid UTF-8 with paired surrogates, bounded depth. Its strings are parts of the text wherever
// they hold no escape, so reading allocates nothing for them.
//
// Errors are sticky: after a fault of syntax every method returns a zero value and touches nothing.
// Faults of content, such as a wrong type, are collected and reading goes on. No message repeats a
// value of the text.
type jsonReader struct {
	text     string
	pos      int
	fault    *nba.Error   // of syntax; ends the reading
	problems []nba.Detail // of content
	path     [maxJSONDepth + 1]jsonStep
	depth    int
}

// jsonStep is one reference token of a JSON pointer.
type jsonStep struct {
	name  string
	index int // -1 for a name
}

func (r *jsonReader) reset(text string) {
	r.text, r.pos, r.fault, r.problems, r.depth = text, 0, nil, nil, 0
}

// finish checks that nothing follows and returns what went wrong.
func (r *jsonReader) finish() error {
	r.space()
	if r.fault == nil && r.pos < len(r.text) {
		r.malformed("there is text after the end of the JSON value")
	}
	switch {
	case r.fault != nil:
		return r.fault
	case len(r.problems) == 1:
		return &nba.Error{Code: r.problems[0].Code, Message: r.problems[0].Detail, Details: r.problems}
	case len(r.problems) > 1:
		return &nba.Error{Code: r.problems[0].Code, Message: "the request body breaks the contract in several places", Details: r.problems}
	}
	return nil
}

// malformed records a fault of syntax at the current position.
func (r *jsonReader) malformed(what string) {
	if r.fault != nil {
		return
	}
	at := min(r.pos, len(r.text))
	line := 1 + strings.Count(r.text[:at], "\n")
	column := at - strings.LastIndexByte(r.text[:at], '\n')
	r.fault = &nba.Error{Code: nba.CodeMalformed, Message: "the request body is not the JSON expected: " + what,
		Details: []nba.Detail{{Pointer: r.pointer(), Line: line, Column: column, Code: nba.CodeMalformed, Detail: what}}}
}

// invalid records a fault of content at the current path.
func (r *jsonReader) invalid(detail string) { r.invalidAt("", detail) }

// invalidAt records a fault of content at a member of the current path.
func (r *jsonReader) invalidAt(member, detail string) {
	if r.fault == nil && len(r.problems) < maxJSONProblems {
		pointer := r.pointer()
		if member != "" {
			pointer += "/" + member
		}
		r.problems = append(r.problems, nba.Detail{Pointer: pointer, Code: nba.CodeInvalid, Detail: detail})
	}
}

// pointer is the JSON pointer (RFC 6901) of the current path. It stops before a name that may be data
// and not a word of a schema.
func (r *jsonReader) pointer() string {
	var b strings.Builder
	for _, step := range r.path[:r.depth] {
		if step.index >= 0 {
			b.WriteByte('/')
			b.WriteString(strconv.Itoa(step.index))
			continue
		}
		if !plainName(step.name) {
			break
		}
		b.WriteByte('/')
		b.WriteString(step.name)
	}
	return b.String()
}

// plainName tells whether a member name may be shown: letters, digits and _ . - with fewer than five
// digits, so that no telephone number passes for a name. It needs no escape in a pointer.
func plainName(name string) bool {
	if len(name) > nba.MaxAttributeNameSize {
		return false
	}
	digits := 0
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c|0x20 >= 'a' && c|0x20 <= 'z', c == '_', c == '-', c == '.':
		default:
			return false
		}
	}
	return digits < 5
}

func (r *jsonReader) push(step jsonStep) bool {
	if r.depth >= maxJSONDepth {
		r.malformed("the value is nested more than 16 deep")
		return false
	}
	r.path[r.depth] = step
	r.depth++
	return true
}

func (r *jsonReader) space() {
	for r.pos < len(r.text) {
		switch r.text[r.pos] {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

// peek is the first byte of the next token; 0 at the end or after a fault.
func (r *jsonReader) peek() byte {
	if r.fault != nil {
		return 0
	}
	r.space()
	if r.pos >= len(r.text) {
		r.malformed("it ends too early")
		return 0
	}
	return r.text[r.pos]
}

// take passes c, which must come next.
func (r *jsonReader) take(c byte, what string) bool {
	if r.peek() != c {
		r.malformed(what)
		return false
	}
	r.pos++
	return true
}

// members reads an object whose names are fields. It calls member with the position of each name in
// fields; member reads the value. At most 64 fields.
func (r *jsonReader) members(fields []string, member func(field int)) {
	var seen uint64
	r.entries("an object", func(name string) {
		for i, field := range fields {
			if field != name {
				continue
			}
			if seen&(1<<i) != 0 {
				r.invalid("the name occurs twice in its object")
			}
			seen |= 1 << i
			member(i)
			return
		}
		r.invalid("unknown name: here go " + strings.Join(fields, ", "))
		r.skip()
	})
}

// entries reads an object of any names; value reads the value of each. what names the expected type.
func (r *jsonReader) entries(what string, value func(name string)) {
	if !r.expect('{', what) {
		return
	}
	r.pos++
	for first := true; ; first = false {
		c := r.peek()
		if c == '}' {
			r.pos++
			return
		}
		if !first {
			if !r.take(',', "a comma or the end of the object is missing") {
				return
			}
			c = r.peek()
		}
		if c != '"' {
			r.malformed("a name in quotes is missing")
			return
		}
		name := r.str()
		if !r.take(':', "a colon is missing after the name") || !r.push(jsonStep{name: name, index: -1}) {
			return
		}
		if name == "" {
			r.invalid("a name is empty")
		}
		value(name)
		if r.fault != nil {
			return
		}
		r.depth--
	}
}

// items reads an array of at most limit items; item reads each. It reads on to the end when there
// are more.
func (r *jsonReader) items(limit int, item func(index int)) {
	if !r.expect('[', "an array") {
		return
	}
	r.pos++
	for index := 0; ; index++ {
		c := r.peek()
		if c == ']' {
			r.pos++
			return
		}
		if index > 0 && !r.take(',', "a comma or the end of the array is missing") {
			return
		}
		if c = r.peek(); c == ']' {
			r.malformed("a value is missing after the comma")
			return
		}
		if index == limit {
			r.invalid("more than " + strconv.Itoa(limit) + " items")
		}
		if !r.push(jsonStep{index: index}) {
			return
		}
		if index < limit {
			item(index)
		} else {
			r.skip()
		}
		if r.fault != nil {
			return
		}
		r.depth--
	}
}

// expect tells whether a value that begins with open comes next; if another does, that is a fault of
// content and the value is passed.
func (r *jsonReader) expect(open byte, what string) bool {
	c := r.peek()
	if c == open {
		return true
	}
	if r.fault == nil {
		r.wrongType(what)
	}
	return false
}

func (r *jsonReader) wrongType(want string) {
	r.invalid("the value must be " + want)
	r.skip()
}
