package catalog

import (
	"math"

	"github.com/cespare/xxhash/v2"
	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// ControlKind is what is left out for the subjects of a control group, to measure what it is worth.
type ControlKind string

// The kinds of control groups.
const (
	// UniversalHoldout: nothing that needs consent is proposed.
	UniversalHoldout ControlKind = "universalHoldout"
	// RandomRelevant: what passed every policy is drawn at random.
	RandomRelevant ControlKind = "randomRelevant"
	// PropensityOnly: the priority is the propensity.
	PropensityOnly ControlKind = "propensityOnly"
	// NoLevers: all levers are 1.
	NoLevers ControlKind = "noLevers"
	// EligibilityOnly: applicability and suitability are not asked.
	EligibilityOnly ControlKind = "eligibilityOnly"
)

// ControlKinds are all kinds.
func ControlKinds() []ControlKind {
	return []ControlKind{UniversalHoldout, RandomRelevant, PropensityOnly, NoLevers, EligibilityOnly}
}

// ControlGroup is a share of the subjects, chosen by a hash, for whom decisions are made in another way.
type ControlGroup struct {
	Name string
	Kind ControlKind
	// below is the end of the group's part of the numbers that subjects are hashed to.
	below uint64
}

// MaxControlGroups bounds the control groups of a document.
const MaxControlGroups = 16

// controlShares are the steps in which percentages count: a hundredth of a percent.
const controlShares = 10_000

type controlSpec struct {
	node    *yaml.Node
	name    text
	kind    text
	percent number
}

func (d *decoder) controlGroup(n *yaml.Node) controlSpec {
	g := controlSpec{node: n}
	var kinds []string
	for _, k := range ControlKinds() {
		kinds = append(kinds, string(k))
	}
	d.object(n, "a control group", required("name", d.name(&g.name)), required("kind", d.oneOf(&g.kind, kinds...)),
		required("percent", d.number(&g.percent, 0, 100)))
	return g
}

// controlGroups gives each group its part: the first begins at 0, the next where it ends. So a group
// that grows keeps its subjects, as long as those before it stay as they are.
func (c *compiler) controlGroups() {
	first := map[string]*yaml.Node{}
	end := uint64(0)
	for i := range c.doc.controls {
		spec := &c.doc.controls[i]
		if !c.unique(first, spec.name, "control group") {
			continue
		}
		end += uint64(math.Round(spec.percent.value * controlShares / 100))
		if end > controlShares {
			c.fail(spec.node, nba.CodeInvalid, "the control groups are more than 100 percent of the subjects")
			return
		}
		c.catalog.ControlGroups = append(c.catalog.ControlGroups, ControlGroup{Name: spec.name.value, Kind: ControlKind(spec.kind.value), below: end})
	}
	c.catalog.controlSalt = c.doc.controlSalt.value
}

// ControlGroup is the control group of a subject, or nil. It depends on the subject's id and type, and on
// controlSalt of the document: another salt draws anew.
func (c *Catalog) ControlGroup(ref nba.SubjectRef) *ControlGroup {
	if len(c.ControlGroups) == 0 {
		return nil
	}
	var h xxhash.Digest
	h.Reset()
	for _, part := range [...]string{c.controlSalt, "\x00", string(ref.Type), "\x00", ref.ID} {
		_, _ = h.WriteString(part) // never fails
	}
	share := h.Sum64() % controlShares
	for i := range c.ControlGroups {
		if share < c.ControlGroups[i].below {
			return &c.ControlGroups[i]
		}
	}
	return nil
}

// Arbitration is how priorities become propositions.
type Arbitration struct {
	// MinPropensity and MinPriority are thresholds: what is below is not proposed.
	MinPropensity, MinPriority float64
	// MaxPerIssue and MaxPerGroup bound the propositions of one decision; 0 is without bound.
	MaxPerIssue, MaxPerGroup int
	// Explore is the share of propositions that are drawn at random among those that could be made.
	Explore float64
}

func (d *decoder) arbitration(to *Arbitration) func(*yaml.Node) {
	return func(n *yaml.Node) {
		var propensity, priority, issue, group, explore number
		d.object(n, "arbitration",
			optional("minPropensity", d.number(&propensity, 0, 1)),
			optional("minPriority", d.number(&priority, 0, MaxValue)),
			optional("maxPerIssue", d.number(&issue, 1, MaxTreatments)),
			optional("maxPerGroup", d.number(&group, 1, MaxTreatments)),
			optional("explore", d.number(&explore, 0, 1)),
		)
		*to = Arbitration{MinPropensity: propensity.value, MinPriority: priority.value, MaxPerIssue: int(issue.value),
			MaxPerGroup: int(group.value), Explore: explore.value}
	}
}
