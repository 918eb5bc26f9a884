package engine

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// benchAttributes and benchDocument are a catalog of telecom actions with about two rules each.
const benchAttributes = `partner bool
dependents bool
tenure int
monthlyCharges float
contract string
internetService string
since time
openComplaints int
`

func benchDocument(actions int) string {
	var b strings.Builder
	b.WriteString(`apiVersion: arbiter/v1
kind: Catalog
name: bench
channels: [{name: web, placements: [hero, banner]}, {name: callcentre, placements: [screen]}]
models: {churn: {plugin: churn}}
issues:
  - {name: Grow, groups: [{name: Plans}], suitability: [{when: 'subject.openComplaints == 0', code: COMPLAINT}]}
  - {name: Retain, lever: 10, groups: [{name: Care}]}
contextWeights: [{when: 'contexts["reason"] == "complaint"', issue: Retain, weight: 1.5}]
actions:
`)
	issues := [...][2]string{{"Grow", "Plans"}, {"Retain", "Care"}}
	for i := range actions {
		issue := issues[i%2]
		fmt.Fprintf(&b, `  - name: action-%04d
    issue: %s
    group: %s
    value: %d
    propensity: {model: churn, invert: %v}
    eligibility: [{when: 'subject.tenure >= %d && subject.monthlyCharges > %d.0', code: TOO_NEW}]
    applicability: [{when: 'subject.contract in ["Month-to-month", "One year"] || now - subject.since > duration("%dh")', code: BOUND}]
    treatments: [{name: t, channel: web, content: {headline: hello}}]
`, i, issue[0], issue[1], 50+i, i%2 == 0, i%40%12, i%20, 100+i%50)
	}
	return b.String()
}

// constantScorer gives every candidate a score of its position.
type constantScorer struct{ info nba.ModelInfo }

func (s *constantScorer) Score(_ context.Context, call *ScoreCall) (*nba.ModelInfo, error) {
	for i := range call.Out {
		call.Out[i] = 0.2 + 0.5*float64(i)/float64(len(call.Out))
	}
	return &s.info, nil
}

func benchInput(tb testing.TB, actions int) Input {
	tb.Helper()
	d := parseDictionary(tb, []byte(benchAttributes))
	c, err := catalog.Compile([]byte(benchDocument(actions)), "bench.yaml", catalog.Env{Dictionary: d})
	if err != nil {
		tb.Fatalf("%+v", err)
	}
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	var granted nba.PurposeSet
	req := &nba.DecisionRequest{Subject: nba.SubjectRef{ID: "S-1"}, Channel: "web",
		Contexts: []nba.ContextValue{{Key: "page", Value: "plans"}, {Key: "reason", Value: "complaint"}}}
	if err := ValidateRequest(req, c); err != nil {
		tb.Fatal(err)
	}
	return Input{
		Subject: &arraySubject{granted: granted.With(1).With(2), values: []nba.Value{
			nba.Bool(true), nba.Bool(false), nba.Int(24), nba.Float(79.5), nba.String("One year"), nba.String("Fiber optic"),
			nba.Time(now.Add(-500 * 24 * time.Hour)), nba.Int(0)}},
		Dictionary: d, Catalog: c, CatalogVersion: 7, Scorer: &constantScorer{info: nba.ModelInfo{Name: "churn"}},
		Request: req, DecisionID: "D-1", Now: now,
	}
}

// arraySubject costs as little as a subject can, so that the engine is what is measured.
type arraySubject struct {
	values  []nba.Value
	granted nba.PurposeSet
}

func (s *arraySubject) Ref() nba.SubjectRef     { return nba.SubjectRef{ID: "S-1", Type: nba.Subscriber} }
func (s *arraySubject) Version() uint64         { return 1 }
func (s *arraySubject) Granted() nba.PurposeSet { return s.granted }
func (s *arraySubject) Attribute(id nba.AttributeID) (nba.Value, bool) {
	return s.values[id], true
}

func benchmarkDecide(b *testing.B, actions int, explain nba.Explain) {
	in := benchInput(b, actions)
	in.Request.Options.Explain = explain
	e, out, ctx := New(Options{}), &nba.Decision{}, context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if err := e.Decide(ctx, in, out); err != nil {
			b.Fatal(err)
		}
	}
	if len(out.Propositions[0].Items) != 1 || out.Degraded {
		b.Fatalf("%+v", out)
	}
}

func BenchmarkDecide12(b *testing.B)        { benchmarkDecide(b, 12, nba.ExplainNone) }
func BenchmarkDecide12Reasons(b *testing.B) { benchmarkDecide(b, 12, nba.ExplainReasons) }
func BenchmarkDecide12Full(b *testing.B)    { benchmarkDecide(b, 12, nba.ExplainFull) }
func BenchmarkDecide500(b *testing.B)       { benchmarkDecide(b, 500, nba.ExplainNone) }

// benchmarkNoted is benchmarkDecide with what is read noted for replays.
func benchmarkNoted(b *testing.B, actions int) {
	in := benchInput(b, actions)
	in.Reads = new(Reads)
	e, out, ctx := New(Options{}), &nba.Decision{}, context.Background()
	b.ReportAllocs()
	for b.Loop() {
		in.Reads.Record()
		if err := e.Decide(ctx, in, out); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecide12Noted(b *testing.B)  { benchmarkNoted(b, 12) }
func BenchmarkDecide500Noted(b *testing.B) { benchmarkNoted(b, 500) }

func BenchmarkValidateRequest(b *testing.B) {
	in := benchInput(b, 12)
	b.ReportAllocs()
	for b.Loop() {
		if err := ValidateRequest(in.Request, in.Catalog); err != nil {
			b.Fatal(err)
		}
	}
}

// TestDecideHardlyAllocates keeps the hot path from growing allocations unseen.
func TestDecideHardlyAllocates(t *testing.T) {
	in := benchInput(t, 12)
	e, out, ctx := New(Options{}), &nba.Decision{}, context.Background()
	decide := func() {
		if err := e.Decide(ctx, in, out); err != nil {
			t.Fatal(err)
		}
	}
	decide()
	if allocs := testing.AllocsPerRun(200, decide); allocs > 1 {
		t.Errorf("got %v allocations", allocs)
	}
}
