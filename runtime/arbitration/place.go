package arbitration

import (
	"math/rand/v2"
)

// Placing fills the placements of one decision with ranked candidates, in the order of the request. The
// zero value places the best, whatever else is placed.
type Placing struct {
	// Room, if not nil, tells whether all candidates of a unit may still be proposed; Take is told of each
	// that is.
	Room func(unit []*Candidate) bool
	Take func(*Candidate)
	// MaxPerIssue and MaxPerGroup bound the candidates placed; 0 is without bound.
	MaxPerIssue, MaxPerGroup int
	// Explore is the probability with which a position is given to a unit drawn uniformly among those
	// that could have it, instead of to the best. Random draws; it is not used when Explore is 0.
	Explore float64
	Random  *rand.Rand

	placed []*Candidate
}

// Reset forgets what is placed, and the rules. It keeps the memory.
func (p *Placing) Reset() {
	clear(p.placed[:cap(p.placed)])
	*p = Placing{placed: p.placed[:0]}
}

// Slot is one placement to fill.
type Slot struct {
	// Placement is a catalog.Placement.ID, Limit how many candidates it takes.
	Placement, Limit int
	// Order are the positions of the candidates that compete for it, best first, the actions of a bundle
	// one after another. Nil is the order of the ranking.
	Order []int
}

// length and at make a sequence of the order.
func (s *Slot) length(ranked []Candidate) int {
	if s.Order == nil {
		return len(ranked)
	}
	return len(s.Order)
}

func (s *Slot) at(i int) int {
	if s.Order == nil {
		return i
	}
	return s.Order[i]
}

// Place takes up to s.Limit of the candidates that have a treatment in the placement and are neither
// placed yet nor held back, and marks them: the best first, but for what exploration draws. The actions
// of a bundle are one unit, which is taken as a whole where it fits. Each candidate gets its
// SelectionProbability: that its unit would be chosen for its position, given what was chosen before. It
// appends their positions to into and tells how many candidates there were to choose from.
func (p *Placing) Place(ranked []Candidate, s Slot, into []int) (positions []int, of int) {
	for i := range s.length(ranked) {
		if ranked[s.at(i)].Competes(s.Placement) {
			of++
		}
	}
	for left := s.Limit; left > 0; {
		u, probability := p.choose(ranked, &s, left)
		if u.size == 0 {
			break
		}
		for i := u.first; i < u.first+u.size; i++ {
			c := &ranked[s.at(i)]
			c.Placed, c.SelectionProbability = true, probability
			p.placed = append(p.placed, c)
			if p.Take != nil {
				p.Take(c)
			}
			into = append(into, s.at(i))
		}
		left -= u.size
	}
	return into, of
}

// Competes tells whether a candidate could be placed as far as it alone is concerned.
func (c *Candidate) Competes(placementID int) bool {
	return !c.Placed && !c.HeldBack && !c.Incomplete && c.Ranks() && c.Action.Treatment(placementID) != nil
}

// unit is what is chosen as a whole: a candidate, or the candidates of a bundle, by their place in the
// order. Size 0 is none.
type unit struct{ first, size int }

// unitAt is the unit that begins at a place of the order, and whether it could be placed there by itself:
// size is also that of a unit which could not.
func (s *Slot) unitAt(ranked []Candidate, first, left int) (u unit, fits bool) {
	c := &ranked[s.at(first)]
	bundle := c.Action.Bundle
	if bundle == nil || c.Incomplete {
		return unit{first, 1}, c.Competes(s.Placement)
	}
	u, fits = unit{first: first}, true
	for i := first; i < s.length(ranked) && ranked[s.at(i)].Action.Bundle == bundle; i++ {
		fits = fits && ranked[s.at(i)].Competes(s.Placement)
		u.size++
	}
	if u.size != len(bundle.Actions) {
		return u, false
	}
	if fits && u.size > left {
		for i := first; i < first+u.size; i++ {
			ranked[s.at(i)].TooLarge = true
		}
		fits = false
	}
	return u, fits
}

// choose is the next unit, and the probability with which it is chosen.
func (p *Placing) choose(ranked []Candidate, s *Slot, left int) (chosen unit, probability float64) {
	best, open := unit{}, 0
	for i := 0; i < s.length(ranked); {
		u, fits := s.unitAt(ranked, i, left)
		if i += u.size; !fits || !p.allows(ranked, s, u) {
			continue
		}
		if open++; open == 1 {
			best = u
		}
		if p.Explore == 0 {
			return best, 1
		}
	}
	if open == 0 {
		return unit{}, 0
	}
	chosen = best
	if p.Random.Float64() < p.Explore {
		chosen = p.nth(ranked, s, left, p.Random.IntN(open))
	}
	probability = p.Explore / float64(open)
	if chosen == best {
		probability += 1 - p.Explore
	}
	return chosen, probability
}

// nth is the unit that has n others, which could be placed too, before it.
func (p *Placing) nth(ranked []Candidate, s *Slot, left, n int) unit {
	for i := 0; i < s.length(ranked); {
		u, fits := s.unitAt(ranked, i, left)
		i += u.size
		if !fits || !p.allows(ranked, s, u) {
			continue
		}
		if n == 0 {
			return u
		}
		n--
	}
	return unit{}
}

// allows tells whether what is placed leaves room for all candidates of a unit.
func (p *Placing) allows(ranked []Candidate, s *Slot, u unit) bool {
	before := len(p.placed)
	defer func() { p.placed = p.placed[:before] }()
	for i := u.first; i < u.first+u.size; i++ {
		c := &ranked[s.at(i)]
		if !p.fits(c) {
			return false
		}
		p.placed = append(p.placed, c)
	}
	if p.Room == nil {
		return true
	}
	room := p.Room(p.placed[before:])
	for _, c := range p.placed[before:] {
		c.NoRoom = !room
	}
	return room
}

// fits tells whether diversity and sets of which one is proposed leave room for a candidate.
func (p *Placing) fits(c *Candidate) bool {
	if c.Action.OneOf == 0 && p.MaxPerIssue == 0 && p.MaxPerGroup == 0 {
		return true
	}
	inIssue, inGroup := 0, 0
	for _, other := range p.placed {
		if other.Action.OneOf&c.Action.OneOf != 0 {
			c.Excluded = true
			return false
		}
		if other.Action.Issue == c.Action.Issue {
			inIssue++
			if other.Action.Group == c.Action.Group {
				inGroup++
			}
		}
	}
	c.Crowded = p.MaxPerIssue > 0 && inIssue >= p.MaxPerIssue || p.MaxPerGroup > 0 && inGroup >= p.MaxPerGroup
	return !c.Crowded
}
