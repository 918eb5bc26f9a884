package serving

import (
	"fmt"
	"math"
	"sync"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// historyName stands for the interaction history among the names of what was withheld.
const historyName = "history"

// ratioInput is one attribute divided by another.
type ratioInput struct {
	place   int
	missing float64
	of, by  attributeRef
}

// attributeRef is an attribute that is read as a number.
type attributeRef struct {
	id       nba.AttributeID
	purposes nba.PurposeSet
}

func (r attributeRef) number(call *engine.ScoreCall, purpose nba.PurposeID) (float64, bool) {
	if !consent.Visible(r.purposes, purpose, call.Mask) {
		return 0, false
	}
	v, ok := call.Subject.Attribute(r.id)
	if !ok {
		return 0, false
	}
	return v.Number()
}

func (r *ratioInput) put(area []byte, call *engine.ScoreCall, purpose nba.PurposeID) {
	f := r.missing
	if of, ok := r.of.number(call, purpose); ok {
		if by, ok := r.by.number(call, purpose); ok && by != 0 {
			if q := of / by; !math.IsNaN(q) && !math.IsInf(q, 0) {
				f = q
			}
		}
	}
	wasm.PutFloat(area, r.place, f)
}

// historyInput is one aggregate of the interaction history.
type historyInput struct {
	place      int // within the features of the subject, or with sameAction of the candidate
	missing    float64
	daysSince  bool
	outcome    nba.Outcome // "" for propositions
	days       int64       // 0: all
	channel    string      // "": any
	action     string      // "": any
	sameAction bool
}

func newHistoryInput(h *artifact.History, place int, missing float64) historyInput {
	in := historyInput{place: place, missing: missing, daysSince: h.Aggregate == artifact.AggregateDaysSince,
		outcome: nba.Outcome(h.Outcome), days: int64(h.Days), channel: h.Channel, action: h.Action, sameAction: h.SameAction}
	if h.Aggregate == artifact.AggregateAccepts {
		in.outcome = nba.Accepted
	}
	return in
}

const dayMS = 24 * 60 * 60 * 1000

// value aggregates the touches of an action, "" for any.
func (h *historyInput) value(t *touches, action string) float64 {
	if t == nil || !t.visible {
		return h.missing
	}
	count := 0
	for i := range t.list {
		e := &t.list[i]
		age := t.now - e.TimeMS
		if h.days > 0 && age > h.days*dayMS {
			break // the others are older
		}
		if e.Outcome != h.outcome || h.channel != "" && e.Channel != h.channel || action != "" && e.Action != action {
			continue
		}
		if h.daysSince {
			return float64(age) / dayMS
		}
		count++
	}
	if h.daysSince {
		return h.missing
	}
	return float64(count)
}

// touches are the newest entries of a subject's history, for one call.
type touches struct {
	now     int64 // milliseconds
	visible bool  // false: the subject did not consent
	list    []nba.Touch
}

// touchPool lends memory for touches.
type touchPool struct{ pool sync.Pool }

// read lends the touches that call may see, nil when the model reads none. They belong to one call and
// are given back with put.
func (p *touchPool) read(in *inputs, call *engine.ScoreCall) (*touches, error) {
	if len(in.histories) == 0 {
		return nil, nil
	}
	t, ok := p.pool.Get().(*touches)
	if !ok {
		t = &touches{}
	}
	t.now, t.visible = call.Now.UnixMilli(), call.Mask.Has(in.purpose)
	if !t.visible {
		return t, nil
	}
	who, ok := call.Subject.(nba.Historian)
	if !ok {
		p.put(t)
		return nil, fmt.Errorf("the history of the subject cannot be read here")
	}
	err := who.Touches(func(touch *nba.Touch) bool {
		if touch.TimeMS <= t.now {
			t.list = append(t.list, *touch)
		}
		return len(t.list) < artifact.MaxTouches
	})
	if err != nil {
		p.put(t)
		return nil, fmt.Errorf("reading the history of the subject: %w", err)
	}
	return t, nil
}

// put takes touches back; t may be nil.
func (p *touchPool) put(t *touches) {
	if t == nil {
		return
	}
	clear(t.list) // the strings are the store's
	t.list = t.list[:0]
	p.pool.Put(t)
}

// actionName is the name of the candidate's action, "" if it does not tell.
func actionName(c engine.Candidate) string {
	if named, ok := c.(engine.Named); ok {
		return named.ActionName()
	}
	return ""
}
