package cloudevent

import (
	"encoding/base64"
	"encoding/json"
	"mime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The media types of CloudEvents in JSON.
const (
	MediaEvent = "application/cloudevents+json"
	MediaBatch = "application/cloudevents-batch+json"
)

// MaxExtensionBytes bounds the extension attributes of an event.
const MaxExtensionBytes = 8 << 10

// The attributes that the specification names.
const (
	attrSpec = 1 << iota
	attrID
	attrSource
	attrType
	attrSubject
	attrTime
	attrMedia
	attrSchema
	attrData
	attrBase64
)

// inBase64 ends the media type of data that is bytes, which are kept in base64.
const inBase64 = ";base64"

// draft is an event that is being read.
type draft struct {
	event      nba.Event
	seen       int
	media      string
	data       string // JSON, or base64 in quotes
	base64     bool
	extensions []byte
}

// Structured reads an event in JSON. Its strings and its data are parts of text. An event that is not JSON has
// CodeMalformed, one that breaks the specification CodeInvalid or, if it is too large, CodeTooLarge.
func Structured(text string) (nba.Event, error) {
	s := scanner{text: text}
	var d draft
	fault := d.read(&s)
	s.end()
	if s.fault != "" {
		return nba.Event{}, malformed(&s)
	}
	if fault != nil {
		return nba.Event{}, fault
	}
	return d.finish()
}

// Batch reads a JSON array of events, at most limit, and calls each with the text of every one and either the
// event or what is wrong with it. The error is that of the array; events before the fault were handed over.
func Batch(text string, limit int, each func(raw string, e nba.Event, err error)) error {
	s := scanner{text: text}
	if !s.take('[', "a batch of events is a JSON array") {
		return malformed(&s)
	}
	if s.peek() == ']' {
		s.pos++
		if !s.end() {
			return malformed(&s)
		}
		return nil
	}
	for n := 1; ; n++ {
		if n > limit {
			return nba.Errorf(nba.CodeTooLarge, "a batch holds at most %d events: send more requests", limit)
		}
		s.peek()
		start := s.pos
		var d draft
		fault := d.read(&s)
		if s.fault != "" {
			return malformed(&s)
		}
		raw := text[start:s.pos]
		if fault != nil {
			each(raw, nba.Event{}, fault)
		} else {
			e, err := d.finish()
			each(raw, e, err)
		}
		if s.peek() == ',' {
			s.pos++
			continue
		}
		if s.take(']', "a comma or the end of the batch is missing"); !s.end() {
			return malformed(&s)
		}
		return nil
	}
}

func malformed(s *scanner) error {
	return nba.Errorf(nba.CodeMalformed, "the event is not the JSON expected: %s", s.fault)
}

// read reads the members of an event. What breaks the specification is returned, and the event passed; what
// breaks JSON is the fault of s.
func (d *draft) read(s *scanner) (fault *nba.Error) {
	if s.peek() != '{' {
		s.skip()
		return nba.Errorf(nba.CodeInvalid, "an event is a JSON object")
	}
	s.pos++
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	for {
		raw, escaped, ok := s.str()
		if !ok || !s.take(':', "a colon is missing after the name") {
			return nil
		}
		if escaped {
			raw = unescape(raw)
		}
		if err := d.member(s, raw); err != nil && fault == nil {
			fault = err
		}
		switch s.peek() {
		case ',':
			s.pos++
			if s.peek() != '"' {
				s.fail("a name in quotes is missing")
				return nil
			}
		case '}':
			s.pos++
			return fault
		default:
			s.fail("a comma or the end of the object is missing")
			return nil
		}
	}
}

func attrOf(name string) int {
	switch name {
	case "specversion":
		return attrSpec
	case "id":
		return attrID
	case "source":
		return attrSource
	case "type":
		return attrType
	case "subject":
		return attrSubject
	case "time":
		return attrTime
	case "datacontenttype":
		return attrMedia
	case "dataschema":
		return attrSchema
	case "data":
		return attrData
	case "data_base64":
		return attrBase64
	}
	return 0
}

// member reads the value of one member.
func (d *draft) member(s *scanner, name string) *nba.Error {
	attr := attrOf(name)
	if attr != 0 && d.seen&attr != 0 {
		s.skip()
		return invalid(name, "the attribute occurs twice")
	}
	if s.peek() == 'n' && attr != attrData { // null is as if it were not there
		s.skip()
		return nil
	}
	d.seen |= attr
	switch attr {
	case 0:
		raw, _ := s.value()
		return d.extension(name, raw)
	case attrData:
		d.data, _ = s.value()
		return nil
	}
	if s.peek() != '"' {
		s.skip()
		return invalid(name, "the attribute must be a string")
	}
	if attr == attrBase64 {
		raw, escaped, _ := s.str()
		if escaped {
			return invalid(name, "the data is not base64")
		}
		d.data, d.base64 = raw, true
		return nil
	}
	value, _ := s.string()
	return d.set(attr, name, value)
}

// set sets an attribute that is text.
func (d *draft) set(attr int, name, value string) *nba.Error {
	switch {
	case value == "":
		return invalid(name, "the attribute is empty")
	case len(value) > nba.MaxEventText:
		return invalid(name, "the attribute is longer than "+strconv.Itoa(nba.MaxEventText)+" bytes")
	}
	e := &d.event
	switch attr {
	case attrSpec:
		if value != "1.0" {
			return invalid(name, `the version of CloudEvents must be "1.0"`)
		}
	case attrID:
		e.ID = value
	case attrSource:
		e.Source = value
	case attrType:
		e.Type = value
	case attrSubject:
		e.SubjectName = value
	case attrTime:
		t, err := time.Parse(time.RFC3339, value)
		if err != nil || t.Year() < 1970 || t.Year() > 9999 {
			return invalid(name, "the time must be as RFC 3339 has it, such as 2026-01-31T09:30:00Z, and not before 1970")
		}
		e.Time = t.UTC().Truncate(time.Millisecond)
	case attrMedia:
		d.media = value
	case attrSchema:
		return d.extend(name, strconv.Quote(value))
	}
	return nil
}

// extension takes an extension attribute, whose value is JSON.
func (d *draft) extension(name, raw string) *nba.Error {
	if raw == "" {
		return nil // the scanner has failed
	}
	for i := range len(name) {
		if c := name[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9') {
			return nba.Errorf(nba.CodeInvalid, "the name of an extension attribute consists of lower-case letters and digits: put other members into data")
		}
	}
	if raw[0] == '{' || raw[0] == '[' || len(name) == 0 || len(name) > 64 {
		return nba.Errorf(nba.CodeInvalid, "an extension attribute is a string, a number or a truth value with a name of at most 64 letters: put other members into data")
	}
	return d.extend(name, raw)
}

func (d *draft) extend(name, raw string) *nba.Error {
	if len(d.extensions)+len(name)+len(raw)+4 > MaxExtensionBytes {
		return nba.Errorf(nba.CodeTooLarge, "the extension attributes are larger than %d bytes", MaxExtensionBytes)
	}
	if d.extensions == nil {
		d.extensions = append(d.extensions, '{')
	} else {
		d.extensions = append(d.extensions, ',')
	}
	d.extensions = append(append(append(append(d.extensions, '"'), name...), `":`...), raw...)
	return nil
}

func invalid(name, detail string) *nba.Error {
	return &nba.Error{Code: nba.CodeInvalid, Message: "attribute " + name + " of an event: " + detail,
		Details: []nba.Detail{{Pointer: "/" + name, Code: nba.CodeInvalid, Detail: detail}}}
}

// finish checks what concerns several attributes.
func (d *draft) finish() (nba.Event, error) {
	for _, required := range [...]struct {
		attr int
		name string
	}{{attrSpec, "specversion"}, {attrID, "id"}, {attrSource, "source"}, {attrType, "type"}} {
		if d.seen&required.attr == 0 {
			return nba.Event{}, invalid(required.name, "the attribute is missing")
		}
	}
	if d.seen&attrData != 0 && d.seen&attrBase64 != 0 {
		return nba.Event{}, invalid("data_base64", "an event has data or data_base64 and not both")
	}
	if d.extensions != nil {
		d.event.Extensions = append(d.extensions, '}')
	}
	if err := d.setData(); err != nil {
		return nba.Event{}, err
	}
	return d.event, nil
}

// isJSON tells whether data of a media type is JSON.
func isJSON(media string) bool {
	switch media {
	case "", "application/json", "text/json", "application/json; charset=utf-8":
		return true
	}
	base, _, err := mime.ParseMediaType(media)
	return err == nil && (strings.HasSuffix(base, "/json") || strings.HasSuffix(base, "+json"))
}

// setData puts the data into the event: JSON as it is, other text as a JSON string, bytes as base64.
func (d *draft) setData() *nba.Error {
	if len(d.data) > nba.MaxEventBytes {
		return tooLarge()
	}
	switch {
	case d.base64:
		decoded, err := base64.StdEncoding.DecodeString(d.data)
		if err != nil {
			return invalid("data_base64", "the data is not base64")
		}
		if d.media != "" && isJSON(d.media) {
			s := scanner{text: string(decoded)}
			if s.skip(); !s.end() {
				return invalid("data_base64", "the data is not the JSON that datacontenttype tells")
			}
			d.event.Data = decoded
			return nil
		}
		d.event.Data = json.RawMessage(`"` + d.data + `"`)
		if d.media == "" {
			d.media = "application/octet-stream"
		}
		d.event.MediaType = d.media + inBase64
	case d.data == "" || d.data == "null":
	default:
		d.event.Data = bytesOf(d.data)
		if !isJSON(d.media) {
			d.event.MediaType = d.media
		}
	}
	return nil
}

func tooLarge() *nba.Error {
	return nba.Errorf(nba.CodeTooLarge, "the data of an event is at most %d bytes", nba.MaxEventBytes)
}

// bytesOf is text as bytes, which must not be changed.
func bytesOf(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }

// Binary reads an event in binary mode: its attributes in headers, which attributes calls yield with for each
// name without its prefix, in any order; its data in body, of a media type. The event keeps body.
func Binary(media string, body []byte, attributes func(yield func(name, value string))) (nba.Event, error) {
	var d draft
	var fault *nba.Error
	attributes(func(name, value string) {
		name = strings.ToLower(name)
		err := (*nba.Error)(nil)
		switch attr := attrOf(name); attr {
		case attrData, attrBase64, attrMedia:
			err = invalid(name, "in binary mode the data is the body and its type the Content-Type")
		case 0:
			err = d.extension(name, quote(value))
		default:
			if d.seen&attr != 0 {
				err = invalid(name, "the attribute occurs twice")
			} else if d.seen |= attr; err == nil {
				err = d.set(attr, name, value)
			}
		}
		if fault == nil {
			fault = err
		}
	})
	if fault != nil {
		return nba.Event{}, fault
	}
	if len(body) > nba.MaxEventBytes {
		return nba.Event{}, tooLarge()
	}
	if d.media = media; len(body) > 0 {
		switch {
		case isJSON(media):
			s := scanner{text: unsafe.String(unsafe.SliceData(body), len(body))}
			if s.skip(); !s.end() {
				return nba.Event{}, nba.Errorf(nba.CodeMalformed, "the body is not the JSON that its Content-Type tells: %s", s.fault)
			}
			d.data = s.text
		case strings.HasPrefix(media, "text/") && json.Valid([]byte(quote(string(body)))):
			d.data = quote(string(body))
		default:
			d.data, d.base64 = base64.StdEncoding.EncodeToString(body), true
		}
	}
	return d.finish()
}

// quote is text as a JSON string.
func quote(text string) string {
	b, err := json.Marshal(text)
	if err != nil {
		return `""` // never: any text can be written
	}
	return string(b)
}
