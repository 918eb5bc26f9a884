package router

import (
	"context"
	"slices"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/journey"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

var _ journey.Holder = (*Reading)(nil)

// JourneyBytes implements journey.Holder: where the subject stands as of the same commit as the record.
func (r *Reading) JourneyBytes() ([]byte, error) {
	if r.reader == nil {
		return nil, errTouches
	}
	return r.reader.Get(store.Journeys, command.AppendSubjectKey(nil, r.Ref())), nil
}

// Journeys is where a subject stands in its journeys. It reads the replica here, as current as read asks for;
// see AcquireRead. Labels are for the caller to fill in.
func (r *Router) Journeys(ctx context.Context, ref nba.SubjectRef, read nba.Read) (out nba.SubjectJourneys, age time.Duration, err error) {
	reading, age, err := r.AcquireRead(ctx, ref, read)
	if err != nil {
		return out, age, err
	}
	defer reading.Release()
	stored, err := reading.JourneyBytes()
	if err != nil {
		return out, age, err
	}
	var state journey.State
	if err := state.Decode(stored); err != nil {
		return out, age, err
	}
	out = nba.SubjectJourneys{SubjectRef: reading.Ref(), Journeys: []nba.JourneyInstance{}, Moves: []nba.JourneyMove{}}
	for i := range state.Open {
		out.Journeys = append(out.Journeys, instanceOf(reading.reader, &state.Open[i]))
	}
	for i := range state.Moves {
		m := &state.Moves[i]
		out.Moves = append(out.Moves, nba.JourneyMove{Time: time.UnixMilli(m.AtMS).UTC(), Journey: m.Journey, Instance: m.Number, Key: m.Key,
			From: m.From, To: m.To, Cause: m.Cause.String(), Detail: m.Detail})
	}
	slices.Reverse(out.Moves)
	return out, age, nil
}

func instanceOf(reader *store.Reader, in *journey.Instance) nba.JourneyInstance {
	out := nba.JourneyInstance{Journey: in.Journey, Instance: in.Number, Key: in.Key, Stage: in.Stage,
		BegunAt: time.UnixMilli(in.BegunMS).UTC(), Since: time.UnixMilli(in.SinceMS).UTC()}
	if in.DueMS != 0 {
		out.Due = &nba.JourneyDue{At: time.UnixMilli(in.DueMS).UTC()}
		if def := fsm.JourneyDefinition(reader, in.Digest); def != nil {
			out.Due.Stage = def.After(in.Stage)
		}
	}
	for i := range in.Data {
		f := &in.Data[i]
		if out.Data == nil {
			out.Data = map[string]any{}
		}
		switch f.Kind {
		case journey.Number:
			out.Data[f.Name] = f.Float()
		case journey.Flag:
			out.Data[f.Name] = f.Int != 0
		default:
			out.Data[f.Name] = string(f.AppendText(nil))
		}
	}
	return out
}

// MoveJourney does what somebody asks of a journey, and returns when that is durable. The errors have
// CodeSubjectUnknown and CodeConflict.
func (r *Router) MoveJourney(ctx context.Context, move *command.MoveJourney) (fsm.Result, error) {
	ref, err := move.Subject.Normalize()
	if err != nil {
		return fsm.Result{}, err
	}
	if err := r.control.State().Features.Allows(command.JourneyMoved, 1); err != nil {
		return fsm.Result{}, err
	}
	move.Subject = ref
	slot := Slot(ref)
	return r.write(ctx, &r.bySlot(slot).shard, move, command.AppendSubjectKey(nil, ref), true)
}
