package catalog

import (
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of bundles.
const (
	MaxBundles       = 256 // of each kind; of sets of which one is proposed 64
	MaxBundleActions = 50
	maxOneOf         = 64 // the width of Action.OneOf
)

// Bundle is a set of actions that are proposed together or not at all.
type Bundle struct {
	// Index is the position in Catalog.Bundles.
	Index int
	Name  string
	// Actions are the names of the actions, sorted.
	Actions []string
}

// bundleSpec is a bundle as it is written: it has one of together and oneOf.
type bundleSpec struct {
	node            *yaml.Node
	name            text
	together, oneOf []text
}

func (d *decoder) bundle(n *yaml.Node) bundleSpec {
	b := bundleSpec{node: n}
	before := d.mistakes
	d.object(n, "a bundle",
		required("name", d.name(&b.name)),
		optional("together", d.list("actions", MaxBundleActions, d.names(&b.together))),
		optional("oneOf", d.list("actions", MaxActions, d.names(&b.oneOf))),
	)
	if d.mistakes == before && (len(b.together) < 2) == (len(b.oneOf) < 2) {
		d.fail(n, nba.CodeInvalid, "a bundle has the names of at least two actions, in together (all or none) or in oneOf (at most one)")
		b.together, b.oneOf = nil, nil
	}
	return b
}

// bundles resolves the bundles of the document.
func (c *compiler) bundles() {
	first := map[string]*yaml.Node{}
	sets := 0
	for i := range c.doc.bundles {
		spec := &c.doc.bundles[i]
		if !c.unique(first, spec.name, "bundle") {
			continue
		}
		if len(spec.together) > 0 {
			c.together(spec)
		}
		if len(spec.oneOf) == 0 {
			continue
		}
		if sets == maxOneOf {
			c.fail(spec.node, nba.CodeTooLarge, "at most %d bundles with oneOf: where the actions of a group exclude one another, use arbitration.maxPerGroup", maxOneOf)
			return
		}
		for _, a := range c.members(spec.oneOf) {
			a.OneOf |= 1 << sets
		}
		sets++
	}
	c.checkBundles(first)
}

// members are the actions of a bundle; names that do not exist or are repeated are reported.
func (c *compiler) members(names []text) []*Action {
	first := map[string]*yaml.Node{}
	var actions []*Action
	for _, name := range names {
		if !c.unique(first, name, "action") {
			continue
		}
		if a, ok := c.catalog.actions[name.value]; ok {
			actions = append(actions, a)
			continue
		}
		c.fail(name.node, nba.CodeInvalid, "unknown action %s%s", quote(name.value),
			c.suggest(name.value, sortedKeys(c.catalog.actions), "declare it under actions"))
	}
	return actions
}

func (c *compiler) together(spec *bundleSpec) {
	b := &Bundle{Index: len(c.catalog.Bundles), Name: spec.name.value}
	for _, a := range c.members(spec.together) {
		if a.Bundle != nil {
			c.fail(spec.node, nba.CodeInvalid, "action %s is in bundle %s already: an action is proposed together with the actions of one bundle", a.Name, a.Bundle.Name)
			continue
		}
		a.Bundle = b
		b.Actions = append(b.Actions, a.Name)
	}
	slices.Sort(b.Actions)
	c.catalog.Bundles = append(c.catalog.Bundles, b)
}

// checkBundles reports bundles that could never be proposed.
func (c *compiler) checkBundles(nodes map[string]*yaml.Node) {
	for _, b := range c.catalog.Bundles {
		sets, placements := uint64(0), make([]int, c.placements)
		for _, name := range b.Actions {
			a := c.catalog.actions[name]
			if sets&a.OneOf != 0 {
				c.fail(nodes[b.Name], nba.CodeInvalid, "bundle %s can never be proposed: two of its actions are in one set of which at most one is", b.Name)
			}
			sets |= a.OneOf
			for placement := range placements {
				if a.Treatment(placement) != nil {
					placements[placement]++
				}
			}
		}
		if !slices.Contains(placements, len(b.Actions)) && len(b.Actions) > 0 {
			c.fail(nodes[b.Name], nba.CodeInvalid, "bundle %s can never be proposed: no placement has a treatment of each of its actions", b.Name)
		}
	}
}
