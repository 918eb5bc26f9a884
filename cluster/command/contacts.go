package command

import (
	"encoding/binary"
	"math"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/runtime/contact"
)

// The sections of a decision that are about contacts. Of them only KeptLinks is part of the record.
const (
	// EffectCharges are the charges of contact.AppendCharges.
	EffectCharges SectionTag = 10
	// EffectTimeout is after how long no answer is one: AppendTimeout.
	EffectTimeout SectionTag = 11
	// EffectRelease is after how long the contacts on other subjects' ledgers are released: AppendRelease.
	EffectRelease SectionTag = 12
	// KeptLinks are the keys of the other subjects on whose ledgers the decision counts: AppendLinks. What
	// is reported of the decision is passed on to them.
	KeptLinks SectionTag = 13
)

// MaxLinks bounds the other subjects of a decision.
const MaxLinks = 8

// Timeout is the body of EffectTimeout.
type Timeout struct {
	// AfterMS is how long after the decision a proposition without an answer is recorded as ignored.
	AfterMS uint64
	// Shown makes that happen only to those whose impression was reported.
	Shown bool
}

// Append appends the bytes of t: a varint with the milliseconds, and 1 for Shown.
func (t Timeout) Append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, t.AfterMS)
	if t.Shown {
		return append(dst, 1)
	}
	return append(dst, 0)
}

// DecodeTimeout reads what Append wrote.
func DecodeTimeout(body []byte) (t Timeout, err error) {
	r := reader{rest: body}
	t.AfterMS, t.Shown = r.uvarint(), r.u8() == 1
	r.bad = r.bad || t.AfterMS > contact.MaxReservedMS
	return t, r.end()
}

// AppendRelease appends the body of EffectRelease.
func AppendRelease(dst []byte, afterMS uint64) []byte { return binary.AppendUvarint(dst, afterMS) }

// DecodeRelease reads what AppendRelease wrote.
func DecodeRelease(body []byte) (afterMS uint64, err error) {
	r := reader{rest: body}
	afterMS = r.uvarint()
	r.bad = r.bad || afterMS > contact.MaxReservedMS
	return afterMS, r.end()
}

// AppendLinks appends the body of KeptLinks: subject keys, one after the other.
func AppendLinks(dst []byte, keys ...[]byte) []byte {
	for _, key := range keys {
		dst = append(dst, key...)
	}
	return dst
}

// DecodeLinks reads what AppendLinks wrote. The keys share the memory of body.
func DecodeLinks(body []byte) (keys [][]byte, err error) {
	r := reader{rest: body}
	for len(r.rest) > 0 && !r.bad {
		keys = append(keys, r.subject())
	}
	r.bad = r.bad || len(keys) > MaxLinks
	return keys, r.end()
}

// HasSections tells whether a stored record has sections, without reading it.
func HasSections(record []byte) bool {
	return len(record) > 1 && record[0] == recordFormat && record[1]&flagSections != 0
}

// NoResponse is what the history keeps of an outcome that nobody reported.
func NoResponse() []byte {
	return binary.LittleEndian.AppendUint64(appendText(appendText(nil, ""), ""), math.Float64bits(0))
}

// Reserve enters the contacts of a decision, which is still to be recorded, into the ledger of another
// subject, unless a limit there is reached. Until it is known whether the decision was recorded they are
// held: from HoldMS on, whoever leads the group finds out.
type Reserve struct {
	Key                    []byte // of the other subject
	Decision               ulid.ULID
	TimeMS, KeepMS, HoldMS int64
	Claim                  *contact.Claim
}

// Append appends the operation to dst. It never fails.
func (o *Reserve) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, ContactsReserved)
	dst = append(dst, o.Key...)
	dst = append(dst, o.Decision[:]...)
	for _, ms := range [...]int64{o.TimeMS, o.KeepMS, o.HoldMS} {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(ms))
	}
	return endOp(o.Claim.Append(dst), at), nil
}

// Decode reads the body of a ContactsReserved into o, whose Claim is reused.
func (o *Reserve) Decode(body []byte) (err error) {
	r := reader{rest: body}
	o.Key = r.subject()
	copy(o.Decision[:], r.take(len(o.Decision)))
	o.TimeMS, o.KeepMS, o.HoldMS = int64(r.u64()), int64(r.u64()), int64(r.u64())
	if o.Claim == nil {
		o.Claim = new(contact.Claim)
	}
	if r.bad || o.KeepMS < 0 || o.KeepMS > MaxKeepContactsMS {
		return ErrMalformed
	}
	if r.rest, err = o.Claim.Decode(r.rest); err != nil {
		return ErrMalformed
	}
	return r.end()
}

// What a ledger of another subject hears of a decision. The numbers are stored: append only.
const (
	// NewsOutcome: an outcome of one of its propositions was reported.
	NewsOutcome = 0
	// NewsReleased: nothing was reported in time; the contacts are not reserved any more.
	NewsReleased = 1
	// NewsMade: it was recorded, so its contacts stay; they are not held any more.
	NewsMade = 2
	// NewsVoid: it was not recorded and never will be; there were no contacts.
	NewsVoid = 3
)

// News is one thing that the ledger of another subject hears of a decision.
type News struct {
	Key      []byte // of the other subject
	Decision ulid.ULID
	What     byte
	// Position, Outcome (its position in nba.Outcomes) and TimeMS belong to NewsOutcome. For NewsMade and
	// NewsVoid TimeMS is until when the contacts were held.
	Position uint16
	Outcome  byte
	TimeMS   int64
}

// newsBytes is the least size of one News.
const newsBytes = 3 + 16 + 1 + 2 + 1 + 8

func (n *News) append(dst []byte) []byte {
	dst = append(dst, n.Key...)
	dst = append(dst, n.Decision[:]...)
	dst = append(dst, n.What)
	dst = binary.LittleEndian.AppendUint16(dst, n.Position)
	dst = append(dst, n.Outcome)
	return binary.LittleEndian.AppendUint64(dst, uint64(n.TimeMS))
}

func (r *reader) news() (n News) {
	n.Key = r.subject()
	copy(n.Decision[:], r.take(len(n.Decision)))
	n.What = r.u8()
	if b := r.take(2); b != nil {
		n.Position = binary.LittleEndian.Uint16(b)
	}
	n.Outcome = r.u8()
	n.TimeMS = int64(r.u64())
	r.bad = r.bad || n.What > NewsVoid || n.Outcome >= 8
	return n
}

// MaxNews bounds what one Tell tells.
const MaxNews = 1 << 10

// Tell tells ledgers of other subjects what became of decisions, in the order it happened.
type Tell struct{ News []News }

// Append appends the operation to dst. It never fails.
func (o *Tell) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, ContactsTold)
	dst = binary.AppendUvarint(dst, uint64(len(o.News)))
	for i := range o.News {
		dst = o.News[i].append(dst)
	}
	return endOp(dst, at), nil
}

// Decode reads the body of a ContactsTold.
func (o *Tell) Decode(body []byte) error {
	r := reader{rest: body}
	count := r.uvarint()
	if count > MaxNews || count > uint64(len(r.rest)/newsBytes) {
		return ErrMalformed
	}
	o.News = o.News[:0]
	for range count {
		o.News = append(o.News, r.news())
	}
	return r.end()
}

// Elapse does what falls due: propositions without an answer are recorded as ignored, contacts on other
// ledgers are released, and what was remembered of decisions with such contacts is forgotten. It names the
// times itself: the state machine has no clock.
type Elapse struct {
	// UntilMS is the time up to which everything due is done; ForgetMS the time before which it is
	// forgotten whether decisions were recorded.
	UntilMS, ForgetMS int64
	// Limit bounds what is done, and apart from that what is forgotten.
	Limit uint32
}

// Append appends the operation to dst. It never fails.
func (o *Elapse) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, TimeElapsed)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(o.UntilMS))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(o.ForgetMS))
	return endOp(binary.LittleEndian.AppendUint32(dst, o.Limit), at), nil
}

// Decode reads the body of a TimeElapsed.
func (o *Elapse) Decode(body []byte) error {
	r := reader{rest: body}
	o.UntilMS, o.ForgetMS = int64(r.u64()), int64(r.u64())
	if b := r.take(4); b != nil {
		o.Limit = binary.LittleEndian.Uint32(b)
	}
	if o.Limit == 0 || o.Limit > MaxExpired {
		return ErrMalformed
	}
	return r.end()
}

// MaxResolved bounds the decisions of one Resolve: its answer is a bit for each.
const MaxResolved = 64

// Resolve asks the group of decisions with contacts on other ledgers whether they were recorded. One that
// was not never will be: asking settles it. The answer has bit i set if decision i was recorded.
type Resolve struct{ Decisions []ulid.ULID }

// Append appends the operation to dst. It never fails.
func (o *Resolve) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, DecisionsResolved)
	for i := range o.Decisions {
		dst = append(dst, o.Decisions[i][:]...)
	}
	return endOp(dst, at), nil
}

// Decode reads the body of a DecisionsResolved.
func (o *Resolve) Decode(body []byte) error {
	n := len(body) / len(ulid.ULID{})
	if n > MaxResolved || n*len(ulid.ULID{}) != len(body) {
		return ErrMalformed
	}
	o.Decisions = o.Decisions[:0]
	for i := range n {
		o.Decisions = append(o.Decisions, ulid.ULID(body[i*16:]))
	}
	return nil
}

// Delivered takes from the outbox of a group what the ledgers in other groups have heard.
type Delivered struct{ Keys [][]byte }

// maxDeliveredKey bounds a key of the outbox.
const maxDeliveredKey = 1 << 10

// Append appends the operation to dst. It never fails.
func (o *Delivered) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, NewsDelivered)
	for _, key := range o.Keys {
		dst = append(binary.AppendUvarint(dst, uint64(len(key))), key...)
	}
	return endOp(dst, at), nil
}

// Decode reads the body of a NewsDelivered.
func (o *Delivered) Decode(body []byte) error {
	r := reader{rest: body}
	o.Keys = o.Keys[:0]
	for len(r.rest) > 0 && !r.bad {
		size := r.uvarint()
		if size > maxDeliveredKey || len(o.Keys) == MaxNews {
			return ErrMalformed
		}
		o.Keys = append(o.Keys, r.take(int(size)))
	}
	return r.end()
}
