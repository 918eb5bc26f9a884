package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/arbiterhq/arbiter/cluster/kafka/kafkatest"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// kafkaEvents is how many events the crash test sends; 0 is the short form. make kafka-chaos sends 1,000,000.
var kafkaEvents = flag.Int("kafka.events", 0, "events that TestKafkaThroughCrashes sends; 0 is the short form")

const (
	kafkaSubjects   = 200
	kafkaPartitions = 6
	// Every so many events one is malformed, and one is about a landing, which is answered with a message. All
	// subjects have landings: no more than 64 of one may wait at a time.
	kafkaMalformed = 997
	kafkaLanding   = 49
)

// kafkaCatalog counts what happens to a subject, and says something for each landing.
const kafkaCatalog = `apiVersion: arbiter/v1
kind: Catalog
name: kafka
channels: [{name: web, placements: [hero]}, {name: sms, direction: outbound, placements: [message], sink: out}]
issues: [{name: Grow, groups: [{name: Roaming}]}]
actions:
  - {name: roaming-2gb, issue: Grow, group: Roaming, value: 5, purpose: service, treatments: [{name: t, channel: sms, content: {text: Welcome}}]}
  - {name: hello, issue: Grow, group: Roaming, value: 0, purpose: service, treatments: [{name: w, channel: web}]}
fallback: {action: hello}
events:
  - {name: ticks, types: [test.tick], purpose: service, lateness: 30d}
  - {name: landings, types: [test.landed], purpose: service, lateness: 30d}
eventStrategies:
  - {name: ticks, on: [ticks], purposes: [service], aggregate: count}
  - {name: sums, on: [ticks, landings], purposes: [service], aggregate: {sum: event.data.n}}
  - name: landed
    on: [landings]
    purposes: [service]
    emit: {channels: [sms], group: Roaming, contexts: {n: event.data.n}, within: 12h}
`

// receiver is a real HTTP receiver of deliveries, which notes their ids.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	ids      map[string]int    // delivery id -> how often it came
	landings map[string]string // landing -> delivery id
	twice    []string
}

func startReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{ids: map[string]int{}, landings: map[string]string{}}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var m nba.DeliveryMessage
		body, err := io.ReadAll(req.Body)
		if err == nil {
			err = json.Unmarshal(body, &m)
		}
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		landing := ""
		for _, c := range m.Contexts {
			if c.Key == "n" {
				landing = fmt.Sprint(c.Value)
			}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		id := req.Header.Get("webhook-id")
		r.ids[id]++
		if before, seen := r.landings[landing]; seen && before != id {
			r.twice = append(r.twice, landing)
		}
		r.landings[landing] = id
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.landings)
}

// TestKafkaThroughCrashes: events stream from a real broker into three real processes, of which the one that
// leads most is killed again and again at random points. Every event is counted once, each malformed message is
// in the dead letters once, and each landing is answered by one delivery.
func TestKafkaThroughCrashes(t *testing.T) {
	total, kills, apart := *kafkaEvents, 25, 6*time.Second
	if total == 0 {
		total, kills, apart = 12_000, 2, 1200*time.Millisecond
	}
	b := kafkatest.Start(t, "")
	b.Topic(t, "events", kafkaPartitions)
	out := startReceiver(t)
	nodes := kafkaCluster(t, b.Addr, out.URL)
	sums := make([]int64, kafkaSubjects) // of the numbers of all events of a subject
	sent, landings, malformed := make(chan error, 1), 0, 0
	for n := range total {
		switch {
		case n%kafkaMalformed == 0:
			malformed++
			continue
		case n%kafkaLanding == 1:
			landings++
		}
		sums[n%kafkaSubjects] += int64(n)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { sent <- sendEvents(ctx, b, total) }()
	began := time.Now()
	killLeaders(t, nodes, kills, apart, sent)
	awaitLag(t, nodes[0], total)
	took := time.Since(began)
	checkCounts(t, nodes[1], sums)
	if got := kafkaLetters(t, nodes[2]); len(got) != malformed {
		t.Errorf("%d dead letters, want %d", len(got), malformed)
	} else if detail := got[0]; !strings.Contains(detail, "topic events, partition ") || !strings.Contains(detail, ", offset ") {
		t.Errorf("a dead letter says %q", detail)
	}
	for deadline := time.Now().Add(2 * time.Minute); out.count() < landings && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(500 * time.Millisecond) // what would come twice comes now
	out.mu.Lock()
	defer out.mu.Unlock()
	if len(out.landings) != landings || len(out.twice) > 0 || len(out.ids) != landings {
		t.Errorf("%d of %d landings were answered, by %d deliveries; %v by more than one", len(out.landings), landings, len(out.ids), out.twice)
	}
	again := 0
	for _, times := range out.ids {
		again += times - 1
	}
	t.Logf("%d events in %v, %d kills, %d malformed, %d deliveries, of which %d were attempted again under the same id", total, took.Round(time.Second), kills, malformed, len(out.ids), again)
}

// kafkaCluster starts three nodes that read the topic and send to the receiver, with subjects and a catalog.
func kafkaCluster(t *testing.T, broker, receiver string) []*server {
	t.Helper()
	settings := filepath.Join(t.TempDir(), "arbiter.yaml")
	text := fmt.Sprintf("streams:\n  - {name: events, brokers: %q, topic: events}\nsinks:\n  - {name: out, kind: webhook, url: %q}\n", broker, receiver)
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	nodes := startCluster(t, 3, "--config", settings)
	var subjects strings.Builder
	for i := range kafkaSubjects {
		fmt.Fprintf(&subjects, `{"id":"K-%d","consents":{"service":true}}`+"\n", i)
	}
	imported := nodes[0].call("POST", "/v1/subjects/import", subjects.String(), "Content-Type", "application/x-ndjson")
	if imported.status != 200 || !bytes.Contains(imported.body, []byte(fmt.Sprint(kafkaSubjects))) {
		t.Fatalf("importing: %d %s", imported.status, imported.body)
	}
	stored := decode[nba.CatalogVersion](t, nodes[0].call("PUT", "/v1/catalog", kafkaCatalog, "Content-Type", "application/yaml", "If-Match", "*"), 201)
	if r := nodes[0].repeat("POST", fmt.Sprintf("/v1/catalog/versions/%d/activate", stored.Version), nil); r.status != 200 {
		t.Fatalf("activating: %d %s", r.status, r.body)
	}
	return nodes
}

// sendEvents writes all events to the topic, each subject's to one partition.
func sendEvents(ctx context.Context, b *kafkatest.Broker, total int) error {
	const atOnce = 500
	for from := 0; from < total; from += atOnce {
		var records []*kgo.Record
		for n := from; n < min(total, from+atOnce); n++ {
			kind := "test.tick"
			if n%kafkaLanding == 1 {
				kind = "test.landed"
			}
			value := fmt.Appendf(nil, `{"specversion":"1.0","id":"e-%d","source":"/test","type":%q,"subject":"K-%d","data":{"n":%d}}`, n, kind, n%kafkaSubjects, n)
			if n%kafkaMalformed == 0 {
				value = fmt.Appendf(nil, "event %d is none", n)
			}
			records = append(records, &kgo.Record{Topic: "events", Partition: int32(n % kafkaSubjects % kafkaPartitions), Value: value})
		}
		if err := b.TryProduce(ctx, records...); err != nil {
			return err
		}
		if *kafkaEvents == 0 {
			time.Sleep(150 * time.Millisecond) // so that there is something to interrupt
		}
	}
	return nil
}

// killLeaders kills the node that leads most, at random moments up to apart after another, starts it again and
// waits until it is ready. It returns when everything was sent and that happened often enough.
func killLeaders(t *testing.T, nodes []*server, kills int, apart time.Duration, sent <-chan error) {
	t.Helper()
	for killed, done := 0, false; !done || killed < kills; {
		select {
		case err := <-sent:
			if err != nil {
				t.Fatalf("sending: %v", err)
			}
			done = true
		case <-time.After(apart/4 + rand.N(apart*3/4)):
		}
		if killed >= kills {
			continue
		}
		victim := leadsMost(t, nodes)
		victim.kill9()
		killed++
		time.Sleep(200*time.Millisecond + rand.N(800*time.Millisecond))
		victim.restart()
	}
}

func leadsMost(t *testing.T, nodes []*server) *server {
	t.Helper()
	cluster := decode[nba.Cluster](t, nodes[0].call("GET", "/v1/cluster", nil), 200)
	most := slices.MaxFunc(cluster.Nodes, func(a, b nba.ClusterNode) int { return a.Leads - b.Leads })
	for i, s := range nodes {
		if most.ID == fmt.Sprintf("n%d", i+1) {
			return s
		}
	}
	t.Fatalf("no node leads most: %+v", cluster)
	return nil
}

// awaitLag waits until the whole topic was read.
func awaitLag(t *testing.T, s *server, total int) {
	t.Helper()
	var last string
	for deadline := time.Now().Add(3*time.Minute + time.Duration(total)*time.Millisecond); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		r := s.repeat("GET", "/v1/streams", nil)
		last = string(r.body)
		list := decode[struct{ Items []nba.StreamStatus }](t, r, 200)
		if len(list.Items) != 1 {
			t.Fatalf("streams: %s", r.body)
		}
		read := int64(0)
		for _, p := range list.Items[0].Partitions {
			if p.Problem == "" {
				read += p.Next
			}
		}
		if list.Items[0].Lag == 0 && read == int64(total) {
			return
		}
	}
	t.Fatalf("the topic was not read to its end: %s\n%s", last, s.output)
}

// checkCounts compares what each subject's strategies counted with what was sent.
func checkCounts(t *testing.T, s *server, sums []int64) {
	t.Helper()
	wrong := 0
	for i, want := range sums {
		got := decode[nba.SubjectAggregates](t, s.repeat("GET", fmt.Sprintf("/v1/subjects/K-%d/aggregates?consistency=linearizable", i), nil), 200)
		sum := int64(-1)
		for _, a := range got.Aggregates {
			if a.Strategy == "sums" && a.Value != nil {
				sum = int64(*a.Value)
			}
		}
		if sum != want {
			if wrong++; wrong < 5 {
				t.Errorf("the numbers of subject K-%d add up to %d, want %d", i, sum, want)
			}
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d subjects have a wrong sum", wrong, len(sums))
	}
}

// kafkaLetters are the details of all dead letters.
func kafkaLetters(t *testing.T, s *server) (details []string) {
	t.Helper()
	for cursor := ""; ; {
		page := decode[struct {
			Items []struct{ Detail string } `json:"items"`
			Next  string                    `json:"nextCursor"`
		}](t, s.repeat("GET", "/v1/events/letters?limit=1000&cursor="+cursor, nil), 200)
		for _, item := range page.Items {
			details = append(details, item.Detail)
		}
		if cursor = page.Next; cursor == "" || len(page.Items) == 0 {
			return details
		}
	}
}
