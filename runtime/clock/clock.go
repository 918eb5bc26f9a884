// Package clock gives the time to those parts that may know it.
//
// Decisions, policies and replicated state take the time as an argument; only what proposes or
// answers asks a Clock, so that tests and replays can hold the hands.
package clock

import (
	"sync"
	"time"
)

// Clock tells the time. Implementations are safe for concurrent use.
type Clock interface {
	// Now is the current time, in UTC.
	Now() time.Time
}

// System is the clock of the machine.
type System struct{}

// Now implements Clock.
func (System) Now() time.Time { return time.Now().UTC() }

// Manual is a clock that moves only when told, for tests and simulations. The zero Manual stands at
// the zero time.
type Manual struct {
	mu  sync.Mutex
	now time.Time
}

// NewManual is a Manual standing at start.
func NewManual(start time.Time) *Manual { return &Manual{now: start.UTC()} }

// Now implements Clock.
func (m *Manual) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now
}

// Advance moves the clock by d, which may be negative.
func (m *Manual) Advance(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = m.now.Add(d)
}
