package store

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// wanted is a checkpoint somebody waits for.
type wanted struct {
	note []byte
	done chan error
}

// Checkpoint returns when a state that has every Update which returned before the call is durable, and
// note beside it: a start then needs a log only from there. It copies nothing. Checkpoints that the store
// makes by itself keep the note. A nil note keeps it too.
func (s *Store) Checkpoint(note []byte) error {
	w := &wanted{note: note, done: make(chan error, 1)}
	s.write.Lock()
	if s.closing || s.broken != nil {
		err := errors.Join(ErrClosed, s.broken)
		s.write.Unlock()
		return err
	}
	s.wanted = append(s.wanted, w)
	s.hurry.Add(1)
	s.work.Broadcast()
	s.write.Unlock()
	err := <-w.done
	s.hurry.Add(-1)
	return err
}

// Note is what the last checkpoint was given.
func (s *Store) Note() []byte { return s.marks.newest().note }

// takeWanted takes those who wait for a checkpoint. What they wait for is applied: a flush that begins
// afterwards writes it. Write is held.
func (s *Store) takeWanted() []*wanted {
	w := s.wanted
	s.wanted = nil
	return w
}

// pinState makes the present state of the file fit for a checkpoint and keeps it: with its free list,
// which other commits leave out, in the file, and with a read transaction at it. No write runs.
func (s *Store) pinState() (*mark, *bbolt.Tx, error) {
	s.db.NoFreelistSync = false
	err := s.updateFile(func(*fileTx) error { return nil })
	s.db.NoFreelistSync = true
	if err != nil {
		return nil, nil, err
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, nil, fmt.Errorf("pinning a checkpoint: %w", err)
	}
	m, err := s.markOf(tx)
	if err != nil {
		return nil, nil, errors.Join(err, tx.Rollback())
	}
	return m, tx, nil
}

// markOf reads the meta page of the state that tx sees, which must be the last that was committed.
func (s *Store) markOf(tx *bbolt.Tx) (*mark, error) {
	m := &mark{file: s.name.get(), pageSize: s.db.Info().PageSize}
	if _, err := s.raw.ReadAt(m.meta[:], int64(tx.ID()%2)*int64(m.pageSize)); err != nil {
		return nil, fmt.Errorf("reading the meta page of a checkpoint: %w", err)
	}
	if m.txid() != uint64(tx.ID()) {
		return nil, fmt.Errorf("the meta page of transaction %d holds %d", tx.ID(), m.txid())
	}
	return m, nil
}

// checkpoint makes the present state of the file durable, in the background, for those who wait. It is
// called between flushes, with flushing held, after pins.begin.
func (s *Store) checkpoint(for_ []*wanted) {
	note := s.marks.newest().note
	for _, w := range for_ {
		if w.note != nil {
			note = w.note
		}
	}
	s.sinceTime = time.Now()
	m, tx, err := s.pinState()
	if err != nil {
		s.answer(for_, fmt.Errorf("beginning a checkpoint: %w", err))
		return
	}
	m.note = note
	s.sinceWrites = 0
	raw := s.raw
	s.loops.Go(func() {
		release := takeTurn(s.options.Shared.syncing)
		err := s.options.disk.sync(raw)
		if err == nil {
			err = s.marks.put(m)
		}
		release()
		if err != nil {
			// What a sync could not write may be gone from memory too: the file is good as of the
			// last checkpoint only, and must be opened again there.
			err = errors.Join(fmt.Errorf("making the state durable: %w", err), tx.Rollback())
			s.write.Lock()
			s.fail(err)
			s.write.Unlock()
		} else {
			s.pins.set(tx, note)
		}
		s.answer(for_, err)
	})
}

// answer ends a checkpoint and tells those who wait.
func (s *Store) answer(for_ []*wanted, err error) {
	s.pins.finish(err)
	for _, w := range for_ {
		w.done <- err
	}
	s.write.Lock()
	s.work.Broadcast()
	s.write.Unlock()
}

// checkpointHere makes the present state of the file durable before it returns. It is called between
// flushes, with flushing held.
func (s *Store) checkpointHere(note []byte) error {
	for !s.pins.begin() {
		s.pins.wait()
	}
	w := &wanted{note: note, done: make(chan error, 1)}
	s.checkpoint([]*wanted{w})
	return <-w.done
}

// checkpointNow writes what is pending into the file and makes it durable, for Close.
func (s *Store) checkpointNow() error {
	s.pins.wait()
	if err := s.Flush(); err != nil {
		return err
	}
	s.flushing.Lock()
	defer s.flushing.Unlock()
	if s.sinceWrites == 0 {
		return s.broken
	}
	return s.checkpointHere(nil)
}
