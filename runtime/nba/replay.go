package nba

// Replay is a past decision made again.
type Replay struct {
	// Decision is what it says now: of the same catalog version the same as then, to the byte; of another
	// one what that would have said.
	Decision Decision `json:"decision"`
	// Identical tells that the decision is what was answered then.
	Identical bool `json:"identical"`
	// Differences are what the decision says otherwise than the one that was answered, in the order of
	// placements and ranks.
	Differences []Difference `json:"differences"`
	// Assumed names what the decision made then did not read and this one needs, so that it was taken as it
	// is now: attributes, "contacts", "history".
	Assumed []string `json:"assumed,omitempty"`
}

// Difference is one thing that two decisions do not say alike.
type Difference struct {
	// Placement and Rank tell where; they are empty and 0 for what is of the decision as a whole.
	Placement string `json:"placement,omitempty"`
	Rank      int    `json:"rank,omitempty"`
	// Field is the member of the decision or proposition: "action" where another action has the rank.
	Field string `json:"field"`
	// Was and Now are its values; nil where there was, or is, no proposition of that rank.
	Was any `json:"was"`
	Now any `json:"now"`
}

// Differences are what decision b says otherwise than a. Response tokens and ids do not count.
func Differences(a, b *Decision) []Difference {
	d := differ{list: []Difference{}}
	d.add("", 0, "degraded", a.Degraded, b.Degraded)
	d.add("", 0, "degradedReason", a.DegradedReason, b.DegradedReason)
	d.add("", 0, "inControlGroup", a.InControlGroup, b.InControlGroup)
	d.add("", 0, "controlGroup", a.ControlGroup, b.ControlGroup)
	for i := range a.Propositions {
		p := &a.Propositions[i]
		now, _ := itemsOf(b, p.Placement)
		d.add(p.Placement, 0, "strategy", modelOf(p.Strategy), modelOf(strategyOf(b, p.Placement)))
		d.placement(p.Placement, p.Items, now)
	}
	for i := range b.Propositions {
		p := &b.Propositions[i]
		if _, there := itemsOf(a, p.Placement); !there {
			d.placement(p.Placement, nil, p.Items)
		}
	}
	return d.list
}

// itemsOf are the propositions of a placement; there is false if the decision does not have it.
func itemsOf(d *Decision, placement string) (items []Proposition, there bool) {
	for i := range d.Propositions {
		if p := &d.Propositions[i]; p.Placement == placement {
			return p.Items, true
		}
	}
	return nil, false
}

// strategyOf is the strategy that arranged a placement, or nil.
func strategyOf(d *Decision, placement string) *ModelInfo {
	for i := range d.Propositions {
		if d.Propositions[i].Placement == placement {
			return d.Propositions[i].Strategy
		}
	}
	return nil
}

type differ struct{ list []Difference }

func (d *differ) add(placement string, rank int, field string, was, now any) {
	if was != now {
		d.list = append(d.list, Difference{Placement: placement, Rank: rank, Field: field, Was: was, Now: now})
	}
}

func (d *differ) placement(name string, was, now []Proposition) {
	for i := range max(len(was), len(now)) {
		rank := i + 1
		switch {
		case i >= len(now):
			d.add(name, rank, "action", was[i].Action, nil)
		case i >= len(was):
			d.add(name, rank, "action", nil, now[i].Action)
		default:
			d.proposition(name, rank, &was[i], &now[i])
		}
	}
}

func (d *differ) proposition(placement string, rank int, was, now *Proposition) {
	for _, field := range [...]struct {
		name     string
		was, now any
	}{
		{"action", was.Action, now.Action},
		{"treatment", was.Treatment, now.Treatment},
		{"propensity", was.Propensity, now.Propensity},
		{"contextWeight", was.ContextWeight, now.ContextWeight},
		{"value", was.Value, now.Value},
		{"lever", was.Lever, now.Lever},
		{"strategyWeight", was.StrategyWeight, now.StrategyWeight},
		{"priority", was.Priority, now.Priority},
		{"selectionProbability", was.SelectionProbability, now.SelectionProbability},
		{"reason", was.Reason, now.Reason},
		{"model", modelOf(was.Model), modelOf(now.Model)},
	} {
		d.add(placement, rank, field.name, field.was, field.now)
	}
}

func modelOf(m *ModelInfo) ModelInfo {
	if m == nil {
		return ModelInfo{}
	}
	return *m
}
