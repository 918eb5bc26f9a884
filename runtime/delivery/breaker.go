package delivery

import "time"

// Breaker leaves an endpoint alone that keeps failing: after Failures attempts in a row it is open for Pause,
// then one attempt is let through, which closes it or opens it again for twice as long, up to Longest. It is
// not safe for concurrent use.
type Breaker struct {
	Failures       int
	Pause, Longest time.Duration

	failed  int
	opened  time.Time // until when it is open; zero: closed
	pause   time.Duration
	probing bool
}

// Allow tells whether an attempt may be made now; if not, until is when to ask again, at the earliest. Who is
// allowed must report how it ended.
func (b *Breaker) Allow(now time.Time) (ok bool, until time.Time) {
	switch {
	case b.opened.IsZero():
		return true, time.Time{}
	case now.Before(b.opened):
		return false, b.opened
	case b.probing:
		return false, now.Add(b.Pause)
	}
	b.probing = true
	return true, time.Time{}
}

// Probing tells whether one attempt is being let through.
func (b *Breaker) Probing() bool { return b.probing }

// Forgo tells that an attempt that was allowed was not made.
func (b *Breaker) Forgo() { b.probing = false }

// Report tells how an attempt ended.
func (b *Breaker) Report(now time.Time, ok bool) {
	if ok {
		b.failed, b.opened, b.pause, b.probing = 0, time.Time{}, 0, false
		return
	}
	b.failed++
	if b.failed < b.Failures && !b.probing {
		return
	}
	if !b.opened.IsZero() && now.Before(b.opened) {
		return // one that began before it opened
	}
	b.pause = min(max(2*b.pause, b.Pause), b.Longest)
	b.opened, b.probing = now.Add(b.pause), false
}

// Open tells whether the endpoint is left alone now.
func (b *Breaker) Open(now time.Time) bool { return !b.opened.IsZero() && now.Before(b.opened) }
