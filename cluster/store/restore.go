package store

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// Stream is a snapshot as a stream of a length that is known before: the snapshot, then zeros. Reading
// takes as long as the pages of the file do; nothing is copied. Close ends the snapshot.
type Stream struct {
	*io.PipeReader
	size int64
	done chan struct{}
}

// Stream streams the snapshot, which it takes over.
func (s *Snapshot) Stream() *Stream {
	from, to := io.Pipe()
	// A key and its value take less in the stream than in the file.
	stream := &Stream{PipeReader: from, size: s.size + snapshotBuffer, done: make(chan struct{})}
	sent := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.store.watchGrowth(s.size+max(s.size/2, s.store.options.StreamGrowth), to, sent)
	}()
	go func() {
		defer close(stream.done)
		defer s.Release()
		defer func() {
			close(sent)
			<-watched
		}()
		n, err := s.WriteTo(to)
		if err == nil && n > stream.size {
			err = fmt.Errorf("a snapshot of %d bytes is longer than %d", n, stream.size)
		}
		zeros := make([]byte, snapshotBuffer)
		for err == nil && n < stream.size {
			var wrote int
			wrote, err = to.Write(zeros[:min(int64(len(zeros)), stream.size-n)])
			n += int64(wrote)
		}
		to.CloseWithError(err) // nil is the end of the stream
	}()
	return stream
}

// ErrStreamTooLong ends a stream whose snapshot has made the file grow too far. Another may be begun.
var ErrStreamTooLong = errors.New("the file of the state has grown too far while it was sent")

const watchInterval = 250 * time.Millisecond

// watchGrowth ends a stream when the file is larger than most: bbolt does not use pages again that were
// added to the file since the oldest state that is read, so the file grows by all that is written.
func (s *Store) watchGrowth(most int64, to *io.PipeWriter, sent <-chan struct{}) {
	ticker := time.NewTicker(watchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-sent:
			return
		case <-ticker.C:
			if size, err := s.fileSize(); err == nil && size > most {
				to.CloseWithError(ErrStreamTooLong)
				return
			}
		}
	}
}

// Size is the length of the stream.
func (s *Stream) Size() int64 { return s.size }

// Close ends the stream, and the snapshot with it.
func (s *Stream) Close() error {
	err := s.PipeReader.Close()
	<-s.done
	return err
}

// Incoming is a state that is made from the stream of a snapshot, in a file of its own beside the present
// one: memory does not grow with it. Write, then Close, then hand it to Store.Restore, or Abort.
type Incoming struct {
	store *Store
	name  string
	note  []byte
	to    *io.PipeWriter
	done  chan error
	built mark
	ended bool
	whole bool
}

var errAborted = errors.New("the restore was given up")

// Receive begins to make a state. note is that of its first checkpoint. One at a time.
func (s *Store) Receive(note []byte) (*Incoming, error) {
	if !s.receiving.CompareAndSwap(false, true) {
		return nil, errors.New("a restore is under way")
	}
	name := s.otherName()
	path := s.filePath(name)
	if err := s.options.disk.remove(path); err != nil {
		s.receiving.Store(false)
		return nil, fmt.Errorf("clearing an unfinished restore: %w", err)
	}
	from, to := io.Pipe()
	in := &Incoming{store: s, name: name, note: note, to: to, done: make(chan error, 1)}
	go func() {
		built, err := buildFile(path, s.options, from)
		if err == nil {
			in.built = *built
		}
		from.CloseWithError(err) // a Write that waits gets it
		in.done <- err
	}()
	return in, nil
}

// Write implements io.Writer.
func (in *Incoming) Write(b []byte) (int, error) { return in.to.Write(b) }

// Close returns when the state is whole and durable in its file, or with what is wrong with it.
func (in *Incoming) Close() error {
	if in.ended {
		return nil
	}
	err := in.end(nil)
	if err != nil {
		return errors.Join(err, in.discard())
	}
	in.whole = true
	return nil
}

// Abort gives the state up, unless Restore has taken it.
func (in *Incoming) Abort() error {
	if !in.ended {
		_ = in.end(errAborted) // it is that error
	}
	return in.discard()
}

func (in *Incoming) end(err error) error {
	in.ended = true
	in.to.CloseWithError(err) // nil is the end of the stream
	return <-in.done
}

func (in *Incoming) discard() error {
	if in.store == nil {
		return nil
	}
	s := in.store
	in.store, in.whole = nil, false
	err := s.options.disk.remove(s.filePath(in.name))
	s.receiving.Store(false)
	return err
}

// Restore replaces the whole state by that of a snapshot stream, or of an Incoming that was closed,
// without copying it. The new file is complete and durable before it takes the place of the old one, so
// a Restore that fails or is cut short changes nothing. It waits for all readers; Update must not run.
func (s *Store) Restore(from io.Reader) error {
	if in, ok := from.(*Incoming); ok {
		return s.restore(in)
	}
	in, err := s.Receive(s.Note())
	if err != nil {
		return err
	}
	if _, err := io.Copy(in, from); err != nil {
		// If the stream is not a snapshot, the error is what reading it met.
		return errors.Join(err, in.Abort())
	}
	if err := in.Close(); err != nil {
		return err
	}
	return s.restore(in)
}

// Read implements io.Reader for Store.Restore, which does not read it.
func (in *Incoming) Read([]byte) (int, error) { return 0, io.EOF }

// restore puts the file of in the place of the present one. The mark decides which of both is the state.
func (s *Store) restore(in *Incoming) error {
	if !in.whole || in.store != s {
		return errors.New("a state that is not whole cannot be restored")
	}
	s.hurry.Add(1)
	defer s.hurry.Add(-1)
	s.replacing.Add(1) // a merge ends at once
	defer s.replacing.Add(-1)
	s.filing.Lock()
	defer s.filing.Unlock()
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.pins.wait()
	s.write.Lock()
	defer s.write.Unlock()
	s.pool.pause()
	old, runs := s.name.get(), s.pending.Load().runs
	err := s.exchange(in)
	s.options.Shared.add(-s.pending.Load().cost())
	s.writing, s.sieve = layer{}, nil
	s.pending.Store(&pending{seq: s.pool.resume()})
	s.flushErr, s.mergeErr, s.sinceWrites = nil, nil, 0
	s.dropTarget(runs)
	s.tellProblem()
	s.room.Broadcast()
	in.store = nil
	s.receiving.Store(false)
	if err != nil {
		s.fail(err) // which file is the state is for the next start to tell
		return err
	}
	err = s.options.disk.remove(s.filePath(old))
	for _, v := range runs {
		v.file.release()
		err = errors.Join(err, s.options.disk.remove(v.file.path))
	}
	return err
}

func (s *Store) exchange(in *Incoming) error {
	if s.db == nil {
		return errNotOpen
	}
	s.pins.end()
	db := s.db
	s.db = nil
	if err := db.Close(); err != nil {
		return fmt.Errorf("closing the replaced store: %w", err)
	}
	next := in.built
	next.file, next.note = in.name, in.note
	if err := s.marks.put(&next); err != nil {
		return fmt.Errorf("replacing the store: %w", err)
	}
	s.name.set(in.name)
	if err := s.openAt(&next, nil); err != nil {
		s.db = nil
		return fmt.Errorf("opening the restored store: %w", err)
	}
	return nil
}

// buildFile makes a file of the stream, durable, and tells the mark of its state.
func buildFile(path string, options Options, from io.Reader) (built *mark, err error) {
	// A store that is only open to be filled: nobody reads it and nothing is pinned.
	s := &Store{options: options}
	s.name.set(filepath.Base(path))
	if err := s.attach(path); err != nil {
		return nil, err
	}
	defer func() {
		if s.db != nil {
			err = errors.Join(err, s.db.Close())
		}
		if err != nil {
			err = fmt.Errorf("restoring a snapshot: %w", err)
		}
	}()
	if err := makeBuckets(s.db); err != nil {
		return nil, err
	}
	in := &snapshotReader{from: bufio.NewReaderSize(from, snapshotBuffer), sum: crc32.New(crc32.MakeTable(crc32.Castagnoli))}
	err = in.magic()
	for done := false; err == nil && !done; {
		err = s.db.Update(func(tx *bbolt.Tx) (err error) {
			done, err = in.batch(tx)
			return err
		})
		options.disk.startWriting(s.raw)
	}
	if err != nil {
		return nil, err
	}
	built, tx, err := s.pinState()
	if err != nil {
		return nil, err
	}
	return built, errors.Join(tx.Rollback(), options.disk.sync(s.raw), options.disk.syncNames(filepath.Dir(path)))
}
