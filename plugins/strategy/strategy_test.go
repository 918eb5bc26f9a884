package strategy

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestAppendInput(t *testing.T) {
	call := &engine.StrategyCall{Now: time.UnixMilli(17), Channel: "we\"b", Direction: nba.Inbound,
		Contexts: []nba.ContextValue{{Type: "a", Key: "k\n", Value: "\xff☎"}}, Placements: []engine.StrategyPlacement{{Name: "hero", Limit: 2}}}
	text := AppendInput(nil, call, 0, []Field{{"plan", nba.String("g\\old")}, {"gone", nba.Value{}}, {"vip", nba.Bool(true)}, {"n", nba.Int(-3)}, {"nan", nba.Float(math.NaN())}},
		[]Field{{"f", nba.Float(1.0 / 3)}, {"big", nba.Float(1e300)}})
	var got struct {
		NowMS              int64
		Channel, Direction string
		Contexts           []struct{ Type, Key, Value string }
		Subject            map[string]any
		Features           map[string]float64
		Placements         []struct {
			Name  string
			Limit int
		}
		Candidates []any
	}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if got.NowMS != 17 || got.Channel != "we\"b" || got.Contexts[0].Key != "k\n" || got.Contexts[0].Value != "\uFFFD☎" || got.Placements[0].Limit != 2 {
		t.Errorf("%s", text)
	}
	if len(got.Subject) != 3 || got.Subject["plan"] != "g\\old" || got.Subject["vip"] != true || got.Subject["n"] != -3.0 {
		t.Errorf("subject: %v", got.Subject)
	}
	if got.Features["f"] != 0.333333333333333 || got.Features["big"] != 1e300 { // at most 15 digits
		t.Errorf("features: %v", got.Features)
	}
}

func TestParseAnswer(t *testing.T) {
	picks, byPriority, err := ParseAnswer([]byte(`{"picks":[{"candidate":2,"weight":1.5,"treatment":"t","content":{"a":"b"},"later":1},{"candidate":0}],"byPriority":true,"later":[]}`), 3, nil)
	if err != nil || !byPriority || len(picks) != 2 || picks[0].Candidate != 2 || picks[0].Weight != 1.5 || picks[0].Treatment != "t" || picks[0].Content["a"] != "b" || picks[1].Weight != 0 {
		t.Errorf("%+v %v %v", picks, byPriority, err)
	}
	long := strings.Repeat("x", engine.MaxStrategyContentBytes+1)
	for text, word := range map[string]string{
		``: "not JSON", `[]`: "form", `{"picks":7}`: "form", `{}`: "no list picks", `{"picks":null}`: "no list picks",
		`{"picks":[{}]}`: "names no candidate", `{"picks":[{"candidate":3}]}`: "names no candidate", `{"picks":[{"candidate":-1}]}`: "names no candidate",
		`{"picks":[{"candidate":1},{"candidate":1}]}`:                                                            "second time",
		`{"picks":[{"candidate":0,"weight":0}]}`:                                                                 "weight",
		`{"picks":[{"candidate":0,"weight":101}]}`:                                                               "weight",
		`{"picks":[{"candidate":0,"weight":-1}]}`:                                                                "weight",
		`{"picks":[{"candidate":0},{"candidate":1},{"candidate":2},{"candidate":2}]}`:                            "picks 4 of 3",
		`{"picks":[{"candidate":0,"content":{"secret":"` + long + `"}}]}`:                                        "content",
		`{"picks":[{"candidate":0,"content":{"":"x"}}]}`:                                                         "content",
		`{"picks":[{"candidate":0,"content":{"a":"","b":"","c":"","d":"","e":"","f":"","g":"","h":"","i":""}}]}`: "9 fields",
	} {
		if _, _, err := ParseAnswer([]byte(text), 3, nil); err == nil || !strings.Contains(err.Error(), word) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %q", text, err, word)
		}
	}
}

func FuzzParseAnswer(f *testing.F) {
	f.Add([]byte(`{"picks":[{"candidate":2,"weight":1.5,"treatment":"t","content":{"a":"b"}}],"byPriority":true}`))
	f.Add([]byte(`{"picks":[{"candidate":1e9}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		picks, _, err := ParseAnswer(text, 4, nil)
		if err != nil {
			return
		}
		seen := map[int]bool{}
		for _, p := range picks {
			if p.Candidate < 0 || p.Candidate > 3 || seen[p.Candidate] || p.Weight < 0 || p.Weight > engine.MaxStrategyWeight || len(p.Content) > engine.MaxStrategyContent {
				t.Fatalf("%s gives %+v", text, picks)
			}
			seen[p.Candidate] = true
		}
	})
}
