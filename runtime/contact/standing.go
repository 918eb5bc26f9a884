package contact

import (
	"slices"
	"time"
)

// Standing is where a subject stands with one policy, for the contacts of one scope.
type Standing struct {
	Policy *Policy
	Scope  Scope
	// Max is how many contacts there may be (for a suppression how many outcomes it takes), Used how many
	// count now, and Reserved how many of those only may yet happen.
	Max, Used, Reserved int
	// Reached tells that nothing more is proposed now.
	Reached bool
	// SinceMS is the moment after which contacts count. FreeMS is when there is room again if nothing else
	// happens; 0 where there is room now, or nobody can tell.
	SinceMS, FreeMS int64
}

// Standings are where a subject stands with the policy: one for the whole of what it selects, or with Same
// one for each scope that the ledger has contacts of, in the order these were first made, and for a
// suppression only where something was reported that counts. local is the time where the subject is.
func (p *Policy) Standings(l Ledger, local time.Time) []Standing {
	if p.Quiet != nil {
		return []Standing{{Policy: p, Scope: p.For, Reached: p.Quiet.At(local)}}
	}
	if p.Same == 0 {
		return []Standing{p.standing(l, &Place{}, local)}
	}
	var standings []Standing
	for i := range l.Len() {
		e := l.At(i)
		if !p.For.Covers(&e.Place) {
			continue
		}
		s := p.standing(l, &e.Place, local)
		if s.Used == 0 && p.Outcomes != 0 && !p.Pending {
			continue // nothing of what suppresses has happened
		}
		if !slices.ContainsFunc(standings, func(other Standing) bool { return other.Scope == s.Scope }) {
			standings = append(standings, s)
		}
	}
	return standings
}

func (p *Policy) standing(l Ledger, at *Place, local time.Time) Standing {
	limit, now := p.Limit(at, local), local.UnixMilli()
	s := Standing{Policy: p, Scope: limit.Scope, Max: max(int(limit.Max), 1), SinceMS: limit.SinceMS}
	var ends []int64
	for i := range l.Len() {
		e := l.At(i)
		if !limit.counts(&e, now) {
			continue
		}
		s.Used++
		counted := e.TimeMS
		if limit.Outcomes != 0 && e.Outcomes&limit.Outcomes == 0 {
			s.Reserved++
			ends = append(ends, e.TimeMS+e.ReservedMS)
			continue
		}
		if limit.Outcomes != 0 {
			counted += e.RespondedMS
		}
		ends = append(ends, p.Window.end(counted, local))
	}
	if s.Reached = s.Used >= s.Max; s.Reached {
		slices.Sort(ends)
		s.FreeMS = ends[s.Used-s.Max]
	}
	return s
}

// end is when what was counted at a moment does not count any more.
func (w Window) end(countedMS int64, local time.Time) int64 {
	if w.Since == NoUnit {
		return countedMS + w.Rolling.Milliseconds()
	}
	unit := Volume{Per: w.Since, Zone: local.Location()}
	return unit.Period(local).EndMS
}
