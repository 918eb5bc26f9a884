package engine

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// testSubject is a subject made from text.
type testSubject struct {
	values  map[nba.AttributeID]nba.Value
	granted nba.PurposeSet
	answers []nba.Consent
	touches []nba.Touch // newest first
}

func (s *testSubject) Touches(fn func(*nba.Touch) bool) error {
	for i := range s.touches {
		if !fn(&s.touches[i]) {
			break
		}
	}
	return nil
}

func (s *testSubject) Ref() nba.SubjectRef     { return nba.SubjectRef{ID: "S-1", Type: nba.Subscriber} }
func (s *testSubject) Version() uint64         { return 1 }
func (s *testSubject) Granted() nba.PurposeSet { return s.granted }

func (s *testSubject) PurposesAt(ms int64) (granted, refused nba.PurposeSet) {
	granted = s.granted
	for i := range s.answers {
		switch a := &s.answers[i]; {
		case a.Channel == "" && a.At(ms) == nba.Granted:
			granted = granted.With(a.Purpose)
		case a.Channel == "" && a.At(ms) == nba.Refused:
			refused = refused.With(a.Purpose)
		}
	}
	return granted, refused
}

func (s *testSubject) ChannelAt(channel string, ms int64) nba.ConsentState {
	for i := range s.answers {
		if s.answers[i].Channel == channel {
			return s.answers[i].At(ms)
		}
	}
	return nba.Unanswered
}
func (s *testSubject) Attribute(id nba.AttributeID) (nba.Value, bool) {
	v, ok := s.values[id]
	return v, ok
}

// testScorer gives scores by plugin and action; "*" stands for every other action. A plugin that is
// missing fails.
type testScorer map[string]map[string]float64

func (s testScorer) Score(_ context.Context, call *ScoreCall) (*nba.ModelInfo, error) {
	scores, ok := s[call.Model]
	if !ok {
		return nil, errors.New("no such model")
	}
	for i, candidate := range call.Candidates {
		score, ok := scores[candidate.(*catalog.Action).Name]
		if !ok {
			score = scores["*"]
		}
		call.Out[i] = score
	}
	if call.Features != nil {
		shared := map[string]float64{"tenure": 18}
		for range call.Candidates {
			call.Features.Rows = append(call.Features.Rows, shared)
		}
		call.Features.Withheld = []string{"income"}
	}
	return &nba.ModelInfo{Name: call.Model, Version: "1.0.0", Digest: "sha256:00"}, nil
}

// textCase is one question of a text file.
type textCase struct {
	Attributes map[string]string `yaml:"attributes"`
	Consents   []string          `yaml:"consents"`
	Answers    []answerText      `yaml:"answers"`
	Channel    string            `yaml:"channel"`
	Direction  nba.Direction     `yaml:"direction"`
	Placements []placementText   `yaml:"placements"`
	Contexts   map[string]string `yaml:"contexts"`
	Excluded   []string          `yaml:"excluded"`
	Now        time.Time         `yaml:"now"`
	Scores     map[string]any    `yaml:"scores"`
	Explain    nba.Explain       `yaml:"explain"`
	Late       bool              `yaml:"late"`
	Contacts   []contactText     `yaml:"contacts"`
	// Linked are the contacts of the one other subject that policies count on; none: there is none.
	Linked []contactText `yaml:"linked"`
	// Unknown tells that the contacts of that subject could not be read.
	Unknown bool `yaml:"unknown"`
	// Spent are the keys of volumes that are used up.
	Spent []string `yaml:"spent"`
	// History is what was proposed and what came back, newest first.
	History []contactText `yaml:"history"`
	// Strategies are what strategies answer, by name; one that is missing fails.
	Strategies map[string]strategyText `yaml:"strategies"`
}

// answerText is an answer of the subject to a purpose or a channel, for a period or for ever.
type answerText struct {
	Purpose string    `yaml:"purpose"`
	Channel string    `yaml:"channel"`
	Status  string    `yaml:"status"`
	From    time.Time `yaml:"from"`
	Until   time.Time `yaml:"until"`
}

// strategyText is the answer of a strategy.
type strategyText struct {
	ByPriority bool `yaml:"byPriority"`
	Picks      []struct {
		Action    string            `yaml:"action"`
		Weight    float64           `yaml:"weight"`
		Treatment string            `yaml:"treatment"`
		Content   map[string]string `yaml:"content"`
	} `yaml:"picks"`
}

// testStrategies answers what a text case says.
type testStrategies map[string]strategyText

func (s testStrategies) Arrange(_ context.Context, call *StrategyCall) (*nba.ModelInfo, error) {
	answer, ok := s[call.Name]
	if !ok {
		return nil, errors.New("no such strategy")
	}
	call.ByPriority = answer.ByPriority
	for _, p := range answer.Picks {
		at := slices.IndexFunc(call.Candidates, func(c StrategyCandidate) bool { return c.Action.Name == p.Action })
		if at >= 0 {
			call.Picks = append(call.Picks, StrategyPick{Candidate: at, Weight: p.Weight, Treatment: p.Treatment, Content: p.Content})
		}
	}
	return &nba.ModelInfo{Name: call.Name, Version: "1.0.0", Digest: "sha256:00"}, nil
}

// contactText is a contact the subject had before the decision.
type contactText struct {
	Ago       string        `yaml:"ago"`
	Channel   string        `yaml:"channel"`
	Direction nba.Direction `yaml:"direction"`
	Issue     string        `yaml:"issue"`
	Group     string        `yaml:"group"`
	Action    string        `yaml:"action"`
	Reserved  string        `yaml:"reserved"`
	Outcome   nba.Outcome   `yaml:"outcome"`
}

func (c *textCase) ledger(t testing.TB, now time.Time) contact.Ledger {
	t.Helper()
	return ledgerOf(t, c.Contacts, now)
}

// link gives in the ledger of the other subject.
func (c *textCase) link(t testing.TB, in *Input, claim *contact.Claim) {
	t.Helper()
	if c.Linked != nil {
		in.Linked, in.Links = []Linked{{Ledger: ledgerOf(t, c.Linked, in.Now), Claim: claim, Unknown: c.Unknown}}, []int{0}
	}
	in.Volumes = spentVolumes(c.Spent)
}

// spentVolumes are keys of volumes.
type spentVolumes []string

func (s spentVolumes) Spent(v *contact.Volume, _ contact.Period) bool {
	return slices.Contains(s, v.Key)
}

func ledgerOf(t testing.TB, contacts []contactText, now time.Time) (l contact.Ledger) {
	t.Helper()
	duration := func(text string) int64 {
		if text == "" {
			return 0
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		return d.Milliseconds()
	}
	for i, p := range contacts {
		l = l.Append(&contact.Entry{Decision: [16]byte{byte(i)}, TimeMS: now.UnixMilli() - duration(p.Ago), ReservedMS: duration(p.Reserved),
			Place: contact.PlaceOf(p.Channel, p.Issue, p.Group, p.Action, p.Direction), Outcomes: contact.OutcomesOf(p.Outcome)})
	}
	return l
}

type placementText struct {
	ID    string `yaml:"id"`
	Limit int    `yaml:"limit"`
}

// fixture is what the cases of one file share.
type fixture struct {
	dictionary *nba.Dictionary
	document   []byte
	catalog    *catalog.Catalog
}

func parseDictionary(t testing.TB, source []byte) *nba.Dictionary {
	t.Helper()
	var declarations []nba.AttributeDeclaration
	for line := range strings.Lines(string(source)) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		kind, ok := nba.ParseKind(fields[1])
		if !ok {
			t.Fatalf("bad attribute line %q", line)
		}
		declarations = append(declarations, nba.AttributeDeclaration{Name: fields[0], Type: kind, Purposes: fields[2:]})
	}
	d, _, err := nba.NewDictionary().Declare(declarations)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (f *fixture) subject(t testing.TB, c *textCase) *testSubject {
	t.Helper()
	s := &testSubject{values: map[nba.AttributeID]nba.Value{}}
	for _, h := range c.History {
		ago, err := time.ParseDuration(h.Ago)
		if err != nil {
			t.Fatal(err)
		}
		s.touches = append(s.touches, nba.Touch{TimeMS: c.now().Add(-ago).UnixMilli(), Action: h.Action, Channel: h.Channel, Outcome: h.Outcome})
	}
	for name, written := range c.Attributes {
		a, ok := f.dictionary.Attribute(name)
		if !ok {
			t.Fatalf("no attribute %s", name)
		}
		value, err := nba.ParseValue(a.Type, written)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s.values[a.ID] = value
	}
	for _, name := range c.Consents {
		p, ok := f.dictionary.Purpose(name)
		if !ok {
			t.Fatalf("no purpose %s", name)
		}
		s.granted = s.granted.With(p.ID)
	}
	for _, a := range c.Answers {
		answer := nba.Consent{Channel: a.Channel}
		if err := answer.State.UnmarshalText([]byte(a.Status)); err != nil {
			t.Fatal(err)
		}
		if !a.From.IsZero() {
			answer.From = a.From.UnixMilli()
		}
		if !a.Until.IsZero() {
			answer.Until = a.Until.UnixMilli()
		}
		if a.Purpose != "" {
			p, _ := f.dictionary.Purpose(a.Purpose)
			answer.Purpose = p.ID
		}
		s.answers = append(s.answers, answer)
	}
	return s
}

func (c *textCase) scorer(t testing.TB) testScorer {
	t.Helper()
	number := func(v any) float64 {
		switch v := v.(type) {
		case float64:
			return v
		case int:
			return float64(v)
		default:
			return math.NaN()
		}
	}
	s := testScorer{}
	for plugin, v := range c.Scores {
		s[plugin] = map[string]float64{}
		if byAction, ok := v.(map[string]any); ok {
			for action, score := range byAction {
				s[plugin][action] = number(score)
			}
			continue
		}
		if v == "fails" {
			delete(s, plugin)
			continue
		}
		s[plugin]["*"] = number(v)
	}
	return s
}

func (c *textCase) request() *nba.DecisionRequest {
	req := &nba.DecisionRequest{
		Subject: nba.SubjectRef{ID: "S-1"}, Channel: c.Channel, Direction: c.Direction, ExcludedActions: c.Excluded,
		Options: nba.DecisionOptions{Explain: c.Explain},
	}
	for _, p := range c.Placements {
		req.Placements = append(req.Placements, nba.PlacementRequest{ID: p.ID, Limit: p.Limit})
	}
	for key, value := range c.Contexts {
		req.Contexts = append(req.Contexts, nba.ContextValue{Key: key, Value: value})
	}
	return req
}

func (c *textCase) now() time.Time {
	if c.Now.IsZero() {
		return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	}
	return c.Now
}

// decide runs a case with a catalog and a level of explanation.
func (f *fixture) decide(t testing.TB, c *textCase, cat *catalog.Catalog, explain nba.Explain) (*nba.Decision, error) {
	t.Helper()
	req := c.request()
	req.Options.Explain = explain
	if err := ValidateRequest(req, cat); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if c.Late {
		cancel()
	}
	now := c.now()
	out := &nba.Decision{}
	ledger, claim := c.ledger(t, now), contact.Claim{}
	in := Input{
		Contacts: ledger, Claim: &claim,
		Subject: f.subject(t, c), Dictionary: f.dictionary, Catalog: cat, CatalogVersion: 7, Scorer: c.scorer(t), Strategy: testStrategies(c.Strategies),
		Request: req, DecisionID: "D-1", Now: now,
	}
	var there contact.Claim
	c.link(t, &in, &there)
	err := New(Options{}).Decide(ctx, in, out)
	if in.Linked != nil {
		if _, refused, ok := in.Linked[0].Ledger.Grant(&there, [16]byte{99}, now.UnixMilli(), cat.Contacts.Keep.Milliseconds()); err == nil && !ok {
			t.Errorf("the state machine would refuse the contact of the other subject at position %d", refused)
		}
	}
	if _, refused, ok := ledger.Grant(&claim, [16]byte{99}, now.UnixMilli(), cat.Contacts.Keep.Milliseconds()); err == nil && !ok {
		t.Errorf("the state machine would refuse the contact at position %d", refused)
	}
	return out, err
}
