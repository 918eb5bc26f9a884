package nba

import "time"

// Limits of one decision request.
const (
	MaxPlacements      = 16
	MaxPlacementLimit  = 50
	MaxContexts        = 64
	MaxExcludedActions = 256
	MaxTextBytes       = 256 // ids, names and context values of a request
)

// Direction tells who began the conversation.
type Direction string

// The directions.
const (
	Inbound  Direction = "inbound"
	Outbound Direction = "outbound"
)

// Explain tells how much of the reasoning a response carries.
type Explain string

// The levels of explanation: none, each stage with what it removed and why, and everything that was
// computed about every action.
const (
	ExplainNone    Explain = "none"
	ExplainReasons Explain = "reasons"
	ExplainFull    Explain = "full"
)

// DecisionRequest asks what to propose to one subject now.
type DecisionRequest struct {
	Subject           SubjectRef         `json:"subject"`
	Channel           string             `json:"channel"`
	Direction         Direction          `json:"direction,omitempty"`
	Placements        []PlacementRequest `json:"placements,omitempty"`
	Contexts          []ContextValue     `json:"contexts,omitempty"`
	DecisionRequestID string             `json:"decisionRequestId,omitempty"`
	ExcludedActions   []string           `json:"excludedActions,omitempty"`
	Options           DecisionOptions    `json:"options,omitzero"`
}

// PlacementRequest asks for up to Limit propositions in one placement; Limit 0 means 1.
type PlacementRequest struct {
	ID    string `json:"id"`
	Limit int    `json:"limit,omitempty"`
}

// ContextValue is one situational value of the request, such as type "page", key "category".
// Policies read it as contexts["key"]; the type is for the reader.
type ContextValue struct {
	Type  string `json:"type,omitempty"`
	Key   string `json:"key"`
	Value string `json:"value"`
}

// DecisionOptions tune one decision.
type DecisionOptions struct {
	Explain Explain `json:"explain,omitempty"`
	// Simulate computes the decision and records nothing.
	Simulate bool `json:"simulate,omitempty"`
	// CatalogVersion asks for another than the active version; 0 means the active one.
	CatalogVersion uint64 `json:"catalogVersion,omitempty"`
	// TimeoutMS is the caller's deadline in milliseconds; 0 means the server's default.
	TimeoutMS int `json:"timeoutMs,omitempty"`
	// Consistency is stale, leader or linearizable; empty means leader.
	Consistency string `json:"consistency,omitempty"`
}

// Decision answers a DecisionRequest.
type Decision struct {
	DecisionID     string    `json:"decisionId"`
	CatalogVersion uint64    `json:"catalogVersion"`
	DecidedAt      time.Time `json:"decidedAt"`
	Degraded       bool      `json:"degraded"`
	DegradedReason string    `json:"degradedReason,omitempty"`
	InControlGroup bool      `json:"inControlGroup"`
	// ControlGroup is the name of the control group; empty without one.
	ControlGroup string                  `json:"controlGroup,omitempty"`
	Propositions []PlacementPropositions `json:"propositions"`
	Explanation  *Explanation            `json:"explanation,omitempty"`
}

// PlacementPropositions are the ranked propositions of one placement.
type PlacementPropositions struct {
	Placement string `json:"placement"`
	// Strategy is the version that arranged the propositions; nil: none did.
	Strategy *ModelInfo    `json:"strategy,omitempty"`
	Items    []Proposition `json:"items"`
}

// Proposition is an action ranked for one subject in one placement.
// Priority = Propensity × ContextWeight × Value × Lever, and × StrategyWeight where a strategy weights.
type Proposition struct {
	Rank      int       `json:"rank"`
	Action    string    `json:"action"`
	Label     string    `json:"label,omitempty"`
	Issue     string    `json:"issue"`
	Group     string    `json:"group"`
	Treatment string    `json:"treatment"`
	Offering  *Offering `json:"offering,omitempty"`

	// Propensity is P(accepts); it is not the probability of being shown.
	Propensity    float64 `json:"propensity"`
	ContextWeight float64 `json:"contextWeight"`
	Value         float64 `json:"value"`
	Lever         float64 `json:"lever"`
	// StrategyWeight is what a strategy multiplied the priority with; 0: nothing.
	StrategyWeight float64 `json:"strategyWeight,omitempty"`
	Priority       float64 `json:"priority"`
	// SelectionProbability is the probability with which this proposition was chosen to be shown.
	SelectionProbability float64 `json:"selectionProbability"`

	Reason        Reason            `json:"reason"`
	Model         *ModelInfo        `json:"model,omitempty"`
	Content       map[string]string `json:"content,omitempty"`
	ExpiresAt     *time.Time        `json:"expiresAt,omitempty"`
	ResponseToken string            `json:"responseToken,omitempty"`
}

// Reason tells why a proposition is there.
type Reason struct {
	Code  string `json:"code"`
	Label string `json:"label"`
}

// Offering is the TM Forum productOffering an action proposes.
type Offering struct {
	ID   string `json:"id" yaml:"id"`
	Href string `json:"href,omitempty" yaml:"href,omitempty"`
}

// ModelInfo names the exact model that scored. Digest is "sha256:" and 64 hex digits of the
// artifact as it was pushed.
type ModelInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Digest  string `json:"digest"`
}

// Explanation is the funnel of one decision.
type Explanation struct {
	Stages []Stage `json:"stages"`
	// Candidates holds every action's factors; only with ExplainFull.
	Candidates []CandidateExplanation `json:"candidates,omitempty"`
}

// Stage is one step of the funnel: In actions came, Out went on.
type Stage struct {
	Stage   string    `json:"stage"`
	In      int       `json:"in"`
	Out     int       `json:"out"`
	Removed []Removal `json:"removed"`
}

// Removal tells why an action left the funnel.
type Removal struct {
	Action string `json:"action"`
	Code   string `json:"code"`
	Label  string `json:"label"`
}

// CandidateExplanation holds the factors of one action that reached arbitration.
type CandidateExplanation struct {
	Action        string     `json:"action"`
	Propensity    float64    `json:"propensity"`
	ContextWeight float64    `json:"contextWeight"`
	Value         float64    `json:"value"`
	Lever         float64    `json:"lever"`
	Priority      float64    `json:"priority"`
	Model         *ModelInfo `json:"model,omitempty"`
	// Maturity is the weight of the model's score in the propensity; the rest is that of the starting
	// propensity.
	Maturity float64 `json:"maturity,omitempty"`
	// Features are those handed to the model, by name; absent ones are missing from the map.
	Features map[string]float64 `json:"features,omitempty"`
	// WithheldAttributes are those the model wanted and the subject did not consent to.
	WithheldAttributes []string `json:"withheldAttributes,omitempty"`
}
