package store

import (
	"fmt"
	"runtime"
	"time"
)

// waitForRoom is called with write held, which it gives up while it waits.
func (s *Store) waitForRoom() error {
	for {
		p := s.pending.Load()
		switch {
		case s.closing:
			return ErrClosed
		case p.writes < 2*s.options.FlushWrites && p.bytes < 2*s.options.FlushBytes:
			return nil
		case s.flushErr != nil:
			return fmt.Errorf("the store cannot write its file: %w", s.flushErr)
		}
		s.work.Broadcast()
		s.room.Wait()
	}
}

// flushLoop writes what is pending into the file whenever it is enough or old enough.
func (s *Store) flushLoop() {
	defer s.loops.Done()
	for {
		s.write.Lock()
		for !s.closing && !s.due {
			if p := s.pending.Load(); p.writes >= s.options.FlushWrites || p.bytes >= s.options.FlushBytes {
				break
			}
			s.work.Wait()
		}
		s.due = false
		closing := s.closing
		s.write.Unlock()
		if closing {
			return
		}
		if s.Flush() != nil {
			time.Sleep(flushRetry) // the disk is full or broken: Update reports it, and memory is bounded
		}
	}
}

const flushRetry = 100 * time.Millisecond

// tickLoop makes a flush due every FlushInterval, so that a restart has little to replay.
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

// Flush writes everything that was applied before the call into the file, in one transaction: the
// file always holds the state as of one Update. It may be called at any time, also while Update runs.
func (s *Store) Flush() error {
	s.flushing.Lock()
	defer s.flushing.Unlock()
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
	p := s.pending.Load()
	fresh := !p.flushes
	if fresh {
		if p.writes == 0 {
			s.write.Unlock()
			return true, nil
		}
		p = &pending{flushing: p.active, seq: p.seq, flushes: true}
		s.writing = layer{}
		s.pending.Store(p)
		s.room.Broadcast()
	}
	s.write.Unlock()

	err = s.updateFile(func(tx *fileTx) error { return tx.putLayer(&p.flushing) })
	s.write.Lock()
	defer s.write.Unlock()
	s.flushErr = err
	if err == nil {
		s.committed()
	}
	s.room.Broadcast()
	return fresh, err
}

// committed makes readers look into the file for what was flushed. Write is held.
func (s *Store) committed() {
	next := *s.pending.Load()
	next.flushing, next.flushes = layer{}, false
	next.seq = s.pool.advance()
	s.pending.Store(&next)
}

const yieldEvery = 32

// putLayer writes a layer in the order of its keys, which is the order of the pages.
func (t *fileTx) putLayer(l *layer) (err error) {
	for b, tree := range l {
		if tree == nil {
			continue
		}
		tree.Scan(func(e entry) bool {
			if e.deleted {
				err = t.delete(Bucket(b), e.key)
			} else {
				err = t.put(Bucket(b), e.key, e.value)
			}
			// A flush is work in the background: whoever waits for a processor goes first.
			if t.writes%yieldEvery == 0 {
				runtime.Gosched()
			}
			return err == nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
