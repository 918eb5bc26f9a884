// Package history aggregates the interaction history of a subject: what was proposed to it, and what came
// back. Policies and models read the same aggregates, and a decision reads the history once for all of
// them. The package knows no clock; it does no I/O but what the subject does.
package history

import (
	"errors"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// MaxTouches bounds how many entries of a history are read for one decision, the newest. It bounds the
// cost of an aggregate, too.
const MaxTouches = 512

// Query is an aggregate of a history. What is empty selects everything. Queries are comparable.
type Query struct {
	// Outcome selects responses; "" selects propositions.
	Outcome nba.Outcome
	// Within leaves out what is older; 0 leaves out nothing.
	Within time.Duration
	// Channel, Action, Issue and Group select by where a touch belongs. Issue and group are those that
	// the catalog has the action in now.
	Channel, Action, Issue, Group string
	// DaysSince asks for the days since the newest of those selected, and not for their number.
	DaysSince bool
}

// Places tells the issue and the group of an action; ok is false when the catalog has none of that name.
type Places func(action string) (issue, group string, ok bool)

const dayMS = 24 * 60 * 60 * 1000

// Of is the aggregate of touches, newest first, at a moment. ok is false when nothing is selected whose
// age could be told. places is asked only where q selects by issue or group.
func (q *Query) Of(touches []nba.Touch, nowMS int64, places Places) (value float64, ok bool) {
	count := 0
	for i := range touches {
		t := &touches[i]
		age := nowMS - t.TimeMS
		if q.Within > 0 && age > q.Within.Milliseconds() {
			break // the others are older
		}
		if !q.selects(t, places) {
			continue
		}
		if q.DaysSince {
			return float64(age) / dayMS, true
		}
		count++
	}
	return float64(count), !q.DaysSince
}

func (q *Query) selects(t *nba.Touch, places Places) bool {
	if t.Outcome != q.Outcome || q.Channel != "" && t.Channel != q.Channel || q.Action != "" && t.Action != q.Action {
		return false
	}
	if q.Issue == "" && q.Group == "" {
		return true
	}
	issue, group, ok := places(t.Action)
	return ok && (q.Issue == "" || q.Issue == issue) && (q.Group == "" || q.Group == group)
}

// errNoHistory is the failure of subjects that have no history with them.
var errNoHistory = errors.New("the history of the subject cannot be read here")

// Reader reads the history of one subject for one decision, once, when it is first asked for. It belongs
// to one goroutine; Reset makes it ready for the next decision and keeps its memory.
type Reader struct {
	subject nba.Subject
	nowMS   int64
	list    []nba.Touch
	read    bool
	err     error
}

// Reset makes r read the history of subject as of a moment; nil forgets the last one.
func (r *Reader) Reset(subject nba.Subject, now time.Time) {
	clear(r.list) // the strings are the store's
	*r = Reader{subject: subject, nowMS: now.UnixMilli(), list: r.list[:0]}
}

// NowMS is the moment that ages count from.
func (r *Reader) NowMS() int64 { return r.nowMS }

// Touches are the newest entries, newest first, without those after the moment. They are valid until the
// next Reset and must not be changed.
func (r *Reader) Touches() ([]nba.Touch, error) {
	if !r.read {
		r.read = true
		r.err = r.load()
	}
	return r.list, r.err
}

func (r *Reader) load() error {
	who, ok := r.subject.(nba.Historian)
	if !ok {
		return errNoHistory
	}
	return who.Touches(func(t *nba.Touch) bool {
		if t.TimeMS <= r.nowMS {
			r.list = append(r.list, *t)
		}
		return len(r.list) < MaxTouches
	})
}
