package fsm

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
)

// The kinds of history entries. They are stored: append only.
const (
	HistoryDecision = 0
	HistoryResponse = 1
)

// HistoryKey orders the history of one subject by time. Position and Outcome belong to responses.
type HistoryKey struct {
	TimeMS   int64
	Decision ulid.ULID
	Kind     uint8
	Position uint16 // of the proposition in the decision
	Outcome  uint8  // position in nba.Outcomes
}

const (
	decisionKeyBytes = 8 + 16 + 1
	responseKeyBytes = decisionKeyBytes + 2 + 1
	signBit          = 1 << 63 // flipped, so that times before 1970 sort first
)

// AppendHistoryKey appends the key of an entry: that of the subject, then that of the entry.
func AppendHistoryKey(dst, subjectKey []byte, h HistoryKey) []byte {
	dst = append(dst, subjectKey...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.TimeMS)^signBit)
	dst = append(dst, h.Decision[:]...)
	dst = append(dst, h.Kind)
	if h.Kind == HistoryResponse {
		dst = append(binary.BigEndian.AppendUint16(dst, h.Position), h.Outcome)
	}
	return dst
}

// ParseHistoryKey is the inverse of AppendHistoryKey, for a subject key of the given length.
func ParseHistoryKey(key []byte, subjectKeyBytes int) (h HistoryKey, ok bool) {
	if len(key) < subjectKeyBytes+decisionKeyBytes {
		return HistoryKey{}, false
	}
	b := key[subjectKeyBytes:]
	h.TimeMS = int64(binary.BigEndian.Uint64(b) ^ signBit)
	copy(h.Decision[:], b[8:])
	h.Kind = b[decisionKeyBytes-1]
	switch {
	case h.Kind == HistoryDecision && len(b) == decisionKeyBytes:
		return h, true
	case h.Kind == HistoryResponse && len(b) == responseKeyBytes:
		h.Position, h.Outcome = binary.BigEndian.Uint16(b[decisionKeyBytes:]), b[decisionKeyBytes+2]
		return h, true
	}
	return HistoryKey{}, false
}

// DecisionEntry is a stored decision: the subject it was made for, one set of outcomes for each
// proposition (a bit for each position in nba.Outcomes), and the record command.OpenDecision reads.
type DecisionEntry struct {
	Key      []byte
	Outcomes []byte
	Record   []byte

	outcomesAt int
}

const decisionEntryFormat = 1

var errDecision = errors.New("a stored decision is corrupt")

func appendDecisionEntry(dst []byte, p *command.Recorded) []byte {
	dst = append(dst, decisionEntryFormat)
	dst = append(dst, p.Key...)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(p.Propositions))
	for range p.Propositions {
		dst = append(dst, 0)
	}
	return append(dst, p.Record...)
}

// OpenDecisionEntry splits a stored decision. The parts share its memory.
func OpenDecisionEntry(b []byte) (DecisionEntry, error) {
	if len(b) < 3 || b[0] != decisionEntryFormat {
		return DecisionEntry{}, errDecision
	}
	keyEnd := 1 + 2 + int(b[2])
	if len(b) < keyEnd+2 {
		return DecisionEntry{}, errDecision
	}
	n := int(binary.LittleEndian.Uint16(b[keyEnd:]))
	at := keyEnd + 2
	if len(b) < at+n {
		return DecisionEntry{}, errDecision
	}
	e := DecisionEntry{Key: b[1:keyEnd], Outcomes: b[at : at+n], Record: b[at+n:], outcomesAt: at}
	if _, ok := command.ParseSubjectKey(e.Key); !ok {
		return DecisionEntry{}, errDecision
	}
	return e, nil
}

// Responses is how many responses were recorded.
func (e *DecisionEntry) Responses() (n int) {
	for _, outcomes := range e.Outcomes {
		n += bits.OnesCount8(outcomes)
	}
	return n
}

// find is the position of the first proposition of the action, or -1.
func (e *DecisionEntry) find(action string) (int, error) {
	r, err := command.OpenDecision(e.Record)
	if err != nil {
		return 0, err
	}
	if r.Left() != len(e.Outcomes) {
		return 0, errDecision
	}
	for i := 0; ; i++ {
		p, ok := r.Next()
		if !ok {
			return -1, r.Err()
		}
		if p.Action == action {
			return i, nil
		}
	}
}
