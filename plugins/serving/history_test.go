package serving_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/arbiterhq/arbiter/runtime/wasm/wasmtest"
)

// remembering is a subject with a history, newest first.
type remembering struct {
	*subject
	history []nba.Touch
	reads   int
}

func (r *remembering) Touches(fn func(*nba.Touch) bool) error {
	r.reads++
	for i := range r.history {
		if touch := r.history[i]; !fn(&touch) {
			break
		}
	}
	return nil
}

// namedAction is a candidate that tells its name.
type namedAction struct {
	action
	name string
}

func (n namedAction) ActionName() string { return n.name }

func TestHistoryRecipes(t *testing.T) {
	d := dictionary(t)
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	ago := func(days float64, actionName, channel string, outcome nba.Outcome) nba.Touch {
		return nba.Touch{TimeMS: now.UnixMilli() - int64(days*24*3600*1000), Action: actionName, Channel: channel, Outcome: outcome}
	}
	history := []nba.Touch{
		ago(-1, "plan", "web", nba.Accepted), // later than the decision
		ago(0.5, "plan", "web", ""),
		ago(2, "roaming", "sms", nba.Rejected),
		ago(2.5, "roaming", "sms", ""),
		ago(10, "plan", "web", nba.Accepted),
		ago(11, "plan", "web", ""),
		ago(40, "device", "web", nba.Rejected),
	}
	missing := math.NaN()
	for _, tt := range []struct {
		name    string
		recipe  artifact.History
		history []nba.Touch
		want    [2]float64 // for plan and roaming
	}{
		{"contacts", artifact.History{Aggregate: "contacts"}, history, [2]float64{3, 3}},
		{"contacts in 7 days", artifact.History{Aggregate: "contacts", Days: 7}, history, [2]float64{2, 2}},
		{"contacts on sms", artifact.History{Aggregate: "contacts", Channel: "sms"}, history, [2]float64{1, 1}},
		{"accepts", artifact.History{Aggregate: "accepts"}, history, [2]float64{1, 1}},
		{"accepts in 7 days", artifact.History{Aggregate: "accepts", Days: 7}, history, [2]float64{0, 0}},
		{"rejections", artifact.History{Aggregate: "responses", Outcome: "Rejected"}, history, [2]float64{2, 2}},
		{"of an action", artifact.History{Aggregate: "responses", Outcome: "Rejected", Action: "device"}, history, [2]float64{1, 1}},
		{"of the same action", artifact.History{Aggregate: "contacts", SameAction: true}, history, [2]float64{2, 1}},
		{"days since the last contact", artifact.History{Aggregate: "daysSince"}, history, [2]float64{0.5, 0.5}},
		{"days since the same action", artifact.History{Aggregate: "daysSince", SameAction: true}, history, [2]float64{0.5, 2.5}},
		{"days since an acceptance", artifact.History{Aggregate: "daysSince", Outcome: "Accepted"}, history, [2]float64{10, 10}},
		{"days since, too long ago", artifact.History{Aggregate: "daysSince", Outcome: "Accepted", Days: 9}, history, [2]float64{missing, missing}},
		{"nothing yet", artifact.History{Aggregate: "contacts"}, nil, [2]float64{0, 0}},
		{"days since nothing", artifact.History{Aggregate: "daysSince"}, nil, [2]float64{missing, missing}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t, serving.Options{Sandbox: wasm.Config{Instances: 1}, MaxWarm: 1})
			m := manifest("1.0.0", feature("f", artifact.Recipe{History: &tt.recipe}))
			s := set(t, h, d, module(t, wasmtest.Guest{Weights: []float64{1}}, m))
			defer s.Release()
			who := &remembering{subject: person(t, d, nil), history: tt.history}
			c := call(d, who.subject)
			c.Subject, c.Now = who, now
			c.Candidates = []engine.Candidate{namedAction{name: "plan"}, namedAction{name: "roaming"}}
			c.Out = make([]float64, 2)
			if _, err := s.Score(context.Background(), c); err != nil {
				t.Fatal(err)
			}
			for i, want := range tt.want {
				if c.Out[i] != want && !(math.IsNaN(c.Out[i]) && math.IsNaN(want)) {
					t.Errorf("candidate %d: %v, want %v", i, c.Out[i], want)
				}
			}
			if who.reads != 1 {
				t.Errorf("the history was read %d times", who.reads)
			}
			// Without consent the history is missing, and said to be withheld.
			c.Mask, c.Features = 0, &engine.ScoreFeatures{}
			if _, err := s.Score(context.Background(), c); err != nil || !math.IsNaN(c.Out[0]) || len(c.Features.Withheld) != 1 {
				t.Errorf("without consent: %v, %v, withheld %v", c.Out, err, c.Features.Withheld)
			}
			if who.reads != 1 {
				t.Error("the history was read without consent")
			}
		})
	}
}

func TestHistoryThatCannotBeRead(t *testing.T) {
	d := dictionary(t)
	h := newHost(t, serving.Options{Sandbox: wasm.Config{Instances: 1}})
	m := manifest("1.0.0", feature("f", artifact.Recipe{History: &artifact.History{Aggregate: "contacts"}}))
	s := set(t, h, d, module(t, wasmtest.Guest{Weights: []float64{1}}, m))
	defer s.Release()
	if _, err := s.Score(context.Background(), call(d, person(t, d, nil), action{})); err == nil || !strings.Contains(err.Error(), "history") {
		t.Errorf("error %v", err)
	}
}

func TestCheckNames(t *testing.T) {
	m := manifest("1.0.0",
		feature("a", artifact.Recipe{History: &artifact.History{Aggregate: "contacts", Channel: "wbe", Action: "family-plan"}}),
		feature("b", artifact.Recipe{ActionProperty: "trem"}))
	names := serving.Names{Properties: []string{"term", "value"}, Actions: []string{"family-plan"}, Channels: []string{"web"}}
	err := serving.CheckNames(m, names)
	if nba.CodeOf(err) != nba.CodeInvalid {
		t.Fatal(err)
	}
	text := err.Error()
	for _, detail := range err.(*nba.Error).Details {
		text += detail.Detail
	}
	for _, want := range [...]string{"did you mean web?", "did you mean term?"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
	if err := serving.CheckNames(m, serving.Names{}); err != nil {
		t.Errorf("nothing is known: %v", err)
	}
}
