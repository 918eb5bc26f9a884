// Package load sends decision requests at a server on this machine and measures how it answers.
//
// The open loop (Rate > 0) plans the start of every request beforehand and measures each latency from
// that intended start, so a server that stalls cannot hide the requests that would have come
// meanwhile (coordinated omission). Outstanding requests are bounded by Clients: when all are busy,
// the next request starts late, is counted as such, and its waiting is part of its latency. The
// closed loop (Rate 0) lets every client send as fast as it is answered and finds peak throughput.
//
// It refuses every target but this machine; see Loopback.
package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults and limits of a run.
const (
	DefaultClients  = 256
	MaxClients      = 4096
	MaxRate         = 1_000_000
	DefaultTimeout  = 10 * time.Second
	DefaultDrain    = 5 * time.Second
	DefaultSubjects = 10_000
	// LateAfter is how far behind its intended start a request counts as late.
	LateAfter = 5 * time.Millisecond
)

// Plan says what to send and how.
type Plan struct {
	// Rate is the planned requests a second; 0 means a closed loop.
	Rate float64
	// Duration is how long requests are started.
	Duration time.Duration
	// Warmup is sent before in the same way, and not measured.
	Warmup time.Duration
	// Clients bounds the requests in flight; 0 means DefaultClients.
	Clients int
	// Drain bounds the wait, after Duration, for requests that are due or under way; 0 means
	// DefaultDrain.
	Drain time.Duration
}

// Validate fills in defaults and reports every problem.
func (p *Plan) Validate() error {
	if p.Clients == 0 {
		p.Clients = DefaultClients
	}
	if p.Drain == 0 {
		p.Drain = DefaultDrain
	}
	var problems []error
	if p.Rate < 0 || p.Rate > MaxRate {
		problems = append(problems, fmt.Errorf("the rate is between 0 and %d requests a second", MaxRate))
	}
	if p.Duration <= 0 {
		problems = append(problems, errors.New("the duration is more than 0"))
	}
	if p.Warmup < 0 {
		problems = append(problems, errors.New("the warmup is not negative"))
	}
	if p.Clients < 1 || p.Clients > MaxClients {
		problems = append(problems, fmt.Errorf("the clients are between 1 and %d", MaxClients))
	}
	return errors.Join(problems...)
}

// outcome is what came of one request.
type outcome struct {
	failure  string // "" for OK; else an HTTP status or a kind
	bytes    int
	degraded bool
	fallback bool
	empty    bool
}

// Sender performs the n-th request of a run. Clients call it at the same time, each with its own
// number, from 0 to Plan.Clients-1.
type Sender interface {
	send(client int, n int64) outcome
}

// Run performs plan and measures it. It returns early, with what was measured so far, when ctx ends.
func Run(ctx context.Context, plan Plan, sender Sender) (*Report, error) {
	if err := plan.Validate(); err != nil {
		return nil, err
	}
	if plan.Warmup > 0 {
		warm := plan
		warm.Duration = plan.Warmup
		runPhase(ctx, warm, sender)
	}
	return runPhase(ctx, plan, sender), nil
}

func runPhase(ctx context.Context, plan Plan, sender Sender) *Report {
	if plan.Rate > 0 {
		return runOpen(ctx, plan, sender)
	}
	return runClosed(ctx, plan, sender)
}

// runOpen gives each client the next intended start; the client sleeps until then, or sends at once
// when that has passed already.
func runOpen(ctx context.Context, plan Plan, sender Sender) *Report {
	total := int64(plan.Rate * plan.Duration.Seconds())
	t := newTally()
	var next atomic.Int64
	bounded, cancel := context.WithTimeout(ctx, plan.Duration+plan.Drain)
	defer cancel()
	start := time.Now()
	intended := func(n int64) time.Time {
		return start.Add(time.Duration(float64(n) / plan.Rate * float64(time.Second)))
	}
	var clients sync.WaitGroup
	for client := range plan.Clients {
		clients.Go(func() {
			timer := time.NewTimer(0)
			defer timer.Stop()
			for {
				n := next.Add(1) - 1
				if n >= total {
					return
				}
				due := intended(n)
				if !sleepUntil(bounded, timer, due) {
					return
				}
				late := time.Since(due) > LateAfter
				o := sender.send(client, n)
				t.record(client, time.Since(due), late, o)
			}
		})
	}
	clients.Wait()
	end := time.Now()
	if ctx.Err() != nil { // interrupted: what was not due yet is not part of the run
		total = min(total, int64(plan.Rate*end.Sub(start).Seconds())+1)
	} else {
		end = later(end, start.Add(plan.Duration))
	}
	// Requests are begun in the order in which they are due, so those never sent are the last ones. They
	// waited until now and got nothing: leaving that out would flatter the server.
	for n := t.completed(); n < total; n++ {
		t.waited(end.Sub(intended(n)))
	}
	r := t.report("open", plan.Clients, total, end.Sub(start))
	r.TargetRate = plan.Rate
	return r
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func runClosed(ctx context.Context, plan Plan, sender Sender) *Report {
	t := newTally()
	var next atomic.Int64
	start := time.Now()
	end := start.Add(plan.Duration)
	var clients sync.WaitGroup
	for client := range plan.Clients {
		clients.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				if !began.Before(end) {
					return
				}
				o := sender.send(client, next.Add(1)-1)
				t.record(client, time.Since(began), false, o)
			}
		})
	}
	clients.Wait()
	return t.report("closed", plan.Clients, next.Load(), time.Since(start))
}

// sleepUntil waits for at; it is false when ctx ended first.
func sleepUntil(ctx context.Context, timer *time.Timer, at time.Time) bool {
	wait := time.Until(at)
	if wait <= 0 {
		return ctx.Err() == nil
	}
	timer.Reset(wait)
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
