package wasmbin

import "unicode/utf8"

// reader takes primitive values off a byte slice. The first failure sticks: later reads return zero
// and the position stays at the end, so that callers check failed once after a run of reads.
type reader struct {
	bytes  []byte
	at     int
	failed string // what went wrong, "" if nothing
	failAt int
}

func (r *reader) fail(reason string) {
	if r.failed == "" {
		r.failed, r.failAt = reason, r.at
	}
	r.at = len(r.bytes)
}

func (r *reader) left() int { return len(r.bytes) - r.at }

func (r *reader) done() bool { return r.at >= len(r.bytes) }

func (r *reader) byte() byte {
	if r.at >= len(r.bytes) {
		r.fail("unexpected end")
		return 0
	}
	b := r.bytes[r.at]
	r.at++
	return b
}

// u32 reads an unsigned LEB128 of at most 32 bits in at most 5 bytes.
func (r *reader) u32() uint32 {
	var v uint32
	for shift := 0; ; shift += 7 {
		b := r.byte()
		if shift == 28 && b > 0x0f {
			r.fail("a number does not fit 32 bits")
			return 0
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
}

// count reads the length of a vector whose items take at least size bytes each.
func (r *reader) count(size int) int {
	n := r.u32()
	if int64(n)*int64(size) > int64(r.left()) {
		r.fail("a vector is longer than its section")
		return 0
	}
	return int(n)
}

// signed reads a signed LEB128 of at most bits bits.
func (r *reader) signed(bits int) int64 {
	var v int64
	for shift := 0; ; shift += 7 {
		b := r.byte()
		if shift+7 > bits {
			// The unused bits of the last byte must repeat the sign.
			used := bits - shift
			top := int8(b<<1) >> used
			if b >= 0x80 || top != 0 && top != -1 {
				r.fail("a number does not fit its type")
				return 0
			}
		}
		v |= int64(b&0x7f) << shift
		if b < 0x80 {
			if b&0x40 != 0 && shift+7 < 64 {
				v |= -1 << (shift + 7)
			}
			return v
		}
	}
}

func (r *reader) skip(n int) { r.take(n) }

// take returns the next n bytes, which share the module's memory.
func (r *reader) take(n int) []byte {
	if n < 0 || n > r.left() {
		r.fail("unexpected end")
		return nil
	}
	b := r.bytes[r.at : r.at+n : r.at+n]
	r.at += n
	return b
}

func (r *reader) name() string {
	b := r.take(r.count(1))
	if !utf8.Valid(b) {
		r.fail("a name is not UTF-8")
		return ""
	}
	return string(b)
}
