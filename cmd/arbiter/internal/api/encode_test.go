package api

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// standard is what encoding/json writes, with empty slices in the place of nil ones.
func standard(d *nba.Decision) ([]byte, error) {
	normal := *d
	normal.Propositions = append([]nba.PlacementPropositions{}, d.Propositions...)
	for i := range normal.Propositions {
		normal.Propositions[i].Items = append([]nba.Proposition{}, normal.Propositions[i].Items...)
	}
	if d.Explanation != nil {
		e := *d.Explanation
		e.Stages = append([]nba.Stage{}, e.Stages...)
		for i := range e.Stages {
			e.Stages[i].Removed = append([]nba.Removal{}, e.Stages[i].Removed...)
		}
		normal.Explanation = &e
	}
	var buf bytes.Buffer
	encoder := json.NewEncoder(&buf)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(&normal)
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), err
}

func sampleRequest(explain nba.Explain) *nba.DecisionRequest {
	return &nba.DecisionRequest{Placements: []nba.PlacementRequest{{ID: "hero", Limit: 2}, {ID: "banner", Limit: 1}},
		Options: nba.DecisionOptions{Explain: explain}}
}

func TestAppendDecisionEqualsEncodingJSON(t *testing.T) {
	empty := nba.Decision{}
	expires := memTime.Add(time.Hour).In(time.FixedZone("", 5400))
	awkward := sampleDecision("id", sampleRequest(nba.ExplainFull))
	awkward.DegradedReason = "\x00\x1f\"\\/\b\f\n\r\t<>&\u2028\u2029\xff\xed\xa0\x80é😀\x7f"
	awkward.Propositions[0].Items[0].ExpiresAt = &expires
	awkward.Propositions[0].Items[0].ResponseToken = "token"
	awkward.Propositions[0].Items[0].Offering.Href = "https://example.org/?a=1&b=2"
	for _, d := range []nba.Decision{empty, sampleDecision("id", sampleRequest(nba.ExplainNone)),
		sampleDecision("id", sampleRequest(nba.ExplainReasons)), awkward} {
		got, err := appendDecision(nil, &d)
		want, wantErr := standard(&d)
		if err != nil || wantErr != nil || !bytes.Equal(got, want) {
			t.Errorf("got  %s (%v)\nwant %s (%v)", got, err, want, wantErr)
		}
	}
}

func TestAppendFloatEqualsEncodingJSON(t *testing.T) {
	check := func(f float64) {
		t.Helper()
		w := jsonWriter{}
		w.float(f)
		want, err := json.Marshal(f)
		if err != nil || w.err != nil || !bytes.Equal(w.dst, want) {
			t.Errorf("float %v: got %s (%v), want %s (%v)", f, w.dst, w.err, want, err)
		}
	}
	for _, f := range []float64{0, math.Copysign(0, -1), 1, -1, 0.1, 1e-6, 9.99e-7, 1e-7, 1e-10, 1.5e-9, 1e20, 1e21, 1.2e22, -1e21, 1e15, 1e15 - 1, 1e15 + 1, 1 << 53,
		math.MaxFloat64, math.SmallestNonzeroFloat64, math.MaxInt64, math.MinInt64, 1e100, 1e-100} {
		check(f)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		if f := math.Float64frombits(random.Uint64()); !math.IsNaN(f) && !math.IsInf(f, 0) {
			check(f)
		}
		check(random.NormFloat64())
		check(float64(random.Int64N(2000)-1000) / 4)
	}
}

func TestAppendDecisionRefusesWhatJSONCannotHold(t *testing.T) {
	for name, change := range map[string]func(d *nba.Decision){
		"NaN":      func(d *nba.Decision) { d.Propositions[0].Items[0].Priority = math.NaN() },
		"infinity": func(d *nba.Decision) { d.Propositions[0].Items[0].Value = math.Inf(-1) },
		"year":     func(d *nba.Decision) { d.DecidedAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) },
	} {
		d := sampleDecision("id", sampleRequest(nba.ExplainNone))
		change(&d)
		if got, err := appendDecision(nil, &d); err == nil {
			t.Errorf("%s: encoded as %s", name, got)
		}
	}
}

// FuzzAppendDecision compares the two encoders on decisions that the fuzzer fills.
func FuzzAppendDecision(f *testing.F) {
	f.Add("text", "\xff\u2028<", 0.5, 1e-9, int64(7), uint8(3))
	f.Add("", "\"\\\x00", math.Copysign(0, -1), 1e21, int64(-1), uint8(255))
	f.Fuzz(func(t *testing.T, a, b string, x, y float64, n int64, shape uint8) {
		d := nba.Decision{DecisionID: a, CatalogVersion: uint64(n), DecidedAt: time.UnixMilli(n % 1e14).UTC(), Degraded: shape&1 != 0, DegradedReason: b}
		item := nba.Proposition{Rank: int(n), Action: a, Label: b, Propensity: x, Priority: y, Value: x * 3, Lever: y / 3, Reason: nba.Reason{Code: a, Label: b}}
		if shape&2 != 0 {
			item.Model = &nba.ModelInfo{Name: a, Version: b}
			item.Offering = &nba.Offering{ID: b, Href: a}
		}
		if shape&4 != 0 {
			item.Content = map[string]string{a: b, b: a, "x": "y"}
		}
		if shape&8 != 0 {
			d.Propositions = []nba.PlacementPropositions{{Placement: a}, {Placement: b, Items: []nba.Proposition{item, item}}}
		}
		if shape&16 != 0 {
			d.Explanation = &nba.Explanation{Stages: []nba.Stage{{Stage: a, In: int(n)}, {Removed: []nba.Removal{{Action: b}, {Code: a}}}}}
			if shape&32 != 0 {
				d.Explanation.Candidates = []nba.CandidateExplanation{{Action: a, Features: map[string]float64{a: x, b: y}, WithheldAttributes: []string{a, b}}}
			}
		}
		got, err := appendDecision(nil, &d)
		want, wantErr := standard(&d)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("got error %v, want %v", err, wantErr)
		}
		if err == nil && !bytes.Equal(got, want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}

func BenchmarkEncodeDecision(b *testing.B) {
	d := sampleDecision("01KAN3Z1X2QK8Z0T5N4B7C9D0E", sampleRequest(nba.ExplainNone))
	b.Run("append", func(b *testing.B) {
		var buf []byte
		b.ReportAllocs()
		for b.Loop() {
			buf, _ = appendDecision(buf[:0], &d)
		}
		b.SetBytes(int64(len(buf)))
	})
	b.Run("encoding-json", func(b *testing.B) {
		var buf bytes.Buffer
		encoder := json.NewEncoder(&buf)
		encoder.SetEscapeHTML(false)
		b.ReportAllocs()
		for b.Loop() {
			buf.Reset()
			if err := encoder.Encode(&d); err != nil {
				b.Fatal(err)
			}
		}
		b.SetBytes(int64(buf.Len()))
	})
}
