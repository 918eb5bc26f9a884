package cli

import (
	"bytes"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/bulk"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/load"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/golden")

// golden compares what render prints with a file, which -update rewrites.
func golden(t *testing.T, name string, render func(w io.Writer, p paint)) {
	t.Helper()
	var b bytes.Buffer
	render(&b, paint{})
	path := filepath.Join("testdata", "golden", name+".txt")
	if *update {
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")); diff != "" {
		t.Errorf("%s (-got +want; -update rewrites it):\n%s", path, diff)
	}
	most := lineWidth
	if strings.HasPrefix(name, "decision") {
		most = decisionWidth
	}
	for line := range strings.Lines(b.String()) {
		command := strings.Contains(line, ": arbiter ") // is one line, to be copied
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > most && !command {
			t.Errorf("%s: a line of %d columns, want at most %d: %s", name, n, most, line)
		}
	}
	// Colours must change nothing but colours.
	var coloured bytes.Buffer
	render(&coloured, paint{on: true})
	if got := stripColours(coloured.String()); got != b.String() {
		t.Errorf("%s: with colours the text is another:\n%s", name, cmp.Diff(got, b.String()))
	}
}

func stripColours(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "\x1b[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, s, _ = strings.Cut(after, "m")
	}
}

func at(second int) time.Time { return time.Date(2026, 11, 22, 10, 0, second, 0, time.UTC) }

func testRequest() *nba.DecisionRequest {
	return &nba.DecisionRequest{Subject: nba.SubjectRef{ID: "S-000123", Type: nba.Subscriber}, Channel: "web",
		Options: nba.DecisionOptions{Explain: nba.ExplainNone}}
}

func testDecision() *nba.Decision {
	churn := &nba.ModelInfo{Name: "churn", Version: "1.2.0", Digest: "sha256:" + strings.Repeat("0123456789abcdef", 4)}
	return &nba.Decision{
		DecisionID: "01KB3V8Q5M9T1Z7X4C6W2R0YHD", CatalogVersion: 42, DecidedAt: at(0),
		Propositions: []nba.PlacementPropositions{
			{Placement: "hero", Items: []nba.Proposition{
				{Rank: 1, Action: "price-lock", Label: "Price lock for twelve months", Issue: "Retain", Group: "Contract", Treatment: "lock-web-hero",
					Offering: &nba.Offering{ID: "PO-LOCK-12"}, Propensity: 0.70291, ContextWeight: 1, Value: 53.22, Lever: 1.1, Priority: 41.15,
					Reason: nba.Reason{Code: "RANKED", Label: "highest priority of 5"}, Model: churn,
					Content: map[string]string{"cta": "Lock my price", "headline": "Same price for a year",
						"text": "Commit for twelve months and your price stays, whatever happens to the prices of others in the meantime, which nobody knows."}},
				{Rank: 2, Action: "family-plan", Propensity: 0.06, ContextWeight: 1.5, Value: 240, Lever: 1, Priority: 21.6,
					Reason: nba.Reason{Code: "RANKED", Label: "second highest priority of all five actions that were left for this placement"}},
			}},
			{Placement: "banner", Items: []nba.Proposition{
				{Rank: 1, Action: "premium-internet-trial", Treatment: "trial", Propensity: 0.00004, ContextWeight: 1, Value: 0.001, Lever: 1,
					Priority: 0.00000004, Reason: nba.Reason{Code: "FALLBACK"}},
			}},
			{Placement: "footer"},
		},
	}
}

func testExplanation() *nba.Explanation {
	churn := &nba.ModelInfo{Name: "churn", Version: "1.2.0", Digest: "sha256:" + strings.Repeat("0123456789abcdef", 4)}
	return &nba.Explanation{
		Stages: []nba.Stage{
			{Stage: "consent", In: 20, Out: 19, Removed: []nba.Removal{{Action: "bank-offer", Code: "NO_CONSENT", Label: "no consent to marketing"}}},
			{Stage: "channel", In: 19, Out: 19},
			{Stage: "eligibility", In: 19, Out: 17, Removed: []nba.Removal{
				{Action: "device-renewal", Code: "TOO_NEW", Label: "Devices on instalments need six months of bills, all of them paid and none of them in dispute"},
				{Action: "loyalty-gift", Code: "NOT_YET_LOYAL", Label: "For customers of two years and more"}}},
			{Stage: "arbitration", In: 17, Out: 2, Removed: []nba.Removal{{Action: "autopay-credit", Code: "OUTRANKED", Label: "priority rank 3 of 3"}}},
		},
		Candidates: []nba.CandidateExplanation{
			{Action: "price-lock", Propensity: 0.7029, ContextWeight: 1, Value: 53.22, Lever: 1.1, Priority: 41.15, Model: churn,
				Features: map[string]float64{"tenure": 5, "monthlyCharges": 88.7, "contract_Month-to-month": 1}, WithheldAttributes: []string{"nps", "latePayments12"}},
			{Action: "care-call", Propensity: 0.7029, ContextWeight: 1, Value: 10, Lever: 1, Priority: 7.03, Model: churn,
				Features: map[string]float64{"tenure": 5, "monthlyCharges": 88.7, "contract_Month-to-month": 1}, WithheldAttributes: []string{"nps", "latePayments12"}},
			{Action: "family-plan", Propensity: 0.06, ContextWeight: 1, Value: 240, Lever: 1, Priority: 14.4},
		},
	}
}

func TestRenderDecision(t *testing.T) {
	golden(t, "decision", func(w io.Writer, p paint) { renderDecision(w, p, testRequest(), testDecision()) })

	explained := testDecision()
	explained.Explanation = testExplanation()
	req := testRequest()
	req.Options.Explain = nba.ExplainFull
	golden(t, "decision-explained", func(w io.Writer, p paint) { renderDecision(w, p, req, explained) })

	nothing := &nba.Decision{CatalogVersion: 3, DecidedAt: at(1), Degraded: true, DegradedReason: "the model churn is not available",
		InControlGroup: true, Propositions: []nba.PlacementPropositions{{Placement: "hero"}}}
	simulated := testRequest()
	simulated.Options.Simulate = true
	golden(t, "decision-nothing", func(w io.Writer, p paint) { renderDecision(w, p, simulated, nothing) })
}

func TestRenderSubjectAndHistory(t *testing.T) {
	golden(t, "subject", func(w io.Writer, p paint) {
		renderSubject(w, p, &nba.SubjectDocument{SubjectRef: nba.SubjectRef{ID: "S-9", Type: nba.Account}, Version: 3,
			Attributes: map[string]any{"tenure": float64(12), "contract": "Two year", "totalCharges": 1e7 + 0.25, "partner": true},
			Consents:   map[string]bool{"marketing": false, "profiling": true}})
	})
	golden(t, "subject-bare", func(w io.Writer, p paint) {
		renderSubject(w, p, &nba.SubjectDocument{SubjectRef: nba.SubjectRef{ID: "S-9"}, Version: 1})
	})
	golden(t, "history", func(w io.Writer, p paint) {
		renderHistory(w, p, &client.HistoryPage{NextCursor: "abc", Items: []nba.Interaction{
			{Time: at(9), DecisionID: "01KB3V8Q5M9T1Z7X4C6W2R0YHD", Channel: "web", Placement: "hero", Action: "price-lock", Outcome: nba.Rejected},
			{Time: at(1), DecisionID: "01KB3V8Q5M9T1Z7X4C6W2R0YHD", Channel: "web", Placement: "hero", Action: "price-lock"},
			{Time: at(0), DecisionID: "01KB3V8Q5M9T1Z7X4C6W2R0YHD", Action: "family-plan"},
		}})
	})
}

func TestRenderImport(t *testing.T) {
	golden(t, "import", func(w io.Writer, p paint) {
		renderImport(w, p, &importResult{Counts: bulk.Counts{Read: 7043, Accepted: 7032, Rejected: 11, Blank: 3, Duplicates: 1}, Seconds: 0.25, Rate: 28172})
		renderImport(w, p, &importResult{})
	})
}

func TestRenderBench(t *testing.T) {
	report := &load.Report{Mode: "open", TargetRate: 2000, Clients: 256, Seconds: 10, Rate: 1999.6, Scheduled: 20000, Completed: 19998, OK: 19996,
		Unsent: 2, Late: 17, Errors: map[string]int64{"503": 1, "timeout": 1}, Degraded: 3, Fallback: 40, NoProposition: 5, ResponseBytes: 1270.4,
		Latency: load.Latency{P50Micros: 310, P90Micros: 1500, P99Micros: 9990, P999Micros: 10500, MaxMicros: 1_234_567}}
	golden(t, "bench", func(w io.Writer, p paint) {
		renderReport(w, p, load.Plan{Rate: 2000, Duration: 10 * time.Second, Warmup: 2 * time.Second, Clients: 256}, report)
	})
	node := &load.Report{Rate: 9000, Latency: load.Latency{P50Micros: 800, P99Micros: 4000}, Completed: 10, OK: 9}
	base := &load.Report{Rate: 20000, Latency: load.Latency{P50Micros: 300, P99Micros: 1000}}
	slow := &load.Report{Rate: 5000, Latency: load.Latency{P50Micros: 800, P99Micros: 4000}}
	c := &comparison{Rounds: []comparedRound{{node, base}, {slow, base}, {node, base}, {node, &load.Report{}}}}
	c.summarize()
	if c.NodeRate != 9000 || c.BaselineRate != 20000 || c.Ratio != 0.35 {
		t.Errorf("got %+v, want the medians", c)
	}
	golden(t, "bench-baseline", func(w io.Writer, p paint) {
		renderComparison(w, p, load.Plan{Duration: 5 * time.Second, Clients: 16}, c)
	})
}

func TestNumbers(t *testing.T) {
	for f, want := range map[float64]string{0: "0.00", 1: "1.00", 0.70291: "0.7029", 0.00004: "4e-05", 12345.678: "12345.68", 5e12: "5e+12", -0.5: "-0.5000"} {
		if got := number(f); got != want {
			t.Errorf("number(%v) = %s, want %s", f, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234", -123: "-123"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %s, want %s", n, got, want)
		}
	}
	for micros, want := range map[int64]string{0: "0.00 ms", 310: "0.31 ms", 12_340: "12.3 ms", 999_999: "1000 ms"} {
		if got := millis(micros); got != want {
			t.Errorf("millis(%d) = %s, want %s", micros, got, want)
		}
	}
	for file, want := range map[string]string{"churn.xgb.json": "churn", "/a/Churn_model v2.json": "churn-model-v", "2024.json": "", ".json": ""} {
		if got := pluginName(file); got != want {
			t.Errorf("pluginName(%q) = %q, want %q", file, got, want)
		}
	}
}

func TestYAMLKeepsTheNamesAndOrderOfTheAPI(t *testing.T) {
	got, err := toYAML(testRequest())
	if err != nil {
		t.Fatal(err)
	}
	want := "subject:\n  id: S-000123\n  type: subscriber\nchannel: web\noptions:\n  explain: none\n"
	if string(got) != want {
		t.Errorf("got\n%s, want\n%s", got, want)
	}
	// What looks like another type stays a text.
	if got, err = toYAML(map[string]string{"a": "12", "b": "yes", "c": "x: y"}); err != nil || !strings.Contains(string(got), `"12"`) {
		t.Errorf("got %s, %v", got, err)
	}
}

func TestRenderStrategy(t *testing.T) {
	d := testDecision()
	d.Propositions[1].Strategy = &nba.ModelInfo{Name: "mix", Version: "2.1.0"}
	d.Propositions[1].Items[0].StrategyWeight = 2.5
	var b strings.Builder
	renderDecision(&b, paint{}, testRequest(), d)
	for _, want := range []string{"banner  arranged by strategy mix 2.1.0\n", "priority by 2.5"} {
		if !strings.Contains(strings.Join(strings.Fields(b.String()), " "), strings.Join(strings.Fields(want), " ")) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}
