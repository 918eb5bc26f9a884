package engine

import (
	"context"

	"github.com/arbiterhq/arbiter/runtime/expr"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// StageContact is the stage of the contact policies in an explanation.
const StageContact = stageContact

// Holds tells whether a condition is true for the subject, contexts, channel and time of a decision, before
// that is made. What it needs that is absent makes it false. The request must have passed ValidateRequest; an
// error is one that Decide would give.
func (e *Engine) Holds(ctx context.Context, in Input, when *expr.Program, purpose nba.PurposeID) (bool, error) {
	d := e.pool.Get().(*decision)
	defer e.release(d)
	var out nba.Decision
	if err := d.begin(ctx, e, in, &out); err != nil {
		return false, err
	}
	return when.Bool(d.evaluator.Vars(purpose)) == expr.True, nil
}
