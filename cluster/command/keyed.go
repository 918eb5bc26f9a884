package command

import (
	"crypto/sha256"
	"encoding/binary"
)

// KeyBytes is the size of the ids and fingerprints of idempotency keys.
const KeyBytes = 16

// MaxKeyTTL bounds how long an answer may be kept for its idempotency key: a year.
const MaxKeyTTL = 366 * 24 * 3600 * 1000

// KeyedOp is an operation under an idempotency key: it takes effect once, and again gives the answer
// it gave first.
type KeyedOp struct {
	// ID stands for the caller's key: KeyID makes it, so that neither the key nor the subject's id is
	// stored. Fingerprint stands for the request: another request under the same key is refused.
	ID, Fingerprint [KeyBytes]byte
	// TTL is how long the answer is kept, in milliseconds from the entry's time.
	TTL uint64
	// Op is the operation, as its Append made it. It is one on a subject, a decision or a response.
	Op []byte
}

// KeyID is the id of a caller's key. Keys are apart that are used for another kind of operation, for
// another scope (a subject key or a decision id), or for another part of one request.
func KeyID(kind Kind, scope []byte, part int, key string) (id [KeyBytes]byte) {
	h := sha256.New()
	var head [1 + 8 + 8]byte
	head[0] = byte(kind)
	binary.LittleEndian.PutUint64(head[1:], uint64(part))
	binary.LittleEndian.PutUint64(head[9:], uint64(len(scope)))
	h.Write(head[:]) // a hash never fails
	h.Write(scope)
	h.Write([]byte(key))
	copy(id[:], h.Sum(nil))
	return id
}

// Append appends the operation to dst. It never fails.
func (k *KeyedOp) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, Keyed)
	dst = append(dst, k.ID[:]...)
	dst = append(dst, k.Fingerprint[:]...)
	dst = binary.AppendUvarint(dst, k.TTL)
	return endOp(append(dst, k.Op...), at), nil
}

// Decode reads the body of a Keyed and the frame of the operation in it.
func (k *KeyedOp) Decode(body []byte) (inner Op, err error) {
	r := reader{rest: body}
	copy(k.ID[:], r.take(KeyBytes))
	copy(k.Fingerprint[:], r.take(KeyBytes))
	k.TTL = r.uvarint()
	if r.bad || k.TTL > MaxKeyTTL || len(r.rest) < opHeadBytes {
		return Op{}, ErrMalformed
	}
	k.Op = r.rest
	head, rest := r.take(opHeadBytes), r.rest
	if int64(binary.LittleEndian.Uint32(head[2:])) != int64(len(rest)) {
		return Op{}, ErrMalformed
	}
	inner = Op{Kind: Kind(head[0]), Version: head[1], Body: rest}
	switch inner.Kind {
	case SubjectPut, SubjectPatch, SubjectDelete, DecisionRecorded, ResponseRecorded, JourneyMoved:
		return inner, nil
	}
	return Op{}, ErrMalformed
}
