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
	// Contacts is what the subject was contacted with. It is read only.
	Contacts contact.Ledger
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
	d.propose()
	d.fallBack()
	d.claim()
	d.explain()
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
	(*decision).score,
	(*decision).arbitrate,
}
