package engine

import (
	"context"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Engine decides. It holds nothing but reusable memory, and is safe for concurrent use.
type Engine struct {
	options Options
	labels  labels
	zones   zoneCache
	pool    sync.Pool // of *decision
}

// Options tune an Engine. The zero value works.
type Options struct {
	// ModelFailed, if set, is told of every failed Scorer call, for logs and metrics. It is called on
	// the goroutine of Decide and must return quickly.
	ModelFailed func(model string, err error)
	// StrategyFailed is told of every failed Strategy call in the same way.
	StrategyFailed func(strategy string, err error)
}

// New makes an Engine.
func New(options Options) *Engine {
	return &Engine{options: options, labels: newLabels(), pool: sync.Pool{New: func() any { return new(decision) }}}
}

// Input is all that a decision depends on.
type Input struct {
	Subject    nba.Subject
	Dictionary *nba.Dictionary
	// Catalog must have been compiled against Dictionary or an earlier one.
	Catalog *catalog.Catalog
	// CatalogVersion is the index that activated the catalog; it is copied into the decision.
	CatalogVersion uint64
	// Scorer may be nil: every model then counts as failed.
	Scorer Scorer
	// Strategy may be nil: every strategy of the catalog then counts as failed.
	Strategy Strategy
	// Request must have passed ValidateRequest with the same catalog.
	Request *nba.DecisionRequest
	// Among has, by Action.Index, the actions among which the decision is made; nil: all.
	Among []bool
	// Contacts is what the subject was contacted with. It is read only.
	Contacts contact.Ledger
	// Linked are other subjects that contact policies count on, such as the account of the subject. Links
	// has, for each of Catalog.Contacts.Links, the position in Linked, or -1 for the subject itself; without
	// it all policies count on the subject.
	Linked []Linked
	Links  []int
	// Volumes tells which budgets are used up; nil: none are.
	Volumes Volumes
	// NoRoom makes the decision without anything that a contact limit or a volume counts: others were
	// quicker too often.
	NoRoom bool
	// Claim, if not nil, is given the contacts that the decision makes, with the limits they are made
	// under. The decision is only to be answered once the claim was granted.
	Claim *contact.Claim
	// Reads, if not nil, notes what the decision reads, or answers for it; see Reads.
	Reads      *Reads
	DecisionID string
	Now        time.Time
	// Seed feeds what is drawn by chance. Arbitration without exploration draws nothing.
	Seed uint64
}

// Linked is a subject that contact policies count on besides the one the decision is for.
type Linked struct {
	// Ledger is what it was contacted with. It is read only.
	Ledger contact.Ledger
	// Claim is given the contacts that are counted there. It is not nil if Input.Claim is not.
	Claim *contact.Claim
	// Unknown tells that the ledger could not be read: nothing is proposed that counts there, and the
	// decision is degraded.
	Unknown bool
}

// Volumes tells whether a volume has nothing left in a period, as far as is known here. Decide calls it
// from its goroutine, at most once for each volume of an action that got so far.
type Volumes interface {
	Spent(v *contact.Volume, p contact.Period) bool
}

// Decide fills out, whose slices are reused. What it shares with the catalog (contents, offerings,
// times) must not be changed.
//
// There is always an answer: a failed model leaves the starting propensities, and when the deadline
// of ctx passes before the actions are ranked the fallback is proposed; both mark the decision degraded. The
// error is not nil only for a request that never passed ValidateRequest.
func (e *Engine) Decide(ctx context.Context, in Input, out *nba.Decision) error {
	d := e.pool.Get().(*decision)
	defer e.release(d)
	if err := d.begin(ctx, e, in, out); err != nil {
		return err
	}
	for _, stage := range pipeline {
		if d.late() {
			break
		}
		stage(d)
	}
	for _, step := range answer {
		step(d)
	}
	return nil
}

// pipeline is the funnel: each stage takes actions out, or tells more about those that stay.
var pipeline = [...]func(*decision){
	(*decision).consent,
	(*decision).channel,
	(*decision).eligibility,
	(*decision).applicability,
	(*decision).suitability,
	(*decision).contact,
	(*decision).volume,
	(*decision).score,
	(*decision).arbitrate,
}

// answer is what is made of those that the funnel left, in time or not.
var answer = [...]func(*decision){
	(*decision).arrange,
	(*decision).propose,
	(*decision).fallBack,
	(*decision).claim,
	(*decision).explain,
}
