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
	_, err := s.updateFile(func(*fileTx) error { return nil })
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

// markOfRuns is the last mark with the runs of views instead of its own.
func (s *Store) markOfRuns(views []*runView) *mark {
	m := *s.marks.newest()
	m.runs = nil
	for _, v := range views {
		m.runs = append(m.runs, markRun{v.file.number, v.end})
	}
	return &m
}

// checkpoint makes what was flushed durable, in the background, for those who wait: the runs, that is. The
// bbolt file stays as it is in the checkpoint before. It is called between flushes, with flushing held,
// after pins.begin.
func (s *Store) checkpoint(for_ []*wanted) {
	views := s.pending.Load().runs
	m := s.markOfRuns(views)
	for _, w := range for_ {
		if w.note != nil {
			m.note = w.note
		}
	}
	s.sinceTime, s.sinceWrites = time.Now(), 0
	s.loops.Go(func() {
		release := takeTurn(s.options.Shared.syncing)
		err := s.syncRuns(views)
		if err == nil {
			err = s.marks.put(m)
		}
		release()
		if err != nil {
			// What a sync could not write may be gone from memory too: the file is good as of the
			// last checkpoint only, and must be opened again there.
			err = fmt.Errorf("making the state durable: %w", err)
			s.write.Lock()
			s.fail(err)
			s.write.Unlock()
		} else {
			s.pins.set(nil, views, m.note)
		}
		s.answer(for_, err)
	})
}

// syncRuns makes runs durable. A checkpoint is being made.
func (s *Store) syncRuns(views []*runView) error {
	for _, v := range views {
		if err := v.file.sync(v.end); err != nil {
			return err
		}
	}
	return nil
}

// checkpointFile makes the present state of the bbolt file durable, with the runs that are being merged into
// it, unless all of them are, and those of the last checkpoint that are newer. No write of the file runs.
func (s *Store) checkpointFile(merging []*runView, merged bool) (err error) {
	for !s.pins.begin() {
		s.pins.wait()
	}
	defer func() { s.answer(nil, err) }()
	m, tx, err := s.pinState()
	if err != nil {
		return fmt.Errorf("beginning a checkpoint: %w", err)
	}
	// If the last checkpoint has a newer file, it has all of those that are being merged too: so this is
	// the state as of one Update either way.
	runs := without(s.pins.runs(), merging)
	if !merged {
		runs = append(runs, merging...)
	}
	old := s.markOfRuns(runs)
	m.note, m.runs = old.note, old.runs
	release := takeTurn(s.options.Shared.syncing)
	err = s.options.disk.sync(s.raw)
	if err == nil {
		err = s.syncRuns(runs)
	}
	if err == nil {
		err = s.marks.put(m)
	}
	release()
	if err != nil {
		err = errors.Join(fmt.Errorf("making the state durable: %w", err), tx.Rollback()) // see checkpoint
		s.write.Lock()
		s.fail(err)
		s.write.Unlock()
		return err
	}
	if !merged {
		s.pins.set(tx, runs, m.note)
		return nil
	}
	s.dropRuns(merging)
	s.pins.set(tx, runs, m.note)
	for _, v := range merging {
		v.file.release()
		// One that stays is removed when the store is opened.
		_ = s.options.disk.remove(v.file.path)
	}
	return nil
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

// checkpointHere makes what was flushed durable before it returns. It is called between flushes, with
// flushing held.
func (s *Store) checkpointHere(note []byte) error {
	for !s.pins.begin() {
		s.pins.wait()
	}
	w := &wanted{note: note, done: make(chan error, 1)}
	s.checkpoint([]*wanted{w})
	return <-w.done
}

// checkpointNow makes durable what is pending, for Close.
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
