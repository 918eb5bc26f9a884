package engine

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

const richAttributes = `tenure int
contract string
`

// richDocument is a random catalog with everything that has a say in arbitration.
func richDocument(r *rand.Rand, actions int) string {
	pick := func(options ...string) string { return options[r.IntN(len(options))] }
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: arbiter/v1
kind: Catalog
name: rich
strategy: mix
channels:
  - {name: web, placements: [hero, {name: banner, strategy: %s}, footer]}
models: {m: {plugin: m, evidence: %d}}
seasons: [{name: now, dates: {from: "11-01", to: "12-24"}}, {name: summer, dates: {from: "06-01", to: "08-31"}}, {name: noon, hours: {from: "11:00", to: "13:00"}}]
tables: [{name: push, hit: first, inputs: [subject.tenure], outputs: [percent], rows: [["> 10", 20], ["> 5", -30]]}]
arbitration: {explore: %s, maxPerIssue: %d, maxPerGroup: %d, minPriority: %s}
controlGroups: [{name: c, kind: %s, percent: %s}]
contactPolicies: [{name: few, limit: 6, per: day, counting: decisions}, {name: once, limit: 1, per: week, same: [action], counting: decisions}]
issues:
  - {name: A, lever: {table: push, output: percent}, groups: [{name: X}, {name: Y, seasons: [%s, noon]}]}
  - {name: B, suitability: [{when: 'history.outcome("Rejected").issue("B").count() < 2'}], groups: [{name: X}, {name: Y, lever: 10}]}
actions:
`, pick("none", "calm"), r.IntN(300), pick("0", "0", "0.3", "1"), 2+r.IntN(5), 2+r.IntN(4), pick("0", "0.2"),
		pick("randomRelevant", "propensityOnly", "noLevers", "eligibilityOnly"), pick("0", "0", "100"), pick("now", "summer"))
	for i := range actions {
		fmt.Fprintf(&b, "  - {name: n%02d, issue: %s, group: %s, value: %d, propensity: {model: m, starting: 0.3}, eligibility: [{when: 'subject.tenure >= %d'}], suitability: [{when: '%s'}], treatments: [{name: t, channel: web}, {name: u, channel: web}]}\n",
			i, pick("A", "B"), pick("X", "Y"), 1+r.IntN(5), r.IntN(4), pick("true", "true", `subject.contract != "Two year"`, `history.action("n01").daysSince() > 2.0`, `!(history.count() > 3)`))
	}
	b.WriteString("bundles:\n")
	names := r.Perm(actions)
	for i := 0; i+3 < actions; i += 4 {
		kind := pick("together", "together", "oneOf")
		fmt.Fprintf(&b, "  - {name: b%d, %s: [n%02d, n%02d", i, kind, names[i], names[i+1])
		if r.IntN(2) == 0 {
			fmt.Fprintf(&b, ", n%02d", names[i+2])
		}
		b.WriteString("]}\n")
	}
	return b.String()
}

// wilful is a strategy whose wishes depend on what it is given alone.
type wilful struct{}

func (wilful) Arrange(_ context.Context, call *StrategyCall) (*nba.ModelInfo, error) {
	mood := number(call.Name, call.Seed)
	if mood%5 == 0 {
		return nil, errors.New("not in the mood")
	}
	call.ByPriority = mood%2 == 0
	for i := range call.Candidates {
		if n := number(call.Candidates[i].Action.Name, call.Seed); n%8 > 0 {
			call.Picks = append(call.Picks, StrategyPick{Candidate: i, Weight: float64(n % 3), Treatment: []string{"", "u"}[n%2]})
		}
	}
	slices.SortFunc(call.Picks, func(a, b StrategyPick) int {
		return int(number(call.Candidates[a.Candidate].Action.Name, 7)%1000) - int(number(call.Candidates[b.Candidate].Action.Name, 7)%1000)
	})
	return &nba.ModelInfo{Name: call.Name, Version: "1.0.0"}, nil
}

func number(name string, seed uint64) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %d", name, seed)
	return h.Sum64() >> 8
}

// richInput is a random question to a random catalog.
func richInput(t *testing.T, r *rand.Rand, document string) Input {
	t.Helper()
	d := parseDictionary(t, []byte(richAttributes))
	c := mustCompile(t, []byte(document), d)
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	subject := &testSubject{granted: 2, values: map[nba.AttributeID]nba.Value{0: nba.Int(r.Int64N(20)), 1: nba.String([]string{"One year", "Two year"}[r.IntN(2)])}}
	in := Input{Subject: subject, Dictionary: d, Catalog: c, Strategy: wilful{}, DecisionID: "D", Now: now, Seed: r.Uint64(),
		Scorer: scorerFunc(func(_ context.Context, call *ScoreCall) (*nba.ModelInfo, error) {
			for i, candidate := range call.Candidates {
				call.Out[i] = float64(number(candidate.(*catalog.Action).Name, 3)%100) / 100
			}
			return &nba.ModelInfo{Name: "m"}, nil
		})}
	for i := range r.IntN(6) {
		subject.touches = append(subject.touches, nba.Touch{TimeMS: now.UnixMilli() - int64(i+1)*7e7, Action: fmt.Sprintf("n%02d", r.IntN(12)), Outcome: []nba.Outcome{"", nba.Rejected}[r.IntN(2)]})
	}
	for i := range r.IntN(3) {
		in.Contacts = in.Contacts.Append(&contact.Entry{Decision: [16]byte{byte(i)}, TimeMS: now.UnixMilli() - int64(i)*1e7, ReservedMS: 1,
			Place: contact.PlaceOf("web", "A", "X", fmt.Sprintf("n%02d", r.IntN(12)), nba.Inbound)})
	}
	in.Request = &nba.DecisionRequest{Subject: nba.SubjectRef{ID: "S-1"}, Channel: "web"}
	for _, placement := range []string{"hero", "banner", "footer"} {
		in.Request.Placements = append(in.Request.Placements, nba.PlacementRequest{ID: placement, Limit: 1 + r.IntN(4)})
	}
	if err := ValidateRequest(in.Request, c); err != nil {
		t.Fatal(err)
	}
	return in
}

// TestNothingElseChangesADecision makes random decisions over catalogs with bundles, seasons, levers from
// tables, history, exploration, control groups, contact policies and strategies: the order of the actions,
// the level of explanation, how many decisions are made at once and the memory of earlier ones change
// nothing, and the rules hold whatever a strategy wants.
func TestNothingElseChangesADecision(t *testing.T) {
	r := rand.New(rand.NewPCG(20261122, 11))
	shared := New(Options{})
	arranged, bundled, failed := 0, 0, 0
	for range 250 {
		document := richDocument(r, 12)
		in := richInput(t, r, document)
		want := decide(t, New(Options{}), context.Background(), in, &nba.Decision{})
		reversed := mustCompile(t, reverseActions(t, []byte(document)), in.Dictionary)
		var wg sync.WaitGroup
		for _, explain := range []nba.Explain{nba.ExplainNone, nba.ExplainReasons, nba.ExplainFull} {
			for _, c := range []*catalog.Catalog{in.Catalog, reversed} {
				again := in
				again.Catalog = c
				request := *in.Request
				request.Options.Explain = explain
				again.Request = &request
				wg.Go(func() {
					got := &nba.Decision{}
					if err := shared.Decide(context.Background(), again, got); err != nil {
						t.Error(err)
					}
					if diff := cmp.Diff(want.Propositions, got.Propositions); diff != "" || got.DegradedReason != want.DegradedReason {
						t.Errorf("explain %s: %s\n%s", explain, diff, document)
					}
				})
			}
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		b, a := checkRules(t, in, want)
		bundled, arranged = bundled+b, arranged+a
		if want.Degraded {
			failed++
		}
	}
	if arranged < 100 || bundled < 20 || failed < 20 {
		t.Errorf("%d arranged, %d bundles, %d failures: the cases tell little", arranged, bundled, failed)
	}
}

// checkRules checks what no strategy and no draw may break. It counts bundles and placements arranged.
func checkRules(t *testing.T, in Input, d *nba.Decision) (bundles, arranged int) {
	t.Helper()
	proposed, issues, groups := map[string]bool{}, map[string]int{}, map[string]int{}
	oneOf := uint64(0)
	full := decideFull(t, in)
	for i, p := range d.Propositions {
		if p.Strategy != nil {
			arranged++
		}
		if len(p.Items) > in.Request.Placements[i].Limit {
			t.Fatal("more than the placement takes")
		}
		for _, item := range p.Items {
			a, _ := in.Catalog.Action(item.Action)
			if proposed[item.Action] || oneOf&a.OneOf != 0 || !full[item.Action] || item.SelectionProbability <= 0 || item.SelectionProbability > 1 {
				t.Fatalf("%+v", item)
			}
			proposed[item.Action] = true
			oneOf |= a.OneOf
			issues[a.Issue]++
			groups[a.Issue+a.Group]++
			if item.Priority < in.Catalog.Arbitration.MinPriority {
				t.Fatalf("%s is below the threshold", item.Action)
			}
		}
	}
	rules := in.Catalog.Arbitration
	for _, n := range issues {
		if n > rules.MaxPerIssue {
			t.Fatal("too many of an issue")
		}
	}
	for _, n := range groups {
		if n > rules.MaxPerGroup {
			t.Fatal("too many of a group")
		}
	}
	for _, b := range in.Catalog.Bundles {
		n := 0
		for _, name := range b.Actions {
			if proposed[name] {
				n++
			}
		}
		if n != 0 && n != len(b.Actions) {
			t.Fatalf("%d of %d actions of a bundle", n, len(b.Actions))
		}
		if n > 0 {
			bundles++
		}
	}
	return bundles, arranged
}

// decideFull are the survivors of the policies.
func decideFull(t *testing.T, in Input) map[string]bool {
	t.Helper()
	request := *in.Request
	request.Options.Explain = nba.ExplainFull
	in.Request = &request
	survivors := map[string]bool{}
	for _, c := range decide(t, New(Options{}), context.Background(), in, &nba.Decision{}).Explanation.Candidates {
		survivors[c.Action] = true
	}
	return survivors
}
