// Package delivery decides when something is sent: how long is waited after an attempt that failed, when it is
// given up, and when an endpoint that fails is left alone for a while.
//
// It sends nothing and reads no clock: the time is an argument, and chance comes from a seed, so that every
// node decides the same.
package delivery

import (
	"errors"
	"fmt"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Outcome is how an attempt ended.
type Outcome uint8

// The outcomes.
const (
	// Sent: the receiver took it.
	Sent Outcome = iota
	// Failed: it may be taken later: no answer, or one that says so.
	Failed
	// Refused: it will never be taken.
	Refused
	// Held: nothing was sent, since the endpoint is left alone, or nobody knows where it is. It does not count
	// as an attempt.
	Held
)

// Policy is how often and for how long is tried.
type Policy struct {
	// First is the wait after the first attempt that failed; it doubles with each further one, up to Longest.
	First, Longest time.Duration
	// Attempts is how many there are before a delivery is given up.
	Attempts int
}

// DefaultPolicy tries for about a day.
func DefaultPolicy() Policy { return Policy{First: time.Second, Longest: time.Hour, Attempts: 32} }

// Limits of a Policy.
const (
	minWait     = time.Millisecond
	maxWait     = 7 * 24 * time.Hour
	maxAttempts = 1000
)

// Validate reports every setting that cannot work.
func (p Policy) Validate() error {
	var problems []error
	if p.First < minWait || p.Longest < p.First || p.Longest > maxWait {
		problems = append(problems, fmt.Errorf("the waits are %s to %s: at least %s, at most %s, the first not longer than the longest", p.First, p.Longest, minWait, maxWait))
	}
	if p.Attempts < 1 || p.Attempts > maxAttempts {
		problems = append(problems, fmt.Errorf("%d attempts: between 1 and %d", p.Attempts, maxAttempts))
	}
	return errors.Join(problems...)
}

// Wait is how long is waited after attempt n (from 1) of the delivery of an id: between half and all of what
// the policy says, so that what failed together is not tried together again.
func (p Policy) Wait(id string, n int) time.Duration {
	wait := p.First
	for ; n > 1 && wait < p.Longest; n-- {
		wait *= 2
	}
	wait = min(wait, p.Longest)
	var h xxhash.Digest
	h.ResetWithSeed(uint64(n))
	_, _ = h.WriteString(id) // never fails
	_, _ = h.Write([]byte{byte(n), byte(n >> 8)})
	const parts = 1 << 16
	return wait/2 + time.Duration(int64(wait/2)/parts*int64(h.Sum64()%parts))
}

// State is what becomes of a delivery.
type State uint8

// The states.
const (
	// Again: it is tried again.
	Again State = iota
	// Done: it was sent.
	Done
	// Dead: it is given up, until somebody has it sent again.
	Dead
	// Expired: it is of no use any more.
	Expired
)

// Tried is a delivery after an attempt.
type Tried struct {
	ID string
	// Attempts is how many there were before.
	Attempts int
	// Expires is when it is of no use any more; zero: never.
	Expires time.Time
	Outcome Outcome
	// After is how long the receiver asks to wait, 0 if it does not.
	After time.Duration
}

// Judge tells what becomes of a delivery that was tried, and when it is tried again.
func (p Policy) Judge(t *Tried, now time.Time) (State, time.Time) {
	n := t.Attempts + 1
	switch {
	case t.Outcome == Sent:
		return Done, time.Time{}
	case t.Outcome == Refused:
		return Dead, time.Time{}
	case t.Outcome == Failed && n >= p.Attempts:
		return Dead, time.Time{}
	}
	wait := p.Wait(t.ID, n)
	if t.Outcome == Held {
		wait = 0
	}
	next := now.Add(max(wait, min(t.After, p.Longest)))
	if !t.Expires.IsZero() && !next.Before(t.Expires) {
		return Expired, time.Time{} // it would be too late then
	}
	return Again, next
}
