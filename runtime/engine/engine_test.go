package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// scorerFunc adapts a function to Scorer.
type scorerFunc func(ctx context.Context, call *ScoreCall) (*nba.ModelInfo, error)

func (f scorerFunc) Score(ctx context.Context, call *ScoreCall) (*nba.ModelInfo, error) {
	return f(ctx, call)
}

func decide(t testing.TB, e *Engine, ctx context.Context, in Input, out *nba.Decision) *nba.Decision {
	t.Helper()
	if err := e.Decide(ctx, in, out); err != nil {
		t.Fatal(err)
	}
	return out
}

const fallbackDocument = `apiVersion: arbiter/v1
kind: Catalog
name: f
channels: [{name: web, placements: [hero, banner]}, {name: sms, direction: outbound, placements: [message]}]
models: {churn: {plugin: churn}, uptake: {plugin: uptake}}
issues: [{name: Grow, groups: [{name: Plans}]}, {name: Serve, groups: [{name: Self}]}]
actions:
  - {name: plan, issue: Grow, group: Plans, value: 10, purpose: service, propensity: {model: churn, starting: 0.1}, treatments: [{name: t, channel: web, placements: [hero]}]}
  - {name: addon, issue: Grow, group: Plans, value: 10, purpose: service, propensity: {model: uptake, starting: 0.2}, treatments: [{name: t, channel: web, placements: [hero]}]}
  - {name: app, issue: Serve, group: Self, purpose: service, value: 1, treatments: [{name: t, channel: web}]}
fallback: {action: app}
`

func fallbackInput(t testing.TB, explain nba.Explain) Input {
	t.Helper()
	d := nba.NewDictionary()
	c := mustCompile(t, []byte(fallbackDocument), d)
	req := &nba.DecisionRequest{Subject: nba.SubjectRef{ID: "S-1"}, Channel: "web", Options: nba.DecisionOptions{Explain: explain}}
	if err := ValidateRequest(req, c); err != nil {
		t.Fatal(err)
	}
	return Input{Subject: &testSubject{}, Dictionary: d, Catalog: c, CatalogVersion: 3, Request: req, DecisionID: "D-1",
		Now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
}

// TestDeadlineBetweenStages ends the context while the first model scores.
func TestDeadlineBetweenStages(t *testing.T) {
	for _, explain := range []nba.Explain{nba.ExplainNone, nba.ExplainReasons} {
		in := fallbackInput(t, explain)
		ctx, cancel := context.WithCancel(context.Background())
		in.Scorer = scorerFunc(func(ctx context.Context, call *ScoreCall) (*nba.ModelInfo, error) {
			cancel()
			return nil, ctx.Err()
		})
		out := decide(t, New(Options{}), ctx, in, &nba.Decision{})
		if !out.Degraded || out.DegradedReason != DegradedTimeout {
			t.Errorf("got degraded %v %s", out.Degraded, out.DegradedReason)
		}
		want := "hero:\n  1 app [Serve/Self] t  P 0.5 x C 1 x V 1 x L 1 = 0.5  FALLBACK: the deadline passed before the actions were ranked\nbanner:\n"
		if diff := cmp.Diff(want, renderPropositions(out)); diff != "" {
			t.Error(diff)
		}
		if explained := out.Explanation != nil; explained != (explain == nba.ExplainReasons) {
			t.Errorf("explanation %v", out.Explanation)
		}
	}
}

// slowSubject ends the deadline after so many reads.
type slowSubject struct {
	arraySubject
	reads  int
	cancel context.CancelFunc
}

func (s *slowSubject) Attribute(id nba.AttributeID) (nba.Value, bool) {
	if s.reads--; s.reads == 0 {
		s.cancel()
	}
	return s.arraySubject.Attribute(id)
}

// TestDeadlineWithinAStage ends the context while policies are evaluated: a stage of many actions is
// left, and is not explained.
func TestDeadlineWithinAStage(t *testing.T) {
	in := benchInput(t, 500)
	in.Request.Options.Explain = nba.ExplainReasons
	ctx, cancel := context.WithCancel(context.Background())
	subject := &slowSubject{arraySubject: *in.Subject.(*arraySubject), reads: 3, cancel: cancel}
	in.Subject = subject
	out := decide(t, New(Options{}), ctx, in, &nba.Decision{})
	if out.DegradedReason != DegradedTimeout || len(out.Propositions) != 2 || len(out.Propositions[0].Items) != 0 {
		t.Errorf("got %+v", out)
	}
	if stages := out.Explanation.Stages; len(stages) != 2 || stages[1].Stage != stageChannel {
		t.Errorf("got %+v", stages)
	}
	if subject.reads < -100 {
		t.Errorf("%d attributes were read after the deadline", -subject.reads)
	}
}

// TestModelFailureIsReportedAndSurvived has one model fail and the other score.
func TestModelFailureIsReportedAndSurvived(t *testing.T) {
	in := fallbackInput(t, nba.ExplainNone)
	trap := errors.New("trap")
	in.Scorer = scorerFunc(func(_ context.Context, call *ScoreCall) (*nba.ModelInfo, error) {
		if call.Model == "churn" {
			call.Out[0] = 0.99 // what a failed call leaves behind must not count
			return nil, trap
		}
		call.Out[0] = 0.6
		return &nba.ModelInfo{Name: call.Model}, nil
	})
	var failed []string
	e := New(Options{ModelFailed: func(model string, err error) { failed = append(failed, fmt.Sprintf("%s: %v", model, err)) }})
	in.Request.Placements = []nba.PlacementRequest{{ID: "hero", Limit: 5}}
	out := decide(t, e, context.Background(), in, &nba.Decision{})
	if diff := cmp.Diff([]string{"churn: trap"}, failed); diff != "" {
		t.Error(diff)
	}
	if out.DegradedReason != "MODEL_FAILED:churn" || !out.Degraded {
		t.Errorf("got %q", out.DegradedReason)
	}
	items := out.Propositions[0].Items
	if len(items) != 2 || items[0].Action != "addon" || items[0].Model.Name != "uptake" || items[1].Propensity != 0.1 || items[1].Model != nil {
		t.Errorf("got %+v", items)
	}
}

func TestNoScorerCountsAsFailure(t *testing.T) {
	out := decide(t, New(Options{}), context.Background(), fallbackInput(t, nba.ExplainNone), &nba.Decision{})
	if out.DegradedReason != "MODEL_FAILED:churn" || out.Propositions[0].Items[0].Action != "addon" {
		t.Errorf("got %+v", out)
	}
}

// TestOneCallForEachModel checks what the Scorer is handed.
func TestOneCallForEachModel(t *testing.T) {
	in := benchInput(t, 12)
	calls := 0
	in.Scorer = scorerFunc(func(_ context.Context, call *ScoreCall) (*nba.ModelInfo, error) {
		calls++
		if call.Model != "churn" || len(call.Candidates) != 12 || len(call.Out) != 12 || call.Subject != in.Subject ||
			call.Mask != 7 || len(call.Contexts) != 2 || call.Features != nil {
			t.Errorf("got %+v", call)
		}
		if v, ok := call.Candidates[3].Property("value"); v != 53 || !ok {
			t.Errorf("got value %v %v", v, ok)
		}
		return &nba.ModelInfo{Name: "churn"}, nil
	})
	decide(t, New(Options{}), context.Background(), in, &nba.Decision{})
	if calls != 1 {
		t.Errorf("got %d calls", calls)
	}
}

// TestScoresThatAreNoProbabilityAbstain includes both ends, which are probabilities.
func TestScoresThatAreNoProbabilityAbstain(t *testing.T) {
	for score, want := range map[float64]float64{0.25: 0.25, 1: 1, -0.01: 0.1, 1.01: 0.1, math.Inf(1): 0.1, math.Inf(-1): 0.1} {
		in := fallbackInput(t, nba.ExplainFull)
		in.Scorer = scorerFunc(func(_ context.Context, call *ScoreCall) (*nba.ModelInfo, error) {
			call.Out[0] = score
			return &nba.ModelInfo{Name: call.Model}, nil
		})
		out := decide(t, New(Options{}), context.Background(), in, &nba.Decision{})
		for _, c := range out.Explanation.Candidates {
			if c.Action == "plan" && (c.Propensity != want || (c.Model != nil) != (want == score)) {
				t.Errorf("score %v: got %+v", score, c)
			}
		}
		if out.Degraded {
			t.Errorf("score %v: abstaining is not degraded", score)
		}
	}
}

// TestReuseLeavesNothingBehind decides different questions into one Decision, with one Engine, and
// compares each with a fresh decision.
func TestReuseLeavesNothingBehind(t *testing.T) {
	full, empty := benchInput(t, 12), fallbackInput(t, nba.ExplainReasons)
	full.Request.Placements = []nba.PlacementRequest{{ID: "hero", Limit: 3}, {ID: "banner", Limit: 9}}
	sms := fallbackInput(t, nba.ExplainNone)
	sms.Request = &nba.DecisionRequest{Subject: nba.SubjectRef{ID: "S-1"}, Channel: "sms", ExcludedActions: []string{"app"}}
	if err := ValidateRequest(sms.Request, sms.Catalog); err != nil {
		t.Fatal(err)
	}
	questions := []Input{full, empty, sms, full, sms, empty}
	e, reused := New(Options{}), &nba.Decision{}
	for i, in := range questions {
		decide(t, e, context.Background(), in, reused)
		fresh := decide(t, New(Options{}), context.Background(), in, &nba.Decision{})
		if diff := cmp.Diff(fresh, reused); diff != "" {
			t.Errorf("question %d: -fresh +reused\n%s", i, diff)
		}
	}
}

// TestConcurrentDecisionsAgree is to be run with -race too.
func TestConcurrentDecisionsAgree(t *testing.T) {
	e := New(Options{})
	in := benchInput(t, 40)
	want := renderPropositions(decide(t, New(Options{}), context.Background(), in, &nba.Decision{}))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			out := &nba.Decision{}
			for range 200 {
				if err := e.Decide(context.Background(), in, out); err != nil {
					t.Error(err)
					return
				}
				if got := renderPropositions(out); got != want {
					t.Errorf("got %s, want %s", got, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestMetamorphic decides random questions with the actions of the catalog shuffled and with every
// level of explanation: neither may change a decision, and no decision may break the promises.
func TestMetamorphic(t *testing.T) {
	random := rand.New(rand.NewPCG(20261122, 4))
	in := benchInput(t, 60)
	shuffled := mustCompile(t, reverseActions(t, []byte(benchDocument(60))), in.Dictionary)
	e := New(Options{})
	// The score must depend on the action alone, not on its place in the call.
	in.Scorer = scorerFunc(func(_ context.Context, call *ScoreCall) (*nba.ModelInfo, error) {
		for i, c := range call.Candidates {
			value, _ := c.Property("value")
			call.Out[i] = math.Mod(value*0.37, 1.1) // some are no probability
		}
		return &nba.ModelInfo{Name: "churn"}, nil
	})
	for range 300 {
		in.Subject = randomSubject(random)
		in.Request = randomRequest(t, random, in.Catalog)
		want := decide(t, e, context.Background(), in, &nba.Decision{})
		checkPromises(t, in, want)
		for _, explain := range []nba.Explain{nba.ExplainNone, nba.ExplainReasons, nba.ExplainFull} {
			for _, c := range []*catalog.Catalog{in.Catalog, shuffled} {
				again := in
				again.Catalog = c
				again.Request.Options.Explain = explain
				got := decide(t, e, context.Background(), again, &nba.Decision{})
				if diff := cmp.Diff(want.Propositions, got.Propositions); diff != "" {
					t.Fatal(diff)
				}
				checkFunnel(t, got)
			}
		}
	}
}

func randomSubject(random *rand.Rand) *testSubject {
	s := &testSubject{granted: nba.PurposeSet(random.IntN(8)), values: map[nba.AttributeID]nba.Value{}}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for id, v := range []nba.Value{nba.Bool(random.IntN(2) == 0), nba.Bool(true), nba.Int(random.Int64N(20)), nba.Float(random.Float64() * 40),
		nba.String([]string{"One year", "Two year"}[random.IntN(2)]), nba.String("DSL"),
		nba.Time(now.Add(-time.Duration(random.IntN(300)) * time.Hour)), nba.Int(random.Int64N(2))} {
		if random.IntN(10) > 0 {
			s.values[nba.AttributeID(id)] = v
		}
	}
	return s
}

func randomRequest(t *testing.T, random *rand.Rand, c *catalog.Catalog) *nba.DecisionRequest {
	t.Helper()
	req := &nba.DecisionRequest{Subject: nba.SubjectRef{ID: "S-1"}, Channel: "web"}
	for _, id := range []string{"hero", "banner"} {
		if random.IntN(3) > 0 {
			req.Placements = append(req.Placements, nba.PlacementRequest{ID: id, Limit: random.IntN(6)})
		}
	}
	if random.IntN(2) == 0 {
		req.Contexts = []nba.ContextValue{{Key: "reason", Value: "complaint"}}
	}
	for range random.IntN(4) {
		req.ExcludedActions = append(req.ExcludedActions, fmt.Sprintf("action-%04d", random.IntN(60)))
	}
	if err := ValidateRequest(req, c); err != nil {
		t.Fatal(err)
	}
	return req
}

// checkPromises checks what holds of every decision.
func checkPromises(t *testing.T, in Input, d *nba.Decision) {
	t.Helper()
	seen := map[string]bool{}
	for i, p := range d.Propositions {
		if p.Placement != in.Request.Placements[i].ID || len(p.Items) > in.Request.Placements[i].Limit {
			t.Fatalf("placement %d: %+v", i, p)
		}
		last := math.Inf(1)
		for rank, item := range p.Items {
			a, ok := in.Catalog.Action(item.Action)
			consented := in.Subject.Granted()|in.Dictionary.WithoutConsent() != 0 && (in.Subject.Granted() | in.Dictionary.WithoutConsent()).Has(a.Purpose.ID)
			if !ok || seen[item.Action] || !consented || item.Rank != rank+1 || item.Priority > last ||
				item.Priority != item.Propensity*item.ContextWeight*item.Value*item.Lever {
				t.Fatalf("%+v", item)
			}
			for _, excluded := range in.Request.ExcludedActions {
				if excluded == item.Action {
					t.Fatalf("%s was excluded", excluded)
				}
			}
			seen[item.Action], last = true, item.Priority
		}
	}
}

// checkFunnel checks that no action gets lost between two stages.
func checkFunnel(t *testing.T, d *nba.Decision) {
	t.Helper()
	if d.Explanation == nil {
		return
	}
	stages := d.Explanation.Stages
	if len(stages) != 6 {
		t.Fatalf("got %d stages", len(stages))
	}
	for i, s := range stages {
		if s.Out != s.In-len(s.Removed) || i > 0 && s.In != stages[i-1].Out {
			t.Fatalf("%+v", stages)
		}
	}
}

func TestUnvalidatedRequestIsAnError(t *testing.T) {
	in := fallbackInput(t, nba.ExplainNone)
	for _, req := range []*nba.DecisionRequest{{Channel: "fax"}, {Channel: "web", Placements: []nba.PlacementRequest{{ID: "nowhere"}}}} {
		in.Request = req
		if err := New(Options{}).Decide(context.Background(), in, &nba.Decision{}); nba.CodeOf(err) != nba.CodeInvalid {
			t.Errorf("got %v", err)
		}
	}
}
