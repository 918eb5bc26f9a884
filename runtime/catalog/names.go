package catalog

import (
	"maps"
	"slices"
)

// ActionName is the name of the action, for models that read what the history has of it.
func (a *Action) ActionName() string { return a.Name }

// PropertyNames are the names of all numeric properties that any action has, "value" included, sorted.
func (c *Catalog) PropertyNames() []string {
	seen := map[string]bool{"value": true}
	for _, a := range c.Actions {
		for name := range a.properties {
			seen[name] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}
