package api

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unsafe"

	"github.com/arbiterhq/arbiter/runtime/cloudevent"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Events is what the HTTP layer needs of a node for events.
type Events interface {
	// AcceptEvents applies events, in their order for each subject, and answers each once it is durable. Nothing
	// of events is kept. After an error it is open which of them were applied: sent again they are duplicates.
	AcceptEvents(ctx context.Context, events []nba.IncomingEvent) ([]nba.EventReceipt, error)
	// Events lists at most limit events behind cursor, oldest first, of a subject or (nil) of all. next is where
	// to go on, also when there are no more now; the cursor "now" begins with what comes.
	Events(ctx context.Context, subject *nba.SubjectRef, limit int, cursor string) (events []nba.StoredEvent, next string, err error)
	// Letters lists dead letters in the same way.
	Letters(ctx context.Context, limit int, cursor string) (letters []nba.DeadLetter, next string, err error)
	// Letter reads one. The errors have CodeLetterUnknown.
	Letter(ctx context.Context, id string) (nba.DeadLetter, error)
	// ReplayLetter sends the event of a letter once more and removes the letter.
	ReplayLetter(ctx context.Context, id string) (nba.EventReceipt, error)
	// RemoveLetter removes a letter.
	RemoveLetter(ctx context.Context, id string) error
}

const (
	// maxEvents bounds the events of one batch.
	maxEvents = 1000
	// defaultEvents and maxEventPage bound what a list gives.
	defaultEvents = 100
	maxEventPage  = 1000
)

// eventOperations are those of events.
func eventOperations() []operation {
	list := []string{"limit", "cursor"}
	return []operation{
		{id: "acceptEvents", method: http.MethodPost, path: "/v1/events", handle: acceptEvents, budget: budgetImport, limit: limitImport, admin: true,
			consumes: []string{cloudevent.MediaEvent, cloudevent.MediaBatch, contentTypeNDJSON, contentTypeJSON, contentTypeOctets},
			anyMedia: isBinaryEvent, stream: (*Admin).streamEvents},
		{id: "listEvents", method: http.MethodGet, path: "/v1/events", handle: listEvents, query: append([]string{"subject", "type"}, list...)},
		{id: "listLetters", method: http.MethodGet, path: "/v1/events/letters", handle: listLetters, query: list},
		{id: "getLetter", method: http.MethodGet, path: "/v1/events/letters/{id}", handle: getLetter},
		{id: "removeLetter", method: http.MethodDelete, path: "/v1/events/letters/{id}", handle: removeLetter},
		{id: "replayLetter", method: http.MethodPost, path: "/v1/events/letters/{id}/replay", handle: replayLetter},
	}
}

// headerEvent begins the headers of an event in binary mode.
const headerEvent = "ce-"

// isBinaryEvent tells whether a request is an event in binary mode, whose body may be of any type.
func isBinaryEvent(in *request) bool {
	return in.header("ce-specversion") != "" || in.header("ce-id") != ""
}

// acceptEvents answers POST /v1/events.
func acceptEvents(ctx context.Context, core Core, in *request) (reply, error) {
	if isBinaryEvent(in) {
		e, err := binaryEvent(in)
		return answerEvents(ctx, core, []nba.IncomingEvent{incoming(e, err, string(in.body))})
	}
	text := textOf(in.body)
	switch in.media {
	case contentTypeNDJSON:
		return bulkEvents(ctx, core, in)
	case contentTypeOctets:
		return reply{}, nba.Errorf(nba.CodeUnsupportedMedia, "an event in binary mode has the headers ce-specversion, ce-id, ce-source and ce-type")
	case cloudevent.MediaEvent:
		return structuredEvent(ctx, core, text)
	case contentTypeJSON:
		if !strings.HasPrefix(strings.TrimLeft(text, " \t\r\n"), "[") {
			return structuredEvent(ctx, core, text)
		}
	}
	events := make([]nba.IncomingEvent, 0, min(maxEvents, len(text)/200+1))
	err := cloudevent.Batch(text, maxEvents, func(raw string, e nba.Event, err error) {
		events = append(events, incoming(e, err, raw))
	})
	if err != nil {
		return reply{}, err
	}
	return answerEvents(ctx, core, events)
}

// textOf is a body as text. What is made of it must not outlive the request.
func textOf(body []byte) string { return unsafe.String(unsafe.SliceData(body), len(body)) }

func structuredEvent(ctx context.Context, core Core, text string) (reply, error) {
	e, err := cloudevent.Structured(text)
	if nba.CodeOf(err) == nba.CodeMalformed {
		return reply{}, err
	}
	return answerEvents(ctx, core, []nba.IncomingEvent{incoming(e, err, text)})
}

// incoming is an event or what is wrong with it.
func incoming(e nba.Event, err error, raw string) nba.IncomingEvent {
	if err != nil {
		return nba.IncomingEvent{Fault: err, Raw: raw}
	}
	return nba.IncomingEvent{Event: e}
}

// binaryEvent reads an event whose attributes are in headers.
func binaryEvent(in *request) (nba.Event, error) {
	media := in.header("Content-Type")
	var bad error
	e, err := cloudevent.Binary(media, in.body, func(yield func(name, value string)) {
		in.headers(func(name, value string) {
			if len(name) > len(headerEvent) && strings.EqualFold(name[:len(headerEvent)], headerEvent) {
				if strings.IndexByte(value, '%') >= 0 {
					plain, err := url.PathUnescape(value)
					if err != nil {
						bad = nba.Errorf(nba.CodeInvalid, "a ce- header holds a percent sign that begins no escape")
					}
					value = plain
				}
				yield(strings.ToLower(name[len(headerEvent):]), value)
			}
		})
	})
	if bad != nil {
		return e, bad
	}
	return e, err
}

func answerEvents(ctx context.Context, core Core, events []nba.IncomingEvent) (reply, error) {
	receipts, err := core.AcceptEvents(ctx, events)
	if err != nil {
		return reply{}, err
	}
	w := jsonWriter{dst: make([]byte, 0, 64+24*len(receipts))}
	counts := countReceipts(receipts)
	w.raw(`{`)
	w.counts(&counts)
	w.raw(`,"receipts":[`)
	for i := range receipts {
		w.comma(i)
		w.raw(`{`)
		w.receipt(&receipts[i])
		w.raw(`}`)
	}
	w.raw(`]}`)
	return reply{status: http.StatusOK, contentType: contentTypeJSON, body: w.dst}, w.err
}

// eventCounts is what became of events.
type eventCounts struct{ accepted, duplicates, dead int }

func countReceipts(receipts []nba.EventReceipt) (c eventCounts) {
	for i := range receipts {
		switch receipts[i].Status {
		case nba.EventAccepted:
			c.accepted++
		case nba.EventDuplicate:
			c.duplicates++
		default:
			c.dead++
		}
	}
	return c
}

func (w *jsonWriter) counts(c *eventCounts) {
	for i, n := range [...]struct {
		name  string
		count int
	}{{`"accepted":`, c.accepted}, {`"duplicates":`, c.duplicates}, {`"deadLettered":`, c.dead}} {
		w.comma(i)
		w.raw(n.name)
		w.int(n.count)
	}
}

func (w *jsonWriter) receipt(r *nba.EventReceipt) {
	w.raw(`"status":"`)
	w.raw(string(r.Status))
	w.raw(`"`)
	w.optional(`,"letter":`, r.Letter)
	w.optional(`,"code":`, string(r.Code))
	w.optional(`,"detail":`, r.Detail)
}

// page reads the parameters of a list.
func listPage(in *request) (limit int, cursor string, err error) {
	limit = defaultEvents
	if text := in.query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxEventPage {
			return 0, "", nba.Errorf(nba.CodeInvalid, "the query parameter limit must be a whole number from 1 to %d", maxEventPage)
		}
		limit = n
	}
	return limit, in.query.Get("cursor"), nil
}

func listEvents(ctx context.Context, core Core, in *request) (reply, error) {
	limit, cursor, err := listPage(in)
	if err != nil {
		return reply{}, err
	}
	var subject *nba.SubjectRef
	if id := in.query.Get("subject"); id != "" {
		subject = &nba.SubjectRef{ID: id, Type: nba.SubjectType(in.query.Get("type"))}
	} else if in.query.Get("type") != "" {
		return reply{}, nba.Errorf(nba.CodeInvalid, "the query parameter type is that of the subject: name the subject too")
	}
	events, next, err := core.Events(ctx, subject, limit, cursor)
	if err != nil {
		return reply{}, err
	}
	w := jsonWriter{dst: make([]byte, 0, 64+512*len(events))}
	w.raw(`{"items":[`)
	for i := range events {
		e := &events[i]
		w.comma(i)
		w.raw(`{"cursor":`)
		w.text(e.Cursor)
		w.raw(`,"receivedAt":`)
		w.time(e.Received)
		w.subject(e.Subject)
		w.raw(`,"event":`)
		w.dst = cloudevent.Append(w.dst, &e.Event)
		w.raw(`}`)
	}
	w.raw(`],"nextCursor":`)
	w.text(next)
	w.raw(`}`)
	return reply{status: http.StatusOK, contentType: contentTypeJSON, body: w.dst}, w.err
}

func (w *jsonWriter) subject(ref nba.SubjectRef) {
	w.raw(`,"subject":{"id":`)
	w.text(ref.ID)
	w.raw(`,"type":`)
	w.text(string(ref.Type))
	w.raw(`}`)
}

func (w *jsonWriter) letter(l *nba.DeadLetter) {
	w.raw(`{"id":`)
	w.text(l.ID)
	w.raw(`,"receivedAt":`)
	w.time(l.Received)
	w.raw(`,"code":`)
	w.text(string(l.Code))
	w.raw(`,"detail":`)
	w.text(l.Detail)
	if l.Event != nil {
		if l.Event.Subject.ID != "" {
			w.subject(l.Event.Subject)
		}
		w.raw(`,"event":`)
		w.dst = cloudevent.Append(w.dst, l.Event)
	} else {
		w.raw(`,"raw":`)
		w.text(strings.ToValidUTF8(l.Raw, "\uFFFD"))
	}
	w.raw(`}`)
}

func listLetters(ctx context.Context, core Core, in *request) (reply, error) {
	limit, cursor, err := listPage(in)
	if err != nil {
		return reply{}, err
	}
	letters, next, err := core.Letters(ctx, limit, cursor)
	if err != nil {
		return reply{}, err
	}
	w := jsonWriter{}
	w.raw(`{"items":[`)
	for i := range letters {
		w.comma(i)
		w.letter(&letters[i])
	}
	w.raw(`],"nextCursor":`)
	w.text(next)
	w.raw(`}`)
	return reply{status: http.StatusOK, contentType: contentTypeJSON, body: w.dst}, w.err
}

func getLetter(ctx context.Context, core Core, in *request) (reply, error) {
	id, err := in.param("id")
	if err != nil {
		return reply{}, err
	}
	letter, err := core.Letter(ctx, id)
	if err != nil {
		return reply{}, err
	}
	w := jsonWriter{}
	w.letter(&letter)
	return reply{status: http.StatusOK, contentType: contentTypeJSON, body: w.dst}, w.err
}

func removeLetter(ctx context.Context, core Core, in *request) (reply, error) {
	id, err := in.param("id")
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusNoContent}, core.RemoveLetter(ctx, id)
}

func replayLetter(ctx context.Context, core Core, in *request) (reply, error) {
	id, err := in.param("id")
	if err != nil {
		return reply{}, err
	}
	receipt, err := core.ReplayLetter(ctx, id)
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, receipt)
}

// bulkEvents answers a body of one event a line that has arrived as a whole.
func bulkEvents(ctx context.Context, core Core, in *request) (reply, error) {
	var lines bytes.Buffer
	out := newLineEncoder(&lines)
	run := bulkRun{core: core, say: func(v any) error { return out.Encode(v) }}
	err := run.read(ctx, bytes.NewReader(in.body))
	if err != nil && run.done == 0 {
		return reply{}, err
	}
	fault := run.finish(err, in.id)
	return reply{status: http.StatusOK, contentType: contentTypeNDJSON, body: lines.Bytes(), fault: fault}, errors.Join(run.failed)
}
