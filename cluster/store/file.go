package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"

	"go.etcd.io/bbolt"
)

// recover opens the file as of its last checkpoint, or creates it.
func (s *Store) recover() error {
	marks, err := openMarks(marksPath(s.path), s.options.disk)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(s.path); !errors.Is(err, fs.ErrNotExist) {
			return errors.Join(ErrNoCheckpoint, err)
		}
		return s.found()
	case errors.Is(err, errMark):
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case err != nil:
		return err
	}
	s.marks = marks
	s.name.set(marks.last.file)
	runs, err := s.openRuns(marks.last)
	if err != nil {
		return errors.Join(err, marks.close())
	}
	// What a restore that was cut short left behind, or one that was not, is of no use.
	if err := s.options.disk.remove(s.filePath(s.otherName())); err != nil {
		return errors.Join(fmt.Errorf("removing the other file: %w", err), marks.close())
	}
	if err := s.openAt(marks.last, runs); err != nil {
		releaseRuns(runs)
		return errors.Join(err, marks.close())
	}
	s.pending.Store(&pending{runs: runs})
	return nil
}

// found creates the file, with an empty state as its first checkpoint.
func (s *Store) found() error {
	s.name.set(filepath.Base(s.path))
	if err := s.removeRuns(nil); err != nil {
		return err
	}
	if err := s.attach(s.path); err != nil {
		return err
	}
	if err := makeBuckets(s.db); err != nil {
		return errors.Join(err, s.db.Close())
	}
	first, tx, err := s.pinState()
	if err == nil {
		first.file = s.name.get()
		err = errors.Join(s.options.disk.sync(s.raw), s.options.disk.syncNames(filepath.Dir(s.path)))
		if err == nil {
			s.marks, err = createMarks(marksPath(s.path), s.options.disk, first, s.options.FileMode)
		}
	}
	if err != nil {
		if tx != nil {
			err = errors.Join(err, tx.Rollback())
		}
		return errors.Join(err, s.db.Close())
	}
	s.pins.set(tx, nil, nil)
	return nil
}

// openAt opens the file as of the checkpoint, whose runs are open: both meta pages are made those of the
// checkpoint.
func (s *Store) openAt(m *mark, runs []*runView) error {
	path := s.filePath(m.file)
	if err := rewind(path, m, s.options.disk); err != nil {
		return err
	}
	if err := s.attach(path); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return errors.Join(err, s.db.Close())
	}
	if uint64(tx.ID()) != m.txid() {
		return errors.Join(fmt.Errorf("%w: the file opens at transaction %d, not %d", ErrDamaged, tx.ID(), m.txid()), tx.Rollback(), s.db.Close())
	}
	s.pins.set(tx, runs, m.note)
	s.db.NoFreelistSync = true // but at checkpoints
	if err := makeBuckets(s.db); err != nil {
		s.pins.end()
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// rewind makes both meta pages of a closed file those of the checkpoint, where they are not. It need
// not be durable: as long as the mark is the last, the next start does it again.
func rewind(path string, m *mark, d disk) (err error) {
	f, err := d.open(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if uint64(info.Size()) < m.pages()*uint64(m.pageSize) {
		return fmt.Errorf("%w: the file has %d bytes and its checkpoint %d pages of %d", ErrDamaged, info.Size(), m.pages(), m.pageSize)
	}
	for number := range 2 {
		want, have := m.metaPage(number), make([]byte, metaBytes)
		at := int64(number) * int64(m.pageSize)
		if _, err := f.ReadAt(have, at); err != nil {
			return fmt.Errorf("reading a meta page: %w", err)
		}
		if string(have) != string(want) {
			if err := d.writeAt(f, want, at); err != nil {
				return fmt.Errorf("writing a meta page: %w", err)
			}
		}
	}
	return nil
}

// attach opens a bbolt file as s.db.
func (s *Store) attach(path string) (err error) {
	s.mapped, s.claimed = int64(s.options.InitialMmapBytes), 0
	if info, err := os.Stat(path); err == nil {
		s.mapped, s.claimed = max(s.mapped, 4*info.Size()), info.Size()
	}
	s.db, s.raw, err = openFile(path, s.options, s.mapped)
	return err
}

// pageBytes is the size of a page of a new file; others keep theirs. bbolt writes each page by a call of its own: a
// merge writes most pages of a file, and this many bytes at a time cost half of the processor time of 4 KiB.
const pageBytes = 16 << 10

// openFile opens a bbolt file. What it meets in a file that is damaged is an error.
func openFile(path string, options Options, mapped int64) (db *bbolt.DB, raw *os.File, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, problem)
		}
	}()
	db, err = bbolt.Open(path, options.FileMode, &bbolt.Options{
		Timeout: openTimeout, NoSync: true, NoGrowSync: true, NoStatistics: true,
		FreelistType: bbolt.FreelistMapType, InitialMmapSize: int(mapped), PageSize: pageBytes,
		OpenFile: func(path string, flag int, mode os.FileMode) (*os.File, error) {
			var err error
			raw, err = options.disk.open(path, flag, mode)
			return raw, err
		},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("opening %s: %w", filepath.Base(path), err)
	}
	options.disk.opened(db, raw)
	return db, raw, nil
}

// makeBuckets makes the buckets that are missing, if some are: a file that has all is not written.
func makeBuckets(db *bbolt.DB) error {
	missing := false
	err := db.View(func(tx *bbolt.Tx) error {
		for _, name := range bucketNames {
			missing = missing || tx.Bucket(name) == nil
		}
		return nil
	})
	if err != nil || !missing {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range bucketNames {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("making the buckets: %w", err)
	}
	return nil
}

// remap opens the file again with more address space, if it might outgrow what it has by so much. It is
// called between writes of the file, with filing held, while runs are merged.
func (s *Store) remap(more int64, merging []*runView) error {
	info, err := s.raw.Stat()
	if err != nil {
		return fmt.Errorf("sizing the store: %w", err)
	}
	if info.Size()+more <= s.mapped {
		return nil
	}
	// The checkpoint loses its pin while the file is closed; so it must be the present state.
	if err := s.checkpointFile(merging, false); err != nil {
		return err
	}
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.pins.wait()
	s.write.Lock()
	defer s.write.Unlock()
	s.pool.pause()
	runs := s.pins.runs()
	takeRuns(runs)
	s.pins.end()
	if err = s.db.Close(); err == nil {
		s.options.InitialMmapBytes = max(s.options.InitialMmapBytes, int(4*(info.Size()+more)))
		err = s.openAt(s.marks.newest(), runs)
	}
	releaseRuns(runs)
	if err != nil {
		s.db = nil
		s.fail(fmt.Errorf("opening the store again: %w", err))
	}
	next := *s.pending.Load()
	next.seq = s.pool.resume()
	s.pending.Store(&next)
	return err
}

// fail stops all writing, for good. Write is held.
func (s *Store) fail(err error) {
	if s.broken == nil {
		s.broken = err
	}
	s.tellProblem()
	for _, w := range s.wanted {
		w.done <- err
	}
	s.wanted = nil
	s.wakeWaiting()
}
