package apitest

import (
	"encoding/json"
	"net/http"
	"testing"
)

// consents: what was put is read again with what follows from it, and can be put again.
func (s *suite) consents(t *testing.T) {
	path := "/v1/subjects/" + subjectPath + "/consents"
	put := func(body string, headers map[string]string, want int, code string) http.Header {
		t.Helper()
		header, _ := s.do(t, call{op: "putConsents", path: path, media: jsonMedia, body: body, headers: headers, want: want, code: code, invalid: want == 400 || want == 422})
		return header
	}
	const answers = `{"purposes":[{"privacyUsagePurpose":"marketing","status":"granted","validFor":{"startDateTime":"2026-01-01T00:00:00Z","endDateTime":"2999-01-01T00:00:00Z"}},` +
		`{"privacyUsagePurpose":"profiling","status":"withdrawn"}],"channels":[{"channel":"sms","status":"refused"}]}`
	header := put(answers, nil, 200, "")
	_, body := s.do(t, call{op: "getConsents", path: path, want: 200})
	var read struct {
		Purposes, Channels json.RawMessage
		Effective          struct{ Purposes map[string]bool }
	}
	s.decode(t, body, &read)
	if got := `{"purposes":` + string(read.Purposes) + `,"channels":` + string(read.Channels) + `}`; got != answers || !read.Effective.Purposes["service"] {
		t.Errorf("the consents that were read are not those that were put: %s", body)
	}
	put(string(body), map[string]string{"If-Match": header.Get("ETag")}, 200, "")
	put(answers, map[string]string{"If-Match": header.Get("ETag")}, 412, "PRECONDITION_FAILED")
	put(`{"purposes":[]}`, nil, 422, "INVALID")
	put(`{"purposes":[{"privacyUsagePurpose":"`+canary+`","status":"granted"}],"channels":[]}`, nil, 422, "INVALID")
	put(`{"purposes":[{"privacyUsagePurpose":"marketing","status":"perhaps"}],"channels":[]}`, nil, 422, "INVALID")
	put(`{"purposes":[{"privacyUsagePurpose":"marketing"}],"channels":[]}`, nil, 422, "INVALID")
	put(`{"purposes":[],"channels":[{"channel":"sms","status":"granted","validFor":{"endDateTime":"soon"}}]}`, nil, 422, "INVALID")
	put(`{"purposes":`, nil, 400, "MALFORMED")
	none := "/v1/subjects/contract-none/consents"
	s.do(t, call{op: "getConsents", path: none, want: 404, code: "SUBJECT_UNKNOWN"})
	s.do(t, call{op: "putConsents", path: none, media: jsonMedia, body: answers, want: 404, code: "SUBJECT_UNKNOWN"})
	put(`{"purposes":[{"privacyUsagePurpose":"marketing","status":"granted"},{"privacyUsagePurpose":"profiling","status":"granted"}],"channels":[]}`, nil, 200, "")
}
