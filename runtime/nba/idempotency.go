package nba

import (
	"context"
	"sync/atomic"
)

// MaxIdempotencyKey bounds the length of an idempotency key in bytes.
const MaxIdempotencyKey = 255

// Idempotency makes a change take effect once however often it is sent: the first answer is kept under
// the key and given again. It travels in the context of a call. A key belongs to one kind of change of one
// subject or decision.
type Idempotency struct {
	// Key is the caller's.
	Key string
	// Fingerprint stands for the request. The key with another fingerprint is refused with CodeKeyReused.
	Fingerprint [16]byte
	// Part tells the changes of one request apart, which share its key.
	Part int

	replayed *atomic.Bool
}

// NewIdempotency is a key for one request. Key must be as CheckIdempotencyKey wants it.
func NewIdempotency(key string, fingerprint [16]byte) *Idempotency {
	return &Idempotency{Key: key, Fingerprint: fingerprint, replayed: new(atomic.Bool)}
}

// CheckIdempotencyKey is nil for a key of 1 to 255 visible ASCII characters.
func CheckIdempotencyKey(key string) error {
	ok := len(key) > 0 && len(key) <= MaxIdempotencyKey
	for i := 0; ok && i < len(key); i++ {
		ok = key[i] > ' ' && key[i] < 0x7f
	}
	if !ok {
		return Errorf(CodeInvalid, "the Idempotency-Key must have 1 to %d visible ASCII characters", MaxIdempotencyKey)
	}
	return nil
}

// OfPart is the key of one change of the request.
func (i *Idempotency) OfPart(part int, fingerprint [16]byte) *Idempotency {
	of := *i
	of.Part, of.Fingerprint = part, fingerprint
	return &of
}

// SetReplayed notes that the answer is an earlier one. It is safe for concurrent use.
func (i *Idempotency) SetReplayed() { i.replayed.Store(true) }

// Replayed tells whether any part of the answer is an earlier one. It is safe for concurrent use.
func (i *Idempotency) Replayed() bool { return i.replayed.Load() }

type idempotencyKey struct{}

// WithIdempotency is ctx with the key of a call.
func WithIdempotency(ctx context.Context, key *Idempotency) context.Context {
	return context.WithValue(ctx, idempotencyKey{}, key)
}

// IdempotencyOf is the key of a call, or nil.
func IdempotencyOf(ctx context.Context) *Idempotency {
	key, _ := ctx.Value(idempotencyKey{}).(*Idempotency)
	return key
}
