package node

import (
	"sync"
	"testing"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

const contactCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: contacts
channels:
  - {name: web, placements: [hero, banner]}
  - {name: sms, direction: outbound, placements: [message]}
issues:
  - {name: Grow, groups: [{name: Plans}]}
actions:
  - {name: one, issue: Grow, group: Plans, purpose: service, value: 3, treatments: [{name: t, channel: web}, {name: s, channel: sms}]}
  - {name: two, issue: Grow, group: Plans, purpose: service, value: 2, treatments: [{name: t, channel: web}, {name: s, channel: sms}]}
contactPolicies:
  - {name: three, limit: 3, per: 7d}
  - {name: rejected, after: [Rejected], suppress: 30d, same: [action]}
`

func activate(t *testing.T, n *Node, document string) {
	t.Helper()
	stored, err := n.PutCatalog(t.Context(), []byte(document), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.ActivateCatalog(t.Context(), stored.Version, ""); err != nil {
		t.Fatal(err)
	}
}

func subject(t *testing.T, n *Node, id string) nba.SubjectRef {
	t.Helper()
	ref := nba.SubjectRef{ID: id}
	if _, _, err := n.PutSubject(t.Context(), nba.SubjectDocument{SubjectRef: ref}, nil); err != nil {
		t.Fatal(err)
	}
	return ref
}

// TestLimitHoldsWhateverComesAtOnce makes many decisions for a few subjects at the same time, on two
// channels: each subject gets exactly as many propositions as the limit allows, and no call fails.
func TestLimitHoldsWhateverComesAtOnce(t *testing.T) {
	n := openNode(t, t.TempDir())
	activate(t, n, contactCatalog)
	subjects := []string{"C-1", "C-2", "C-3"}
	for _, id := range subjects {
		subject(t, n, id)
	}
	var mu sync.Mutex
	proposed := map[string]int{}
	var callers sync.WaitGroup
	for i := range 48 {
		callers.Go(func() {
			id := subjects[i%len(subjects)]
			var d nba.Decision
			if err := n.Decide(t.Context(), request(id, []string{"web", "sms"}[i/3%2]), &d); err != nil {
				t.Errorf("a decision failed: %v", err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, p := range d.Propositions {
				proposed[id] += len(p.Items)
			}
		})
	}
	callers.Wait()
	for _, id := range subjects {
		if proposed[id] != 3 {
			t.Errorf("%d propositions for a subject, and the limit is 3", proposed[id])
		}
	}
	history, _, err := n.History(t.Context(), nba.SubjectRef{ID: "C-1"}, nil, 100, "")
	if err != nil || len(history) != 3 {
		t.Errorf("%d lines of history, %v; what was refused is not recorded", len(history), err)
	}
}

// TestRejectionSuppresses is the story of one voice: what a subject rejects on one channel is not
// proposed on another, also after a restart, until the subject is erased.
func TestRejectionSuppresses(t *testing.T) {
	dir := t.TempDir()
	n := openNode(t, dir)
	activate(t, n, contactCatalog)
	ref := subject(t, n, "C-9")
	first := decide(t, n, request("C-9", "sms"))
	item := first.Propositions[0].Items[0]
	if item.Action != "one" {
		t.Fatalf("proposed %s", item.Action)
	}
	if _, err := n.Respond(t.Context(), []nba.Response{{ResponseToken: item.ResponseToken, Outcome: nba.Rejected}}); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = openNode(t, dir)
	req := request("C-9", "web")
	req.Options.Explain = nba.ExplainReasons
	second := decide(t, n, req)
	if got := second.Propositions[0].Items; len(got) != 1 || got[0].Action != "two" {
		t.Errorf("after the rejection: %+v", second.Propositions)
	}
	suppressed := false
	for _, stage := range second.Explanation.Stages {
		for _, r := range stage.Removed {
			suppressed = suppressed || stage.Stage == "contact" && r.Action == "one" && r.Code == "SUPPRESSED"
		}
	}
	if !suppressed {
		t.Errorf("the explanation does not say why: %+v", second.Explanation.Stages)
	}
	if err := n.DeleteSubject(t.Context(), ref, nil); err != nil {
		t.Fatal(err)
	}
	subject(t, n, "C-9")
	if third := decide(t, n, request("C-9", "web")); third.Propositions[0].Items[0].Action != "one" {
		t.Errorf("an erased subject is remembered: %+v", third.Propositions)
	}
}
