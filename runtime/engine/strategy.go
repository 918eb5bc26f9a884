package engine

import (
	"context"
	"time"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/history"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Strategy rearranges what arbitration ranked: it may reorder, drop and weight candidates, and choose
// among their treatments. plugins/serving implements it over WASM plugins.
//
// Decide calls Arrange at most once per strategy of a decision, from many goroutines at once (each with
// its own StrategyCall), after arbitration ranked the candidates and before the placements are filled.
// Arrange must return soon after ctx ends. An error never costs the customer an answer: the ranking of
// arbitration then stays as it was and the decision is marked degraded.
//
// Whatever a strategy wants, the engine enforces the rules afterwards: only candidates of the call can
// be proposed, so nothing comes back that a policy or a threshold took out; contact limits, diversity
// and bundles hold for what it puts first; exploration draws among what it left, so that
// selectionProbability is exact given its arrangement.
type Strategy interface {
	// Arrange reads the call and fills call.Picks. The ModelInfo returned names the version that
	// answered; it is kept by decisions and so must never change afterwards.
	Arrange(ctx context.Context, call *StrategyCall) (*nba.ModelInfo, error)
}

// Limits of a call to a strategy and of its answer. An answer beyond them counts as a failure.
const (
	// MaxStrategyCandidates is how many candidates a strategy is given: the first of the ranking. The
	// others keep their places behind everything it arranged.
	MaxStrategyCandidates = 256
	// MaxStrategyWeight is the largest weight of a pick.
	MaxStrategyWeight = 100
	// MaxStrategyContent and MaxStrategyContentBytes bound the content that a pick adds: fields, and
	// bytes of each name and each text.
	MaxStrategyContent      = 8
	MaxStrategyContentBytes = 1024
	// MaxStrategyContentTotal bounds the content that all strategies of a decision add, in bytes.
	MaxStrategyContentTotal = 32 << 10
)

// StrategyCall is the input and output of one Arrange call. It belongs to the caller and is reused: the
// Strategy must keep neither it nor anything it points to, and change nothing but Picks and ByPriority.
type StrategyCall struct {
	// Name is the name of the plugin.
	Name string
	// Subject also implements nba.Historian where the interaction history may be read.
	Subject nba.Subject
	// Now is the moment of the decision; Seed feeds what the strategy draws by chance.
	Now  time.Time
	Seed uint64
	// Mask holds the purposes data of this subject may be used for, as in ScoreCall.
	Mask      nba.PurposeSet
	Channel   string
	Direction nba.Direction
	Contexts  []nba.ContextValue
	// Parameters are those that the catalog gives the plugin; it must not change them.
	Parameters map[string]string
	// Placements are those of the request that the strategy is bound to, in the order of the request.
	Placements []StrategyPlacement
	// Candidates are the survivors that could be proposed in one of the placements, best first.
	Candidates []StrategyCandidate
	// History reads the interaction history, as in ScoreCall. It is not nil.
	History *history.Reader
	// Counted tells what event strategies count, as in ScoreCall.
	Counted Counter
	// Reads notes what is computed from the interaction history, as in ScoreCall.
	Reads *Reads

	// StandIn is set by the Strategy when an earlier version answered, as in ScoreCall.
	StandIn bool
	// Picks is the answer, empty on entry: the candidates to go on with, best first. Candidates that are
	// not picked are not proposed in these placements.
	Picks []StrategyPick
	// ByPriority asks the engine to rank the picks by their priority times their weight, rather than to
	// take them in the order of Picks.
	ByPriority bool
}

// StrategyPlacement is a placement of the request with its limit.
type StrategyPlacement struct {
	Name  string
	Limit int

	id int
}

// StrategyCandidate is a survivor with its factors.
type StrategyCandidate struct {
	// Action has the name, issue, group and properties; it must not be changed.
	Action                                            *catalog.Action
	Propensity, ContextWeight, Value, Lever, Priority float64
	// Model scored the candidate; nil for a fixed or a starting propensity.
	Model *nba.ModelInfo
}

// StrategyPick is one candidate in the answer of a strategy.
type StrategyPick struct {
	// Candidate is its position in StrategyCall.Candidates. A candidate is picked at most once.
	Candidate int
	// Weight multiplies its priority; 0 stands for 1. At most MaxStrategyWeight.
	Weight float64
	// Treatment, unless empty, names the treatment to use instead of the first, wherever the action has
	// it for the placement. It must be one of StrategyCall.Treatments for some placement of the call.
	Treatment string
	// Content adds fields to the content of the treatment. It cannot replace those of the catalog. The
	// map must not change after Arrange returned: the engine copies it when it makes the proposition.
	Content map[string]string
}

// Treatments are those that a candidate may be rendered with in a placement, both by their positions in
// the call; the first is what is used unless the strategy names another. They must not be changed.
func (c *StrategyCall) Treatments(candidate, placement int) []*catalog.Treatment {
	return c.Candidates[candidate].Action.Treatments(c.Placements[placement].id)
}
