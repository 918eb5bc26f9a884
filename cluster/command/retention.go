package command

import (
	"encoding/binary"
)

// MaxExpired bounds the decisions, and the idempotency keys, that one Expire removes.
const MaxExpired = 1 << 12

// Expire removes the oldest decisions and the idempotency keys that have run out. It names the time
// itself: the state machine has no clock.
type Expire struct {
	// BeforeMS is the time, in milliseconds since 1970, before which decisions are removed.
	BeforeMS int64
	// KeysMS is the time up to which idempotency keys have run out.
	KeysMS int64
	// Limit bounds the decisions and, apart from them, the keys removed, so that the work of one
	// operation is bounded. The answer tells whether there is more.
	Limit uint32
}

// Append appends the operation to dst. It never fails.
func (e *Expire) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, Expired)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.BeforeMS))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(e.KeysMS))
	return endOp(binary.LittleEndian.AppendUint32(dst, e.Limit), at), nil
}

// Decode reads the body of an Expired.
func (e *Expire) Decode(body []byte) error {
	r := reader{rest: body}
	e.BeforeMS, e.KeysMS = int64(r.u64()), int64(r.u64())
	if b := r.take(4); b != nil {
		e.Limit = binary.LittleEndian.Uint32(b)
	}
	if e.Limit == 0 || e.Limit > MaxExpired {
		return ErrMalformed
	}
	return r.end()
}

// Digest stands for all replicated state of a group. It is 0 for an empty state and does not depend on
// the order in which the state came about.
type Digest struct{ Hi, Lo uint64 }

// Mark asks every replica of a group to compare and to remember its digest.
type Mark struct {
	// Of is the log index of an earlier mark, 0 for none, and Digest what the replicas had there. A
	// replica that remembers another digest of that index stops.
	Of     uint64
	Digest Digest
}

// Append appends the operation to dst. It never fails.
func (m *Mark) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, StateMarked)
	dst = binary.LittleEndian.AppendUint64(dst, m.Of)
	return endOp(AppendDigest(dst, m.Digest), at), nil
}

// Decode reads the body of a StateMarked.
func (m *Mark) Decode(body []byte) error {
	r := reader{rest: body}
	m.Of = r.u64()
	m.Digest = r.digest()
	return r.end()
}

// DigestBytes is the size of an encoded Digest.
const DigestBytes = 16

// AppendDigest appends d to dst.
func AppendDigest(dst []byte, d Digest) []byte {
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(dst, d.Lo), d.Hi)
}

// ParseDigest is the inverse of AppendDigest.
func ParseDigest(b []byte) (Digest, bool) {
	r := reader{rest: b}
	d := r.digest()
	return d, r.end() == nil
}

func (r *reader) digest() (d Digest) {
	d.Lo = r.u64()
	d.Hi = r.u64()
	return d
}
