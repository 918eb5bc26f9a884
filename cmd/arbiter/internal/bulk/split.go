package bulk

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Format tells how records are separated.
type Format string

// The formats: one JSON object a line, and RFC 4180 with a header.
const (
	NDJSON Format = "ndjson"
	CSV    Format = "csv"
)

// ContentType is the media type of f.
func (f Format) ContentType() string {
	if f == CSV {
		return "text/csv"
	}
	return "application/x-ndjson"
}

// Limits of a chunk.
const (
	DefaultChunkLines = 10_000
	// MaxChunkLines is how many bad lines the server lists in one answer: no more can be in a chunk.
	MaxChunkLines = 100_000
	// MaxChunkBytes keeps a chunk well below what the server takes in one request.
	MaxChunkBytes = 8 << 20
	// MaxRecordBytes bounds one record. A longer one is most likely a quote that is never closed.
	MaxRecordBytes = 1 << 20
)

// Chunk is a run of whole records.
type Chunk struct {
	// Data are the records as they stand in the file, without the header.
	Data []byte
	// FirstLine is the line in the file of the first record; Lines is how many lines Data spans, more
	// than it has records when a quoted value holds line breaks.
	FirstLine, Lines int
	// Offset and End are the places in the file, in bytes, of the first and one past the last byte.
	Offset, End int64
}

// Splitter cuts a stream into chunks. It is used by one goroutine.
type Splitter struct {
	in         *bufio.Reader
	format     Format
	delimiter  byte
	chunkLines int
	offset     int64
	line       int // of the next record

	header      []byte
	headerLines int
	record      []byte // reused
}

// NewSplitter reads records from in, which stands at the start of the file. delimiter separates CSV
// fields; 0 means a comma. chunkLines bounds the lines of a chunk; 0 means DefaultChunkLines. The
// header of a CSV file is read at once.
func NewSplitter(in io.Reader, format Format, delimiter byte, chunkLines int) (*Splitter, error) {
	if delimiter == 0 {
		delimiter = ','
	}
	if chunkLines == 0 {
		chunkLines = DefaultChunkLines
	}
	if chunkLines < 1 || chunkLines > MaxChunkLines {
		return nil, fmt.Errorf("the lines of a chunk are between 1 and %d", MaxChunkLines)
	}
	s := &Splitter{in: bufio.NewReaderSize(in, 256<<10), format: format, delimiter: delimiter,
		chunkLines: chunkLines, line: 1}
	if err := s.skipByteOrderMark(); err != nil {
		return nil, err
	}
	if format != CSV {
		return s, nil
	}
	header, lines, err := s.next()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("the file is empty: a CSV file begins with a header")
	}
	if err != nil {
		return nil, err
	}
	s.header = append(bytes.Clone(bytes.TrimRight(header, "\r\n")), '\n')
	s.headerLines = lines
	return s, nil
}

// Header is the header of a CSV file, with a line break; empty for other formats.
func (s *Splitter) Header() []byte { return s.header }

// HeaderLines is how many lines the header spans; 0 for formats without one.
func (s *Splitter) HeaderLines() int { return s.headerLines }

// Resume continues at offset, the End of an earlier chunk, whose next line is line. seek moves the
// stream that was given to NewSplitter.
func (s *Splitter) Resume(seek io.ReadSeeker, offset int64, line int) error {
	if _, err := seek.Seek(offset, io.SeekStart); err != nil {
		return fmt.Errorf("moving to where the import stopped: %w", err)
	}
	s.in.Reset(seek)
	s.offset, s.line = offset, line
	return nil
}

// Next cuts the next chunk; io.EOF after the last one. The chunk's memory is the caller's.
func (s *Splitter) Next() (Chunk, error) {
	c := Chunk{FirstLine: s.line, Offset: s.offset}
	for c.Lines < s.chunkLines && len(c.Data) < MaxChunkBytes {
		record, lines, err := s.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Chunk{}, err
		}
		c.Data = append(c.Data, record...)
		c.Lines += lines
	}
	c.End = s.offset
	if len(c.Data) == 0 {
		return Chunk{}, io.EOF
	}
	return c, nil
}

// next reads one record with its line break. The bytes are valid until the next call.
func (s *Splitter) next() (record []byte, lines int, err error) {
	s.record = s.record[:0]
	start, quoted := s.line, false
	for {
		begin := len(s.record)
		more, err := s.readLine(start)
		if err != nil {
			return nil, 0, err
		}
		line := s.record[begin:]
		if len(line) > 0 {
			s.line++
		}
		if s.format == CSV {
			quoted = openQuote(line, quoted, s.delimiter)
		}
		switch {
		case more && quoted:
			continue
		case len(s.record) == 0:
			return nil, 0, io.EOF
		}
		return s.record, s.line - start, nil
	}
}

// readLine appends one line to the record that began at line start; more is false at the end of the
// stream.
func (s *Splitter) readLine(start int) (more bool, err error) {
	for {
		part, err := s.in.ReadSlice('\n')
		s.record = append(s.record, part...)
		s.offset += int64(len(part))
		switch {
		case len(s.record) > MaxRecordBytes:
			return false, fmt.Errorf("line %d: the record is longer than %d MiB: is there a quote that is never closed?",
				start, MaxRecordBytes>>20)
		case err == nil:
			return true, nil
		case errors.Is(err, io.EOF):
			return false, nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return false, fmt.Errorf("reading line %d: %w", s.line, err)
		}
	}
}

// openQuote tells whether a quoted CSV value is open after line, given whether one was before; when
// none was, the line begins a record. Quotes count only where RFC 4180 lets a quoted value begin, so
// a stray quote inside a bare value (5" pipe) spoils its own record and no other.
func openQuote(line []byte, open bool, delimiter byte) bool {
	if bytes.IndexByte(line, '"') < 0 {
		return open
	}
	fieldStart := !open
	for i := 0; i < len(line); i++ {
		b := line[i]
		switch {
		case open && b == '"' && i+1 < len(line) && line[i+1] == '"':
			i++
		case open && b == '"':
			open = false
		case open:
		case fieldStart && b == '"':
			open, fieldStart = true, false
		default:
			fieldStart = b == delimiter
		}
	}
	return open
}

// skipByteOrderMark drops the mark that spreadsheets put before UTF-8.
func (s *Splitter) skipByteOrderMark() error {
	head, err := s.in.Peek(3)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading the file: %w", err)
	}
	if string(head) == "\xef\xbb\xbf" {
		s.offset = 3
		_, err = s.in.Discard(3)
	} else {
		err = nil
	}
	return err
}
