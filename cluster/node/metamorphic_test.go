package node

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/runtime/clock"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// form is a way to run the same operator.
type form struct {
	name              string
	groups, instances int
	explain           nba.Explain
	// callers make the decisions of different subjects at the same time.
	callers int
	// reversed has the actions of the catalog in the opposite order.
	reversed bool
}

// TestFormsDoNotMatter plays the same story (decisions under contact limits, responses, time) on nodes that
// differ in the number of shards, of sandboxes and of callers, in the level of explanation and in the order of
// the actions: every decision is the same.
func TestFormsDoNotMatter(t *testing.T) {
	forms := []form{
		{"as it comes", 1, 2, nba.ExplainNone, 1, false},
		{"many shards", 7, 2, nba.ExplainNone, 1, false},
		{"many sandboxes and callers", 2, 5, nba.ExplainNone, 6, false},
		{"reasons", 2, 2, nba.ExplainReasons, 3, false},
		{"everything explained, actions reversed", 3, 2, nba.ExplainFull, 2, true},
	}
	var want map[string][]string
	for _, f := range forms {
		got := play(t, f)
		if want == nil {
			want = got
			contacts := 0
			for _, decisions := range got {
				contacts += len(decisions)
			}
			if contacts < 500 {
				t.Fatalf("only %d decisions", contacts)
			}
			continue
		}
		for subject, decisions := range want {
			if i := firstDifference(decisions, got[subject]); i >= 0 {
				t.Errorf("%s: decision %d for %s is\n%s, as it comes it is\n%s", f.name, i, subject, got[subject][i], decisions[i])
			}
		}
	}
}

// firstDifference is where two lists of the same length differ first, or -1.
func firstDifference(a, b []string) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

const playSubjects, playRounds = 60, 10

// play gives the decisions of each subject.
func play(t *testing.T, f form) map[string][]string {
	t.Helper()
	now := clock.NewManual(time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC))
	cfg := DefaultConfig()
	cfg.DataDir, cfg.DataGroups, cfg.Instances, cfg.Clock = t.TempDir(), f.groups, f.instances, now
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}()
	loadDemo(t, n, playSubjects)
	document := playCatalog(f.reversed)
	stored, err := n.PutCatalog(t.Context(), []byte(document), "*")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.ActivateCatalog(t.Context(), stored.Version, ""); err != nil {
		t.Fatal(err)
	}
	made := make([][]string, playSubjects)
	for round := range playRounds {
		var callers sync.WaitGroup
		for caller := range f.callers {
			callers.Go(func() {
				for i := caller; i < playSubjects; i += f.callers {
					made[i] = append(made[i], playOnce(t, n, f, i, round))
				}
			})
		}
		callers.Wait()
		now.Advance(7 * time.Hour)
	}
	by := map[string][]string{}
	for i := range made {
		by[fmt.Sprintf("S-%06d", i+1)] = made[i]
	}
	return by
}

// playOnce makes one decision and reports what came of it, both by the subject and the round alone.
func playOnce(t *testing.T, n *Node, f form, i, round int) string {
	random := rand.New(rand.NewPCG(uint64(i), uint64(round)))
	req := request(fmt.Sprintf("S-%06d", i+1), []string{"web", "app", "callcentre", "sms"}[random.IntN(4)])
	req.Options.Explain = f.explain
	d := decide(t, n, req)
	var b strings.Builder
	fmt.Fprintf(&b, "%s degraded %v:", req.Channel, d.Degraded)
	for _, p := range d.Propositions {
		for _, item := range p.Items {
			fmt.Fprintf(&b, " %s/%d %s %s %v %v", p.Placement, item.Rank, item.Action, item.Treatment, item.Priority, item.SelectionProbability)
			if random.IntN(2) == 0 {
				outcome := nba.ReportedOutcomes[random.IntN(len(nba.ReportedOutcomes))]
				response := nba.Response{ResponseToken: item.ResponseToken, Outcome: outcome}
				if _, err := n.Respond(t.Context(), []nba.Response{response}); err != nil {
					t.Errorf("responding: %v", err)
				}
			}
		}
	}
	return b.String()
}

// playCatalog is the demo's with more limits and a volume that is not used up, perhaps with its actions in
// the opposite order.
func playCatalog(reversed bool) string {
	document := string(withoutContacts(examples.Catalog()))
	document = strings.Replace(document, "  - name: price-lock\n", "  - name: price-lock\n    volume: {max: 100000, per: day}\n", 1)
	document += `timeZone: {default: Europe/Berlin}
contactPolicies:
  - {name: once, limit: 2, per: 2d, same: [action]}
  - {name: no, after: [Rejected, Dismissed], suppress: 3d, same: [group]}
  - {name: sms, limit: 1, per: day, channel: sms, counting: decisions}
  - {name: night, quietHours: {from: "21:00", to: "08:00"}, direction: outbound}
`
	if !reversed {
		return document
	}
	from, to := strings.Index(document, "actions:\n")+len("actions:\n"), strings.Index(document, "contextWeights:")
	actions := strings.Split(document[from:to], "  - name: ")
	var b strings.Builder
	for i := len(actions) - 1; i > 0; i-- {
		b.WriteString("  - name: " + actions[i])
	}
	return document[:from] + b.String() + document[to:]
}
