package importer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// csvRecords reads the records of a CSV body (RFC 4180, with LF or CRLF).
type csvRecords struct {
	scan    csvScanner
	binding *binding
}

func newCSVRecords(m *Mapping, dict *nba.Dictionary, src *source) (*csvRecords, error) {
	r := &csvRecords{scan: csvScanner{src: src, comma: ','}}
	if m != nil {
		r.scan.comma = m.delimiter
	}
	src.skipBOM()
	columns, err := r.header()
	if err != nil {
		return nil, err
	}
	if m != nil {
		r.binding, err = bindMapping(m, columns, dict)
	} else {
		r.binding, err = bindCanonical(columns, dict)
	}
	return r, err
}

// header reads the first record, which names the columns.
func (r *csvRecords) header() ([]string, error) {
	line, bad, err := r.scan.next()
	if errors.Is(err, io.EOF) {
		return nil, nba.Errorf(nba.CodeMalformed, "the file is empty: a CSV file begins with a header")
	}
	if err != nil {
		return nil, err
	}
	if bad != nil {
		return nil, &nba.Error{Code: bad.code, Message: "the header cannot be read",
			Details: []nba.Detail{{Line: line, Code: bad.code, Detail: bad.reason}}}
	}
	if len(r.scan.fields) > MaxColumns {
		return nil, nba.Errorf(nba.CodeTooLarge, "the header has more than %d columns", MaxColumns)
	}
	columns := make([]string, len(r.scan.fields))
	var details []nba.Detail
	for i, name := range r.scan.fields {
		columns[i] = string(name)
		switch {
		case isBlank(name):
			details = append(details, nba.Detail{Line: line, Code: nba.CodeInvalid, Detail: fmt.Sprintf("column %d has no name", i+1)})
		case slices.Contains(columns[:i], columns[i]):
			details = append(details, nba.Detail{Line: line, Code: nba.CodeInvalid, Detail: fmt.Sprintf("column %d repeats the name of an earlier column", i+1)})
		}
	}
	if details != nil {
		return nil, &nba.Error{Code: nba.CodeInvalid, Message: "the header has mistakes", Details: details}
	}
	return columns, nil
}

// next implements reader.
func (r *csvRecords) next(out *batch) (int, *problem, error) {
	out.begin()
	line, bad, err := r.scan.next()
	if bad != nil || err != nil {
		return line, bad, err
	}
	if got, want := len(r.scan.fields), len(r.binding.columns); got != want {
		return line, &problem{code: nba.CodeMalformed, reason: fmt.Sprintf("the line has %d fields, the header has %d", got, want)}, nil
	}
	return line, r.binding.record(r.scan.fields, out), nil
}

// csvScanner splits a body into records and fields. A quote may only open at the start of a field.
// When a record is malformed, the scan goes on at the line after the one on which it began, so that
// a quote that is never closed costs one line and not all that follow. That, a bound on the size of a
// record, and the line on which it began are why this is not encoding/csv, which is as fast.
type csvScanner struct {
	src    *source
	comma  byte
	fields [][]byte // of the last record; valid until next
	text   []byte   // unquoted text of the last record, when it has quotes
	ends   []int    // where its fields end in text
}

// next reads one record into fields, passing empty lines.
func (c *csvScanner) next() (line int, bad *problem, err error) {
	for {
		s := c.src
		line = s.line
		n, err := s.lineEnd(0)
		if errors.Is(err, errLong) {
			return line, tooLong, s.skipLong()
		}
		if err != nil {
			return line, nil, err
		}
		raw := trimCR(s.buf[s.pos : s.pos+n])
		if len(raw) == 0 {
			s.advance(n, 1)
			continue
		}
		if bytes.IndexByte(raw, '"') >= 0 {
			bad, err = c.quoted(n)
			return line, bad, err
		}
		s.advance(n, 1) // raw stays: advance moves no bytes
		if !utf8.Valid(raw) {
			return line, notUTF8, nil
		}
		c.split(raw)
		return line, nil, nil
	}
}

var (
	tooLong     = &problem{code: nba.CodeTooLarge, reason: fmt.Sprintf("the record is longer than %d bytes", MaxRecordBytes)}
	notUTF8     = &problem{code: nba.CodeMalformed, reason: "the line is not UTF-8: save the file as UTF-8"}
	bareQuote   = &problem{code: nba.CodeMalformed, reason: "a quote within an unquoted field: put the field in quotes and double the quote"}
	afterQuote  = &problem{code: nba.CodeMalformed, reason: "text after a closing quote: double the quotes within a quoted field"}
	neverClosed = &problem{code: nba.CodeMalformed, reason: "a quote opens on this line and is never closed"}
)

// split cuts a record without quotes at its commas.
func (c *csvScanner) split(raw []byte) {
	c.fields = c.fields[:0]
	from := 0
	for i, b := range raw {
		if b == c.comma {
			c.fields = append(c.fields, raw[from:i:i])
			from = i + 1
		}
	}
	c.fields = append(c.fields, raw[from:len(raw):len(raw)])
}

// quoted reads a record that has quotes and may go on over several lines. n is the end of its first
// line.
func (c *csvScanner) quoted(n int) (*problem, error) {
	s := c.src
	end, lines, problem, err := c.unquote(n)
	if err != nil {
		return nil, err
	}
	if problem == nil && !utf8.Valid(s.buf[s.pos:s.pos+end]) {
		problem = notUTF8
	}
	if problem != nil {
		s.advance(n, 1)
		return problem, nil
	}
	s.advance(end, lines)
	c.fields = c.fields[:0]
	from := 0
	for _, to := range c.ends {
		c.fields = append(c.fields, c.text[from:to:to])
		from = to
	}
	return nil, nil
}

// unquote fills text and ends and returns the end of the record's last line and how many lines it
// has.
func (c *csvScanner) unquote(n int) (end, lines int, bad *problem, err error) {
	s := c.src
	c.text, c.ends = c.text[:0], c.ends[:0]
	end, lines = n, 1
	raw := trimCR(s.buf[s.pos : s.pos+end])
	for i := 0; ; { // one field a turn; i is the offset of its start
		if i == len(raw) || raw[i] != '"' {
			field := raw[i:]
			comma := bytes.IndexByte(field, c.comma)
			if comma >= 0 {
				field = field[:comma]
			}
			if bytes.IndexByte(field, '"') >= 0 {
				return 0, 0, bareQuote, nil
			}
			c.text = append(c.text, field...)
			c.ends = append(c.ends, len(c.text))
			if comma < 0 {
				return end, lines, nil, nil
			}
			i += comma + 1
			continue
		}
		i++ // the opening quote
		for closed := false; !closed; {
			quote := bytes.IndexByte(raw[i:], '"')
			switch {
			case quote < 0: // the field goes on in the next line
				c.text = append(append(c.text, raw[i:]...), '\n')
				next, err := s.lineEnd(end + 1)
				if errors.Is(err, io.EOF) || errors.Is(err, errLong) {
					return 0, 0, neverClosed, nil
				}
				if err != nil {
					return 0, 0, nil, err
				}
				i = end + 1
				end, lines = next, lines+1
				raw = trimCR(s.buf[s.pos : s.pos+end])
				if i > len(raw) {
					i = len(raw) // cannot be: trimCR takes no byte before i
				}
			case i+quote+1 < len(raw) && raw[i+quote+1] == '"':
				c.text = append(c.text, raw[i:i+quote+1]...)
				i += quote + 2
			default:
				c.text = append(c.text, raw[i:i+quote]...)
				i += quote + 1
				closed = true
			}
		}
		c.ends = append(c.ends, len(c.text))
		if i == len(raw) {
			return end, lines, nil, nil
		}
		if raw[i] != c.comma {
			return 0, 0, afterQuote, nil
		}
		i++
	}
}
