package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// defaultCodes are the reasons of policies that give none.
var defaultCodes = [PolicyKinds]string{"NOT_ELIGIBLE", "NOT_APPLICABLE", "NOT_SUITABLE"}

// action resolves one action. An action with mistakes is added too, so that references to it are
// not reported as mistakes of their own.
func (c *compiler) action(spec *actionSpec) {
	if !spec.name.given() {
		return
	}
	if earlier, again := c.catalog.actions[spec.name.value]; again {
		line := c.doc.actions[earlier.Index].name.node.Line
		c.fail(spec.name.node, nba.CodeInvalid, "action %s is declared twice: first on line %d", spec.name.value, line)
		return
	}
	a := &Action{
		Index: len(c.catalog.Actions), Name: spec.name.value, Label: spec.label.value,
		Issue: spec.issue.value, Group: spec.group.value, Offering: spec.offering,
		Value: Value{Constant: spec.value.value}, From: spec.from, To: spec.to,
		Propensity: Propensity{Model: -1, Invert: spec.invert, Starting: defaultStarting},
		properties: spec.properties, byPlacement: make([][]*Treatment, c.placements),
	}
	if a.Label == "" {
		a.Label = a.Name
	}
	c.purpose(a, spec)
	c.value(a, spec)
	c.propensity(a, spec)
	scopes := append(c.scopes(spec), &spec.scopeSpec)
	for _, scope := range scopes {
		a.LeverPercent += scope.lever.value
		if program := c.tableNumber(&scope.leverTable); program != nil {
			c.mayRead(a, scope.leverTable.name, program)
			a.Levers = append(a.Levers, program)
		}
		if seasons := c.seasonsOf(scope); len(seasons) > 0 {
			a.Seasons = append(a.Seasons, seasons)
		}
		c.policies(a, scope)
	}
	c.treatments(a, spec)
	c.volumes(a, spec)
	if spec.from != nil && spec.to != nil && !spec.from.Before(*spec.to) {
		c.fail(spec.validity, nba.CodeInvalid, "the validity ends before it begins: to is exclusive and must be after from")
	}
	c.catalog.Actions = append(c.catalog.Actions, a)
	c.catalog.actions[a.Name] = a
}

func (c *compiler) purpose(a *Action, spec *actionSpec) {
	name := cmp.Or(spec.purpose.value, defaultActionPurpose)
	purpose, ok := c.env.Dictionary.Purpose(name)
	if !ok {
		node := spec.purpose.node
		if node == nil {
			node = spec.name.node
		}
		known := c.env.Dictionary.PurposeNames()
		c.fail(node, nba.CodeInvalid, "unknown purpose %s%s", quote(name), c.suggest(name, known, "choose one of the dictionary"))
	}
	a.Purpose = purpose
}

func (c *compiler) value(a *Action, spec *actionSpec) {
	if spec.valueTable.name.given() {
		a.Value.Program = c.tableNumber(&spec.valueTable)
		c.mayRead(a, spec.valueTable.name, a.Value.Program)
		return
	}
	if !spec.valueExpression.given() {
		return
	}
	a.Value.Program = c.program(spec.valueExpression, expr.NumberResult)
	c.mayRead(a, spec.valueExpression, a.Value.Program)
}

func (c *compiler) propensity(a *Action, spec *actionSpec) {
	if spec.starting.given {
		a.Propensity.Starting = spec.starting.value
	}
	if !spec.model.given() {
		if spec.invert {
			c.fail(spec.name.node, nba.CodeInvalid, "invert needs a model: give the propensity itself in starting")
		}
		if spec.evidence.evidence.given || spec.evidence.starting.given {
			c.fail(spec.name.node, nba.CodeInvalid, "evidence needs a model: without one the propensity is starting")
		}
		return
	}
	model, ok := c.models[spec.model.value]
	if !ok {
		if c.declaredModel(spec.model.value) {
			return
		}
		c.fail(spec.model.node, nba.CodeInvalid, "unknown model %s%s", quote(spec.model.value),
			c.suggest(spec.model.value, sortedKeys(c.models), "declare it under models"))
		return
	}
	a.Propensity.Model = model
	c.maturity(a, spec)
}

// maturity resolves how much the score of the model counts: by the evidence of the action, or else of the
// model.
func (c *compiler) maturity(a *Action, spec *actionSpec) {
	a.Propensity.Maturity = 1
	at := slices.IndexFunc(c.doc.models, func(m modelSpec) bool { return m.name.value == spec.model.value })
	evidence, starting := c.doc.models[at].evidence, c.doc.models[at].starting
	if spec.evidence.evidence.given {
		evidence = spec.evidence.evidence
	}
	if spec.evidence.starting.given {
		starting = spec.evidence.starting
	}
	if !evidence.given {
		if starting.given {
			c.fail(spec.name.node, nba.CodeInvalid, "startingEvidence needs evidence: how many responses the model has learned from")
		}
		return
	}
	if !starting.given {
		starting.value = defaultStartingEvidence
	}
	if evidence.value+starting.value > 0 {
		a.Propensity.Maturity = evidence.value / (evidence.value + starting.value)
	}
}

// declaredModel tells whether a model is declared, if only with mistakes.
func (c *compiler) declaredModel(name string) bool {
	return slices.ContainsFunc(c.doc.models, func(m modelSpec) bool { return m.name.value == name })
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// scopes are the issue and the group of an action.
func (c *compiler) scopes(spec *actionSpec) []*scopeSpec {
	if !spec.issue.given() {
		return nil
	}
	issue, ok := c.issues[spec.issue.value]
	if !ok {
		c.fail(spec.issue.node, nba.CodeInvalid, "unknown issue %s%s", quote(spec.issue.value),
			c.suggest(spec.issue.value, sortedKeys(c.issues), "declare it under issues"))
		return nil
	}
	if !spec.group.given() {
		return nil
	}
	var names []string
	for i := range issue.groups {
		if issue.groups[i].name.value == spec.group.value {
			return []*scopeSpec{&issue.scopeSpec, &issue.groups[i].scopeSpec}
		}
		names = append(names, issue.groups[i].name.value)
	}
	c.fail(spec.group.node, nba.CodeInvalid, "unknown group %s in issue %s%s", quote(spec.group.value), spec.issue.value,
		c.suggest(spec.group.value, names, "declare it under the issue"))
	return nil
}

func (c *compiler) policies(a *Action, scope *scopeSpec) {
	for k := range scope.policies {
		for _, spec := range scope.policies[k] {
			if spec.plugin.given() {
				if rule, ok := c.rule(&spec, PolicyKind(k)); ok {
					a.Rules[k] = append(a.Rules[k], rule)
				}
				continue
			}
			predicate, source := c.condition(&spec)
			if predicate == nil {
				continue
			}
			c.mayRead(a, source, predicate.Program)
			a.Policies[k] = append(a.Policies[k], Policy{
				When:  predicate,
				Code:  cmp.Or(spec.code.value, defaultCodes[k]),
				Label: cmp.Or(spec.label.value, "needs "+shortened(predicate.Program.Source())),
			})
		}
	}
}

// condition is that of a policy and where it stands.
func (c *compiler) condition(spec *policySpec) (*Predicate, text) {
	if spec.table.given() {
		return c.tablePredicate(spec.table), spec.table
	}
	return c.predicate(spec.when), spec.when
}

// shortened is an expression as the label of its own failure.
func shortened(source string) string {
	const limit = 120
	source = strings.Join(strings.Fields(source), " ")
	runes := []rune(source)
	if len(runes) > limit {
		return string(runes[:limit]) + "…"
	}
	return source
}

func (c *compiler) treatments(a *Action, spec *actionSpec) {
	if len(spec.treatments) == 0 {
		c.fail(spec.name.node, nba.CodeInvalid, "the action needs at least one treatment")
	}
	first := map[string]*yaml.Node{}
	for i := range spec.treatments {
		t := &spec.treatments[i]
		c.unique(first, t.name, "treatment")
		if !t.channel.given() {
			continue
		}
		channel, ok := c.catalog.channels[t.channel.value]
		if !ok {
			c.fail(t.channel.node, nba.CodeInvalid, "unknown channel %s%s", quote(t.channel.value),
				c.suggest(t.channel.value, sortedKeys(c.catalog.channels), "declare it under channels"))
			continue
		}
		c.treatment(a, t, channel)
	}
}

// treatment enters one treatment under its placements. Of several for a placement the first is used, unless
// a strategy chooses another.
func (c *compiler) treatment(a *Action, spec *treatmentSpec, channel *Channel) {
	treatment := &Treatment{Name: spec.name.value, Content: spec.content}
	enter := func(p *Placement) {
		if !slices.Contains(a.byPlacement[p.ID], treatment) {
			a.byPlacement[p.ID] = append(a.byPlacement[p.ID], treatment)
			a.channels |= 1 << channel.ID
		}
	}
	if len(spec.placements) == 0 {
		for i := range channel.Placements {
			enter(&channel.Placements[i])
		}
		return
	}
	for _, name := range spec.placements {
		placement, ok := channel.Placement(name.value)
		if !ok {
			var known []string
			for i := range channel.Placements {
				known = append(known, channel.Placements[i].Name)
			}
			c.fail(name.node, nba.CodeInvalid, "channel %s has no placement %s%s", channel.Name, quote(name.value),
				c.suggest(name.value, known, "declare it under the channel"))
			continue
		}
		enter(placement)
	}
}

// weights enters each context weight in the actions of its scope.
func (c *compiler) weights() {
	for i := range c.doc.contextWeights {
		w := &c.doc.contextWeights[i]
		predicate := c.predicate(w.when)
		if !c.scopeExists(w) || predicate == nil {
			continue
		}
		for _, a := range c.catalog.Actions {
			if w.issue.given() && a.Issue != w.issue.value || w.group.given() && a.Group != w.group.value ||
				w.action.given() && a.Name != w.action.value {
				continue
			}
			c.mayRead(a, w.when, predicate.Program)
			a.Weights = append(a.Weights, ContextWeight{When: predicate, Weight: w.weight.value})
		}
	}
}

func (c *compiler) scopeExists(w *weightSpec) bool {
	ok := true
	if _, known := c.issues[w.issue.value]; w.issue.given() && !known {
		c.fail(w.issue.node, nba.CodeInvalid, "unknown issue %s%s", quote(w.issue.value), c.suggest(w.issue.value, sortedKeys(c.issues), "declare it under issues"))
		ok = false
	}
	if w.group.given() {
		var groups []string
		for name, issue := range c.issues {
			for i := range issue.groups {
				if !w.issue.given() || w.issue.value == name {
					groups = append(groups, issue.groups[i].name.value)
				}
			}
		}
		if slices.Sort(groups); !slices.Contains(groups, w.group.value) {
			c.fail(w.group.node, nba.CodeInvalid, "unknown group %s%s", quote(w.group.value), c.suggest(w.group.value, groups, "declare it under an issue"))
			ok = false
		}
	}
	if _, known := c.catalog.actions[w.action.value]; w.action.given() && !known {
		c.fail(w.action.node, nba.CodeInvalid, "unknown action %s%s", quote(w.action.value), c.suggest(w.action.value, sortedKeys(c.catalog.actions), "declare it under actions"))
		ok = false
	}
	return ok
}

// fallbacks resolves the fallbacks, which must be proposable to everybody at any time.
func (c *compiler) fallbacks() {
	first := map[string]*yaml.Node{}
	for _, spec := range c.doc.fallbacks {
		if !c.unique(first, spec, "fallback") {
			continue
		}
		a, ok := c.catalog.actions[spec.value]
		if !ok {
			c.fail(spec.node, nba.CodeInvalid, "unknown action %s%s", quote(spec.value),
				c.suggest(spec.value, sortedKeys(c.catalog.actions), "declare it under actions"))
			continue
		}
		c.fallback(spec, a)
	}
}

func (c *compiler) fallback(spec text, a *Action) {
	var obstacles []string
	if a.Purpose.ConsentRequired {
		obstacles = append(obstacles, fmt.Sprintf("purpose %s needs consent", a.Purpose.Name))
	}
	for k := range PolicyKind(PolicyKinds) {
		if len(a.Policies[k])+len(a.Rules[k]) > 0 {
			obstacles = append(obstacles, fmt.Sprintf("it has %s policies, its own or inherited", k))
		}
	}
	if a.From != nil || a.To != nil || len(a.Seasons) > 0 {
		obstacles = append(obstacles, "it has a validity or seasons")
	}
	if a.Bundle != nil || a.OneOf != 0 {
		obstacles = append(obstacles, "it is in a bundle")
	}
	if len(a.Volumes) > 0 {
		obstacles = append(obstacles, "it has a volume")
	}
	for _, obstacle := range obstacles {
		c.fail(spec.node, nba.CodeInvalid, "the fallback must suit everybody at any time, but %s: choose or make another action", obstacle)
	}
	a.Fallback = true
	c.catalog.Fallbacks = append(c.catalog.Fallbacks, a)
}
