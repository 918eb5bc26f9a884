package catalog

import (
	"math"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/trigger"
)

// Limits of event strategies.
const (
	MaxEventStrategies = 256
	maxThreshold       = 1e12
	// slicesByDefault is how many steps a sliding window has where the document does not say.
	slicesByDefault = 60
	leastSlice      = time.Second
)

// EventStrategy turns events into aggregates and triggers. It is immutable.
type EventStrategy struct {
	// Index is the position in Catalog.EventStrategies.
	Index int
	Name  string
	ID    uint32
	Label string
	// Purpose is that for which the filter reads attributes of the subject; what the strategy counts can be
	// read for Purposes alone, for any if that is empty.
	Purpose  nba.Purpose
	Purposes nba.PurposeSet
	Spec     trigger.Spec
	// Emit is what a trigger of it asks for; nil: it raises none.
	Emit *Emit

	begins eventMatch
	ends   eventMatch    // of absences
	value  *expr.Program // of the aggregate; nil: there is none
}

// eventMatch selects events.
type eventMatch struct {
	types  []string
	filter *expr.Program // nil: all of the types
}

// EventStrategy looks an event strategy up by name.
func (c *Catalog) EventStrategy(name string) (*EventStrategy, bool) {
	at := slices.IndexFunc(c.EventStrategies, func(s *EventStrategy) bool { return s.Name == name })
	if at < 0 {
		return nil, false
	}
	return c.EventStrategies[at], true
}

// EventStrategyNames are the names of all event strategies, for messages.
func (c *Catalog) EventStrategyNames() []string {
	names := make([]string, len(c.EventStrategies))
	for i, s := range c.EventStrategies {
		names[i] = s.Name
	}
	return names
}

// matchSpec, strategySpec are what they are as written.
type (
	matchSpec struct {
		node   *yaml.Node
		on     []text
		filter text
	}
	eventStrategySpec struct {
		matchSpec
		name, label, purpose text
		purposes             []text
		window               windowSpec
		aggregate            trigger.Aggregate
		aggregateNode        *yaml.Node
		value                text
		atLeast, below       number
		thresholdNode        *yaml.Node
		raise                text
		lateness             time.Duration
		absence              *absenceSpec
		emit                 *emitSpec
	}
	windowSpec struct {
		node                             *yaml.Node
		tumbling, sliding, session, step time.Duration
		count, last                      number
		given                            int
	}
	absenceSpec struct {
		node   *yaml.Node
		until  matchSpec
		within time.Duration
		from   text
	}
)

func (d *decoder) eventStrategy(n *yaml.Node) eventStrategySpec {
	s := eventStrategySpec{}
	s.node = n
	d.object(n, "an event strategy", append(d.match(&s.matchSpec),
		required("name", d.name(&s.name)),
		optional("label", d.label(&s.label, MaxLabelBytes)),
		optional("purpose", d.name(&s.purpose)),
		optional("purposes", d.list("purposes", nba.MaxPurposes, d.names(&s.purposes))),
		optional("window", d.eventWindow(&s.window)),
		optional("aggregate", d.eventAggregate(&s)),
		optional("threshold", func(n *yaml.Node) {
			s.thresholdNode = n
			d.object(n, "a threshold", optional("atLeast", d.number(&s.atLeast, -maxThreshold, maxThreshold)), optional("below", d.number(&s.below, -maxThreshold, maxThreshold)))
			if d.describing == nil && s.atLeast.given == s.below.given {
				d.fail(n, nba.CodeInvalid, "a threshold has one of atLeast and below")
			}
		}),
		optional("raise", d.oneOf(&s.raise, raiseEach, raiseCrossing, raiseEnd)),
		optional("lateness", d.period(&s.lateness, maxEventSpan)),
		optional("absence", func(n *yaml.Node) {
			a := &absenceSpec{node: n}
			d.object(n, "an absence",
				required("until", func(n *yaml.Node) {
					a.until.node = n
					d.object(n, "the end of an absence", d.match(&a.until)...)
				}),
				required("within", d.period(&a.within, maxEventSpan)),
				optional("from", d.oneOf(&a.from, fromFirst, fromLast)),
			)
			s.absence = a
		}),
		optional("emit", d.emit(&s.emit)),
	)...)
	return s
}

// The words of raise and of from.
const (
	raiseEach     = "each"
	raiseCrossing = "crossing"
	raiseEnd      = "end"
	fromFirst     = "first"
	fromLast      = "last"
)

// match are the fields that select events.
func (d *decoder) match(m *matchSpec) []field {
	return []field{
		required("on", d.list("events", MaxEventTypes, d.texts(MaxEventTypeBytes, &m.on))),
		optional("filter", d.expression(&m.filter)),
	}
}

func (d *decoder) eventWindow(w *windowSpec) func(*yaml.Node) {
	return func(n *yaml.Node) {
		w.node = n
		kind := func(read func(*yaml.Node)) func(*yaml.Node) {
			return func(n *yaml.Node) {
				w.given++
				read(n)
			}
		}
		d.object(n, "a window",
			optional("tumbling", kind(d.period(&w.tumbling, maxEventSpan))),
			optional("sliding", kind(d.period(&w.sliding, maxEventSpan))),
			optional("step", d.period(&w.step, maxEventSpan)),
			optional("session", kind(d.period(&w.session, maxEventSpan))),
			optional("count", kind(d.number(&w.count, 1, trigger.MaxTumblingCount))),
			optional("last", kind(d.number(&w.last, 1, trigger.MaxCount))),
		)
		if d.describing == nil && w.given != 1 {
			d.fail(n, nba.CodeInvalid, "a window has one of tumbling, sliding, session, count (so many events each) and last (the newest so many)")
		}
	}
}

// eventAggregate reads count, or a mapping of an aggregate to the expression it is made of.
func (d *decoder) eventAggregate(s *eventStrategySpec) func(*yaml.Node) {
	return func(n *yaml.Node) {
		s.aggregateNode = n
		var word text
		of := func(n *yaml.Node) {
			read := func(a trigger.Aggregate) func(*yaml.Node) {
				return func(n *yaml.Node) {
					s.aggregate = a
					d.expression(&s.value)(n)
				}
			}
			d.object(n, "an aggregate", optional("sum", read(trigger.Sum)), optional("min", read(trigger.Min)), optional("max", read(trigger.Max)),
				optional("distinct", read(trigger.Distinct)), optional("last", read(trigger.Last)))
			if d.describing == nil && n.Kind == yaml.MappingNode && len(n.Content) != 2 {
				d.fail(n, nba.CodeInvalid, "an aggregate is count, or one of sum, min, max, distinct and last with an expression")
			}
		}
		if d.describing != nil && d.either(n, d.oneOf(&word, "count"), of) {
			return
		}
		if n.Kind == yaml.MappingNode {
			of(n)
			return
		}
		if n.Kind != yaml.ScalarNode || n.Value != "count" {
			d.fail(n, nba.CodeInvalid, "an aggregate is count, or one of sum, min, max, distinct and last with an expression")
			return
		}
		s.aggregate = trigger.Count
	}
}

// eventStrategies resolves the event strategies. It is called after actions and events.
func (c *compiler) eventStrategies() {
	first, ids := map[string]*yaml.Node{}, map[uint32]string{}
	c.catalog.strategiesOn = map[string][]reaction{}
	for i := range c.doc.eventStrategies {
		spec := &c.doc.eventStrategies[i]
		if !c.unique(first, spec.name, "event strategy") {
			continue
		}
		s := &EventStrategy{Index: len(c.catalog.EventStrategies), Name: spec.name.value, ID: trigger.IDOf(spec.name.value), Label: spec.label.value}
		if other, taken := ids[s.ID]; taken {
			c.fail(spec.name.node, nba.CodeInvalid, "the name has the same hash as %s: choose another", other)
			continue
		}
		ids[s.ID] = s.Name
		c.eventStrategy(s, spec)
		c.catalog.EventStrategies = append(c.catalog.EventStrategies, s)
		for _, t := range s.begins.types {
			c.catalog.strategiesOn[t] = append(c.catalog.strategiesOn[t], reaction{strategy: s, filter: s.begins.filter})
		}
		for _, t := range s.ends.types {
			c.catalog.strategiesOn[t] = append(c.catalog.strategiesOn[t], reaction{strategy: s, filter: s.ends.filter, ends: true})
		}
	}
}

func (c *compiler) eventStrategy(s *EventStrategy, spec *eventStrategySpec) {
	before := c.mistakes
	s.Purpose = c.purposeNamed(spec.purpose, spec.name.node)
	for _, name := range spec.purposes {
		if p, ok := c.env.Dictionary.Purpose(name.value); ok {
			s.Purposes |= 1 << p.ID
		} else {
			c.purposeNamed(name, name.node)
		}
	}
	s.begins = c.eventMatch(s, &spec.matchSpec)
	s.Spec.Aggregate, s.Spec.LatenessMS = spec.aggregate, spec.lateness.Milliseconds()
	c.windowOf(&s.Spec, spec)
	switch {
	case spec.atLeast.given:
		s.Spec.HasThreshold, s.Spec.Threshold = true, millionths(spec.atLeast.value)
	case spec.below.given:
		s.Spec.HasThreshold, s.Spec.Below, s.Spec.Threshold = true, true, millionths(spec.below.value)
	}
	c.valueOf(s, spec)
	if spec.absence != nil {
		c.absence(s, spec)
	} else {
		c.raiseOf(s, spec)
	}
	if spec.emit != nil {
		s.Emit = c.emit(Origin(OriginStrategy, s.Name), spec.emit, s.Purpose)
		s.Spec.ValidMS = s.Emit.Within.Milliseconds()
	}
	if c.mistakes == before && !s.Spec.Valid() {
		c.fail(spec.name.node, nba.CodeInvalid, "the window, the aggregate and the threshold of the event strategy do not go together")
	}
}

func (c *compiler) eventMatch(s *EventStrategy, spec *matchSpec) eventMatch {
	m := eventMatch{types: c.eventTypesOf(spec.on)}
	if len(spec.on) == 0 {
		c.fail(spec.node, nba.CodeInvalid, "on needs at least one event")
	}
	if m.filter = c.eventProgram(spec.filter, expr.BoolResult); m.filter != nil {
		c.mayReadFor("event strategy "+s.Name, s.Purpose, spec.filter, m.filter)
	}
	return m
}

// windowOf resolves the window.
func (c *compiler) windowOf(into *trigger.Spec, spec *eventStrategySpec) {
	w := &spec.window
	whole := func(n number) int64 {
		if n.value != math.Trunc(n.value) {
			c.fail(w.node, nba.CodeInvalid, "a number of events is a whole number")
		}
		return int64(n.value)
	}
	switch {
	case w.node == nil:
		return
	case w.tumbling > 0:
		into.Window, into.SizeMS = trigger.Tumbling, w.tumbling.Milliseconds()
	case w.session > 0:
		into.Window, into.SizeMS = trigger.Session, w.session.Milliseconds()
	case w.count.given:
		into.Window, into.Count = trigger.TumblingCount, whole(w.count)
	case w.last.given:
		into.Window, into.Count = trigger.SlidingCount, whole(w.last)
	case w.sliding > 0:
		step := w.step
		if step == 0 {
			step = max(w.sliding/slicesByDefault, leastSlice).Truncate(time.Second)
			for w.sliding%step != 0 {
				step += time.Second
			}
		}
		into.Window, into.SizeMS, into.SliceMS = trigger.Sliding, w.sliding.Milliseconds(), step.Milliseconds()
		if w.sliding%step != 0 || w.sliding/step > trigger.MaxSlices {
			c.fail(w.node, nba.CodeInvalid, "the step must part the window in at most %d equal parts", trigger.MaxSlices)
		}
	}
	if w.step > 0 && w.sliding == 0 {
		c.fail(w.node, nba.CodeInvalid, "a step is that of a sliding window")
	}
	if spec.aggregate == trigger.None && spec.absence == nil {
		c.fail(w.node, nba.CodeInvalid, "a window needs the field aggregate: what is made of the events in it")
	}
}

func (c *compiler) valueOf(s *EventStrategy, spec *eventStrategySpec) {
	if !spec.value.given() {
		return
	}
	want := expr.NumberResult
	if spec.aggregate == trigger.Distinct {
		want = expr.ValueResult
	}
	if s.value = c.eventProgram(spec.value, want); s.value != nil {
		c.mayReadFor("event strategy "+s.Name, s.Purpose, spec.value, s.value)
	}
}

// raiseOf tells when the strategy raises triggers.
func (c *compiler) raiseOf(s *EventStrategy, spec *eventStrategySpec) {
	word := spec.raise.value
	if word == "" {
		if word = raiseEach; spec.thresholdNode != nil {
			word = raiseCrossing
		}
	}
	s.Spec.Raise = map[string]trigger.Raise{raiseEach: trigger.Each, raiseCrossing: trigger.Crossing, raiseEnd: trigger.End}[word]
	where := spec.node
	if spec.raise.given() {
		where = spec.raise.node
	}
	switch {
	case spec.thresholdNode != nil && spec.aggregate == trigger.None:
		c.fail(spec.thresholdNode, nba.CodeInvalid, "a threshold needs the field aggregate: what is compared with it")
	case s.Spec.Raise == trigger.Crossing && spec.thresholdNode == nil:
		c.fail(where, nba.CodeInvalid, "raise: crossing needs the field threshold: what is crossed")
	case s.Spec.Raise == trigger.End && s.Spec.Window != trigger.Tumbling && s.Spec.Window != trigger.Session && s.Spec.Window != trigger.TumblingCount:
		c.fail(where, nba.CodeInvalid, "raise: end needs a window that ends: tumbling, session or count")
	case spec.emit == nil && (spec.raise.given() || spec.aggregate == trigger.None):
		c.fail(where, nba.CodeInvalid, "the event strategy does nothing: it needs the field emit, or aggregate with what is to be counted")
	case spec.emit == nil:
		s.Spec.Raise = trigger.Never
	}
}

func (c *compiler) absence(s *EventStrategy, spec *eventStrategySpec) {
	a := spec.absence
	s.Spec.Raise, s.Spec.WithinMS, s.Spec.First = trigger.Absent, a.within.Milliseconds(), a.from.value == fromFirst
	s.ends = c.eventMatch(s, &a.until)
	for _, n := range [...]*yaml.Node{spec.aggregateNode, spec.window.node, spec.thresholdNode, spec.raise.node} {
		if n != nil {
			c.fail(n, nba.CodeInvalid, "an absence has no window, aggregate, threshold or raise: it is told of when nothing happened")
		}
	}
	if spec.emit == nil {
		c.fail(a.node, nba.CodeInvalid, "an absence needs the field emit: what is asked for then")
	}
}

// millionths is a number as event strategies count.
func millionths(f float64) int64 {
	return int64(math.Round(math.Max(-maxThreshold, math.Min(maxThreshold, f)) * trigger.Unit))
}

// checkCounts reports names of event strategies in expressions that the catalog does not have.
func (c *compiler) checkCounts() {
	for name, nodes := range c.counted {
		s, ok := c.catalog.EventStrategy(name)
		for _, n := range nodes {
			line, column := c.place(n, expr.Problem{Line: 1, Column: 1})
			switch {
			case !ok:
				c.failAt(line, column, nba.CodeInvalid, "unknown event strategy "+quote(name)+" in what is asked of the aggregates"+
					strings.TrimSuffix(c.suggest(name, c.catalog.EventStrategyNames(), "declare it under eventStrategies"), "\n"))
			case s.Spec.Aggregate == trigger.None:
				c.failAt(line, column, nba.CodeInvalid, "event strategy "+quote(name)+" counts nothing: give it the field aggregate")
			}
		}
	}
	c.catalog.Counted = len(c.counted) > 0
}
