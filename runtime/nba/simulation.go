package nba

import "time"

// Limits of a simulation.
const (
	MaxSimulationSample     = 100_000
	DefaultSimulationSample = 10_000
	MaxSimulationChannels   = 16
	// MaxSimulationChanges bounds the kinds of changes and the subjects that a result names.
	MaxSimulationChanges = 50
)

// SimulationRequest asks what two sides would decide for the same subjects.
type SimulationRequest struct {
	From SimulationSide `json:"from"`
	To   SimulationSide `json:"to"`
	// Sample is how many subjects are looked at; 0 means DefaultSimulationSample. Fewer are there if there
	// are fewer.
	Sample int `json:"sample,omitempty"`
	// Seed chooses them, and feeds what decisions draw: the same seed, time and subjects give the same
	// result.
	Seed uint64 `json:"seed,omitempty"`
	// Channels are those that ask; none means all of the catalog From that To has too.
	Channels []string `json:"channels,omitempty"`
	// At is the time of all decisions; nil means when the simulation was asked for.
	At *time.Time `json:"at,omitempty"`
}

// SimulationSide is a catalog with the plugins it is scored by.
type SimulationSide struct {
	// CatalogVersion is one that is stored, and Document the text of one that is not; neither means the
	// active catalog.
	CatalogVersion uint64 `json:"catalogVersion,omitempty"`
	Document       string `json:"document,omitempty"`
	// Plugins are versions by plugin name; the others are active.
	Plugins map[string]string `json:"plugins,omitempty"`
}

// SimulationState is where a simulation is.
type SimulationState string

// The states.
const (
	SimulationRunning   SimulationState = "running"
	SimulationDone      SimulationState = "done"
	SimulationFailed    SimulationState = "failed"
	SimulationCancelled SimulationState = "cancelled"
)

// Simulation is one that was asked for.
type Simulation struct {
	ID        string          `json:"id"`
	State     SimulationState `json:"state"`
	CreatedAt time.Time       `json:"createdAt"`
	// Progress counts subjects.
	Progress SimulationProgress `json:"progress"`
	// Problem tells why it failed.
	Problem string            `json:"problem,omitempty"`
	Result  *SimulationResult `json:"result,omitempty"`
}

// SimulationProgress tells how far a simulation is. Of is 0 until the subjects are chosen.
type SimulationProgress struct {
	Done int `json:"done"`
	Of   int `json:"of"`
}

// SimulationResult is what two sides decided.
type SimulationResult struct {
	At   time.Time `json:"at"`
	Seed uint64    `json:"seed"`
	// Subjects were looked at, of Population on this node, which keeps Groups of AllGroups groups.
	Subjects   int              `json:"subjects"`
	Population int64            `json:"population"`
	Groups     int              `json:"groups"`
	AllGroups  int              `json:"allGroups"`
	Channels   []string         `json:"channels"`
	From       SimulationCounts `json:"from"`
	To         SimulationCounts `json:"to"`
	// Changed is how many decisions propose something else.
	Changed int `json:"changed"`
	// Changes are what became what in the first position of a placement, most frequent first.
	Changes []SimulationChange `json:"changes"`
	// Examples are subjects for whom something changed, the first that were looked at.
	Examples []SimulationExample `json:"examples"`
}

// SimulationCounts are what one side decided.
type SimulationCounts struct {
	Catalog string `json:"catalog"`
	// CatalogVersion is 0 for a document that is not stored.
	CatalogVersion uint64 `json:"catalogVersion,omitempty"`
	Digest         string `json:"digest"`
	Decisions      int    `json:"decisions"`
	// Nothing are the decisions that propose nothing, or the fallback alone.
	Nothing      int `json:"nothing"`
	Degraded     int `json:"degraded"`
	InControl    int `json:"inControlGroup"`
	Propositions int `json:"propositions"`
	// ExpectedValue is the sum of propensity times value of all propositions.
	ExpectedValue float64                 `json:"expectedValue"`
	Actions       []SimulationAction      `json:"actions"`
	Suppressions  []SimulationSuppression `json:"suppressions"`
}

// SimulationAction tells how often an action was proposed. Actions are in the order of their names.
type SimulationAction struct {
	Action        string  `json:"action"`
	Propositions  int     `json:"propositions"`
	First         int     `json:"first"` // in the first position
	ExpectedValue float64 `json:"expectedValue"`
}

// SimulationSuppression tells how many actions left at a stage for a reason. They are in the order of the
// stages, then of codes.
type SimulationSuppression struct {
	Stage string `json:"stage"`
	Code  string `json:"code"`
	Count int    `json:"count"`
}

// SimulationChange is how often one action took the place of another; "" is nothing.
type SimulationChange struct {
	Channel   string `json:"channel"`
	Placement string `json:"placement"`
	From      string `json:"from"`
	To        string `json:"to"`
	Count     int    `json:"count"`
}

// SimulationExample is a subject for whom a decision changed.
type SimulationExample struct {
	Subject   SubjectRef `json:"subject"`
	Channel   string     `json:"channel"`
	Placement string     `json:"placement"`
	From      string     `json:"from"`
	To        string     `json:"to"`
}
