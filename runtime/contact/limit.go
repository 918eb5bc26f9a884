package contact

import (
	"encoding/binary"
)

// Limit is a contact policy for one proposition at one time: at most Max contacts of the scope, counted
// since a moment. It is part of the log entry of a decision, so that the state machine, which knows no
// catalog, can check it again.
type Limit struct {
	Scope Scope
	// Outcomes are those that make a contact count, from the time of the response; none: every contact
	// counts, from the time of the decision.
	Outcomes Outcomes
	// Pending makes contacts without such an outcome count as long as they are reserved.
	Pending bool
	// SinceMS is the moment; what happened at it or before it does not count.
	SinceMS int64
	// Max is how many contacts there may be. With 0 the first that counts takes the proposition out and
	// none needs to be reserved: a suppression.
	Max uint16
}

// Reached tells whether the limit leaves no room for one more contact at nowMS.
func (l Ledger) Reached(limit *Limit, nowMS int64) bool {
	return l.Used(limit, nowMS) >= max(int(limit.Max), 1)
}

// Used is how many contacts count under the limit.
func (l Ledger) Used(limit *Limit, nowMS int64) (used int) {
	for i := range l.Len() {
		if e := l.At(i); limit.counts(&e, nowMS) {
			used++
		}
	}
	return used
}

// counts tells whether a contact counts.
func (l *Limit) counts(e *Entry, nowMS int64) bool {
	if !l.Scope.Covers(&e.Place) {
		return false
	}
	if l.Outcomes == 0 {
		return e.TimeMS > l.SinceMS
	}
	if e.Outcomes&l.Outcomes != 0 {
		return e.TimeMS+e.RespondedMS > l.SinceMS
	}
	// What is reserved may still be shown, whenever it was decided.
	return l.Pending && e.TimeMS+e.ReservedMS > nowMS
}

// CountsUnanswered tells whether the limit may count a contact that nothing was reported of.
func (l *Limit) CountsUnanswered() bool { return l.Outcomes == 0 || l.Pending }

// limitBytes is the size of an encoded limit.
const limitBytes = 28

// Append appends the bytes of the limit.
func (l *Limit) Append(dst []byte) []byte {
	var b [limitBytes]byte
	binary.LittleEndian.PutUint32(b[0:], uint32(l.Scope.Channel))
	binary.LittleEndian.PutUint32(b[4:], uint32(l.Scope.Issue))
	binary.LittleEndian.PutUint32(b[8:], uint32(l.Scope.Group))
	binary.LittleEndian.PutUint32(b[12:], uint32(l.Scope.Action))
	binary.LittleEndian.PutUint64(b[16:], uint64(l.SinceMS))
	binary.LittleEndian.PutUint16(b[24:], l.Max)
	b[26] = byte(l.Outcomes)
	b[27] = byte(l.Scope.Side)
	if l.Pending {
		b[27] |= pendingBit
	}
	return append(dst, b[:]...)
}

const pendingBit = 0x80

// DecodeLimit reads what Append wrote and gives what follows.
func DecodeLimit(b []byte) (l Limit, rest []byte, ok bool) {
	if len(b) < limitBytes {
		return l, b, false
	}
	l = Limit{
		Scope: Scope{Channel: Name(binary.LittleEndian.Uint32(b)), Issue: Name(binary.LittleEndian.Uint32(b[4:])),
			Group: Name(binary.LittleEndian.Uint32(b[8:])), Action: Name(binary.LittleEndian.Uint32(b[12:])), Side: Side(b[27] &^ pendingBit)},
		SinceMS: int64(binary.LittleEndian.Uint64(b[16:])), Max: binary.LittleEndian.Uint16(b[24:]),
		Outcomes: Outcomes(b[26]), Pending: b[27]&pendingBit != 0,
	}
	return l, b[limitBytes:], l.Scope.Side <= OutboundSide
}
