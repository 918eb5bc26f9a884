package api

import (
	"context"
	"net/http"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Journeys is what the HTTP layer needs of a node for journeys.
type Journeys interface {
	// Journeys is where a subject stands; read is as for Subject.
	Journeys(ctx context.Context, ref nba.SubjectRef, read *nba.Read) (nba.SubjectJourneys, error)
	// MoveJourney brings a subject into a stage. The errors have CodeSubjectUnknown, CodeNotFound, CodeInvalid
	// and CodeConflict.
	MoveJourney(ctx context.Context, ref nba.SubjectRef, req nba.JourneyRequest) (nba.JourneyMoved, error)
}

func journeyOperations() []operation {
	const path = "/v1/subjects/{id}/journeys"
	return []operation{
		{id: "getJourneys", method: http.MethodGet, path: path, query: readQuery("type"), handle: getJourneys},
		{id: "moveJourney", method: http.MethodPost, path: path, query: []string{"type"}, consumes: []string{contentTypeJSON}, handle: moveJourney, idempotent: true},
	}
}

func getJourneys(ctx context.Context, core Core, in *request) (reply, error) {
	ref, err := subjectRef(in)
	if err != nil {
		return reply{}, err
	}
	read, err := readOf(in)
	if err != nil {
		return reply{}, err
	}
	journeys, err := core.Journeys(ctx, ref, &read)
	if err != nil {
		return reply{}, err
	}
	out, err := jsonReply(http.StatusOK, journeys)
	out.age = ageOf(&read)
	return out, err
}

func moveJourney(ctx context.Context, core Core, in *request) (reply, error) {
	ref, err := subjectRef(in)
	if err != nil {
		return reply{}, err
	}
	req, err := new(jsonReader).journeyRequest(string(in.body))
	if err != nil {
		return reply{}, err
	}
	moved, err := core.MoveJourney(ctx, ref, req)
	if err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, moved)
}

// journeyRequest reads the body of POST /v1/subjects/{id}/journeys.
func (r *jsonReader) journeyRequest(text string) (req nba.JourneyRequest, err error) {
	r.reset(text)
	r.members([]string{"journey", "stage", "from", "key", "reason"}, func(field int) {
		to := [...]*string{&req.Journey, &req.Stage, &req.From, &req.Key, &req.Reason}[field]
		*to = r.stringOf(nba.MaxTextBytes)
	})
	if r.fault == nil && (req.Journey == "" || req.Stage == "") {
		r.invalidAt("", "say which journey and which stage are meant: journey and stage")
	}
	return req, r.finish()
}
