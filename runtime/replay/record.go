package replay

import (
	"errors"
	"math"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// ErrMalformed is returned when bytes are not a record of this format, or not with these texts.
var ErrMalformed = errors.New("what a decision read is malformed")

const (
	maxText     = 1 << 16
	maxList     = 1 << 16
	maxDocument = catalog.MaxDocumentBytes
)

// Record is what a decision read.
type Record struct {
	// Explain, Limits (of the placements; nil: all 1), Excluded and Contexts are of the request.
	Explain  nba.Explain
	Limits   []int
	Excluded []string
	Contexts []nba.ContextValue
	// SubjectVersion is that of the subject's record, and Declared the number of attributes in the
	// dictionary.
	SubjectVersion uint64
	Declared       int
	// Granted and Refused are what the subject had said to purposes, and Channel to the channel.
	Granted, Refused nba.PurposeSet
	Channel          nba.ConsentState
	// Answers are for engine.Reads.Play.
	Answers engine.Recorded
	// Journeys is where the subject stood, for journey.State.Decode; Stood tells that the decision asked. Both
	// are kept beside the record, in a section of their own, and filled in by who reads it.
	Journeys []byte
	Stood    bool
	// Plugins are those that scored, in the order they were called.
	Plugins []Plugin
	// Attributes are those that were read, in the order of their ids; the zero Value is one that the
	// subject did not have.
	Attributes []Attribute
}

// Attribute is one attribute that was read.
type Attribute struct {
	ID    nba.AttributeID
	Value nba.Value
}

// Open reads a record. texts are those of the catalog document that the decision was made with. What it
// returns may share memory with both.
func Open(b []byte, texts *Texts) (*Record, error) {
	r := reader{b: string(b)}
	if r.byte() != format {
		return nil, ErrMalformed
	}
	flags := r.byte()
	rec := &Record{SubjectVersion: r.uvarint(math.MaxUint64), Declared: int(r.uvarint(nba.MaxAttributes))}
	rec.Granted = nba.PurposeSet(r.uvarint(math.MaxUint64))
	rec.Refused = nba.PurposeSet(r.uvarint(math.MaxUint64))
	rec.Channel = nba.ConsentState(r.byte())
	r.bad = r.bad || !rec.Channel.Valid()
	if level := int(flags & explainMask); level < len(explains) {
		rec.Explain = explains[level]
	} else {
		r.bad = true
	}
	rec.readRequest(&r, flags)
	rec.readAnswers(&r, flags)
	rec.Plugins = make([]Plugin, r.count(8))
	for i := range rec.Plugins {
		rec.Plugins[i] = Plugin(r.u64())
	}
	rec.readAttributes(&r, texts)
	if r.bad {
		return nil, ErrMalformed
	}
	return rec, nil
}

func (rec *Record) readRequest(r *reader, flags byte) {
	if flags&flagLimits != 0 {
		rec.Limits = make([]int, r.count(1))
		for i := range rec.Limits {
			rec.Limits[i] = int(r.uvarint(nba.MaxPlacementLimit))
		}
	}
	if flags&flagExcluded != 0 {
		rec.Excluded = make([]string, r.count(1))
		for i := range rec.Excluded {
			rec.Excluded[i] = r.text()
		}
	}
	if flags&flagContexts != 0 {
		rec.Contexts = make([]nba.ContextValue, r.count(3))
		for i := range rec.Contexts {
			rec.Contexts[i] = nba.ContextValue{Type: r.text(), Key: r.text(), Value: r.text()}
		}
	}
}

func (rec *Record) readAnswers(r *reader, flags byte) {
	if flags&flagLate != 0 {
		rec.Answers.Late = int(r.uvarint(math.MaxInt32))
	}
	if flags&flagAnswers != 0 {
		rec.Answers.Yes = make([]int, r.count(1))
		next := 0
		for i := range rec.Answers.Yes {
			rec.Answers.Yes[i] = next + int(r.uvarint(math.MaxInt32))
			next = rec.Answers.Yes[i] + 1
		}
	}
	if flags&flagAggregates != 0 {
		rec.Answers.Aggregates = make([]float64, r.count(1))
		for i := range rec.Answers.Aggregates {
			rec.Answers.Aggregates[i] = r.aggregate()
		}
	}
}

func (rec *Record) readAttributes(r *reader, texts *Texts) {
	next := uint64(0)
	for len(r.b) > 0 && !r.bad {
		head := r.uvarint(nba.MaxAttributes<<3 | 0b111)
		id := next + head>>3
		if id >= nba.MaxAttributes {
			r.bad = true
			return
		}
		next = id + 1
		rec.Attributes = append(rec.Attributes, Attribute{ID: nba.AttributeID(id), Value: r.value(head&0b111, texts)})
	}
}

// Subject is the subject as the decision saw it: an attribute that was not read is absent.
func (rec *Record) Subject(ref nba.SubjectRef) *Subject { return &Subject{record: rec, ref: ref} }

// Request is the request of a decision that was answered for placements.
func (rec *Record) Request(ref nba.SubjectRef, channel string, direction nba.Direction, placements []string) *nba.DecisionRequest {
	req := &nba.DecisionRequest{Subject: ref, Channel: channel, Direction: direction, Contexts: rec.Contexts, ExcludedActions: rec.Excluded,
		Options: nba.DecisionOptions{Explain: rec.Explain, Consistency: engine.ConsistencyLeader}}
	for i, placement := range placements {
		limit := 1
		if i < len(rec.Limits) {
			limit = rec.Limits[i]
		}
		req.Placements = append(req.Placements, nba.PlacementRequest{ID: placement, Limit: limit})
	}
	return req
}

// reader takes fields off the front of a record, which is the memory of its texts. After the first that
// is not there, bad is set and every further field is zero.
type reader struct {
	b   string
	bad bool
}

func (r *reader) take(n int) string {
	if r.bad || n < 0 || n > len(r.b) {
		r.bad, r.b = true, ""
		return ""
	}
	taken := r.b[:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); b != "" {
		return b[0]
	}
	return 0
}

func (r *reader) u64() (v uint64) {
	if b := r.take(8); b != "" {
		for i := range 8 {
			v |= uint64(b[i]) << (8 * i)
		}
	}
	return v
}

func (r *reader) uvarint(most uint64) (v uint64) {
	for shift := 0; shift < 64; shift += 7 {
		b := r.byte()
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			if v > most || shift == 63 && b > 1 {
				break
			}
			return v
		}
	}
	r.bad = true
	return 0
}

func (r *reader) varint() int64 {
	v := r.uvarint(math.MaxUint64)
	return int64(v>>1) ^ -int64(v&1)
}

// count is the length of a list, whose elements take at least so many bytes.
func (r *reader) count(each int) int {
	n := r.uvarint(maxList)
	if int(n)*each > len(r.b) {
		r.bad = true
		return 0
	}
	return int(n)
}

func (r *reader) text() string { return r.take(int(r.uvarint(maxText))) }

func (r *reader) aggregate() float64 {
	switch v := r.uvarint(math.MaxUint64); v & 0b11 {
	case aggregateCount:
		return float64(v >> 2)
	case aggregateDays:
		return float64(v>>2) / dayMS
	case aggregateFloat:
		return math.Float64frombits(r.u64())
	default:
		r.bad = true
		return 0
	}
}

func (r *reader) value(form uint64, texts *Texts) nba.Value {
	switch form {
	case formFalse, formTrue:
		return nba.Bool(form == formTrue)
	case formInt:
		return nba.Int(r.varint())
	case formDecimal:
		v := r.varint()
		return nba.Float(float64(v>>2) / decimals[v&0b11])
	case formFloat:
		return nba.Float(math.Float64frombits(r.u64()))
	case formText:
		return nba.String(texts.read(r))
	case formTime:
		if v := r.varint(); v&1 != 0 {
			return nba.TimeMillis(v >> 1)
		} else {
			return nba.TimeMillis(v >> 1 * dayMS)
		}
	default:
		return nba.Value{}
	}
}
