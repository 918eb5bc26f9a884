package catalog

import (
	"cmp"
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// MaxSeasons bounds the seasons of a document.
const MaxSeasons = 64

// Season is a time that comes again: dates of every year, days of the week, hours of the day. What is
// not given does not bound it.
type Season struct {
	Name string
	// From and To are the first and the last day of the year, as month × 100 + day; 0 is all year. From
	// after To is a season over the turn of the year.
	From, To int
	// Hours have the hours and the days on which they begin.
	Hours contact.Quiet
	// Zone is where the season is; nil is where the subject is.
	Zone *time.Location
}

// endOfDay is the minute behind the last of a day.
const endOfDay = 24 * 60

// On tells whether the season is on. subject is the moment in the subject's time zone.
func (s *Season) On(subject time.Time) bool {
	local := subject
	if s.Zone != nil {
		local = subject.In(s.Zone)
	}
	if !s.Hours.At(local) {
		return false
	}
	if s.From == 0 {
		return true
	}
	if s.Hours.From > s.Hours.To && local.Hour()*60+local.Minute() < s.Hours.To {
		// The night belongs to the day on which it began.
		local = time.Date(local.Year(), local.Month(), local.Day()-1, 12, 0, 0, 0, time.UTC)
	}
	today := int(local.Month())*100 + local.Day()
	if s.From <= s.To {
		return s.From <= today && today <= s.To
	}
	return today >= s.From || today <= s.To
}

type seasonSpec struct {
	name   text
	season Season
	zone   text
}

func (d *decoder) season(n *yaml.Node) seasonSpec {
	s := seasonSpec{season: Season{Hours: contact.Quiet{To: endOfDay}}}
	var days uint8
	d.object(n, "a season",
		required("name", d.name(&s.name)),
		optional("dates", func(n *yaml.Node) {
			d.object(n, "the dates of a season", required("from", d.dayOfYear(&s.season.From)), required("to", d.dayOfYear(&s.season.To)))
		}),
		optional("days", d.list("days", 7, d.day(&days))),
		optional("hours", func(n *yaml.Node) {
			d.object(n, "the hours of a season", required("from", d.minute(&s.season.Hours.From)), required("to", d.minute(&s.season.Hours.To)))
			if s.season.Hours.From == s.season.Hours.To {
				d.fail(n, nba.CodeInvalid, "the hours end when they begin: from and to must differ")
			}
		}),
		optional("timeZone", d.label(&s.zone, MaxNameBytes)),
	)
	s.season.Name = s.name.value
	s.season.Hours.Days = cmp.Or(days, contact.EveryDay)
	return s
}

// dayOfYear reads a day of every year: month and day.
func (d *decoder) dayOfYear(to *int) func(*yaml.Node) {
	return func(n *yaml.Node) {
		if d.describing != nil && d.takes(n, jsonSchema{"type": "string", "pattern": "^[0-9]{2}-[0-9]{2}$"}) {
			return
		}
		// 2024 is a leap year: 02-29 is a day.
		at, err := time.Parse("2006-01-02", "2024-"+n.Value)
		if err != nil || n.Kind != yaml.ScalarNode {
			d.fail(n, nba.CodeInvalid, `this must be a month and a day in quotes, such as "12-24"`)
			return
		}
		*to = int(at.Month())*100 + at.Day()
	}
}

// seasons resolves the seasons of the document.
func (c *compiler) seasons() {
	c.seasonsBy = map[string]*Season{}
	first := map[string]*yaml.Node{}
	for i := range c.doc.seasons {
		spec := &c.doc.seasons[i]
		if !c.unique(first, spec.name, "season") {
			continue
		}
		if spec.zone.given() {
			zone, err := time.LoadLocation(spec.zone.value)
			if err != nil || spec.zone.value == time.Local.String() {
				c.fail(spec.zone.node, nba.CodeInvalid, "unknown time zone %s: use a name of the IANA database, such as Europe/Berlin", quote(spec.zone.value))
			}
			spec.season.Zone = zone
		}
		c.seasonsBy[spec.name.value] = &spec.season
	}
}

// seasonsOf are the seasons of a scope: its actions are in time where one of them is on.
func (c *compiler) seasonsOf(scope *scopeSpec) (seasons []*Season) {
	for _, name := range scope.seasons {
		season, ok := c.seasonsBy[name.value]
		if !ok {
			c.fail(name.node, nba.CodeInvalid, "unknown season %s%s", quote(name.value),
				c.suggest(name.value, sortedKeys(c.seasonsBy), "declare it under seasons"))
			continue
		}
		seasons = append(seasons, season)
	}
	return seasons
}

// String describes the season for explanations.
func (s *Season) String() string {
	text := s.Name
	if s.From != 0 {
		text += fmt.Sprintf(" from %02d-%02d to %02d-%02d", s.From/100, s.From%100, s.To/100, s.To%100)
	}
	if h := s.Hours; h.From != 0 || h.To != endOfDay {
		text += fmt.Sprintf(" between %02d:%02d and %02d:%02d", h.From/60, h.From%60, h.To/60, h.To%60)
	}
	return text
}
