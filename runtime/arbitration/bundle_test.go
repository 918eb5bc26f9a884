package arbitration

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// bundled are five actions, b and d of which are proposed together, and c and e not both.
func bundled(t *testing.T) []Candidate {
	t.Helper()
	c, err := catalog.Compile([]byte(strings.Replace(document, "actions:", "bundles: [{name: x, together: [b, d]}, {name: y, oneOf: [c, e]}]\nactions:", 1)),
		"f", catalog.Env{Dictionary: nba.NewDictionary()})
	if err != nil {
		t.Fatal(err)
	}
	var candidates []Candidate
	for i, a := range c.Actions {
		candidates = append(candidates, Candidate{Action: a, Priority: float64(10 - i)})
	}
	return candidates
}

func order(candidates []Candidate) (names string) {
	for i := range candidates {
		names += candidates[i].Action.Name
	}
	return names
}

// TestBundlesCompeteWithTheirMean has b (9) and d (7) compete as 8, as c does: the name of the first decides.
func TestBundlesCompeteWithTheirMean(t *testing.T) {
	candidates := bundled(t)
	Join(candidates, 1)
	if Rank(candidates); order(candidates) != "abdce" {
		t.Errorf("got %s", order(candidates))
	}
	candidates = bundled(t)
	candidates[3].Priority = 6 // d: the mean is 7.5
	Join(candidates, 1)
	if Rank(candidates); order(candidates) != "acbde" {
		t.Errorf("got %s", order(candidates))
	}
	candidates = bundled(t)
	candidates[3].Priority = 0 // d cannot be proposed, and so b cannot
	Join(candidates, 1)
	if Rank(candidates); order(candidates) != "abced" || !candidates[1].Incomplete || candidates[1].Competes(1) {
		t.Errorf("got %s, %+v", order(candidates), candidates[1])
	}
}

// TestExplorationOfBundles draws units: each is chosen as often as its probability says, which all of its
// candidates have, and the probabilities of what could be chosen sum to 1.
func TestExplorationOfBundles(t *testing.T) {
	random := rand.New(rand.NewPCG(20261122, 9))
	const rounds, explore = 30_000, 0.4
	chosen, probability := map[string]int{}, map[string]float64{}
	base := bundled(t)[:4]
	for range rounds {
		candidates := slices.Clone(base)
		Join(candidates, 1)
		Rank(candidates)
		p := Placing{Explore: explore, Random: random}
		positions, _ := p.Place(candidates, Slot{Placement: 1, Limit: 2}, nil)
		first := candidates[positions[0]]
		unit := first.Action.Name
		if first.Action.Bundle != nil {
			if other := candidates[positions[1]]; other.Action.Bundle != first.Action.Bundle || other.SelectionProbability != first.SelectionProbability {
				t.Fatalf("%+v and %+v", first, other)
			}
			unit = "bundle"
		}
		chosen[unit]++
		probability[unit] = first.SelectionProbability
	}
	sum := 0.0
	for unit, p := range probability {
		sum += p
		if share := float64(chosen[unit]) / rounds; math.Abs(share-p)/math.Sqrt(p*(1-p)/rounds) > 5 {
			t.Errorf("%s was chosen %v of the time, and its probability is %v", unit, share, p)
		}
	}
	if math.Abs(sum-1) > 1e-9 || len(probability) != 2 { // the bundle and c have a treatment there
		t.Errorf("the probabilities of %d units sum to %v", len(probability), sum)
	}
}

// TestArrange takes an order as it is given, or by weighted priorities; bundles stay together or are left
// out.
func TestArrange(t *testing.T) {
	for _, test := range []struct {
		given      string
		byPriority bool
		weights    map[string]float64
		want       string
	}{
		{given: "edcba", want: "edbca"},
		{given: "ecda", want: "eca"},
		{given: "bcd", byPriority: true, want: "bdc"},
		{given: "bcd", byPriority: true, weights: map[string]float64{"b": 0.5}, want: "cdb"},
		{given: "acde", byPriority: true, weights: map[string]float64{"e": 3}, want: "eac"},
		{given: "", want: ""},
	} {
		candidates := bundled(t)
		Join(candidates, 1)
		var arranged []Arranged
		for _, name := range test.given {
			weight := 1.0
			if w, ok := test.weights[string(name)]; ok {
				weight = w
			}
			arranged = append(arranged, Arranged{At: int(name - 'a'), Weight: weight})
		}
		got := ""
		for _, a := range Arrange(candidates, arranged, test.byPriority) {
			got += candidates[a.At].Action.Name
		}
		if got != test.want {
			t.Errorf("%s, by priority %v: got %s, want %s", test.given, test.byPriority, got, test.want)
		}
	}
}
