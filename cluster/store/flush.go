package store

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// pressure is how far what is pending has grown towards the size at which it is flushed, in thousandths:
// at due it is flushed, at twice that Update waits. Half of the memory that all stores share counts as
// due, for those that take of it.
func (s *Store) pressure(p *pending) int64 {
	own := max(due*int64(p.load.writes)/int64(s.options.FlushWrites), due*int64(p.load.bytes)/int64(s.options.FlushBytes))
	if p.load.cost() < smallShare {
		return own
	}
	return max(own, 2*s.options.Shared.share(due))
}

const (
	due = 1000
	// smallShare is what each store may have pending whatever the others have.
	smallShare = 512 << 10
)

// waitForRoom is called with write held, which it gives up while it waits.
func (s *Store) waitForRoom() error {
	for {
		p := s.pending.Load()
		switch {
		case s.closing:
			return ErrClosed
		case s.broken != nil:
			return s.broken
		case max(s.pressure(p), s.runPressure(p)) < 2*due:
			return nil
		case s.interrupted && (s.flushErr != nil || s.options.Shared.full() || s.runPressure(p) >= 2*due):
			return errors.Join(fmt.Errorf("%w while it could not write its files", ErrClosed), s.flushErr, s.mergeErr)
		}
		s.work.Broadcast()
		s.ripe.Broadcast()
		if s.options.Shared.full() {
			// The others that take the memory do not wake this one.
			s.write.Unlock()
			s.options.Shared.wait(&s.stopping)
			s.write.Lock()
			continue
		}
		s.room.Wait()
	}
}

const (
	leastDelay = time.Millisecond
	maxDelay   = 5 * time.Millisecond
)

// SlowDown makes whoever updates as fast as the flush or the merge, once they have fallen behind: many short
// delays instead of one long wait at the bound. Delays that are too short to sleep add up. It is for
// whoever calls Update, between two calls: no state depends on it.
func (s *Store) SlowDown() {
	p := s.pending.Load()
	writes := s.updated - s.slowed
	s.slowed = s.updated
	behind := time.Duration(0)
	if over := s.pressure(p) - due; over > 0 {
		behind = time.Duration(2 * over * s.perWrite.Load() * writes / due)
	}
	if over := s.runPressure(p) - due; over > 0 {
		behind = max(behind, time.Duration(2*over*s.perMerge.Load()*writes/due))
	}
	if behind == 0 {
		s.debt = 0
		return
	}
	s.debt += behind
	if s.debt < leastDelay {
		return
	}
	start := time.Now()
	time.Sleep(min(maxDelay, s.debt))
	s.debt = max(0, s.debt-time.Since(start))
}

// flushLoop writes what is pending into a run whenever it is enough or old enough, and makes runs durable
// whenever it is time or somebody waits for it.
func (s *Store) flushLoop() {
	defer s.loops.Done()
	for {
		s.write.Lock()
		for !s.closing && !s.due && (len(s.wanted) == 0 || s.pins.busy()) && s.pressure(s.pending.Load()) < due {
			s.work.Wait()
		}
		s.due = false
		closing, broken := s.closing, s.broken
		s.write.Unlock()
		if closing {
			return
		}
		if broken != nil || s.flushAndCheckpoint() != nil {
			// The disk is full or broken: Writable reports it, and memory is bounded.
			select {
			case <-time.After(flushRetry):
			case <-s.quit:
			}
		}
	}
}

const flushRetry = 100 * time.Millisecond

func (s *Store) flushAndCheckpoint() error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	var waiting []*wanted
	if !s.pins.busy() {
		s.write.Lock()
		waiting = s.takeWanted()
		s.write.Unlock()
	}
	err := s.flush()
	due := s.sinceWrites > 0 && (s.sinceWrites >= s.options.CheckpointWrites || time.Since(s.sinceTime) >= s.options.CheckpointInterval)
	switch {
	case err != nil:
		for _, w := range waiting {
			w.done <- err
		}
	case len(waiting) == 0 && !due:
	case s.pins.begin():
		s.checkpoint(waiting)
	default:
		s.waitAgain(waiting)
	}
	return err
}

// waitAgain is for those who wait for a checkpoint while another has just begun.
func (s *Store) waitAgain(waiting []*wanted) {
	s.write.Lock()
	defer s.write.Unlock()
	if s.broken == nil {
		s.wanted = append(waiting, s.wanted...)
		return
	}
	for _, w := range waiting {
		w.done <- s.broken
	}
}

// tickLoop makes a flush due every FlushInterval, and closes files that are read no more.
func (s *Store) tickLoop() {
	defer s.loops.Done()
	ticker := time.NewTicker(s.options.FlushInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.write.Lock()
			s.due = true
			s.work.Broadcast()
			s.ripe.Broadcast()
			s.write.Unlock()
			s.oldRuns.close()
		case <-s.quit:
			return
		}
	}
}

// Flush writes everything that was applied before the call into a run. It may be called at any time, also
// while Update runs. It does not make the run durable: see Checkpoint.
func (s *Store) Flush() error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
	return s.flush()
}

// flush writes what is pending. After it the runs are the state as of one Update. Flushing is held.
func (s *Store) flush() error {
	// What an earlier flush could not write goes first.
	for range 2 {
		if done, err := s.flushOnce(); done || err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) flushOnce() (done bool, err error) {
	s.write.Lock()
	if s.broken != nil {
		defer s.write.Unlock()
		return false, s.broken
	}
	p := s.pending.Load()
	fresh := !p.flushes
	if fresh {
		if p.load.writes == 0 {
			s.write.Unlock()
			return true, nil
		}
		p = &pending{flushing: p.active, flushLoad: p.load, sieves: [2]*sieve{nil, p.sieves[0]}, runs: p.runs, seq: p.seq, flushes: true}
		s.writing, s.sieve = layer{}, nil
		s.pending.Store(p)
		s.room.Broadcast()
	}
	s.write.Unlock()

	view, err := s.writeRun(p)
	if Full(err) {
		s.options.Space.Exhausted()
	}
	s.write.Lock()
	defer s.write.Unlock()
	s.flushErr = err
	s.tellProblem()
	if err == nil {
		s.committed(view)
	}
	s.room.Broadcast()
	return fresh, err
}

// writeRun writes the layer that is flushed into the newest run file, or into a new one.
func (s *Store) writeRun(p *pending) (*runView, error) {
	items := p.flushing.items(s.items[:0])
	defer func() {
		clear(items) // hold no value of a layer that is written
		s.items = items
	}()
	start := time.Now()
	view, err := s.runFor(p.runs, items)
	if err != nil {
		return nil, err
	}
	buffer, ok := s.options.Shared.buffers.Get().(*[]byte)
	if !ok {
		buffer = new([]byte)
	}
	refs, used, err := view.file.append(items, *buffer)
	if cap(used) <= 4*runChunk {
		*buffer = used
		s.options.Shared.buffers.Put(buffer)
	}
	if err != nil {
		return nil, err
	}
	_, all := runSize(items)
	view.file.end += (all + runPage - 1) &^ (runPage - 1)
	view = view.extended(refs, view.file.end)
	s.perWrite.Store((7*s.perWrite.Load() + int64(time.Since(start))/int64(len(items))) / 8)
	return view, nil
}

// runFor is the view that a run of the items is added to: that of the newest file, or of a new one.
func (s *Store) runFor(views []*runView, items []item) (*runView, error) {
	_, size := runSize(items)
	size += runPage
	if s.target != nil {
		if s.target.end+size <= int64(len(s.target.data)) {
			for _, v := range views {
				if v.file == s.target {
					return v, nil
				}
			}
			return &runView{file: s.target, seed: s.options.Shared.seed}, nil // no run of it is whole yet
		}
		if s.target.end == 0 {
			return nil, errors.New("a run does not fit into a file of its own")
		}
	}
	if size > maxRunFile {
		return nil, fmt.Errorf("a run of %d bytes is too large", size)
	}
	// A number is not used twice: a file that was removed may still be read.
	number := s.number + 1
	f, err := s.openRunFile(number, os.O_CREATE|os.O_TRUNC, max(s.options.RunBytes, size))
	if err != nil {
		return nil, err
	}
	s.target, s.number = f, number
	return &runView{file: f, seed: s.options.Shared.seed}, nil
}

// spareAttempts is how many attempts at a write the address space is enough for.
const spareAttempts = 4

// tellProblem tells Writable what is wrong. Write is held.
func (s *Store) tellProblem() {
	err := s.broken
	if err == nil {
		err = s.flushErr
	}
	if err == nil {
		err = s.mergeErr
	}
	if err == nil {
		s.problem.Store(nil)
	} else {
		s.problem.Store(&err)
	}
}

// committed makes readers look into the run for what was flushed: view is that of the newest file with the
// run. Write is held.
func (s *Store) committed(view *runView) {
	next := *s.pending.Load()
	s.options.Shared.add(-next.flushLoad.cost())
	s.sinceWrites += next.flushLoad.writes
	s.flushedAt = time.Now()
	next.flushing, next.flushLoad, next.flushes, next.sieves[1] = layer{}, load{}, false, nil
	next.runs = append([]*runView{view}, without(next.runs, []*runView{view})...)
	next.seq = s.pool.advance()
	s.pending.Store(&next)
	s.ripe.Broadcast()
}

// item is one write of a layer.
type item struct {
	entry
	bucket Bucket
}

// items appends a layer to list, in the order of its keys, which is the order of the pages.
func (l *layer) items(list []item) []item {
	for b, tree := range l {
		if tree != nil {
			tree.Scan(func(e *entry) bool {
				list = append(list, item{*e, Bucket(b)})
				return true
			})
		}
	}
	return list
}
