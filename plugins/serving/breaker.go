package serving

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// How a breaker opens and closes.
const (
	// A version is taken out when breakFailures calls failed within breakWindow, and at least half of all.
	breakWindow   = 10 * time.Second
	breakFailures = 5
	// It is tried again by one call after firstTrial, and later and later up to lastTrial.
	firstTrial = time.Second
	lastTrial  = time.Minute
)

// breaker keeps calls from a version whose guest keeps failing. Who is not let through asks an earlier
// version instead, or does without. It is safe for concurrent use.
type breaker struct {
	open atomic.Bool   // calls are not let through, but for trials
	good atomic.Uint64 // calls that succeeded

	mu       sync.Mutex
	since    time.Time // of the window; guarded by mu
	goodThen uint64    // at the beginning of the window; guarded by mu
	failures uint64    // within the window; guarded by mu
	next     time.Time // when the next trial may be; guarded by mu
	pause    time.Duration
	trying   bool   // a trial is under way; guarded by mu
	reason   string // of the last failure; guarded by mu
}

// allow tells whether a call may be made. One that may tells by done how it ended.
func (b *breaker) allow() bool {
	if !b.open.Load() {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.trying || time.Now().Before(b.next) {
		return false
	}
	b.trying = true
	return true
}

// succeeded closes the breaker: the guest answered.
func (b *breaker) succeeded() {
	b.good.Add(1)
	if !b.open.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying, b.pause, b.failures, b.since = false, 0, 0, time.Time{}
	b.open.Store(false)
}

// failed notes that the guest failed. opened tells that this was one time too many.
func (b *breaker) failed(reason string) (opened bool) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reason = reason
	if b.open.Load() { // a trial, or a call that began before
		if b.trying {
			b.trying = false
			b.pause = min(2*b.pause, lastTrial)
			b.next = now.Add(b.pause)
		}
		return false
	}
	if now.Sub(b.since) > breakWindow {
		b.since, b.goodThen, b.failures = now, b.good.Load(), 0
	}
	b.failures++
	if b.failures < breakFailures || b.failures < b.good.Load()-b.goodThen {
		return false
	}
	b.pause, b.next = firstTrial, now.Add(firstTrial)
	b.open.Store(true)
	return true
}

// gaveUp ends a trial that ended for a reason that is not the guest's.
func (b *breaker) gaveUp() {
	if !b.open.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
}

// health is what the breaker shows.
func (b *breaker) health() *nba.PluginHealth {
	h := &nba.PluginHealth{State: nba.BreakerClosed}
	b.mu.Lock()
	defer b.mu.Unlock()
	if h.Reason = b.reason; b.open.Load() {
		h.State = nba.BreakerOpen
		if next := b.next.UTC(); !b.trying {
			h.NextTrial = &next
		}
	}
	return h
}
