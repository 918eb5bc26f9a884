package examples_test

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/compiler"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/consent"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/journey"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// base is the demo operator in memory, without store and sandbox.
type base struct {
	dict     *nba.Dictionary
	catalog  *catalog.Catalog
	subjects []*record.Record
	scorer   *trees
	engine   *engine.Engine
}

// Import implements importer.Sink.
func (b *base) Import(_ context.Context, writes []router.SubjectWrite) error {
	for _, w := range writes {
		r := &record.Record{}
		if err := r.Reset(w.Ref, w.Record); err != nil {
			return err
		}
		b.subjects = append(b.subjects, r)
	}
	return nil
}

func newBase(t testing.TB, n int) *base {
	t.Helper()
	m, dict := dictionary(t)
	b := &base{dict: dict, catalog: compileCatalog(t), engine: engine.New(engine.Options{}), scorer: newTrees(t, dict)}
	var csv bytes.Buffer
	if err := examples.WriteSubscribers(&csv, examples.DefaultSeed, n); err != nil {
		t.Fatal(err)
	}
	spec := importer.Spec{Mapping: m}
	sum, err := importer.Run(t.Context(), &csv, spec, dict, b, func(r importer.Result) error {
		t.Errorf("line %d, column %s: %s", r.Line, r.Column, r.Reason)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Accepted != n {
		t.Fatalf("%d of %d subscribers imported", sum.Accepted, n)
	}
	return b
}

// generatedAt is the day as of which WriteSubscribers generates.
var generatedAt = time.Date(2026, time.November, 1, 12, 0, 0, 0, time.UTC)

func (b *base) decide(t testing.TB, subject nba.Subject, channel string, out *nba.Decision) {
	t.Helper()
	req := &nba.DecisionRequest{Subject: subject.Ref(), Channel: channel, Options: nba.DecisionOptions{Explain: nba.ExplainReasons}}
	if err := engine.ValidateRequest(req, b.catalog); err != nil {
		t.Fatal(err)
	}
	in := engine.Input{Subject: subject, Dictionary: b.dict, Catalog: b.catalog, Scorer: b.scorer, Request: req, DecisionID: "d", Now: generatedAt}
	if err := b.engine.Decide(t.Context(), in, out); err != nil {
		t.Fatal(err)
	}
}

// TestFirstDecision holds the decision that the README shows to be worth showing: a customer whom the
// model sees leaving, and a funnel of which each stage takes something out. Nothing is lost for want
// of consent: both were given, or there would be no score to show.
func TestFirstDecision(t *testing.T) {
	b := newBase(t, 123)
	var d nba.Decision
	b.decide(t, b.subjects[122], "web", &d)
	if d.Degraded {
		t.Error("the decision is degraded: " + d.DegradedReason)
	}
	got := map[string]string{}
	for _, p := range d.Propositions {
		for _, item := range p.Items {
			got[p.Placement] = item.Action
		}
	}
	if want := map[string]string{"hero": "price-lock", "banner": "family-plan"}; !maps.Equal(got, want) {
		t.Errorf("propositions %v, want %v", got, want)
	}
	for _, s := range d.Explanation.Stages {
		// Nobody was contacted before the first decision.
		if s.Stage != "consent" && s.Stage != "contact" && len(s.Removed) == 0 {
			t.Errorf("stage %s takes nothing out", s.Stage)
		}
	}
}

// shopper is a subscriber who left a cart.
type shopper struct{ *record.Record }

// JourneyBytes implements journey.Holder.
func (shopper) JourneyBytes() ([]byte, error) {
	s := journey.State{Open: []journey.Instance{{Journey: "cart", Stage: "abandoned", Data: []journey.Field{
		{Name: "value", Value: journey.Value{Kind: journey.Number, Int: 499 * journey.NumberScale}}}}}}
	return s.Append(nil), nil
}

// TestEveryActionIsProposed decides for the whole base in every channel, and for some of it with a cart: each
// subscriber gets an answer, and an action that nobody is ever proposed would be a mistake of the catalog.
func TestEveryActionIsProposed(t *testing.T) {
	b := newBase(t, 3000)
	counts := map[string]int{}
	var d nba.Decision
	for _, channel := range b.catalog.ChannelNames() {
		for i := range len(b.subjects) + len(b.subjects)/10 {
			var s nba.Subject = b.subjects[i%len(b.subjects)]
			if i >= len(b.subjects) {
				s = shopper{b.subjects[i%len(b.subjects)]}
			}
			b.decide(t, s, channel, &d)
			if d.Degraded {
				t.Fatal("a decision is degraded: " + d.DegradedReason)
			}
			for _, p := range d.Propositions {
				for _, item := range p.Items {
					counts[item.Action]++
				}
			}
		}
	}
	for _, a := range b.catalog.Actions {
		t.Logf("%-20s %6d", a.Name, counts[a.Name])
		if counts[a.Name] == 0 {
			t.Errorf("%s is never proposed", a.Name)
		}
	}
}

// trees scores with the model file read independently of the compiler: a walk from root to leaf.
type trees struct {
	purpose  nba.PurposeID
	features []artifact.Feature
	attrs    []nba.Attribute
	trees    []tree
	base     float64
}

type tree struct {
	Left      []int     `json:"left_children"`
	Right     []int     `json:"right_children"`
	Feature   []int     `json:"split_indices"`
	Condition []float32 `json:"split_conditions"`
	Default   []int     `json:"default_left"`
}

func newTrees(t testing.TB, dict *nba.Dictionary) *trees {
	t.Helper()
	spec, err := compiler.LoadFeatures(examples.ChurnFeatures(), "features.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out, err := compiler.Compile(examples.ChurnModel(), compiler.Options{Name: examples.ChurnPlugin, Features: spec})
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Learner struct {
			Booster struct {
				Model struct {
					Trees []tree `json:"trees"`
				} `json:"model"`
			} `json:"gradient_booster"`
			Param struct {
				Base string `json:"base_score"`
			} `json:"learner_model_param"`
		} `json:"learner"`
	}
	if err := json.Unmarshal(examples.ChurnModel(), &file); err != nil {
		t.Fatal(err)
	}
	p, err := strconv.ParseFloat(string(bytes.Trim([]byte(file.Learner.Param.Base), "[]")), 64)
	if err != nil {
		t.Fatal(err)
	}
	purpose, _ := dict.Purpose(out.Manifest.Purpose)
	s := &trees{purpose: purpose.ID, features: out.Manifest.Features, trees: file.Learner.Booster.Model.Trees, base: math.Log(p / (1 - p))}
	for _, f := range s.features {
		a, ok := dict.Attribute(f.Recipe.AttributeName())
		if !ok {
			t.Fatalf("feature %s reads an unknown attribute", f.Name)
		}
		s.attrs = append(s.attrs, a)
	}
	return s
}

// Score implements engine.Scorer.
func (s *trees) Score(_ context.Context, call *engine.ScoreCall) (*nba.ModelInfo, error) {
	row := make([]float32, len(s.features))
	for i, f := range s.features {
		row[i] = float32(math.NaN())
		v, ok := call.Subject.Attribute(s.attrs[i].ID)
		if !ok || !consent.Visible(s.attrs[i].PurposeSet, s.purpose, call.Mask) {
			continue
		}
		if one := f.Recipe.OneHot; one != nil {
			row[i] = 0
			if v.Str() == one.Level {
				row[i] = 1
			}
		} else if number, ok := v.Number(); ok {
			row[i] = float32(number)
		}
	}
	margin := s.base
	for _, t := range s.trees {
		node := 0
		for t.Left[node] >= 0 {
			x := row[t.Feature[node]]
			if x < t.Condition[node] || x != x && t.Default[node] == 1 {
				node = t.Left[node]
			} else {
				node = t.Right[node]
			}
		}
		margin += float64(t.Condition[node])
	}
	for i := range call.Out {
		call.Out[i] = 1 / (1 + math.Exp(-margin))
	}
	return &nba.ModelInfo{Name: call.Model, Version: examples.ChurnVersion, Digest: "sha256:"}, nil
}
