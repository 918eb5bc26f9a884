package node

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// cartEvent is an event about the cart of the demo catalog.
func cartEvent(n int, kind, subject, data string) nba.IncomingEvent {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return nba.IncomingEvent{Event: nba.Event{ID: fmt.Sprintf("E-%d", n), Source: "/shop", Type: kind, Subject: nba.SubjectRef{ID: subject, Type: nba.Subscriber},
		Time: now, Received: now, Data: json.RawMessage(data)}}
}

// TestJourneysOnEveryNode: events that one node takes are seen on every node, decisions on each read where the
// subject stands, and each makes them again; what a person asks for is done once, wherever it is asked.
func TestJourneysOnEveryNode(t *testing.T) {
	cluster := openCluster(t, 3, 4)
	loadDemo(t, cluster[0], 40)
	ctx := t.Context()
	for i := range 12 {
		subject := nba.SubjectRef{ID: fmt.Sprintf("S-%06d", i+1), Type: nba.Subscriber}
		receipts, err := cluster[i%3].AcceptEvents(ctx, []nba.IncomingEvent{cartEvent(i, "com.example.cart.updated", subject.ID, `{"value": 120.5, "product": "phone"}`)})
		if err != nil || receipts[0].Status != nba.EventAccepted {
			t.Fatalf("%+v, %v", receipts, err)
		}
		for at, n := range cluster {
			got, err := n.Journeys(ctx, subject, nil)
			if err != nil || len(got.Journeys) != 1 {
				t.Fatalf("node %d: %+v, %v", at+1, got, err)
			}
			if in := got.Journeys[0]; in.Stage != "open" || in.StageLabel != "Being filled" || in.Data["value"] != 120.5 || in.Due == nil || in.Due.Stage != "abandoned" {
				t.Errorf("node %d: %+v", at+1, in)
			}
			why, err := n.WhyNot(ctx, request(subject.ID, "store"), "cart-help")
			if err != nil {
				t.Fatal(err)
			}
			if why.Code == "NO_CART" {
				t.Errorf("node %d does not see the cart: %+v", at+1, why)
			}
			if _, err := n.Journeys(ctx, nba.SubjectRef{ID: "nobody"}, nil); nba.CodeOf(err) != nba.CodeSubjectUnknown {
				t.Errorf("node %d knows nobody: %v", at+1, err)
			}
		}
		made := decide(t, cluster[(i+1)%3], request(subject.ID, "store"))
		for k := range 3 {
			moved, err := cluster[(i+k)%3].MoveJourney(ctx, subject, nba.JourneyRequest{Journey: "cart", Stage: "bought", Reason: "paid"})
			if err != nil || moved.Changed != (k == 0) || !moved.Ended {
				t.Errorf("asked for the %d. time: %+v, %v", k+1, moved, err)
			}
		}
		for at, n := range cluster {
			if again, err := n.ReplayDecision(ctx, made.DecisionID, 0); err != nil || !again.Identical {
				t.Errorf("node %d makes the decision otherwise: %v, %+v", at+1, err, again.Differences)
			}
		}
	}
	for name, req := range map[string]nba.JourneyRequest{
		"an unknown journey": {Journey: "tour", Stage: "bought"}, "an unknown stage": {Journey: "cart", Stage: "sold"},
		"a key that is none": {Journey: "cart", Stage: "open", Key: "K"}, "from elsewhere": {Journey: "cart", Stage: "lapsed", From: "abandoned"},
	} {
		if _, err := cluster[0].MoveJourney(ctx, nba.SubjectRef{ID: "S-000001"}, req); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// TestJourneyAskedUnderAKey: a request under an idempotency key that comes again is answered as it was.
func TestJourneyAskedUnderAKey(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 5)
	subject := nba.SubjectRef{ID: "S-000001", Type: nba.Subscriber}
	for k := range 3 {
		key := nba.NewIdempotency("again", [16]byte{1})
		moved, err := n.MoveJourney(nba.WithIdempotency(t.Context(), key), subject, nba.JourneyRequest{Journey: "cart", Stage: "open"})
		if err != nil || !moved.Changed || !moved.Began || key.Replayed() != (k > 0) {
			t.Errorf("%+v, %v, replayed %v", moved, err, key.Replayed())
		}
	}
	if got, err := n.Journeys(t.Context(), subject, nil); err != nil || len(got.Moves) != 1 || got.Moves[0].Cause != "person" {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestWhatAnotherCatalogWouldAsk: a catalog that asks where the subject stands, where the one of then did not,
// is told how it is now, and that is said.
func TestWhatAnotherCatalogWouldAsk(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 5)
	made := decide(t, n, request("S-000003", "web"))
	document := strings.Replace(string(examples.Catalog()), "  - {when: 'channel == \"store\"', group: Devices, weight: 1.3}",
		"  - {when: 'channel == \"web\" && journey(\"cart\").open', group: Plans, weight: 1.3}", 1)
	stored, err := n.PutCatalog(t.Context(), []byte(document), "*")
	if err != nil {
		t.Fatal(err)
	}
	again, err := n.ReplayDecision(t.Context(), made.DecisionID, stored.Version)
	if err != nil || !slices.Contains(again.Assumed, "journeys") {
		t.Errorf("%+v, %v", again.Assumed, err)
	}
	if same, err := n.ReplayDecision(t.Context(), made.DecisionID, 0); err != nil || !same.Identical {
		t.Errorf("%+v, %v", same.Differences, err)
	}
}

// TestSimulationsSeeJourneys: what a simulation tells is what decisions would, for those with a cart too.
func TestSimulationsSeeJourneys(t *testing.T) {
	n := openNode(t, t.TempDir())
	loadDemo(t, n, 20)
	helped := func() int {
		job, err := n.Simulate(t.Context(), nba.SimulationRequest{Sample: 20, Channels: []string{"store"}})
		if err != nil {
			t.Fatal(err)
		}
		done := simulatedBy(t, n, job.ID)
		if done.Result == nil {
			t.Fatalf("%+v", done)
		}
		for _, a := range done.Result.To.Actions {
			if a.Action == "cart-help" {
				return a.Propositions
			}
		}
		return 0
	}
	if got := helped(); got != 0 {
		t.Fatalf("%d are helped with a cart they do not have", got)
	}
	var events []nba.IncomingEvent
	for i := range 20 {
		events = append(events, cartEvent(i, "com.example.cart.updated", fmt.Sprintf("S-%06d", i+1), `{"value": 700}`))
	}
	if _, err := n.AcceptEvents(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if got := helped(); got == 0 {
		t.Error("nobody is helped with a cart")
	}
}
