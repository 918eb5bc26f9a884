package catalog

import (
	"cmp"
	"slices"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Rule is an engagement policy that a plugin decides: an action stays only where the plugin answers 1. A
// plugin that fails or abstains does not say that the action may stay.
type Rule struct {
	// Model is the position of the plugin in Catalog.Models.
	Model int
	Code  string
	Label string
}

// Ruled tells whether a policy of one of the kinds is decided by the plugin at position model.
func (a *Action) Ruled(model int, kinds ...PolicyKind) bool {
	for _, k := range kinds {
		if slices.ContainsFunc(a.Rules[k], func(r Rule) bool { return r.Model == model }) {
			return true
		}
	}
	return false
}

// rule is the policy of a plugin; ok is false when there is no such plugin.
func (c *compiler) rule(spec *policySpec, kind PolicyKind) (r Rule, ok bool) {
	name := spec.plugin.value
	if c.env.Models != nil && !slices.Contains(c.env.Models, name) {
		c.fail(spec.plugin.node, nba.CodePluginUnknown, "no plugin %s%s", quote(name),
			c.suggest(name, c.env.Models, "push it first: arbiter plugin push"))
		return Rule{}, false
	}
	return Rule{
		Model: c.pluginPosition(name),
		Code:  cmp.Or(spec.code.value, defaultCodes[kind]),
		Label: cmp.Or(spec.label.value, "plugin "+name+" says no"),
	}, true
}

// pluginPosition is that of a plugin among those the catalog needs, in the order in which it names them.
func (c *compiler) pluginPosition(name string) int {
	position := slices.Index(c.plugins, name)
	if position < 0 {
		position = len(c.plugins)
		c.plugins = append(c.plugins, name)
	}
	return position
}

// indexRules turns the positions of plugins from the order of the document to that of their names.
func (c *compiler) indexRules(a *Action, order []int) {
	for k := range a.Rules {
		for i := range a.Rules[k] {
			a.Rules[k][i].Model = order[a.Rules[k][i].Model]
			c.catalog.Ruled = true
		}
	}
}
