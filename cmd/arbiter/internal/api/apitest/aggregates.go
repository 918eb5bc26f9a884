package apitest

import "testing"

// aggregates: what event strategies count of a subject can be read as other parts of it can.
func (s *suite) aggregates(t *testing.T) {
	path := "/v1/subjects/" + subjectPath + "/aggregates"
	s.do(t, call{op: "getAggregates", path: path, want: 200})
	s.do(t, call{op: "getAggregates", path: path + "?consistency=linearizable", want: 200})
	s.do(t, call{op: "getAggregates", path: path + "?consistency=perhaps", want: 422, code: "INVALID", invalid: true})
	s.do(t, call{op: "getAggregates", path: "/v1/subjects/contract-none/aggregates", want: 404, code: "SUBJECT_UNKNOWN"})
}
