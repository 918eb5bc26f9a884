package nba

import (
	"fmt"
	"time"
)

// Retention tells how long what a cluster remembers of its decisions is kept.
type Retention struct {
	// MaxAgeDays is how old a decision, with its responses, may become; 0 means for ever.
	MaxAgeDays int `json:"maxAgeDays"`
	// MaxPerSubject is how many decisions of one subject are kept; a newer one displaces the oldest.
	// 0 means any number.
	MaxPerSubject int `json:"maxPerSubject"`
	// IdempotencyHours is how long the answer to a request with an Idempotency-Key is kept.
	IdempotencyHours int `json:"idempotencyHours"`
	// Events tells how long events are kept; nil is DefaultEventRetention.
	Events *EventRetention `json:"events,omitempty"`
}

// EventRetention tells how long what a cluster remembers of events is kept.
type EventRetention struct {
	// DuplicateDays is how long an event is recognized when it comes again.
	DuplicateDays int `json:"duplicateDays"`
	// MaxAgeDays is how long events can be read, at most DuplicateDays, and MaxEvents how many; 0: any number.
	MaxAgeDays int `json:"maxAgeDays"`
	MaxEvents  int `json:"maxEvents"`
	// LetterDays is how long dead letters are kept, and MaxLetters how many; 0: any number.
	LetterDays int `json:"letterDays"`
	MaxLetters int `json:"maxLetters"`
}

// DefaultEventRetention holds until another is set.
func DefaultEventRetention() EventRetention {
	return EventRetention{DuplicateDays: 7, MaxAgeDays: 7, MaxEvents: 10_000_000, LetterDays: 30, MaxLetters: 100_000}
}

// OfEvents is the retention of events.
func (r Retention) OfEvents() EventRetention {
	if r.Events == nil {
		return DefaultEventRetention()
	}
	return *r.Events
}

// DefaultRetention holds until another is set.
func DefaultRetention() Retention {
	return Retention{MaxAgeDays: 400, MaxPerSubject: 1000, IdempotencyHours: 24}
}

// The bounds of Retention.
const (
	MaxRetentionDays       = 36_500
	MaxRetentionPerSubject = 65_535
	MaxIdempotencyHours    = 24 * 31
	MaxDuplicateDays       = 400
	MaxKeptEvents          = 1_000_000_000
)

// MaxAge is MaxAgeDays as a duration, 0 for ever.
func (r Retention) MaxAge() time.Duration { return time.Duration(r.MaxAgeDays) * 24 * time.Hour }

// IdempotencyTTL is IdempotencyHours as a duration.
func (r Retention) IdempotencyTTL() time.Duration {
	return time.Duration(r.IdempotencyHours) * time.Hour
}

// Validate names every value that is out of bounds, as an *Error with CodeInvalid.
func (r Retention) Validate() error {
	var details []Detail
	check := func(pointer string, value, low, high int) {
		if value < low || value > high {
			details = append(details, Detail{Pointer: pointer, Code: CodeInvalid, Detail: fmt.Sprintf("a whole number from %d to %d", low, high)})
		}
	}
	check("/maxAgeDays", r.MaxAgeDays, 0, MaxRetentionDays)
	check("/maxPerSubject", r.MaxPerSubject, 0, MaxRetentionPerSubject)
	check("/idempotencyHours", r.IdempotencyHours, 1, MaxIdempotencyHours)
	if e := r.Events; e != nil {
		check("/events/duplicateDays", e.DuplicateDays, 1, MaxDuplicateDays)
		check("/events/maxAgeDays", e.MaxAgeDays, 0, min(e.DuplicateDays, MaxDuplicateDays))
		check("/events/maxEvents", e.MaxEvents, 0, MaxKeptEvents)
		check("/events/letterDays", e.LetterDays, 1, MaxRetentionDays)
		check("/events/maxLetters", e.MaxLetters, 0, MaxKeptEvents)
	}
	if len(details) == 0 {
		return nil
	}
	return &Error{Code: CodeInvalid, Message: "the retention is out of bounds", Details: details}
}
