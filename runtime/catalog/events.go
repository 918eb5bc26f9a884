package catalog

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of what a document says of events.
const (
	MaxEvents          = 256 // entries of events
	MaxEventTypes      = 32  // of one entry
	MaxEventTypeBytes  = nba.MaxEventText
	MaxEventAttributes = 64 // that one entry sets
	maxEventSpan       = 90 * 24 * time.Hour
)

// EventType is what the catalog says of events of some types. It is immutable.
type EventType struct {
	// Index is the position in Catalog.Events.
	Index int
	Name  string
	// Types are the types of the CloudEvents.
	Types []string
	// Subject is an expression for the id of the subject, nil where the event names it, and SubjectType what
	// that is.
	Subject     *expr.Program
	SubjectType nba.SubjectType
	// Lateness is how long after it happened an event is taken, Validity how long after that it may still lead
	// to a trigger; 0: any time.
	Lateness, Validity time.Duration
	// Purpose is that for which subject attributes are read.
	Purpose nba.Purpose
	// Set are the attributes of the subject that the event sets, in the order of their ids.
	Set []EventAttribute
}

// EventAttribute is one attribute that an event sets.
type EventAttribute struct {
	ID   nba.AttributeID
	Name string
	Kind nba.Kind
	// Value is an expression over the event. Where it is undefined the attribute stays as it is.
	Value *expr.Program
}

// EventType is the entry for a type of CloudEvents; nil if there is none.
func (c *Catalog) EventType(cloudEventType string) *EventType { return c.eventTypes[cloudEventType] }

// eventSpec is an entry of events as it is written.
type eventSpec struct {
	node               *yaml.Node
	name, purpose      text
	types              []text
	subject            text
	subjectType        text
	lateness, validity time.Duration
	set                []setSpec
}

type setSpec struct{ key, value text }

// label is the name of an event's type, which is free text.
func (d *decoder) texts(limit int, to *[]text) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var one text
		if d.label(&one, limit)(n); one.given() {
			*to = append(*to, one)
		}
	}
}

func (d *decoder) event(n *yaml.Node) eventSpec {
	e := eventSpec{node: n}
	var kinds []string
	for _, kind := range nba.SubjectTypes {
		kinds = append(kinds, string(kind))
	}
	d.object(n, "an event",
		required("name", d.name(&e.name)),
		required("types", d.list("types", MaxEventTypes, d.texts(MaxEventTypeBytes, &e.types))),
		optional("subject", d.expression(&e.subject)),
		optional("subjectType", d.oneOf(&e.subjectType, kinds...)),
		optional("lateness", d.period(&e.lateness, maxEventSpan)),
		optional("validity", d.period(&e.validity, maxEventSpan)),
		optional("purpose", d.name(&e.purpose)),
		optional("set", d.dictionary("attributes", MaxEventAttributes, func(key, value *yaml.Node) {
			s := setSpec{key: text{value: key.Value, node: key}}
			if d.expression(&s.value)(value); s.value.given() {
				e.set = append(e.set, s)
			}
		})),
	)
	return e
}

// events resolves the entries of events.
func (c *compiler) events() {
	first, types := map[string]*yaml.Node{}, map[string]*yaml.Node{}
	c.catalog.eventTypes = map[string]*EventType{}
	for i := range c.doc.events {
		spec := &c.doc.events[i]
		if !c.unique(first, spec.name, "event") {
			continue
		}
		e := &EventType{Index: len(c.catalog.Events), Name: spec.name.value, Lateness: spec.lateness, Validity: spec.validity,
			SubjectType: nba.SubjectType(cmp.Or(spec.subjectType.value, string(nba.Subscriber)))}
		for _, name := range spec.types {
			if earlier, again := types[name.value]; again {
				c.fail(name.node, nba.CodeInvalid, "type %s is in two events: first on line %d", quote(name.value), earlier.Line)
				continue
			}
			types[name.value] = name.node
			e.Types = append(e.Types, name.value)
			c.catalog.eventTypes[name.value] = e
		}
		if len(spec.types) == 0 {
			c.fail(spec.node, nba.CodeInvalid, "the event needs at least one type: that of the CloudEvents it is about")
		}
		e.Purpose = c.purposeNamed(spec.purpose, spec.name.node)
		if spec.subject.given() {
			e.Subject = c.eventProgram(spec.subject, expr.TextResult)
			if e.Subject != nil && len(e.Subject.Reads()) > 0 {
				c.fail(spec.subject.node, nba.CodeInvalid, "whom the event is about cannot be read from the subject: use event.data")
			}
		}
		c.eventSets(e, spec)
		c.catalog.Events = append(c.catalog.Events, e)
	}
}

func (c *compiler) eventSets(e *EventType, spec *eventSpec) {
	for _, set := range spec.set {
		attribute, ok := c.env.Dictionary.Attribute(set.key.value)
		if !ok {
			hint := ": declare it first: arbiter attribute declare"
			if near := c.env.Dictionary.Nearest(set.key.value); near != "" {
				hint = ": did you mean " + near + "?"
			}
			c.fail(set.key.node, nba.CodeInvalid, "no attribute %s in the dictionary%s", quote(set.key.value), hint)
		}
		program := c.eventProgram(set.value, expr.ValueResult)
		if program == nil {
			continue
		}
		c.mayReadFor("event "+e.Name, e.Purpose, set.value, program)
		if ok {
			e.Set = append(e.Set, EventAttribute{ID: attribute.ID, Name: attribute.Name, Kind: attribute.Type, Value: program})
		}
	}
	slices.SortFunc(e.Set, func(a, b EventAttribute) int { return cmp.Compare(a.ID, b.ID) })
}

// eventTypesOf are the types of CloudEvents that a name stands for: those of an event, or one type itself.
func (c *compiler) eventTypesOf(names []text) (types []string) {
	for _, name := range names {
		at := slices.IndexFunc(c.catalog.Events, func(e *EventType) bool { return e.Name == name.value })
		switch {
		case at >= 0:
			types = append(types, c.catalog.Events[at].Types...)
		case c.catalog.eventTypes[name.value] != nil || strings.ContainsAny(name.value, "./:"):
			types = append(types, name.value)
		default:
			known := make([]string, len(c.catalog.Events))
			for i, e := range c.catalog.Events {
				known[i] = e.Name
			}
			c.fail(name.node, nba.CodeInvalid, "unknown event %s%s", quote(name.value), c.suggest(name.value, known, "declare it under events, or write the type of the CloudEvents"))
		}
	}
	slices.Sort(types)
	return slices.Compact(types)
}

// EventSubject is whom an event is about, as its data tells: ok is false where the catalog does not say, and
// the event must name its subject itself. The error is an *nba.Error that does not repeat what is in the
// event. vars has the event; its Event must not be nil.
func (c *Catalog) EventSubject(cloudEventType string, vars *expr.Vars) (ref nba.SubjectRef, ok bool, err error) {
	e := c.eventTypes[cloudEventType]
	if e == nil || e.Subject == nil {
		return ref, false, nil
	}
	id, known := e.Subject.Text(vars)
	if !known || id == "" {
		return ref, true, nba.Errorf(nba.CodeInvalid, "the data of the event does not tell its subject where event %s of the catalog looks for it", e.Name)
	}
	ref, err = nba.SubjectRef{ID: strings.Clone(id), Type: e.SubjectType}.Normalize()
	return ref, true, err
}

// value is what an event sets an attribute to; ok is false where it leaves it.
func (a *EventAttribute) value(vars *expr.Vars) (nba.Value, bool) {
	v, ok := a.Value.Value(vars)
	if !ok {
		return nba.Value{}, false
	}
	return convert(v, a.Kind)
}

// convert makes a value one of a kind, where nothing is lost: a number without a fraction is an integer, and a
// text with a time is a time.
func convert(v nba.Value, kind nba.Kind) (nba.Value, bool) {
	switch {
	case v.Kind() == kind:
		return v, kind != nba.KindString || len(v.Str()) <= nba.MaxStringBytes
	case kind == nba.KindInt && v.Kind() == nba.KindFloat:
		f := v.Float()
		i := int64(f)
		return nba.Int(i), float64(i) == f && f > -(1<<53) && f < 1<<53
	case kind == nba.KindFloat && v.Kind() == nba.KindInt:
		return nba.Float(float64(v.Int())), true
	case kind == nba.KindTime && v.Kind() == nba.KindString:
		t, err := time.Parse(time.RFC3339, v.Str())
		return nba.Time(t), err == nil
	default:
		return nba.Value{}, false
	}
}
