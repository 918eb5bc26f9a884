package command

import (
	"encoding/binary"
	"math"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Letter is an event that could not be applied, with the reason.
type Letter struct {
	// ReceivedMS is when it was accepted, in milliseconds since 1970.
	ReceivedMS int64
	// Code and Reason tell why it was not applied. They hold nothing of the event.
	Code   nba.Code
	Reason string
	// Key is the subject key of its subject, nil when it was not found out.
	Key []byte
	// Body is the event: as it came if Raw, else AppendEvent.
	Body []byte
	Raw  bool
	// TimeMS is when it happened, if Body is not Raw.
	TimeMS int64
}

// The limits of letters.
const (
	MaxLetters      = 1024
	maxLetterReason = 1 << 10
	letterFlagRaw   = 1 << 0
	letterFlagKey   = 1 << 1
)

// Append appends the letter. A reason that is too long is cut.
func (l *Letter) Append(dst []byte) []byte {
	flags := byte(0)
	if l.Raw {
		flags |= letterFlagRaw
	}
	if l.Key != nil {
		flags |= letterFlagKey
	}
	dst = binary.AppendVarint(append(dst, flags), l.ReceivedMS)
	dst = binary.AppendVarint(dst, l.TimeMS)
	dst = appendText(dst, string(l.Code))
	dst = appendText(dst, l.Reason[:min(len(l.Reason), maxLetterReason)])
	dst = append(dst, l.Key...)
	return append(binary.AppendUvarint(dst, uint64(len(l.Body))), l.Body...)
}

func (r *reader) letter() (l Letter) {
	flags := r.u8()
	r.bad = r.bad || flags&^(letterFlagRaw|letterFlagKey) != 0
	l.Raw = flags&letterFlagRaw != 0
	l.ReceivedMS, l.TimeMS = r.varint(), r.varint()
	l.Code, l.Reason = nba.Code(r.text(maxText)), r.text(maxLetterReason)
	if flags&letterFlagKey != 0 {
		l.Key = r.subject()
	}
	n := r.uvarint()
	if n > MaxEventRecord {
		r.bad = true
	}
	l.Body = r.take(int(min(n, MaxEventRecord)))
	return l
}

// DecodeLetter reads what Letter.Append wrote. The letter shares the memory of b.
func DecodeLetter(b []byte) (Letter, error) {
	r := reader{rest: b}
	l := r.letter()
	return l, r.end()
}

func appendLetters(dst []byte, letters []Letter) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(letters)))
	for i := range letters {
		dst = letters[i].Append(dst)
	}
	return dst
}

func (r *reader) letters(to []Letter) []Letter {
	n := r.uvarint()
	if n > MaxLetters {
		r.bad = true
	}
	for ; n > 0 && !r.bad; n-- {
		to = append(to, r.letter())
	}
	return to
}

// RemoveLetters removes dead letters by their numbers. Those that are not there are passed over; the answer is
// how many were.
type RemoveLetters struct {
	Numbers []uint64
}

// Append appends the operation to dst. It never fails.
func (o *RemoveLetters) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, LettersRemoved)
	dst = binary.AppendUvarint(dst, uint64(len(o.Numbers)))
	for _, n := range o.Numbers {
		dst = binary.AppendUvarint(dst, n)
	}
	return endOp(dst, at), nil
}

// Decode reads the body of a LettersRemoved. It reuses Numbers.
func (o *RemoveLetters) Decode(body []byte) error {
	r := reader{rest: body}
	n := r.uvarint()
	if n > MaxLetters {
		return ErrMalformed
	}
	o.Numbers = o.Numbers[:0]
	for range n {
		number := r.uvarint()
		if r.bad || number > math.MaxInt64 {
			return ErrMalformed
		}
		o.Numbers = append(o.Numbers, number)
	}
	return r.end()
}
