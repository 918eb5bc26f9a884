package api

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/runtime/cloudevent"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// memEvents are the events of a memCore: those of subjects whose id begins with "none" are dead letters.
type memEvents struct {
	mu      sync.Mutex
	seen    map[[2]string]bool
	events  []nba.StoredEvent
	letters []nba.DeadLetter
	next    int
	// refuse is given by AcceptEvents once.
	refuse error
}

func (m *memEvents) AcceptEvents(_ context.Context, events []nba.IncomingEvent) ([]nba.EventReceipt, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.refuse; err != nil {
		m.refuse = nil
		return nil, err
	}
	if m.seen == nil {
		m.seen = map[[2]string]bool{}
	}
	receipts := make([]nba.EventReceipt, len(events))
	for i, e := range events {
		fault := e.Fault
		ref, ok := cloudevent.Subject(&e.Event)
		switch {
		case fault != nil:
		case !ok:
			fault = nba.Errorf(nba.CodeSubjectMissing, "whom is it about?")
		case len(ref.ID) >= 4 && ref.ID[:4] == "none":
			fault = nba.Errorf(nba.CodeSubjectUnknown, "no such subject")
		}
		id := [2]string{string([]byte(e.Source)), string([]byte(e.ID))}
		switch {
		case fault != nil:
			m.next++
			letter := nba.DeadLetter{ID: "0-" + strconv.Itoa(m.next), Received: time.UnixMilli(0).UTC(), Code: nba.CodeOf(fault), Detail: fault.Error()}
			if e.Fault != nil {
				letter.Raw = string([]byte(e.Raw))
			} else if event, err := cloudevent.Structured(string(cloudevent.Append(nil, &e.Event))); err == nil {
				letter.Event = &event
			}
			m.letters = append(m.letters, letter)
			receipts[i] = nba.EventReceipt{Status: nba.EventDead, Letter: letter.ID, Code: letter.Code, Detail: letter.Detail}
		case m.seen[id]:
			receipts[i].Status = nba.EventDuplicate
		default:
			m.seen[id] = true
			event, err := cloudevent.Structured(string(cloudevent.Append(nil, &e.Event)))
			if err != nil {
				return nil, err
			}
			event.Subject = nba.SubjectRef{ID: string([]byte(ref.ID)), Type: ref.Type}
			m.events = append(m.events, nba.StoredEvent{Event: event, Cursor: strconv.Itoa(len(m.events) + 1)})
			receipts[i].Status = nba.EventAccepted
		}
	}
	return receipts, nil
}

func (m *memEvents) Events(_ context.Context, subject *nba.SubjectRef, limit int, cursor string) (events []nba.StoredEvent, next string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, err := strconv.Atoi(cursor)
	if err != nil && cursor != "" {
		return nil, "", nba.Invalid("/cursor", "the cursor is not one that a list of events gave")
	}
	for ; from < len(m.events) && len(events) < limit; from++ {
		if subject == nil || m.events[from].Subject.ID == subject.ID {
			events = append(events, m.events[from])
		}
	}
	return events, strconv.Itoa(from), nil
}

func (m *memEvents) Letters(_ context.Context, limit int, _ string) ([]nba.DeadLetter, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]nba.DeadLetter(nil), m.letters[:min(limit, len(m.letters))]...), strconv.Itoa(m.next), nil
}

func (m *memEvents) Letter(_ context.Context, id string) (nba.DeadLetter, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.letters {
		if l.ID == id {
			return l, nil
		}
	}
	return nba.DeadLetter{}, nba.Errorf(nba.CodeLetterUnknown, "no such dead letter")
}

func (m *memEvents) ReplayLetter(ctx context.Context, id string) (nba.EventReceipt, error) {
	letter, err := m.Letter(ctx, id)
	if err != nil {
		return nba.EventReceipt{}, err
	}
	incoming := nba.IncomingEvent{Fault: nba.Errorf(letter.Code, "%s", letter.Detail), Raw: letter.Raw}
	if letter.Event != nil {
		incoming = nba.IncomingEvent{Event: *letter.Event}
	}
	receipts, err := m.AcceptEvents(ctx, []nba.IncomingEvent{incoming})
	if err != nil {
		return nba.EventReceipt{}, err
	}
	return receipts[0], m.RemoveLetter(ctx, id)
}

func (m *memEvents) RemoveLetter(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, l := range m.letters {
		if l.ID == id {
			m.letters = append(m.letters[:i:i], m.letters[i+1:]...)
			return nil
		}
	}
	return nba.Errorf(nba.CodeLetterUnknown, "no such dead letter")
}
