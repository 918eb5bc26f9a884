package arbitration

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

const document = `apiVersion: arbiter/v1
kind: Catalog
name: x
channels: [{name: web, placements: [p0, p1, p2]}]
issues: [{name: G, groups: [{name: P}]}]
actions:
  - {name: a, issue: G, group: P, value: 1, treatments: [{name: t, channel: web, placements: [p0]}]}
  - {name: b, issue: G, group: P, value: 1, treatments: [{name: t, channel: web, placements: [p0, p1]}]}
  - {name: c, issue: G, group: P, value: 1, treatments: [{name: t, channel: web}]}
  - {name: d, issue: G, group: P, value: 1, treatments: [{name: t, channel: web, placements: [p1]}]}
  - {name: e, issue: G, group: P, value: 1, treatments: [{name: t, channel: web, placements: [p2]}]}
`

func testActions(t *testing.T) []*catalog.Action {
	t.Helper()
	c, err := catalog.Compile([]byte(document), "f", catalog.Env{Dictionary: nba.NewDictionary()})
	if err != nil {
		t.Fatal(err)
	}
	return c.Actions
}

func TestLever(t *testing.T) {
	for percent, want := range map[float64]float64{0: 1, 10: 1.1, -25: 0.75, -100: 0, -150: 0, 200: 3} {
		if got := Lever(percent); got != want {
			t.Errorf("%v: got %v, want %v", percent, got, want)
		}
	}
}

func TestPrioritize(t *testing.T) {
	for _, test := range []struct {
		c     Candidate
		want  float64
		ranks bool
	}{
		{c: Candidate{Propensity: 0.5, ContextWeight: 1.5, Value: 100, Lever: 0.25}, want: 18.75, ranks: true},
		{c: Candidate{Propensity: 0.2, ContextWeight: 0, Value: 100, Lever: 1}, want: 0},
		{c: Candidate{Propensity: 0.5, ContextWeight: 1e9, Value: 2, Lever: 1}, want: MaxContextWeight, ranks: true},
		{c: Candidate{Propensity: 1, ContextWeight: 1, Value: math.Inf(1), Lever: 1}, want: math.Inf(1)},
	} {
		test.c.Prioritize()
		if test.c.Priority != test.want || test.c.Ranks() != test.ranks {
			t.Errorf("got %v %v, want %v %v", test.c.Priority, test.c.Ranks(), test.want, test.ranks)
		}
	}
	if (&Candidate{Priority: math.NaN()}).Ranks() {
		t.Error("NaN ranks")
	}
}

// TestPlacementProperties checks, for random priorities, that the order of the candidates does not
// matter and that what is placed is what the rules allow.
func TestPlacementProperties(t *testing.T) {
	actions := testActions(t)
	random := rand.New(rand.NewPCG(20261122, 3))
	for range 2000 {
		var candidates []Candidate
		for _, a := range actions {
			candidates = append(candidates, Candidate{Action: a, Priority: float64(random.IntN(4)), HeldBack: random.IntN(8) == 0})
		}
		limits := []int{random.IntN(3), random.IntN(3), random.IntN(3)}
		want := place(t, slices.Clone(candidates), limits)
		random.Shuffle(len(candidates), func(i, j int) { candidates[i], candidates[j] = candidates[j], candidates[i] })
		if got := place(t, candidates, limits); got != want {
			t.Fatalf("the order of candidates matters: got %s, want %s", got, want)
		}
	}
}

func place(t *testing.T, candidates []Candidate, limits []int) string {
	t.Helper()
	Join(candidates, 0)
	Rank(candidates)
	seen := map[string]bool{}
	result := ""
	var placing Placing
	for placement, limit := range limits {
		positions, of := placing.Place(candidates, Slot{Placement: placement, Limit: limit}, nil)
		if len(positions) > limit || len(positions) > of || len(positions) < min(limit, of) {
			t.Fatalf("placed %d of %d with limit %d", len(positions), of, limit)
		}
		last := math.Inf(1)
		for _, i := range positions {
			c := candidates[i]
			if seen[c.Action.Name] || c.HeldBack || !c.Placed || !c.Ranks() || c.Priority > last || c.Action.Treatment(placement) == nil {
				t.Fatalf("placed %+v", c)
			}
			seen[c.Action.Name], last = true, c.Priority
			result += fmt.Sprintf("%d:%s ", placement, c.Action.Name)
		}
	}
	return result
}

func TestRankBreaksTiesByName(t *testing.T) {
	actions := testActions(t)
	candidates := []Candidate{{Action: actions[3], Priority: 2}, {Action: actions[1], Priority: 2}, {Action: actions[4], Priority: 3}, {Action: actions[0]}}
	Join(candidates, 0)
	Rank(candidates)
	got := ""
	for _, c := range candidates {
		got += c.Action.Name
	}
	if got != "ebda" {
		t.Errorf("got %s", got)
	}
}

// TestExploration draws many times and compares how often each candidate is chosen with the probability
// that is recorded; in all there is one proposition a position.
func TestExploration(t *testing.T) {
	actions := testActions(t)
	random := rand.New(rand.NewPCG(20261122, 5))
	const rounds = 40_000
	for _, explore := range []float64{0.2, 1} {
		chosen, probability := map[string]int{}, map[string]float64{}
		for range rounds {
			var candidates []Candidate
			for i, a := range actions {
				candidates = append(candidates, Candidate{Action: a, Priority: float64(10 - i)})
			}
			Join(candidates, 0)
			Rank(candidates)
			p := Placing{Explore: explore, Random: random}
			positions, of := p.Place(candidates, Slot{Limit: 1}, nil)
			if len(positions) != 1 || of < 2 {
				t.Fatalf("placed %d of %d", len(positions), of)
			}
			c := candidates[positions[0]]
			chosen[c.Action.Name]++
			if known, ok := probability[c.Action.Name]; ok && known != c.SelectionProbability {
				t.Fatalf("%s has the probabilities %v and %v", c.Action.Name, known, c.SelectionProbability)
			}
			probability[c.Action.Name] = c.SelectionProbability
		}
		sum := 0.0
		for name, p := range probability {
			sum += p
			share := float64(chosen[name]) / rounds
			if deviation := math.Abs(share-p) / math.Sqrt(p*(1-p)/rounds); p < 1 && deviation > 5 {
				t.Errorf("explore %v: %s was chosen %v of the time, and its probability is %v", explore, name, share, p)
			}
		}
		if math.Abs(sum-1) > 1e-9 {
			t.Errorf("explore %v: the probabilities sum to %v", explore, sum)
		}
	}
}

func TestDiversity(t *testing.T) {
	actions := testActions(t)
	for _, p := range []Placing{{MaxPerIssue: 1}, {MaxPerGroup: 2}} {
		var candidates []Candidate
		for i, a := range actions {
			candidates = append(candidates, Candidate{Action: a, Priority: float64(10 - i)})
		}
		Join(candidates, 0)
		Rank(candidates)
		issues, groups := map[string]int{}, map[string]int{}
		for placement := range 3 {
			positions, _ := p.Place(candidates, Slot{Placement: placement, Limit: 4}, nil)
			for _, i := range positions {
				issues[candidates[i].Action.Issue]++
				groups[candidates[i].Action.Issue+"/"+candidates[i].Action.Group]++
			}
		}
		for issue, n := range issues {
			if p.MaxPerIssue > 0 && n > p.MaxPerIssue {
				t.Errorf("%d propositions of issue %s", n, issue)
			}
		}
		for group, n := range groups {
			if p.MaxPerGroup > 0 && n > p.MaxPerGroup {
				t.Errorf("%d propositions of group %s", n, group)
			}
		}
		if len(issues) == 0 {
			t.Error("nothing is placed")
		}
	}
}
