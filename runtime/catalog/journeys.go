package catalog

import (
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/journey"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Journey is a journey of a catalog. It is immutable and safe for concurrent use.
type Journey struct {
	Name, Label string
	// Purpose is the one that what is read of subjects and events is used for.
	Purpose nba.Purpose
	// Stages are in the order of the document.
	Stages []JourneyStage
	// Fields are the names of what instances carry along, sorted.
	Fields []string

	key        *expr.Program
	data       []journeyField
	definition []byte
	digest     [journey.DigestBytes]byte
	onEvent    map[string][]journeyRule // by the type of the event, in the order they are tried
	onResponse []journeyRule
}

// JourneyStage is a stage of a Journey.
type JourneyStage struct {
	Name, Label string
	Final       bool
}

type journeyField struct {
	name  string
	value *expr.Program
}

// journeyRule is one rule with its condition.
type journeyRule struct {
	journey.Rule
	when                 *expr.Program // nil: always
	outcome              nba.Outcome   // of a response
	issue, group, action string        // "" is any
}

// Stage is the position of a stage; ok is false when there is none of that name.
func (j *Journey) Stage(name string) (position int, ok bool) {
	position = slices.IndexFunc(j.Stages, func(s JourneyStage) bool { return s.Name == name })
	return position, position >= 0
}

// Journey looks a journey up by name.
func (c *Catalog) Journey(name string) (*Journey, bool) {
	for _, j := range c.Journeys {
		if j.Name == name {
			return j, true
		}
	}
	return nil, false
}

// JourneyNames are the names of all journeys, for messages.
func (c *Catalog) JourneyNames() []string {
	names := make([]string, len(c.Journeys))
	for i, j := range c.Journeys {
		names[i] = j.Name
	}
	return names
}

// JourneysReact tells whether a type of events may move a journey, so that the subject need be read.
func (c *Catalog) JourneysReact(eventType string) bool { return len(c.journeysOn[eventType]) > 0 }

// JourneyEvents appends to effects what an event asks of the journeys of its subject. vars have the event,
// the subject, its mask and the time; its purpose is set here.
func (c *Catalog) JourneyEvents(effects []journey.Effect, eventType string, vars *expr.Vars) []journey.Effect {
	for _, j := range c.journeysOn[eventType] {
		vars.Purpose = j.Purpose.ID
		if e, ok := j.event(eventType, vars); ok {
			effects = append(effects, e)
		}
	}
	return effects
}

func (j *Journey) event(eventType string, vars *expr.Vars) (e journey.Effect, ok bool) {
	e = j.effect(journey.CauseEvent, eventType)
	for _, rule := range j.onEvent[eventType] {
		if rule.when == nil || rule.when.Bool(vars) == expr.True {
			e.Rules = append(e.Rules, rule.Rule)
		}
	}
	if len(e.Rules) == 0 {
		return e, false
	}
	if j.key != nil {
		value, known := j.key.Value(vars)
		key := journeyText(value)
		if len(key) > journey.MaxKeyBytes {
			return e, false
		}
		// Without a key it is about all instances, and begins none.
		if e.Key, e.Every = strings.Clone(key), !known || key == ""; e.Every {
			e.Rules = slices.DeleteFunc(e.Rules, func(r journey.Rule) bool { return r.Kind == journey.Enter })
		}
	}
	for _, field := range j.data {
		value, ok := field.value.Value(vars)
		if !ok {
			continue
		}
		if carried, ok := journeyValue(value); ok {
			e.Data = append(e.Data, journey.Field{Name: field.name, Value: carried})
		}
	}
	return e, len(e.Rules) > 0
}

// JourneyResponse appends to effects what a response asks of the journeys of its subject.
func (c *Catalog) JourneyResponse(effects []journey.Effect, outcome nba.Outcome, action string) []journey.Effect {
	issue, group, _ := c.Place(action)
	for _, j := range c.Journeys {
		e := j.effect(journey.CauseResponse, string(outcome))
		e.Every = true
		for _, rule := range j.onResponse {
			if rule.outcome == outcome && (rule.action == "" || rule.action == action) && (rule.issue == "" || rule.issue == issue) && (rule.group == "" || rule.group == group) {
				e.Rules = append(e.Rules, rule.Rule)
			}
		}
		if len(e.Rules) > 0 {
			effects = append(effects, e)
		}
	}
	return effects
}

// Asked is the effect of somebody's wish that the instance with a key be in a stage. from is where it must be,
// or journey.AnyStage. It begins an instance where none is open.
func (j *Journey) Asked(key string, from, to int, reason string) journey.Effect {
	e := j.effect(journey.CausePerson, reason)
	e.Key, e.Rules = key, []journey.Rule{{Kind: journey.Jump, From: from, To: to}}
	return e
}

// Keyed tells whether instances of the journey have keys.
func (j *Journey) Keyed() bool { return j.key != nil }

func (j *Journey) effect(cause journey.Cause, detail string) journey.Effect {
	if len(detail) > journey.MaxTextBytes {
		detail = strings.ToValidUTF8(detail[:journey.MaxTextBytes], "")
	}
	return journey.Effect{Digest: j.digest, Definition: j.definition, Cause: cause, Detail: detail}
}

// journeyText is a value as a key.
func journeyText(value nba.Value) string {
	if value.Kind() == nba.KindFloat {
		return strconv.FormatFloat(value.Float(), 'f', -1, 64)
	}
	carried, _ := journeyValue(value)
	return string(carried.AppendText(nil))
}

// journeyValue is a value as it is carried along; ok is false for one that is too long or too large.
func journeyValue(value nba.Value) (v journey.Value, ok bool) {
	switch value.Kind() {
	case nba.KindBool, nba.KindTime:
		v = journey.Value{Kind: journey.Flag, Int: value.Int()}
		if value.Kind() == nba.KindTime {
			v.Kind = journey.Moment
		}
		return v, true
	case nba.KindInt:
		return journey.NumberOf(float64(value.Int()))
	case nba.KindFloat:
		return journey.NumberOf(value.Float())
	case nba.KindString:
		return journey.Value{Kind: journey.Text, Text: strings.Clone(value.Str())}, len(value.Str()) <= journey.MaxTextBytes
	default:
		return v, false
	}
}

// journeys resolves the journeys of the document.
func (c *compiler) journeys() {
	first := map[string]*yaml.Node{}
	for i := range c.doc.journeys {
		spec := &c.doc.journeys[i]
		if !c.unique(first, spec.name, "journey") {
			continue
		}
		j := &Journey{Name: spec.name.value, Label: spec.label.value, Purpose: c.purposeNamed(spec.purpose, spec.node), onEvent: map[string][]journeyRule{}}
		if j.Label == "" {
			j.Label = j.Name
		}
		c.journeyValues(j, spec)
		c.journeyStages(j, spec)
		c.journeyRules(j, spec)
		c.catalog.Journeys = append(c.catalog.Journeys, j)
	}
	c.catalog.journeysOn = map[string][]*Journey{}
	for _, j := range c.catalog.Journeys {
		for _, eventType := range sortedKeys(j.onEvent) {
			c.catalog.journeysOn[eventType] = append(c.catalog.journeysOn[eventType], j)
		}
	}
	c.askedJourneys()
}

// journeyValues compiles the key and the data.
func (c *compiler) journeyValues(j *Journey, spec *journeySpec) {
	who := "journey " + j.Name
	if j.key = c.eventProgram(spec.key, expr.ValueResult); j.key != nil {
		c.mayReadFor(who, j.Purpose, spec.key, j.key)
	} else if spec.instances.value > 1 && !spec.key.given() {
		c.fail(spec.node, nba.CodeInvalid, "several instances need a key that tells them apart, such as key: event.data.id")
	}
	for _, f := range spec.data {
		program := c.eventProgram(f.value, expr.ValueResult)
		if program == nil {
			continue
		}
		c.mayReadFor(who, j.Purpose, f.value, program)
		j.data = append(j.data, journeyField{name: f.name.value, value: program})
		j.Fields = append(j.Fields, f.name.value)
	}
	slices.SortFunc(j.data, func(a, b journeyField) int { return strings.Compare(a.name, b.name) })
	slices.Sort(j.Fields)
}

// journeyStages makes the definition, and what stages raise.
func (c *compiler) journeyStages(j *Journey, spec *journeySpec) {
	def := journey.Definition{Name: j.Name, Instances: int(spec.instances.value), Replace: spec.whenFull.value != whenFullRefuse, AgainMS: spec.again.Milliseconds()}
	if spec.never {
		def.AgainMS = journey.Never
	}
	if len(spec.stages) == 0 {
		c.fail(spec.node, nba.CodeInvalid, "a journey needs at least one stage")
	}
	if spec.instances.value != float64(def.Instances) {
		c.fail(spec.node, nba.CodeInvalid, "instances is a whole number")
	}
	first := map[string]*yaml.Node{}
	for i := range spec.stages {
		s := &spec.stages[i]
		if c.unique(first, s.name, "stage") {
			stage := JourneyStage{Name: s.name.value, Label: s.label.value, Final: s.final}
			if stage.Label == "" {
				stage.Label = stage.Name
			}
			j.Stages = append(j.Stages, stage)
			def.Stages = append(def.Stages, journey.Stage{Name: s.name.value, Final: s.final, TimeoutMS: s.after.Milliseconds()})
		}
	}
	for i := range spec.stages {
		s := &spec.stages[i]
		at, ok := j.Stage(s.name.value)
		if !ok {
			continue
		}
		if s.to.given() {
			def.Stages[at].To = c.journeyStage(j, s.to)
		}
		if s.emit != nil {
			e := c.emit(Origin(OriginJourney, j.Name+"/"+s.name.value), s.emit, j.Purpose)
			def.Stages[at].Emits, def.Stages[at].WithinMS = true, e.Within.Milliseconds()
		}
	}
	j.definition = def.Append(nil)
	sum := sha256.Sum256(j.definition)
	copy(j.digest[:], sum[:])
}

// journeyStage is the position of a stage that is named, 0 after reporting that there is none.
func (c *compiler) journeyStage(j *Journey, name text) int {
	at, ok := j.Stage(name.value)
	if ok {
		return at
	}
	known := make([]string, len(j.Stages))
	for i := range j.Stages {
		known[i] = j.Stages[i].Name
	}
	c.fail(name.node, nba.CodeInvalid, "unknown stage %s%s", quote(name.value), c.suggest(name.value, known, "declare it under stages"))
	return 0
}

// journeyRules compiles the rules, in the order they are tried: moves, then exits, then entries.
func (c *compiler) journeyRules(j *Journey, spec *journeySpec) {
	for i := range spec.stages {
		from, _ := j.Stage(spec.stages[i].name.value)
		for k := range spec.stages[i].moves {
			rule := &spec.stages[i].moves[k]
			if !rule.to.given() {
				c.fail(rule.node, nba.CodeInvalid, "a move needs the field to, with the name of a stage")
				continue
			}
			c.journeyRule(j, rule, journey.Rule{Kind: journey.Move, From: max(from, 0), To: c.journeyStage(j, rule.to)})
		}
	}
	for i := range spec.exit {
		rule := &spec.exit[i]
		if !rule.to.given() {
			c.fail(rule.node, nba.CodeInvalid, "a way to leave needs the field to, with the name of a final stage")
			continue
		}
		to := c.journeyStage(j, rule.to)
		if to < len(j.Stages) && !j.Stages[to].Final && j.Stages[to].Name == rule.to.value {
			c.fail(rule.to.node, nba.CodeInvalid, "stage %s is not final: whoever leaves a journey comes into a final stage", rule.to.value)
		}
		c.journeyRule(j, rule, journey.Rule{Kind: journey.Exit, From: journey.AnyStage, To: to})
	}
	for i := range spec.enter {
		rule := &spec.enter[i]
		to := 0
		if rule.to.given() {
			to = c.journeyStage(j, rule.to)
		}
		c.journeyRule(j, rule, journey.Rule{Kind: journey.Enter, From: journey.None, To: to})
	}
	if len(spec.enter) == 0 {
		c.fail(spec.node, nba.CodeInvalid, "a journey needs at least one way to enter")
	}
	for _, rules := range j.onEvent {
		if len(rules) > journey.MaxRules {
			c.fail(spec.node, nba.CodeTooLarge, "at most %d rules of a journey are about one type of events", journey.MaxRules)
			return
		}
	}
}

func (c *compiler) journeyRule(j *Journey, spec *journeyRuleSpec, rule journey.Rule) {
	compiled := journeyRule{Rule: rule, outcome: nba.Outcome(spec.response.value), issue: spec.issue.value, group: spec.group.value, action: spec.action.value}
	if spec.response.given() {
		c.contactScope(&contactSpec{issue: spec.issue, group: spec.group, action: spec.action})
		j.onResponse = append(j.onResponse, compiled)
		return
	}
	if spec.when.given() {
		if compiled.when = c.eventProgram(spec.when, expr.BoolResult); compiled.when == nil {
			return
		}
		c.mayReadFor("journey "+j.Name, j.Purpose, spec.when, compiled.when)
	}
	for _, t := range c.eventTypesOf(spec.events) {
		j.onEvent[t] = append(j.onEvent[t], compiled)
	}
}

// asksJourneys notes what an expression asks of journeys, to be checked when all are known.
func (c *compiler) asksJourneys(source text, program *expr.Program) {
	for _, ask := range program.Journeys() {
		if c.journeyAsks == nil {
			c.journeyAsks = map[expr.JourneyAsk][]*yaml.Node{}
		}
		if nodes := c.journeyAsks[ask]; !slices.Contains(nodes, source.node) {
			c.journeyAsks[ask] = append(nodes, source.node)
		}
	}
}

// askedJourneys reports journeys, and fields of them, that expressions ask for and the catalog does not have.
func (c *compiler) askedJourneys() {
	for ask, nodes := range c.journeyAsks {
		j, ok := c.catalog.Journey(ask.Journey)
		detail := ""
		switch {
		case !ok:
			detail = "unknown journey " + quote(ask.Journey) + c.suggest(ask.Journey, c.catalog.JourneyNames(), "declare it under journeys")
		case ask.Data != "" && !slices.Contains(j.Fields, ask.Data):
			detail = "journey " + j.Name + " carries no " + quote(ask.Data) + " along" + c.suggest(ask.Data, j.Fields, "declare it under data")
		default:
			continue
		}
		for _, n := range nodes {
			line, column := c.place(n, expr.Problem{Line: 1, Column: 1})
			c.failAt(line, column, nba.CodeInvalid, detail)
		}
	}
}
