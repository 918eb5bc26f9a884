package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arbiterhq/arbiter/cmd/arbiter/internal/client"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/telemetry"
)

func newClient(t *testing.T, handler http.Handler) *client.Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	c, err := client.New(server.URL, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestLoadBringsEverythingInAndTheCatalogLast: a node with an active catalog counts as loaded, so that
// must be the last step.
func TestLoadBringsEverythingInAndTheCatalogLast(t *testing.T) {
	var mu sync.Mutex
	var steps []string
	records := 0
	mux := http.NewServeMux()
	step := func(route, answer string) {
		mux.HandleFunc(route, func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			mu.Lock()
			defer mu.Unlock()
			if strings.Contains(route, "import") {
				n := strings.Count(string(body), "\nS-")
				records += n
				fmt.Fprintf(w, `{"summary":{"read":%d,"accepted":%d}}`+"\n", n, n)
			} else {
				io.WriteString(w, answer)
			}
			steps = append(steps, route)
		})
	}
	mux.HandleFunc("GET /v1/catalog", http.NotFound)
	step("PUT /v1/attributes", `{}`)
	step("POST /v1/subjects/import", "")
	step("POST /v1/plugins", `{"name":"churn","version":"1.0.0","state":"active"}`)
	step("PUT /v1/catalog", `{"version":4,"name":"demo"}`)
	step("POST /v1/catalog/versions/4/activate", `{"version":4}`)
	c := newClient(t, mux)
	got, err := Load(t.Context(), c, Options{Subscribers: 25_000, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if *got != (Loaded{Fresh: true, Subscribers: 25_000, Plugin: "churn 1.0.0", Catalog: "demo"}) || records != 25_000 {
		t.Errorf("got %+v, %d records", got, records)
	}
	if n := len(steps); steps[0] != "PUT /v1/attributes" || steps[n-2] != "PUT /v1/catalog" || steps[n-1] != "POST /v1/catalog/versions/4/activate" || n != 7 {
		t.Errorf("steps: %q", steps)
	}
}

func TestLoadLeavesAnEarlierRunAlone(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/catalog/versions/active", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "name: x") })
	got, err := Load(t.Context(), newClient(t, mux), Options{Subscribers: 5})
	if err != nil || got.Fresh {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestLoadStopsAtARefusal(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/attributes", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{}`) })
	mux.HandleFunc("POST /v1/subjects/import", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"line":2,"column":"age","code":"INVALID","reason":"not an int"}`+"\n"+`{"summary":{"read":1,"rejected":1}}`)
	})
	mux.HandleFunc("POST /v1/plugins", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, `{}`) })
	_, err := Load(t.Context(), newClient(t, mux), Options{Subscribers: 50_000})
	if err == nil || !strings.Contains(err.Error(), "line 2, column age: not an int") {
		t.Errorf("got %v", err)
	}
}

func TestTrafficAsksAndAnswers(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var mu sync.Mutex
	decisions, responses, events := 0, 0, map[string]int{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/events", func(w http.ResponseWriter, r *http.Request) {
		var event struct{ ID, Type, Subject string }
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil || event.ID == "" || event.Subject < "S-000001" || event.Subject > "S-000009" {
			t.Errorf("got %+v, %v", event, err)
		}
		mu.Lock()
		defer mu.Unlock()
		events[event.Type]++
		io.WriteString(w, `{}`)
	})
	mux.HandleFunc("POST /v1/decisions", func(w http.ResponseWriter, r *http.Request) {
		var req nba.DecisionRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || req.Channel == "" || len(req.Placements) == 0 || req.Subject.ID < "S-000001" || req.Subject.ID > "S-000009" {
			t.Errorf("got %+v, %v", req, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if decisions++; decisions == 3 {
			w.WriteHeader(http.StatusServiceUnavailable) // must not stop the customers
			return
		}
		fmt.Fprintf(w, `{"decisionId":"D%d","propositions":[{"placement":"p","items":[{"action":"a","propensity":0.5}]}]}`, decisions)
	})
	mux.HandleFunc("POST /v1/responses", func(w http.ResponseWriter, r *http.Request) {
		var list []nba.Response
		if err := json.NewDecoder(r.Body).Decode(&list); err != nil || list[0].Outcome != nba.Impression {
			t.Errorf("got %+v, %v", list, err)
		}
		mu.Lock()
		defer mu.Unlock()
		if responses++; responses == 10 {
			cancel()
		}
		io.WriteString(w, `[]`)
	})
	Traffic(ctx, newClient(t, mux), TrafficOptions{PerSecond: 500, Subscribers: 9, Seed: 1, Log: telemetry.Discard()})
	mu.Lock()
	defer mu.Unlock()
	if responses != 10 || decisions != 11 {
		t.Errorf("%d decisions and %d responses, want 11 and 10", decisions, responses)
	}
	if len(events) == 0 {
		t.Error("nothing happened to the customers")
	}
}

func TestAnswersFollowThePropensity(t *testing.T) {
	chance := rand.New(rand.NewPCG(1, 1))
	count := map[nba.Outcome]int{}
	const shown = 10_000
	for range shown {
		for _, r := range answers(chance, "D", &nba.Proposition{Action: "a", Treatment: "t", Propensity: 0.2}) {
			count[r.Outcome]++
			if r.DecisionID != "D" || r.Action != "a" || r.Treatment != "t" {
				t.Fatalf("got %+v", r)
			}
		}
	}
	if a := count[nba.Accepted]; count[nba.Impression] != shown || a < 1800 || a > 2200 || count[nba.Clicked] < a || count[nba.Rejected] == 0 {
		t.Errorf("got %v, want each shown, a fifth accepted", count)
	}
}

// TestWhatFollowsHappensToTheSame: a purchase comes after the cart, the end of an outage after its beginning.
func TestWhatFollowsHappensToTheSame(t *testing.T) {
	w := newWorld(7, 1000)
	begun, seen := map[string]string{}, map[string]int{}
	for range 2000 {
		h := w.next()
		seen[h.kind]++
		switch h.kind {
		case typeCart, typeOutage:
			begun[h.subject] = h.kind
		case typePurchase, typeRestored:
			if begun[h.subject] == "" {
				t.Fatalf("%s happens to %s before what it follows from", h.kind, h.subject)
			}
		}
	}
	if len(seen) != 6 {
		t.Errorf("got %v, want six kinds of events", seen)
	}
}
