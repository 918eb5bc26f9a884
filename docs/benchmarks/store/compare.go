package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// openRate is the rate at which latencies are compared.
const openRate = 2000

// contest is one kind of request, made of both systems in turns.
type contest struct {
	name          string
	clients       int
	rate          float64 // 0: closed loop
	arbiter, etcd call
	ours, theirs  []result
	ratios        []float64
}

// compare starts both systems with the same data and measures them in turns.
func compare(ctx context.Context, s *settings) error {
	ours, err := newArbiter(s, s.groups)
	if err != nil {
		return err
	}
	defer ours.stop()
	if err := prepareArbiter(ctx, s, ours); err != nil {
		return err
	}
	var theirs *etcdCluster
	if !s.skipEtcd {
		theirs, err = startEtcd(ctx, s)
		defer theirs.stop()
		if err != nil {
			return err
		}
		began := time.Now()
		if err := theirs.fill(ctx, s.subjects); err != nil {
			return err
		}
		fmt.Printf("etcd     filled with %d keys in %.1f s\n", s.subjects, time.Since(began).Seconds())
	}
	contests := contestsOf(ctx, s, ours, theirs)
	for round := range s.rounds {
		for _, c := range contests {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := c.round(ctx, s, ours, theirs, round); err != nil {
				return err
			}
		}
	}
	fmt.Println("\nmedians")
	for _, c := range contests {
		c.report()
	}
	return nil
}

func prepareArbiter(ctx context.Context, s *settings, c *arbiterCluster) error {
	had := c.filled()
	if err := c.start(ctx); err != nil {
		return err
	}
	if had {
		return nil
	}
	began := time.Now()
	if err := c.fill(s.subjects); err != nil {
		return err
	}
	fmt.Printf("arbiter  filled with %d subjects in %.1f s\n", s.subjects, time.Since(began).Seconds())
	return nil
}

func contestsOf(ctx context.Context, s *settings, ours *arbiterCluster, theirs *etcdCluster) []*contest {
	var list []*contest
	add := func(name string, clients int, rate float64, ourCall call, theirCall func() call) {
		if !strings.Contains(name, s.only) {
			return
		}
		c := &contest{name: name, clients: clients, rate: rate, arbiter: ourCall}
		if theirs != nil {
			c.etcd = theirCall()
		}
		list = append(list, c)
	}
	one := func() call { return theirs.putOne(ctx, s.subjects) }
	many := func() call { return theirs.putMany(ctx, s.subjects) }
	for _, clients := range s.clients {
		add(fmt.Sprintf("one a request, %d clients", clients), clients, 0, ours.putOne(s.subjects), one)
	}
	for _, clients := range s.batches {
		add(fmt.Sprintf("%d a request, %d clients", batch, clients), clients, 0, ours.putMany(s.subjects), many)
	}
	add(fmt.Sprintf("one a request at %d /s", openRate), 256, openRate, ours.putOne(s.subjects), one)
	return list
}

// round measures both systems once; who begins alternates.
func (c *contest) round(ctx context.Context, s *settings, ours *arbiterCluster, theirs *etcdCluster, round int) error {
	measure := func(do call) result {
		if c.rate > 0 {
			return openLoop(ctx, c.rate, c.clients, s.warmup, s.duration, do)
		}
		return closedLoop(ctx, c.clients, s.warmup, s.duration, do)
	}
	arbiter := func() error {
		ours.connect(c.clients)
		defer ours.disconnect()
		c.ours = append(c.ours, measure(c.arbiter))
		fmt.Printf("%-28s arbiter %s\n", c.name, c.ours[len(c.ours)-1])
		return nil
	}
	etcd := func() error {
		if theirs == nil {
			return nil
		}
		if err := theirs.connect(ctx, c.clients); err != nil {
			return err
		}
		defer theirs.disconnect()
		c.theirs = append(c.theirs, measure(c.etcd))
		fmt.Printf("%-28s etcd    %s\n", c.name, c.theirs[len(c.theirs)-1])
		return nil
	}
	turns := []func() error{arbiter, etcd}
	if round%2 == 1 {
		turns[0], turns[1] = turns[1], turns[0]
	}
	for _, turn := range turns {
		if err := turn(); err != nil {
			return err
		}
	}
	if theirs != nil {
		c.ratios = append(c.ratios, c.ours[len(c.ours)-1].Rate/c.theirs[len(c.theirs)-1].Rate)
	}
	return nil
}

func (c *contest) report() {
	line := func(name string, results []result) {
		if len(results) > 0 {
			fmt.Printf("  %-28s %-8s %8.0f /s   p50 %8s   p99 %8s\n", c.name, name, medianOf(results, rateOf),
				millis(time.Duration(medianOf(results, p50Of))), millis(time.Duration(medianOf(results, p99Of))))
		}
	}
	line("arbiter", c.ours)
	line("etcd", c.theirs)
	if c.rate == 0 && len(c.ratios) > 0 {
		var ratios []result
		for _, r := range c.ratios {
			ratios = append(ratios, result{Rate: r})
		}
		fmt.Printf("  %-28s ratio    %8.2f   (rounds:", c.name, medianOf(ratios, rateOf))
		for _, r := range c.ratios {
			fmt.Printf(" %.2f", r)
		}
		fmt.Println(")")
	}
}
