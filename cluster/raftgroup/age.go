package raftgroup

import (
	"slices"
	"sync"
	"time"
)

// contacts is when the other voters last confirmed that this node leads.
type contacts struct {
	mu     sync.Mutex
	term   uint64
	at     map[string]time.Time // when the question was asked
	newest time.Time            // when a majority, this one included, had confirmed
}

// begin starts a term that a majority acknowledged at the time at.
func (c *contacts) begin(term uint64, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.term, c.at, c.newest = term, make(map[string]time.Time), at
}

// add takes the confirmation of a replica of g, of a question asked at the given time. Only those of
// voters count.
func (c *contacts) add(term uint64, node string, asked time.Time, g *Group) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.term != term || !asked.After(c.at[node]) {
		return
	}
	c.at[node] = asked
	voters := g.seats().voters
	others := make([]time.Time, 0, len(voters))
	for _, voter := range voters {
		if at, ok := c.at[voter]; ok {
			others = append(others, at)
		}
	}
	needed := len(voters) / 2 // beside this one
	if needed == 0 || len(others) < needed {
		return
	}
	slices.SortFunc(others, func(a, b time.Time) int { return b.Compare(a) })
	if at := others[needed-1]; at.After(c.newest) {
		c.newest = at
	}
}

// confirmed is a time at which this node certainly led, zero if there is none in the term.
func (c *contacts) confirmed(term uint64) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.term != term {
		return time.Time{}
	}
	return c.newest
}

// age knows how old a follower's state may be: at a time asof it was the leader's, as far as
// everything acknowledged is concerned.
type age struct {
	mu      sync.Mutex
	asof    time.Time
	waiting []seen // in the order of index: not applied here when heard
}

// seen is what a leader's state was.
type seen struct {
	at    time.Time
	index uint64
}

const maxWaitingAges = 16

// heard takes that everything acknowledged before the time at is in the leader's state at index.
func (a *age) heard(at time.Time, index, applied uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.advance(applied)
	switch {
	case index <= applied:
		a.set(at)
	case len(a.waiting) < maxWaitingAges:
		a.waiting = append(a.waiting, seen{at, index})
	default: // the oldest are reached first; of the newest one is enough
		a.waiting[maxWaitingAges-1] = seen{at, index}
	}
}

func (a *age) set(at time.Time) {
	if at.After(a.asof) {
		a.asof = at
	}
}

// advance takes those that are applied now.
func (a *age) advance(applied uint64) {
	kept := a.waiting[:0]
	for _, s := range a.waiting {
		if s.index <= applied {
			a.set(s.at)
		} else {
			kept = append(kept, s)
		}
	}
	a.waiting = kept
}

// known is the time up to which everything acknowledged is in the state here, zero if unknown.
func (a *age) known(applied uint64) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.advance(applied)
	return a.asof
}
