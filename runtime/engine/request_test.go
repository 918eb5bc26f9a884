package engine

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestValidateRequestFillsIn(t *testing.T) {
	c := mustCompile(t, []byte(fallbackDocument), nba.NewDictionary())
	req := &nba.DecisionRequest{Subject: nba.SubjectRef{ID: "S-1"}, Channel: "sms"}
	if err := ValidateRequest(req, c); err != nil {
		t.Fatal(err)
	}
	want := &nba.DecisionRequest{
		Subject: nba.SubjectRef{ID: "S-1", Type: nba.Subscriber}, Channel: "sms", Direction: nba.Outbound,
		Placements: []nba.PlacementRequest{{ID: "message", Limit: 1}},
		Options:    nba.DecisionOptions{Explain: nba.ExplainNone, Consistency: ConsistencyLeader},
	}
	if diff := cmp.Diff(want, req); diff != "" {
		t.Error(diff)
	}
	if err := ValidateRequest(req, c); err != nil {
		t.Errorf("a valid request stays valid: %v", err)
	}
	// The placements of the catalog are shared: appending to those of a request must copy them.
	req.Placements = append(req.Placements, nba.PlacementRequest{ID: "x"})
	if channel, _ := c.Channel("sms"); len(channel.Requests) != 1 || cap(channel.Requests) != 1 {
		t.Error("the catalog changed")
	}
}

func TestValidateRequestReportsEverything(t *testing.T) {
	c := mustCompile(t, []byte(fallbackDocument), nba.NewDictionary())
	const secret = "do-not-echo"
	long := strings.Repeat("x", nba.MaxTextBytes+1)
	for _, test := range []struct {
		name string
		req  nba.DecisionRequest
		code nba.Code
		want []string
	}{
		{name: "empty", code: nba.CodeInvalid, want: []string{"/subject/id", "/channel"}},
		{name: "subject type", req: nba.DecisionRequest{Subject: nba.SubjectRef{ID: "S", Type: secret}, Channel: "web"},
			code: nba.CodeInvalid, want: []string{"/subject/type"}},
		{name: "everything", req: nba.DecisionRequest{
			Subject: nba.SubjectRef{ID: strings.Repeat(secret, 20)}, Channel: secret, Direction: secret, DecisionRequestID: long,
			Contexts:        []nba.ContextValue{{Key: "a", Value: long}, {Key: "a"}, {Value: "\xff"}},
			ExcludedActions: []string{secret},
			Options:         nba.DecisionOptions{Explain: secret, Consistency: secret, TimeoutMS: -1},
		}, code: nba.CodeInvalid, want: []string{"/subject/id", "/direction", "/channel", "/contexts/0/value", "/contexts/1/key", "/contexts/2/key",
			"/contexts/2/value", "/excludedActions/0", "/options/explain", "/options/consistency", "/options/timeoutMs", "/decisionRequestId"}},
		{name: "too many", req: nba.DecisionRequest{
			Subject: nba.SubjectRef{ID: "S"}, Channel: "web", Placements: make([]nba.PlacementRequest, nba.MaxPlacements+1),
			Contexts: make([]nba.ContextValue, nba.MaxContexts+1), ExcludedActions: make([]string, nba.MaxExcludedActions+1),
			Options: nba.DecisionOptions{TimeoutMS: MaxTimeoutMS + 1},
		}, code: nba.CodeInvalid, want: []string{"/placements", "/contexts", "/excludedActions", "/options/timeoutMs"}},
		{name: "unknown actions only", req: nba.DecisionRequest{Subject: nba.SubjectRef{ID: "S"}, Channel: "web", ExcludedActions: []string{"plan", secret}},
			code: nba.CodeActionUnknown, want: []string{"/excludedActions/1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := ValidateRequest(&test.req, c)
			e, ok := errors.AsType[*nba.Error](err)
			if !ok || e.Code != test.code {
				t.Fatalf("got %v", err)
			}
			var got []string
			for _, d := range e.Details {
				got = append(got, d.Pointer)
				if strings.Contains(d.Detail, secret) {
					t.Errorf("%s repeats an input value", d.Pointer)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
