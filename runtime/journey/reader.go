package journey

import "encoding/binary"

// reader takes fields off the front of text that is the memory of all names. After the first field that is
// not there, bad is set and every further one is zero.
type reader struct {
	rest string
	bad  bool
}

func (r *reader) take(n int) string {
	if r.bad || n < 0 || n > len(r.rest) {
		r.bad, r.rest = true, ""
		return ""
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); b != "" {
		return b[0]
	}
	return 0
}

// uvarint is a number of at most most.
func (r *reader) uvarint(most uint64) (v uint64) {
	for shift := 0; shift < 64; shift += 7 {
		b := r.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if v > most || shift == 63 && b > 1 || shift > 0 && b == 0 {
				break // too much, or written longer than it need be
			}
			return v
		}
	}
	r.bad = true
	return 0
}

func (r *reader) varint() int64 {
	v := r.uvarint(1<<64 - 1)
	return int64(v>>1) ^ -int64(v&1)
}

// count is the length of a list, each of whose elements takes a byte at least.
func (r *reader) count(most int) int {
	n := r.uvarint(uint64(most))
	if n > uint64(len(r.rest)) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *reader) text(most int) string { return r.take(int(r.uvarint(uint64(most)))) }

func (r *reader) name() string {
	name := r.text(MaxNameBytes)
	r.bad = r.bad || name == ""
	return name
}

func (r *reader) end() error {
	if r.bad || r.rest != "" {
		return ErrMalformed
	}
	return nil
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}
