package serving

import (
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/history"
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
	query      history.Query
	sameAction bool
}

func newHistoryInput(h *artifact.History, place int, missing float64) historyInput {
	in := historyInput{place: place, missing: missing, sameAction: h.SameAction, query: history.Query{
		Outcome: nba.Outcome(h.Outcome), Within: time.Duration(h.Days) * 24 * time.Hour, Channel: h.Channel, Action: h.Action,
		DaysSince: h.Aggregate == artifact.AggregateDaysSince}}
	if h.Aggregate == artifact.AggregateAccepts {
		in.query.Outcome = nba.Accepted
	}
	return in
}

// value aggregates the touches, those of an action with sameAction.
func (h *historyInput) value(t *touches, action string) float64 {
	if t == nil || !t.visible {
		return h.missing
	}
	q := h.query
	if h.sameAction {
		q.Action = action
	}
	if value, ok := q.Of(t.list, t.now, nil); ok {
		return value
	}
	return h.missing
}

// touches are the newest entries of a subject's history, for one call.
type touches struct {
	now     int64 // milliseconds
	visible bool  // false: the subject did not consent
	list    []nba.Touch
	own     history.Reader // for calls that share none
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
	reader := call.History
	if reader == nil {
		reader = &t.own
		reader.Reset(call.Subject, call.Now)
	}
	var err error
	if t.list, err = reader.Touches(); err != nil {
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
	t.list = nil
	t.own.Reset(nil, time.Time{})
	p.pool.Put(t)
}

// actionName is the name of the candidate's action, "" if it does not tell.
func actionName(c engine.Candidate) string {
	if named, ok := c.(engine.Named); ok {
		return named.ActionName()
	}
	return ""
}
