package pmml

import (
	"bytes"
	"encoding/xml"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The limits of a document. They bound memory and stack.
const (
	maxFileBytes = 64 << 20
	maxElements  = 1_500_000
	maxNesting   = 600
	maxTextBytes = 1 << 20 // of one element
)

// element is an element of the document without its name space.
type element struct {
	name  string
	attrs []xml.Attr
	kids  []*element
	text  string
	line  int
}

// parse reads a document. Document type declarations are refused: they could define entities that
// expand without end.
func parse(file []byte) (*element, error) {
	d := xml.NewDecoder(bytes.NewReader(file))
	d.CharsetReader = charset
	var stack []*element
	var root *element
	count := 0
	names := map[string]string{}
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		line, _ := d.InputPos()
		if err != nil {
			return nil, nba.Errorf(nba.CodeModelInvalid, "the PMML file is not well-formed XML at line %d; export the model again", line)
		}
		switch t := token.(type) {
		case xml.Directive:
			return nil, nba.Errorf(nba.CodeModelInvalid, "line %d: the PMML file has a document type declaration, which is not allowed; remove it", line)
		case xml.StartElement:
			if count++; count > maxElements || len(stack) >= maxNesting {
				return nil, nba.Errorf(nba.CodeTooLarge, "line %d: the PMML file has more than %d elements or more than %d inside each other; train a smaller model", line, maxElements, maxNesting)
			}
			e := &element{name: intern(names, t.Name.Local), line: line}
			if len(t.Attr) > 0 {
				e.attrs = append([]xml.Attr{}, t.Attr...)
				for i := range e.attrs {
					e.attrs[i].Name.Local = intern(names, e.attrs[i].Name.Local)
				}
			}
			if len(stack) > 0 {
				up := stack[len(stack)-1]
				up.kids = append(up.kids, e)
			} else {
				root = e
			}
			stack = append(stack, e)
		case xml.EndElement:
			stack = stack[:len(stack)-1]
		case xml.CharData:
			if len(stack) == 0 {
				break
			}
			if text := bytes.TrimSpace(t); len(text) > 0 {
				e := stack[len(stack)-1]
				if e.text += string(t); len(e.text) > maxTextBytes {
					return nil, e.tooLong()
				}
			}
		}
	}
	if root == nil {
		return nil, nba.Errorf(nba.CodeModelInvalid, "the PMML file is empty; export the model again")
	}
	return root, nil
}

func (e *element) tooLong() error {
	return nba.Errorf(nba.CodeTooLarge, "line %d: %s holds more than %d bytes of text", e.line, e.name, maxTextBytes)
}

func intern(names map[string]string, s string) string {
	if known, ok := names[s]; ok {
		return known
	}
	if len(names) < 1024 {
		names[s] = s
	}
	return s
}

// charset reads the encodings whose bytes are code points.
func charset(label string, input io.Reader) (io.Reader, error) {
	switch strings.ToLower(label) {
	case "utf-8", "utf8", "us-ascii", "ascii":
		return input, nil
	case "iso-8859-1", "latin1", "latin-1", "windows-1252", "cp1252":
		text, err := io.ReadAll(io.LimitReader(input, maxFileBytes+1))
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		for _, c := range text {
			b.Write(utf8.AppendRune(nil, rune(c)))
		}
		return &b, nil
	}
	return nil, invalid("the encoding of the PMML file is not supported; export it in UTF-8")
}

// attr is the value of an attribute, "" when it is not there. Names with a prefix are told by the name
// behind it.
func (e *element) attr(name string) string {
	v, _ := e.lookup(name)
	return v
}

func (e *element) lookup(name string) (string, bool) {
	for i := range e.attrs {
		if e.attrs[i].Name.Local == name {
			return e.attrs[i].Value, true
		}
	}
	return "", false
}

// child is the first child of that name, or nil.
func (e *element) child(name string) *element {
	for _, k := range e.kids {
		if k.name == name {
			return k
		}
	}
	return nil
}

// all are the children of that name.
func (e *element) all(name string) []*element {
	var out []*element
	for _, k := range e.kids {
		if k.name == name {
			out = append(out, k)
		}
	}
	return out
}

// walk calls f for e and all below it.
func (e *element) walk(f func(*element)) {
	f(e)
	for _, k := range e.kids {
		k.walk(f)
	}
}

func invalid(format string, args ...any) error {
	return nba.Errorf(nba.CodeModelInvalid, format, args...)
}

// fail is an error that names the element and its line.
func (e *element) fail(format string, args ...any) error {
	return invalid("line %d: %s: "+format, append([]any{e.line, e.name}, args...)...)
}

// unsupported refuses an element as such.
func (e *element) unsupported() error {
	return e.fail("this element is not supported; export a tree, regression, mining, scorecard or neural network model without it, or export the model as ONNX")
}

// number reads a finite number from an attribute.
func (e *element) number(name string) (float64, error) {
	text, ok := e.lookup(name)
	if !ok {
		return 0, e.fail("the attribute %s is missing", name)
	}
	v, ok := parseNumber(text)
	if !ok {
		return 0, e.fail("the attribute %s is not a number", name)
	}
	return v, nil
}

// numberOr is number with a value for when the attribute is not there.
func (e *element) numberOr(name string, otherwise float64) (float64, error) {
	if _, ok := e.lookup(name); !ok {
		return otherwise, nil
	}
	return e.number(name)
}

// parseNumber reads a finite decimal number.
func parseNumber(text string) (float64, bool) {
	text = strings.TrimSpace(text)
	if text == "" || strings.ContainsAny(text, "xX_nNiI") {
		return 0, false
	}
	v, err := strconv.ParseFloat(text, 64)
	return v, err == nil
}

// array reads the items of an Array: parted by white space, in quotes when they hold some.
func (e *element) array() ([]string, error) {
	var items []string
	rest := e.text
	for {
		rest = strings.TrimLeft(rest, " \t\r\n")
		if rest == "" {
			break
		}
		if rest[0] != '"' {
			n := strings.IndexAny(rest, " \t\r\n")
			if n < 0 {
				n = len(rest)
			}
			items, rest = append(items, rest[:n]), rest[n:]
			continue
		}
		var item strings.Builder
		i := 1
		for ; i < len(rest) && rest[i] != '"'; i++ {
			if rest[i] == '\\' && i+1 < len(rest) && (rest[i+1] == '"' || rest[i+1] == '\\') {
				i++
			}
			item.WriteByte(rest[i])
		}
		if i >= len(rest) {
			return nil, e.fail("a quoted item does not end")
		}
		items, rest = append(items, item.String()), rest[i+1:]
	}
	if n, ok := e.lookup("n"); ok && strings.TrimSpace(n) != strconv.Itoa(len(items)) {
		return nil, e.fail("it has %d items, not as many as its attribute n tells", len(items))
	}
	return items, nil
}
