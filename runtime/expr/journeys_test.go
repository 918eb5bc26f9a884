package expr

import (
	"strings"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/journey"
)

type standing struct{ state *journey.State }

func (s standing) JourneyState() (*journey.State, bool) { return s.state, s.state != nil }

func text(s string) journey.Value { return journey.Value{Kind: journey.Text, Text: s} }

func standingInCart() *journey.State {
	return &journey.State{
		Open: []journey.Instance{{Journey: "cart", Stage: "open", BegunMS: 1_000, SinceMS: 60_000, Data: []journey.Field{
			{Name: "gift", Value: journey.Value{Kind: journey.Flag, Int: 1}}, {Name: "shop", Value: text("web")},
			{Name: "value", Value: journey.Value{Kind: journey.Number, Int: 249_500_000}}}}},
		Ended: []journey.Ended{{Journey: "trial", Stage: "lapsed"}},
	}
}

// TestJourneys asks where a subject stands, natively and in cel-go: a detour that only cel-go can take must
// make no difference.
func TestJourneys(t *testing.T) {
	env, err := NewEnv(testDictionary(t))
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]Verdict{
		`journey("cart").stage == "open"`:                                True,
		`journeys.cart.stage == "open" && journey("cart").open`:          True,
		`journey("cart").count == 1`:                                     True,
		`journey("cart").data.value > 100`:                               True,
		`journey("cart").data["value"] < 249.5`:                          False,
		`journey("cart").data.shop == "web"`:                             True,
		`journey("cart").data.gift == true`:                              True,
		`has(journey("cart").data.value)`:                                True,
		`has(journey("cart").data.other)`:                                False,
		`journey("cart").data.other == "x"`:                              Undefined,
		`has(journey("cart").stage)`:                                     True,
		`has(journey("trial").stage)`:                                    False,
		`journey("trial").stage == ""`:                                   True,
		`journey("trial").open`:                                          False,
		`journey("trial").last == "lapsed"`:                              True,
		`journey("cart").last == ""`:                                     True,
		`journey("trial").since < now`:                                   Undefined,
		`journey("cart").since < now`:                                    True,
		`now - journey("cart").begun > duration("1s")`:                   True,
		`journey("cart").stage in ["open", "checkout"]`:                  True,
		`journey("cart").stage.startsWith("op")`:                         True,
		`!(journey("trial").data.value > 1)`:                             Undefined,
		`has(journey("trial").data.value) ? journey("cart").open : true`: True,
	} {
		for _, detour := range []string{source, "[" + source + "].all(x, x)"} {
			p, problems := env.Compile(detour, BoolResult)
			if p == nil {
				t.Errorf("%s: %v", detour, problems)
				continue
			}
			v := testVars(testDictionary(t))
			v.Journeys = standing{standingInCart()}
			if got := p.Bool(v); got != want {
				t.Errorf("%s (native %v) is %s, want %s", detour, p.Native(), got, want)
			}
			if asks := p.Journeys(); len(asks) == 0 {
				t.Errorf("%s does not tell what it reads", detour)
			}
			if v.Journeys = nil; p.Bool(v) == True && !strings.Contains(source, "has(") {
				t.Errorf("%s is true of journeys that cannot be read", detour)
			}
			v.Journeys, v.Mask = standing{standingInCart()}, 0
			if p.Bool(v) == True && !strings.Contains(source, "has(") {
				t.Errorf("%s is true without consent", detour)
			}
			if got := v.Gap(); !strings.Contains(source, "has(") && (got.Journey == "" || !got.Withheld) {
				t.Errorf("%s leaves the gap %+v", detour, got)
			}
		}
	}
}

// TestJourneyMistakes: what cannot be asked is told with the way to ask.
func TestJourneyMistakes(t *testing.T) {
	env, err := NewEnv(testDictionary(t))
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		`journey("cart") == "open"`:          "stands alone",
		`journey(channel).stage == "open"`:   "literal text",
		`journey("cart").stag == "open"`:     "did you mean stage?",
		`journey("cart").data == {}`:         "stands alone",
		`journey("cart").data[channel] == 1`: "must be literal",
		`journeys == {}`:                     "stands alone",
		`journey("cart").count == "1"`:       "does not go with",
	} {
		_, problems := env.Compile(source, BoolResult)
		if len(problems) == 0 || !strings.Contains(problems[0].Detail, want) {
			t.Errorf("%s: got %+v, want %q", source, problems, want)
		}
	}
	events, err := NewEventEnv(testDictionary(t))
	if err != nil {
		t.Fatal(err)
	}
	if _, problems := events.Compile(`journey("cart").open`, BoolResult); len(problems) == 0 {
		t.Error("an expression over events asks for a journey, which only the state machine knows then")
	}
}

// TestJourneyClause: conditions are shown as they are written.
func TestJourneyClause(t *testing.T) {
	for text, want := range map[string]string{
		`journeys["cart"].open && journeys["a-b"].data.x > 1`: `journey("cart").open && journey("a-b").data.x > 1`,
		`subject.tenure > 1`: `subject.tenure > 1`, `journeys["cart`: `journeys["cart`,
	} {
		if got := asJourneyCalls(text); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
