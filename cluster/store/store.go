package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
)

// Bucket is one ordered key space of a Store.
type Bucket uint8

// The buckets. The numbers are part of the snapshot format: append only.
const (
	Meta Bucket = iota
	Subjects
	Decisions
	History
	Control
	Catalogs
	Idempotency
	Due
	bucketEnd
)

var bucketNames = [...][]byte{
	[]byte("meta"), []byte("subjects"), []byte("decisions"), []byte("history"), []byte("control"), []byte("catalogs"),
	[]byte("idempotency"), []byte("due"),
}

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("store is closed")

// Options tune a Store.
type Options struct {
	// Sync makes every commit durable by itself.
	Sync bool
	// InitialMmapBytes reserves address space, not memory. Commits that might need more wait for the
	// readers that are out.
	InitialMmapBytes int
	// MaxIdleReaders bounds the readers kept for reuse.
	MaxIdleReaders int
	// A store that does not sync keeps what was applied in memory and writes it into the file in
	// sorted batches, when FlushWrites writes or FlushBytes bytes have gathered or FlushInterval has
	// passed. Twice as much makes Update wait.
	FlushWrites, FlushBytes int
	FlushInterval           time.Duration
	// FileMode is that of new files.
	FileMode os.FileMode
}

// Default fills in what is zero.
func (o Options) Default() Options {
	if o.InitialMmapBytes == 0 {
		o.InitialMmapBytes = 8 << 30
	}
	if o.MaxIdleReaders == 0 {
		o.MaxIdleReaders = 16 * runtime.GOMAXPROCS(0)
	}
	if o.FlushWrites == 0 {
		o.FlushWrites = 4 << 10
	}
	if o.FlushBytes == 0 {
		o.FlushBytes = 16 << 20
	}
	if o.FlushInterval == 0 {
		o.FlushInterval = time.Second
	}
	if o.FileMode == 0 {
		o.FileMode = 0o600
	}
	return o
}

// Validate reports every setting that cannot work. Call it on what Default returned.
func (o Options) Validate() error {
	var problems []error
	if o.InitialMmapBytes < 1<<20 {
		problems = append(problems, fmt.Errorf("initial mmap of %d bytes: at least 1 MiB", o.InitialMmapBytes))
	}
	if o.MaxIdleReaders < 1 {
		problems = append(problems, fmt.Errorf("%d idle readers: at least 1", o.MaxIdleReaders))
	}
	if o.FlushWrites < 1 || o.FlushBytes < 1 || o.FlushInterval <= 0 {
		problems = append(problems, errors.New("FlushWrites, FlushBytes and FlushInterval must be positive"))
	}
	return errors.Join(problems...)
}

// Store is the state of one group. Update is called by one goroutine at a time; all else is safe for
// concurrent use.
type Store struct {
	path    string
	options Options
	db      *bbolt.DB // replaced by Restore, which waits for all readers first
	mapped  int64     // address space reserved for db
	pool    pool

	// flushing is held while the file is written or replaced; write may be taken while it is held.
	// write is held while anything below changes, and for the length of an Update.
	flushing sync.Mutex
	write    sync.Mutex
	pending  atomic.Pointer[pending]
	writing  layer     // what Update works on; pending.active is its last snapshot
	work     sync.Cond // there may be something to flush
	room     sync.Cond // a flush ended
	due      bool      // a flush is due by time
	closing  bool
	flushErr error // of the last flush
	quit     chan struct{}
	loops    sync.WaitGroup
}

const openTimeout = time.Second

// Open opens or creates the file at path.
func Open(path string, options Options) (*Store, error) {
	options = options.Default()
	if err := options.Validate(); err != nil {
		return nil, fmt.Errorf("store options: %w", err)
	}
	s := &Store{path: path, options: options, quit: make(chan struct{})}
	s.work.L, s.room.L = &s.write, &s.write
	s.pending.Store(&pending{})
	s.pool.init()
	// What a restore that was cut short left behind is of no use.
	if err := os.Remove(s.restoringPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("clearing an unfinished restore: %w", err)
	}
	if err := s.open(); err != nil {
		return nil, err
	}
	if !options.Sync {
		s.loops.Add(2)
		go s.flushLoop()
		go s.tickLoop()
	}
	return s, nil
}

func (s *Store) restoringPath() string { return s.path + ".restoring" }

func (s *Store) open() error {
	mapped := int64(s.options.InitialMmapBytes)
	if info, err := os.Stat(s.path); err == nil {
		mapped = max(mapped, 4*info.Size())
	}
	db, err := openFile(s.path, s.options, mapped)
	if err != nil {
		return err
	}
	s.db, s.mapped = db, mapped
	return nil
}

func openFile(path string, options Options, mapped int64) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, options.FileMode, &bbolt.Options{
		Timeout: openTimeout, NoSync: !options.Sync, NoGrowSync: !options.Sync,
		FreelistType: bbolt.FreelistMapType, InitialMmapSize: int(mapped),
	})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", filepath.Base(path), err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range bucketNames {
			if tx.Bucket(name) != nil {
				continue
			}
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("preparing %s: %w", filepath.Base(path), err), db.Close())
	}
	return db, nil
}

// Size is the length of the file in bytes.
func (s *Store) Size() (int64, error) {
	info, err := os.Stat(s.path)
	if err != nil {
		return 0, fmt.Errorf("sizing the store: %w", err)
	}
	return info.Size(), nil
}

// Update runs fn and makes its writes visible together, unless fn returns an error. Readers acquired
// after Update returned see them. With Options.Sync they are then durable; without, they are in
// memory and come into the file later, and whoever must not lose them keeps a log. Values handed to
// Tx.Put must not change before Update returns.
func (s *Store) Update(fn func(*Tx) error) error {
	if !s.options.Sync {
		return s.applyPending(fn)
	}
	if s.db == nil {
		return ErrClosed
	}
	if err := s.applyDirect(fn); err != nil {
		return err
	}
	s.write.Lock()
	defer s.write.Unlock()
	s.committed()
	return nil
}

// Close waits for all readers, writes what is pending into the file, makes it durable and closes it.
// Update must not run.
func (s *Store) Close() error {
	s.write.Lock()
	again := s.closing
	s.closing = true
	s.work.Broadcast()
	s.room.Broadcast()
	s.write.Unlock()
	if again {
		return nil
	}
	close(s.quit)
	s.loops.Wait()
	flushErr := s.Flush()
	s.pool.close()
	s.flushing.Lock()
	defer s.flushing.Unlock()
	err := errors.Join(flushErr, s.db.Sync(), s.db.Close())
	s.db = nil
	return err
}
