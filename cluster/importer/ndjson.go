package importer

import (
	"errors"
	"unicode/utf8"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// ndjsonRecords reads an NDJSON body: one JSON object a line, empty lines passed over.
type ndjsonRecords struct {
	src    *source
	cursor jsonCursor
	parse  func(out *batch) *problem
}

func newNDJSONRecords(m *Mapping, dict *nba.Dictionary, src *source) (*ndjsonRecords, error) {
	r := &ndjsonRecords{src: src}
	src.skipBOM()
	if m == nil {
		d := newDocuments(dict)
		r.parse = func(out *batch) *problem { return d.parse(&r.cursor, out) }
		return r, nil
	}
	o, err := newObjects(m, dict)
	if err != nil {
		return nil, err
	}
	r.parse = func(out *batch) *problem { return o.parse(&r.cursor, out) }
	return r, nil
}

// next implements reader.
func (r *ndjsonRecords) next(out *batch) (int, *problem, error) {
	out.begin()
	for {
		line := r.src.line
		n, err := r.src.lineEnd(0)
		if errors.Is(err, errLong) {
			return line, tooLong, r.src.skipLong()
		}
		if err != nil {
			return line, nil, err
		}
		raw := trimCR(r.src.buf[r.src.pos : r.src.pos+n])
		r.src.advance(n, 1) // raw stays: advance moves no bytes
		if isBlank(raw) {
			continue
		}
		if !utf8.Valid(raw) {
			return line, notUTF8, nil
		}
		r.cursor.reset(raw)
		return line, r.parse(out), nil
	}
}

var (
	notJSON   = &problem{code: nba.CodeMalformed, reason: "the line is not one JSON object"}
	noID      = &problem{column: columnID, code: nba.CodeInvalid, reason: "the subject id is missing, blank or not a string"}
	wrongJSON = [...]string{
		nba.KindBool: "not a bool: expected true or false", nba.KindInt: "not an int: expected a whole number of at most 64 bits",
		nba.KindFloat: "not a float: expected a finite number", nba.KindString: "not a string: put the value in quotes",
		nba.KindTime: "not a time: expected a string, RFC 3339 or YYYY-MM-DD",
	}
)

// documents parses canonical subject documents:
//
//	{"id":"S-1","type":"subscriber","attributes":{"tenure":12},"consents":{"marketing":true}}
//
// A version, as exports have it, is passed over. null is absent.
type documents struct {
	dict   *nba.Dictionary
	seen   []uint32 // by attribute id: the last record that had it
	serial uint32
	guess  []guess // the attribute keys of the last record in their order
}

// guess is a key that stood at one place of the last record and its attribute: the next record
// mostly has the same at the same place, which saves the look-up.
type guess struct {
	key       string
	attribute nba.Attribute
}

func newDocuments(dict *nba.Dictionary) *documents {
	return &documents{dict: dict, seen: make([]uint32, len(dict.Attributes()))}
}

func (d *documents) parse(c *jsonCursor, out *batch) *problem {
	d.nextSerial()
	var has struct{ id, typ, attributes, consents, channels bool }
	for key, more := c.firstKey(); more; key, more = c.nextKey() {
		var bad *problem
		switch string(key) {
		case columnID:
			bad = once(&has.id, columnID)
			if bad == nil {
				bad = readID(c, out)
			}
		case columnType:
			bad = once(&has.typ, columnType)
			if bad == nil {
				bad = readType(c, out)
			}
		case "attributes":
			bad = once(&has.attributes, "attributes")
			if bad == nil {
				bad = d.attributes(c, out)
			}
		case "consents":
			bad = once(&has.consents, "consents")
			if bad == nil {
				bad = d.consents(c, out)
			}
		case channelConsents:
			bad = once(&has.channels, channelConsents)
			if bad == nil {
				bad = d.channelConsents(c, out)
			}
		case "version":
			if !c.skip(1) {
				return notJSON
			}
		default:
			return &problem{column: safeName(key), code: nba.CodeInvalid,
				reason: "unknown key: a subject has id, type, attributes, consents and channelConsents"}
		}
		if bad != nil {
			return bad
		}
	}
	if c.failed() || !c.atEnd() {
		return notJSON
	}
	if !has.id {
		return noID
	}
	return nil
}

// nextSerial begins a record: what seen holds of earlier ones no longer counts.
func (d *documents) nextSerial() {
	if d.serial++; d.serial == 0 {
		clear(d.seen)
		d.serial = 1
	}
}

func once(seen *bool, key string) *problem {
	if *seen {
		return &problem{column: key, code: nba.CodeMalformed, reason: "the key occurs twice"}
	}
	*seen = true
	return nil
}

func readID(c *jsonCursor, out *batch) *problem {
	kind, text, ok := c.scalar()
	switch {
	case !ok:
		return notJSON
	case kind != jsonString || isBlank(text):
		return noID
	}
	if bad := checkID(0, text); bad != "" {
		return &problem{column: columnID, code: nba.CodeInvalid, reason: bad}
	}
	out.current.setID("", text)
	return nil
}

func readType(c *jsonCursor, out *batch) *problem {
	kind, text, ok := c.scalar()
	if !ok {
		return notJSON
	}
	t, known := subjectType(text)
	if kind != jsonString || !known {
		return &problem{column: columnType, code: nba.CodeInvalid, reason: badSubjectType}
	}
	out.current.typ = t
	return nil
}

func (d *documents) attributes(c *jsonCursor, out *batch) *problem {
	if c.peek() != jsonObject {
		return notObject(c, "attributes")
	}
	place := 0
	for key, more := c.firstKey(); more; key, more = c.nextKey() {
		attribute, ok := d.lookup(place, key)
		place++
		if !ok {
			return &problem{column: safeName(key), code: nba.CodeAttributeUnknown,
				reason: "no such attribute in the dictionary" + didYouMean(d.dict.Nearest(string(key))) + ": declare it first"}
		}
		if d.seen[attribute.ID] == d.serial {
			return &problem{column: attribute.Name, code: nba.CodeMalformed, reason: "the attribute occurs twice"}
		}
		d.seen[attribute.ID] = d.serial
		kind, text, ok := c.scalar()
		if !ok {
			return notScalar(kind, attribute.Name)
		}
		if bad := addJSON(attribute, kind, text, out); bad != "" {
			return &problem{column: attribute.Name, code: nba.CodeInvalid, reason: bad}
		}
	}
	if c.failed() {
		return notJSON
	}
	return nil
}

func (d *documents) lookup(place int, key []byte) (*nba.Attribute, bool) {
	if place < len(d.guess) && d.guess[place].key == string(key) {
		return &d.guess[place].attribute, true
	}
	attribute, ok := d.dict.Attribute(string(key))
	if !ok {
		return nil, false
	}
	if place == len(d.guess) {
		d.guess = append(d.guess, guess{})
	}
	if place < len(d.guess) {
		d.guess[place] = guess{attribute.Name, attribute}
	}
	return &attribute, true
}

// addJSON appends an attribute whose JSON value must be of its type.
func addJSON(a *nba.Attribute, kind jsonKind, text []byte, out *batch) (bad string) {
	if kind == jsonNull {
		out.blanks++
		return ""
	}
	switch a.Type {
	case nba.KindBool:
		if kind == jsonTrue || kind == jsonFalse {
			out.current.add(a.ID, nba.Bool(kind == jsonTrue))
			return ""
		}
	case nba.KindInt, nba.KindFloat:
		if kind == jsonNumber {
			v, bad := parseScalar(a.Type, text)
			if bad == "" {
				out.current.add(a.ID, v)
				return ""
			}
		}
	case nba.KindString:
		if kind == jsonString && len(text) > nba.MaxStringBytes {
			return tooLongString
		}
		if kind == jsonString {
			out.current.addText(a.ID, text)
			return ""
		}
	case nba.KindTime:
		if kind == jsonString {
			v, bad := parseScalar(a.Type, text)
			if bad == "" {
				out.current.add(a.ID, v)
				return ""
			}
		}
	default:
	}
	return wrongJSON[a.Type]
}

func (d *documents) consents(c *jsonCursor, out *batch) *problem {
	if c.peek() != jsonObject {
		return notObject(c, "consents")
	}
	for key, more := c.firstKey(); more; key, more = c.nextKey() {
		purpose, ok := d.dict.Purpose(string(key))
		if !ok {
			return &problem{column: "consents", code: nba.CodeInvalid, reason: unknownPurpose(d.dict)}
		}
		kind, _, ok := c.scalar()
		if !ok {
			return notJSON
		}
		if (out.current.granted | out.current.refused).Has(purpose.ID) {
			return &problem{column: consentPrefix + purpose.Name, code: nba.CodeMalformed, reason: "the purpose occurs twice"}
		}
		switch kind {
		case jsonTrue:
			out.current.granted = out.current.granted.With(purpose.ID)
		case jsonFalse:
			out.current.refused = out.current.refused.With(purpose.ID)
		default:
			return &problem{column: consentPrefix + purpose.Name, code: nba.CodeInvalid, reason: wrongJSON[nba.KindBool]}
		}
	}
	if c.failed() {
		return notJSON
	}
	return nil
}

// notObject refuses a value that stands where an object should.
func notObject(c *jsonCursor, name string) *problem {
	if !c.skip(1) {
		return notJSON
	}
	return &problem{column: name, code: nba.CodeInvalid, reason: "the value is not a JSON object"}
}

// notScalar refuses a value of which jsonCursor.scalar said that it is none.
func notScalar(kind jsonKind, name string) *problem {
	if kind == jsonObject || kind == jsonArray {
		return &problem{column: name, code: nba.CodeInvalid, reason: "a value is a bool, a number, a string or null"}
	}
	return notJSON
}

// safeName is a key of the input as a column name for a result: empty unless it looks like a name,
// for a key may hold anything.
func safeName(key []byte) string {
	if len(key) > nba.MaxAttributeNameSize {
		return ""
	}
	for _, c := range key {
		if c < 0x20 || c == 0x7f {
			return ""
		}
	}
	return string(key)
}

// objects parses flat JSON objects whose keys are the columns of a mapping. A value is read by its
// text, so that "12" and 12 are the same; a missing key and null are blank.
type objects struct {
	binding *binding
	column  map[string]int // position in binding.columns
	ignored map[string]bool
	values  [][]byte
	seen    []bool
	guess   []int // the column that stood at each place of the last record, or -1
}

func newObjects(m *Mapping, dict *nba.Dictionary) (*objects, error) {
	o := &objects{column: map[string]int{}, ignored: map[string]bool{}}
	var columns []string
	add := func(c column) {
		if _, ok := o.column[c.name]; !ok && c.name != "" {
			o.column[c.name] = len(columns)
			columns = append(columns, c.name)
		}
	}
	add(m.id)
	add(m.typ)
	for _, a := range m.attributes {
		add(a.column)
	}
	for _, c := range m.consents {
		add(c.column)
	}
	for _, c := range m.channels {
		add(c.column)
	}
	for _, c := range m.ignore {
		o.ignored[c.name] = true
	}
	o.values, o.seen = make([][]byte, len(columns)), make([]bool, len(columns))
	var err error
	o.binding, err = bindMapping(m, columns, dict)
	return o, err
}

func (o *objects) parse(c *jsonCursor, out *batch) *problem {
	clear(o.values)
	clear(o.seen)
	place := 0
	for key, more := c.firstKey(); more; key, more = c.nextKey() {
		i, ok := o.lookup(place, key)
		place++
		if !ok {
			if !o.ignored[string(key)] {
				return &problem{column: safeName(key), code: nba.CodeInvalid,
					reason: "the key is not mapped: map it or list it under ignore"}
			}
			if !c.skip(1) {
				return notJSON
			}
			continue
		}
		if o.seen[i] {
			return &problem{column: o.binding.columns[i], code: nba.CodeMalformed, reason: "the key occurs twice"}
		}
		o.seen[i] = true
		kind, text, ok := c.scalar()
		if !ok {
			return notScalar(kind, o.binding.columns[i])
		}
		if kind != jsonNull {
			o.values[i] = text
		}
	}
	if c.failed() || !c.atEnd() {
		return notJSON
	}
	return o.binding.record(o.values, out)
}

func (o *objects) lookup(place int, key []byte) (int, bool) {
	if place < len(o.guess) && o.guess[place] >= 0 && o.binding.columns[o.guess[place]] == string(key) {
		return o.guess[place], true
	}
	i, ok := o.column[string(key)]
	if !ok {
		i = -1
	}
	if place == len(o.guess) {
		o.guess = append(o.guess, i)
	} else if place < len(o.guess) {
		o.guess[place] = i
	}
	return i, ok
}
