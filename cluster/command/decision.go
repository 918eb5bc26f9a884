package command

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/oklog/ulid/v2"
)

// Limits of one decision record.
const (
	MaxPropositions = nba.MaxPlacements * nba.MaxPlacementLimit
	maxText         = nba.MaxTextBytes
)

// Decision is what is kept of one decision: all of the answer that the catalog version it names does not
// tell. It serves to attribute responses, to show the history, and to give the same answer again.
type Decision struct {
	// ID is a ULID made by the router: it leads to the group of the subject.
	ID             string
	Subject        nba.SubjectRef
	Time           time.Time // to the millisecond
	Channel        string
	Direction      nba.Direction
	CatalogVersion uint64
	RequestID      string
	Degraded       bool
	DegradedReason string
	InControlGroup bool
	// ControlGroup is the name of the control group.
	ControlGroup string
	// Placements are those of the answer, in its order; nil means those of Propositions.
	Placements   []string
	Propositions []Proposition
	// Explanation is that of the answer as JSON; empty for none.
	Explanation []byte

	// Keep is how many decisions of the subject are kept, with this one; 0 means any number.
	Keep int

	// Claim holds the contacts that the decision makes, if not nil and not empty; KeepContactsMS is how
	// long a contact is remembered.
	Claim          *contact.Claim
	KeepContactsMS int64

	// Effects are for the state machine, which does not keep them; Kept are part of the record. A
	// decision with either is of version 4.
	Effects, Kept Sections
}

// Proposition is one proposition of a Decision.
type Proposition struct {
	Placement            string
	Rank                 int
	Action               string
	Treatment            string
	Propensity           float64
	ContextWeight        float64
	Value                float64
	Lever                float64
	Priority             float64
	SelectionProbability float64
	ReasonCode           string
	ReasonLabel          string
	// ModelName, ModelVersion and ModelDigest are empty when no model scored the action.
	ModelName, ModelVersion, ModelDigest string
}

// Response is the outcome of one proposition, as it is stored.
type Response struct {
	DecisionID string
	Action     string
	Treatment  string
	Outcome    nba.Outcome
	Behaviour  string
	Value      float64
	// Time is when it happened, to the millisecond.
	Time time.Time

	// Effects are for the state machine, which does not keep them (EffectJourneys). A response with some is
	// of version 2.
	Effects Sections
}

// Version is that of the operation that Append makes.
func (p *Response) Version() uint8 {
	if len(p.Effects) > 0 {
		return movingVersion
	}
	return opVersion
}

// movingVersion is the version of a response with effects.
const movingVersion = 2

// Recorded is a decoded DecisionRecorded: the parts the state machine needs. Record is stored as it
// is; OpenDecision reads it.
type Recorded struct {
	ID           ulid.ULID
	Key          []byte
	Record       []byte
	TimeMS       int64
	Propositions int
	// Keep is how many decisions of the subject are kept, with this one; 0 means any number.
	Keep int
	// Counted is false for an operation of version 1, which neither counts nor displaces decisions.
	Counted bool
	// Claim is empty when the decision makes no contact that a policy is about.
	Claim          contact.Claim
	KeepContactsMS int64
	// Effects are for the state machine; the sections that are kept are in Record.
	Effects Sections
}

// The versions of the operation: without and with a claim, and with sections (and a claim, which may be
// empty).
const (
	decisionVersion  = 2
	claimingVersion  = 3
	sectionedVersion = 4

	// SectionedVersion is the version of a decision with sections.
	SectionedVersion = sectionedVersion
)

// MaxKeepContactsMS bounds how long contacts are remembered.
const MaxKeepContactsMS = 500 * 24 * 3600 * 1000

// Append appends the operation to dst. The subject must be normalized; an id that is not a ULID, and an
// explanation that is too large, are errors.
func (d *Decision) Append(dst []byte) ([]byte, error) {
	id, err := ulid.ParseStrict(d.ID)
	if err != nil {
		return dst, nba.Invalid("/decisionId", "the decision id is not a ULID")
	}
	if len(d.Explanation) > MaxExplanation {
		return dst, nba.Errorf(nba.CodeTooLarge, "the explanation takes more than %d bytes: ask for less, or without an Idempotency-Key", MaxExplanation)
	}
	if err := errors.Join(d.Effects.valid(), d.Kept.valid(), validOutbox(d.Effects)); err != nil {
		return dst, err
	}
	version := d.Version()
	dst, at := beginOp(dst, DecisionRecorded)
	dst[at-opHeadBytes+1] = version
	dst = append(dst, id[:]...)
	dst = AppendSubjectKey(dst, d.Subject)
	dst = binary.AppendUvarint(dst, uint64(max(d.Keep, 0)))
	if version >= claimingVersion {
		claim := d.Claim
		if claim == nil {
			claim = new(contact.Claim)
		}
		dst = binary.AppendUvarint(dst, uint64(min(max(d.KeepContactsMS, 0), MaxKeepContactsMS)))
		dst = claim.Append(dst)
	}
	if version >= sectionedVersion {
		dst = d.Effects.append(dst)
	}
	dst = d.appendRecord(dst)
	// A replica that cannot read an operation stops: such a one must not get into the log.
	if err := new(Recorded).Decode(dst[at:], dst[at-opHeadBytes+1]); err != nil {
		return dst, fmt.Errorf("encoding a decision: some text, placement or claim is beyond its limits: %w", err)
	}
	return endOp(dst, at), nil
}

// Version is that of the operation that Append makes.
func (d *Decision) Version() uint8 {
	switch {
	case len(d.Effects) > 0 || len(d.Kept) > 0:
		return sectionedVersion
	case d.Claim != nil && !d.Claim.Empty():
		return claimingVersion
	}
	return decisionVersion
}

// Decode reads the body of a DecisionRecorded of the given version, 1 to 4, and checks the record.
func (d *Recorded) Decode(body []byte, version uint8) error {
	r := reader{rest: body}
	copy(d.ID[:], r.take(len(d.ID)))
	d.Key = r.subject()
	d.Keep, d.Counted = 0, version >= decisionVersion
	if d.Counted {
		keep := r.uvarint()
		r.bad = r.bad || keep > nba.MaxRetentionPerSubject
		d.Keep = int(keep)
	}
	d.Claim.Reset()
	if version >= claimingVersion && !r.bad {
		keep := r.uvarint()
		r.bad = r.bad || keep > MaxKeepContactsMS
		d.KeepContactsMS = int64(keep)
		var err error
		if r.rest, err = d.Claim.Decode(r.rest); err != nil {
			r.bad = true
		}
	}
	d.Effects = nil
	if version >= sectionedVersion {
		d.Effects = r.sections()
	}
	d.Record = r.rest
	if r.bad {
		return ErrMalformed
	}
	it, err := openDecision(d.Record, true)
	if err != nil {
		return err
	}
	d.TimeMS, d.Propositions = it.TimeMS, it.Left()
	for {
		if _, ok := it.Next(); !ok {
			return it.Err()
		}
	}
}

// Responded is a decoded ResponseRecorded. Record is what the history keeps of it.
type Responded struct {
	ID      ulid.ULID
	Outcome uint8 // position in nba.Outcomes
	TimeMS  int64
	Action  string
	Record  []byte
	// Effects are for the state machine.
	Effects Sections
}

// Append appends the operation to dst. An id that is not a ULID, or an unknown outcome, is an error.
func (p *Response) Append(dst []byte) ([]byte, error) {
	id, err := ulid.ParseStrict(p.DecisionID)
	if err != nil {
		return dst, nba.Errorf(nba.CodeDecisionUnknown, "the decision is not known here: its id is not one of ours")
	}
	outcome := p.Outcome.Index()
	if outcome < 0 {
		return dst, nba.Invalid("/outcome", "the outcome is not one of Impression, Clicked, Accepted, Rejected, Dismissed, Converted")
	}
	if err := p.Effects.valid(); err != nil {
		return dst, err
	}
	dst, at := beginOp(dst, ResponseRecorded)
	dst[at-opHeadBytes+1] = p.Version()
	dst = append(dst, id[:]...)
	dst = append(dst, byte(outcome))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(p.Time.UnixMilli()))
	dst = appendText(dst, p.Action)
	if p.Version() == movingVersion {
		dst = p.Effects.append(dst)
	}
	dst = appendText(dst, p.Treatment)
	dst = appendText(dst, p.Behaviour)
	return endOp(binary.LittleEndian.AppendUint64(dst, math.Float64bits(p.Value)), at), nil
}

// Decode reads the body of a ResponseRecorded of the given version and checks its record.
func (p *Responded) Decode(body []byte, version uint8) error {
	r := reader{rest: body}
	copy(p.ID[:], r.take(len(p.ID)))
	p.Outcome = r.u8()
	p.TimeMS = int64(r.u64())
	p.Action = r.text(maxText)
	p.Effects = nil
	if version == movingVersion {
		p.Effects = r.sections()
	}
	p.Record = r.rest
	if r.bad || int(p.Outcome) >= len(nba.Outcomes) {
		return ErrMalformed
	}
	_, _, _, err := DecodeResponse(p.Record)
	return err
}

// DecodeResponse reads what the history keeps of a response. Texts share the memory of record.
func DecodeResponse(record []byte) (treatment, behaviour string, value float64, err error) {
	r := reader{rest: record}
	treatment, behaviour, value = r.text(maxText), r.text(maxText), r.f64()
	return treatment, behaviour, value, r.end()
}
