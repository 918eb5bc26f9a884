package store

import (
	"errors"
	"fmt"
	"runtime"
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
		case s.pressure(p) < 2*due:
			return nil
		case s.interrupted && (s.flushErr != nil || s.options.Shared.full()):
			return errors.Join(fmt.Errorf("%w while it could not write its file", ErrClosed), s.flushErr)
		}
		s.work.Broadcast()
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

// SlowDown makes whoever updates as fast as the flush, once the flush has fallen behind: many short
// delays instead of one long wait at the bound. Delays that are too short to sleep add up. It is for
// whoever calls Update, between two calls: no state depends on it.
func (s *Store) SlowDown() {
	p := s.pending.Load()
	writes := s.updated - s.slowed
	s.slowed = s.updated
	over := s.pressure(p) - due
	if over <= 0 {
		s.debt = 0
		return
	}
	s.debt += time.Duration(2 * over * s.perWrite.Load() * writes / due)
	if s.debt < leastDelay {
		return
	}
	start := time.Now()
	time.Sleep(min(maxDelay, s.debt))
	s.debt = max(0, s.debt-time.Since(start))
}

// flushLoop writes what is pending into the file whenever it is enough or old enough, and makes the file
// durable whenever it is time or somebody waits for it.
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
	err := s.flush(true)
	due := s.sinceWrites > 0 && (s.sinceWrites >= s.options.CheckpointWrites || time.Since(s.sinceTime) >= s.options.CheckpointInterval)
	switch {
	case err != nil:
		for _, w := range waiting {
			w.done <- err
		}
	case (len(waiting) > 0 || due) && s.pins.begin():
		s.checkpoint(waiting)
	}
	return err
}

// tickLoop makes a flush due every FlushInterval.
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
			s.write.Unlock()
		case <-s.quit:
			return
		}
	}
}

// Flush writes everything that was applied before the call into the file. It may be called at any time,
// also while Update runs. It does not make the file durable: see Checkpoint.
func (s *Store) Flush() error {
	s.hurry.Add(1)
	defer s.hurry.Add(-1)
	s.flushing.Lock()
	defer s.flushing.Unlock()
	return s.flush(false)
}

// flush writes what is pending. After it the file is the state as of one Update. Flushing is held.
func (s *Store) flush(paced bool) error {
	// What an earlier flush could not write goes first.
	for range 2 {
		if done, err := s.flushOnce(paced); done || err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) flushOnce(paced bool) (done bool, err error) {
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
		p = &pending{flushing: p.active, flushLoad: p.load, seq: p.seq, flushes: true}
		s.writing = layer{}
		s.pending.Store(p)
		s.room.Broadcast()
	}
	span := time.Since(s.rotated)
	if fresh {
		s.rotated = time.Now()
	}
	s.write.Unlock()

	if err = s.remap(spareAttempts * s.mayAdd(p.flushLoad)); err == nil {
		s.partial = true
		err = s.writeLayer(&p.flushing, pace{store: s, on: paced, span: min(span, s.options.FlushInterval)})
	}
	if Full(err) {
		s.options.Space.Exhausted()
	}
	s.write.Lock()
	defer s.write.Unlock()
	s.flushErr = err
	s.tellProblem()
	if err == nil {
		s.partial = false
		s.committed()
	}
	s.room.Broadcast()
	return fresh, err
}

// spareAttempts is how many attempts at a flush the address space is enough for.
const spareAttempts = 4

// tellProblem tells Writable what is wrong. Write is held.
func (s *Store) tellProblem() {
	err := s.broken
	if err == nil {
		err = s.flushErr
	}
	if err == nil {
		s.problem.Store(nil)
	} else {
		s.problem.Store(&err)
	}
}

// committed makes readers look into the file for what was flushed. Write is held.
func (s *Store) committed() {
	next := *s.pending.Load()
	s.options.Shared.add(-next.flushLoad.cost())
	s.sinceWrites += next.flushLoad.writes
	next.flushing, next.flushLoad, next.flushes = layer{}, load{}, false
	next.seq = s.pool.advance()
	s.pending.Store(&next)
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
			tree.Scan(func(e entry) bool {
				list = append(list, item{e, Bucket(b)})
				return true
			})
		}
	}
	return list
}

const (
	firstSlice, leastSlice, mostSlice = 64, 16, 1024
	sliceTime                         = 1500 * time.Microsecond // what a slice should take
	yieldEvery                        = 32
)

// writeLayer writes a layer in slices, each a transaction of its own: readers look into the layer until
// all of it is written, and a checkpoint comes only then. A slice has a stretch of the keys, so slices
// copy hardly more pages than one large transaction would.
func (s *Store) writeLayer(l *layer, p pace) error {
	items := l.items(s.items[:0])
	defer func() {
		clear(items) // hold no value of a layer that is written
		s.items = items
	}()
	p.begin(len(items))
	for at := 0; at < len(items); {
		n := min(s.slice, len(items)-at)
		if p.behind() {
			n = min(max(n, mostSlice/2), len(items)-at)
		}
		release := p.turn()
		start := time.Now()
		err := s.updateFile(func(tx *fileTx) error { return tx.putItems(items[at : at+n]) })
		took := time.Since(start)
		release()
		if err != nil {
			return err
		}
		at += n
		s.perWrite.Store((7*s.perWrite.Load() + int64(took)/int64(n)) / 8)
		s.slice = max(leastSlice, min(mostSlice, int(float64(n)*float64(sliceTime)/float64(took+1)), 2*s.slice))
		p.pause(at)
	}
	return nil
}

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
		// A flush is work in the background: whoever waits for a processor goes first.
		if i%yieldEvery == yieldEvery-1 {
			runtime.Gosched()
		}
	}
	return nil
}

// pace spreads a flush over the time that what it writes took to gather, so that it takes an even part of
// the processors, and lets go of that when the next gathers faster.
type pace struct {
	store *Store
	on    bool
	span  time.Duration
	start time.Time
	total int
	done  int
}

// spread is the part of the span that a flush may take.
const spread = 0.8

func (p *pace) begin(total int) { p.start, p.total = time.Now(), total }

// behind tells that the flush must go on without a pause.
func (p *pace) behind() bool {
	if !p.on || p.store.hurry.Load() > 0 {
		return true
	}
	return p.store.pressure(p.store.pending.Load()) > due*int64(p.done+p.store.slice)/int64(p.total)
}

// turn waits until no other store of the node writes, unless the flush is behind.
func (p *pace) turn() (release func()) {
	if p.behind() {
		return func() {}
	}
	return takeTurn(p.store.options.Shared.turn)
}

const maxPause = 20 * time.Millisecond

// pause waits after a slice until it is time for the next.
func (p *pace) pause(done int) {
	p.done = done
	for done < p.total {
		early := time.Duration(spread*float64(p.span)*float64(done)/float64(p.total)) - time.Since(p.start)
		if early <= 0 || p.behind() {
			return
		}
		time.Sleep(min(early, maxPause))
	}
}
