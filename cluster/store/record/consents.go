package record

import (
	"encoding/binary"
	"slices"
	"strings"
	"unsafe"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Consents are those answers of a subject that the purpose sets do not hold: to purposes, if they are for
// a period or were withdrawn, and to channels. They are ordered, purposes by id, then channels by name,
// and no purpose of them is in a purpose set of the record. In a change, Unanswered removes an answer.
//
// It is the third part of a record of format 2; docs/format/subject-record.md describes it.
type Consents []byte

// The head of an answer: its state and what follows.
const (
	consentStateMask = 0b11
	consentFrom      = 1 << 2
	consentUntil     = 1 << 3
	consentChannel   = 1 << 4
	consentKnown     = consentStateMask | consentFrom | consentUntil | consentChannel

	// maxConsentsBytes is more than every purpose and MaxChannelConsents channels take.
	maxConsentsBytes = nba.MaxPurposes*(2+2*binary.MaxVarintLen64) + nba.MaxChannelConsents*(2+nba.MaxChannelNameBytes+2*binary.MaxVarintLen64)
)

// Next is the first answer and those after it; ok is false at the end, and when what follows is not an
// answer. The name of a channel shares the memory of c.
func (c Consents) Next() (consent nba.Consent, rest Consents, ok bool) {
	if len(c) < 2 || c[0]&^consentKnown != 0 {
		return consent, c, false
	}
	head := c[0]
	consent.State = nba.ConsentState(head & consentStateMask)
	if c = c[1:]; head&consentChannel == 0 {
		consent.Purpose = nba.PurposeID(c[0])
		c = c[1:]
	} else {
		n := int(c[0])
		if n == 0 || n > nba.MaxChannelNameBytes || len(c) < 1+n {
			return consent, c, false
		}
		consent.Channel = unsafe.String(&c[1], n)
		c = c[1+n:]
	}
	for _, bound := range [...]struct {
		flag byte
		to   *int64
	}{{consentFrom, &consent.From}, {consentUntil, &consent.Until}} {
		if head&bound.flag == 0 {
			continue
		}
		ms, n := binary.Uvarint(c)
		if n <= 0 || ms == 0 || ms > nba.MaxConsentMS {
			return consent, c, false
		}
		*bound.to, c = int64(ms), c[n:]
	}
	return consent, c, true
}

// check tells whether c is well-formed; removals are only allowed in a change. purposes are those in it.
func (c Consents) check() (purposes nba.PurposeSet, ok bool) {
	var last nba.Consent
	for channels, first := 0, true; len(c) > 0; first = false {
		consent, rest, ok := c.Next()
		if !ok || !first && compareConsents(last, consent) >= 0 || consent.Until != 0 && consent.Until <= consent.From {
			return 0, false
		}
		if consent.Channel == "" {
			if consent.Purpose >= nba.MaxPurposes {
				return 0, false
			}
			purposes = purposes.With(consent.Purpose)
		} else if channels++; channels > nba.MaxChannelConsents {
			return 0, false
		}
		last, c = consent, rest
	}
	return purposes, true
}

// compareConsents orders purposes by id, then channels by name.
func compareConsents(a, b nba.Consent) int {
	if (a.Channel == "") != (b.Channel == "") {
		if a.Channel == "" {
			return -1
		}
		return 1
	}
	if a.Channel == "" {
		return int(a.Purpose) - int(b.Purpose)
	}
	return strings.Compare(a.Channel, b.Channel)
}

func (c Consents) append(consent nba.Consent) Consents {
	head := byte(consent.State)
	if consent.Channel != "" {
		head |= consentChannel
	}
	if consent.From != 0 {
		head |= consentFrom
	}
	if consent.Until != 0 {
		head |= consentUntil
	}
	c = append(c, head)
	if consent.Channel == "" {
		c = append(c, byte(consent.Purpose))
	} else {
		c = append(append(c, byte(len(consent.Channel))), consent.Channel...)
	}
	for _, ms := range [...]int64{consent.From, consent.Until} {
		if ms != 0 {
			c = binary.AppendUvarint(c, uint64(ms))
		}
	}
	return c
}

// MakeConsents encodes answers in any order, which it changes. Those to purposes that a purpose set can
// hold are in granted and refused instead. Of several to the same the last counts.
func MakeConsents(answers []nba.Consent) (granted, refused nba.PurposeSet, rest Consents) {
	slices.SortStableFunc(answers, compareConsents)
	rest = Consents{}
	for i, a := range answers {
		if i+1 < len(answers) && compareConsents(a, answers[i+1]) == 0 {
			continue
		}
		switch plain := a.Channel == "" && a.From == 0 && a.Until == 0; {
		case plain && a.State == nba.Granted:
			granted = granted.With(a.Purpose)
		case plain && a.State == nba.Refused:
			refused = refused.With(a.Purpose)
		default:
			rest = rest.append(a)
		}
	}
	return granted, refused, rest
}

// mergeConsents is old with change made, without the purposes in drop; change wins.
func mergeConsents(old, change Consents, drop nba.PurposeSet) Consents {
	if len(old) == 0 && len(change) == 0 {
		return nil
	}
	merged := make(Consents, 0, len(old)+len(change))
	a, restOld, hasOld := old.Next()
	b, restNew, hasNew := change.Next()
	for hasOld || hasNew {
		order := -1
		if !hasOld {
			order = 1
		} else if hasNew {
			order = compareConsents(a, b)
		}
		if order < 0 {
			if a.Channel != "" || !drop.Has(a.Purpose) {
				merged = merged.append(a)
			}
		} else if b.State != nba.Unanswered {
			merged = merged.append(b)
		}
		if order <= 0 {
			a, restOld, hasOld = restOld.Next()
		}
		if order >= 0 {
			b, restNew, hasNew = restNew.Next()
		}
	}
	return merged
}

// PurposesAt implements nba.Consenting.
func (r *Record) PurposesAt(ms int64) (granted, refused nba.PurposeSet) {
	granted, refused = r.granted, r.refused
	for c := r.consents; ; {
		consent, rest, ok := c.Next()
		if !ok || consent.Channel != "" {
			return granted, refused
		}
		switch consent.At(ms) {
		case nba.Granted:
			granted = granted.With(consent.Purpose)
		case nba.Refused:
			refused = refused.With(consent.Purpose)
		}
		c = rest
	}
}

// ChannelAt implements nba.Consenting.
func (r *Record) ChannelAt(channel string, ms int64) nba.ConsentState {
	for c := r.consents; ; {
		consent, rest, ok := c.Next()
		if !ok {
			return nba.Unanswered
		}
		if consent.Channel == channel {
			return consent.At(ms)
		}
		c = rest
	}
}

// Consents are the answers that Granted and Refused do not hold. They share the record's memory.
func (r *Record) Consents() Consents { return r.consents }

// Answers appends all answers of the subject, purposes by id and then channels by name. The names of
// channels are copied.
func (r *Record) Answers(to []nba.Consent) []nba.Consent {
	for id := range nba.PurposeID(nba.MaxPurposes) {
		switch {
		case r.granted.Has(id):
			to = append(to, nba.Consent{Purpose: id, State: nba.Granted})
		case r.refused.Has(id):
			to = append(to, nba.Consent{Purpose: id, State: nba.Refused})
		}
	}
	for c := r.consents; ; {
		consent, rest, ok := c.Next()
		if !ok {
			break
		}
		consent.Channel = strings.Clone(consent.Channel)
		to = append(to, consent)
		c = rest
	}
	slices.SortFunc(to, compareConsents)
	return to
}

// Replacing is the consents of a record that takes the place of another by a put, at a moment in
// milliseconds since 1970. A put tells the answers as true and false, so one that says what the present
// record says at that moment leaves it as it is, with its period and its state; in particular what is
// unanswered at that moment and not named stays. A put that names no channel at all leaves them all: that
// of a caller who knows of purposes alone must not take an objection away.
func Replacing(old, put *Record, ms int64) (granted, refused nba.PurposeSet, consents Consents) {
	granted, refused = put.granted, put.refused
	var answers []nba.Consent
	for c := old.consents; ; {
		kept, rest, ok := c.Next()
		if !ok {
			break
		}
		c = rest
		if kept.Channel != "" {
			if !put.extended || put.ChannelAt(kept.Channel, ms) == kept.At(ms) {
				answers = append(answers, kept)
			}
			continue
		}
		if said := answerIn(granted, refused, kept.Purpose); said == kept.At(ms) && !put.holds(kept.Purpose) {
			granted, refused = granted.Without(kept.Purpose), refused.Without(kept.Purpose)
			answers = append(answers, kept)
		}
	}
	_, _, keep := MakeConsents(answers)
	return granted, refused, mergeConsents(nil, mergeConsents(put.consents, keep, 0), 0) // which takes removals out
}

func (c Consents) has(of nba.Consent) bool {
	for {
		consent, rest, ok := c.Next()
		if !ok {
			return false
		}
		if compareConsents(consent, of) == 0 {
			return true
		}
		c = rest
	}
}

// holds tells whether the answer to a purpose is in the consents of r.
func (r *Record) holds(p nba.PurposeID) bool { return r.consents.has(nba.Consent{Purpose: p}) }

func answerIn(granted, refused nba.PurposeSet, p nba.PurposeID) nba.ConsentState {
	switch {
	case granted.Has(p):
		return nba.Granted
	case refused.Has(p):
		return nba.Refused
	default:
		return nba.Unanswered
	}
}
