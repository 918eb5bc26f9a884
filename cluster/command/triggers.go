package command

import (
	"encoding/binary"
	"math"

	"github.com/oklog/ulid/v2"
)

// The sections of a decision that something raised.
const (
	// EffectTrigger is the trigger that the decision answers: its id. The decision is refused whole unless
	// that trigger is pending, so that no trigger is answered twice.
	EffectTrigger SectionTag = 50
	// KeptTrigger is what raised the decision: AppendRaisedBy. It is part of the record.
	KeptTrigger SectionTag = 55
)

// Limits of triggers.
const (
	// MaxContextBytes bounds the contexts of a trigger.
	MaxContextBytes = 8 << 10
	// MaxClosed bounds the triggers of one CloseTriggers.
	MaxClosed = 1 << 10
	// MaxPendingTriggers bounds the triggers of one subject that wait to be decided. One more is closed at
	// once.
	MaxPendingTriggers = 64
)

// Trigger asks for a decision of direction outbound. Origin names who raised it: the kind and the name of
// what the catalog has, as in "strategy:roaming", "journey:cart", "campaign:renewal". The state machine
// gives it its id.
type Trigger struct {
	ID     ulid.ULID
	Key    []byte // of the subject
	Origin string
	// RaisedMS is when it was raised; it is decided from NotBeforeMS on, at once if that is 0, and is
	// dropped when ExpiresMS has passed, never if that is 0.
	RaisedMS, NotBeforeMS, ExpiresMS int64
	// EventType is the type of the event that raised it, empty if it was none.
	EventType string
	// Contexts are the contexts of the decision, as nba encodes them: a JSON array of type, key, value.
	// Empty for none.
	Contexts []byte
}

// Append appends the bytes of t to dst.
func (t *Trigger) Append(dst []byte) []byte {
	dst = append(append(dst, t.ID[:]...), t.Key...)
	for _, ms := range [...]int64{t.RaisedMS, t.NotBeforeMS, t.ExpiresMS} {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(ms))
	}
	dst = appendText(appendText(dst, t.Origin), t.EventType)
	return append(binary.AppendUvarint(dst, uint64(len(t.Contexts))), t.Contexts...)
}

func (r *reader) trigger(t *Trigger) {
	copy(t.ID[:], r.take(len(t.ID)))
	t.Key = r.subject()
	t.RaisedMS, t.NotBeforeMS, t.ExpiresMS = int64(r.u64()), int64(r.u64()), int64(r.u64())
	t.Origin, t.EventType = r.text(maxText), r.text(maxText)
	size := r.uvarint()
	r.bad = r.bad || size > MaxContextBytes
	t.Contexts = r.take(int(min(size, MaxContextBytes)))
}

// Decode reads what Append wrote. t shares the memory of body.
func (t *Trigger) Decode(body []byte) error {
	r := reader{rest: body}
	r.trigger(t)
	return r.end()
}

// CloseReason is why a trigger led to no delivery. The numbers are stored: append only.
type CloseReason uint8

// The reasons.
const (
	// CloseDeferred is none: the trigger stays, and is decided later.
	CloseDeferred CloseReason = 0
	// CloseNothing: no channel had a proposition.
	CloseNothing CloseReason = 1
	// CloseCondition: the condition of the emit was false when it was to be decided.
	CloseCondition CloseReason = 2
	// CloseExpired: its time had passed.
	CloseExpired CloseReason = 3
	// CloseCancelled: it was taken back.
	CloseCancelled CloseReason = 4
	// CloseUndeclared: the active catalog has no emit of its origin any more.
	CloseUndeclared CloseReason = 5
	// CloseFailed: the decision could not be made; the detail tells why.
	CloseFailed CloseReason = 6
	// CloseCrowded: too many triggers of the subject were waiting.
	CloseCrowded CloseReason = 7
	// CloseSubject: the subject is not stored.
	CloseSubject CloseReason = 8

	closeReasonEnd = 9
)

// String is the name of r in answers and metrics.
func (r CloseReason) String() string {
	names := [closeReasonEnd]string{"deferred", "nothing_to_propose", "condition", "expired", "cancelled", "undeclared", "failed", "crowded", "unknown_subject"}
	if int(r) < len(names) {
		return names[r]
	}
	return "unknown"
}

// CloseReasons are all reasons for which triggers are closed.
func CloseReasons() (reasons []CloseReason) {
	for r := CloseNothing; r < closeReasonEnd; r++ {
		reasons = append(reasons, r)
	}
	return reasons
}

// ClosedTrigger closes one trigger, or puts it off.
type ClosedTrigger struct {
	Key    []byte // of the subject
	ID     ulid.ULID
	Reason CloseReason
	// UntilMS is when a trigger that is put off (CloseDeferred) is decided.
	UntilMS int64
	// Detail tells more of the reason, such as the code of what removed most candidates. It names no value
	// of a subject.
	Detail string
}

// CloseTriggers closes triggers that lead to no decision, and puts off others. Those that are not pending
// any more are passed over.
type CloseTriggers struct {
	Closed []ClosedTrigger
	// ForgetMS is the time before which what is remembered of closed triggers is forgotten, at most Limit
	// of them.
	ForgetMS int64
	Limit    uint32
}

// Append appends the operation to dst. It never fails.
func (o *CloseTriggers) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, TriggersClosed)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(o.ForgetMS))
	dst = binary.LittleEndian.AppendUint32(dst, o.Limit)
	dst = binary.AppendUvarint(dst, uint64(len(o.Closed)))
	for i := range o.Closed {
		c := &o.Closed[i]
		dst = append(append(dst, c.Key...), c.ID[:]...)
		dst = append(dst, byte(c.Reason))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(c.UntilMS))
		dst = appendText(dst, c.Detail)
	}
	return endOp(dst, at), nil
}

// leastClosed is the least size of one ClosedTrigger.
const leastClosed = 3 + 16 + 1 + 8 + 1

// Decode reads the body of a TriggersClosed. o shares its memory.
func (o *CloseTriggers) Decode(body []byte) error {
	r := reader{rest: body}
	o.ForgetMS = int64(r.u64())
	o.Limit = r.u32()
	count := r.uvarint()
	if r.bad || o.Limit > MaxExpired || count > MaxClosed || count > uint64(len(r.rest)/leastClosed) {
		return ErrMalformed
	}
	o.Closed = o.Closed[:0]
	for range count {
		var c ClosedTrigger
		c.Key = r.subject()
		copy(c.ID[:], r.take(len(c.ID)))
		c.Reason, c.UntilMS = CloseReason(r.u8()), int64(r.u64())
		c.Detail = r.text(maxText)
		r.bad = r.bad || c.Reason >= closeReasonEnd
		o.Closed = append(o.Closed, c)
	}
	return r.end()
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// ShutTrigger is what is remembered of a trigger that was closed.
type ShutTrigger struct {
	Trigger
	Reason   CloseReason
	ClosedMS int64
	Detail   string
}

// Append appends the bytes of t to dst.
func (t *ShutTrigger) Append(dst []byte) []byte {
	dst = append(dst, byte(t.Reason))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(t.ClosedMS))
	return t.Trigger.Append(appendText(dst, t.Detail))
}

// Decode reads what Append wrote. t shares the memory of body.
func (t *ShutTrigger) Decode(body []byte) error {
	r := reader{rest: body}
	t.Reason, t.ClosedMS = CloseReason(r.u8()), int64(r.u64())
	t.Detail = r.text(maxText)
	r.bad = r.bad || t.Reason >= closeReasonEnd
	r.trigger(&t.Trigger)
	return r.end()
}

// RaisedBy is the body of KeptTrigger: what raised a decision.
type RaisedBy struct {
	Origin    string
	EventType string
	Trigger   ulid.ULID
	// RaisedMS is when it was raised, 0 to math.MaxInt64.
	RaisedMS int64
}

// Append appends the bytes of b: texts origin and event type, the id of the trigger, a varint with the
// time.
func (b *RaisedBy) Append(dst []byte) []byte {
	dst = appendText(appendText(dst, b.Origin), b.EventType)
	return binary.AppendUvarint(append(dst, b.Trigger[:]...), uint64(max(b.RaisedMS, 0)))
}

// Decode reads what Append wrote. The texts share the memory of body.
func (b *RaisedBy) Decode(body []byte) error {
	r := reader{rest: body}
	b.Origin, b.EventType = r.text(maxText), r.text(maxText)
	copy(b.Trigger[:], r.take(len(b.Trigger)))
	ms := r.uvarint()
	r.bad = r.bad || ms > math.MaxInt64
	b.RaisedMS = int64(ms)
	return r.end()
}
