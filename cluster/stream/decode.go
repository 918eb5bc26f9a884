package stream

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/arbiterhq/arbiter/cluster/kafka"
	"github.com/arbiterhq/arbiter/runtime/cloudevent"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Format is how the messages of a topic are written.
type Format uint8

const (
	// FormatCloudEvents is CloudEvents 1.0 by its Kafka protocol binding, structured or binary, told apart by
	// each message (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md).
	FormatCloudEvents Format = iota
	// FormatJSON is any JSON object, which a Mapping makes an event.
	FormatJSON
)

// Mapping tells where a JSON message holds what an event needs: a path such as a.b, or a text after a =, which is
// then the same for all messages.
type Mapping struct {
	ID      string // "": the partition and the offset
	Source  string // "": the name of the stream
	Type    string
	Time    string // text of RFC 3339 or milliseconds since 1970; "": when the message was written
	Subject string // "": as for any event of its type
	Data    string // "": the whole message
}

const (
	maxPath    = 256
	headerKind = "content-type"
	headerCE   = "ce_"
)

func (m *Mapping) validate(f Format) error {
	if f == FormatCloudEvents {
		if *m != (Mapping{}) {
			return errors.New("a mapping is for messages that are plain JSON")
		}
		return nil
	}
	if m.Type == "" {
		return errors.New("the mapping does not tell where the type of an event is")
	}
	for _, path := range []string{m.ID, m.Source, m.Type, m.Time, m.Subject, m.Data} {
		if len(path) > maxPath || !strings.HasPrefix(path, "=") && strings.Contains("."+path+".", "..") && path != "" {
			return fmt.Errorf("a path of the mapping must be names with a dot between them, at most %d characters", maxPath)
		}
	}
	if strings.HasPrefix(m.Data, "=") || strings.HasPrefix(m.Time, "=") {
		return errors.New("data and time of the mapping must be paths")
	}
	return nil
}

// decode makes an event of a message. One that cannot be one has a Fault, which tells where it lies and keeps what
// it was.
func (r *Reader) decode(partition int32, m *kafka.Message) nba.IncomingEvent {
	var event nba.Event
	var err error
	if r.cfg.Format == FormatJSON {
		event, err = r.cfg.Mapping.event(m.Value)
		if err == nil && event.ID == "" {
			event.ID = strconv.Itoa(int(partition)) + "-" + strconv.FormatInt(m.Offset, 10)
		}
		if err == nil && event.Source == "" {
			event.Source = r.cfg.Name
		}
	} else {
		event, err = cloudEvent(m)
	}
	if err != nil {
		return nba.IncomingEvent{Fault: r.fault(partition, m, err), Raw: string(m.Value[:min(len(m.Value), nba.MaxEventBytes)])}
	}
	if event.Time.IsZero() && m.Time.UnixMilli() > 0 {
		event.Time = m.Time.UTC().Truncate(time.Millisecond)
	}
	return nba.IncomingEvent{Event: event}
}

// fault says where a message lies that is not an event, and why it is not.
func (r *Reader) fault(partition int32, m *kafka.Message, err error) error {
	code, message := nba.CodeMalformed, "it is not an event"
	if shown, ok := errors.AsType[*nba.Error](err); ok {
		code, message = shown.Code, shown.Message
	}
	return nba.Errorf(code, "topic %s, partition %d, offset %d: %s", r.cfg.Kafka.Topic, partition, m.Offset, message)
}

// cloudEvent reads a message by the Kafka protocol binding of CloudEvents.
func cloudEvent(m *kafka.Message) (nba.Event, error) {
	kind, binary := "", false
	for i := range m.Headers {
		switch name := m.Headers[i].Key; {
		case strings.EqualFold(name, headerKind):
			kind = string(m.Headers[i].Value)
		case strings.HasPrefix(name, headerCE):
			binary = true
		}
	}
	switch {
	case strings.HasPrefix(kind, cloudevent.MediaBatch):
		return nba.Event{}, nba.Errorf(nba.CodeInvalid, "a message holds one event and not a batch")
	case strings.HasPrefix(kind, "application/cloudevents") || !binary:
		return cloudevent.Structured(unsafe.String(unsafe.SliceData(m.Value), len(m.Value))) // nobody changes it
	}
	return cloudevent.Binary(kind, m.Value, func(yield func(name, value string)) {
		for i := range m.Headers {
			if name, ok := strings.CutPrefix(m.Headers[i].Key, headerCE); ok {
				yield(name, string(m.Headers[i].Value))
			}
		}
	})
}

// event makes an event of a JSON message.
func (m *Mapping) event(message []byte) (e nba.Event, err error) {
	if !json.Valid(message) {
		return e, nba.Errorf(nba.CodeMalformed, "the message is not JSON")
	}
	for _, part := range []struct {
		name, path string
		into       *string
		needed     bool
	}{{"type", m.Type, &e.Type, true}, {"id", m.ID, &e.ID, m.ID != ""}, {"source", m.Source, &e.Source, m.Source != ""}, {"subject", m.Subject, &e.SubjectName, false}} {
		value, ok := textAt(message, part.path)
		switch {
		case (!ok || value == "") && part.needed:
			return e, nba.Errorf(nba.CodeInvalid, "the message has no %s where the mapping says: a text or a number", part.name)
		case len(value) > nba.MaxEventText:
			return e, nba.Errorf(nba.CodeTooLarge, "the %s is longer than %d bytes", part.name, nba.MaxEventText)
		}
		*part.into = value
	}
	if e.Time, err = m.timeOf(message); err != nil {
		return e, err
	}
	data, ok := valueAt(message, m.Data)
	switch {
	case len(data) > nba.MaxEventBytes:
		return e, nba.Errorf(nba.CodeTooLarge, "the data of an event is at most %d bytes", nba.MaxEventBytes)
	case ok && string(data) != "null":
		e.Data = data
	}
	return e, nil
}

func (m *Mapping) timeOf(message []byte) (t time.Time, err error) {
	if m.Time == "" {
		return t, nil
	}
	text, _ := textAt(message, m.Time)
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
		t = time.UnixMilli(ms)
	} else if t, err = time.Parse(time.RFC3339, text); err != nil {
		t = time.Time{}
	}
	if t = t.UTC().Truncate(time.Millisecond); t.Year() < 1970 || t.Year() > 9999 {
		return t, nba.Errorf(nba.CodeInvalid, "the message has no time where the mapping says: text of RFC 3339, or milliseconds since 1970")
	}
	return t, nil
}

// textAt is the text or the number at a path, or what a path that begins with = says.
func textAt(message []byte, path string) (string, bool) {
	if fixed, ok := strings.CutPrefix(path, "="); ok {
		return fixed, true
	}
	if path == "" {
		return "", false
	}
	value, ok := valueAt(message, path)
	if !ok || len(value) == 0 {
		return "", false
	}
	switch c := value[0]; {
	case c == '"':
		var text string
		err := json.Unmarshal(value, &text)
		return text, err == nil
	case c == '-' || c >= '0' && c <= '9':
		return string(value), true
	}
	return "", false
}

// valueAt is the JSON value at a path of names; the whole message at the path "".
func valueAt(message []byte, path string) (value json.RawMessage, ok bool) {
	value = message
	for path != "" {
		name, rest, _ := strings.Cut(path, ".")
		var members map[string]json.RawMessage
		if json.Unmarshal(value, &members) != nil {
			return nil, false
		}
		if value, ok = members[name]; !ok {
			return nil, false
		}
		path = rest
	}
	return value, true
}
