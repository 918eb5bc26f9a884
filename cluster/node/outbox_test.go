package node

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	sinks "github.com/arbiterhq/arbiter/cluster/delivery"
	"github.com/arbiterhq/arbiter/cluster/importer"
	"github.com/arbiterhq/arbiter/runtime/clock"
	"github.com/arbiterhq/arbiter/runtime/delivery"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// outboxCatalog has a strategy that asks for a decision at each landing. %s is more of it.
const outboxCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: outbox
channels:
  - {name: web, placements: [hero]}
  - {name: push, direction: outbound, placements: [note], sink: gateway}
  - {name: sms, direction: outbound, placements: [message], sink: gateway}
issues: [{name: Grow, groups: [{name: Roaming}, {name: Other}]}]
actions:
  - {name: pass, issue: Grow, group: Roaming, value: 5, purpose: service, offering: {id: po-pass}, treatments: [{name: pass-sms, channel: sms, content: {text: 2 GB abroad}}, {name: pass-web, channel: web}]}
  - {name: other, issue: Grow, group: Other, value: 50, purpose: service, treatments: [{name: other-sms, channel: sms}, {name: other-push, channel: push}]}
  - {name: hello, issue: Grow, group: Other, value: 1, purpose: service, treatments: [{name: hello-web, channel: web}, {name: hello-sms, channel: sms}]}
fallback: {action: hello}
eventStrategies:
  - name: abroad
    purpose: service
    on: [test.landed]
    emit: {channels: [push, sms], actions: [pass], contexts: {country: event.data.country}, when: '!("country" in contexts) || contexts["country"] != "DE"', within: 1h}
`

// receiver is where deliveries go. answer says what it answers to the n-th attempt of a delivery (from 0).
type receiver struct {
	*httptest.Server
	answer func(id string, n int) int

	mu       sync.Mutex
	attempts map[string]int
	bodies   map[string][]byte
	order    []string
}

func newReceiver(t testing.TB, answer func(id string, n int) int) *receiver {
	t.Helper()
	r := &receiver{answer: answer, attempts: map[string]int{}, bodies: map[string][]byte{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		id := req.Header.Get("webhook-id")
		r.mu.Lock()
		n := r.attempts[id]
		r.attempts[id]++
		if had := r.bodies[id]; had != nil && string(had) != string(body) {
			t.Errorf("delivery %s has other bytes at attempt %d", id, n+1)
		}
		r.bodies[id] = body
		r.order = append(r.order, id)
		r.mu.Unlock()
		code := http.StatusOK
		if r.answer != nil {
			code = r.answer(id, n)
		}
		w.WriteHeader(code)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) seen() (ids []string, attempts int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, n := range r.attempts {
		ids, attempts = append(ids, id), attempts+n
	}
	return ids, attempts
}

func openOutbox(t testing.TB, dir, url, more string, tune func(*Config)) *Node {
	t.Helper()
	cfg := DefaultConfig()
	cfg.DataDir, cfg.Logger = dir, slog.New(slog.NewTextHandler(io.Discard, nil))
	cfg.Sinks = []sinks.Spec{{Name: "gateway", Kind: sinks.KindWebhook, URL: url, Secret: "a-secret-of-twenty-b", Timeout: time.Second,
		Policy: delivery.Policy{First: 5 * time.Millisecond, Longest: 20 * time.Millisecond, Attempts: 4}, BreakAfter: 100}}
	if tune != nil {
		tune(&cfg)
	}
	n, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	if more == "-" {
		return n
	}
	var lines strings.Builder
	for i := range 50 {
		fmt.Fprintf(&lines, `{"id":"O-%d"}`+"\n", i)
	}
	if _, err := n.ImportSubjects(t.Context(), strings.NewReader(lines.String()), importer.Spec{Format: importer.FormatNDJSON}, func(r importer.Result) error {
		return fmt.Errorf("line %d: %v", r.Line, r)
	}); err != nil {
		t.Fatal(err)
	}
	version, err := n.PutCatalog(t.Context(), []byte(outboxCatalog+more), "*")
	if err == nil {
		_, err = n.ActivateCatalog(t.Context(), version.Version, "")
	}
	if err != nil {
		t.Fatalf("%v %+v", err, err)
	}
	return n
}

func land(t testing.TB, n *Node, id, subject, country string) {
	t.Helper()
	now := n.clock.Now()
	receipts, err := n.AcceptEvents(t.Context(), []nba.IncomingEvent{{Event: nba.Event{
		ID: id, Source: "/test", Type: "test.landed", Subject: nba.SubjectRef{ID: subject, Type: nba.Subscriber}, Time: now, Received: now,
		Data: json.RawMessage(fmt.Sprintf(`{"country":%q}`, country))}}})
	if err != nil || receipts[0].Status != nba.EventAccepted {
		t.Fatalf("%+v, %v", receipts, err)
	}
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func deliveries(t testing.TB, n *Node, states ...string) []nba.Delivery {
	t.Helper()
	list, err := n.Deliveries(t.Context(), nba.DeliveryQuery{States: states})
	if err != nil {
		t.Fatal(err)
	}
	return list.Deliveries
}

func closedTriggers(t testing.TB, n *Node) []nba.ClosedTrigger {
	t.Helper()
	list, err := n.Deliveries(t.Context(), nba.DeliveryQuery{Closed: true})
	if err != nil {
		t.Fatal(err)
	}
	return list.Closed
}

// TestEventIsDelivered: an event leads, by itself and at once, to a decision on the first channel that has a
// proposition, and to one delivery that the receiver can check, read and answer.
func TestEventIsDelivered(t *testing.T) {
	to := newReceiver(t, nil)
	n := openOutbox(t, t.TempDir(), to.URL, "", nil)
	land(t, n, "e1", "O-1", "US")
	until(t, "it is sent", func() bool { return len(deliveries(t, n, "sent")) == 1 })
	ids, attempts := to.seen()
	if len(ids) != 1 || attempts != 1 {
		t.Fatalf("%d deliveries in %d attempts", len(ids), attempts)
	}
	var m nba.DeliveryMessage
	if err := json.Unmarshal(to.bodies[ids[0]], &m); err != nil {
		t.Fatal(err)
	}
	if m.DeliveryID != ids[0] || m.Subject.ID != "O-1" || m.Channel != "sms" || m.Action != "pass" || m.Treatment != "pass-sms" || m.Content["text"] != "2 GB abroad" ||
		m.Offering.ID != "po-pass" || m.Cause.Origin != "strategy:abroad" || m.Cause.EventType != "test.landed" || m.ExpiresAt == nil ||
		len(m.Contexts) != 1 || m.Contexts[0].Key != "country" || m.Contexts[0].Value != "US" {
		t.Errorf("%s", to.bodies[ids[0]])
	}
	if _, err := n.Respond(t.Context(), []nba.Response{{ResponseToken: m.ResponseToken, Outcome: nba.Clicked}}); err != nil {
		t.Errorf("responding: %v", err)
	}
	rec, err := n.Decision(t.Context(), m.DecisionID, nil)
	if err != nil || rec.Direction != nba.Outbound || rec.Cause == nil || rec.Cause.Origin != "strategy:abroad" {
		t.Errorf("%+v, %v", rec, err)
	}
	again, err := n.ReplayDecision(t.Context(), m.DecisionID, 0)
	if err != nil || !again.Identical || !reflect.DeepEqual(again.Decision.Propositions, rec.Propositions) {
		t.Errorf("made again: %+v, %v", again, err)
	}
	one, err := n.Delivery(t.Context(), ids[0])
	if err != nil || one.State != "sent" || one.Attempts != 1 || one.Message != nil {
		t.Errorf("%+v, %v", one, err)
	}
}

// TestTriggersThatLeadToNothing are closed, each with its reason.
func TestTriggersThatLeadToNothing(t *testing.T) {
	to := newReceiver(t, nil)
	n := openOutbox(t, t.TempDir(), to.URL, `contactPolicies: [{name: one, limit: 1, per: day, counting: decisions, code: ONE_A_DAY}]`, nil)
	land(t, n, "e1", "O-1", "DE")
	until(t, "the condition is false", func() bool { c := closedTriggers(t, n); return len(c) == 1 && c[0].Reason == "condition" })
	// Limits are shared: an inbound decision makes the one contact of the day.
	if d := decide(t, n, &nba.DecisionRequest{Subject: nba.SubjectRef{ID: "O-2"}, Channel: "web"}); len(d.Propositions[0].Items) != 1 {
		t.Fatalf("%+v", d)
	}
	land(t, n, "e2", "O-2", "US")
	until(t, "there is nothing to propose", func() bool {
		c := closedTriggers(t, n)
		return len(c) == 2 && c[0].Reason == "nothing_to_propose" && c[0].Detail != ""
	})
	if ids, _ := to.seen(); len(ids) != 0 {
		t.Errorf("%d deliveries", len(ids))
	}
}

// TestLimitsOfManyTriggersAtOnce: however many events come at once, a subject is contacted as often as its
// limit says.
func TestLimitsOfManyTriggersAtOnce(t *testing.T) {
	to := newReceiver(t, nil)
	n := openOutbox(t, t.TempDir(), to.URL, `contactPolicies: [{name: two, limit: 2, per: day, counting: decisions}]`, nil)
	for i := range 30 {
		land(t, n, fmt.Sprint("e", i), fmt.Sprint("O-", i%3), "US")
	}
	until(t, "all are decided", func() bool { return len(deliveries(t, n, "sent"))+len(closedTriggers(t, n)) == 30 })
	per := map[string]int{}
	for _, d := range deliveries(t, n) {
		per[d.Subject.ID]++
	}
	for id, times := range per {
		if times != 2 {
			t.Errorf("%s was contacted %d times", id, times)
		}
	}
}

// TestAttemptedOnce: while deliveries come and go, none that was sent is taken up again.
func TestAttemptedOnce(t *testing.T) {
	to := newReceiver(t, nil)
	n := openOutbox(t, t.TempDir(), to.URL, "", nil)
	const batches, size = 40, 50
	for b := range batches {
		events := make([]nba.IncomingEvent, size)
		now := n.clock.Now()
		for i := range events {
			events[i].Event = nba.Event{ID: fmt.Sprint("e", b*size+i), Source: "/test", Type: "test.landed", Subject: nba.SubjectRef{ID: fmt.Sprint("O-", i), Type: nba.Subscriber},
				Time: now, Received: now, Data: json.RawMessage(`{"country":"US"}`)}
		}
		if _, err := n.AcceptEvents(t.Context(), events); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "all are sent", func() bool {
		ids, _ := to.seen()
		return len(ids) == batches*size && len(deliveries(t, n, "pending")) == 0
	})
	if ids, attempts := to.seen(); attempts != len(ids) {
		t.Errorf("%d deliveries in %d attempts", len(ids), attempts)
	}
}

// TestFailingReceivers: what fails is tried again under the same id; what is given up can be replayed; what is
// refused is not tried again.
func TestFailingReceivers(t *testing.T) {
	var mu sync.Mutex
	code := func(int) int { return http.StatusInternalServerError }
	to := newReceiver(t, func(_ string, n int) int { mu.Lock(); defer mu.Unlock(); return code(n) })
	set := func(f func(int) int) { mu.Lock(); defer mu.Unlock(); code = f }
	n := openOutbox(t, t.TempDir(), to.URL, "", nil)
	set(func(n int) int {
		if n < 2 {
			return http.StatusServiceUnavailable
		}
		return http.StatusOK
	})
	land(t, n, "e1", "O-1", "US")
	until(t, "the third attempt is taken", func() bool { d := deliveries(t, n, "sent"); return len(d) == 1 && d[0].Attempts == 3 })
	set(func(int) int { return http.StatusInternalServerError })
	land(t, n, "e2", "O-2", "US")
	until(t, "it is given up", func() bool { return len(deliveries(t, n, "dead")) == 1 })
	dead := deliveries(t, n, "dead")[0]
	if dead.Attempts != 4 || !strings.Contains(dead.Problem, "500") {
		t.Errorf("%+v", dead)
	}
	if _, err := n.CancelDelivery(t.Context(), dead.DeliveryID); nba.CodeOf(err) != nba.CodeConflict {
		t.Errorf("cancelling a dead one: %v", err)
	}
	set(func(int) int { return http.StatusOK })
	if _, err := n.ReplayDelivery(t.Context(), dead.DeliveryID); err != nil {
		t.Fatal(err)
	}
	until(t, "the replay is taken", func() bool {
		d, err := n.Delivery(t.Context(), dead.DeliveryID)
		return err == nil && d.State == "sent"
	})
	set(func(int) int { return http.StatusUnprocessableEntity })
	land(t, n, "e3", "O-3", "US")
	until(t, "it is refused", func() bool { return len(deliveries(t, n, "dead")) == 1 })
	if d := deliveries(t, n, "dead")[0]; d.Attempts != 1 {
		t.Errorf("%+v", d)
	}
	if ids, _ := to.seen(); len(ids) != 3 {
		t.Errorf("%d ids at the receiver, of 3 deliveries", len(ids))
	}
}

// TestCancelAndExpire: what waits can be taken back; what is late is not sent.
func TestCancelAndExpire(t *testing.T) {
	hands := clock.NewManual(time.Now())
	to := newReceiver(t, func(string, int) int { return http.StatusServiceUnavailable })
	n := openOutbox(t, t.TempDir(), to.URL, "", func(c *Config) {
		c.Clock = hands
		c.Sinks[0].Policy = delivery.Policy{First: time.Hour / 4, Longest: time.Hour / 4, Attempts: 100}
	})
	land(t, n, "e1", "O-1", "US")
	land(t, n, "e2", "O-2", "US")
	until(t, "both were tried", func() bool {
		d := deliveries(t, n, "pending")
		return len(d) == 2 && d[0].Attempts == 1 && d[1].Attempts == 1
	})
	first := deliveries(t, n, "pending")[0]
	until(t, "it is not being sent any more", func() bool {
		d, err := n.CancelDelivery(t.Context(), first.DeliveryID)
		return err == nil && d.State == "cancelled"
	})
	hands.Advance(2 * time.Hour)
	until(t, "the other has expired", func() bool { return len(deliveries(t, n, "expired")) == 1 })
	if _, attempts := to.seen(); attempts != 2 {
		t.Errorf("%d attempts", attempts)
	}
}

// TestQuietHoursPutOff: in quiet hours nothing is sent and nothing is lost: it is decided when they end, unless
// that is too late.
func TestQuietHoursPutOff(t *testing.T) {
	hands := clock.NewManual(time.Now())
	to := newReceiver(t, nil)
	quiet := func(end time.Duration) *Node {
		policy := fmt.Sprintf("timeZone: {default: UTC}\ncontactPolicies: [{name: night, quietHours: {from: '%s', to: '%s'}, direction: outbound}]",
			hands.Now().Add(-time.Hour).Format("15:04"), hands.Now().Add(end).Format("15:04"))
		return openOutbox(t, t.TempDir(), to.URL, policy, func(c *Config) { c.Clock = hands })
	}
	n := quiet(2 * time.Hour) // and the strategy waits for an hour only
	land(t, n, "e1", "O-1", "US")
	until(t, "it is closed", func() bool {
		c := closedTriggers(t, n)
		return len(c) == 1 && c[0].Reason == "expired" && c[0].Detail == detailQuiet
	})
	n = quiet(30 * time.Minute)
	land(t, n, "e1", "O-1", "US")
	time.Sleep(300 * time.Millisecond)
	if ids, _ := to.seen(); len(ids) != 0 || len(closedTriggers(t, n)) != 0 || n.router.Tally().Triggers != 1 {
		t.Fatalf("%d deliveries, closed: %+v", len(ids), closedTriggers(t, n))
	}
	hands.Advance(31 * time.Minute)
	until(t, "it is sent when they end", func() bool { return len(deliveries(t, n, "sent")) == 1 })
}

// TestDeliveriesSurviveARestart: what was not sent is sent by the node that comes after.
func TestDeliveriesSurviveARestart(t *testing.T) {
	var mu sync.Mutex
	code := http.StatusServiceUnavailable
	to := newReceiver(t, func(string, int) int { mu.Lock(); defer mu.Unlock(); return code })
	dir := t.TempDir()
	patient := func(c *Config) {
		c.Sinks[0].Policy = delivery.Policy{First: time.Millisecond * 50, Longest: time.Second, Attempts: 1000}
	}
	n := openOutbox(t, dir, to.URL, "", patient)
	for i := range 20 {
		land(t, n, fmt.Sprint("e", i), fmt.Sprint("O-", i), "US")
	}
	until(t, "all were tried", func() bool { ids, _ := to.seen(); return len(ids) == 20 })
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	code = http.StatusOK
	mu.Unlock()
	n = openOutbox(t, dir, to.URL, "-", patient)
	until(t, "all are sent", func() bool { return len(deliveries(t, n, "sent")) == 20 })
	if ids, _ := to.seen(); len(ids) != 20 {
		t.Errorf("%d ids at the receiver, of 20 deliveries", len(ids))
	}
}

// TestBreakerLeavesAlone: an endpoint that fails is left alone, and is found again.
func TestBreakerLeavesAlone(t *testing.T) {
	var mu sync.Mutex
	code := http.StatusServiceUnavailable
	to := newReceiver(t, func(string, int) int { mu.Lock(); defer mu.Unlock(); return code })
	n := openOutbox(t, t.TempDir(), to.URL, "", func(c *Config) {
		c.Sinks[0].Policy = delivery.Policy{First: time.Millisecond, Longest: time.Millisecond, Attempts: 1000}
		c.Sinks[0].BreakAfter, c.Sinks[0].BreakPause = 3, 400*time.Millisecond
	})
	for i := range 10 {
		land(t, n, fmt.Sprint("e", i), fmt.Sprint("O-", i), "US")
	}
	until(t, "it was tried", func() bool { _, attempts := to.seen(); return attempts >= 3 })
	time.Sleep(300 * time.Millisecond)
	if _, attempts := to.seen(); attempts > 25 {
		t.Errorf("%d attempts at an endpoint that is left alone", attempts)
	}
	mu.Lock()
	code = http.StatusOK
	mu.Unlock()
	until(t, "all are sent", func() bool { return len(deliveries(t, n, "sent")) == 10 })
}

// TestUnknownSinks: what goes to a sink that no setting has waits and says so; a channel without a sink is a
// clear reason.
func TestUnknownSinks(t *testing.T) {
	n := openOutbox(t, t.TempDir(), "http://127.0.0.1:1", "", func(c *Config) { c.Sinks = nil })
	land(t, n, "e1", "O-1", "US")
	until(t, "it tells why it waits", func() bool { d := deliveries(t, n, "pending"); return len(d) == 1 && d[0].Problem == problemNoSink })
	bare := strings.ReplaceAll(outboxCatalog, ", sink: gateway", "")
	version, err := n.PutCatalog(t.Context(), []byte(bare), "*")
	if err == nil {
		_, err = n.ActivateCatalog(t.Context(), version.Version, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	land(t, n, "e2", "O-2", "US")
	until(t, "it tells that there is no sink", func() bool { c := closedTriggers(t, n); return len(c) == 1 && c[0].Detail == detailNoSink })
}
