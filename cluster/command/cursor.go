package command

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// reader takes fields off the front of a body. After the first field that is not there, bad is set
// and every further field is zero.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	if r.bad || n < 0 || n > len(r.rest) {
		r.bad = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (r *reader) f64() float64 { return math.Float64frombits(r.u64()) }

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// text shares the memory of the body.
func (r *reader) text(limit int) string {
	n := r.uvarint()
	if n > uint64(limit) {
		r.bad = true
		return ""
	}
	b := r.take(int(n))
	return unsafe.String(unsafe.SliceData(b), len(b))
}

func (r *reader) subject() (key []byte) {
	if r.bad || len(r.rest) < 2 {
		r.bad = true
		return nil
	}
	size := int(r.rest[1])
	if int(r.rest[0]) >= len(nba.SubjectTypes) || size == 0 || size > nba.MaxSubjectIDBytes {
		r.bad = true
		return nil
	}
	return r.take(2 + size)
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// AppendSubjectKey appends the key of a normalized subject: its type, the length of its id, its id.
// No key is a prefix of another.
func AppendSubjectKey(dst []byte, ref nba.SubjectRef) []byte {
	return append(append(dst, byte(ref.Type.Index()), byte(len(ref.ID))), ref.ID...)
}

// ParseSubjectKey is the inverse of AppendSubjectKey. The id shares the memory of key.
func ParseSubjectKey(key []byte) (nba.SubjectRef, bool) {
	r := reader{rest: key}
	if r.subject(); r.bad || len(r.rest) != 0 {
		return nba.SubjectRef{}, false
	}
	id := key[2:]
	return nba.SubjectRef{ID: unsafe.String(unsafe.SliceData(id), len(id)), Type: nba.SubjectTypes[key[0]]}, true
}
