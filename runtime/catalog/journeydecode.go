package catalog

import (
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/journey"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of journeys; those of one are in package journey.
const (
	MaxJourneys = journey.MaxEffects
	// MaxJourneyEvents bounds the types of events that one rule is about.
	MaxJourneyEvents  = 32
	maxJourneyPeriod  = 366 * 24 * time.Hour
	defaultWhenFull   = whenFullReplace
	whenFullReplace   = "replace"
	whenFullRefuse    = "refuse"
	journeyEnterNever = "never"
)

// The document as it is written, before references are resolved.
type (
	journeySpec struct {
		node      *yaml.Node
		name      text
		label     text
		purpose   text
		key       text
		instances number
		whenFull  text
		again     time.Duration
		never     bool
		data      []journeyDataSpec
		enter     []journeyRuleSpec
		stages    []journeyStageSpec
		exit      []journeyRuleSpec
	}
	journeyDataSpec  struct{ name, value text }
	journeyStageSpec struct {
		name  text
		label text
		final bool
		emit  *emitSpec
		after time.Duration
		to    text // of the timeout
		moves []journeyRuleSpec
	}
	journeyRuleSpec struct {
		node                 *yaml.Node
		events               []text
		response             text
		issue, group, action text
		when                 text
		to                   text
	}
)

func (d *decoder) journey(n *yaml.Node) journeySpec {
	j := journeySpec{node: n, instances: number{value: 1}}
	d.object(n, "a journey",
		required("name", d.name(&j.name)),
		optional("label", d.label(&j.label, MaxLabelBytes)),
		optional("purpose", d.name(&j.purpose)),
		optional("key", d.expression(&j.key)),
		optional("instances", d.number(&j.instances, 1, journey.MaxInstances)),
		optional("whenFull", d.oneOf(&j.whenFull, whenFullReplace, whenFullRefuse)),
		optional("again", d.journeyAgain(&j)),
		optional("data", d.dictionary("fields of data", journey.MaxFields, func(key, value *yaml.Node) {
			f := journeyDataSpec{name: text{value: key.Value, node: key}}
			if d.expression(&f.value)(value); f.value.given() {
				j.data = append(j.data, f)
			}
		})),
		required("enter", d.list("ways to enter", journey.MaxRules, d.journeyRule(&j.enter, "a way to enter", false))),
		required("stages", d.list("stages", journey.MaxStages, func(n *yaml.Node) { j.stages = append(j.stages, d.journeyStage(n)) })),
		optional("exit", d.list("ways to leave", journey.MaxRules, d.journeyRule(&j.exit, "a way to leave", true))),
	)
	return j
}

// journeyAgain reads how long after its end a journey begins again, or that it never does.
func (d *decoder) journeyAgain(j *journeySpec) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.either(n, d.exactly(journeyEnterNever), d.period(&j.again, maxJourneyPeriod)) {
			return
		}
		if n.Kind == yaml.ScalarNode && n.Value == journeyEnterNever {
			j.never = true
			return
		}
		d.period(&j.again, maxJourneyPeriod)(n)
	}
}

// period is duration, and takes seconds too.
func (d *decoder) period(to *time.Duration, most time.Duration) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.takes(n, jsonSchema{"type": "string", "pattern": "^[0-9]+[smhdw]$"}) {
			return
		}
		value, ok := parsePeriod(n)
		switch {
		case !ok:
			d.fail(n, nba.CodeInvalid, "this must be a duration such as 30s, 90m, 48h, 30d or 2w")
		case value <= 0 || value > most:
			d.fail(n, nba.CodeInvalid, "this must be a duration of 1s to %dd", int(most/(24*time.Hour)))
		default:
			*to = value
		}
	}
}

func parsePeriod(n *yaml.Node) (time.Duration, bool) {
	if last := len(n.Value) - 1; n.Kind == yaml.ScalarNode && last > 0 && n.Value[last] == 's' {
		minutes, ok := parseDuration(&yaml.Node{Kind: yaml.ScalarNode, Value: n.Value[:last] + "m"})
		return minutes / 60, ok
	}
	return parseDuration(n)
}

func (d *decoder) journeyStage(n *yaml.Node) journeyStageSpec {
	var s journeyStageSpec
	var timeout *yaml.Node
	before := d.mistakes
	d.object(n, "a stage",
		required("name", d.name(&s.name)),
		optional("label", d.label(&s.label, MaxLabelBytes)),
		optional("final", d.flag(&s.final)),
		optional("emit", d.emit(&s.emit)),
		optional("timeout", func(n *yaml.Node) {
			timeout = n
			d.object(n, "a timeout", required("after", d.period(&s.after, maxJourneyPeriod)), required("to", d.name(&s.to)))
		}),
		optional("moves", d.list("moves", journey.MaxRules, d.journeyRule(&s.moves, "a move", true))),
	)
	if d.mistakes == before && s.final && (timeout != nil || len(s.moves) > 0) {
		d.fail(n, nba.CodeInvalid, "a final stage ends the journey: it has neither timeout nor moves")
	}
	if s.emit != nil && len(s.emit.contexts) > 0 {
		d.fail(s.emit.node, nba.CodeInvalid, "what a journey raises has the fields of its data as contexts: name them under data, and not here")
	}
	return s
}

// journeyRule reads one rule; responses tells whether it may be about a response.
func (d *decoder) journeyRule(to *[]journeyRuleSpec, what string, responses bool) func(*yaml.Node) {
	return func(n *yaml.Node) {
		r := journeyRuleSpec{node: n}
		fields := []field{optional("on", d.eventTypes(&r.events)), optional("when", d.expression(&r.when)), optional("to", d.name(&r.to))}
		if responses {
			fields = append(fields, optional("response", d.responseOutcome(&r.response)), optional("issue", d.name(&r.issue)),
				optional("group", d.name(&r.group)), optional("action", d.name(&r.action)))
		}
		before := d.mistakes
		d.object(n, what, fields...)
		switch {
		case d.mistakes > before:
			return
		case len(r.events) > 0 == r.response.given():
			d.fail(n, nba.CodeInvalid, "%s needs the field on, with a type of events%s", what, map[bool]string{true: ", or response, with an outcome"}[responses])
			return
		case r.response.given() && r.when.given():
			d.fail(r.when.node, nba.CodeInvalid, "when is about events: a response is selected by issue, group and action")
		case !r.response.given() && (r.issue.given() || r.group.given() || r.action.given()):
			d.fail(n, nba.CodeInvalid, "issue, group and action select responses: an event is selected with when")
		}
		*to = append(*to, r)
	}
}

// eventTypes reads one type of events, or several.
func (d *decoder) eventTypes(to *[]text) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var one text
		each := func(n *yaml.Node) {
			var t text
			if d.label(&t, journey.MaxTextBytes)(n); t.given() {
				*to = append(*to, t)
			}
		}
		if d.describing != nil && d.either(n, d.label(&one, journey.MaxTextBytes), d.list("types of events", MaxJourneyEvents, each)) {
			return
		}
		if n.Kind == yaml.SequenceNode {
			d.list("types of events", MaxJourneyEvents, each)(n)
			return
		}
		each(n)
	}
}

func (d *decoder) responseOutcome(to *text) func(*yaml.Node) {
	var words []string
	for _, o := range nba.Outcomes {
		if o != nba.Ignored { // nobody reports it
			words = append(words, string(o))
		}
	}
	return d.oneOf(to, words...)
}
