package node

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

func withKey(ctx context.Context, key string, fingerprint byte) (context.Context, *nba.Idempotency) {
	k := nba.NewIdempotency(key, [16]byte{fingerprint})
	return nba.WithIdempotency(ctx, k), k
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// modelled is a subject whose decision has a model, content and an offering to show.
func modelled(t *testing.T, n *Node, subjects int) nba.SubjectRef {
	t.Helper()
	for i := 1; i <= subjects; i++ {
		req := request(fmt.Sprintf("S-%06d", i), "web")
		req.Options.Simulate = true
		for _, p := range decide(t, n, req).Propositions {
			for _, item := range p.Items {
				if item.Model != nil && item.Content != nil && item.Offering != nil {
					return nba.SubjectRef{ID: req.Subject.ID}
				}
			}
		}
	}
	t.Fatal("no decision shows enough to compare")
	return nba.SubjectRef{}
}

// TestSameKeySameDecision: the answer of a keyed request is the same to the byte, whatever happened
// since, on a node that was restarted too.
func TestSameKeySameDecision(t *testing.T) {
	dir := t.TempDir()
	n := openNode(t, dir)
	loadDemo(t, n, 50)
	subject := modelled(t, n, 50)
	for _, explain := range []nba.Explain{nba.ExplainNone, nba.ExplainReasons, nba.ExplainFull} {
		req := request(subject.ID, "web")
		req.Options.Explain, req.DecisionRequestID = explain, "page-"+string(explain)
		key := "key-" + string(explain)
		ctx, k := withKey(t.Context(), key, 1)
		var first nba.Decision
		if err := n.Decide(ctx, req, &first); err != nil || k.Replayed() {
			t.Fatalf("%v, replayed %v", err, k.Replayed())
		}
		want := asJSON(t, first)
		// The subject is changed, so that another decision would differ, and it is decided without a key.
		refused := nba.SubjectPatch{SubjectRef: subject, Consents: map[string]*bool{"marketing": new(bool)}}
		if _, err := n.PatchSubject(t.Context(), refused, nil); err != nil {
			t.Fatal(err)
		}
		if other := decide(t, n, request(subject.ID, "web")); other.DecisionID == first.DecisionID {
			t.Fatal("another decision has the id of the first")
		}
		for range 2 {
			ctx, k := withKey(t.Context(), key, 1)
			var again nba.Decision
			if err := n.Decide(ctx, req, &again); err != nil || !k.Replayed() {
				t.Fatalf("%v, replayed %v", err, k.Replayed())
			}
			if d := cmp.Diff(want, asJSON(t, again)); d != "" {
				t.Errorf("explain %s (-want +got):\n%s", explain, d)
			}
			rec, err := n.Decision(t.Context(), first.DecisionID, nil)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, asJSON(t, rec.Decision)); d != "" {
				t.Errorf("by id (-want +got):\n%s", d)
			}
			if rec.Subject.ID != subject.ID || rec.Channel != "web" || rec.DecisionRequestID != req.DecisionRequestID || len(rec.Responses) != 0 {
				t.Errorf("got %+v", rec)
			}
			if err := n.Close(); err != nil {
				t.Fatal(err)
			}
			n = openNode(t, dir)
		}
		ctx, _ = withKey(t.Context(), key, 2)
		if err := n.Decide(ctx, req, &nba.Decision{}); nba.CodeOf(err) != nba.CodeKeyReused {
			t.Errorf("the key with another request: %v", err)
		}
	}
	history, _, err := n.History(t.Context(), subject, nil, 1000, "")
	ids := map[string]bool{}
	for _, line := range history {
		ids[line.DecisionID] = true
	}
	if err != nil || len(ids) != 6 {
		t.Errorf("%d decisions were recorded, want 6; %v", len(ids), err)
	}
	if err := n.DeleteSubject(t.Context(), subject, nil); err != nil {
		t.Fatal(err)
	}
	for id := range ids {
		if _, err := n.Decision(t.Context(), id, nil); nba.CodeOf(err) != nba.CodeDecisionUnknown {
			t.Errorf("a decision of a deleted subject: %v", err)
		}
	}
	ctx, _ := withKey(t.Context(), "key-none", 1)
	if err := n.Decide(ctx, request(subject.ID, "web"), &nba.Decision{}); nba.CodeOf(err) != nba.CodeDecisionUnknown {
		t.Errorf("the key of a deleted decision: %v", err)
	}
}

// TestConcurrentCallsWithOneKey: of many equal calls at once, one is recorded and all answer it.
func TestConcurrentCallsWithOneKey(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 10)
	const calls = 16
	answers := make([]string, calls)
	replayed := make([]bool, calls)
	var running sync.WaitGroup
	for i := range calls {
		running.Go(func() {
			ctx, k := withKey(t.Context(), "one", 7)
			var d nba.Decision
			if err := n.Decide(ctx, request("S-000004", "web"), &d); err != nil {
				t.Error(err)
			}
			b, _ := json.Marshal(d)
			answers[i], replayed[i] = string(b), k.Replayed()
		})
	}
	running.Wait()
	firsts := 0
	for i := range answers {
		if answers[i] != answers[0] {
			t.Errorf("call %d answered %s, call 0 %s", i, answers[i], answers[0])
		}
		if !replayed[i] {
			firsts++
		}
	}
	history, _, err := n.History(t.Context(), nba.SubjectRef{ID: "S-000004"}, nil, 1000, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range history {
		if line.DecisionID != history[0].DecisionID {
			t.Error("more than one decision was recorded")
		}
	}
	if firsts != 1 {
		t.Errorf("%d answers call themselves the first", firsts)
	}
}

func TestKeyedWrites(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 10)
	ref := nba.SubjectRef{ID: "S-000005"}
	before, err := n.Subject(t.Context(), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{false, true, true} {
		ctx, k := withKey(t.Context(), "put", 1)
		version, created, err := n.PutSubject(ctx, nba.SubjectDocument{SubjectRef: ref, Attributes: before.Attributes}, nil)
		if err != nil || version != before.Version+1 || created || k.Replayed() != want {
			t.Errorf("put %d: version %d created %v replayed %v, %v", i, version, created, k.Replayed(), err)
		}
	}
	d := decide(t, n, request(ref.ID, "web"))
	items := d.Propositions[0].Items
	responses := []nba.Response{{ResponseToken: items[0].ResponseToken, Outcome: nba.Impression}, {ResponseToken: items[0].ResponseToken, Outcome: nba.Clicked, Behaviour: "banner", Value: 2}}
	for i, want := range []bool{false, true} {
		ctx, k := withKey(t.Context(), "respond", 1)
		receipts, err := n.Respond(ctx, responses)
		if err != nil || len(receipts) != 2 || receipts[0].Duplicate || receipts[1].Duplicate || k.Replayed() != want {
			t.Errorf("response %d: %+v replayed %v, %v", i, receipts, k.Replayed(), err)
		}
	}
	ctx, _ := withKey(t.Context(), "respond", 2)
	responses[1].Outcome = nba.Rejected
	if _, err := n.Respond(ctx, responses); nba.CodeOf(err) != nba.CodeKeyReused {
		t.Errorf("another response under the key: %v", err)
	}
	rec, err := n.Decision(t.Context(), d.DecisionID, nil)
	if err != nil || len(rec.Responses) != 2 || rec.Responses[1].Outcome != nba.Clicked || rec.Responses[1].Behaviour != "banner" ||
		rec.Responses[1].Value != 2 || rec.Responses[1].Placement != d.Propositions[0].Placement {
		t.Errorf("got responses %+v, %v", rec.Responses, err)
	}
	for i, want := range []bool{false, true} {
		ctx, k := withKey(t.Context(), "delete", 1)
		if err := n.DeleteSubject(ctx, ref, nil); err != nil || k.Replayed() != want {
			t.Errorf("delete %d: replayed %v, %v", i, k.Replayed(), err)
		}
	}
}

func TestRetentionIsSet(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 10)
	want := nba.Retention{MaxAgeDays: 10, MaxPerSubject: 2, IdempotencyHours: 1}
	if err := n.SetRetention(t.Context(), want); err != nil || n.Retention(t.Context()) != want {
		t.Fatalf("got %+v, %v", n.Retention(t.Context()), err)
	}
	if err := n.SetRetention(t.Context(), nba.Retention{}); nba.CodeOf(err) != nba.CodeInvalid {
		t.Errorf("got %v", err)
	}
	var last nba.Decision
	for range 4 {
		last = decide(t, n, request("S-000006", "web"))
	}
	history, _, err := n.History(t.Context(), nba.SubjectRef{ID: "S-000006"}, nil, 1000, "")
	ids := map[string]bool{}
	for _, line := range history {
		ids[line.DecisionID] = true
	}
	if err != nil || len(ids) != 2 || !ids[last.DecisionID] {
		t.Errorf("%d decisions are kept, %v", len(ids), err)
	}
}
