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
	if len(details) == 0 {
		return nil
	}
	return &Error{Code: CodeInvalid, Message: "the retention is out of bounds", Details: details}
}
