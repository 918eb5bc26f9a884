package node

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"testing"

	"go.uber.org/goleak"

	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func decide(t *testing.T, n *Node, req *nba.DecisionRequest) nba.Decision {
	t.Helper()
	var d nba.Decision
	if err := n.Decide(t.Context(), req, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestEverythingSurvivesARestart: subjects, history, model, catalog and their versions are the same
// after the node was closed and opened again.
func TestEverythingSurvivesARestart(t *testing.T) {
	dir := t.TempDir()
	n := openNode(t, dir)
	loadDemo(t, n, 300)
	before := decide(t, n, request("S-000123", "web"))
	item := before.Propositions[0].Items[0]
	receipts, err := n.Respond(t.Context(), []nba.Response{{ResponseToken: item.ResponseToken, Outcome: nba.Clicked}})
	if err != nil || receipts[0].Duplicate {
		t.Fatalf("response: %+v, %v", receipts, err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	n = openNode(t, dir)
	after := decide(t, n, request("S-000123", "web"))
	if after.CatalogVersion != before.CatalogVersion || after.Degraded || before.Degraded {
		t.Errorf("catalog version %d degraded %v, before %d degraded %v", after.CatalogVersion, after.Degraded, before.CatalogVersion, before.Degraded)
	}
	for i := range after.Propositions {
		for j, got := range after.Propositions[i].Items {
			want := before.Propositions[i].Items[j]
			got.ResponseToken, want.ResponseToken, got.ExpiresAt, want.ExpiresAt = "", "", nil, nil
			if !reflect.DeepEqual(got, want) {
				t.Errorf("after the restart: %+v, before: %+v", got, want)
			}
		}
	}
	receipts, err = n.Respond(t.Context(), []nba.Response{{DecisionID: before.DecisionID, Action: item.Action, Outcome: nba.Clicked}})
	if err != nil || !receipts[0].Duplicate {
		t.Errorf("the same outcome again: %+v, %v; want a duplicate", receipts, err)
	}
	history, _, err := n.History(t.Context(), nba.SubjectRef{ID: "S-000123"}, nil, 100, "")
	if err != nil || len(history) < 3 {
		t.Errorf("history: %d lines, %v", len(history), err)
	}
}

// TestSimulateRecordsNothing: a simulated decision leaves no trace and cannot be responded to.
func TestSimulateRecordsNothing(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 10)
	req := request("S-000003", "web")
	req.Options.Simulate = true
	d := decide(t, n, req)
	if history, _, _ := n.History(t.Context(), nba.SubjectRef{ID: "S-000003"}, nil, 10, ""); len(history) != 0 {
		t.Errorf("a simulated decision is in the history: %+v", history)
	}
	_, err := n.Respond(t.Context(), []nba.Response{{DecisionID: d.DecisionID, Action: d.Propositions[0].Items[0].Action, Outcome: nba.Clicked}})
	if nba.CodeOf(err) != nba.CodeDecisionUnknown {
		t.Errorf("got %v, want DECISION_UNKNOWN", err)
	}
}

// TestConsentHidesAttributes: without consent to profiling the model sees nothing, and says which
// attributes were withheld.
func TestConsentHidesAttributes(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 10)
	withheld := map[bool]int{}
	for _, profiling := range []bool{true, false} {
		yes := true
		if _, err := n.PatchSubject(t.Context(), nba.SubjectPatch{SubjectRef: nba.SubjectRef{ID: "S-000005"},
			Consents: map[string]*bool{nba.PurposeProfiling: &profiling, nba.PurposeMarketing: &yes}}, nil); err != nil {
			t.Fatal(err)
		}
		req := request("S-000005", "callcentre")
		req.Options.Explain = nba.ExplainFull
		for _, c := range decide(t, n, req).Explanation.Candidates {
			if c.Model != nil {
				withheld[profiling] = max(withheld[profiling], len(c.WithheldAttributes))
				if !profiling && len(c.Features) > 0 {
					t.Errorf("%s: %d features were handed over without consent", c.Action, len(c.Features))
				}
			}
		}
	}
	if withheld[true] != 0 || withheld[false] == 0 {
		t.Errorf("withheld attributes with and without consent: %v", withheld)
	}
}

// TestSubjectDocuments: put, get, patch and delete with their guards.
func TestSubjectDocuments(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 10)
	ctx := t.Context()
	ref := nba.SubjectRef{ID: "X-1"}
	version, created, err := n.PutSubject(ctx, nba.SubjectDocument{SubjectRef: ref, Attributes: map[string]any{"tenure": json.Number("5")}}, nil)
	if err != nil || !created || version != 1 {
		t.Fatalf("put: version %d, created %v, %v", version, created, err)
	}
	stale := uint64(7)
	if _, _, err := n.PutSubject(ctx, nba.SubjectDocument{SubjectRef: ref}, &stale); nba.CodeOf(err) != nba.CodePrecondition {
		t.Errorf("a stale version was accepted: %v", err)
	}
	doc, err := n.PatchSubject(ctx, nba.SubjectPatch{SubjectRef: ref, Attributes: map[string]any{"tenure": nil, "contract": "One year"}}, &version)
	if err != nil || doc.Version != 2 || doc.Attributes["contract"] != "One year" || doc.Attributes["tenure"] != nil {
		t.Errorf("patch: %+v, %v", doc, err)
	}
	if err := n.DeleteSubject(ctx, ref, nil); err != nil {
		t.Error(err)
	}
	for name, call := range map[string]func() error{
		"get":     func() error { _, err := n.Subject(ctx, ref, nil); return err },
		"patch":   func() error { _, err := n.PatchSubject(ctx, nba.SubjectPatch{SubjectRef: ref}, nil); return err },
		"delete":  func() error { return n.DeleteSubject(ctx, ref, nil) },
		"history": func() error { _, _, err := n.History(ctx, ref, nil, 0, ""); return err },
		"decide":  func() error { return n.Decide(ctx, request("X-1", "web"), &nba.Decision{}) },
	} {
		if err := call(); nba.CodeOf(err) != nba.CodeSubjectUnknown {
			t.Errorf("%s of a deleted subject: %v", name, err)
		}
	}
}

// TestCatalogLife: stage, guard, activate, revert; and a decision can pin an earlier catalogVersion.
func TestCatalogLife(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 10)
	ctx := t.Context()
	first, err := n.Catalog(ctx, "active")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.PutCatalog(ctx, examples.Catalog(), ""); nba.CodeOf(err) != nba.CodePreconditionNeeds {
		t.Errorf("without If-Match: %v", err)
	}
	if _, err := n.PutCatalog(ctx, examples.Catalog(), "v1"); nba.CodeOf(err) != nba.CodePrecondition {
		t.Errorf("with a stale If-Match: %v", err)
	}
	second, err := n.PutCatalog(ctx, append(examples.Catalog(), "\n# second\n"...), fmt.Sprintf("v%d", first.Version))
	if err != nil || second.State != nba.StateStaged {
		t.Fatalf("put: %+v, %v", second, err)
	}
	if d := decide(t, n, request("S-000001", "web")); d.CatalogVersion != first.CatalogVersion.CatalogVersion {
		t.Error("a staged catalog took effect")
	}
	active, err := n.ActivateCatalog(ctx, second.Version, "")
	if err != nil {
		t.Fatal(err)
	}
	if d := decide(t, n, request("S-000001", "web")); d.CatalogVersion != active.CatalogVersion {
		t.Errorf("decision of catalog version %d, want %d", d.CatalogVersion, active.CatalogVersion)
	}
	pinned := request("S-000001", "web")
	pinned.Options.CatalogVersion = first.CatalogVersion.CatalogVersion
	if d := decide(t, n, pinned); d.CatalogVersion != first.CatalogVersion.CatalogVersion {
		t.Errorf("pinned decision of catalog version %d", d.CatalogVersion)
	}
	pinned.Options.CatalogVersion = 1 << 40
	if err := n.Decide(ctx, pinned, &nba.Decision{}); nba.CodeOf(err) != nba.CodeCatalogUnknown {
		t.Errorf("an unknown catalog version: %v", err)
	}
	again, err := n.ActivateCatalog(ctx, first.Version, "back")
	if err != nil || again.CatalogVersion <= active.CatalogVersion {
		t.Errorf("reverting gives a new catalog version: %+v, %v", again, err)
	}
}

// TestClosedNodeSaysSo: calls after Close are answered, not lost in a crash.
func TestClosedNodeSaysSo(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 5)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.Decide(context.Background(), request("S-000001", "web"), &nba.Decision{}); nba.CodeOf(err) != nba.CodeUnavailable {
		t.Errorf("got %v, want UNAVAILABLE", err)
	}
}
