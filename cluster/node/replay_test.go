package node

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/plugins/compiler"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/replay"
)

// replayed is how many decisions TestReplay makes again: ARBITER_REPLAYS, or a few.
func replayed(t *testing.T) int {
	t.Helper()
	text := os.Getenv("ARBITER_REPLAYS")
	if text == "" {
		return 1500
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("ARBITER_REPLAYS: %v", err)
	}
	return n
}

// busyCatalog is the example catalog with everything that makes decisions depend on more: contact
// policies, control groups, exploration, thresholds and diversity. Each seed gives another.
func busyCatalog(tb testing.TB, r *rand.Rand) []byte {
	tb.Helper()
	text := string(examples.Catalog())
	text += fmt.Sprintf("\n# drawn: %d\n", r.Uint64())
	text = cutSection(text, "contactPolicies")
	text = cutSection(text, "arbitration")
	text = cutSection(text, "controlGroups")
	text += fmt.Sprintf(`
contactPolicies:
  - {name: often, limit: %d, per: day, counting: decisions}
  - {name: rejected, after: [Rejected], suppress: 7d, same: [action]}
  - {name: grow, limit: 3, per: 7d, same: [issue]}
  - {name: night, quietHours: {from: "21:00", to: "08:00"}, channel: sms}
arbitration: {explore: %.2f, maxPerGroup: 2}
controlGroups:
  - {name: random, kind: randomRelevant, percent: 5}
  - {name: plain, kind: propensityOnly, percent: 5}
`, 5+r.IntN(40), float64(r.IntN(40))/100)
	return []byte(text)
}

// cutSection is a document without a section of its top level.
func cutSection(text, name string) string {
	at := strings.Index(text, "\n"+name+":")
	if at < 0 {
		return text
	}
	end := at + 1
	for {
		line := strings.IndexByte(text[end:], '\n')
		if line < 0 {
			return text[:at+1]
		}
		end += line + 1
		if end < len(text) && text[end] != ' ' && text[end] != '#' && text[end] != '\n' {
			return text[:at+1] + text[end:]
		}
	}
}

// historyModule is the churn model with features of the interaction history among its own.
func historyModule(tb testing.TB, version string) []byte {
	tb.Helper()
	text := strings.NewReplacer(
		"tenure, attribute: tenure}", "tenure, history: {aggregate: contacts, days: 30}}",
		"partner, attribute: partner}", "partner, history: {aggregate: responses, outcome: Rejected, days: 90, sameAction: true}}",
		"dependents, attribute: dependents}", "dependents, history: {aggregate: daysSince, outcome: Accepted}, default: 999}",
	).Replace(string(examples.ChurnFeatures()))
	features, err := compiler.LoadFeatures([]byte(text), "features.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	out, err := compiler.Compile(examples.ChurnModel(), compiler.Options{Name: "churn", Version: version, Features: features})
	if err != nil {
		tb.Fatal(err)
	}
	return out.Module
}

// replays makes decisions, changes everything that they depend on, and makes them again.
type replays struct {
	n        *Node
	subjects int
	mu       sync.Mutex
	made     map[string]string // JSON by id; guarded by mu
	refused  int               // guarded by mu
}

func (p *replays) request(r *rand.Rand) *nba.DecisionRequest {
	channels := [...]string{"web", "app", "callcentre", "store", "sms"}
	req := request(fmt.Sprintf("S-%06d", 1+r.IntN(p.subjects)), channels[r.IntN(len(channels))])
	req.Options.Explain = [...]nba.Explain{nba.ExplainNone, nba.ExplainNone, nba.ExplainReasons, nba.ExplainFull}[r.IntN(4)]
	if r.IntN(3) == 0 {
		req.Contexts = append(req.Contexts, nba.ContextValue{Type: "call", Key: "reason", Value: [...]string{"complaint", "leaving", "other"}[r.IntN(3)]})
	}
	if r.IntN(4) == 0 {
		req.ExcludedActions = []string{"price-lock"}
	}
	if req.Channel == "web" && r.IntN(2) == 0 {
		req.Placements = []nba.PlacementRequest{{ID: "banner", Limit: 1 + r.IntN(5)}, {ID: "hero"}}
	}
	if r.IntN(20) == 0 {
		req.Options.TimeoutMS = 1
	}
	return req
}

// decide makes so many decisions at once, of which some are responded to.
func (p *replays) decide(t *testing.T, seed uint64, decisions int) {
	t.Helper()
	var work sync.WaitGroup
	const callers = 32
	for caller := range callers {
		work.Go(func() {
			r := rand.New(rand.NewPCG(seed, uint64(caller)))
			for range decisions / callers {
				p.one(t, r)
			}
		})
	}
	work.Wait()
}

func (p *replays) one(t *testing.T, r *rand.Rand) {
	ctx := t.Context()
	req := p.request(r)
	if req.Options.TimeoutMS > 0 { // passes somewhere within the decision, or before it
		late, cancel := context.WithCancel(ctx)
		if r.IntN(2) == 0 {
			cancel()
		} else {
			go cancel()
		}
		defer cancel()
		ctx = late
	}
	var d nba.Decision
	err := p.n.Decide(ctx, req, &d)
	if err != nil {
		if ctx.Err() == nil && !errors.Is(err, context.Canceled) && nba.CodeOf(err) != nba.CodeContactLimit {
			t.Errorf("deciding: %v", err)
		}
		p.mu.Lock()
		p.refused++
		p.mu.Unlock()
		return
	}
	p.mu.Lock()
	p.made[d.DecisionID] = asJSON(t, d)
	p.mu.Unlock()
	for i := range d.Propositions {
		for _, item := range d.Propositions[i].Items {
			if r.IntN(4) > 0 {
				continue
			}
			outcome := nba.Outcomes[r.IntN(len(nba.Outcomes))]
			if _, err := p.n.Respond(t.Context(), []nba.Response{{DecisionID: d.DecisionID, Action: item.Action, Outcome: outcome}}); err != nil {
				t.Errorf("responding: %v", err)
			}
		}
	}
}

// change gives every third subject other attributes and consents.
func (p *replays) change(t *testing.T, r *rand.Rand) {
	t.Helper()
	for i := range p.subjects / 3 {
		marketing, profiling := r.IntN(2) == 0, r.IntN(2) == 0
		patch := nba.SubjectPatch{
			SubjectRef: nba.SubjectRef{ID: fmt.Sprintf("S-%06d", 1+i*3)},
			Attributes: map[string]any{"tenure": r.IntN(72), "monthlyCharges": float64(r.IntN(12000)) / 100, "contract": "Two year", "nps": nil},
			Consents:   map[string]*bool{nba.PurposeMarketing: &marketing, nba.PurposeProfiling: &profiling},
		}
		if _, err := p.n.PatchSubject(t.Context(), patch, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// publish puts another catalog in force.
func (p *replays) publish(t *testing.T, r *rand.Rand) {
	t.Helper()
	stored, err := p.n.PutCatalog(t.Context(), busyCatalog(t, r), "*")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.n.ActivateCatalog(t.Context(), stored.Version, ""); err != nil {
		t.Fatal(err)
	}
}

// again makes every decision again and compares.
func (p *replays) again(t *testing.T) {
	t.Helper()
	ids := make(chan string)
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() {
			for id := range ids {
				again, err := p.n.ReplayDecision(t.Context(), id, 0)
				if err != nil {
					t.Errorf("replay: %v", err)
				} else if got := asJSON(t, again.Decision); got != p.made[id] {
					t.Errorf("another decision (-then +again):\n%s", cmp.Diff(p.made[id], got))
				} else if !again.Identical {
					t.Errorf("the decision is the same, but is told to differ: %+v", again.Differences)
				}
			}
		})
	}
	for id := range p.made {
		if t.Failed() {
			break
		}
		ids <- id
	}
	close(ids)
	work.Wait()
}

// TestReplay: random decisions are the same, to the byte, when they are made again after subjects,
// contacts, models and catalogs changed and the node was started again.
func TestReplay(t *testing.T) {
	dir, decisions := t.TempDir(), replayed(t)
	p := &replays{n: openNode(t, dir), subjects: 200, made: map[string]string{}}
	loadDemo(t, p.n, p.subjects)
	r := rand.New(rand.NewPCG(1, 2))
	const rounds = 5
	for round := range rounds {
		p.decide(t, uint64(round), decisions/rounds)
		p.change(t, r)
		p.publish(t, r)
		if _, err := p.n.PushPlugin(t.Context(), historyModule(t, fmt.Sprintf("1.%d.0", round+1)), true); err != nil {
			t.Fatal(err)
		}
	}
	p.again(t)
	if err := p.n.Close(); err != nil {
		t.Fatal(err)
	}
	p.n = openNode(t, dir)
	p.again(t)
	t.Logf("%d decisions made again, %d were refused before the deadline", len(p.made), p.refused)
	if len(p.made) < decisions/2 {
		t.Error("too few decisions to tell anything")
	}
}

// TestReplayBytes tells what is kept of decisions of the example catalog, and bounds it.
func TestReplayBytes(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 500)
	for _, channel := range []string{"web", "callcentre"} {
		var totals, parts []int
		for i := range 500 {
			d := decide(t, n, request(fmt.Sprintf("S-%06d", i+1), channel))
			_, sections, err := n.router.DecisionReads(t.Context(), d.DecisionID)
			if err != nil {
				t.Fatal(err)
			}
			scratch := n.scratch.Get().(*decideScratch)
			op, err := scratch.record.Append(nil)
			if scratch.record.ID != d.DecisionID {
				continue // the pool gave another
			}
			var recorded command.Recorded
			const head = 6
			if err != nil || recorded.Decode(op[head:], scratch.record.Version()) != nil {
				t.Fatal("the record cannot be read")
			}
			totals, parts = append(totals, len(recorded.Record)), append(parts, len(sections.Get(command.SectionReplay)))
			n.scratch.Put(scratch)
		}
		mean, p99 := meanOf(parts), quantile(parts, 0.99)
		t.Logf("%s: replay part mean %d, p99 %d bytes; whole record mean %d, p99 %d bytes (%d decisions)",
			channel, mean, p99, meanOf(totals), quantile(totals, 0.99), len(parts))
		if mean > 250 || meanOf(totals) > 600 {
			t.Errorf("%s: %d bytes of %d are for the replay", channel, mean, meanOf(totals))
		}
	}
}

func meanOf(list []int) int {
	sum := 0
	for _, n := range list {
		sum += n
	}
	return sum / max(len(list), 1)
}

func quantile(list []int, q float64) int {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[int(q*float64(len(list)-1))]
}

// TestReplayWithAnotherCatalog: what another version would have said, and what it says otherwise.
func TestReplayWithAnotherCatalog(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 50)
	subject := modelled(t, n, 50)
	then := decide(t, n, request(subject.ID, "web"))
	action := then.Propositions[0].Items[0].Action
	document := bytes.Replace(examples.Catalog(), []byte("- name: "+action+"\n"), []byte("- name: "+action+"\n    lever: 50\n"), 1)
	stored, err := n.PutCatalog(t.Context(), document, "*")
	if err != nil {
		t.Fatal(err)
	}
	same, err := n.ReplayDecision(t.Context(), then.DecisionID, then.CatalogVersion)
	if err != nil || !same.Identical || asJSON(t, same.Decision) != asJSON(t, then) {
		t.Fatalf("with its own version: %v, %+v", err, same.Differences)
	}
	other, err := n.ReplayDecision(t.Context(), then.DecisionID, stored.Version)
	if err != nil || other.Identical || other.Decision.CatalogVersion != stored.Version {
		t.Fatalf("with another version: %v, %+v", err, other)
	}
	if i := slices.IndexFunc(other.Differences, func(d nba.Difference) bool { return d.Field == "lever" || d.Field == "action" }); i < 0 {
		t.Errorf("the lever is not among the differences: %+v", other.Differences)
	}
	if len(other.Assumed) > 0 {
		t.Errorf("nothing changed, and still this is assumed: %q", other.Assumed)
	}
	decide(t, n, request(subject.ID, "web")) // whose contacts may have pushed out those of then
	if other, err = n.ReplayDecision(t.Context(), then.DecisionID, stored.Version); err != nil || !slices.Equal(other.Assumed, []string{assumedContacts}) {
		t.Errorf("after another contact this is assumed: %q, %v", other.Assumed, err)
	}
	if _, err := n.ReplayDecision(t.Context(), then.DecisionID, 1<<40); nba.CodeOf(err) != nba.CodeCatalogUnknown {
		t.Errorf("an unknown version: %v", err)
	}
}

// TestReplayOfAnErasedSubject: it says that the subject was erased, also after a restart, until the
// decision would have been forgotten anyway.
func TestReplayOfAnErasedSubject(t *testing.T) {
	dir := t.TempDir()
	n := openNode(t, dir)
	loadDemo(t, n, 10)
	d := decide(t, n, request("S-000003", "web"))
	if err := n.DeleteSubject(t.Context(), nba.SubjectRef{ID: "S-000003"}, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := n.ReplayDecision(t.Context(), d.DecisionID, 0); nba.CodeOf(err) != nba.CodeSubjectErased {
			t.Errorf("got %v, want SUBJECT_ERASED", err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		n = openNode(t, dir)
	}
	if _, err := n.ReplayDecision(t.Context(), "01AN4Z07BY79KA1307SR9X4MV3", 0); nba.CodeOf(err) != nba.CodeDecisionUnknown {
		t.Errorf("got %v, want DECISION_UNKNOWN", err)
	}
}

// TestReplayEncodings compares what was considered for what a decision read, on the example catalog: the
// values as they are, the same compressed with the catalog as dictionary, the compact form, and the compact
// form with texts that the catalog names as their places in it, which is what is kept.
func TestReplayEncodings(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 300)
	version := n.router.Control().State().Catalog.Active
	texts := n.texts.of(n, version)
	sizes := map[string][]int{}
	for i := range 300 {
		for _, name := range []string{"compact with places", "compact"} {
			n.texts.mu.Lock()
			if n.texts.known[version] = texts; name == "compact" {
				n.texts.known[version] = nil
			}
			n.texts.mu.Unlock()
			d := decide(t, n, request(fmt.Sprintf("S-%06d", i+1), "callcentre"))
			_, sections, err := n.router.DecisionReads(t.Context(), d.DecisionID)
			if err != nil {
				t.Fatal(err)
			}
			body := sections.Get(command.SectionReplay)
			sizes[name] = append(sizes[name], len(body))
			if name == "compact" {
				continue
			}
			opened, err := replay.Open(body, texts)
			if err != nil {
				t.Fatal(err)
			}
			plain := plainly(opened)
			sizes["plain"] = append(sizes["plain"], len(plain))
			sizes["plain, deflate with the catalog"] = append(sizes["plain, deflate with the catalog"], deflated(t, plain, examples.Catalog()))
		}
	}
	for _, name := range []string{"plain", "plain, deflate with the catalog", "compact", "compact with places"} {
		t.Logf("%-32s mean %4d, p99 %4d bytes", name, meanOf(sizes[name]), quantile(sizes[name], 0.99))
	}
	if best := meanOf(sizes["compact with places"]); best > meanOf(sizes["compact"]) || best > meanOf(sizes["plain"])/2 {
		t.Errorf("the encoding that is kept is not the smallest: %d bytes", best)
	}
}

// plainly is a record with every value as it is.
func plainly(rec *replay.Record) (b []byte) {
	b = binary.LittleEndian.AppendUint64(b, rec.SubjectVersion)
	b = binary.LittleEndian.AppendUint64(b, uint64(rec.Granted))
	for _, plugin := range rec.Plugins {
		b = binary.LittleEndian.AppendUint64(b, uint64(plugin))
	}
	for _, n := range rec.Answers.Yes {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	for _, a := range rec.Attributes {
		b = append(binary.LittleEndian.AppendUint16(b, uint16(a.ID)), byte(a.Value.Kind()))
		switch a.Value.Kind() {
		case nba.KindInvalid:
		case nba.KindBool:
			b = append(b, byte(a.Value.Bits()))
		case nba.KindString:
			b = append(append(b, byte(len(a.Value.Str()))), a.Value.Str()...)
		default:
			b = binary.LittleEndian.AppendUint64(b, a.Value.Bits())
		}
	}
	return b
}

func deflated(t *testing.T, b, dictionary []byte) int {
	t.Helper()
	var out bytes.Buffer
	w, err := flate.NewWriterDict(&out, flate.BestCompression, dictionary)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Len()
}
