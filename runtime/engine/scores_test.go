package engine

import (
	"context"
	"errors"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// uptakeOf says what it is told of every candidate, and counts.
type uptakeOf struct {
	score float64
	err   error
	calls int
}

func (u *uptakeOf) Score(_ context.Context, call *ScoreCall) (*nba.ModelInfo, error) {
	u.calls++
	for i := range call.Out {
		call.Out[i] = u.score
	}
	return &nba.ModelInfo{Name: call.Model, Version: "1"}, u.err
}

const scoresCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: scores
channels: [{name: web, placements: [hero]}]
models: {uptake: {plugin: uptake}}
segments:
  - {name: keen, score: {model: uptake, from: 0.7}}
  - {name: keen-and-warm, when: 'segment("keen") && scores["uptake"] < 0.9'}
issues: [{name: Grow, groups: [{name: Plans}]}]
actions:
  - {name: a, issue: Grow, group: Plans, purpose: service, value: 1, eligibility: [{when: segment("keen-and-warm")}], treatments: [{name: t, channel: web}]}
  - {name: b, issue: Grow, group: Plans, purpose: service, value: 2, eligibility: [{when: '!segment("keen")'}], treatments: [{name: t, channel: web}]}
`

// TestSegmentsByScore: a segment follows what the model says now, asks it once a decision, holds for nobody where it
// fails, and is the one of then where a decision is made again.
func TestSegmentsByScore(t *testing.T) {
	dictionary := nba.NewDictionary()
	c, err := catalog.Compile([]byte(scoresCatalog), "scores", catalog.Env{Dictionary: dictionary})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range []struct {
		score float64
		err   error
		want  string
	}{{0.8, nil, "a"}, {0.95, nil, ""}, {0.1, nil, "b"}, {0.8, errors.New("broken"), ""}} {
		model := &uptakeOf{score: row.score, err: row.err}
		req := &nba.DecisionRequest{Subject: nba.SubjectRef{ID: "S-1"}, Channel: "web"}
		if err := ValidateRequest(req, c); err != nil {
			t.Fatal(err)
		}
		reads := &Reads{}
		reads.Record()
		in := Input{Subject: &testSubject{}, Dictionary: dictionary, Catalog: c, Scorer: model, Request: req, Reads: reads}
		var d, again nba.Decision
		if err := New(Options{}).Decide(t.Context(), in, &d); err != nil {
			t.Fatal(err)
		}
		if got := first(&d); got != row.want || model.calls != 1 {
			t.Errorf("at %v, %v: proposed %q after %d calls, want %q", row.score, row.err, got, model.calls, row.want)
		}
		played := &Reads{}
		played.Play(Recorded{Yes: append([]int(nil), reads.Recorded().Yes...), Aggregates: append([]float64(nil), reads.Recorded().Aggregates...)})
		in.Reads, in.Scorer = played, nil
		if err := New(Options{}).Decide(t.Context(), in, &again); err != nil || first(&again) != row.want || played.Strayed() != nil {
			t.Errorf("again: %q, %v, %v", first(&again), err, played.Strayed())
		}
	}
}

func first(d *nba.Decision) string {
	if len(d.Propositions[0].Items) == 0 {
		return ""
	}
	return d.Propositions[0].Items[0].Action
}
