package load

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are recorded in microseconds with three significant digits, from 1 µs to 120 s; what is
// longer counts as 120 s.
const (
	minMicros   = 1
	maxMicros   = int64(120 * time.Second / time.Microsecond)
	significant = 3
	shardCount  = 8
)

// Report is what one run measured. Scheduled = Completed + Unsent, and Completed = OK + the sum of
// Errors: every request the plan called for is in exactly one of them.
type Report struct {
	// Mode is "open" or "closed".
	Mode string `json:"mode"`
	// TargetRate is the planned requests a second; 0 in a closed run.
	TargetRate float64 `json:"targetRate,omitempty"`
	// Clients is the most requests in flight at once.
	Clients int `json:"clients"`
	// Seconds is how long the run took, from the first intended start to the last answer.
	Seconds float64 `json:"seconds"`
	// Rate is OK answers a second.
	Rate float64 `json:"rate"`

	Scheduled int64 `json:"scheduled"`
	Completed int64 `json:"completed"`
	OK        int64 `json:"ok"`
	// Unsent are requests that were due while all clients were busy and not sent before the end.
	Unsent int64 `json:"unsent"`
	// Late are requests sent more than LateAfter behind their intended start; their waiting is part
	// of their latency.
	Late int64 `json:"late"`
	// Errors counts by HTTP status ("503") or by kind ("timeout", "connection").
	Errors map[string]int64 `json:"errors"`

	Degraded int64 `json:"degraded"`
	// Fallback counts answers in which at least one placement has only the fallback, NoProposition
	// those without any proposition.
	Fallback      int64 `json:"fallback"`
	NoProposition int64 `json:"noProposition"`

	Latency Latency `json:"latency"`
	// ResponseBytes is the mean size of an OK answer's body.
	ResponseBytes float64 `json:"responseBytes"`
}

// Latency are percentiles of the time from the intended start to the last byte of the answer, in
// microseconds. In a closed run the intended start is the real one.
type Latency struct {
	MeanMicros float64 `json:"meanMicros"`
	P50Micros  int64   `json:"p50Micros"`
	P90Micros  int64   `json:"p90Micros"`
	P99Micros  int64   `json:"p99Micros"`
	P999Micros int64   `json:"p999Micros"`
	MaxMicros  int64   `json:"maxMicros"`
}

// tally collects results from many clients. Clients are spread over shards, so that they seldom wait
// for each other.
type tally struct{ shards [shardCount]tallyShard }

type tallyShard struct {
	mu        sync.Mutex // guards all below
	histogram *hdrhistogram.Histogram
	ok        int64
	late      int64
	degraded  int64
	fallback  int64
	empty     int64
	bytes     int64
	errors    map[string]int64
}

func newTally() *tally {
	t := &tally{}
	for i := range t.shards {
		t.shards[i].histogram = hdrhistogram.New(minMicros, maxMicros, significant)
		t.shards[i].errors = map[string]int64{}
	}
	return t
}

// record counts one finished request of client. Errors count in the latency too: a caller waits for
// them as well.
func (t *tally) record(client int, latency time.Duration, late bool, o outcome) {
	s := &t.shards[client%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.histogram.RecordValue(clampMicros(latency))
	if late {
		s.late++
	}
	if o.failure != "" {
		s.errors[o.failure]++
		return
	}
	s.ok++
	s.bytes += int64(o.bytes)
	s.degraded += count(o.degraded)
	s.fallback += count(o.fallback)
	s.empty += count(o.empty)
}

// waited counts the latency of a request that was due and never sent.
func (t *tally) waited(latency time.Duration) {
	s := &t.shards[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.histogram.RecordValue(clampMicros(latency))
}

// completed is the number of requests that were sent.
func (t *tally) completed() (n int64) {
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += s.ok
		for _, failed := range s.errors {
			n += failed
		}
		s.mu.Unlock()
	}
	return n
}

// clampMicros brings a latency into the range of the histograms: being outside of it is the only reason
// for which recording can fail.
func clampMicros(latency time.Duration) int64 {
	return min(max(int64(latency/time.Microsecond), minMicros), maxMicros)
}

func count(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// report sums all shards up.
func (t *tally) report(mode string, clients int, scheduled int64, elapsed time.Duration) *Report {
	r := &Report{Mode: mode, Clients: clients, Scheduled: scheduled, Seconds: elapsed.Seconds(), Errors: map[string]int64{}}
	all := hdrhistogram.New(minMicros, maxMicros, significant)
	var bytes int64
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		all.Merge(s.histogram)
		r.OK += s.ok
		r.Late += s.late
		r.Degraded += s.degraded
		r.Fallback += s.fallback
		r.NoProposition += s.empty
		bytes += s.bytes
		for code, n := range s.errors {
			r.Errors[code] += n
			r.Completed += n
		}
		s.mu.Unlock()
	}
	r.Completed += r.OK
	r.Unsent = scheduled - r.Completed
	if elapsed > 0 {
		r.Rate = float64(r.OK) / elapsed.Seconds()
	}
	if r.OK > 0 {
		r.ResponseBytes = float64(bytes) / float64(r.OK)
	}
	r.Latency = Latency{
		MeanMicros: all.Mean(), P50Micros: all.ValueAtQuantile(50), P90Micros: all.ValueAtQuantile(90),
		P99Micros: all.ValueAtQuantile(99), P999Micros: all.ValueAtQuantile(99.9), MaxMicros: all.Max(),
	}
	return r
}
