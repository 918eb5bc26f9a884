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
	// MediaType is that of Data; "" is JSON.
	MediaType string
	// Extensions are the extension attributes, a JSON object with texts, numbers and truth values; nil for none.
	Extensions json.RawMessage
}
