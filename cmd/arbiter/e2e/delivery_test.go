package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

const deliveryCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: deliveries
channels: [{name: sms, direction: outbound, placements: [m]}]
issues: [{name: Serve, groups: [{name: Alerts}]}]
actions:
  - {name: alert, issue: Serve, group: Alerts, value: 3, purpose: service, treatments: [{name: t, channel: sms, content: {text: hello}}]}
  - {name: hello, issue: Serve, group: Alerts, value: 1, purpose: service, treatments: [{name: h, channel: sms}]}
fallback: {action: hello}
eventStrategies:
  - {name: each, purpose: service, on: [thing.happened], emit: {channels: [sms], actions: [alert], contexts: {n: event.data.n}, within: 1h}}
`

// inbox is a receiver of deliveries. It takes its time, and refuses some first attempts.
type inbox struct {
	*httptest.Server
	mu       sync.Mutex
	attempts map[string]int             // by delivery id
	about    map[string]map[string]bool // delivery ids that were taken, by the number in their contexts
}

func newInbox(t *testing.T) *inbox {
	t.Helper()
	in := &inbox{attempts: map[string]int{}, about: map[string]map[string]bool{}}
	in.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var m nba.DeliveryMessage
		if err != nil || json.Unmarshal(body, &m) != nil || len(m.Contexts) != 1 || r.Header.Get("webhook-id") != m.DeliveryID {
			return // the sender was killed
		}
		time.Sleep(10 * time.Millisecond)
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.attempts[m.DeliveryID]++; in.attempts[m.DeliveryID] == 1 && m.DeliveryID[25]%8 == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		n := m.Contexts[0].Value
		if in.about[n] == nil {
			in.about[n] = map[string]bool{}
		}
		in.about[n][m.DeliveryID] = true
	}))
	t.Cleanup(in.Close)
	return in
}

// TestDeliveriesWhateverDies: nodes are killed while events come and while what they lead to is sent. Every event
// leads to one delivery, none is lost, and what arrives twice has the same id.
func TestDeliveriesWhateverDies(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	settings := filepath.Join(t.TempDir(), "sinks.yaml")
	text := "delivery: {defaultSink: inbox}\nsinks: [{name: inbox, url: '" + in.URL + "', firstRetry: 50ms, longestRetry: 200ms, attempts: 1000, breakAfter: 1000}]\n"
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	nodes := startCluster(t, 3, "--data-groups", "4", "--config", settings)
	const subjects = 200
	startDeliveries(t, nodes[0], subjects)
	stop, sent := make(chan struct{}), 0
	var sending sync.WaitGroup
	sending.Go(func() { sent = sendThings(t, nodes, subjects, stop) })
	for _, victim := range nodes {
		time.Sleep(1200 * time.Millisecond)
		victim.kill9()
		time.Sleep(600 * time.Millisecond)
		victim.restart()
	}
	close(stop)
	sending.Wait()
	count := func() (arrived, ids, attempts int) {
		in.mu.Lock()
		defer in.mu.Unlock()
		for _, of := range in.about {
			ids += len(of)
		}
		for _, n := range in.attempts {
			attempts += n
		}
		return len(in.about), ids, attempts
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if arrived, _, _ := count(); arrived >= sent {
			break
		}
		if time.Now().After(deadline) {
			break
		}
	}
	time.Sleep(500 * time.Millisecond) // what would come twice
	arrived, ids, attempts := count()
	if arrived != sent || ids != sent || sent < 200 {
		t.Errorf("%d events led to %d deliveries about %d of them", sent, ids, arrived)
	}
	t.Logf("%d events, %d deliveries, %d attempts", sent, ids, attempts)
	for _, state := range []string{"pending", "dead", "expired", "cancelled"} {
		list := decode[struct{ Items []nba.Delivery }](t, nodes[1].repeat("GET", "/v1/deliveries?state="+state, nil), 200)
		if len(list.Items) != 0 {
			t.Errorf("%d deliveries are %s: %+v", len(list.Items), state, list.Items[0])
		}
	}
	if out := nodes[2].mustCLI("delivery", "list", "--limit", "3"); !strings.Contains(out, "alert") || !strings.Contains(out, "strategy:each") {
		t.Errorf("arbiter delivery list: %s", out)
	}
}

func startDeliveries(t *testing.T, s *server, subjects int) {
	t.Helper()
	put := s.repeat("PUT", "/v1/catalog", deliveryCatalog, "Content-Type", "application/yaml", "If-Match", "*")
	version := decode[nba.CatalogVersion](t, put, 201)
	if r := s.repeat("POST", fmt.Sprintf("/v1/catalog/versions/%d/activate", version.Version), nil); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	var lines strings.Builder
	for i := range subjects {
		fmt.Fprintf(&lines, `{"id":%q,"attributes":{}}`+"\n", subscriberID(i))
	}
	if r := s.repeat("POST", "/v1/subjects/import", lines.String(), "Content-Type", "application/x-ndjson"); r.status != 200 || !strings.Contains(string(r.body), `"rejected":0`) {
		t.Fatalf("%d %s", r.status, r.body)
	}
}

// sendThings sends events until it is told to stop, each again until it is answered, and tells how many.
func sendThings(t *testing.T, nodes []*server, subjects int, stop <-chan struct{}) (sent int) {
	random := rand.New(rand.NewPCG(3, 5))
	for {
		select {
		case <-stop:
			return sent
		default:
		}
		const size = 10
		var batch []string
		for range size {
			batch = append(batch, fmt.Sprintf(`{"specversion":"1.0","id":"%d","source":"e2e","type":"thing.happened","subject":%q,"data":{"n":%d}}`,
				sent+len(batch), subscriberID(random.IntN(subjects)), sent+len(batch)))
		}
		body := "[" + strings.Join(batch, ",") + "]"
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			r, err := nodes[random.IntN(len(nodes))].tryCall("POST", "/v1/events", body, "Content-Type", "application/cloudevents-batch+json")
			if err == nil && r.status == 200 {
				break
			}
			if time.Now().After(deadline) {
				t.Errorf("a batch was not taken within a minute: %v %s", err, r.body)
				return sent
			}
		}
		sent += size
		time.Sleep(20 * time.Millisecond)
	}
}

// TestStoppedNodeFinishesSending: a node that is told to stop finishes what it is sending, so that nothing is sent
// twice.
func TestStoppedNodeFinishesSending(t *testing.T) {
	t.Parallel()
	in := newInbox(t)
	s := start(t, "server", "--data", filepath.Join(t.TempDir(), "data"), "--config", sinkFile(t, in.URL))
	startDeliveries(t, s, 50)
	stop := make(chan struct{})
	time.AfterFunc(500*time.Millisecond, func() { close(stop) })
	sent := sendThings(t, []*server{s}, 50, stop)
	s.stop()
	s.restart()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		in.mu.Lock()
		arrived := len(in.about)
		in.mu.Unlock()
		if arrived == sent {
			break
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	taken := 0
	for id, n := range in.attempts {
		if refused := id[25]%8 == 0; n > 1 && !refused || n > 2 {
			t.Errorf("delivery %s was attempted %d times", id, n)
		}
		taken++
	}
	if len(in.about) != sent || taken != sent {
		t.Errorf("%d events led to %d deliveries about %d of them", sent, taken, len(in.about))
	}
}

func sinkFile(t *testing.T, url string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "sinks.yaml")
	text := "delivery: {defaultSink: inbox}\nsinks: [{name: inbox, url: '" + url + "', firstRetry: 50ms, longestRetry: 200ms}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
