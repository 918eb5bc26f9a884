package store

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/bbolt"
)

// maxRunFile is what the places of entries reach.
const maxRunFile = 1 << 34

// runFill is how far the runs of a store have grown towards what it may have, in thousandths.
func (s *Store) runFill(views []*runView) int64 {
	keys := int64(0)
	for _, v := range views {
		keys += int64(v.keys)
	}
	mostBytes, mostKeys := s.options.Shared.runShare()
	return max(1000*runBytes(views)/min(mostBytes, s.options.RunBytes), 1000*keys/mostKeys)
}

func runBytes(views []*runView) (n int64) {
	for _, v := range views {
		n += v.end
	}
	return n
}

const (
	// Runs are merged when they have grown to between these, so that the stores of a node do not all
	// begin at one time.
	ripeFrom, ripeTo = 450, 700
	// From crowded on, Update is slowed down, and at 1000 it waits.
	crowded = 750
)

// runPressure is that of the runs, on the scale of pressure.
func (s *Store) runPressure(p *pending) int64 {
	over := s.runFill(p.runs) - crowded
	if over <= 0 {
		return 0
	}
	return due + over*due/(1000-crowded)
}

// mergeLoop merges runs into the bbolt file when it is time.
func (s *Store) mergeLoop() {
	defer s.loops.Done()
	ripeAt := int64(ripeFrom)
	for {
		s.write.Lock()
		for !s.closing && !s.mergeDue(ripeAt) {
			s.ripe.Wait()
		}
		closing := s.closing
		s.write.Unlock()
		if closing {
			return
		}
		shared := s.options.Shared
		shared.wantMerge(s, true)
		select {
		case shared.merging <- struct{}{}:
		case <-s.quit:
			shared.wantMerge(s, false)
			return
		}
		err := s.merge()
		shared.wantMerge(s, false)
		<-shared.merging
		ripeAt = ripeFrom + rand.Int64N(ripeTo-ripeFrom)
		if err != nil {
			// The disk is full or broken, or somebody waits: Writable reports it.
			select {
			case <-time.After(flushRetry):
			case <-s.quit:
			}
		}
	}
}

// mergeDue tells whether runs are to be merged. Write is held.
func (s *Store) mergeDue(ripeAt int64) bool {
	p := s.pending.Load()
	if s.broken != nil || len(p.runs) == 0 {
		return false
	}
	return s.runFill(p.runs) >= ripeAt || p.load.writes == 0 && !p.flushes && time.Since(s.flushedAt) >= s.options.MergeAfter
}

// errGivenUp ends a merge that somebody cannot wait for.
var errGivenUp = errors.New("a merge was given up")

// Merge brings all runs there are into the bbolt file and removes them. The store does so by itself, with rests.
func (s *Store) Merge() error {
	s.hurry.Add(1)
	defer s.hurry.Add(-1)
	return s.merge()
}

func (s *Store) merge() error {
	s.filing.Lock()
	defer s.filing.Unlock()
	s.flushing.Lock()
	views := s.pending.Load().runs
	if len(views) > 0 && s.target == views[0].file {
		s.target = nil // what is flushed from here on goes into another file
	}
	s.flushing.Unlock()
	if len(views) == 0 {
		return nil
	}
	err := s.mergeViews(views)
	if err == nil {
		err = s.checkpointFile(views, true)
	}
	if Full(err) {
		s.options.Space.Exhausted()
	}
	s.write.Lock()
	s.mergeErr = err
	if errors.Is(err, errGivenUp) {
		s.mergeErr = nil
	}
	s.tellProblem()
	s.room.Broadcast()
	s.write.Unlock()
	return err
}

// mergeViews writes the newest entries of runs into the bbolt file, in transactions of some slice each:
// readers look into the runs until all of them are there, and so does a start.
func (s *Store) mergeViews(views []*runView) error {
	size, err := s.fileSize()
	if err != nil {
		return err
	}
	s.fill = bbolt.DefaultFillPercent
	if runBytes(views) > size/2 {
		s.fill = bulkFill
	}
	// The pages of a checkpoint are not used again, so the file would grow by all that is merged.
	most, written := max(s.options.growth, size/growthShare), int64(0)
	for b := Meta; b < bucketEnd; b++ {
		for m := newMerger(b, views); m.more(); {
			if written > most {
				if err := s.checkpointFile(views, false); err != nil {
					return err
				}
				written = 0
			}
			n, err := s.mergeSlice(m)
			if err != nil {
				return err
			}
			written += n
		}
	}
	return nil
}

const (
	leastGrowth = 16 << 20
	growthShare = 8
	// bulkFill fills pages when much of the file is new: keys of a first load come in their order.
	bulkFill = 0.8
)

// mergeSlice writes the next entries in one transaction, and gives how many bytes of pages that took.
func (s *Store) mergeSlice(m *merger) (written int64, err error) {
	if s.stopping.Load() || s.replacing.Load() > 0 {
		return 0, errGivenUp
	}
	items, size, err := m.take(s.slice)
	if err != nil {
		s.write.Lock()
		s.fail(err)
		s.write.Unlock()
		return 0, err
	}
	if err := s.remap(spareAttempts*s.mayAdd(load{len(items), size}), m.views); err != nil {
		return 0, err
	}
	start := time.Now()
	if written, err = s.updateFile(func(tx *fileTx) error { return tx.putItems(items) }); err != nil {
		return 0, err
	}
	took := time.Since(start)
	n := len(items)
	s.perMerge.Store((7*s.perMerge.Load() + int64(took)/int64(n)) / 8)
	s.slice = max(leastSlice, min(mostSlice, int(float64(n)*float64(sliceTime)/float64(took+1)), 2*s.slice))
	s.options.disk.startWriting(s.raw) // little at a time: the log waits behind what a checkpoint syncs at once
	s.breathe(took)
	return written, nil
}

const (
	firstSlice, leastSlice, mostSlice = 256, 128, 1024
	sliceTime                         = 2 * time.Millisecond // what a slice should take
	yieldEvery                        = 32
)

func (t *fileTx) putItems(items []item) (err error) {
	for i := range items {
		e := &items[i]
		if e.deleted {
			err = t.delete(e.bucket, e.key)
		} else {
			err = t.put(e.bucket, e.key, e.value)
		}
		if err != nil {
			return err
		}
		// This is work in the background: whoever waits for a processor goes first.
		if i%yieldEvery == yieldEvery-1 {
			runtime.Gosched()
		}
	}
	return nil
}

// merger gives the newest entries of one bucket of views in the order of their keys.
type merger struct {
	views  []*runView
	orders [][]uint32
	bucket Bucket
	items  []item
}

func newMerger(b Bucket, views []*runView) *merger {
	m := &merger{views: views, bucket: b}
	for _, v := range views {
		m.orders = append(m.orders, v.order(b))
	}
	return m
}

func (m *merger) more() bool {
	for _, order := range m.orders {
		if len(order) > 0 {
			return true
		}
	}
	return false
}

// take gives the next entries, at most so many, and how many bytes they have. They are good until the next.
func (m *merger) take(most int) (items []item, size int, err error) {
	clear(m.items)
	m.items = m.items[:0]
	for len(m.items) < most && m.more() {
		first := -1
		var e entry
		for i, order := range m.orders {
			if len(order) == 0 {
				continue
			}
			_, other := m.views[i].file.entryAt(order[0])
			if first < 0 || entryLess(&other, &e) {
				first, e = i, other
			}
		}
		if !m.views[first].file.intact(m.orders[first][0]) {
			return nil, 0, fmt.Errorf("%w: a value in %s is not what was written", ErrDamaged, filepath.Base(m.views[first].file.path))
		}
		for i, order := range m.orders {
			if len(order) > 0 && (i == first || i > first && sameKey(m.views[i].file, order[0], e.key)) {
				m.orders[i] = order[1:]
			}
		}
		m.items = append(m.items, item{e, m.bucket})
		size += len(e.key) + len(e.value)
	}
	return m.items, size, nil
}

func sameKey(f *runFile, ref uint32, key []byte) bool {
	_, other := f.keyAt(ref)
	return string(other) == string(key)
}

// breathe leaves the processors and the disk to others after a slice, the longer the more room there is
// for runs.
func (s *Store) breathe(took time.Duration) {
	fill := max(s.runFill(s.pending.Load().runs), s.options.Shared.ripest())
	if s.hurry.Load() > 0 || fill >= crowded {
		return
	}
	rest := time.NewTimer(min(maxPause, time.Duration(int64(took)*mostRest*(crowded-fill)/crowded)))
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-s.quit:
	}
}

const (
	mostRest = 40 // times the time that a slice took
	maxPause = 100 * time.Millisecond
)

// dropRuns makes readers look into the bbolt file for what was merged.
func (s *Store) dropRuns(merged []*runView) {
	s.write.Lock()
	next := *s.pending.Load()
	next.runs = without(next.runs, merged)
	next.seq = s.pool.advance()
	s.pending.Store(&next)
	s.room.Broadcast()
	s.write.Unlock()
}

// dropTarget makes the next run go into a new file. One without a whole run, which is none of the views, is
// closed. Flushing is held.
func (s *Store) dropTarget(views []*runView) {
	if f := s.target; f != nil && (len(views) == 0 || views[0].file != f) {
		f.release()
	}
	s.target = nil
}

// openRuns opens the run files of a mark, the newest first, and removes others.
func (s *Store) openRuns(m *mark) (views []*runView, err error) {
	keep := map[uint64]bool{}
	for _, r := range m.runs {
		v, err := s.openRun(r)
		if err != nil {
			releaseRuns(views)
			return nil, err
		}
		views = append(views, v)
		s.number = max(s.number, r.number)
		keep[r.number] = true
	}
	if err := s.removeRuns(keep); err != nil {
		releaseRuns(views)
		return nil, err
	}
	return views, nil
}

func (s *Store) openRun(r markRun) (*runView, error) {
	path := runPath(s.path, r.number)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	case err != nil:
		return nil, fmt.Errorf("looking at a run file: %w", err)
	case info.Size() < r.end || r.end > maxRunFile:
		return nil, fmt.Errorf("%w: %s has %d bytes and the checkpoint %d", ErrDamaged, filepath.Base(path), info.Size(), r.end)
	}
	f, err := s.openRunFile(r.number, 0, r.end)
	if err != nil {
		return nil, err
	}
	f.end, f.synced, f.named = r.end, r.end, true
	v := &runView{file: f, end: r.end, seed: s.options.Shared.seed}
	var refs []uint32
	for at := int64(0); at < r.end; {
		if err := f.check(at, r.end); err != nil {
			f.release()
			return nil, fmt.Errorf("%w: %w: %s at %d", ErrDamaged, err, filepath.Base(path), at)
		}
		refs, at = f.next(at, refs[:0])
		v.grow(len(refs))
		for _, ref := range refs {
			v.put(ref)
		}
	}
	return v, nil
}

// removeRuns removes the run files that no checkpoint has.
func (s *Store) removeRuns(keep map[uint64]bool) error {
	entries, err := os.ReadDir(filepath.Dir(s.path))
	if err != nil {
		return fmt.Errorf("listing the run files: %w", err)
	}
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), filepath.Base(runPrefix(s.path)))
		if number, err := strconv.ParseUint(text, 10, 64); !ok || err != nil || keep[number] {
			continue
		}
		if err := s.options.disk.remove(s.filePath(e.Name())); err != nil {
			return fmt.Errorf("removing a run file: %w", err)
		}
	}
	return nil
}
