package router

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

func TestHistory(t *testing.T) {
	r := openTest(t, t.TempDir(), nil)
	ctx := context.Background()
	for _, id := range []string{"a", "ab"} {
		if _, _, err := r.PutSubject(ctx, ref(id), nil, 0, 0, nil); err != nil {
			t.Fatal(err)
		}
	}
	start := time.UnixMilli(1_750_000_000_000).UTC()
	var ids []string
	for i := range 5 {
		d := testDecision(nba.SubjectRef{ID: "a", Type: nba.Subscriber}, start.Add(time.Duration(i)*time.Minute))
		ids = append(ids, d.ID)
		for range 2 { // recording again changes nothing
			if err := r.RecordDecision(ctx, d); err != nil {
				t.Fatal(err)
			}
		}
	}
	response := command.Response{DecisionID: ids[1], Action: "fiber-upgrade", Outcome: nba.Accepted, Behaviour: "call", Value: 9.5, Time: start.Add(90 * time.Second)}
	for _, duplicate := range []bool{false, true} {
		receipt, err := r.RecordResponse(ctx, response)
		want := nba.ResponseReceipt{DecisionID: ids[1], Action: "fiber-upgrade", Outcome: nba.Accepted, Duplicate: duplicate}
		if err != nil || receipt != want {
			t.Errorf("got %+v %v, want %+v", receipt, err, want)
		}
	}
	checkRefusals(t, r, ids[0])

	var want []string
	for i := 4; i >= 0; i-- {
		if i == 1 {
			want = append(want, "90 fiber-upgrade Accepted")
		}
		for _, action := range []string{"family-plan", "fiber-upgrade", "device-protection"} {
			want = append(want, fmt.Sprintf("%d %s ", i*60, action))
		}
	}
	for _, limit := range []int{1, 2, 3, 4, 7, 100} {
		var got []string
		cursor := ""
		for range 100 {
			items, next, _, err := r.History(context.Background(), ref("a"), nba.Read{}, limit, cursor)
			if err != nil || len(items) > limit || next != "" && len(items) != limit {
				t.Fatalf("limit %d: %d items, %v", limit, len(items), err)
			}
			for _, it := range items {
				got = append(got, fmt.Sprintf("%d %s %s", int(it.Time.Sub(start).Seconds()), it.Action, it.Outcome))
			}
			if cursor = next; next == "" {
				break
			}
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, d)
		}
	}
	checkInteractions(t, r, start, ids[1])
	if err := r.DeleteSubject(ctx, ref("a"), nil); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := r.History(context.Background(), ref("a"), nba.Read{}, 0, ""); nba.CodeOf(err) != nba.CodeSubjectUnknown {
		t.Errorf("after the deletion: %v", err)
	}
	if _, err := r.RecordResponse(ctx, response); nba.CodeOf(err) != nba.CodeDecisionUnknown {
		t.Errorf("a response after the deletion: %v", err)
	}
}

func checkInteractions(t *testing.T, r *Router, start time.Time, id string) {
	t.Helper()
	items, _, _, err := r.History(context.Background(), ref("a"), nba.Read{}, 0, "")
	if err != nil || len(items) != 16 {
		t.Fatalf("%d items, %v", len(items), err)
	}
	digest := "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	want := nba.Interaction{
		Time: start.Add(90 * time.Second), DecisionID: id, CatalogVersion: 12, Channel: "web", Direction: nba.Inbound, Placement: "hero", Rank: 2,
		Action: "fiber-upgrade", Treatment: "fiber-upgrade-web-hero", Outcome: nba.Accepted, Behaviour: "call", Value: 9.5,
		Propensity: 0.1234, Priority: 12.34, ModelDigest: digest,
	}
	if d := cmp.Diff(want, items[9]); d != "" {
		t.Errorf("the response (-want +got):\n%s", d)
	}
	if items, next, _, err := r.History(context.Background(), ref("ab"), nba.Read{}, 0, ""); len(items) != 0 || next != "" || err != nil {
		t.Errorf("the history of another subject: %d items, %v", len(items), err)
	}
}

func checkRefusals(t *testing.T, r *Router, id string) {
	t.Helper()
	ctx := context.Background()
	for name, test := range map[string]struct {
		response command.Response
		code     nba.Code
	}{
		"an action that was not proposed": {command.Response{DecisionID: id, Action: "x", Outcome: nba.Clicked}, nba.CodeActionUnknown},
		"no such decision":                {command.Response{DecisionID: "01JD7Q3X1Z8Y6W5V4T3S2R1Q0P", Action: "x", Outcome: nba.Clicked}, nba.CodeDecisionUnknown},
		"no id":                           {command.Response{DecisionID: "x", Action: "x", Outcome: nba.Clicked}, nba.CodeDecisionUnknown},
		"no such outcome":                 {command.Response{DecisionID: id, Action: "x", Outcome: "Sneezed"}, nba.CodeInvalid},
	} {
		if _, err := r.RecordResponse(ctx, test.response); nba.CodeOf(err) != test.code {
			t.Errorf("%s: got %v, want %s", name, err, test.code)
		}
	}
	other := testDecision(nba.SubjectRef{ID: "ab", Type: nba.Subscriber}, time.UnixMilli(1))
	other.Subject.ID = "a"
	if err := r.RecordDecision(ctx, other); nba.CodeOf(err) != nba.CodeInvalid {
		t.Errorf("an id made for another subject: %v", err)
	}
	for _, cursor := range []string{"x", "!!", "AAAA", strings.Repeat("A", 40), strings.Repeat("A", 400)} {
		if _, _, _, err := r.History(context.Background(), ref("a"), nba.Read{}, 0, cursor); err != nil && nba.CodeOf(err) != nba.CodeInvalid {
			t.Errorf("cursor %s: %v", cursor, err)
		}
	}
	if _, _, _, err := r.History(context.Background(), ref("a"), nba.Read{}, 1_000_000, ""); nba.CodeOf(err) != nba.CodeInvalid {
		t.Errorf("a limit too large: %v", err)
	}
}

func TestDecisionIDs(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	seen := map[string]bool{}
	groups := [4]int{}
	before := ""
	for i := range 4000 {
		s := nba.SubjectRef{ID: fmt.Sprint("subject-", i), Type: nba.SubjectTypes[i%3]}
		var entropy [10]byte
		for j := range entropy {
			entropy[j] = byte(random.Uint32())
		}
		id := NewDecisionID(s, time.UnixMilli(int64(i)), entropy)
		slot, ok := SlotOfDecision(id)
		if !ok || slot != Slot(s) || slot < 0 || slot >= Slots || seen[id] || id <= before {
			t.Fatalf("id %s of slot %d: got %d %v", id, Slot(s), slot, ok)
		}
		seen[id], before = true, id
		groups[groupOf(slot, len(groups))]++
	}
	for g, n := range groups {
		if n < 800 || n > 1200 {
			t.Errorf("group %d got %d of 4000 subjects", g, n)
		}
	}
	// The mapping is stored in every data folder and every decision id: it must never change.
	if got := Slot(nba.SubjectRef{ID: "447700900123", Type: nba.Subscriber}); got != pinnedSlot {
		t.Errorf("the slot of the pinned subject is %d, want %d", got, pinnedSlot)
	}
	for _, bad := range []string{"", "x", strings.Repeat("0", 27)} {
		if _, ok := SlotOfDecision(bad); ok {
			t.Errorf("%q was taken for an id", bad)
		}
	}
}

// FuzzCursor: a cursor is a place in the history of the subject, or refused.
func FuzzCursor(f *testing.F) {
	subject := command.AppendSubjectKey(nil, nba.SubjectRef{ID: "a", Type: nba.Subscriber})
	for _, kind := range []uint8{fsm.HistoryDecision, fsm.HistoryResponse} {
		key := fsm.AppendHistoryKey(nil, nil, fsm.HistoryKey{TimeMS: 5, Kind: kind, Position: 2})
		for _, shown := range []int{0, 3, 500} {
			f.Add(formatCursor(key, shown))
		}
	}
	f.Add("")
	f.Fuzz(func(t *testing.T, cursor string) {
		from, shown, err := parseCursor(cursor, subject)
		if err != nil || from == nil {
			return
		}
		if _, ok := fsm.ParseHistoryKey(from, len(subject)); !ok || shown < 0 || shown > command.MaxPropositions {
			t.Fatalf("%q gives %x %d", cursor, from, shown)
		}
		again, shownAgain, err := parseCursor(formatCursor(from[len(subject):], shown), subject)
		if err != nil || string(again) != string(from) || shownAgain != shown {
			t.Fatalf("%q does not survive: %x %d, %v", cursor, again, shownAgain, err)
		}
	})
}
