package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/trigger"
)

// countingSubject has a state of event strategies.
type countingSubject struct {
	testSubject
	state []byte
	err   error
	reads int
}

func (s *countingSubject) Windows() ([]byte, error) {
	s.reads++
	return s.state, s.err
}

const countingDocument = `apiVersion: arbiter/v1
kind: Catalog
name: counting
channels: [{name: web, placements: [hero]}]
issues: [{name: Grow, groups: [{name: Data}]}]
actions:
  - name: extra
    issue: Grow
    group: Data
    value: 3
    treatments: [{name: t, channel: web}]
    purpose: service
    eligibility: [{when: aggregates.usage >= 3, code: USES_DATA}, {when: 'aggregates["usage"] < 100', code: TOO_MUCH}]
  - name: secret
    issue: Grow
    group: Data
    value: 5
    treatments: [{name: t, channel: web}]
    purpose: service
    eligibility: [{when: aggregates.private >= 0}]
  - {name: hello, issue: Grow, group: Data, value: 0, purpose: service, treatments: [{name: t, channel: web}]}
fallback: {action: hello}
eventStrategies:
  - {name: usage, on: [com.example.usage], window: {sliding: 1h}, aggregate: {sum: event.data.gb}}
  - {name: private, on: [com.example.usage], aggregate: count, purposes: [marketing]}
`

// TestAggregatesInDecisions: a decision reads what strategies counted as of its moment, each once, not what it
// may not use, and a replay gives the same although the state is another.
func TestAggregatesInDecisions(t *testing.T) {
	dictionary := nba.NewDictionary()
	c, err := catalog.Compile([]byte(countingDocument), "counting", catalog.Env{Dictionary: dictionary})
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	usage, _ := c.EventStrategy("usage")
	var m trigger.Machine
	change, err := m.Event(nil, usage.ID, &usage.Spec, &trigger.Event{TimeMS: at.UnixMilli(), ReceivedMS: at.UnixMilli(), Value: 4 * trigger.Unit}, at.UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
	subject := &countingSubject{state: append([]byte(nil), change.State...)}
	e := New(Options{})
	decide := func(who nba.Subject, now time.Time, reads *Reads) *nba.Decision {
		t.Helper()
		req := &nba.DecisionRequest{Subject: nba.SubjectRef{ID: "S-1"}, Channel: "web", Placements: []nba.PlacementRequest{{ID: "hero", Limit: 3}},
			Options: nba.DecisionOptions{Explain: nba.ExplainFull}}
		if err := ValidateRequest(req, c); err != nil {
			t.Fatal(err)
		}
		out := new(nba.Decision)
		if err := e.Decide(t.Context(), Input{Subject: who, Dictionary: dictionary, Catalog: c, Request: req, DecisionID: "D", Now: now, Reads: reads}, out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	first := func(d *nba.Decision) string { return d.Propositions[0].Items[0].Action }
	var reads Reads
	reads.Record()
	if got := first(decide(subject, at.Add(time.Minute), &reads)); got != "extra" || subject.reads != 1 {
		t.Errorf("proposed %s after %d readings", got, subject.reads)
	}
	recorded := reads.Recorded()
	if len(recorded.Aggregates) != 1 || recorded.Aggregates[0] != 4 {
		t.Errorf("noted %v", recorded.Aggregates)
	}
	if got := first(decide(subject, at.Add(2*time.Hour), nil)); got != "hello" {
		t.Errorf("proposed %s: what was used two hours ago does not count", got)
	}
	var again Reads
	again.Play(Recorded{Yes: recorded.Yes, Aggregates: append([]float64(nil), recorded.Aggregates...), Late: recorded.Late})
	if got := first(decide(&subject.testSubject, at.Add(time.Minute), &again)); got != "extra" || again.Strayed() != nil {
		t.Errorf("replayed as %s: %v", got, again.Strayed())
	}
	subject.err = errors.New("broken")
	if got := first(decide(subject, at.Add(time.Minute), nil)); got != "hello" {
		t.Errorf("proposed %s although the state cannot be read", got)
	}
	withheld := decide(subject, at, nil)
	for _, stage := range withheld.Explanation.Stages {
		for _, removed := range stage.Removed {
			if removed.Action == "secret" && removed.Label != "" && stage.Stage == "eligibility" {
				return
			}
		}
	}
	t.Error("what may not be used is not told of")
}
