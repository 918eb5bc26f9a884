package command

import (
	"encoding/binary"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The parts of a kept event.
const (
	eventFormat       = 1
	eventFlagName     = 1 << 0
	eventFlagMedia    = 1 << 1
	eventFlagMore     = 1 << 2
	eventFlagData     = 1 << 3
	eventFlags        = eventFlagName | eventFlagMedia | eventFlagMore | eventFlagData
	maxEventExtension = 8 << 10
)

// AppendEvent appends what is kept of an event: all of it but its subject and its times. docs/format/events.md
// describes it. Texts beyond their limits are a fault of the caller.
func AppendEvent(dst []byte, e *nba.Event) []byte {
	flags := byte(0)
	for _, part := range [...]struct {
		flag byte
		has  bool
	}{{eventFlagName, e.SubjectName != ""}, {eventFlagMedia, e.MediaType != ""}, {eventFlagMore, len(e.Extensions) > 0}, {eventFlagData, e.Data != nil}} {
		if part.has {
			flags |= part.flag
		}
	}
	dst = append(dst, eventFormat, flags)
	dst = appendText(appendText(appendText(dst, e.ID), e.Source), e.Type)
	if e.SubjectName != "" {
		dst = appendText(dst, e.SubjectName)
	}
	if e.MediaType != "" {
		dst = appendText(dst, e.MediaType)
	}
	if len(e.Extensions) > 0 {
		dst = append(binary.AppendUvarint(dst, uint64(len(e.Extensions))), e.Extensions...)
	}
	if e.Data != nil {
		dst = append(binary.AppendUvarint(dst, uint64(len(e.Data))), e.Data...)
	}
	return dst
}

// OpenEvent reads what AppendEvent wrote. The event shares the memory of record and has neither subject nor
// times; see AppliedEvent.Event.
func OpenEvent(record []byte) (e nba.Event, err error) {
	r := reader{rest: record}
	format, flags := r.u8(), r.u8()
	if format != eventFormat || flags&^eventFlags != 0 {
		return e, ErrMalformed
	}
	e.ID, e.Source, e.Type = r.text(nba.MaxEventText), r.text(nba.MaxEventText), r.text(nba.MaxEventText)
	if flags&eventFlagName != 0 {
		e.SubjectName = r.text(nba.MaxEventText)
	}
	if flags&eventFlagMedia != 0 {
		e.MediaType = r.text(nba.MaxEventText)
	}
	if flags&eventFlagMore != 0 {
		e.Extensions = r.bytes(maxEventExtension)
	}
	if flags&eventFlagData != 0 {
		e.Data = r.bytes(nba.MaxEventBytes)
	}
	return e, r.end()
}

// bytes are at least one byte with their length before them.
func (r *reader) bytes(limit int) []byte {
	n := r.uvarint()
	if n == 0 || n > uint64(limit) {
		r.bad = true
		return nil
	}
	return r.take(int(n))
}

// Event is the event that was applied. It shares the memory of e.
func (e *AppliedEvent) Event() (nba.Event, error) {
	out, err := OpenEvent(e.Record)
	if err != nil {
		return out, err
	}
	ref, ok := ParseSubjectKey(e.Key)
	if !ok {
		return out, ErrMalformed
	}
	out.Subject, out.Time, out.Received = ref, time.UnixMilli(e.TimeMS).UTC(), time.UnixMilli(e.ReceivedMS).UTC()
	return out, nil
}
