package fsm

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/runtime/trigger"
)

// What event strategies know of a subject is one value:
//
//	windows  subject key -> state of runtime/trigger, of all strategies
//
// A strategy has at most one timer there, and the subject one: when its state is looked through for what
// means nothing any more, so that strategies that are gone from the catalog, and subjects of which nothing is
// heard, take no room for ever. The origin of the timer of a strategy is its id (4 bytes), that of the subject
// is empty. Each is in the state, so both go with the subject.

// strategyState is what Data keeps between events to save memory. None of it is state.
type strategyState struct {
	windows trigger.Machine
	next    trigger.Update
}

// originOfStrategy names who raises the triggers of an event strategy.
func originOfStrategy(name string) string { return "strategy:" + name }

func strategyTimer(id uint32) string {
	return string(binary.BigEndian.AppendUint32(nil, id))
}

// applyStrategies does what an event does to the event strategies.
func (d *Data) applyStrategies(u *update, at At, ev *command.AppliedEvent, body []byte) error {
	stored := u.Get(store.Windows, ev.Key)
	state := stored
	for len(body) > 0 {
		rest, _, err := d.next.Next(body)
		if err != nil {
			return err
		}
		body = rest
		n := &d.next
		in := trigger.Event{TimeMS: ev.TimeMS, ReceivedMS: ev.ReceivedMS, Value: n.Value, Ends: n.Ends, Template: n.Template}
		if n.Spec.Stateless() {
			if n.Spec.Raise == trigger.Each {
				err = d.raiseFor(u, at, ev.Key, n.Name, &n.Spec, &trigger.Raised{Template: n.Template})
			}
			if err != nil {
				return err
			}
			continue
		}
		id := trigger.IDOf(n.Name)
		change, err := d.windows.Event(state, id, &n.Spec, &in, at.ProposedMS)
		if err != nil {
			return err
		}
		state = change.State
		if err := d.followWindows(u, at, ev.Key, id, n.Name, &n.Spec, &change); err != nil {
			return err
		}
	}
	return d.putWindows(u, ev.Key, stored, state)
}

// putWindows stores the state of a subject, unless it is what was there.
func (d *Data) putWindows(u *update, subjectKey, stored, state []byte) error {
	switch {
	case bytes.Equal(stored, state):
		return nil
	case state == nil:
		return u.remove(store.Windows, subjectKey, stored)
	default:
		return u.replaceKept(store.Windows, d.arena.copied(subjectKey), stored, d.arena.copied(state))
	}
}

// followWindows sets and clears timers, and raises and takes back triggers, as a change of the state asks for.
func (d *Data) followWindows(u *update, at At, subjectKey []byte, id uint32, name string, spec *trigger.Spec, c *trigger.Change) error {
	if c.ClearMS != 0 {
		if err := d.clearTimer(u, c.ClearMS, timerStrategy, subjectKey, strategyTimer(id)); err != nil {
			return err
		}
	}
	if c.SetMS != 0 {
		if err := d.setTimer(u, c.SetMS, timerStrategy, subjectKey, strategyTimer(id), trigger.AppendTimer(nil, name, spec)); err != nil {
			return err
		}
	}
	if err := d.followSweep(u, subjectKey, c); err != nil {
		return err
	}
	if c.Cancel {
		if err := d.cancel(u, at, subjectKey, originOfStrategy(name)); err != nil {
			return err
		}
	}
	for i := range c.Raised {
		if err := d.raiseFor(u, at, subjectKey, name, spec, &c.Raised[i]); err != nil {
			return err
		}
	}
	return nil
}

func (d *Data) followSweep(u *update, subjectKey []byte, c *trigger.Change) error {
	if c.UnsweepMS != 0 {
		if err := d.clearTimer(u, c.UnsweepMS, timerStrategy, subjectKey, ""); err != nil {
			return err
		}
	}
	if c.SweepMS == 0 {
		return nil
	}
	return d.setTimer(u, c.SweepMS, timerStrategy, subjectKey, "", nil)
}

// raiseFor raises a trigger of an event strategy.
func (d *Data) raiseFor(u *update, at At, subjectKey []byte, name string, spec *trigger.Spec, r *trigger.Raised) error {
	eventType, contexts, err := trigger.ParseTemplate(r.Template)
	if err != nil {
		return err
	}
	if r.HasValue {
		contexts = withAggregate(contexts, r.Value)
	}
	return d.raise(u, at, &command.Trigger{
		Key: bytes.Clone(subjectKey), Origin: originOfStrategy(name), EventType: eventType, Contexts: bytes.Clone(contexts),
		ExpiresMS: at.ProposedMS + spec.ValidMS,
	})
}

// withAggregate adds the value that led to a trigger to its contexts, a JSON array or nothing.
func withAggregate(contexts []byte, value int64) []byte {
	const head, tail = `{"type":"strategy","key":"aggregate","value":"`, `"}]`
	out := make([]byte, 0, len(contexts)+len(head)+len(tail)+24)
	if len(contexts) > 2 { // more than []
		out = append(append(out, contexts[:len(contexts)-1]...), ',')
	} else {
		out = append(out, '[')
	}
	return append(appendMillionths(append(out, head...), value), tail...)
}

// appendMillionths writes a value as a decimal number.
func appendMillionths(dst []byte, value int64) []byte {
	if value < 0 {
		dst, value = append(dst, '-'), -value
	}
	dst = strconv.AppendInt(dst, value/trigger.Unit, 10)
	rest := value % trigger.Unit
	if rest == 0 {
		return dst
	}
	digits := strconv.AppendInt(nil, trigger.Unit+rest, 10)[1:]
	return append(append(dst, '.'), bytes.TrimRight(digits, "0")...)
}

// fireStrategy does what is due of an event strategy for a subject, or looks through the state of the subject.
func (d *Data) fireStrategy(u *update, at At, t *timer) error {
	stored := u.Get(store.Windows, t.subjectKey)
	if stored == nil {
		return nil
	}
	now := max(t.ms, at.ProposedMS)
	if t.origin == "" {
		change, err := d.windows.Sweep(stored, now)
		if err != nil {
			return err
		}
		if err := d.followSweep(u, t.subjectKey, &change); err != nil {
			return err
		}
		return d.putWindows(u, t.subjectKey, stored, change.State)
	}
	name, spec, err := trigger.ParseTimer(t.value)
	if err != nil || len(t.origin) != 4 {
		return errTimer
	}
	id := binary.BigEndian.Uint32([]byte(t.origin))
	change, err := d.windows.Fire(stored, id, &spec, t.ms, now)
	if err != nil {
		return err
	}
	// The timer that fired is gone already.
	change.ClearMS = 0
	state := change.State
	if err := d.followWindows(u, at, t.subjectKey, id, name, &spec, &change); err != nil {
		return err
	}
	return d.putWindows(u, t.subjectKey, stored, state)
}

// eraseWindows removes what event strategies know of a subject, with its timers.
func (d *Data) eraseWindows(u *update, subjectKey []byte) error {
	stored := u.Get(store.Windows, subjectKey)
	if stored == nil {
		return nil
	}
	timers, err := trigger.Timers(stored)
	if err != nil {
		return err
	}
	for _, t := range timers {
		origin := ""
		if t.ID != 0 {
			origin = strategyTimer(t.ID)
		}
		if err := d.clearTimer(u, t.MS, timerStrategy, subjectKey, origin); err != nil {
			return err
		}
	}
	return u.remove(store.Windows, subjectKey, stored)
}
