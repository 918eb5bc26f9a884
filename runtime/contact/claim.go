package contact

import (
	"encoding/binary"
)

// Claim is what one decision asks of a ledger: its contacts, in the order of their positions, each with
// the limits that must leave room for it. It is filled by the engine, part of the log entry of the
// decision, and answered by the state machine. The zero value is empty; Reset keeps the memory.
type Claim struct {
	contacts []claimed
	limits   []Limit
	// Charges are what the decision takes off the budgets of volumes. They travel apart from the contacts.
	Charges []Charge
}

// claimed is one contact and its limits, which are Claim.limits[first:end].
type claimed struct {
	position   uint16
	reservedMS int64
	place      Place
	end        int
}

// Limits of a claim.
const (
	MaxClaimed     = 1024
	maxClaimLimits = 1 << 16
)

// Reset empties the claim.
func (c *Claim) Reset() {
	c.contacts, c.limits, c.Charges = c.contacts[:0], c.limits[:0], c.Charges[:0]
}

// Empty tells that no contact is claimed: the decision makes none that a policy is about.
func (c *Claim) Empty() bool { return len(c.contacts) == 0 }

// Add claims a contact under limits. A contact without limits is remembered for policies to come.
func (c *Claim) Add(position uint16, place Place, reservedMS int64, limits []Limit) {
	c.limits = append(c.limits, limits...)
	c.contacts = append(c.contacts, claimed{position: position, reservedMS: reservedMS, place: place, end: len(c.limits)})
}

// Grant makes the contacts of a claim, if every limit leaves room for each of them after those before
// it: all or nothing. refused is the position that was refused first. keepMS is how old a contact may
// become. The result shares the memory of l only if nothing was granted.
func (l Ledger) Grant(c *Claim, decision [16]byte, nowMS, keepMS int64) (next Ledger, refused uint16, ok bool) {
	next = append(make(Ledger, 0, max(len(l), header)+len(c.contacts)*EntryBytes), l...).Prune(nowMS - keepMS)
	first := 0
	for i := range c.contacts {
		claim := &c.contacts[i]
		counted := false
		for j := first; j < claim.end; j++ {
			limit := &c.limits[j]
			if next.Reached(limit, nowMS) {
				return l, claim.position, false
			}
			counted = counted || limit.CountsUnanswered()
		}
		if counted && next.Len() >= MaxEntries {
			return l, claim.position, false
		}
		if !counted {
			next = next.dropIdle()
		}
		first = claim.end
		next = next.Append(&Entry{Decision: decision, Position: claim.position, TimeMS: nowMS, ReservedMS: claim.reservedMS, Place: claim.place, Counted: counted})
	}
	return next, 0, true
}

// Counted tells whether any limit of the claim may count its contacts before anything is reported of them.
func (c *Claim) Counted() bool {
	for i := range c.limits {
		if c.limits[i].CountsUnanswered() {
			return true
		}
	}
	return false
}

// Append appends the bytes of the claim: the number of contacts, then each with its limits.
func (c *Claim) Append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(c.contacts)))
	first := 0
	for i := range c.contacts {
		claim := &c.contacts[i]
		dst = binary.AppendUvarint(dst, uint64(claim.position))
		dst = binary.AppendUvarint(dst, uint64(max(claim.reservedMS, 0)))
		for _, name := range [...]Name{claim.place.Channel, claim.place.Issue, claim.place.Group, claim.place.Action} {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(name))
		}
		dst = append(dst, byte(claim.place.Side))
		dst = binary.AppendUvarint(dst, uint64(claim.end-first))
		for ; first < claim.end; first++ {
			dst = c.limits[first].Append(dst)
		}
	}
	return dst
}

// Decode reads what Append wrote into c and gives what follows. It fails with ErrLedger.
func (c *Claim) Decode(b []byte) (rest []byte, err error) {
	c.Reset()
	r := claimReader{b: b}
	n := r.uvarint(MaxClaimed)
	for range n {
		claim := claimed{position: uint16(r.uvarint(1<<16 - 1)), reservedMS: int64(r.uvarint(MaxReservedMS))}
		claim.place = Place{Channel: r.name(), Issue: r.name(), Group: r.name(), Action: r.name(), Side: Side(r.u8())}
		if claim.place.Side != InboundSide && claim.place.Side != OutboundSide {
			return b, ErrLedger
		}
		limits := r.uvarint(maxClaimLimits)
		for range limits {
			limit, rest, ok := DecodeLimit(r.b)
			if !ok || r.failed || len(c.limits) >= maxClaimLimits {
				return b, ErrLedger
			}
			r.b = rest
			c.limits = append(c.limits, limit)
		}
		claim.end = len(c.limits)
		c.contacts = append(c.contacts, claim)
	}
	if r.failed {
		return b, ErrLedger
	}
	return r.b, nil
}

type claimReader struct {
	b      []byte
	failed bool
}

func (r *claimReader) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > most {
		r.failed, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *claimReader) name() Name {
	if len(r.b) < 4 {
		r.failed, r.b = true, nil
		return 0
	}
	v := binary.LittleEndian.Uint32(r.b)
	r.b = r.b[4:]
	return Name(v)
}

func (r *claimReader) u8() uint8 {
	if len(r.b) == 0 {
		r.failed = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}
