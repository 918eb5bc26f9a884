// Command bench compares the log of a node with the two logs that hashicorp/raft is mostly used with:
// every group appends entries of a given size, each durable before the next, and truncates what is
// old. Rounds of the three take turns on the same disk; the medians are printed as a table.
//
// It is a module of its own, since raft-boltdb needs an older version of a library.
//
//	go run . -dir /var/tmp -seconds 2 -rounds 3
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	raftwal "github.com/hashicorp/raft-wal"

	"github.com/arbiterhq/arbiter/cluster/wal"
)

// store is what a group writes to.
type store interface {
	StoreLogs(entries []*raft.Log) error
	DeleteRange(first, last uint64) error
}

// node has the stores of all groups.
type node struct {
	stores []store
	close  func() error
}

type shared struct{ group *wal.Group }

func (s shared) StoreLogs(entries []*raft.Log) error {
	list := make([]wal.Entry, len(entries))
	for i, e := range entries {
		list[i] = wal.Entry{Index: e.Index, Term: e.Term, Type: uint8(e.Type), Data: e.Data, Time: e.AppendedAt.UnixNano()}
	}
	return s.group.Append(list)
}

func (s shared) DeleteRange(_, last uint64) error { return s.group.TruncateHead(last + 1) }

const segmentBytes = 16 << 20

func openShared(dir string, groups int) (*node, error) {
	log, err := wal.Open(dir, wal.Options{SegmentBytes: segmentBytes, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		return nil, err
	}
	n := &node{close: log.Close}
	for i := range groups {
		g, err := log.Group(fmt.Sprintf("data-%02d", i))
		if err != nil {
			return nil, err
		}
		n.stores = append(n.stores, shared{g})
	}
	return n, nil
}

func openRaftWAL(dir string, groups int) (*node, error) {
	var logs []*raftwal.WAL
	n := &node{}
	n.close = func() (err error) {
		for _, l := range logs {
			err = errors.Join(err, l.Close())
		}
		return err
	}
	for i := range groups {
		path := filepath.Join(dir, fmt.Sprint(i))
		if err := os.MkdirAll(path, 0o700); err != nil {
			return nil, err
		}
		l, err := raftwal.Open(path, raftwal.WithSegmentSize(segmentBytes), raftwal.WithLogger(hclog.NewNullLogger()))
		if err != nil {
			return nil, err
		}
		logs = append(logs, l)
		n.stores = append(n.stores, l)
	}
	return n, nil
}

func openBolt(dir string, groups int) (*node, error) {
	var logs []*raftboltdb.BoltStore
	n := &node{}
	n.close = func() (err error) {
		for _, l := range logs {
			err = errors.Join(err, l.Close())
		}
		return err
	}
	for i := range groups {
		l, err := raftboltdb.NewBoltStore(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			return nil, err
		}
		logs = append(logs, l)
		n.stores = append(n.stores, l)
	}
	return n, nil
}

type result struct {
	perSecond float64
	p50, p99  time.Duration
	cpu       time.Duration // for one entry
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// keep is how many bytes of entries a group has at most.
const keep = 32 << 20

func run(n *node, size int, pause, length time.Duration) (result, error) {
	var mu sync.Mutex
	var all []time.Duration
	var failure error
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * 7)
	}
	begin, cpu := time.Now(), cpuTime()
	var workers sync.WaitGroup
	for _, s := range n.stores {
		workers.Add(1)
		go func() {
			defer workers.Done()
			var took []time.Duration
			first, err := uint64(1), error(nil)
			for i := uint64(1); err == nil && time.Since(begin) < length; i++ {
				start := time.Now()
				err = s.StoreLogs([]*raft.Log{{Index: i, Term: 1, Data: data, AppendedAt: start}})
				took = append(took, time.Since(start))
				if err == nil && i%64 == 0 && (i-first)*uint64(size) > keep {
					err = s.DeleteRange(first, i-uint64(keep/size)/2)
					first = i - uint64(keep/size)/2 + 1
				}
				time.Sleep(pause)
			}
			mu.Lock()
			defer mu.Unlock()
			all, failure = append(all, took...), errors.Join(failure, err)
		}()
	}
	workers.Wait()
	seconds := time.Since(begin).Seconds()
	slices.Sort(all)
	return result{float64(len(all)) / seconds, all[len(all)/2], all[len(all)*99/100], (cpuTime() - cpu) / time.Duration(len(all))}, failure
}

func median[T float64 | time.Duration](list []result, of func(result) T) T {
	values := make([]T, len(list))
	for i, r := range list {
		values[i] = of(r)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

func main() {
	dir := flag.String("dir", os.TempDir(), "where the logs are made")
	seconds := flag.Float64("seconds", 2, "of each round")
	rounds := flag.Int("rounds", 3, "of each log")
	flag.Parse()
	if err := compare(*dir, time.Duration(*seconds*float64(time.Second)), *rounds); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func compare(base string, length time.Duration, rounds int) error {
	kinds := []struct {
		name string
		open func(string, int) (*node, error)
	}{{"shared", openShared}, {"raft-wal", openRaftWAL}, {"raft-boltdb", openBolt}}
	fmt.Println("| entry | pause | groups | log | entries/s | of raft-wal | p50 | p99 | CPU an entry |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	for _, load := range []struct {
		size  int
		pause time.Duration
	}{{256 << 10, 0}, {16 << 10, 0}, {1 << 10, 0}, {16 << 10, 2 * time.Millisecond}} {
		for _, groups := range []int{1, 4, 16} {
			results := make([][]result, len(kinds))
			for range rounds {
				for k, kind := range kinds {
					r, err := round(base, kind.open, groups, load.size, load.pause, length)
					if err != nil {
						return fmt.Errorf("%s: %w", kind.name, err)
					}
					results[k] = append(results[k], r)
				}
			}
			rate := func(r result) float64 { return r.perSecond }
			for k, kind := range kinds {
				fmt.Printf("| %d KiB | %s | %d | %s | %.0f | %.2f | %s | %s | %s |\n", load.size>>10, load.pause, groups, kind.name,
					median(results[k], rate), median(results[k], rate)/median(results[1], rate),
					median(results[k], func(r result) time.Duration { return r.p50 }).Round(10*time.Microsecond),
					median(results[k], func(r result) time.Duration { return r.p99 }).Round(10*time.Microsecond),
					median(results[k], func(r result) time.Duration { return r.cpu }).Round(time.Microsecond))
			}
		}
	}
	return nil
}

func round(base string, open func(string, int) (*node, error), groups, size int, pause, length time.Duration) (r result, err error) {
	dir, err := os.MkdirTemp(base, "logbench")
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	n, err := open(dir, groups)
	if err != nil {
		return r, err
	}
	r, err = run(n, size, pause, length)
	return r, errors.Join(err, n.close())
}
