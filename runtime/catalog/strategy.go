package catalog

import (
	"slices"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// NoStrategy binds a placement to no strategy, where the document has one for all.
const NoStrategy = "none"

// strategies binds placements to the strategies that are named for them, or for all.
func (c *compiler) strategies() {
	bound := map[int]string{} // by Placement.ID
	for i := range c.doc.channels {
		spec := &c.doc.channels[i]
		channel, ok := c.catalog.channels[spec.name.value]
		if !ok {
			continue
		}
		for _, p := range spec.placements {
			placement, ok := channel.Placement(p.name.value)
			if strategy := c.strategy(p.strategy); ok && strategy != NoStrategy && strategy != "" {
				bound[placement.ID] = strategy
				c.catalog.Strategies = append(c.catalog.Strategies, strategy)
			}
		}
	}
	slices.Sort(c.catalog.Strategies)
	c.catalog.Strategies = slices.Compact(c.catalog.Strategies)
	for _, channel := range c.catalog.Channels {
		for i := range channel.Placements {
			p := &channel.Placements[i]
			p.Strategy = slices.Index(c.catalog.Strategies, bound[p.ID])
		}
	}
}

// strategy is the name of a strategy, that of the document where a placement has none.
func (c *compiler) strategy(name text) string {
	if !name.given() {
		name = c.doc.strategy
	}
	if name.given() && name.value != NoStrategy && c.env.Strategies != nil && !slices.Contains(c.env.Strategies, name.value) {
		c.fail(name.node, nba.CodePluginUnknown, "no strategy %s%s", quote(name.value),
			c.suggest(name.value, c.env.Strategies, "push it first: arbiter plugin push"))
	}
	return name.value
}
