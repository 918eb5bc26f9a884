package engine

import (
	"context"
	"time"

	"github.com/arbiterhq/arbiter/runtime/history"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Scorer gives candidates their raw model scores. plugins/serving implements it over WASM plugins.
//
// Decide calls Score at most once per model of a decision, with all candidates of that model, from
// many goroutines at once (each with its own ScoreCall). Score must return soon after ctx ends. An
// error never costs the customer an answer: the engine then uses the starting propensity of each
// action and marks the decision degraded.
type Scorer interface {
	// Score fills call.Out, one score for each candidate; NaN means that the model abstains. A model
	// whose features are all of subject scope computes one row and copies its score to every
	// candidate. The ModelInfo returned names the version that scored; it is kept by decisions
	// and so must never change afterwards.
	Score(ctx context.Context, call *ScoreCall) (*nba.ModelInfo, error)
}

// Candidate is what a model may read of an action: its numeric properties, by name. "value" is the
// action's value when that is a constant.
type Candidate interface {
	Property(name string) (value float64, ok bool)
}

// Named is a Candidate that tells its action, for what the subject's history has of that action.
type Named interface {
	Candidate
	ActionName() string
}

// ScoreCall is the input and output of one Score call. It belongs to the caller and is reused: the
// Scorer must keep neither it nor anything it points to.
type ScoreCall struct {
	// Model is the name of the plugin.
	Model string
	// Subject also implements nba.Historian where models may read the interaction history.
	Subject nba.Subject
	// Now is the moment of the decision; entries of the history after it do not count.
	Now time.Time
	// Mask holds the purposes data of this subject may be used for (consent.Mask): an attribute is
	// readable only if it and Mask both have the purpose of the model's manifest.
	Mask       nba.PurposeSet
	Contexts   []nba.ContextValue
	Candidates []Candidate
	// Parameters are those that the catalog gives the plugin; the Scorer must not change them.
	Parameters map[string]string
	// Out has the length of Candidates. Its content is undefined on entry and after an error.
	Out []float64
	// History reads the interaction history once for everything in a decision that asks for it; nil: the
	// Scorer reads it itself, from Subject.
	History *history.Reader
	// Counted tells what event strategies count; nil: it is missing. It passes through Reads.Aggregate, too.
	Counted Counter
	// Reads notes what is computed from the interaction history: whatever is, passes through
	// Reads.Aggregate, which does nothing if Reads is nil. A call whose scores are not used has none.
	Reads *Reads
	// StandIn is set by the Scorer when an earlier version answered, since the one in use keeps failing.
	StandIn bool
	// Features, unless nil, is filled with what the model saw; only for ExplainFull.
	Features *ScoreFeatures
}

// Counter tells what event strategies count of the subject of a call, as of its moment. ok is false where
// there is nothing, and where it may not be read for the purpose under the mask.
type Counter interface {
	Counted(strategy string, purpose nba.PurposeID, mask nba.PurposeSet) (value float64, ok bool)
}

// ScoreFeatures tells what a model was handed in one Score call.
type ScoreFeatures struct {
	// Rows holds the features by name, one map for each candidate; candidates may share a map.
	// Missing features are absent from it.
	Rows []map[string]float64
	// Withheld names the attributes the model asks for and this subject did not consent to.
	Withheld []string
}
