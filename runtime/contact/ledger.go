package contact

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/cespare/xxhash/v2"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Name stands for the name of a channel, issue, group or action: 32 bits of its hash. Two names that
// share one count together, which can only make a limit stricter. 0 stands for any name.
type Name uint32

// NameOf is the Name of a text; "" is any.
func NameOf(text string) Name {
	if text == "" {
		return 0
	}
	return max(Name(xxhash.Sum64String(text)), 1)
}

// Side is who begins a contact. It is stored.
type Side uint8

// The sides; AnySide is for scopes only.
const (
	AnySide Side = iota
	InboundSide
	OutboundSide
)

// SideOf is the side of a direction.
func SideOf(d nba.Direction) Side {
	if d == nba.Outbound {
		return OutboundSide
	}
	return InboundSide
}

// Place is where a contact belongs: nothing in it is zero.
type Place struct {
	Channel, Issue, Group, Action Name
	Side                          Side
}

// Scope selects contacts; what is zero selects all.
type Scope Place

// Covers tells whether contacts at p are in the scope.
func (s *Scope) Covers(p *Place) bool {
	return (s.Channel == 0 || s.Channel == p.Channel) && (s.Issue == 0 || s.Issue == p.Issue) &&
		(s.Group == 0 || s.Group == p.Group) && (s.Action == 0 || s.Action == p.Action) &&
		(s.Side == AnySide || s.Side == p.Side)
}

// Outcomes is a set of outcomes: bit i is nba.Outcomes[i].
type Outcomes uint8

// OutcomesOf is the set of some outcomes; unknown ones are left out.
func OutcomesOf(list ...nba.Outcome) (set Outcomes) {
	for _, o := range list {
		if i := o.Index(); i >= 0 {
			set |= 1 << i
		}
	}
	return set
}

// Shown are the outcomes that prove that the subject saw the proposition, Engaged those that prove
// that the subject acted on it.
func Shown() Outcomes {
	return OutcomesOf(nba.Impression, nba.Clicked, nba.Accepted, nba.Rejected, nba.Dismissed, nba.Converted)
}

// Engaged is documented with Shown.
func Engaged() Outcomes { return OutcomesOf(nba.Clicked, nba.Accepted, nba.Converted) }

// Entry is one contact.
type Entry struct {
	// Decision is the ULID of the decision and Position that of the proposition in it.
	Decision [16]byte
	Position uint16
	// TimeMS is when it was decided.
	TimeMS int64
	// ReservedMS is how long the contact counts as one that may yet happen, from TimeMS; at most
	// MaxReservedMS. 0: not at all.
	ReservedMS int64
	Place      Place
	// Outcomes were reported, the last of them RespondedMS after TimeMS.
	Outcomes    Outcomes
	RespondedMS int64
	// Counted tells that a limit may count the contact although nothing was reported of it: it must not
	// be forgotten before its time.
	Counted bool
}

// Limits of a ledger and of its entries.
const (
	// MaxEntries bounds a ledger: a subject with so many contacts is not contacted under a limit until
	// old ones are pruned.
	MaxEntries = 512
	// MaxIdle bounds the contacts that nothing was reported of and no limit counts. They are kept for
	// responses to come, the newest of them.
	MaxIdle = 16
	// MaxReservedMS bounds a reservation: 45 days.
	MaxReservedMS = 45 * 24 * 3600 * 1000
)

// Ledger is the contacts of one subject, oldest first: a byte for the format, then EntryBytes each.
// Nil is empty. Reading methods allocate nothing and may be called concurrently.
type Ledger []byte

const (
	format = 1
	header = 1
	// EntryBytes is the size of an entry.
	EntryBytes = 52

	countedBit = 0x80
)

// ErrLedger is returned for bytes that are no ledger.
var ErrLedger = errors.New("the contact ledger is damaged")

// Check tells whether l can be read. All other methods expect that.
func (l Ledger) Check() error {
	if len(l) == 0 {
		return nil
	}
	if l[0] != format || (len(l)-header)%EntryBytes != 0 || l.Len() > MaxEntries {
		return ErrLedger
	}
	return nil
}

// Len is the number of contacts.
func (l Ledger) Len() int { return max(len(l)-header, 0) / EntryBytes }

// At is contact i, from 0.
func (l Ledger) At(i int) Entry {
	b := l[header+i*EntryBytes:][:EntryBytes]
	e := Entry{
		TimeMS:   int64(binary.LittleEndian.Uint64(b)),
		Position: binary.LittleEndian.Uint16(b[24:]), Outcomes: Outcomes(b[26]),
		ReservedMS:  int64(binary.LittleEndian.Uint32(b[28:])),
		RespondedMS: int64(binary.LittleEndian.Uint32(b[32:])) * 1000,
		Counted:     b[27]&countedBit != 0,
		Place: Place{Side: Side(b[27] &^ countedBit), Channel: Name(binary.LittleEndian.Uint32(b[36:])), Issue: Name(binary.LittleEndian.Uint32(b[40:])),
			Group: Name(binary.LittleEndian.Uint32(b[44:])), Action: Name(binary.LittleEndian.Uint32(b[48:]))},
	}
	copy(e.Decision[:], b[8:24])
	return e
}

// Append adds a contact. The caller checks limits and Len first; a contact beyond MaxEntries pushes out
// the oldest.
func (l Ledger) Append(e *Entry) Ledger {
	if len(l) == 0 {
		l = append(l, format)
	}
	if l.Len() >= MaxEntries {
		l = append(l[:header], l[header+EntryBytes:]...)
	}
	at := len(l)
	l = append(l, make([]byte, EntryBytes)...)
	b := l[at:]
	binary.LittleEndian.PutUint64(b, uint64(e.TimeMS))
	copy(b[8:24], e.Decision[:])
	binary.LittleEndian.PutUint16(b[24:], e.Position)
	b[26], b[27] = byte(e.Outcomes), byte(e.Place.Side)
	if e.Counted {
		b[27] |= countedBit
	}
	binary.LittleEndian.PutUint32(b[28:], uint32(min(max(e.ReservedMS, 0), MaxReservedMS)))
	binary.LittleEndian.PutUint32(b[32:], seconds(e.RespondedMS))
	binary.LittleEndian.PutUint32(b[36:], uint32(e.Place.Channel))
	binary.LittleEndian.PutUint32(b[40:], uint32(e.Place.Issue))
	binary.LittleEndian.PutUint32(b[44:], uint32(e.Place.Group))
	binary.LittleEndian.PutUint32(b[48:], uint32(e.Place.Action))
	return l
}

// seconds rounds up, so that an outcome never seems older than it is.
func seconds(ms int64) uint32 { return uint32(min((max(ms, 0)+999)/1000, math.MaxUint32)) }

// Respond enters an outcome of a contact, in place. It tells whether the ledger holds the contact and
// the outcome was new: what came before the contact was pruned, or comes twice, changes nothing.
func (l Ledger) Respond(decision [16]byte, position uint16, outcome Outcomes, timeMS int64) bool {
	for i := range l.Len() {
		b := l[header+i*EntryBytes:][:EntryBytes]
		if binary.LittleEndian.Uint16(b[24:]) != position || [16]byte(b[8:24]) != decision {
			continue
		}
		if Outcomes(b[26])&outcome == outcome {
			return false
		}
		b[26] |= byte(outcome)
		at := seconds(timeMS - int64(binary.LittleEndian.Uint64(b)))
		binary.LittleEndian.PutUint32(b[32:], max(at, binary.LittleEndian.Uint32(b[32:])))
		return true
	}
	return false
}

// Holds tells whether the ledger holds a contact of a decision.
func (l Ledger) Holds(decision [16]byte) bool {
	for i := range l.Len() {
		if [16]byte(l[header+i*EntryBytes:][8:24]) == decision {
			return true
		}
	}
	return false
}

// Release ends the reservations of a decision's contacts, in place: without an outcome they do not count
// any more where impressions or clicks do. It tells whether there were any.
func (l Ledger) Release(decision [16]byte) (released bool) {
	for i := range l.Len() {
		b := l[header+i*EntryBytes:][:EntryBytes]
		if [16]byte(b[8:24]) == decision && binary.LittleEndian.Uint32(b[28:]) != 0 {
			binary.LittleEndian.PutUint32(b[28:], 0)
			released = true
		}
	}
	return released
}

// Without is the ledger without the contacts of a decision that was not made. It changes l.
func (l Ledger) Without(decision [16]byte) Ledger {
	if len(l) == 0 {
		return nil
	}
	kept := l[:header]
	for i := range l.Len() {
		if b := l[header+i*EntryBytes:][:EntryBytes]; [16]byte(b[8:24]) != decision {
			kept = append(kept, b...)
		}
	}
	if len(kept) == header {
		return nil
	}
	return kept
}

// dropIdle drops the oldest contact that is idle when there are MaxIdle of them. It changes l.
func (l Ledger) dropIdle() Ledger {
	idle, oldest := 0, -1
	for i := range l.Len() {
		b := l[header+i*EntryBytes:][:EntryBytes]
		if b[26] == 0 && b[27]&countedBit == 0 {
			if idle++; oldest < 0 {
				oldest = i
			}
		}
	}
	if idle < MaxIdle {
		return l
	}
	at := header + oldest*EntryBytes
	return append(l[:at], l[at+EntryBytes:]...)
}

// Prune drops the contacts that were decided, and last responded to, before a moment. It changes l.
func (l Ledger) Prune(beforeMS int64) Ledger {
	if len(l) == 0 {
		return l
	}
	kept := l[:header]
	for i := range l.Len() {
		b := l[header+i*EntryBytes:][:EntryBytes]
		last := int64(binary.LittleEndian.Uint64(b)) + int64(binary.LittleEndian.Uint32(b[32:]))*1000
		if last >= beforeMS {
			kept = append(kept, b...)
		}
	}
	if len(kept) == header {
		return nil
	}
	return kept
}
