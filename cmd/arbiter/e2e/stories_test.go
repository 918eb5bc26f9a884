package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/examples"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// phones is a receiver of deliveries: what a gateway for messages would be.
type phones struct {
	*httptest.Server
	mu     sync.Mutex
	got    []nba.DeliveryMessage
	tried  map[string]int  // by subject
	broken map[string]bool // subjects whose messages are not taken
}

func newPhones(t *testing.T) *phones {
	t.Helper()
	p := &phones{tried: map[string]int{}, broken: map[string]bool{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var message nba.DeliveryMessage
		if err := json.Unmarshal(body, &message); err != nil || r.Header.Get("webhook-id") != message.DeliveryID {
			t.Errorf("what is that? %v %s", err, body)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.tried[message.Subject.ID]++
		if p.broken[message.Subject.ID] {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		p.got = append(p.got, message)
	}))
	t.Cleanup(p.Close)
	return p
}

// of are the messages that a subject got.
func (p *phones) of(subject string) (got []nba.DeliveryMessage) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.got {
		if m.Subject.ID == subject {
			got = append(got, m)
		}
	}
	return got
}

func (p *phones) attempts(subject string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tried[subject]
}

func (p *phones) setBroken(subject string, broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken[subject] = broken
}

// until waits until something holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never happened: %s", what)
		}
	}
}

// stage is the town in which the stories happen: the demo operator, whose carts are left after two seconds, and
// the phones of its customers.
type stage struct {
	*server
	phones *phones
	events int
}

func newStage(t *testing.T) *stage {
	t.Helper()
	p := newPhones(t)
	s := &stage{phones: p, server: start(t, "dev", "--no-demo", "--subscribers", "20", "--webhook", p.URL)}
	document := bytes.Replace(examples.Catalog(), []byte("timeout: {after: 15s, to: abandoned}"), []byte("timeout: {after: 2s, to: abandoned}"), 1)
	if bytes.Equal(document, examples.Catalog()) {
		t.Fatal("the cart of the demo has no timeout of 15s")
	}
	stored := decode[nba.CatalogVersion](t, s.call("PUT", "/v1/catalog", document, "Content-Type", "application/yaml", "If-Match", "*"), 201)
	decode[nba.CatalogVersion](t, s.call("POST", fmt.Sprintf("/v1/catalog/versions/%d/activate", stored.Version), nil), 200)
	return s
}

func (s *stage) customer(id string, attributes string) {
	s.t.Helper()
	body := fmt.Sprintf(`{"attributes": %s, "consents": {"marketing": true, "profiling": true}}`, attributes)
	if r := s.call("PUT", "/v1/subjects/"+strings.ReplaceAll(id, "+", "%2B"), body); r.status != 201 {
		s.t.Fatalf("%d %s", r.status, r.body)
	}
}

// happens sends an event about a customer, who is named by the attribute subject or, in what CAMARA sends, by
// the phone number.
func (s *stage) happens(kind, subject, data string) {
	s.t.Helper()
	s.events++
	about := fmt.Sprintf(`"subject": %q,`, subject)
	if strings.HasPrefix(kind, "org.camaraproject.") {
		about = ""
	}
	body := fmt.Sprintf(`{"specversion": "1.0", "id": "story-%d", "source": "/story", "type": %q, %s "time": %q, "data": %s}`,
		s.events, kind, about, time.Now().UTC().Format(time.RFC3339Nano), data)
	got := decode[struct{ Accepted int }](s.t, s.call("POST", "/v1/events", body, "Content-Type", "application/cloudevents+json"), 200)
	if got.Accepted != 1 {
		s.t.Fatalf("%s was not accepted", kind)
	}
}

// expect waits for the one message of a customer.
func (s *stage) expect(subject, action, origin string) nba.DeliveryMessage {
	s.t.Helper()
	until(s.t, action+" is delivered", func() bool { return len(s.phones.of(subject)) > 0 })
	got := s.phones.of(subject)
	if len(got) != 1 || got[0].Action != action || !strings.HasPrefix(got[0].Cause.Origin, origin) || got[0].Content["text"] == "" {
		s.t.Fatalf("%s got %+v, want %s of %s", subject, got, action, origin)
	}
	return got[0]
}

// expectSameAgain makes a past decision again.
func (s *stage) expectSameAgain(id string) {
	s.t.Helper()
	if r := s.call("POST", "/v1/decisions/"+id+"/replay", nil); r.status != 200 || r.header.Get("Arbiter-Replay") != "identical" {
		s.t.Errorf("made again, the decision differs: %d %s", r.status, r.body)
	}
}

func (s *stage) journeys(subject string) nba.SubjectJourneys {
	s.t.Helper()
	return decode[nba.SubjectJourneys](s.t, s.call("GET", "/v1/subjects/"+subject+"/journeys", nil), 200)
}

func (s *stage) awaitStage(subject, journey, stage string) {
	s.t.Helper()
	until(s.t, journey+" is in "+stage, func() bool {
		return slices.ContainsFunc(s.journeys(subject).Journeys, func(in nba.JourneyInstance) bool { return in.Journey == journey && in.Stage == stage })
	})
}

// TestStories plays what the demo operator's customers live through, with a real receiver of messages.
func TestStories(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	for _, story := range []struct {
		name string
		play func(*testing.T, *stage)
	}{
		{"Julia lands abroad", juliaLands}, {"the data runs out", dataRunsOut}, {"a cart is left", cartIsLeft}, {"a cart is finished in the store", cartFinishedInStore},
		{"a cart is finished while its reminder waits", cartFinishedWhileSending}, {"the network fails", networkFails}, {"an agent ends a cart", agentEndsCart},
	} {
		t.Run(story.name, func(t *testing.T) {
			own := *s
			server := *s.server
			server.t = t
			own.server = &server
			own.events = 1000 * len(t.Name())
			story.play(t, &own)
		})
	}
}

// juliaLands: seconds after her phone is in another country she is proposed 2 GB.
func juliaLands(t *testing.T, s *stage) {
	s.customer("+15550100", `{"phoneService": true, "age": 29}`)
	s.happens("org.camaraproject.device-roaming-status-subscriptions.v0.roaming-on", "",
		`{"subscriptionId": "sub-1", "device": {"phoneNumber": "+15550100"}, "countryCode": 310, "countryName": ["US"]}`)
	got := s.expect("+15550100", "roaming-pass", "strategy:abroad")
	if got.Channel != "push" || got.Offering == nil || got.Offering.ID != "PO-ROAM-2GB" || got.Cause.EventType == "" {
		t.Errorf("got %+v", got)
	}
}

// dataRunsOut: at 90 % of the data the customer is told, which needs no consent.
func dataRunsOut(_ *testing.T, s *stage) {
	s.customer("+15550101", `{"dataAllowanceGB": 10}`)
	s.happens("org.camaraproject.device-data-volume-subscriptions.v0.data-90-percent", "", `{"subscriptionId": "sub-2", "device": {"phoneNumber": "+15550101"}}`)
	s.expect("+15550101", "usage-alert", "strategy:data-runs-out")
}

const cartOf249 = `{"value": 249.5, "product": "phone", "channel": "web"}`

// cartIsLeft: whoever leaves a cart is reminded once; buying then ends it. The decision can be made again,
// although the subject stands somewhere else since.
func cartIsLeft(t *testing.T, s *stage) {
	s.customer("CART-1", `{"age": 40}`)
	s.happens("com.example.cart.updated", "CART-1", cartOf249)
	got := s.expect("CART-1", "cart-reminder", "journey:cart/abandoned#")
	if !slices.Contains(got.Contexts, nba.ContextValue{Type: "journey", Key: "value", Value: "249.5"}) {
		t.Errorf("the contexts are %+v", got.Contexts)
	}
	s.happens("com.example.purchase.completed", "CART-1", `{"channel": "web"}`)
	if journeys := s.journeys("CART-1"); len(journeys.Journeys) != 0 || journeys.Moves[0].To != "bought" {
		t.Errorf("got %+v", journeys)
	}
	s.expectSameAgain(got.DecisionID)
}

// cartFinishedInStore: the agent in the store sees the cart from the web; whoever buys there is not reminded.
func cartFinishedInStore(t *testing.T, s *stage) {
	s.customer("CART-2", `{"age": 40}`)
	s.happens("com.example.cart.updated", "CART-2", cartOf249)
	d := decode[nba.Decision](t, s.call("POST", "/v1/decisions", `{"subject": {"id": "CART-2"}, "channel": "store"}`), 200)
	if item := d.Propositions[0].Items[0]; item.Action != "cart-help" {
		t.Fatalf("the store proposes %s", item.Action)
	}
	s.happens("com.example.purchase.completed", "CART-2", `{"channel": "store"}`)
	// Somebody else's reminder shows that the time has passed.
	s.customer("CART-3", `{"age": 40}`)
	s.happens("com.example.cart.updated", "CART-3", cartOf249)
	s.expect("CART-3", "cart-reminder", "journey:cart/abandoned#")
	if got := s.phones.of("CART-2"); len(got) != 0 {
		t.Errorf("a customer who bought in the store was reminded: %+v", got)
	}
	s.expectSameAgain(d.DecisionID)
	why := decode[nba.WhyNot](t, s.call("GET", "/v1/subjects/CART-2/why-not/cart-help?channel=store", nil), 200)
	if encoded, _ := json.Marshal(why); !bytes.Contains(encoded, []byte("NO_CART")) {
		t.Errorf("why-not: %s", encoded)
	}
}

// cartFinishedWhileSending: a reminder that is in the outbox, and whose sending fails so far, is withdrawn.
func cartFinishedWhileSending(t *testing.T, s *stage) {
	s.customer("CART-4", `{"age": 40}`)
	s.phones.setBroken("CART-4", true)
	s.happens("com.example.cart.updated", "CART-4", cartOf249)
	until(t, "the reminder is attempted", func() bool { return s.phones.attempts("CART-4") > 0 })
	s.happens("com.example.purchase.completed", "CART-4", `{"channel": "store"}`)
	s.phones.setBroken("CART-4", false)
	type list struct{ Items []nba.Delivery }
	until(t, "the reminder is withdrawn", func() bool {
		got := decode[list](t, s.call("GET", "/v1/deliveries?subject=CART-4", nil), 200)
		return len(got.Items) == 1 && got.Items[0].State == "cancelled"
	})
	time.Sleep(1500 * time.Millisecond) // beyond the first waits between attempts
	if got := s.phones.of("CART-4"); len(got) != 0 {
		t.Errorf("the reminder was sent nevertheless: %+v", got)
	}
}

// networkFails: as long as the network is gone nothing is said; when it is back, that we are sorry.
func networkFails(t *testing.T, s *stage) {
	s.customer("NET-1", `{"age": 40}`)
	s.happens("com.example.network.outage", "NET-1", `{"area": "A-7"}`)
	s.awaitStage("NET-1", "trouble", "disturbed")
	if got := s.phones.of("NET-1"); len(got) != 0 {
		t.Errorf("something is said while the network is gone: %+v", got)
	}
	s.happens("com.example.network.restored", "NET-1", `{"area": "A-7", "minutes": 180}`)
	got := s.expect("NET-1", "outage-apology", "journey:trouble/restored#")
	receipt := s.call("POST", "/v1/responses", fmt.Sprintf(`{"responseToken": %q, "outcome": "Accepted"}`, got.ResponseToken))
	if receipt.status != 200 {
		t.Fatalf("%d %s", receipt.status, receipt.body)
	}
	if journeys := s.journeys("NET-1"); len(journeys.Journeys) != 0 || journeys.Moves[0].Cause != "response" {
		t.Errorf("the answer did not end the journey: %+v", journeys)
	}
}

// agentEndsCart: what a person says counts, once.
func agentEndsCart(t *testing.T, s *stage) {
	s.customer("CART-5", `{"age": 40}`)
	s.happens("com.example.cart.updated", "CART-5", cartOf249)
	out := s.mustCLI("subject", "journeys", "CART-5", "--move", "cart", "--to", "bought", "--from", "open", "--reason", "paid at the counter")
	if !strings.Contains(out, "No journey is open.") || !strings.Contains(out, "person paid at the counter") {
		t.Errorf("got %s", out)
	}
	body := `{"journey": "cart", "stage": "bought"}`
	if got := decode[nba.JourneyMoved](t, s.call("POST", "/v1/subjects/CART-5/journeys", body), 200); got.Changed || !got.Ended {
		t.Errorf("got %+v", got)
	}
	if moves := s.journeys("CART-5").Moves; len(moves) != 2 {
		t.Errorf("got %+v", moves)
	}
}
