package node

import (
	"errors"
	"sync"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/cloudevent"
	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// reading is what working out an event needs. It is pooled.
type eventReading struct {
	event    nba.Event
	read     expr.Event
	vars     expr.Vars
	reaction catalog.Reaction
	attrs    []record.Attr
	record   []byte
	body     []byte
}

func newEventReadings() *sync.Pool { return &sync.Pool{New: func() any { return new(eventReading) }} }

// of begins with another event, which must not change until the next one.
func (r *eventReading) of(e *nba.Event) *expr.Vars {
	r.read.Reset(e)
	r.vars = expr.Vars{Event: &r.read, Now: e.Received}
	return &r.vars
}

// admitEvent finds out whom an event is about and tells why it may not be applied.
func (v *view) admitEvent(e *nba.Event, r *eventReading) error {
	if e.Subject.ID == "" {
		if err := v.nameSubject(e, r); err != nil {
			return err
		}
	}
	if e.Time.Sub(e.Received) > maxEventAhead {
		return nba.Errorf(nba.CodeEventEarly, "the event happens more than %s in the future: set the clock of its source", maxEventAhead)
	}
	if v.catalog == nil {
		return nil
	}
	if kind := v.catalog.EventType(e.Type); kind != nil && kind.Lateness > 0 && e.Received.Sub(e.Time) > kind.Lateness {
		return nba.Errorf(nba.CodeEventLate, "the event comes more than %s after it happened: the lateness of event %s in the catalog allows no more", kind.Lateness, kind.Name)
	}
	return nil
}

// nameSubject finds out whom an event is about: as the catalog tells for its type, else as it tells itself.
func (v *view) nameSubject(e *nba.Event, r *eventReading) error {
	if v.catalog != nil {
		ref, ok, err := v.catalog.EventSubject(e.Type, r.of(e))
		if err != nil {
			return err
		}
		if ok {
			e.Subject = ref
			return nil
		}
	}
	ref, ok := cloudevent.Subject(e)
	if !ok {
		return nba.Errorf(nba.CodeSubjectMissing, "the event tells nobody whom it is about: give it the attribute subject, or tell in the catalog's events where its data names the subject")
	}
	e.Subject = ref
	return nil
}

// reactToEvents works out what events do to their subjects by the active catalog. The subjects are as of now:
// what an earlier event of the same batch changes is not seen.
func (n *Node) reactToEvents(events []command.AppliedEvent) error {
	v := n.acquire()
	defer v.release()
	if v.catalog == nil {
		return nil
	}
	r := n.eventReadings.Get().(*eventReading)
	defer n.eventReadings.Put(r)
	var effects command.Sections
	for i := range events {
		from := len(effects)
		var err error
		if effects, err = n.eventEffects(v, r, &events[i], effects); err != nil {
			return err
		}
		events[i].Effects = effects[from:len(effects):len(effects)]
	}
	return nil
}

// eventEffects appends what an event does to its subject. An unknown subject is for the state machine to refuse.
func (n *Node) eventEffects(v *view, r *eventReading, a *command.AppliedEvent, to command.Sections) (command.Sections, error) {
	var err error
	if r.event, err = a.Event(); err != nil {
		return to, err
	}
	e := &r.event
	reacts, journeys := v.catalog.Reacts(e.Type), v.catalog.JourneysReact(e.Type)
	if !reacts && !journeys {
		return to, nil
	}
	subject, err := n.router.Acquire(e.Subject)
	if nba.CodeOf(err) == nba.CodeSubjectUnknown {
		return to, nil
	}
	if err != nil {
		return to, err
	}
	defer subject.Release()
	vars := r.of(e)
	vars.Subject, vars.Mask = subject, consent.MaskAt(v.state.Dictionary, subject, e.Received, v.catalog.Consent.AllowPurposes)
	if reacts {
		v.catalog.React(e, vars, &r.reaction)
		if len(r.reaction.Attributes) > 0 {
			if to, err = r.attributes(to); err != nil {
				return to, err
			}
		}
		if len(r.reaction.Strategies) > 0 {
			to = to.Add(command.EffectStrategies, r.reaction.Strategies)
		}
	}
	if journeys {
		if body := journeysOfEvent(v.catalog, e.Type, vars); body != nil {
			to = to.Add(command.EffectJourneys, body)
		}
	}
	return to, nil
}

// attributes appends the attributes that an event sets.
func (r *eventReading) attributes(to command.Sections) (command.Sections, error) {
	r.attrs = r.attrs[:0]
	for _, a := range r.reaction.Attributes {
		r.attrs = append(r.attrs, record.Attr{ID: a.ID, Value: a.Value})
	}
	var err error
	if r.record, err = record.Append(r.record[:0], r.attrs, 0, 0); errors.Is(err, record.ErrTooLarge) {
		return to, nil // texts that no subject could hold
	} else if err != nil {
		return to, err
	}
	r.body = command.AppendAttributes(r.body[:0], command.SetAttributes{Set: r.record})
	return to.Add(command.EffectAttributes, r.body), nil
}
