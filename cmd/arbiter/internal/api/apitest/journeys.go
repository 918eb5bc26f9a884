package apitest

import "testing"

// journeys: a subject stands somewhere, and is brought into a stage, which again changes nothing.
func (s *suite) journeys(t *testing.T) {
	path := "/v1/subjects/" + subjectPath + "/journeys"
	s.do(t, call{op: "getJourneys", path: path, want: 200})
	s.do(t, call{op: "getJourneys", path: path + "?consistency=linearizable", want: 200})
	s.do(t, call{op: "getJourneys", path: path + "?consistency=perhaps", want: 422, code: "INVALID", invalid: true})
	s.do(t, call{op: "getJourneys", path: "/v1/subjects/contract-none/journeys", want: 404, code: "SUBJECT_UNKNOWN"})

	s.do(t, call{op: "moveJourney", path: path, media: jsonMedia, body: `{"journey": "cart", "stage": "open", "reason": "at the counter"}`, want: 200})
	s.do(t, call{op: "moveJourney", path: path, media: jsonMedia, body: `{"journey": "cart", "stage": "open"}`, want: 200})
	s.do(t, call{op: "getJourneys", path: path, want: 200})
	s.do(t, call{op: "moveJourney", path: path, media: jsonMedia, body: `{"journey": "cart", "stage": "bought", "from": "lapsed"}`, want: 409, code: "CONFLICT"})
	s.do(t, call{op: "moveJourney", path: path, media: jsonMedia, body: `{"journey": "tour", "stage": "open"}`, want: 404, code: "NOT_FOUND"})
	s.do(t, call{op: "moveJourney", path: path, media: jsonMedia, body: `{"journey": "cart"}`, want: 422, code: "INVALID", invalid: true})
	s.do(t, call{op: "moveJourney", path: path, media: jsonMedia, body: `{"journey": `, want: 400, code: "MALFORMED", invalid: true})
	s.do(t, call{op: "moveJourney", path: "/v1/subjects/contract-none/journeys", media: jsonMedia, body: `{"journey": "cart", "stage": "open"}`, want: 404, code: "SUBJECT_UNKNOWN"})
}
