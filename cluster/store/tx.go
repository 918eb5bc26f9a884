package store

import (
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// Tx is the write transaction. It is valid within the function Update was given.
type Tx struct {
	store         *Store
	sight         sight
	dirty         [bucketEnd]bool
	writes, bytes int
}

// Get returns the value of key, or nil. The value stays valid until the transaction ends.
func (t *Tx) Get(b Bucket, key []byte) []byte { return t.sight.get(b, key) }

// Put sets the value of key. The key may be reused at once, the value only after the transaction.
func (t *Tx) Put(b Bucket, key, value []byte) error {
	owned := make([]byte, len(key)+len(value))
	copy(owned, key)
	copy(owned[len(key):], value)
	return t.PutKept(b, owned[:len(key):len(key)], owned[len(key):])
}

// PutKept sets the value of key as Put does, without a copy: neither may change any more.
func (t *Tx) PutKept(b Bucket, key, value []byte) error {
	if value == nil {
		value = []byte{}
	}
	t.write(b, &entry{key: key, value: value})
	return nil
}

// Delete removes key; it is no error if there is none.
func (t *Tx) Delete(b Bucket, key []byte) error {
	t.write(b, &entry{key: append([]byte(nil), key...), deleted: true})
	return nil
}

func (t *Tx) write(b Bucket, e *entry) {
	t.sight.sieves[0].add(hashOf(t.sight.seed, b, e.key))
	t.store.writing.set(b, e)
	t.dirty[b] = true
	t.writes++
	t.bytes += len(e.key) + len(e.value)
}

// Scan calls fn for every key with the prefix, ascending, until fn returns false. fn must not write.
func (t *Tx) Scan(b Bucket, prefix []byte, fn func(key, value []byte) bool) {
	t.sight.scan(b, prefix, fn)
}

// ScanBetween calls fn for every key from one on and below another, ascending, until fn returns false.
// It costs what lies between, however much is pending elsewhere. fn must not write.
func (t *Tx) ScanBetween(b Bucket, from, below []byte, fn func(key, value []byte) bool) {
	t.sight.scanBetween(b, from, below, fn)
}

// applyPending runs fn over what is pending. It waits while too much is pending: memory is bounded by what
// the file can take.
func (s *Store) applyPending(fn func(*Tx) error) error {
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.waitForRoom(); err != nil {
		return err
	}
	r, err := s.Acquire()
	if err != nil {
		return err
	}
	defer r.Release()
	before := s.pending.Load()
	if s.sieve == nil {
		s.sieve = &sieve{}
	}
	tx := &Tx{store: s, sight: r.sight()}
	tx.sight.newest, tx.sight.sieves[0] = &s.writing, s.sieve
	if err := fn(tx); err != nil {
		s.writing = rebuilt(&before.active)
		return err
	}
	next := *before
	next.sieves[0] = s.sieve
	for b := range s.writing {
		if tx.dirty[b] {
			next.active[b] = s.writing[b].IsoCopy()
		}
	}
	next.load.writes += tx.writes
	next.load.bytes += tx.bytes
	s.options.Shared.add(load{tx.writes, tx.bytes}.cost())
	s.pending.Store(&next)
	s.updated += int64(tx.writes)
	if s.pressure(&next) >= due {
		s.work.Broadcast()
	}
	return nil
}

// rebuilt copies a layer that readers hold into trees that may be written. It serves transactions
// that fail, which are rare.
func rebuilt(from *layer) (to layer) {
	for b, tree := range from {
		if tree != nil {
			tree.Scan(func(e *entry) bool {
				to.set(Bucket(b), e)
				return true
			})
		}
	}
	return to
}

// fileTx is a write transaction of the file.
type fileTx struct {
	raw     *bbolt.Tx
	fill    float64
	buckets [bucketEnd]*bbolt.Bucket
	writes  int64
	bytes   int64
}

// updateFile runs fn in a write transaction of the file and commits it, unless fn returns an error. It gives how
// many bytes of pages were written.
func (s *Store) updateFile(fn func(*fileTx) error) (written int64, err error) {
	raw, err := s.db.Begin(true)
	if err != nil {
		return 0, fmt.Errorf("beginning a write: %w", err)
	}
	tx := fileTx{raw: raw, fill: s.fill}
	if err := fn(&tx); err != nil {
		return 0, errors.Join(err, raw.Rollback())
	}
	// A commit that meets a full disk is undone, but bbolt must then read the whole file to learn which
	// pages are free. So room is claimed first.
	if size := raw.Size() + tx.likelyAdds() + raw.Size()/freeListShare; size > s.claimed {
		if err := s.options.disk.claim(s.raw, s.claimed, size+claimAhead); err != nil {
			return 0, errors.Join(fmt.Errorf("claiming disk space: %w", err), raw.Rollback())
		}
		s.claimed = size + claimAhead
	}
	id := uint64(raw.ID())
	if err := raw.Commit(); err != nil {
		return 0, s.uncommitted(id, fmt.Errorf("committing: %w", err))
	}
	stats := raw.Stats()
	return stats.GetPageAlloc(), nil
}

// uncommitted looks at what a commit that failed left. bbolt undoes it in memory; if its meta page came
// into the file all the same, both differ, and the file must be opened anew at its checkpoint.
func (s *Store) uncommitted(id uint64, err error) error {
	m := mark{}
	_, readErr := s.raw.ReadAt(m.meta[:], int64(id%2)*int64(s.db.Info().PageSize))
	if readErr != nil || m.txid() == id {
		err = errors.Join(err, readErr)
		s.write.Lock()
		s.fail(err)
		s.write.Unlock()
	}
	return err
}

const (
	claimAhead    = 1 << 20
	freeListShare = 256 // the free list has 8 bytes for a page; more than twice that
	// A write copies the page of the key, unless others have, and sometimes splits it or copies the one above.
	likelyPagesPerWrite = 2
	// More than the pages one write can copy: a path through the tree and the neighbours of the value.
	maxPagesPerWrite = 64
)

func (t *fileTx) likelyAdds() int64 {
	return 2*t.bytes + (t.writes*likelyPagesPerWrite+maxPagesPerWrite)*int64(t.raw.DB().Info().PageSize)
}

// mayAdd is more than the file can grow by when so much is flushed.
func (s *Store) mayAdd(l load) int64 {
	return 4*int64(l.bytes) + (int64(l.writes)+1)*maxPagesPerWrite*int64(s.db.Info().PageSize)
}

// Sequential keys, such as decision ids, fill pages from the left: leave little room in them.
const sequentialFill = 0.9

func (t *fileTx) bucket(b Bucket) *bbolt.Bucket {
	if t.buckets[b] == nil {
		t.buckets[b] = t.raw.Bucket(bucketNames[b])
		if t.fill > 0 {
			t.buckets[b].FillPercent = t.fill
		}
		if b == Decisions {
			t.buckets[b].FillPercent = sequentialFill
		}
	}
	return t.buckets[b]
}

func (t *fileTx) put(b Bucket, key, value []byte) error {
	t.writes++
	t.bytes += int64(len(key) + len(value))
	if err := t.bucket(b).Put(key, value); err != nil {
		return fmt.Errorf("writing a key: %w", err)
	}
	return nil
}

func (t *fileTx) delete(b Bucket, key []byte) error {
	t.writes++
	if err := t.bucket(b).Delete(key); err != nil {
		return fmt.Errorf("deleting a key: %w", err)
	}
	return nil
}
