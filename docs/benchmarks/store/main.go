// Command store measures the replicated store of Arbiter beside etcd: three processes of each on this
// machine, the same clients and values, in turns. See docs/benchmarks/store.md.
//
//	store compare   updates over HTTP against etcd's puts and transactions, in interleaved rounds
//	store events    events over HTTP, applied to windows and subjects, against etcd's transactions
//	store deliveries  from an event to what it led to, at a steady rate
//	store callers   updates and reads by callers inside the three processes
//	store reads     reads in one process
//	store life      restart times, memory, idle groups
//	store node      one process of "callers"; started by it
//
// It is a module of its own, so that etcd's modules are not those of Arbiter.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// settings are the flags that all parts share.
type settings struct {
	arbiter, etcd string
	dir           string
	nodes         int
	arbiterNodes  int
	groups        int
	subjects      int
	rounds        int
	duration      time.Duration
	warmup        time.Duration
	clients       []int
	batches       []int
	rate          float64
	idle          []int
	leader        bool
	keep          bool
	skipEtcd      bool
	only          string
}

// valueBytes is what one update carries.
const valueBytes = 1000

func main() {
	if err := run(); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "store:", err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) < 2 {
		return errors.New("usage: store compare|events|deliveries|callers|reads|life [flags]")
	}
	part := os.Args[1]
	if part == "node" {
		return serveCallers(os.Args[2:])
	}
	s, err := parse(os.Args[2:])
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	if !s.keep {
		defer os.RemoveAll(s.dir)
	}
	switch part {
	case "compare":
		return compare(ctx, s)
	case "events":
		return events(ctx, s)
	case "deliveries":
		return deliveries(ctx, s)
	case "callers":
		return callers(ctx, s)
	case "reads":
		return reads(ctx, s)
	case "life":
		return life(ctx, s)
	}
	return fmt.Errorf("no part %q", part)
}

func parse(args []string) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet("store", flag.ContinueOnError)
	flags.StringVar(&s.arbiter, "arbiter", "bin/arbiter", "the program")
	flags.StringVar(&s.etcd, "etcd", "bin/etcd", "its peer")
	flags.StringVar(&s.dir, "dir", "", "folder for the data; a temporary one if empty")
	flags.IntVar(&s.nodes, "nodes", 3, "processes of each system")
	flags.IntVar(&s.arbiterNodes, "arbiter-nodes", 0, "processes of Arbiter, if other than -nodes")
	flags.IntVar(&s.groups, "groups", 16, "data groups of Arbiter")
	flags.IntVar(&s.subjects, "subjects", 1_000_000, "subjects, and keys of etcd")
	flags.IntVar(&s.rounds, "rounds", 3, "interleaved rounds")
	flags.DurationVar(&s.duration, "duration", 8*time.Second, "of each measurement")
	flags.DurationVar(&s.warmup, "warmup", 2*time.Second, "before each measurement")
	clients := flags.String("clients", "64,256,1024", "numbers of concurrent clients")
	batches := flags.String("batch-clients", "16,64", "numbers of concurrent clients whose requests hold 128 updates")
	idle := flags.String("idle", "16,64", "numbers of idle groups")
	flags.BoolVar(&s.leader, "etcd-leader", true, "etcd's clients talk to its leader alone, which is faster, not to all members")
	flags.BoolVar(&s.keep, "keep", false, "keep the data, and use it if it is there")
	flags.StringVar(&s.only, "only", "", "of compare, measure only what has this in its name")
	flags.Float64Var(&s.rate, "rate", 12_500, "of deliveries, events a second")
	flags.BoolVar(&s.skipEtcd, "no-etcd", false, "measure Arbiter alone")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	if s.arbiterNodes == 0 {
		s.arbiterNodes = s.nodes
	}
	var err error
	if s.clients, err = numbers(*clients); err != nil {
		return nil, err
	}
	if s.batches, err = numbers(*batches); err != nil {
		return nil, err
	}
	if s.idle, err = numbers(*idle); err != nil {
		return nil, err
	}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "arbiter-store-"); err != nil {
			return nil, err
		}
	}
	for _, path := range []*string{&s.arbiter, &s.etcd, &s.dir} {
		if *path, err = filepath.Abs(*path); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func numbers(list string) (all []int, err error) {
	for _, text := range strings.Split(list, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no list of numbers", list)
		}
		all = append(all, n)
	}
	return all, nil
}
