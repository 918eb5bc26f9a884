package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/arbiterhq/arbiter/runtime/nba"
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
	Contacts
	Events
	Seen
	Windows
	Triggers
	Outbox
	Journeys
	Letters
	Campaigns
	Segments
	bucketEnd
)

var bucketNames = [...][]byte{
	[]byte("meta"), []byte("subjects"), []byte("decisions"), []byte("history"), []byte("control"), []byte("catalogs"),
	[]byte("idempotency"), []byte("due"), []byte("contacts"),
	[]byte("events"), []byte("seen"), []byte("windows"), []byte("triggers"), []byte("outbox"), []byte("journeys"), []byte("letters"),
	[]byte("campaigns"), []byte("segments"),
}

// ErrClosed is returned by every call after Close.
var ErrClosed = errors.New("store is closed")

// Options tune a Store.
type Options struct {
	// InitialMmapBytes reserves address space, not memory. A file that outgrows it is opened anew, which
	// waits for the readers that are out.
	InitialMmapBytes int
	// MaxIdleReaders bounds the readers kept for reuse.
	MaxIdleReaders int
	// What was applied gathers in memory. It is written into a run, sorted, when FlushWrites writes or
	// FlushBytes bytes have gathered or FlushInterval has passed. Twice as much makes Update wait.
	FlushWrites, FlushBytes int
	FlushInterval           time.Duration
	// Runs are merged into the bbolt file when they have grown to their part of what the stores of a node
	// share, or after a time without writes. The part can be bounded further.
	RunBytes   int64
	MergeAfter time.Duration
	// What was flushed is made durable, so that a start needs no older log, when this time has passed
	// since the last time or so many writes were flushed.
	CheckpointInterval time.Duration
	CheckpointWrites   int
	// StreamGrowth is how far the file may grow while a snapshot is streamed, if that is more than half of
	// its size; the stream then ends with ErrStreamTooLong.
	StreamGrowth int64
	// Shared bounds what the stores of one node take together. Default makes one, which all stores opened
	// with the same options then share.
	Shared *Shared
	// Space watches the disk. nil: only what writing meets tells.
	Space *Space
	// FileMode is that of new files.
	FileMode os.FileMode

	disk   disk  // tests put another in its place
	growth int64 // after which a merge makes the file durable
}

// Default fills in what is zero.
func (o Options) Default() Options {
	if o.InitialMmapBytes == 0 {
		o.InitialMmapBytes = 64 << 30
	}
	if o.MaxIdleReaders == 0 {
		o.MaxIdleReaders = 16 * runtime.GOMAXPROCS(0)
	}
	if o.FlushWrites == 0 {
		o.FlushWrites = 4 << 10
	}
	if o.FlushBytes == 0 {
		o.FlushBytes = 4 << 20
	}
	if o.FlushInterval == 0 {
		o.FlushInterval = time.Second
	}
	if o.RunBytes == 0 {
		o.RunBytes = mostRunBytes
	}
	if o.MergeAfter == 0 {
		o.MergeAfter = 10 * time.Second
	}
	if o.CheckpointInterval == 0 {
		o.CheckpointInterval = 2 * time.Second
	}
	if o.CheckpointWrites == 0 {
		o.CheckpointWrites = 64 << 10
	}
	if o.StreamGrowth == 0 {
		o.StreamGrowth = 1 << 30
	}
	if o.Shared == nil {
		o.Shared = NewShared(0)
	}
	if o.FileMode == 0 {
		o.FileMode = 0o600
	}
	if o.disk == nil {
		o.disk = realDisk{}
	}
	if o.growth == 0 {
		o.growth = leastGrowth
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
	if o.RunBytes < 1 || o.RunBytes > maxRunFile/2 || o.MergeAfter <= 0 {
		problems = append(problems, errors.New("RunBytes must be positive and at most 8 GiB, MergeAfter positive"))
	}
	if o.CheckpointWrites < 1 || o.CheckpointInterval <= 0 {
		problems = append(problems, errors.New("CheckpointWrites and CheckpointInterval must be positive"))
	}
	if o.StreamGrowth < 1 {
		problems = append(problems, errors.New("StreamGrowth must be positive"))
	}
	return errors.Join(problems...)
}

// Store is the state of one group. Update is called by one goroutine at a time; all else is safe for
// concurrent use.
type Store struct {
	path    string // as Open was given it; the file may have the name of its other one, see marks.go
	options Options
	db      *bbolt.DB // replaced by Restore and remap, which wait for all readers first
	raw     *os.File  // of db
	name    name      // of the file in its folder
	mapped  int64     // address space reserved for db
	claimed int64     // disk space claimed for the file
	pool    pool
	marks   *marks
	pins    pins
	oldRuns oldRuns
	// receiving is true while an Incoming is being made.
	receiving atomic.Bool

	// filing is held while the bbolt file is written or replaced, flushing while runs are written or
	// replaced, write while anything below changes, and for the length of an Update. They are taken in
	// this order, pins.begin between the first two or after flushing.
	filing      sync.Mutex
	flushing    sync.Mutex
	write       sync.Mutex
	pending     atomic.Pointer[pending]
	writing     layer     // what Update works on; pending.active is its last snapshot
	sieve       *sieve    // of writing; nil if that is empty
	work        sync.Cond // there may be something to flush
	room        sync.Cond // a flush or a merge ended
	ripe        sync.Cond // there may be something to merge
	due         bool      // a flush is due by time
	rotated     time.Time // when the last flush began
	closing     bool
	interrupted bool
	flushErr    error                 // of the last flush
	mergeErr    error                 // of the last merge
	flushedAt   time.Time             // when the last flush ended
	problem     atomic.Pointer[error] // flushErr, mergeErr or broken, for those who do not hold write
	broken      error                 // the file cannot be written any more until it is opened again
	wanted      []*wanted
	quit        chan struct{}
	loops       sync.WaitGroup
	hurry       atomic.Int32 // somebody waits: do not pace a merge
	replacing   atomic.Int32 // somebody waits for a merge to be given up
	perWrite    atomic.Int64 // nanoseconds a flush takes for a write
	perMerge    atomic.Int64 // nanoseconds a merge takes for a write, not paced
	stopping    atomic.Bool  // closing, interrupted or broken
	// Of the goroutine that updates.
	updated, slowed int64         // writes in all, and when SlowDown looked last
	debt            time.Duration // that it is to wait
	// Of the goroutine that holds flushing.
	items       []item
	target      *runFile  // that the next run goes into; nil: a new one
	number      uint64    // of the last run file
	sinceWrites int       // writes flushed since the last checkpoint
	sinceTime   time.Time // of the last checkpoint
	// Of the goroutine that holds filing.
	slice int     // writes of one transaction
	fill  float64 // of pages that are split
}

// name is the name of a file, which a restore changes.
type name struct{ value atomic.Pointer[string] }

func (n *name) get() string     { return *n.value.Load() }
func (n *name) set(name string) { n.value.Store(&name) }

const openTimeout = time.Second

// Open opens the store at path as of its last checkpoint, or creates it. A file that has no checkpoint
// is ErrNoCheckpoint, one whose checkpoint cannot be used ErrDamaged.
func Open(path string, options Options) (*Store, error) {
	options = options.Default()
	if err := options.Validate(); err != nil {
		return nil, fmt.Errorf("store options: %w", err)
	}
	s := &Store{path: path, options: options, quit: make(chan struct{}), slice: firstSlice, rotated: time.Now()}
	s.work.L, s.room.L, s.ripe.L = &s.write, &s.write, &s.write
	s.pending.Store(&pending{})
	s.pool.init()
	s.pins.init()
	s.flushedAt = time.Now()
	// The stores of a node are not made durable at the same moment.
	s.sinceTime = time.Now().Add(-rand.N(options.CheckpointInterval))
	if err := s.recover(); err != nil {
		s.oldRuns.close()
		return nil, fmt.Errorf("opening the store %s: %w", filepath.Base(path), err)
	}
	s.options.Shared.stores.Add(1)
	s.loops.Add(3)
	go s.flushLoop()
	go s.mergeLoop()
	go s.tickLoop()
	return s, nil
}

// filePath is the path of a file by its name.
func (s *Store) filePath(name string) string { return filepath.Join(filepath.Dir(s.path), name) }

// otherName is the name a file that replaces the present one gets.
func (s *Store) otherName() string {
	first := filepath.Base(s.path)
	if s.name.get() == first {
		return strings.TrimSuffix(first, filepath.Ext(first)) + "-2" + filepath.Ext(first)
	}
	return first
}

// Size is the length of the files in bytes.
func (s *Store) Size() (int64, error) {
	size, err := s.fileSize()
	return size + s.RunBytes(), err
}

// RunBytes is the length of the run files in bytes.
func (s *Store) RunBytes() int64 { return runBytes(s.pending.Load().runs) }

// fileSize is the length of the bbolt file.
func (s *Store) fileSize() (int64, error) {
	info, err := os.Stat(s.filePath(s.name.get()))
	if err != nil {
		return 0, fmt.Errorf("sizing the store: %w", err)
	}
	return info.Size(), nil
}

// Update runs fn and makes its writes visible together, unless fn returns an error. Readers acquired
// after Update returned see them. They are in memory and come into the file later, and whoever must not
// lose them keeps a log from the last checkpoint. Values handed to Tx.Put must not change before Update
// returns. While the disk is full, Update waits once its bound of memory is reached.
func (s *Store) Update(fn func(*Tx) error) error { return s.applyPending(fn) }

// Writable is nil while the store can take writes, and otherwise an *nba.Error with CodeUnavailable that
// tells what to do. Update does not refuse: what was agreed on must be applied. So ask before.
func (s *Store) Writable() error {
	if err := s.options.Space.Writable(); err != nil {
		return err
	}
	switch problem := s.problem.Load(); {
	case problem == nil:
		return nil
	case Full(*problem):
		return nba.Errorf(nba.CodeUnavailable, "the disk of the data folder is full: writes are refused; free space or enlarge the disk, reads go on")
	default:
		return nba.Errorf(nba.CodeUnavailable, "the state cannot be written: see the log of the node, repair the disk and restart the node if this stays (%w)", *problem)
	}
}

// Interrupt makes an Update return an error instead of waiting for a disk that cannot be written. It is
// for closing what calls Update.
func (s *Store) Interrupt() {
	s.write.Lock()
	s.interrupted = true
	s.wakeWaiting()
	s.write.Unlock()
}

// wakeWaiting wakes an Update that waits for room. Write is held.
func (s *Store) wakeWaiting() {
	s.stopping.Store(true)
	s.room.Broadcast()
	s.ripe.Broadcast()
	s.options.Shared.wake()
}

// Close waits for all readers, makes everything durable and closes the file. Update must not run. If
// that fails, the file is as of an earlier checkpoint.
func (s *Store) Close() error {
	s.write.Lock()
	again := s.closing
	s.closing = true
	s.work.Broadcast()
	s.wakeWaiting()
	s.write.Unlock()
	if again {
		return nil
	}
	s.hurry.Add(1)
	s.replacing.Add(1)
	close(s.quit)
	s.loops.Wait()
	s.write.Lock()
	for _, w := range s.takeWanted() {
		w.done <- ErrClosed
	}
	s.write.Unlock()
	err := s.checkpointNow()
	s.pool.close()
	s.flushing.Lock()
	defer s.flushing.Unlock()
	s.pins.end()
	s.loops.Wait()
	if s.db != nil {
		err = errors.Join(err, s.db.Close())
	}
	err = errors.Join(err, s.marks.close())
	s.db = nil
	releaseRuns(s.pending.Load().runs)
	s.dropTarget(s.pending.Load().runs)
	s.options.Shared.add(-s.pending.Load().cost())
	s.options.Shared.stores.Add(-1)
	s.oldRuns.close()
	return err
}
