package router

import (
	"context"
	"slices"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Windows is the state of event strategies of a subject, nil where there is none. It reads the replica here,
// as current as read asks for; see AcquireRead.
func (r *Router) Windows(ctx context.Context, ref nba.SubjectRef, read nba.Read) (state []byte, age time.Duration, err error) {
	reading, age, err := r.AcquireRead(ctx, ref, read)
	if err != nil {
		return nil, age, err
	}
	defer reading.Release()
	state, err = reading.Windows()
	return slices.Clone(state), age, err
}
