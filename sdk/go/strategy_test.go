package arbiter

import (
	"encoding/json"
	"math"
	"os"
	"testing"
)

// FuzzReader holds the reader against encoding/json: what it takes, the other takes too, with the same
// numbers and texts.
func FuzzReader(f *testing.F) {
	vectors, err := os.ReadFile("../abi/vectors/strategy.json")
	if err != nil {
		f.Fatal(err)
	}
	var calls struct {
		Calls []struct{ Input json.RawMessage }
	}
	if err := json.Unmarshal(vectors, &calls); err != nil {
		f.Fatal(err)
	}
	for _, call := range calls.Calls {
		f.Add([]byte(call.Input))
	}
	for _, text := range []string{`{"subject":{"a":1e-7,"b":-0.5,"c":123456789012345678,"d":"\ud83d\ude00\ud83d","e":true}}`, `{"subject":{"a":-}}`, `{"x":[[[[`, `{"nowMs":1e400}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		in := &Input{Candidates: make([]Candidate, 0, 1)}
		if !readInput(in, text) {
			return
		}
		var want struct{ Subject map[string]any }
		if err := json.Unmarshal(text, &want); err != nil {
			return // the reader is more lenient with numbers and with texts that are not UTF-8
		}
		seen := map[string]bool{}
		for _, field := range in.Subject {
			if seen[field.Name] {
				return // the other keeps the last one
			}
			seen[field.Name] = true
		}
		for name, value := range want.Subject {
			switch value := value.(type) {
			case float64:
				if got, ok := in.Subject.Number(name); ok && math.Float64bits(got) != math.Float64bits(value) && got != value {
					t.Errorf("a number is %v, want %v", got, value)
				}
			case string:
				if got, ok := in.Subject.Text(name); ok && got != value && !containsReplacement(value) {
					t.Errorf("a text is %q, want %q", got, value)
				}
			}
		}
	})
}

func containsReplacement(text string) bool {
	for _, r := range text {
		if r == '\uFFFD' {
			return true
		}
	}
	return false
}

func TestAnswer(t *testing.T) {
	a := Answer{ByPriority: true, Picks: []Pick{{Candidate: 3, Weight: 0.1, Treatment: "a\"b\\\n", Content: []Text{{"x", "ü"}, {"y", ""}}}, {Candidate: 0}}}
	text := a.append(nil)
	var got struct {
		Picks []struct {
			Candidate int
			Weight    float64
			Treatment string
			Content   map[string]string
		}
		ByPriority bool
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if !got.ByPriority || len(got.Picks) != 2 || got.Picks[0].Candidate != 3 || got.Picks[0].Weight != 0.1 ||
		got.Picks[0].Treatment != "a\"b\\\n" || got.Picks[0].Content["x"] != "ü" || len(got.Picks[0].Content) != 2 || got.Picks[1].Content != nil {
		t.Errorf("%s", text)
	}
}
