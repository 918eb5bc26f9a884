package nba

import (
	"encoding/json"
	"time"
)

// Limits of one event.
const (
	// MaxEventBytes bounds the data of an event.
	MaxEventBytes = 64 << 10
	// MaxEventText bounds the id, the source and the type of an event, in bytes.
	MaxEventText = MaxTextBytes
)

// Event is something that happened to a subject: a CloudEvent 1.0 as Arbiter keeps it.
type Event struct {
	// ID and Source together name the event: the same again is a duplicate.
	ID, Source string
	Type       string
	Subject    SubjectRef
	// Time is when it happened, to the millisecond, Received when it was accepted.
	Time, Received time.Time
	// Data is a JSON value, nil for none. Data that is not JSON is a JSON string: the text, or the bytes in
	// base64.
	Data json.RawMessage
	// SubjectName is the subject as the event names it, from which Subject was found out; "" if it does not.
	SubjectName string
	// MediaType is that of Data; "" is JSON. It ends in ";base64" where Data is bytes.
	MediaType string
	// Extensions are the extension attributes, a JSON object with texts, numbers and truth values; nil for none.
	Extensions json.RawMessage
}

// IncomingEvent is an event on its way in, or what came in its place.
type IncomingEvent struct {
	Event
	// Fault is why what came is no event, and Raw what came: the first MaxEventBytes of it.
	Fault error
	Raw   string
}

// EventStatus is what became of an event.
type EventStatus string

// What becomes of an event.
const (
	// EventAccepted was applied, and it is durable.
	EventAccepted EventStatus = "accepted"
	// EventDuplicate was applied earlier: nothing happened.
	EventDuplicate EventStatus = "duplicate"
	// EventDead was not applied and is among the dead letters.
	EventDead EventStatus = "deadLettered"
)

// EventReceipt answers one event.
type EventReceipt struct {
	Status EventStatus `json:"status"`
	// Letter is the id of the dead letter, Code and Detail tell why it is one.
	Letter string `json:"letter,omitempty"`
	Code   Code   `json:"code,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// StoredEvent is an event that was applied.
type StoredEvent struct {
	Event
	// Cursor is its place in the list of events: what is asked for after it begins behind it.
	Cursor string
}

// DeadLetter is an event that could not be applied.
type DeadLetter struct {
	ID       string
	Received time.Time
	// Code and Detail tell why.
	Code   Code
	Detail string
	// Event is the event if it is one, else Raw is what came.
	Event *Event
	Raw   string
}
