package catalog

// Properties are the numeric properties of the action by name, for strategies. They must not be changed.
func (a *Action) Properties() map[string]float64 { return a.properties }
