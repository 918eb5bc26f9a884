package importer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// source gives the bytes of a body line by line and counts the lines. Slices it returns are valid
// until the next call.
type source struct {
	r        io.Reader
	buf      []byte
	pos, end int   // the unread bytes are buf[pos:end]
	err      error // what r said after the last byte
	line     int   // number of the line that begins at pos
	consumed int64 // bytes taken from r
}

const (
	readBytes       = 128 << 10 // one Read asks for this much
	maxEmptyReads   = 100       // as in bufio
	maxSourceBuffer = MaxRecordBytes + 2*readBytes
)

// errLong is returned when a line is longer than MaxRecordBytes.
var errLong = errors.New("line too long")

func newSource(r io.Reader, firstLine int) *source {
	return &source{r: r, line: firstLine}
}

// lineEnd finds the end of the line that holds the byte at pos+from: the offset of its newline from
// pos, or of the end of the body. It returns io.EOF when no byte is left at pos+from, and errLong
// when the offset would be beyond MaxRecordBytes.
func (s *source) lineEnd(from int) (int, error) {
	searched := from
	for {
		if window := s.buf[s.pos:s.end]; searched < len(window) {
			if i := bytes.IndexByte(window[searched:], '\n'); i >= 0 {
				if searched+i > MaxRecordBytes {
					return 0, errLong
				}
				return searched + i, nil
			}
			searched = len(window)
		}
		if searched > MaxRecordBytes {
			return 0, errLong
		}
		if s.err == nil {
			s.fill()
			continue
		}
		if !errors.Is(s.err, io.EOF) {
			return 0, fmt.Errorf("reading the import body: %w", s.err)
		}
		if s.end-s.pos <= from {
			return 0, io.EOF
		}
		return s.end - s.pos, nil
	}
}

// fill reads at least one byte or sets err.
func (s *source) fill() {
	if s.pos > 0 && len(s.buf)-s.end < readBytes {
		s.end = copy(s.buf, s.buf[s.pos:s.end])
		s.pos = 0
	}
	if len(s.buf)-s.end < readBytes {
		bigger := make([]byte, min(max(2*len(s.buf), 2*readBytes), maxSourceBuffer))
		copy(bigger, s.buf[:s.end])
		s.buf = bigger
	}
	for range maxEmptyReads {
		n, err := s.r.Read(s.buf[s.end : s.end+min(readBytes, len(s.buf)-s.end)])
		s.end += n
		s.consumed += int64(n)
		s.err = err
		if n > 0 || err != nil {
			return
		}
	}
	s.err = io.ErrNoProgress
}

// advance passes the bytes up to and including the newline at offset n from pos.
func (s *source) advance(n, lines int) {
	s.pos = min(s.pos+n+1, s.end)
	s.line += lines
}

// skipLong passes a line that lineEnd called too long, without holding it.
func (s *source) skipLong() error {
	for {
		if i := bytes.IndexByte(s.buf[s.pos:s.end], '\n'); i >= 0 {
			s.advance(i, 1)
			return nil
		}
		s.pos, s.end = 0, 0
		if s.err == nil {
			s.fill()
			continue
		}
		s.line++
		if errors.Is(s.err, io.EOF) {
			return nil
		}
		return fmt.Errorf("reading the import body: %w", s.err)
	}
}

// skipBOM passes a UTF-8 byte order mark at the start of the body.
func (s *source) skipBOM() {
	for s.end-s.pos < len(byteOrderMark) && s.err == nil {
		s.fill()
	}
	if bytes.HasPrefix(s.buf[s.pos:s.end], []byte(byteOrderMark)) {
		s.pos += len(byteOrderMark)
	}
}

const byteOrderMark = "\xEF\xBB\xBF"

func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}
