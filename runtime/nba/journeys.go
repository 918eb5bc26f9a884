package nba

import "time"

// SubjectJourneys is where a subject stands in its journeys.
type SubjectJourneys struct {
	SubjectRef
	// Journeys are the instances that have not ended, in the order they began.
	Journeys []JourneyInstance `json:"journeys"`
	// Moves are the last moves, newest first.
	Moves []JourneyMove `json:"moves"`
}

// JourneyInstance is one run of a subject through a journey.
type JourneyInstance struct {
	Journey string `json:"journey"`
	Label   string `json:"label,omitempty"`
	// Instance numbers the instances of a subject, Key tells those of one journey apart.
	Instance   uint64    `json:"instance"`
	Key        string    `json:"key,omitempty"`
	Stage      string    `json:"stage"`
	StageLabel string    `json:"stageLabel,omitempty"`
	BegunAt    time.Time `json:"begunAt"`
	Since      time.Time `json:"since"`
	// Due is when the stage times out, and which comes then; nil: it does not.
	Due *JourneyDue `json:"due,omitempty"`
	// Data is what the instance carries along: text, numbers, flags and times.
	Data map[string]any `json:"data,omitempty"`
}

// JourneyDue is when a stage times out.
type JourneyDue struct {
	At    time.Time `json:"at"`
	Stage string    `json:"stage,omitempty"`
}

// JourneyMove is one move of a subject in a journey.
type JourneyMove struct {
	Time     time.Time `json:"time"`
	Journey  string    `json:"journey"`
	Instance uint64    `json:"instance"`
	Key      string    `json:"key,omitempty"`
	// From is empty where an instance began, To where it made room for another.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Cause is event, response, timeout, person or replaced; Detail the type of the event, the outcome, or
	// the reason that a person gave.
	Cause  string `json:"cause"`
	Detail string `json:"detail,omitempty"`
}

// JourneyRequest asks that a subject be in a stage of a journey.
type JourneyRequest struct {
	Journey string `json:"journey"`
	Stage   string `json:"stage"`
	// From is the stage it must be in; empty: any, or none.
	From string `json:"from,omitempty"`
	// Key tells the instance, of a journey whose instances have keys.
	Key    string `json:"key,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// JourneyMoved tells what a JourneyRequest did.
type JourneyMoved struct {
	SubjectRef
	Journey string `json:"journey"`
	Key     string `json:"key,omitempty"`
	Stage   string `json:"stage"`
	// Changed is false when the subject was there already.
	Changed bool `json:"changed"`
	// Began and Ended tell that the instance did so with this move.
	Began bool `json:"began,omitempty"`
	Ended bool `json:"ended,omitempty"`
}
