package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// senderFunc is a Sender made of a function.
type senderFunc func(client int, n int64) outcome

func (f senderFunc) send(client int, n int64) outcome { return f(client, n) }

func TestOpenLoopSendsEachRequestOnceAtItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var mu sync.Mutex
		at := map[int64]time.Duration{}
		r, err := Run(t.Context(), Plan{Rate: 100, Duration: 2 * time.Second, Clients: 4}, senderFunc(func(_ int, n int64) outcome {
			mu.Lock()
			defer mu.Unlock()
			if _, twice := at[n]; twice {
				t.Errorf("request %d was sent twice", n)
			}
			at[n] = time.Since(start)
			return outcome{bytes: 10}
		}))
		if err != nil {
			t.Fatal(err)
		}
		if len(at) != 200 || r.Scheduled != 200 || r.OK != 200 || r.Unsent != 0 || r.Late != 0 {
			t.Errorf("%d requests: %+v", len(at), r)
		}
		for n, when := range at {
			if want := time.Duration(n) * 10 * time.Millisecond; when != want {
				t.Fatalf("request %d was sent after %v, want %v", n, when, want)
			}
		}
		if r.Rate != 100 || r.Seconds != 2 || r.ResponseBytes != 10 {
			t.Errorf("got %+v, want 100/s over 2 s", r)
		}
	})
}

// TestOpenLoopCountsAStall is the point of the open loop: a server that stops for a second must show
// in as many latencies as requests were due in that second.
func TestOpenLoopCountsAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r, err := Run(t.Context(), Plan{Rate: 1000, Duration: 4 * time.Second, Clients: 2}, senderFunc(func(int, int64) outcome {
			if since := time.Since(start); since >= time.Second && since < 2*time.Second {
				time.Sleep(2*time.Second - since)
			}
			return outcome{}
		}))
		if err != nil {
			t.Fatal(err)
		}
		if r.OK != 4000 || r.Unsent != 0 {
			t.Errorf("got %+v, want 4000 answers", r)
		}
		if r.Late < 900 || r.Late > 1000 {
			t.Errorf("%d late, want nearly the 1000 that were due during the stall", r.Late)
		}
		if p := r.Latency; p.P50Micros > 1000 || p.P90Micros < 500_000 || p.MaxMicros < 999_000 || p.MaxMicros > 1_001_000 {
			t.Errorf("got %+v, want a quarter of the requests to have waited up to a second", p)
		}
	})
}

func TestOpenLoopAccountsForWhatItCouldNotSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := Run(t.Context(), Plan{Rate: 100, Duration: time.Second, Drain: time.Second, Clients: 1},
			senderFunc(func(int, int64) outcome { time.Sleep(100 * time.Millisecond); return outcome{} }))
		if err != nil {
			t.Fatal(err)
		}
		if r.Scheduled != 100 || r.Completed+r.Unsent != r.Scheduled || r.OK < 19 || r.OK > 21 {
			t.Errorf("got %+v, want 20 of 100 sent and the rest accounted for", r)
		}
		// What was never sent has waited for more than a second: the median must not hide it.
		if r.Latency.P50Micros < 1_000_000 {
			t.Errorf("p50 is %d µs", r.Latency.P50Micros)
		}
	})
}

func TestOpenLoopInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := Run(ctx, Plan{Rate: 100, Duration: time.Hour, Clients: 8}, senderFunc(func(int, int64) outcome { return outcome{} }))
		if err != nil {
			t.Fatal(err)
		}
		if r.Completed+r.Unsent != r.Scheduled || r.Scheduled < 99 || r.Scheduled > 101 || r.Unsent > 1 {
			t.Errorf("got %+v, want the 100 requests of the first second", r)
		}
	})
}

func TestClosedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var inFlight, most atomic.Int64
		r, err := Run(t.Context(), Plan{Duration: time.Second, Warmup: time.Second, Clients: 5}, senderFunc(func(_ int, n int64) outcome {
			if now := inFlight.Add(1); now > most.Load() {
				most.Store(now)
			}
			time.Sleep(10 * time.Millisecond)
			inFlight.Add(-1)
			if n%10 == 0 {
				return outcome{failure: "503"}
			}
			return outcome{degraded: n%10 == 1, empty: n%10 == 2, fallback: n%10 == 3}
		}))
		if err != nil {
			t.Fatal(err)
		}
		if most.Load() != 5 || r.Scheduled != 500 || r.Completed != 500 || r.OK != 450 || r.Errors["503"] != 50 ||
			r.Degraded != 50 || r.NoProposition != 50 || r.Fallback != 50 {
			t.Errorf("up to %d at once: %+v", most.Load(), r)
		}
	})
}

func TestPlanValidate(t *testing.T) {
	for _, bad := range []Plan{
		{Rate: -1, Duration: 1}, {Rate: 1}, {Duration: 1, Clients: -1}, {Duration: 1, Clients: MaxClients + 1},
		{Duration: 1, Warmup: -1}, {Rate: MaxRate + 1, Duration: 1},
	} {
		if bad.Validate() == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

func TestLoopback(t *testing.T) {
	for addr, want := range map[string]string{
		"127.0.0.1:8080": "127.0.0.1:8080", "http://127.0.0.1:8080": "127.0.0.1:8080", "localhost:1": "127.0.0.1:1",
		"http://[::1]:80": "[::1]:80", "127.9.9.9:80": "127.9.9.9:80",
		"http://127.0.0.1": "", "https://127.0.0.1:1": "", "10.0.0.1:80": "", "example.com:80": "", "0.0.0.0:80": "",
		"localhost.example.com:80": "", "http://127.0.0.1:80@10.0.0.1:80": "", "[::ffff:10.0.0.1]:80": "", "": "",
	} {
		got, err := Loopback(addr)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("Loopback(%q) = %q, %v, want %q", addr, got, err, want)
		}
	}
}

func TestDeciderAsksAboutEverySubjectOnce(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req nba.DecisionRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || req.Channel != "web" || req.Placements[0].Limit != 2 {
			t.Errorf("got %+v, %v", req, err)
		}
		mu.Lock()
		seen[req.Subject.ID]++
		n := len(seen)
		mu.Unlock()
		switch n {
		case 1:
			w.WriteHeader(http.StatusNotFound)
		case 2:
			io.WriteString(w, `{"degraded":true,"propositions":[{"placement":"hero","items":[]}]}`)
		case 3:
			io.WriteString(w, `{"degraded":false,"propositions":[{"items":[{"rank":1,"reason":{"code":"FALLBACK"}}]}]}`)
		default:
			io.WriteString(w, `{"degraded":false,"propositions":[{"items":[{"rank":1,"label":"\"degraded\":true"}]}]}`)
		}
	}))
	defer server.Close()
	d, err := NewDecider(DecideOptions{Addr: server.URL, Subjects: 120, Channel: "web", Clients: 1,
		Placements: []nba.PlacementRequest{{ID: "hero", Limit: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var outcomes []outcome
	for n := range int64(120) {
		outcomes = append(outcomes, d.send(0, n))
	}
	for i := range 120 {
		if id := fmt.Sprintf("S-%06d", i+1); seen[id] != 1 {
			t.Fatalf("%s was asked about %d times", id, seen[id])
		}
	}
	if o := outcomes[0]; o.failure != "404" {
		t.Errorf("got %+v, want 404", o)
	}
	if o := outcomes[1]; !o.degraded || !o.empty || o.failure != "" {
		t.Errorf("got %+v, want degraded and empty", o)
	}
	if o := outcomes[2]; !o.fallback || o.degraded || o.empty {
		t.Errorf("got %+v, want a fallback", o)
	}
	if o := outcomes[3]; o.fallback || o.degraded || o.empty || o.bytes == 0 {
		t.Errorf("got %+v, want a plain answer", o)
	}
}

func TestDeciderNamesFailures(t *testing.T) {
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // only then does the server see that the client went
		<-r.Context().Done()
	}))
	defer slow.Close()
	d, err := NewDecider(DecideOptions{Addr: slow.URL, Channel: "web", Clients: 1, Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if o := d.send(0, 0); o.failure != "timeout" {
		t.Errorf("got %+v, want timeout", o)
	}
	d.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	if d, err = NewDecider(DecideOptions{Addr: gone.URL, Channel: "web", Clients: 1}); err != nil {
		t.Fatal(err)
	}
	if o := d.send(0, 0); o.failure != "connection" {
		t.Errorf("got %+v, want connection", o)
	}
	if _, err := NewDecider(DecideOptions{Addr: "http://198.51.100.1:80"}); err == nil || !strings.Contains(err.Error(), "this machine") {
		t.Errorf("a remote target: got %v", err)
	}
}

func TestSubjectID(t *testing.T) {
	for n, want := range map[int64]string{1: "S-000001", 123: "S-000123", 99_999: "S-099999", 100_000: "S-100000", 1_234_567: "S-1234567"} {
		if got := SubjectID(n); got != want {
			t.Errorf("SubjectID(%d) = %s, want %s", n, got, want)
		}
	}
}
