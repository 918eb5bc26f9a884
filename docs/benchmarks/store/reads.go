package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// reads measures what a decision does first: lend a subject and look at one attribute. One goroutine,
// and the figure is for each second of processor time, so that it is that of a core.
func reads(ctx context.Context, s *settings) error {
	options := router.Options{Dir: filepath.Join(s.dir, "reads"), DataGroups: s.groups, StartTimeout: time.Minute,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	r, err := router.Open(ctx, options)
	if err != nil {
		return err
	}
	if err := fillRouter(ctx, r, s.subjects); err != nil {
		return err
	}
	if err := r.Close(); err != nil { // what was read last must not be what was written last
		return err
	}
	if r, err = router.Open(ctx, options); err != nil {
		return err
	}
	defer r.Close()
	for _, set := range []struct {
		name     string
		subjects int
	}{{"hot set of 4,096", 4096}, {fmt.Sprintf("%d at random", s.subjects), s.subjects}} {
		refs := make([]nba.SubjectRef, 1<<20)
		random := rand.New(rand.NewPCG(7, 7))
		for i := range refs {
			refs[i] = nba.SubjectRef{ID: key(random.IntN(set.subjects)), Type: nba.Subscriber}
		}
		if _, _, err := readFor(r, refs, s.warmup); err != nil {
			return err
		}
		for range s.rounds {
			count, used, err := readFor(r, refs, s.duration/2)
			if err != nil {
				return err
			}
			fmt.Printf("reads in process, %-20s %9.0f /s a core\n", set.name, float64(count)/used.Seconds())
		}
	}
	return nil
}

func fillRouter(ctx context.Context, r *router.Router, subjects int) error {
	random := rand.New(rand.NewPCG(1, 1))
	const writes = 2000
	for from := 0; from < subjects; from += writes {
		var batch []router.SubjectWrite
		for i := from; i < min(from+writes, subjects); i++ {
			encoded, err := record.Append(nil, []record.Attr{{ID: 0, Value: nba.String(text(random))}}, 3, 0)
			if err != nil {
				return err
			}
			batch = append(batch, router.SubjectWrite{Ref: nba.SubjectRef{ID: key(i), Type: nba.Subscriber}, Record: encoded})
		}
		if err := r.Import(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// readFor reads the subjects over and over and counts; used is the processor time of the process.
func readFor(r *router.Router, refs []nba.SubjectRef, lasting time.Duration) (count int, used time.Duration, err error) {
	before, err := processorTime()
	if err != nil {
		return 0, 0, err
	}
	for end := time.Now().Add(lasting); time.Now().Before(end); {
		for range 1024 {
			reading, err := r.Acquire(refs[count&(len(refs)-1)])
			if err != nil {
				return 0, 0, err
			}
			if value, ok := reading.Attribute(0); !ok || value.Kind() != nba.KindString {
				return 0, 0, fmt.Errorf("subject %s has no document", refs[count&(len(refs)-1)].ID)
			}
			reading.Release()
			count++
		}
	}
	after, err := processorTime()
	return count, after - before, err
}

func processorTime() (time.Duration, error) {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0, err
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}
