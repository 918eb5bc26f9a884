package nba

import "time"

// Counting is a Subject whose state of event strategies can be read with it, as of the same log index.
type Counting interface {
	Subject
	// Windows is that state, as runtime/trigger writes it; nil where there is none. It shares the memory of
	// the subject.
	Windows() ([]byte, error)
}

// SubjectAggregates is what the event strategies of the active catalog know of a subject.
type SubjectAggregates struct {
	SubjectRef
	// AsOf is the moment that windows are read at: sliding ones go on without events.
	AsOf time.Time `json:"asOf"`
	// Aggregates are in the order of the catalog.
	Aggregates []StrategyAggregate `json:"aggregates"`
}

// StrategyAggregate is what one event strategy knows of a subject.
type StrategyAggregate struct {
	Strategy string `json:"strategy"`
	Label    string `json:"label,omitempty"`
	// Aggregate is count, sum, min, max, distinct or last, or absence; Window the window as the catalog has it,
	// empty for all events.
	Aggregate string `json:"aggregate"`
	Window    string `json:"window,omitempty"`
	// Value is the aggregate; nil where nothing was counted whose aggregate is not 0, and for absences.
	Value *float64 `json:"value,omitempty"`
	// DueAt is when the strategy acts although no event comes: a window ends, or something that should have
	// happened did not; nil: it waits for events alone.
	DueAt *time.Time `json:"dueAt,omitempty"`
}
