package contact

import (
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Policy is one contact policy of the catalog. It either limits or suppresses, by contacts, or keeps
// quiet hours, by the time of day.
type Policy struct {
	Name  string
	Code  string
	Label string
	// For selects the propositions the policy is about.
	For Scope
	// Same names what contacts have to share with the proposition to count, besides being in For.
	Same Parts
	// Max, Window, Outcomes and Pending make a Limit; see there. Max 0 is a suppression.
	Max      uint16
	Window   Window
	Outcomes Outcomes
	Pending  bool
	// CoolOff tells that the limit was written as a cool-off, for people.
	CoolOff bool
	// Quiet is not nil for quiet hours; the fields above are unused then.
	Quiet *Quiet
	// Link tells on whose ledger the policy counts: 0 is the subject's own, i+1 that of the subject that
	// link i of the catalog leads to.
	Link int
}

// Parts is a set of the parts of a Place.
type Parts uint8

// The parts.
const (
	PartChannel Parts = 1 << iota
	PartIssue
	PartGroup
	PartAction
	PartSide
)

// Limit is the policy for a proposition at p. local is the time of the decision where the subject is:
// calendar windows begin there. The policy must be about p and not keep quiet hours.
func (p *Policy) Limit(at *Place, local time.Time) Limit {
	scope := p.For
	for _, part := range [...]struct {
		part Parts
		to   *Name
		from Name
	}{{PartChannel, &scope.Channel, at.Channel}, {PartIssue, &scope.Issue, at.Issue}, {PartGroup, &scope.Group, at.Group}, {PartAction, &scope.Action, at.Action}} {
		if p.Same&part.part != 0 {
			*part.to = part.from
		}
	}
	if p.Same&PartSide != 0 {
		scope.Side = at.Side
	}
	return Limit{Scope: scope, Outcomes: p.Outcomes, Pending: p.Pending, Max: p.Max, SinceMS: p.Window.since(local).UnixMilli()}
}

// Window is how far back contacts count: a duration, or since the beginning of a day, week or month.
// Days are added by the calendar, so that one is 23 or 25 hours long when the clocks change.
type Window struct {
	Rolling time.Duration
	Since   Unit
}

// Unit is a unit of the calendar.
type Unit uint8

// The units. Weeks begin on Monday.
const (
	NoUnit Unit = iota
	Day
	Week
	Month
)

// Longest is at least as long as the window ever is.
func (w Window) Longest() time.Duration {
	const day = 24 * time.Hour
	return max(w.Rolling, [...]time.Duration{NoUnit: 0, Day: day + 2*time.Hour, Week: 7*day + 2*time.Hour, Month: 31*day + 2*time.Hour}[w.Since])
}

// since is the last moment that does not count: one millisecond before a unit begins.
func (w Window) since(local time.Time) time.Time {
	year, month, day := local.Date()
	switch w.Since {
	case Day:
	case Week:
		day -= (int(local.Weekday()) + 6) % 7
	case Month:
		day = 1
	default:
		return local.Add(-w.Rolling)
	}
	return time.Date(year, month, day, 0, 0, 0, 0, local.Location()).Add(-time.Millisecond)
}

// Quiet are hours in which a subject is not contacted: from a minute of the day, inclusive, to another,
// exclusive. From after To is a night.
type Quiet struct {
	From, To int
	// Days are the days of the week on which the hours begin; bit 0 is Sunday.
	Days uint8
}

// EveryDay is all days of the week.
const EveryDay uint8 = 0x7f

// At tells whether local is within the hours.
func (q *Quiet) At(local time.Time) bool {
	minute, today := local.Hour()*60+local.Minute(), local.Weekday()
	if q.From <= q.To {
		return minute >= q.From && minute < q.To && q.on(today)
	}
	return minute >= q.From && q.on(today) || minute < q.To && q.on((today+6)%7)
}

// End is when the hours that local is within end: the next minute that is outside of them. ok is false if
// there is none within a week.
func (q *Quiet) End(local time.Time) (end time.Time, ok bool) {
	end = local.Truncate(time.Minute)
	for range 8 * 24 * 60 {
		if !q.At(end) {
			return end, true
		}
		end = end.Add(time.Minute)
	}
	return time.Time{}, false
}

func (q *Quiet) on(day time.Weekday) bool { return q.Days>>day&1 != 0 }

// PlaceOf is the place of a proposition.
func PlaceOf(channel, issue, group, action string, direction nba.Direction) Place {
	return Place{Channel: NameOf(channel), Issue: NameOf(issue), Group: NameOf(group), Action: NameOf(action), Side: SideOf(direction)}
}
