package catalog

import (
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of an emit.
const (
	MaxEmitContexts = 16
	maxEmitWithin   = 90 * 24 * time.Hour
	// defaultEmitWithin is how long a trigger may wait for its decision where the document does not say.
	defaultEmitWithin = 24 * time.Hour
)

// The kinds of origins.
const (
	OriginStrategy = "strategy"
	OriginJourney  = "journey"
)

// Origin names who raises a trigger: a kind and a name, as in "strategy:roaming".
func Origin(kind, name string) string { return kind + ":" + name }

// Emit is what an event strategy or a journey asks for when it raises a trigger: a decision of direction
// outbound. It is immutable.
type Emit struct {
	// Channels are tried in this order until one gives a proposition.
	Channels []*Channel
	// Purpose is the one that When is evaluated for.
	Purpose nba.Purpose
	// When must be true when the trigger is decided; nil: there is no condition. It is an expression of
	// decisions, whose contexts are those of the event.
	When *expr.Program
	// Contexts are evaluated when the event arrives, over the event, and given to the decision. They are in
	// the order of their keys.
	Contexts []EmitContext
	// Within is how long the trigger waits for its decision, from when it was raised.
	Within time.Duration

	issue, group string
	actions      map[string]bool // nil: any
}

// EmitContext is one context of a triggered decision.
type EmitContext struct {
	Key string
	// Value is an expression over the event.
	Value *expr.Program
}

// Takes tells whether the decision may propose an action.
func (e *Emit) Takes(a *Action) bool {
	return (e.actions == nil || e.actions[a.Name]) && (e.issue == "" || e.issue == a.Issue) && (e.group == "" || e.group == a.Group)
}

// Emit is what an origin asks for; ok is false for one that the catalog does not have, or that raises
// nothing. What an origin has from # on, such as the number of an instance, does not matter here.
func (c *Catalog) Emit(origin string) (*Emit, bool) {
	origin, _, _ = strings.Cut(origin, "#")
	e, ok := c.emits[origin]
	return e, ok
}

// emitSpec is an emit as it is written.
type emitSpec struct {
	node         *yaml.Node
	channels     []text
	actions      []text
	issue, group text
	when         text
	contexts     []emitContextSpec
	within       time.Duration
}

type emitContextSpec struct {
	key   string
	value text
}

// emit reads an emit. It is shared by event strategies and journeys.
func (d *decoder) emit(to **emitSpec) func(*yaml.Node) {
	return func(n *yaml.Node) {
		e := &emitSpec{node: n, within: defaultEmitWithin}
		d.object(n, "an emit",
			required("channels", d.list("channels", MaxChannels, d.names(&e.channels))),
			optional("actions", d.list("actions", MaxActions, d.names(&e.actions))),
			optional("issue", d.name(&e.issue)),
			optional("group", d.name(&e.group)),
			optional("when", d.expression(&e.when)),
			optional("contexts", d.dictionary("contexts", MaxEmitContexts, func(key, value *yaml.Node) {
				c := emitContextSpec{key: key.Value}
				if d.expression(&c.value)(value); c.value.given() {
					e.contexts = append(e.contexts, c)
				}
			})),
			optional("within", d.period(&e.within, maxEmitWithin)),
		)
		*to = e
	}
}

// emit resolves what origin asks for. Where the contexts have none to be evaluated over, events is false.
// It is called after actions and channels are resolved.
func (c *compiler) emit(origin string, spec *emitSpec, purpose nba.Purpose) *Emit {
	e := &Emit{Purpose: purpose, Within: spec.within, issue: spec.issue.value, group: spec.group.value}
	c.emitChannels(e, spec)
	c.emitActions(e, spec)
	if e.When = c.program(spec.when, expr.BoolResult); e.When != nil {
		c.mayReadFor("origin "+origin, purpose, spec.when, e.When)
	}
	for _, context := range spec.contexts {
		program := c.eventProgram(context.value, expr.ValueResult)
		if program == nil {
			continue
		}
		c.mayReadFor("origin "+origin, purpose, context.value, program)
		e.Contexts = append(e.Contexts, EmitContext{Key: context.key, Value: program})
	}
	slices.SortFunc(e.Contexts, func(a, b EmitContext) int { return strings.Compare(a.Key, b.Key) })
	if c.catalog.emits == nil {
		c.catalog.emits = map[string]*Emit{}
	}
	c.catalog.emits[origin] = e
	return e
}

func (c *compiler) emitChannels(e *Emit, spec *emitSpec) {
	first := map[string]*yaml.Node{}
	for _, name := range spec.channels {
		if !c.unique(first, name, "channel") {
			continue
		}
		channel, ok := c.catalog.channels[name.value]
		switch {
		case !ok:
			c.fail(name.node, nba.CodeInvalid, "unknown channel %s%s", quote(name.value), c.suggest(name.value, sortedKeys(c.catalog.channels), "declare it under channels"))
		case channel.Direction != nba.Outbound:
			c.fail(name.node, nba.CodeInvalid, "channel %s is inbound: what is emitted goes out, so give it the direction outbound, or name another", channel.Name)
		default:
			e.Channels = append(e.Channels, channel)
		}
	}
	if len(spec.channels) == 0 {
		c.fail(spec.node, nba.CodeInvalid, "an emit needs at least one channel")
	}
}

func (c *compiler) emitActions(e *Emit, spec *emitSpec) {
	if len(spec.actions) > 0 {
		e.actions = map[string]bool{}
		for _, a := range c.members(spec.actions) {
			e.actions[a.Name] = true
		}
	}
	scope := contactSpec{issue: spec.issue, group: spec.group}
	before := c.mistakes
	c.contactScope(&scope)
	if c.mistakes > before || len(e.Channels) == 0 || len(e.Channels) < len(spec.channels) || len(e.actions) < len(spec.actions) {
		return
	}
	for _, a := range c.catalog.Actions {
		for _, channel := range e.Channels {
			if e.Takes(a) && a.InChannel(channel) {
				return
			}
		}
	}
	c.fail(spec.node, nba.CodeInvalid, "nothing can be proposed: no action that the emit allows has a treatment in one of its channels")
}

// purposeNamed is a purpose of the dictionary, that of marketing where none is given; where stands for the
// place of the mistake if none is.
func (c *compiler) purposeNamed(name text, where *yaml.Node) nba.Purpose {
	wanted := defaultActionPurpose
	if name.given() {
		wanted, where = name.value, name.node
	}
	purpose, ok := c.env.Dictionary.Purpose(wanted)
	if !ok {
		c.fail(where, nba.CodeInvalid, "unknown purpose %s%s", quote(wanted), c.suggest(wanted, c.env.Dictionary.PurposeNames(), "choose one of the dictionary"))
	}
	return purpose
}

// mayReadFor reports attributes that an expression reads although they may never be used for a purpose: they
// would always be absent.
func (c *compiler) mayReadFor(who string, purpose nba.Purpose, source text, program *expr.Program) {
	if purpose.Name == "" {
		return
	}
	for _, id := range program.Reads() {
		attribute, _ := c.env.Dictionary.AttributeByID(id)
		if !attribute.PurposeSet.Has(purpose.ID) {
			line, column := c.place(source.node, expr.Problem{Line: 1, Column: 1})
			c.failAt(line, column, nba.CodeInvalid, "attribute "+attribute.Name+" may be used for "+strings.Join(attribute.Purposes, ", ")+
				" but not for "+purpose.Name+", the purpose of "+who)
		}
	}
}

// eventProgram is program for expressions over an event.
func (c *compiler) eventProgram(source text, result expr.Result) *expr.Program {
	if c.overEvents == nil {
		env, err := expr.NewEventEnv(c.env.Dictionary)
		if err != nil {
			c.fail(source.node, nba.CodeInternal, "the expressions over events cannot be prepared")
			return nil
		}
		c.overEvents = &compiler{decoder: c.decoder, env: c.env, expressions: env, programs: map[programKey]compiled{}}
	}
	return c.overEvents.program(source, result)
}
