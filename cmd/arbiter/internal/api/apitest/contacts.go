package apitest

import "testing"

// contacts: a subject stands somewhere with every policy, and one that is not there nowhere.
func (s *suite) contacts(t *testing.T) {
	s.do(t, call{op: "getContacts", path: "/v1/subjects/" + subjectPath + "/contacts", want: 200})
	s.do(t, call{op: "getContacts", path: "/v1/subjects/" + subjectPath + "/contacts?consistency=linearizable", want: 200})
	s.do(t, call{op: "getContacts", path: "/v1/subjects/" + subjectPath + "/contacts?consistency=perhaps", want: 422, code: "INVALID", invalid: true})
	s.do(t, call{op: "getContacts", path: "/v1/subjects/contract-none/contacts", want: 404, code: "SUBJECT_UNKNOWN"})
}
