package engine

import (
	"context"
	"time"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Engine decides. It holds nothing but reusable memory, and is safe for concurrent use.
type Engine struct{}

// Input is all that a decision depends on.
type Input struct {
	Subject    nba.Subject
	Dictionary *nba.Dictionary
	Catalog    *catalog.Catalog
	// CatalogVersion is the index that activated the catalog; it is copied into the decision.
	CatalogVersion uint64
	// Scorer may be nil: every model then counts as failed.
	Scorer Scorer
	// Request must have passed ValidateRequest with the same catalog.
	Request    *nba.DecisionRequest
	DecisionID string
	Now        time.Time
	// Seed feeds what is drawn by chance. Nothing is, yet.
	Seed uint64
}

// New makes an Engine.
func New() *Engine { return &Engine{} }

// Decide fills out.
func (e *Engine) Decide(ctx context.Context, in Input, out *nba.Decision) error {
	return nba.Errorf(nba.CodeUnavailable, "no decision yet")
}
