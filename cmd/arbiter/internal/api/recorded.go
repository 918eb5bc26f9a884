package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

var retentionNames = []string{"maxAgeDays", "maxPerSubject", "idempotencyHours", "events"}

func getDecision(ctx context.Context, core Core, in *request) (reply, error) {
	id, err := in.param("id")
	if err != nil {
		return reply{}, err
	}
	read, err := readOf(in)
	if err != nil {
		return reply{}, err
	}
	rec, err := core.Decision(ctx, id, &read)
	if err != nil {
		return reply{}, err
	}
	body, err := appendRecord(nil, &rec)
	return reply{status: http.StatusOK, contentType: contentTypeJSON, body: body, age: ageOf(&read)}, err
}

// appendRecord appends the JSON of a stored decision: the members of its answer, as they were answered,
// and what came of it.
func appendRecord(dst []byte, rec *nba.DecisionRecord) ([]byte, error) {
	w := jsonWriter{dst: dst}
	w.decision(&rec.Decision)
	w.dst = w.dst[:len(w.dst)-1] // the closing brace
	w.raw(`,"subject":{"id":`)
	w.text(rec.Subject.ID)
	w.raw(`,"type":`)
	w.text(string(rec.Subject.Type))
	w.raw(`},"channel":`)
	w.text(rec.Channel)
	w.raw(`,"direction":`)
	w.text(string(rec.Direction))
	w.optional(`,"decisionRequestId":`, rec.DecisionRequestID)
	if rec.Consents != nil {
		consents, err := json.Marshal(rec.Consents)
		if err != nil {
			return w.dst, fmt.Errorf("encoding the consents of a decision: %w", err)
		}
		w.raw(`,"consents":`)
		w.raw(string(consents))
	}
	w.raw(`,"responses":[`)
	for i := range rec.Responses {
		r := &rec.Responses[i]
		w.comma(i)
		w.raw(`{"action":`)
		w.text(r.Action)
		w.optional(`,"treatment":`, r.Treatment)
		w.raw(`,"placement":`)
		w.text(r.Placement)
		w.raw(`,"outcome":`)
		w.text(string(r.Outcome))
		w.optional(`,"behaviour":`, r.Behaviour)
		if r.Value != 0 {
			w.raw(`,"value":`)
			w.float(r.Value)
		}
		w.raw(`,"time":`)
		w.time(r.Time)
		w.raw(`}`)
	}
	w.raw(`]}`)
	return w.dst, w.err
}

func getRetention(ctx context.Context, core Core, _ *request) (reply, error) {
	return jsonReply(http.StatusOK, core.Retention(ctx))
}

func setRetention(ctx context.Context, core Core, in *request) (reply, error) {
	retention, err := new(jsonReader).retention(string(in.body), core.Retention(ctx))
	if err != nil {
		return reply{}, err
	}
	if err := core.SetRetention(ctx, retention); err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, core.Retention(ctx))
}

// retention reads the body of PUT /v1/retention; what it leaves out stays as it is.
func (r *jsonReader) retention(text string, now nba.Retention) (nba.Retention, error) {
	r.reset(text)
	r.members(retentionNames, func(field int) {
		switch field {
		case 0:
			now.MaxAgeDays = int(r.integer(0, nba.MaxRetentionDays))
		case 1:
			now.MaxPerSubject = int(r.integer(0, nba.MaxRetentionPerSubject))
		case 2:
			now.IdempotencyHours = int(r.integer(1, nba.MaxIdempotencyHours))
		case 3:
			events := now.OfEvents()
			r.eventRetention(&events)
			now.Events = &events
		}
	})
	if now.Events != nil && now.Events.MaxAgeDays > now.Events.DuplicateDays && r.fault == nil {
		r.invalidAt("events/maxAgeDays", "events can be read at most as long as they are recognized: maxAgeDays is at most duplicateDays")
	}
	return now, r.finish()
}

// eventRetention reads how long events are kept; what it leaves out stays as it is.
func (r *jsonReader) eventRetention(now *nba.EventRetention) {
	r.members([]string{"duplicateDays", "maxAgeDays", "maxEvents", "letterDays", "maxLetters"}, func(field int) {
		switch field {
		case 0:
			now.DuplicateDays = int(r.integer(1, nba.MaxDuplicateDays))
		case 1:
			now.MaxAgeDays = int(r.integer(0, nba.MaxDuplicateDays))
		case 2:
			now.MaxEvents = int(r.integer(0, nba.MaxKeptEvents))
		case 3:
			now.LetterDays = int(r.integer(1, nba.MaxRetentionDays))
		case 4:
			now.MaxLetters = int(r.integer(0, nba.MaxKeptEvents))
		}
	})
}
