package engine

import (
	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/journey"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

var _ expr.Journeys = (*journeys)(nil)

// journeys answers where the subject stands. It is read once for a decision, when it is first asked for.
type journeys struct {
	subject  nba.Subject
	reads    *Reads
	state    journey.State
	read, ok bool
}

func (j *journeys) begin(d *decision) { j.subject, j.reads = d.in.Subject, d.in.Reads }

// forget keeps nothing but memory.
func (j *journeys) forget() {
	clear(j.state.Open)
	clear(j.state.Ended)
	clear(j.state.Moves)
	*j = journeys{state: journey.State{Open: j.state.Open[:0], Ended: j.state.Ended[:0], Moves: j.state.Moves[:0]}}
}

// JourneyState implements expr.Journeys.
func (j *journeys) JourneyState() (state *journey.State, ok bool) {
	if j.read {
		return &j.state, j.ok
	}
	j.read = true
	holder, ok := j.subject.(journey.Holder)
	if !ok {
		return nil, false
	}
	stored, err := holder.JourneyBytes()
	if err != nil || j.state.Decode(stored) != nil {
		return nil, false
	}
	j.state.Moves = j.state.Moves[:0] // nothing asks for them
	j.ok = true
	j.reads.noteJourneys(&j.state)
	return &j.state, true
}

// noteJourneys notes where the subject stood.
func (r *Reads) noteJourneys(state *journey.State) {
	if r == nil {
		return
	}
	r.stood = true
	if r.journeys = r.journeys[:0]; !state.Empty() {
		r.journeys = state.Append(r.journeys)
	}
}

// Journeys is where the subject stood, for journey.State.Decode, if the decision asked. It is valid until the
// next Record.
func (r *Reads) Journeys() (state []byte, asked bool) { return r.journeys, r.stood }

// JourneyBytes implements journey.Holder.
func (r *Reads) JourneyBytes() ([]byte, error) {
	if who, ok := r.subject.(journey.Holder); ok {
		return who.JourneyBytes()
	}
	return nil, errNoJourneys
}
