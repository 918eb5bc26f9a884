package node

import (
	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/cloudevent"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// admitEvent finds out whom an event is about and tells why it may not be applied.
func (v *view) admitEvent(e *nba.Event) error {
	if e.Subject.ID == "" {
		if err := v.nameSubject(e); err != nil {
			return err
		}
	}
	if e.Time.Sub(e.Received) > maxEventAhead {
		return nba.Errorf(nba.CodeEventEarly, "the event happens more than %s in the future: set the clock of its source", maxEventAhead)
	}
	return nil
}

// nameSubject finds out whom an event is about.
func (v *view) nameSubject(e *nba.Event) error {
	ref, ok := cloudevent.Subject(e)
	if !ok {
		return nba.Errorf(nba.CodeSubjectMissing, "the event tells nobody whom it is about: give it the attribute subject, or tell in the catalog's events where its data names the subject")
	}
	e.Subject = ref
	return nil
}

// reactToEvents works out what events do to their subjects by the active catalog.
func (n *Node) reactToEvents(events []command.AppliedEvent) error {
	v := n.acquire()
	defer v.release()
	_ = v
	_ = events
	return nil
}
