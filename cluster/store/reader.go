package store

import (
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"
)

// Reader sees the store as of one Update. It is used by one goroutine, until Release. What it
// returns is valid until then and must not be changed.
type Reader struct {
	store   *Store
	pending *pending
	tx      *bbolt.Tx
	runs    []*runView // whose files are taken while tx is open
	seq     uint64
	cursors [bucketEnd]*bbolt.Cursor
	probe   entry
	// Key is room for the caller to build keys in, kept with the reader.
	Key []byte
}

// Acquire hands out a reader that sees every Update that returned before the call. The caller must
// release it soon: while a reader is open, the pages it sees cannot be reused.
func (s *Store) Acquire() (*Reader, error) {
	r, err := s.pool.take()
	if err != nil {
		return nil, err
	}
	if r == nil {
		r = &Reader{store: s}
	}
	for {
		p := s.pending.Load()
		if r.tx == nil || r.seq != p.seq {
			r.end()
			if !takeRuns(p.runs) {
				continue // they were merged since p was the newest
			}
			r.seq, r.runs = p.seq, p.runs
			if r.tx, err = s.beginRead(); err != nil {
				s.pool.give(r, s.options.MaxIdleReaders)
				return nil, fmt.Errorf("beginning a read: %w", err)
			}
			// If a merge was published meanwhile, the transaction may be newer than p: look again.
			if s.pending.Load().seq != p.seq {
				continue
			}
		}
		r.pending = p
		return r, nil
	}
}

func (s *Store) beginRead() (*bbolt.Tx, error) {
	if s.db == nil {
		return nil, errNotOpen
	}
	return s.db.Begin(false)
}

// errNotOpen is given after a file could not be opened again.
var errNotOpen = errors.New("the file of the store is not open")

// Release gives the reader back. It must not be used afterwards.
func (r *Reader) Release() {
	r.pending = nil
	r.store.pool.give(r, r.store.options.MaxIdleReaders)
}

// Get returns the value of key, or nil.
func (r *Reader) Get(b Bucket, key []byte) []byte {
	s := r.sight()
	return s.get(b, key)
}

// Scan calls fn for every key with the prefix, ascending, until fn returns false.
func (r *Reader) Scan(b Bucket, prefix []byte, fn func(key, value []byte) bool) {
	s := r.sight()
	s.scan(b, prefix, fn)
}

// ScanBetween calls fn for every key from one on and below another, ascending, until fn returns false.
// It costs what lies between, however much is pending elsewhere.
func (r *Reader) ScanBetween(b Bucket, from, below []byte, fn func(key, value []byte) bool) {
	s := r.sight()
	s.scanBetween(b, from, below, fn)
}

// Buckets is the number of buckets: they are numbered from 0.
const Buckets = int(bucketEnd)

// ScanBack calls fn for every key with the prefix that is not above from, descending, until fn
// returns false. An empty from begins at the last key with the prefix.
func (r *Reader) ScanBack(b Bucket, prefix, from []byte, fn func(key, value []byte) bool) {
	s := r.sight()
	s.scanBack(b, prefix, from, fn)
}

func (r *Reader) sight() sight {
	return sight{newest: &r.pending.active, older: &r.pending.flushing, sieves: r.pending.sieves, runs: r.pending.runs,
		seed: r.store.options.Shared.seed, file: r, probe: &r.probe}
}

func (r *Reader) cursor(b Bucket) *bbolt.Cursor {
	if r.cursors[b] == nil {
		r.cursors[b] = r.tx.Bucket(bucketNames[b]).Cursor()
	}
	return r.cursors[b]
}

// end closes the transaction of a reader that nobody uses.
func (r *Reader) end() {
	if r.tx != nil {
		_ = r.tx.Rollback() // it fails only for a transaction that is closed already
		r.tx, r.cursors = nil, [bucketEnd]*bbolt.Cursor{}
	}
	releaseRuns(r.runs)
	r.runs = nil
}

// pool keeps readers, with their open transactions, between reads. A transaction is kept only while
// it is the newest state: a flush closes the idle ones, and those in use when they come back.
type pool struct {
	mu       sync.Mutex
	returned sync.Cond // out fell, or paused ended
	idle     []*Reader
	out      int
	seq      uint64 // counts flushes and merges
	paused   bool   // nobody may take: the file is being replaced
	closed   bool
}

func (p *pool) init() { p.returned.L = &p.mu }

func (p *pool) take() (r *Reader, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.paused && !p.closed {
		p.returned.Wait()
	}
	if p.closed {
		return nil, ErrClosed
	}
	if n := len(p.idle); n > 0 {
		r, p.idle = p.idle[n-1], p.idle[:n-1]
	}
	p.out++
	return r, nil
}

func (p *pool) give(r *Reader, maxIdle int) {
	p.mu.Lock()
	if r.seq != p.seq || p.paused || p.closed {
		p.mu.Unlock()
		r.end()
		p.mu.Lock()
	}
	p.out--
	keep := len(p.idle) < maxIdle
	if keep {
		p.idle = append(p.idle, r)
	}
	if p.paused || p.closed {
		p.returned.Broadcast()
	}
	p.mu.Unlock()
	if !keep {
		r.end()
	}
}

// advance is called after runs changed; it returns how often they did.
func (p *pool) advance() (seq uint64) {
	p.mu.Lock()
	p.seq++
	seq = p.seq
	p.mu.Unlock()
	p.closeIdle()
	return seq
}

func (p *pool) closeIdle() {
	var buffer [64]Reader
	open := buffer[:0]
	p.mu.Lock()
	for _, r := range p.idle {
		if r.tx != nil {
			open = append(open, Reader{tx: r.tx, runs: r.runs})
			r.tx, r.runs, r.cursors = nil, nil, [bucketEnd]*bbolt.Cursor{}
		}
	}
	p.mu.Unlock()
	for i := range open {
		open[i].end()
	}
}

// pause waits until all readers are back and keeps new ones waiting until resume.
func (p *pool) pause() {
	p.mu.Lock()
	p.paused = true
	for p.out > 0 {
		p.returned.Wait()
	}
	p.mu.Unlock()
	p.closeIdle()
}

// resume lets readers in; it returns the count that advance goes on with.
func (p *pool) resume() (seq uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.paused = false
	p.seq++
	p.returned.Broadcast()
	return p.seq
}

// close refuses new readers and waits for those that are out. It is false if p was closed before.
func (p *pool) close() bool {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return false
	}
	p.closed = true
	p.returned.Broadcast()
	for p.out > 0 {
		p.returned.Wait()
	}
	p.mu.Unlock()
	p.closeIdle()
	return true
}
