package arbitration

import (
	"math/rand/v2"
)

// Placing fills the placements of one decision with ranked candidates, in the order of the request. The
// zero value places the best, whatever else is placed.
type Placing struct {
	// Free, if not nil, tells whether a candidate may still be proposed; Take is told when it is.
	Free func(*Candidate) bool
	Take func(*Candidate)
	// MaxPerIssue and MaxPerGroup bound the candidates placed; 0 is without bound.
	MaxPerIssue, MaxPerGroup int
	// Explore is the probability with which a position is given to a candidate drawn uniformly among
	// those that could have it, instead of to the best. Random draws; it is not used when Explore is 0.
	Explore float64
	Random  *rand.Rand

	placed []*Candidate
}

// Reset forgets what is placed, and the rules. It keeps the memory.
func (p *Placing) Reset() {
	clear(p.placed[:cap(p.placed)])
	*p = Placing{placed: p.placed[:0]}
}

// Place takes up to limit of the ranked candidates that have a treatment in a placement and are neither
// placed yet nor held back, and marks them: the best first, but for what exploration draws. Each gets
// its SelectionProbability: that it would be chosen for its position, given what was chosen before. It
// appends their positions to into and tells how many there were to choose from.
func (p *Placing) Place(ranked []Candidate, placementID, limit int, into []int) (positions []int, of int) {
	for i := range ranked {
		if ranked[i].competes(placementID) {
			of++
		}
	}
	for range limit {
		at := p.choose(ranked, placementID)
		if at < 0 {
			break
		}
		c := &ranked[at]
		c.Placed = true
		p.placed = append(p.placed, c)
		if p.Take != nil {
			p.Take(c)
		}
		into = append(into, at)
	}
	return into, of
}

// competes tells whether a candidate could be placed as far as it alone is concerned.
func (c *Candidate) competes(placementID int) bool {
	return !c.Placed && !c.HeldBack && c.Ranks() && c.Action.Treatment(placementID) != nil
}

// choose is the position of the next candidate, or -1.
func (p *Placing) choose(ranked []Candidate, placementID int) int {
	best, open := -1, 0
	for i := range ranked {
		if ranked[i].competes(placementID) && p.allows(&ranked[i]) {
			if best < 0 {
				best = i
			}
			if open++; p.Explore == 0 {
				break
			}
		}
	}
	if best < 0 || p.Explore == 0 {
		if best >= 0 {
			ranked[best].SelectionProbability = 1
		}
		return best
	}
	chosen := best
	if p.Random.Float64() < p.Explore {
		chosen = p.nth(ranked, placementID, p.Random.IntN(open))
	}
	probability := p.Explore / float64(open)
	if chosen == best {
		probability += 1 - p.Explore
	}
	ranked[chosen].SelectionProbability = probability
	return chosen
}

// nth is the candidate that has n others, which could be placed too, before it.
func (p *Placing) nth(ranked []Candidate, placementID, n int) int {
	for i := range ranked {
		if !ranked[i].competes(placementID) || !p.allows(&ranked[i]) {
			continue
		}
		if n == 0 {
			return i
		}
		n--
	}
	return -1
}

// allows tells whether what is placed leaves room for a candidate.
func (p *Placing) allows(c *Candidate) bool {
	if p.MaxPerIssue > 0 || p.MaxPerGroup > 0 {
		inIssue, inGroup := 0, 0
		for _, other := range p.placed {
			if other.Action.Issue == c.Action.Issue {
				inIssue++
				if other.Action.Group == c.Action.Group {
					inGroup++
				}
			}
		}
		if p.MaxPerIssue > 0 && inIssue >= p.MaxPerIssue || p.MaxPerGroup > 0 && inGroup >= p.MaxPerGroup {
			c.Crowded = true
			return false
		}
	}
	if p.Free == nil {
		return true
	}
	c.NoRoom = !p.Free(c)
	return !c.NoRoom
}
