package node

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

const strategyCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: strategies
channels:
  - {name: web, placements: [hero]}
  - {name: sms, direction: outbound, placements: [message]}
issues: [{name: Grow, groups: [{name: Data}]}]
actions:
  - name: extra-data
    issue: Grow
    group: Data
    value: 5
    purpose: service
    treatments: [{name: w, channel: web}, {name: s, channel: sms}]
    eligibility: [{when: 'aggregates.usage >= 3 && aggregates["most-used"] < 100', code: USES_DATA}]
  - {name: hello, issue: Grow, group: Data, value: 1, purpose: service, treatments: [{name: w, channel: web}, {name: s, channel: sms}]}
fallback: {action: hello}
events:
  - {name: usage, types: [test.usage], set: {plan: event.data.plan}}
eventStrategies:
  - {name: usage, on: [usage], window: {sliding: 1h}, aggregate: {sum: event.data.gb}}
  - {name: most-used, on: [usage], aggregate: {max: event.data.gb}, purposes: [service]}
  - name: cart-left
    on: [test.cart]
    filter: event.data.stage == "added"
    absence: {until: {on: [test.cart], filter: event.data.stage == "bought"}, within: 1m}
    emit: {channels: [sms]}
`

func openStrategies(t testing.TB, dir string, fresh bool) *Node {
	t.Helper()
	cfg := DefaultConfig()
	cfg.DataDir, cfg.Logger = dir, slog.New(slog.NewTextHandler(io.Discard, nil))
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !fresh {
		return n
	}
	if _, err := n.DeclareAttributes(t.Context(), []nba.AttributeDeclaration{{Name: "plan", Type: nba.KindString}}); err != nil {
		t.Fatal(err)
	}
	version, err := n.PutCatalog(t.Context(), []byte(strategyCatalog), "*")
	if err == nil {
		_, err = n.ActivateCatalog(t.Context(), version.Version, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func happen(t testing.TB, n *Node, id, kind, subject, data string, at time.Time) {
	t.Helper()
	receipts, err := n.AcceptEvents(t.Context(), []nba.IncomingEvent{{Event: nba.Event{ID: id, Source: "/test", Type: kind,
		Subject: nba.SubjectRef{ID: subject, Type: nba.Subscriber}, Time: at, Received: time.Now(), Data: json.RawMessage(data)}}})
	if err != nil || receipts[0].Status != nba.EventAccepted {
		t.Fatalf("%+v %v", receipts, err)
	}
}

// raisedFor counts what strategies raised for a subject: what waits, what was closed, and what was decided.
func raisedFor(t testing.TB, n *Node, subject string) (count int) {
	t.Helper()
	ref := nba.SubjectRef{ID: subject, Type: nba.Subscriber}
	key := command.AppendSubjectKey(nil, ref)
	for _, group := range n.router.Led() {
		due, _, err := n.router.Triggers(group, math.MaxInt64/2, 1000, func(ulid.ULID) bool { return false })
		if err != nil {
			t.Fatal(err)
		}
		for i := range due {
			if string(due[i].Key) == string(key) {
				count++
			}
		}
		shut, err := n.router.ShutTriggers(group, key, 100)
		if err != nil {
			t.Fatal(err)
		}
		count += len(shut)
	}
	items, _, err := n.History(t.Context(), ref, nil, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	return count + len(items)
}

func putSubject(t testing.TB, n *Node, id string) {
	t.Helper()
	if _, _, err := n.PutSubject(t.Context(), nba.SubjectDocument{SubjectRef: nba.SubjectRef{ID: id}}, nil); err != nil {
		t.Fatal(err)
	}
}

// TestEventsAreSeenAtOnce: when an event is accepted, decisions see what was counted and set.
func TestEventsAreSeenAtOnce(t *testing.T) {
	n := openStrategies(t, t.TempDir(), true)
	defer func() { _ = n.Close() }()
	putSubject(t, n, "S-1")
	first := func() string {
		d := decide(t, n, &nba.DecisionRequest{Subject: nba.SubjectRef{ID: "S-1"}, Channel: "web"})
		again, err := n.ReplayDecision(t.Context(), d.DecisionID, 0)
		if err != nil || !again.Identical {
			t.Errorf("made again: %+v %v", again, err)
		}
		return d.Propositions[0].Items[0].Action
	}
	if got := first(); got != "hello" {
		t.Errorf("proposed %s before anything was used", got)
	}
	happen(t, n, "1", "test.usage", "S-1", `{"gb": 2.5, "plan": "flat"}`, time.Now())
	happen(t, n, "2", "test.usage", "S-1", `{"gb": 1.5}`, time.Now())
	happen(t, n, "3", "test.usage", "S-1", `{"gb": 50}`, time.Now().Add(-2*time.Hour))
	if got := first(); got != "extra-data" {
		t.Errorf("proposed %s after 4 GB", got)
	}
	doc, err := n.Subject(t.Context(), nba.SubjectRef{ID: "S-1"}, nil)
	if err != nil || doc.Attributes["plan"] != "flat" {
		t.Errorf("got %+v %v", doc, err)
	}
	known, err := n.Aggregates(t.Context(), nba.SubjectRef{ID: "S-1"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, a := range known.Aggregates {
		got += fmt.Sprintf("%s %s %s", a.Strategy, a.Aggregate, a.Window)
		if a.Value != nil {
			got += fmt.Sprint(" ", *a.Value)
		}
		got += "; "
	}
	if want := "usage sum sliding 1h in steps of 1m 4; most-used max  50; cart-left absence ; "; got != want {
		t.Errorf("got %s", got)
	}
	if _, err := n.Aggregates(t.Context(), nba.SubjectRef{ID: "S-2"}, nil); nba.CodeOf(err) != nba.CodeSubjectUnknown {
		t.Errorf("got %v", err)
	}
}

// TestTimersSurviveARestart: what did not happen is told of after a restart, once.
func TestTimersSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	n := openStrategies(t, dir, true)
	for i := range 20 {
		id := fmt.Sprintf("S-%d", i)
		putSubject(t, n, id)
		happen(t, n, "cart"+id, "test.cart", id, `{"stage": "added"}`, time.Now().Add(-time.Minute+1500*time.Millisecond))
		if i%2 == 0 {
			happen(t, n, "bought"+id, "test.cart", id, `{"stage": "bought"}`, time.Now())
		}
	}
	if got := raisedFor(t, n, "S-1"); got != 0 {
		t.Errorf("raised %d before the time was over", got)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	n = openStrategies(t, dir, false)
	defer func() { _ = n.Close() }()
	for end := time.Now().Add(15 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		left := 0
		for i := 1; i < 20; i += 2 {
			if raisedFor(t, n, fmt.Sprintf("S-%d", i)) == 0 {
				left++
			}
		}
		if left == 0 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%d carts were forgotten", left)
		}
	}
	time.Sleep(50 * time.Millisecond)
	for i := range 20 {
		if got := raisedFor(t, n, fmt.Sprintf("S-%d", i)); got != i%2 {
			t.Errorf("S-%d: raised %d", i, got)
		}
	}
}
