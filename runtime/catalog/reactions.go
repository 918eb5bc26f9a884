package catalog

import (
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/trigger"
)

// reaction is that of one event strategy to events of one type.
type reaction struct {
	strategy *EventStrategy
	filter   *expr.Program
	ends     bool
}

// Reaction is what an event does to its subject. It keeps its memory between events and belongs to one
// goroutine.
type Reaction struct {
	// Attributes are those that the event sets, in the order of their ids. Texts may share the memory of the
	// event.
	Attributes []AttributeSet
	// Strategies are the updates of the event strategies, as trigger.Update appends them.
	Strategies []byte

	contexts []nba.ContextValue
	template []byte
}

// AttributeSet is a value that an event gives an attribute.
type AttributeSet struct {
	ID    nba.AttributeID
	Value nba.Value
}

// Reacts tells whether events of a type do anything here, so that their subject need be read.
func (c *Catalog) Reacts(cloudEventType string) bool {
	e := c.eventTypes[cloudEventType]
	return e != nil && len(e.Set) > 0 || len(c.strategiesOn[cloudEventType]) > 0
}

// React works out what an event does: into is filled. vars has the event, its subject, the mask of its
// consents and the time it was received at; their purpose is set here. event is the one in vars.
func (c *Catalog) React(event *nba.Event, vars *expr.Vars, into *Reaction) {
	into.Attributes, into.Strategies = into.Attributes[:0], into.Strategies[:0]
	kind := c.eventTypes[event.Type]
	if kind != nil && len(kind.Set) > 0 {
		vars.Purpose = kind.Purpose.ID
		for i := range kind.Set {
			if value, ok := kind.Set[i].value(vars); ok {
				into.Attributes = append(into.Attributes, AttributeSet{ID: kind.Set[i].ID, Value: value})
			}
		}
	}
	for _, r := range c.strategiesOn[event.Type] {
		vars.Purpose = r.strategy.Purpose.ID
		if r.filter != nil && r.filter.Bool(vars) != expr.True {
			continue
		}
		into.update(r, kind, event, vars)
	}
}

// update appends what the event brings to one strategy, nothing where it has no value.
func (into *Reaction) update(r reaction, kind *EventType, event *nba.Event, vars *expr.Vars) {
	s := r.strategy
	u := trigger.Update{Name: s.Name, Spec: s.Spec, Ends: r.ends}
	if s.value != nil {
		var ok bool
		if u.Value, ok = s.valueOf(vars); !ok {
			return
		}
	}
	if u.Spec.Raise != trigger.Never && !r.ends {
		if valid := validFor(kind, event, s.Spec.ValidMS); valid > 0 {
			u.Spec.ValidMS = valid
			u.Template = into.templateOf(s, event, vars)
		} else if u.Spec.Raise == trigger.Absent || u.Spec.Stateless() {
			return // it happened too long ago
		} else {
			u.Spec.Raise, u.Spec.ValidMS = trigger.Never, 0
		}
	}
	into.Strategies = u.Append(into.Strategies)
}

// validFor is for how long a trigger of an event may wait, in milliseconds.
func validFor(kind *EventType, event *nba.Event, validMS int64) int64 {
	if kind == nil || kind.Validity == 0 {
		return validMS
	}
	return min(validMS, (kind.Validity - max(0, event.Received.Sub(event.Time))).Milliseconds())
}

// valueOf is the value that the strategy aggregates, or what stands for it.
func (s *EventStrategy) valueOf(vars *expr.Vars) (int64, bool) {
	if s.Spec.Aggregate != trigger.Distinct {
		number, ok := s.value.Number(vars)
		return millionths(number), ok
	}
	value, ok := s.value.Value(vars)
	if !ok {
		return 0, false
	}
	var room [nba.MaxTextBytes]byte
	b := append(room[:0], byte(value.Kind()))
	switch value.Kind() {
	case nba.KindString:
		b = append(b, value.Str()...)
	case nba.KindInt:
		b[0] = byte(nba.KindFloat)
		b = strconv.AppendFloat(b, float64(value.Int()), 'g', -1, 64)
	case nba.KindFloat:
		b = strconv.AppendFloat(b, value.Float(), 'g', -1, 64)
	default:
		b = strconv.AppendUint(b, value.Bits(), 10)
	}
	return int64(uint32(xxhash.Sum64(b))), true
}

// templateOf is what the triggers of the event are made of.
func (into *Reaction) templateOf(s *EventStrategy, event *nba.Event, vars *expr.Vars) []byte {
	into.contexts = into.contexts[:0]
	for i := range s.Emit.Contexts {
		if len(into.Strategies) > maxReaction {
			break
		}
		c := &s.Emit.Contexts[i]
		if value, ok := c.Value.Value(vars); ok {
			into.contexts = append(into.contexts, nba.ContextValue{Type: contextOfEvents, Key: c.Key, Value: contextText(value)})
		}
	}
	var contexts []byte
	if len(into.contexts) > 0 {
		contexts, _ = json.Marshal(into.contexts) // texts alone
	}
	into.template = trigger.AppendTemplate(into.template[:0], event.Type, contexts)
	return into.template
}

// contextOfEvents is the type of the contexts that come from events.
const contextOfEvents = "event"

// maxReaction is how many bytes of updates there may be before the contexts of further strategies are left out,
// so that the updates of one event fit into its log entry.
const maxReaction = 16 << 10

// maxContextText bounds the text of one context.
const maxContextText = nba.MaxTextBytes

// contextText is a value as a context.
func contextText(v nba.Value) string {
	var text string
	switch v.Kind() {
	case nba.KindString:
		text = v.Str()
	case nba.KindBool:
		text = strconv.FormatBool(v.Bool())
	case nba.KindInt:
		text = strconv.FormatInt(v.Int(), 10)
	case nba.KindFloat:
		text = formatContext(v.Float())
	case nba.KindTime:
		text = v.Time().Format(time.RFC3339Nano)
	}
	return text[:min(len(text), maxContextText)]
}

func formatContext(f float64) string {
	if f == math.Trunc(f) && math.Abs(f) < 1<<53 {
		return strconv.FormatInt(int64(f), 10)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// Aggregator reads what event strategies counted for a subject. It keeps its memory between subjects and
// belongs to one goroutine.
type Aggregator struct {
	machine trigger.Machine
}

// Read is the aggregate of a strategy in the state of a subject, as of a moment; ok is false where there is
// none. state is nil for a subject without one.
func (a *Aggregator) Read(state []byte, s *EventStrategy, now time.Time) (value float64, ok bool, err error) {
	v, ok, err := a.machine.Read(state, s.ID, &s.Spec, now.UnixMilli())
	return float64(v) / trigger.Unit, ok, err
}

// MayRead tells whether the aggregate may be read for a purpose under a mask.
func (s *EventStrategy) MayRead(purpose nba.PurposeID, mask nba.PurposeSet) bool {
	return s.Purposes == 0 || consent.Visible(s.Purposes, purpose, mask)
}

// Describe is what the state of a subject tells of a strategy, as of a moment. due are the timers of the state.
func (a *Aggregator) Describe(state []byte, s *EventStrategy, now time.Time, due []trigger.Timer) (out nba.StrategyAggregate, err error) {
	out = nba.StrategyAggregate{Strategy: s.Name, Label: s.Label, Aggregate: s.Spec.Aggregate.String(), Window: s.Spec.WindowText()}
	if s.Spec.Raise == trigger.Absent {
		out.Aggregate, out.Window = "absence", ""
	} else if value, ok, err := a.Read(state, s, now); err != nil {
		return out, err
	} else if ok {
		out.Value = &value
	}
	for _, t := range due {
		if t.ID == s.ID {
			at := time.UnixMilli(t.MS).UTC()
			out.DueAt = &at
		}
	}
	return out, nil
}
