package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
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
	bucketEnd
)

var bucketNames = [...][]byte{
	[]byte("meta"), []byte("subjects"), []byte("decisions"), []byte("history"), []byte("control"), []byte("catalogs"),
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
}

const openTimeout = time.Second

// Open opens or creates the file at path.
func Open(path string, options Options) (*Store, error) {
	options = options.Default()
	if err := options.Validate(); err != nil {
		return nil, fmt.Errorf("store options: %w", err)
	}
	s := &Store{path: path, options: options}
	s.pool.init()
	// What a restore that was cut short left behind is of no use.
	if err := os.Remove(s.restoringPath()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("clearing an unfinished restore: %w", err)
	}
	if err := s.open(); err != nil {
		return nil, err
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

// Update runs fn in the write transaction and commits it, unless fn returns an error. Readers
// acquired after Update returned see its writes. Values handed to Tx.Put must not change before
// Update returns.
func (s *Store) Update(fn func(*Tx) error) error {
	if s.db == nil {
		return ErrClosed
	}
	raw, err := s.db.Begin(true)
	if err != nil {
		return fmt.Errorf("beginning a write: %w", err)
	}
	tx := Tx{raw: raw}
	if err := fn(&tx); err != nil {
		return errors.Join(err, raw.Rollback())
	}
	// If the file outgrows the map, bbolt waits for every open read transaction before it maps more.
	// Those of idle readers would never end.
	if raw.Size()+tx.mayAdd() > s.mapped {
		s.pool.keepNone()
		defer s.pool.keepAgain()
	}
	if err := raw.Commit(); err != nil {
		return fmt.Errorf("committing: %w", err)
	}
	s.pool.advance()
	return nil
}

// Sync makes everything committed so far durable.
func (s *Store) Sync() error {
	if s.db == nil {
		return ErrClosed
	}
	if err := s.db.Sync(); err != nil {
		return fmt.Errorf("syncing the store: %w", err)
	}
	return nil
}

// Close waits for all readers, makes the file durable and closes it. Update must not run.
func (s *Store) Close() error {
	if !s.pool.close() {
		return nil
	}
	syncErr := s.Sync()
	err := s.db.Close()
	s.db = nil
	return errors.Join(syncErr, err)
}

// Tx is the write transaction. It is valid within the function Update was given.
type Tx struct {
	raw     *bbolt.Tx
	buckets [bucketEnd]*bbolt.Bucket
	writes  int64
	bytes   int64
}

// maxPagesPerWrite is more than the pages one write can copy: a path through the tree, the
// neighbours of the value, and its part of the free list.
const maxPagesPerWrite = 64

// mayAdd is more than the file can grow by the transaction.
func (t *Tx) mayAdd() int64 {
	return 4*t.bytes + (t.writes+1)*maxPagesPerWrite*int64(t.raw.DB().Info().PageSize)
}

// Sequential keys, such as decision ids, fill pages from the left: leave little room in them.
const sequentialFill = 0.9

func (t *Tx) bucket(b Bucket) *bbolt.Bucket {
	if t.buckets[b] == nil {
		t.buckets[b] = t.raw.Bucket(bucketNames[b])
		if b == Decisions {
			t.buckets[b].FillPercent = sequentialFill
		}
	}
	return t.buckets[b]
}

// Get returns the value of key, or nil. The value stays valid until the transaction ends.
func (t *Tx) Get(b Bucket, key []byte) []byte { return t.bucket(b).Get(key) }

// Put sets the value of key. The key may be reused at once, the value only after the transaction.
func (t *Tx) Put(b Bucket, key, value []byte) error {
	t.writes++
	t.bytes += int64(len(key) + len(value))
	if err := t.bucket(b).Put(key, value); err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	return nil
}

// Delete removes key; it is no error if there is none.
func (t *Tx) Delete(b Bucket, key []byte) error {
	t.writes++
	if err := t.bucket(b).Delete(key); err != nil {
		return fmt.Errorf("deleting a key: %w", err)
	}
	return nil
}

// Scan calls fn for every key with the prefix, ascending, until fn returns false. fn must not write.
func (t *Tx) Scan(b Bucket, prefix []byte, fn func(key, value []byte) bool) {
	scan(t.bucket(b).Cursor(), prefix, fn)
}
