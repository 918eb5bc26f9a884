package catalog

import (
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/table"
)

// Limits of a document.
const (
	MaxDocumentBytes  = 4 << 20
	MaxActions        = 5000
	MaxChannels       = 64
	MaxPlacements     = 256 // over all channels
	MaxModels         = 64
	MaxIssues         = 64
	MaxGroups         = 64 // of one issue
	MaxPolicies       = 64 // of one kind in one place
	MaxTreatments     = 64 // of one action
	MaxContentFields  = 32 // of one treatment
	MaxContentBytes   = 4096
	MaxProperties     = 64 // of one action
	MaxContextWeights = 256
	MaxExpressions    = 10_000 // distinct texts
	MaxNameBytes      = 64
	MaxLabelBytes     = 256
	MaxFallbacks      = 64
	MaxValue          = 1e12
	MaxContextWeight  = 100
	MinLeverPercent   = -100
	MaxLeverPercent   = 1000
	maxDepth          = 16
	MaxEvidence       = 1e12
	defaultStarting   = 0.5
	// defaultStartingEvidence is how many responses the starting propensity is worth.
	defaultStartingEvidence = 100
	defaultActionPurpose    = nba.PurposeMarketing
)

// Catalog is one compiled document. It is immutable and safe for concurrent use.
type Catalog struct {
	// Name is the name the document gives itself; Digest identifies its text.
	Name   string
	Digest string
	// Actions are all actions in the order of their names.
	Actions []*Action
	// Channels are in the order of the document.
	Channels []*Channel
	// Ruled tells whether plugins decide policies.
	Ruled bool
	// Models are the plugins the actions are scored by, or ruled by, in the order of their names.
	Models []Model
	// Fallbacks are proposed where nothing else is left, in the order they are tried.
	Fallbacks []*Action
	// Contacts are the contact policies.
	Contacts Contacts
	// ControlGroups are in the order of the document; Catalog.ControlGroup finds that of a subject.
	ControlGroups []ControlGroup
	// Bundles are in the order of the document.
	Bundles []*Bundle
	// Strategies are the plugins that placements are bound to, in the order of their names.
	Strategies []string
	// Parameters are those of plugins, by name; they go before those of the manifests.
	Parameters map[string]map[string]string
	// Consent tells what holds where a subject said nothing.
	Consent Consent
	// Arbitration is how priorities become propositions.
	Arbitration Arbitration
	// Segments are in the order of the document, and so are Campaigns.
	Segments  []Segment
	Campaigns []Campaign
	// Events and EventStrategies are in the order of the document.
	Events          []*EventType
	EventStrategies []*EventStrategy
	// Scored tells that expressions ask for scores of models.
	Scored bool
	// Counted tells that expressions ask for what event strategies counted.
	Counted bool
	// Journeys are in the order of the document.
	Journeys []*Journey
	// Gates are the conditions of the engagement policies of all actions.
	Gates []Gate
	// Predicates is the number of distinct conditions; Predicate.ID counts up to it.
	Predicates int
	// Histories is the number of different aggregates of the history that expressions ask for.
	Histories int

	modelPlugins map[string]string // of all models, by their names
	plugins      map[string]string // of the models whose scores are asked for, by their names
	actions      map[string]*Action
	channels     map[string]*Channel
	emits        map[string]*Emit // by origin
	// eventTypes and strategiesOn are by the types of events.
	eventTypes   map[string]*EventType
	strategiesOn map[string][]reaction
	// journeysOn are the journeys that rules about a type of events lead to.
	journeysOn map[string][]*Journey

	controlSalt string
}

// Model is a plugin that scores actions.
type Model struct {
	// Plugin is the plugin's name. Actions are its actions in the order of their names.
	Plugin  string
	Actions []*Action
}

// Channel is one way to reach subjects, with its placements.
type Channel struct {
	ID         int
	Name       string
	Direction  nba.Direction
	Placements []Placement
	// Reserve is how long a proposition in this channel may still be shown after it was decided.
	Reserve time.Duration
	// ResponseTimeout is after how long a proposition without an answer is an implicit negative; 0: never.
	ResponseTimeout time.Duration
	// Sink names the setting of the server that says where what is decided for the channel is sent; empty:
	// the server's default.
	Sink string
	// AllowUnanswered is true where a subject that said nothing to the channel may be addressed in it.
	AllowUnanswered bool
	// Actions are those with a treatment in this channel, in the order of their names.
	Actions []*Action
	// Requests are all placements with limit 1: what a request means that names none.
	Requests []nba.PlacementRequest
}

// Placement is a slot of a channel.
type Placement struct {
	// ID numbers the placements of all channels.
	ID   int
	Name string
	// Strategy is a position in Catalog.Strategies, or -1.
	Strategy int
	// Actions are those with a treatment in this placement, in the order of their names.
	Actions []*Action
}

// PolicyKind is one of the three engagement policies.
type PolicyKind int

// The engagement policies, in the order they are evaluated.
const (
	Eligibility PolicyKind = iota
	Applicability
	Suitability

	PolicyKinds = 3
)

// String is the name of k as a stage of the funnel.
func (k PolicyKind) String() string {
	return [...]string{"eligibility", "applicability", "suitability"}[k]
}

// Predicate is a condition. Equal texts are one Predicate, so that its result can be shared within a
// decision.
type Predicate struct {
	ID      int
	Program *expr.Program
	// Table is the decision table that the condition asks, if it does.
	Table *table.Table
}

// Policy is one engagement policy: an action stays only where When is true.
type Policy struct {
	When  *Predicate
	Code  string
	Label string
}

// ContextWeight multiplies the priority of the actions in its scope where When is true.
type ContextWeight struct {
	When   *Predicate
	Weight float64
}

// Value is what an action is worth: a constant, or an expression over the subject.
type Value struct {
	Constant float64
	// Program is nil for a constant.
	Program *expr.Program
}

// Propensity tells where an action's propensity comes from.
type Propensity struct {
	// Model is a position in Catalog.Models, or -1 for a fixed propensity.
	Model int
	// Invert takes 1 − score: the value of keeping a customer from the probability of losing them.
	Invert bool
	// Starting is the propensity without a model, and where the model abstains or fails.
	Starting float64
	// Maturity is the weight of the model's score, from 0 to 1; the rest is that of Starting.
	Maturity float64
}

// Action is one action with everything it inherits from its group and issue.
type Action struct {
	// Index is the position in Catalog.Actions.
	Index      int
	Name       string
	Label      string
	Issue      string
	Group      string
	Purpose    nba.Purpose
	Offering   *nba.Offering
	Value      Value
	Propensity Propensity
	// LeverPercent is the sum of the levers of issue, group and action that are numbers; Levers give those
	// that come from tables.
	LeverPercent float64
	Levers       []*expr.Program
	// Policies are those of the issue, then the group, then the action.
	Policies [PolicyKinds][]Policy
	// Rules are those that plugins decide, after all Policies of their kind.
	Rules [PolicyKinds][]Rule
	// Weights are the context weights with this action in their scope, in the order of the document.
	Weights []ContextWeight
	// From is inclusive and To exclusive; nil means without bound.
	From, To *time.Time
	// Seasons are those of the issue, the group and the action, where they have any: one of each must be
	// on.
	Seasons [][]*Season
	// Bundle is what the action is proposed together with; nil without.
	Bundle *Bundle
	// OneOf are the sets of actions of which a decision proposes one, by bit.
	OneOf uint64
	// Fallback tells that the action is one of Catalog.Fallbacks.
	Fallback bool
	// Volumes are the budgets of the action over all subjects.
	Volumes []contact.Volume

	properties  map[string]float64
	channels    uint64         // by Channel.ID
	byPlacement [][]*Treatment // by Placement.ID
}

// Treatment is an action rendered for a placement. Content is shared by all decisions: it must not
// be changed.
type Treatment struct {
	Name    string
	Content map[string]string
}

// Property is a numeric property of the action, for model features; "value" is the action's value
// unless that is an expression or there is a property of that name.
func (a *Action) Property(name string) (value float64, ok bool) {
	if value, ok = a.properties[name]; ok {
		return value, true
	}
	if name == "value" && a.Value.Program == nil {
		return a.Value.Constant, true
	}
	return 0, false
}

// InChannel tells whether the action has a treatment in channel c.
func (a *Action) InChannel(c *Channel) bool { return a.channels&(1<<c.ID) != 0 }

// Treatment is the first treatment of the action for a placement, or nil.
func (a *Action) Treatment(placementID int) *Treatment {
	if all := a.byPlacement[placementID]; len(all) > 0 {
		return all[0]
	}
	return nil
}

// Treatments are all treatments of the action for a placement, in the order of the document. A strategy
// may choose another than the first. They must not be changed.
func (a *Action) Treatments(placementID int) []*Treatment { return a.byPlacement[placementID] }

// Action looks an action up by name.
func (c *Catalog) Action(name string) (*Action, bool) {
	a, ok := c.actions[name]
	return a, ok
}

// Channel looks a channel up by name.
func (c *Catalog) Channel(name string) (*Channel, bool) {
	channel, ok := c.channels[name]
	return channel, ok
}

// ChannelNames are the names of all channels, for messages.
func (c *Catalog) ChannelNames() []string {
	names := make([]string, len(c.Channels))
	for i, channel := range c.Channels {
		names[i] = channel.Name
	}
	return names
}

// ActionNames are the names of all actions, for messages.
func (c *Catalog) ActionNames() []string {
	names := make([]string, len(c.Actions))
	for i, a := range c.Actions {
		names[i] = a.Name
	}
	return names
}

// Placement looks a placement of c up by name.
func (c *Channel) Placement(name string) (*Placement, bool) {
	for i := range c.Placements {
		if c.Placements[i].Name == name {
			return &c.Placements[i], true
		}
	}
	return nil, false
}

// Digest identifies the text of a document: "sha256:" and 64 hex digits.
func Digest(document []byte) string {
	sum := sha256.Sum256(document)
	return "sha256:" + hex.EncodeToString(sum[:])
}
