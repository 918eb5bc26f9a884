package command

import (
	"fmt"

	"github.com/arbiterhq/arbiter/runtime/journey"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// KeptJourneys is what a decision read of the journeys of its subject: their state, as journey.State.Append
// wrote it. It is part of the record, so that the decision can be made again.
const KeptJourneys SectionTag = 57

// MaxJourneySection bounds the effects on journeys of one event or response.
const MaxJourneySection = 32 << 10

// MoveJourney moves, begins or ends journeys of one subject since somebody asked for it. It is refused when
// nothing leads there from where the subject is.
type MoveJourney struct {
	Subject nba.SubjectRef
	// Effect is what is asked for, with one Jump or Exit.
	Effect journey.Effect
	// Key is the subject key, of a decoded operation.
	Key []byte
}

// Append appends the operation to dst. The subject must be normalized.
func (m *MoveJourney) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, JourneyMoved)
	dst = AppendSubjectKey(dst, m.Subject)
	dst = journey.AppendEffects(dst, []journey.Effect{m.Effect})
	// A replica that cannot read an operation stops: such a one must not get into the log.
	if err := new(MoveJourney).Decode(dst[at:]); err != nil {
		return dst, fmt.Errorf("encoding a move of a journey: some text is beyond its limits: %w", err)
	}
	return endOp(dst, at), nil
}

// Decode reads the body of a JourneyMoved. Key shares its memory.
func (m *MoveJourney) Decode(body []byte) error {
	r := reader{rest: body}
	m.Key = r.subject()
	if r.bad {
		return ErrMalformed
	}
	effects, err := journey.DecodeEffects(r.rest, nil)
	if err != nil || len(effects) != 1 {
		return ErrMalformed
	}
	m.Effect = effects[0]
	return new(journey.Definition).Decode(m.Effect.Definition)
}
