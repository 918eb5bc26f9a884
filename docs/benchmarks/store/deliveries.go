package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// deliveryCatalog is eventCatalog with a strategy more: one event in 125 asks for a decision, and what it proposes is
// sent with the time the event was made. A fallback is never sent, so it is another action.
var deliveryCatalog = strings.NewReplacer("eventStrategies:\n", `eventStrategies:
  - {name: told, purpose: service, on: [usage], filter: event.data.mb >= 992, emit: {channels: [sms], actions: [extra], contexts: {made: string(event.time)}}}
`, "fallback: {action: extra}", "fallback: {action: none}", "actions: [", `actions: [{name: none, issue: Grow, group: Data, value: 0, purpose: service, treatments: [{name: n, channel: sms}]}, `).Replace(eventCatalog)

// eventsPerDelivery is how many events there are for one that asks for a decision.
const eventsPerDelivery = 125

// receiver takes deliveries over HTTP and notes how old the event was that led to each.
type receiver struct {
	server *http.Server
	url    string

	mu   sync.Mutex
	hist *hdrhistogram.Histogram
	ids  map[string]bool
	more int // deliveries whose id came before
	bad  atomic.Int64
}

func startReceiver() (*receiver, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{url: "http://" + ln.Addr().String() + "/deliveries", hist: newHistogram(), ids: map[string]bool{}}
	r.server = &http.Server{Handler: r, ReadTimeout: 10 * time.Second}
	go func() { _ = r.server.Serve(ln) }()
	return r, nil
}

func (r *receiver) stop() { _ = r.server.Close() }

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	now := time.Now()
	var body struct {
		DeliveryID string
		Contexts   []struct{ Key, Value string }
	}
	err := json.NewDecoder(req.Body).Decode(&body)
	var made time.Time
	for _, c := range body.Contexts {
		if c.Key == "made" && err == nil {
			made, err = time.Parse(time.RFC3339, c.Value)
		}
	}
	if err != nil || made.IsZero() || body.DeliveryID == "" {
		r.bad.Add(1)
		http.Error(w, "not a delivery of this benchmark", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ids[body.DeliveryID] {
		r.more++
		return
	}
	r.ids[body.DeliveryID] = true
	_ = r.hist.RecordValue(max(1, now.Sub(made).Microseconds()))
}

// reset forgets what came, so that a measurement begins.
func (r *receiver) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hist.Reset()
	clear(r.ids)
	r.more = 0
}

// line tells what came since reset.
func (r *receiver) line() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	micros := func(q float64) string { return millis(time.Duration(r.hist.ValueAtQuantile(q)) * time.Microsecond) }
	return fmt.Sprintf("%d delivered, %d again, p50 %s   p99 %s   p99.9 %s   max %s", len(r.ids), r.more, micros(50), micros(99), micros(99.9),
		millis(time.Duration(r.hist.Max())*time.Microsecond))
}

// deliveries measures the time from when an event is made, before it is sent and accepted, until what it led to has
// arrived over HTTP, at a steady rate of events.
func deliveries(ctx context.Context, s *settings) error {
	to, err := startReceiver()
	if err != nil {
		return err
	}
	defer to.stop()
	ours, err := newArbiter(s, s.groups)
	if err != nil {
		return err
	}
	config := filepath.Join(s.dir, "arbiter.yaml")
	text := "delivery: {defaultSink: here}\nsinks:\n  - {name: here, kind: webhook, url: " + strconv.Quote(to.url) + ", concurrency: 64}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	ours.extraArgs = append(ours.extraArgs, "--config", config)
	defer ours.stop()
	if err := ours.start(ctx); err != nil {
		return err
	}
	if err := ours.prepareEvents(s.subjects, deliveryCatalog); err != nil {
		return err
	}
	for range s.rounds {
		if err := s.deliver(ctx, ours, to); err != nil {
			return err
		}
	}
	return nil
}

// deliver is one round.
func (s *settings) deliver(ctx context.Context, ours *arbiterCluster, to *receiver) error {
	const clients = 64
	maker := &eventMaker{run: strconv.FormatInt(time.Now().UnixMilli(), 36), fine: true}
	ours.connect(clients)
	defer ours.disconnect()
	send := ours.sendEvents(maker, s.subjects)
	began := time.Now()
	var once sync.Once
	got := openLoop(ctx, s.rate/batch, clients, s.warmup, s.duration, func(client int, random *rand.Rand) (int, error) {
		if time.Since(began) > s.warmup {
			once.Do(to.reset)
		}
		return send(client, random)
	})
	time.Sleep(2 * time.Second) // for the last
	fmt.Printf("%.0f events/s asked for, 1 in %d delivered   %s\n", s.rate, eventsPerDelivery, got)
	fmt.Printf("  from the event's making to its arrival: %s\n", to.line())
	if bad := to.bad.Load(); bad > 0 {
		return errors.New("the receiver got what it could not read")
	}
	return nil
}
