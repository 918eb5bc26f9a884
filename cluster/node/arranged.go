package node

import (
	"maps"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// keepStrategies adds to what is kept with a decision what strategies made of it. Decisions without
// strategies keep nothing more.
func keepStrategies(kept command.Sections, c *catalog.Catalog, channel string, d *nba.Decision) command.Sections {
	on, ok := c.Channel(channel)
	if !ok {
		return kept
	}
	var arranged []nba.PlacementPropositions
	for i := range d.Propositions {
		if d.Propositions[i].Strategy != nil {
			arranged = make([]nba.PlacementPropositions, len(d.Propositions))
			break
		}
	}
	for i := range arranged {
		p := &d.Propositions[i]
		arranged[i].Strategy = p.Strategy
		placement, ok := on.Placement(p.Placement)
		if p.Strategy == nil || !ok {
			continue
		}
		for j := range p.Items {
			item := nba.Proposition{StrategyWeight: p.Items[j].StrategyWeight}
			if action, ok := c.Action(p.Items[j].Action); ok {
				item.Content = addedContent(treatmentOf(action, placement, p.Items[j].Treatment), p.Items[j].Content)
			}
			arranged[i].Items = append(arranged[i].Items, item)
		}
	}
	if body := command.AppendStrategies(nil, arranged); len(body) > 0 {
		kept = kept.Put(command.KeptStrategies, body)
	}
	return kept
}

// treatmentOf is the treatment of an action for a placement by its name, nil if there is none.
func treatmentOf(a *catalog.Action, placement *catalog.Placement, name string) *catalog.Treatment {
	for _, treatment := range a.Treatments(placement.ID) {
		if treatment.Name == name {
			return treatment
		}
	}
	return nil
}

// addedContent are the fields of content that are not of the treatment.
func addedContent(treatment *catalog.Treatment, content map[string]string) (added map[string]string) {
	for name, text := range content {
		if treatment != nil {
			if _, ok := treatment.Content[name]; ok {
				continue
			}
		}
		if added == nil {
			added = map[string]string{}
		}
		added[name] = text
	}
	return added
}

// contentOf is the content of a stored proposition, whose Content is what a strategy added.
func contentOf(a *catalog.Action, placement *catalog.Placement, item *nba.Proposition) map[string]string {
	treatment := treatmentOf(a, placement, item.Treatment)
	if treatment == nil || len(item.Content) == 0 {
		if treatment != nil {
			return treatment.Content
		}
		return item.Content
	}
	content := maps.Clone(item.Content)
	maps.Copy(content, treatment.Content)
	return content
}
