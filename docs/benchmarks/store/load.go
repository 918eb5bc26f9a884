package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// call performs one request of a client and says how many updates it carried.
type call func(client int, random *rand.Rand) (updates int, err error)

// result is what one measurement gave.
type result struct {
	Rate     float64 // acknowledged updates a second
	P50, P99 time.Duration
	Max      time.Duration
	Errors   int64
	First    string // the first error
	Planned  int64  // in an open loop
	Done     int64
}

func (r result) String() string {
	text := fmt.Sprintf("%8.0f /s   p50 %8s   p99 %8s   max %8s", r.Rate, millis(r.P50), millis(r.P99), millis(r.Max))
	if r.Errors > 0 {
		text += fmt.Sprintf("   %d errors, the first: %s", r.Errors, r.First)
	}
	if r.Planned > r.Done {
		text += fmt.Sprintf("   %d of %d not sent in time", r.Planned-r.Done, r.Planned)
	}
	return text
}

func millis(d time.Duration) string { return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1000) }

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) }

// tally adds up what clients saw.
type tally struct {
	mu      sync.Mutex
	hist    *hdrhistogram.Histogram
	updates int64
	done    int64
	errors  int64
	first   string
}

func (t *tally) add(hist *hdrhistogram.Histogram, updates, done, errors int64, first string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.hist.Merge(hist)
	t.updates, t.done, t.errors = t.updates+updates, t.done+done, t.errors+errors
	if t.first == "" {
		t.first = first
	}
}

func (t *tally) result(lasted time.Duration) result {
	micros := func(v int64) time.Duration { return time.Duration(v) * time.Microsecond }
	return result{Rate: float64(t.updates) / lasted.Seconds(), P50: micros(t.hist.ValueAtQuantile(50)),
		P99: micros(t.hist.ValueAtQuantile(99)), Max: micros(t.hist.Max()), Errors: t.errors, First: t.first, Done: t.done}
}

// closedLoop lets every client send as soon as it was answered.
func closedLoop(ctx context.Context, clients int, warmup, duration time.Duration, do call) result {
	return closedTally(ctx, clients, warmup, duration, do).result(duration)
}

func closedTally(ctx context.Context, clients int, warmup, duration time.Duration, do call) *tally {
	t := &tally{hist: newHistogram()}
	start := time.Now().Add(warmup)
	end := start.Add(duration)
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(client)))
			hist := newHistogram()
			var updates, done, errors int64
			first := ""
			for ctx.Err() == nil {
				began := time.Now()
				if began.After(end) {
					break
				}
				n, err := do(client, random)
				now := time.Now()
				switch {
				case err != nil:
					errors++
					if first == "" {
						first = err.Error()
					}
					time.Sleep(10 * time.Millisecond)
				case began.After(start) && now.Before(end):
					updates += int64(n)
					done++
					_ = hist.RecordValue(now.Sub(began).Microseconds())
				}
			}
			t.add(hist, updates, done, errors, first)
		})
	}
	all.Wait()
	return t
}

// openLoop plans every start beforehand and measures from there, so that a stall shows in full.
func openLoop(ctx context.Context, rate float64, clients int, warmup, duration time.Duration, do call) result {
	r := openTally(ctx, rate, clients, warmup, duration, do).result(duration)
	r.Planned = int64(rate * duration.Seconds())
	return r
}

func openTally(ctx context.Context, rate float64, clients int, warmup, duration time.Duration, do call) *tally {
	t := &tally{hist: newHistogram()}
	skip := int64(rate * warmup.Seconds())
	total := skip + int64(rate*duration.Seconds())
	start := time.Now()
	deadline := start.Add(warmup + duration + 5*time.Second)
	var next atomic.Int64
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(client)))
			hist := newHistogram()
			var updates, done, errors int64
			first := ""
			for ctx.Err() == nil && time.Now().Before(deadline) {
				n := next.Add(1) - 1
				if n >= total {
					break
				}
				due := start.Add(time.Duration(float64(n) / rate * float64(time.Second)))
				time.Sleep(time.Until(due))
				count, err := do(client, random)
				if n < skip {
					continue
				}
				if err != nil {
					errors++
					if first == "" {
						first = err.Error()
					}
				}
				updates += int64(count)
				done++
				_ = hist.RecordValue(time.Since(due).Microseconds())
			}
			t.add(hist, updates, done, errors, first)
		})
	}
	all.Wait()
	return t
}

// medianOf is the median of one figure of several results.
func medianOf(results []result, figure func(result) float64) float64 {
	var values []float64
	for _, r := range results {
		values = append(values, figure(r))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func rateOf(r result) float64 { return r.Rate }
func p50Of(r result) float64  { return float64(r.P50) }
func p99Of(r result) float64  { return float64(r.P99) }
