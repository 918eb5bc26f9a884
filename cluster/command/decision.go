package command

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/oklog/ulid/v2"
)

// Limits of one decision record.
const (
	MaxPropositions = nba.MaxPlacements * nba.MaxPlacementLimit
	maxText         = nba.MaxTextBytes
)

// Decision is what is kept of one decision: enough to attribute responses and to show the history.
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
	Propositions   []Proposition
}

// Proposition is one proposition of a Decision.
type Proposition struct {
	Placement            string
	Rank                 int
	Action               string
	Treatment            string
	Propensity           float64
	Priority             float64
	SelectionProbability float64
	// ModelDigest is empty when no model scored the action.
	ModelDigest string
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
}

// Recorded is a decoded DecisionRecorded: the parts the state machine needs. Record is stored as it
// is; OpenDecision reads it.
type Recorded struct {
	ID           ulid.ULID
	Key          []byte
	Record       []byte
	TimeMS       int64
	Propositions int
}

const (
	recordFormat   = 1
	flagDegraded   = 1 << 0
	maxRankEncoded = math.MaxUint16
)

// Append appends the operation to dst. The subject must be normalized; an id that is not a ULID is
// an error.
func (d *Decision) Append(dst []byte) ([]byte, error) {
	id, err := ulid.ParseStrict(d.ID)
	if err != nil {
		return dst, nba.Invalid("/decisionId", "the decision id is not a ULID")
	}
	dst, at := beginOp(dst, DecisionRecorded)
	dst = append(dst, id[:]...)
	dst = AppendSubjectKey(dst, d.Subject)
	return endOp(d.appendRecord(dst), at), nil
}

// appendRecord writes texts once: propositions refer to the table of texts by position.
func (d *Decision) appendRecord(dst []byte) []byte {
	flags := byte(0)
	if d.Degraded {
		flags |= flagDegraded
	}
	dst = append(dst, recordFormat, flags)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(d.Time.UnixMilli()))
	dst = binary.AppendUvarint(dst, d.CatalogVersion)
	dst = appendText(dst, d.Channel)
	dst = appendText(dst, string(d.Direction))
	dst = appendText(dst, d.RequestID)
	dst = binary.AppendUvarint(dst, uint64(len(d.Propositions)))
	for i := range d.Propositions {
		p := &d.Propositions[i]
		dst = binary.AppendUvarint(dst, uint64(p.Rank))
		dst = d.appendShared(dst, i, p.Placement, func(q *Proposition) string { return q.Placement })
		dst = appendText(dst, p.Action)
		dst = appendText(dst, p.Treatment)
		dst = d.appendShared(dst, i, p.ModelDigest, func(q *Proposition) string { return q.ModelDigest })
		for _, f := range [...]float64{p.Propensity, p.Priority, p.SelectionProbability} {
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(f))
		}
	}
	return dst
}

// appendShared writes 0 and the text, or n for the text of the proposition n places before.
func (d *Decision) appendShared(dst []byte, i int, text string, of func(*Proposition) string) []byte {
	for back := 1; back <= i; back++ {
		if of(&d.Propositions[i-back]) == text {
			return binary.AppendUvarint(dst, uint64(back))
		}
	}
	return appendText(append(dst, 0), text)
}

// Decode reads the body of a DecisionRecorded and checks the record.
func (d *Recorded) Decode(body []byte) error {
	r := reader{rest: body}
	copy(d.ID[:], r.take(len(d.ID)))
	d.Key = r.subject()
	d.Record = r.rest
	if r.bad {
		return ErrMalformed
	}
	it, err := OpenDecision(d.Record)
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

// DecisionReader reads the stored record of a decision. Texts share its memory.
type DecisionReader struct {
	Degraded       bool
	TimeMS         int64
	CatalogVersion uint64
	Channel        string
	Direction      nba.Direction
	RequestID      string

	left       int
	r          reader
	placements []string
	digests    []string
}

// OpenDecision reads the head of a record; Next reads the propositions.
func OpenDecision(record []byte) (DecisionReader, error) {
	d := DecisionReader{r: reader{rest: record}}
	r := &d.r
	version, flags := r.u8(), r.u8()
	d.Degraded = flags&flagDegraded != 0
	d.TimeMS = int64(r.u64())
	d.CatalogVersion = r.uvarint()
	d.Channel = r.text(maxText)
	d.Direction = nba.Direction(r.text(maxText))
	d.RequestID = r.text(maxText)
	n := r.uvarint()
	if version != recordFormat || flags&^flagDegraded != 0 || n > MaxPropositions || r.bad {
		return DecisionReader{}, ErrMalformed
	}
	d.left = int(n)
	return d, nil
}

// Left is the number of propositions that Next has yet to return.
func (d *DecisionReader) Left() int { return d.left }

// Next returns the next proposition; ok is false at the end and when the record is malformed, which
// Err tells apart.
func (d *DecisionReader) Next() (p Proposition, ok bool) {
	if d.left == 0 || d.r.bad {
		return Proposition{}, false
	}
	d.left--
	rank := d.r.uvarint()
	if rank > maxRankEncoded {
		d.r.bad = true
	}
	p.Rank = int(rank)
	p.Placement = d.shared(&d.placements)
	p.Action = d.r.text(maxText)
	p.Treatment = d.r.text(maxText)
	p.ModelDigest = d.shared(&d.digests)
	p.Propensity, p.Priority, p.SelectionProbability = d.r.f64(), d.r.f64(), d.r.f64()
	return p, !d.r.bad
}

// Err is ErrMalformed when Next stopped before the end, or when bytes follow the end.
func (d *DecisionReader) Err() error {
	if d.left > 0 {
		return ErrMalformed
	}
	return d.r.end()
}

func (d *DecisionReader) shared(seen *[]string) string {
	back := d.r.uvarint()
	text := ""
	switch {
	case back == 0:
		text = d.r.text(maxText)
	case back > uint64(len(*seen)):
		d.r.bad = true
	default:
		text = (*seen)[len(*seen)-int(back)]
	}
	*seen = append(*seen, text)
	return text
}

// Responded is a decoded ResponseRecorded. Record is what the history keeps of it.
type Responded struct {
	ID      ulid.ULID
	Outcome uint8 // position in nba.Outcomes
	TimeMS  int64
	Action  string
	Record  []byte
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
	dst, at := beginOp(dst, ResponseRecorded)
	dst = append(dst, id[:]...)
	dst = append(dst, byte(outcome))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(p.Time.UnixMilli()))
	dst = appendText(dst, p.Action)
	dst = appendText(dst, p.Treatment)
	dst = appendText(dst, p.Behaviour)
	return endOp(binary.LittleEndian.AppendUint64(dst, math.Float64bits(p.Value)), at), nil
}

// Decode reads the body of a ResponseRecorded and checks its record.
func (p *Responded) Decode(body []byte) error {
	r := reader{rest: body}
	copy(p.ID[:], r.take(len(p.ID)))
	p.Outcome = r.u8()
	p.TimeMS = int64(r.u64())
	p.Action = r.text(maxText)
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
