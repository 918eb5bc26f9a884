package router

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// How timers are fired.
const (
	// firedAtOnce bounds the timers of one operation, so that it does not hold up what callers do.
	firedAtOnce = 256
	// leastPause is between two looks at the timers: what is set meanwhile waits no longer than that.
	leastPause = 5 * time.Millisecond
)

// timing fires the timers of the groups that this node leads. It knows when the first one is due and sleeps
// until then, or until one is set. It never looks at more than the front of what is due, which lies in the
// order of time. A new leader finds the same timers: they are in the state.
type timing struct {
	router *Router
	wake   chan struct{}
	cancel context.CancelFunc
	done   sync.WaitGroup
	failed map[string]string // what was reported last, by group
}

func newTiming() timing { return timing{wake: make(chan struct{}, 1), failed: map[string]string{}} }

func (t *timing) begin(r *Router) {
	t.router = r
	ctx, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	t.done.Go(func() { t.run(ctx) })
}

func (t *timing) end() {
	if t.cancel != nil {
		t.cancel()
		t.done.Wait()
	}
}

func (t *timing) run(ctx context.Context) {
	for {
		// This node may begin to lead a group without any news.
		wait := t.router.options.KeepInterval
		if until, ok := t.round(ctx); ok {
			wait = min(wait, max(until, leastPause))
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-t.wake:
			timer.Stop()
			select {
			case <-ctx.Done():
				return
			case <-time.After(leastPause):
			}
		case <-timer.C:
		}
	}
}

// round fires what is due in the groups that this node leads, and tells how long nothing else is.
func (t *timing) round(ctx context.Context) (until time.Duration, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, keepTimeout)
	defer cancel()
	for _, d := range t.router.groups() {
		if d.machine == nil || !d.leads() || ctx.Err() != nil {
			continue
		}
		next, waits, err := t.router.fireTimers(ctx, d)
		t.report(d.name, err)
		if left := time.Until(time.UnixMilli(next)); waits && err == nil && (!ok || left < until) {
			until, ok = left, true
		}
	}
	return until, ok
}

// report logs what failed, once as long as it fails the same way, unless it only has to be tried again.
func (t *timing) report(group string, err error) {
	text := ""
	switch nba.CodeOf(err) {
	case "", nba.CodeUnavailable, nba.CodeTimeout, nba.CodeOverloaded:
	default:
		if _, moved := errors.AsType[*raftgroup.NotLeader](err); !moved {
			text = err.Error()
		}
	}
	if text != "" && t.failed[group] != text {
		t.router.options.Logger.Error("firing timers", "group", group, "error", err)
	}
	t.failed[group] = text
}

// fireTimers fires what is due in a group, and tells when the first of the others is; ok is false where there
// is none before the next look.
func (r *Router) fireTimers(ctx context.Context, d *dataGroup) (nextMS int64, ok bool, err error) {
	for {
		now := time.Now().UnixMilli()
		if nextMS, ok, err = d.machine.NextTimer(now + r.options.KeepInterval.Milliseconds()); err != nil || !ok {
			return 0, false, storeError(err)
		}
		if nextMS > now {
			return nextMS, true, nil
		}
		op := command.FireTimers{UntilMS: now, Limit: firedAtOnce}
		if err := r.allowed(&op); err != nil {
			return 0, false, err
		}
		result, err := d.submit(ctx, &op, true)
		if err != nil {
			return 0, false, err
		}
		if r.options.OnTimers != nil && result.Version > 0 {
			r.options.OnTimers(result.Version, time.Since(time.UnixMilli(nextMS)))
		}
	}
}
