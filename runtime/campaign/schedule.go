package campaign

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Schedule tells when runs of a campaign are due.
type Schedule struct {
	// Once is a run as soon as the campaign is there, if it never ran.
	Once bool
	// Expression is a cron expression with five fields; "" for none. Zone is where its hours are.
	Expression string
	Zone       *time.Location

	next cron.Schedule
}

// MissedFor is how late a run may begin that was due while nobody could start it. One that is later waits for
// its next time.
const MissedFor = time.Hour

// ParseSchedule reads a cron expression: minute, hour, day of the month, month and day of the week, or a
// descriptor such as @daily.
func ParseSchedule(expression string, zone *time.Location) (*Schedule, error) {
	if strings.HasPrefix(expression, "TZ=") || strings.HasPrefix(expression, "CRON_TZ=") || strings.HasPrefix(expression, "@every") {
		return nil, fmt.Errorf("the time zone is a field of its own, and a schedule has times of the day: minute hour day month weekday")
	}
	parser := cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)
	next, err := parser.Parse(expression)
	if err != nil {
		return nil, fmt.Errorf("no cron expression (minute hour day month weekday): %w", err)
	}
	return &Schedule{Expression: expression, Zone: zone, next: next}, nil
}

// Next is the first time after a moment; zero for none.
func (s *Schedule) Next(after time.Time) time.Time {
	if s == nil || s.next == nil {
		return time.Time{}
	}
	zone := s.Zone
	if zone == nil {
		zone = time.UTC
	}
	return s.next.Next(after.In(zone)).UTC()
}

// Due is the last time after since, and up to now, that a run should begin, unless it is too late for it.
// since is when the last one was due, or when the schedule began.
func (s *Schedule) Due(since, now time.Time) (at time.Time, due bool) {
	if earliest := now.Add(-MissedFor); since.Before(earliest) {
		since = earliest
	}
	for next := s.Next(since); !next.IsZero() && !next.After(now); next = s.Next(next) {
		at, due = next, true
	}
	return at, due
}
