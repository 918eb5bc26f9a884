package replay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/contact"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// drawn is one random world: attributes, catalog, subject, history, contacts, models that fail now and
// then, and a deadline that passes somewhere.
type drawn struct {
	r          *rand.Rand
	dictionary *nba.Dictionary
	document   []byte
	catalog    *catalog.Catalog
	models     []nba.ModelInfo
}

const attributes = 24

func draw(tb testing.TB, seed uint64) *drawn {
	tb.Helper()
	w := &drawn{r: rand.New(rand.NewPCG(seed, 1))}
	var declared []nba.AttributeDeclaration
	for i := range attributes {
		declared = append(declared, nba.AttributeDeclaration{Name: fmt.Sprintf("a%d", i), Type: nba.Kind(1 + i%5)})
	}
	dictionary, _, err := nba.NewDictionary().Declare(declared)
	if err != nil {
		tb.Fatal(err)
	}
	w.dictionary = dictionary
	w.document = []byte(w.text())
	if w.catalog, err = catalog.Compile(w.document, "drawn.yaml", catalog.Env{Dictionary: dictionary}); err != nil {
		tb.Fatalf("%v\n%s", err, w.document)
	}
	for i := range 3 {
		w.models = append(w.models, nba.ModelInfo{Name: fmt.Sprintf("m%d", i), Version: "1.0.0", Digest: fmt.Sprintf("sha256:%064x", w.r.Uint64())})
	}
	return w
}

// condition is a random expression over the attributes, the contexts and the history.
func (w *drawn) condition(depth int) string {
	n := w.r.IntN(attributes / 5)
	switch k := w.r.IntN(9); {
	case k == 0 && depth > 0:
		return "(" + w.condition(depth-1) + " && " + w.condition(depth-1) + ")"
	case k == 1 && depth > 0:
		return "(" + w.condition(depth-1) + " || " + w.condition(depth-1) + ")"
	case k == 2 && depth > 0:
		return "!(" + w.condition(depth-1) + ")"
	case k == 3:
		return fmt.Sprintf("subject.a%d", 5*n)
	case k == 4:
		return fmt.Sprintf("subject.a%d >= %d", 5*n+1, w.r.IntN(8))
	case k == 5:
		return fmt.Sprintf("subject.a%d < %.2f", 5*n+2, w.r.Float64()*10)
	case k == 6:
		return fmt.Sprintf("subject.a%d == \"a long text number %d\"", 5*n+3, w.r.IntN(4))
	case k == 7:
		return fmt.Sprintf("now - subject.a%d > duration(\"%dh\")", (5*n+4)%attributes/5*5+4, w.r.IntN(2000))
	default:
		return fmt.Sprintf("(!has(subject.a%d) || \"k\" in contexts && contexts[\"k\"] == \"v%d\")", w.r.IntN(attributes), w.r.IntN(3))
	}
}

func (w *drawn) text() string {
	var b strings.Builder
	b.WriteString("apiVersion: arbiter/v1\nkind: Catalog\nname: drawn\nchannels: [{name: web, placements: [hero, banner]}, {name: sms, direction: outbound, placements: [message]}]\n")
	b.WriteString("models: {m0: {plugin: m0}, m1: {plugin: m1}, m2: {plugin: m2}}\nissues: [{name: I, groups: [{name: G}, {name: H}]}]\n")
	if w.r.IntN(2) == 0 {
		b.WriteString("contactPolicies:\n  - {name: few, limit: 3, per: 7d}\n  - {name: once, limit: 1, per: 30d, same: [action], counting: decisions}\n  - {name: no, after: [Rejected], suppress: 9d, same: [action]}\n")
	}
	fmt.Fprintf(&b, "arbitration: {explore: %.2f, minPriority: %.2f, maxPerGroup: %d}\n", float64(w.r.IntN(3))/4, w.r.Float64(), 1+w.r.IntN(4))
	if w.r.IntN(2) == 0 {
		b.WriteString("controlGroups: [{name: c, kind: randomRelevant, percent: 30}, {name: d, kind: noLevers, percent: 30}]\n")
	}
	b.WriteString("actions:\n")
	for i := range 5 + w.r.IntN(20) {
		fmt.Fprintf(&b, "  - {name: a%02d, issue: I, group: %s, value: %d, lever: %d, propensity: {model: m%d, starting: 0.3}, eligibility: [{when: '%s'}], suitability: [{when: '%s'}],\n"+
			"     treatments: [{name: t, channel: web, placements: [hero]}, {name: u, channel: web, placements: [banner]}, {name: s, channel: sms}]}\n",
			i, [...]string{"G", "H"}[w.r.IntN(2)], 1+w.r.IntN(100), w.r.IntN(50), w.r.IntN(3), w.condition(2), w.condition(1))
	}
	b.WriteString("  - {name: zz, issue: I, group: G, purpose: service, value: 1, treatments: [{name: t, channel: web, placements: [hero]}]}\nfallback: {action: zz}\n")
	return b.String()
}

// subject is a random one.
type subject struct {
	values  map[nba.AttributeID]nba.Value
	granted nba.PurposeSet
	touches []nba.Touch
}

func (s *subject) Ref() nba.SubjectRef     { return nba.SubjectRef{ID: "S", Type: nba.Subscriber} }
func (s *subject) Version() uint64         { return 3 }
func (s *subject) Granted() nba.PurposeSet { return s.granted }
func (s *subject) Attribute(id nba.AttributeID) (nba.Value, bool) {
	v, ok := s.values[id]
	return v, ok
}

func (s *subject) Touches(fn func(*nba.Touch) bool) error {
	for i := range s.touches {
		if !fn(&s.touches[i]) {
			break
		}
	}
	return nil
}

func (w *drawn) value(kind nba.Kind) nba.Value {
	r := w.r
	switch kind {
	case nba.KindBool:
		return nba.Bool(r.IntN(2) == 0)
	case nba.KindInt:
		return nba.Int([...]int64{r.Int64N(10), r.Int64(), -r.Int64N(1000), math.MaxInt64, math.MinInt64}[r.IntN(5)])
	case nba.KindFloat:
		return nba.Float([...]float64{float64(r.IntN(1000)) / 100, r.NormFloat64(), r.Float64() * 1e300, 0, math.Copysign(0, -1), -12.5}[r.IntN(6)])
	case nba.KindTime:
		return nba.TimeMillis([...]int64{r.Int64N(1_800_000_000_000), r.Int64N(20_000) * dayMS, -1}[r.IntN(3)])
	default:
		return nba.String([...]string{"", "Yes", fmt.Sprintf("a long text number %d", r.IntN(4)), strings.Repeat("ä", r.IntN(40))}[r.IntN(4)])
	}
}

func (w *drawn) subject() *subject {
	s := &subject{values: map[nba.AttributeID]nba.Value{}, granted: nba.PurposeSet(w.r.IntN(4) << 1)}
	for i := range attributes {
		if w.r.IntN(5) > 0 {
			s.values[nba.AttributeID(i)] = w.value(nba.Kind(1 + i%5))
		}
	}
	for range w.r.IntN(6) {
		s.touches = append(s.touches, nba.Touch{TimeMS: 1_760_000_000_000 - w.r.Int64N(1e9), Action: "a01", Channel: "web"})
	}
	return s
}

// scorer reads attributes and history as a model does, and fails as often as it is told.
type scorer struct {
	w     *drawn
	fails float64
	r     *rand.Rand
}

func (s *scorer) Score(_ context.Context, call *engine.ScoreCall) (*nba.ModelInfo, error) {
	model := int(call.Model[1] - '0')
	sum := 0.0
	for id := range nba.AttributeID(6) {
		if v, ok := call.Subject.Attribute(id * 3); ok {
			n, _ := v.Number()
			sum = math.Mod(sum+n, 97)
		}
	}
	touches := 0.0
	who, _ := call.Subject.(nba.Historian)
	if err := who.Touches(func(*nba.Touch) bool { touches++; return true }); err != nil {
		return nil, err
	}
	for i := range call.Out {
		aggregate := call.Reads.Aggregate(touches + float64(i)/3)
		call.Out[i] = math.Abs(math.Mod(math.Sin(sum+aggregate+float64(i*model)), 1))
	}
	if s.r != nil && s.r.Float64() < s.fails {
		return nil, errors.New("trap")
	}
	return &s.w.models[model], nil
}

// cutoff is a context that ends after so many looks.
type cutoff struct {
	context.Context
	looks int
}

func (c *cutoff) Err() error {
	if c.looks--; c.looks < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

func (w *drawn) request(tb testing.TB) *nba.DecisionRequest {
	tb.Helper()
	req := &nba.DecisionRequest{Subject: nba.SubjectRef{ID: "S", Type: nba.Subscriber}, Channel: [...]string{"web", "sms"}[w.r.IntN(2)]}
	req.Options.Explain = explains[w.r.IntN(3)]
	if w.r.IntN(2) == 0 {
		req.Contexts = []nba.ContextValue{{Type: "t", Key: "k", Value: fmt.Sprintf("v%d", w.r.IntN(3))}}
	}
	if w.r.IntN(4) == 0 {
		req.ExcludedActions = []string{"a01", "a03"}
	}
	if req.Channel == "web" && w.r.IntN(2) == 0 {
		req.Placements = []nba.PlacementRequest{{ID: "banner", Limit: 1 + w.r.IntN(4)}, {ID: "hero"}}
	}
	if err := engine.ValidateRequest(req, w.catalog); err != nil {
		tb.Fatal(err)
	}
	return req
}

func (w *drawn) ledger(now int64) (l contact.Ledger) {
	for range w.r.IntN(5) {
		action := fmt.Sprintf("a%02d", w.r.IntN(8))
		l = l.Append(&contact.Entry{TimeMS: now - w.r.Int64N(10*dayMS), Place: contact.PlaceOf("web", "I", "G", action, nba.Inbound),
			Outcomes: contact.Outcomes(w.r.IntN(64)), RespondedMS: 1000, Counted: true})
	}
	return l
}

func asJSON(tb testing.TB, v any) string {
	tb.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// once makes one decision, writes down what it read, and makes it again with everything else gone.
func (w *drawn) once(tb testing.TB, e *engine.Engine, texts *Texts) (record []byte, degraded bool) {
	tb.Helper()
	now := time.UnixMilli(1_760_000_000_000 + w.r.Int64N(1e9)).UTC()
	var reads engine.Reads
	reads.Record()
	in := engine.Input{Subject: w.subject(), Dictionary: w.dictionary, Catalog: w.catalog, CatalogVersion: 9, Request: w.request(tb), Now: now,
		Scorer: &scorer{w: w, fails: 0.1, r: w.r}, DecisionID: "D", Seed: w.r.Uint64(), Contacts: w.ledger(now.UnixMilli()), Reads: &reads}
	ctx := context.Context(context.Background())
	if w.r.IntN(6) == 0 {
		ctx = &cutoff{ctx, w.r.IntN(30)}
	}
	var then nba.Decision
	if err := e.Decide(ctx, in, &then); err != nil {
		tb.Fatal(err)
	}
	funnel(tb, &then, w.catalog)
	record = Append(nil, &in, texts)
	opened, err := Open(record, texts)
	if err != nil {
		tb.Fatal(err)
	}
	var placements []string
	for i := range then.Propositions {
		placements = append(placements, then.Propositions[i].Placement)
	}
	var play engine.Reads
	play.Play(opened.Answers)
	again := engine.Input{Subject: opened.Subject(in.Subject.Ref()), Dictionary: w.dictionary, Catalog: w.catalog, CatalogVersion: 9,
		Request: opened.Request(in.Subject.Ref(), in.Request.Channel, in.Request.Direction, placements), Now: now, Scorer: &scorer{w: w},
		DecisionID: "D", Seed: in.Seed, Reads: &play}
	var out nba.Decision
	if err := e.Decide(context.Background(), again, &out); err != nil {
		tb.Fatal(err)
	}
	if want, got := asJSON(tb, then), asJSON(tb, out); want != got {
		tb.Fatalf("another decision (-then +again):\n%s\n%s", cmp.Diff(want, got), w.document)
	}
	if err := play.Strayed(); err != nil {
		tb.Fatal(err)
	}
	return record, then.Degraded
}

// funnel checks that every action of an explained decision is accounted for: what comes to a stage leaves it
// with a reason or comes to the next, and what is left is what is proposed.
func funnel(tb testing.TB, d *nba.Decision, c *catalog.Catalog) {
	tb.Helper()
	if d.Explanation == nil {
		return
	}
	left := len(c.Actions)
	for _, stage := range d.Explanation.Stages {
		if stage.In != left || stage.In-len(stage.Removed) != stage.Out {
			tb.Fatalf("stage %s: %d came, %d should have; %d left with a reason, %d went on", stage.Stage, stage.In, left, len(stage.Removed), stage.Out)
		}
		for _, r := range stage.Removed {
			if r.Code == "" || r.Label == "" {
				tb.Fatalf("stage %s removes %s without a reason", stage.Stage, r.Action)
			}
		}
		left = stage.Out
	}
	if d.DegradedReason == engine.DegradedTimeout {
		return // the stages after the deadline are not there
	}
	proposed := 0
	for i := range d.Propositions {
		proposed += len(d.Propositions[i].Items)
	}
	if proposed != left {
		tb.Fatalf("%d actions went through the funnel and %d are proposed", left, proposed)
	}
}

// TestRandomDecisionsReplay: decisions over random catalogs, subjects, ledgers, histories, failing models and
// deadlines are the same when they are made of their records alone. ARBITER_REPLAYS tells how many.
func TestRandomDecisionsReplay(t *testing.T) {
	decisions := 3000
	if text := os.Getenv("ARBITER_REPLAYS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("ARBITER_REPLAYS: %v", err)
		}
		decisions = n
	}
	const perWorld = 50
	e, degraded, bytes := engine.New(engine.Options{}), 0, 0
	for world := range (decisions + perWorld - 1) / perWorld {
		w := draw(t, uint64(world))
		texts := NewTexts(w.document)
		for range perWorld {
			record, was := w.once(t, e, texts)
			bytes += len(record)
			if was {
				degraded++
			}
		}
	}
	t.Logf("%d decisions, %d of them degraded; %d bytes a record", decisions, degraded, bytes/decisions)
	if degraded == 0 {
		t.Error("no model failed and no deadline passed")
	}
}

// TestValuesKeepEveryBit: every value comes back as it was.
func TestValuesKeepEveryBit(t *testing.T) {
	texts := NewTexts([]byte(`when: 'subject.a == "Month-to-month"' "Yes"`))
	for _, v := range []nba.Value{{}, nba.Bool(true), nba.Bool(false), nba.Int(0), nba.Int(-1), nba.Int(math.MinInt64), nba.Int(math.MaxInt64),
		nba.Float(0), nba.Float(math.Copysign(0, -1)), nba.Float(70.35), nba.Float(1e22), nba.Float(math.SmallestNonzeroFloat64), nba.Float(math.MaxFloat64), nba.Float(0.1 + 0.2),
		nba.String(""), nba.String("Month-to-month"), nba.String("Yes"), nba.String("other text"), nba.TimeMillis(0), nba.TimeMillis(-5), nba.TimeMillis(dayMS * 20000)} {
		for _, t2 := range []*Texts{nil, texts} {
			r := reader{b: string(appendAttribute(nil, 0, v, v.Kind() != nba.KindInvalid, t2))}
			if got := r.value(r.uvarint(1<<20)&0b111, t2); got != v || r.bad || r.b != "" {
				t.Errorf("%#v of %d bits comes back as %#v", v, v.Bits(), got)
			}
		}
	}
	for _, f := range []float64{0, 1, 30, 0.25, 1.0 / 3, 12345.678, math.NaN(), math.Inf(1), -1, math.Copysign(0, -1), 5_000_000_001.0 / dayMS} {
		r := reader{b: string(appendAggregate(nil, f))}
		if got := r.aggregate(); math.Float64bits(got) != math.Float64bits(f) || r.bad || r.b != "" {
			t.Errorf("%v comes back as %v", f, got)
		}
	}
}

// FuzzOpen: no bytes make Open fail otherwise than by its error, or give attributes out of order.
func FuzzOpen(f *testing.F) {
	w := draw(f, 1)
	texts, e := NewTexts(w.document), engine.New(engine.Options{})
	for range 20 {
		record, _ := w.once(f, e, texts)
		f.Add(record)
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		rec, err := Open(b, texts)
		if err != nil {
			return
		}
		if !slices.IsSortedFunc(rec.Attributes, func(a, b Attribute) int { return int(a.ID) - int(b.ID) }) || !slices.IsSorted(rec.Answers.Yes) {
			t.Error("out of order")
		}
		_ = rec.Request(nba.SubjectRef{ID: "S"}, "web", nba.Inbound, []string{"hero"})
	})
}

// FuzzTexts: texts of any document come back.
func FuzzTexts(f *testing.F) {
	f.Add([]byte(`"a b c d e" 'x' "unclosed`), "a b c d e")
	f.Add([]byte{}, "")
	f.Fuzz(func(t *testing.T, document []byte, text string) {
		if len(text) > maxText/2 || len(document) > maxDocument {
			return
		}
		texts := NewTexts(bytes.Clone(document))
		r := reader{b: string(texts.append(nil, text))}
		if got := texts.read(&r); got != text || r.bad || r.b != "" {
			t.Errorf("%q comes back as %q", text, got)
		}
	})
}

// BenchmarkAppend writes down what one random decision read.
func BenchmarkAppend(b *testing.B) {
	w := draw(b, 1)
	texts, e := NewTexts(w.document), engine.New(engine.Options{})
	var reads engine.Reads
	reads.Record()
	in := engine.Input{Subject: w.subject(), Dictionary: w.dictionary, Catalog: w.catalog, Request: w.request(b), Now: time.UnixMilli(1_760_000_000_000),
		Scorer: &scorer{w: w}, DecisionID: "D", Reads: &reads}
	var out nba.Decision
	if err := e.Decide(context.Background(), in, &out); err != nil {
		b.Fatal(err)
	}
	record := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		record = Append(record[:0], &in, texts)
	}
	b.ReportMetric(float64(len(record)), "bytes")
}
