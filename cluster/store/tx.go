package store

import (
	"errors"
	"fmt"

	"go.etcd.io/bbolt"
)

// Tx is the write transaction. It is valid within the function Update was given.
type Tx struct {
	file          *fileTx // of a store that is synced at every commit; nil otherwise
	store         *Store
	sight         sight
	dirty         [bucketEnd]bool
	writes, bytes int
}

// Get returns the value of key, or nil. The value stays valid until the transaction ends.
func (t *Tx) Get(b Bucket, key []byte) []byte {
	if t.file != nil {
		return t.file.bucket(b).Get(key)
	}
	return t.sight.get(b, key)
}

// Put sets the value of key. The key may be reused at once, the value only after the transaction.
func (t *Tx) Put(b Bucket, key, value []byte) error {
	if t.file != nil {
		return t.file.put(b, key, value)
	}
	owned := make([]byte, len(key)+len(value))
	copy(owned, key)
	copy(owned[len(key):], value)
	t.write(b, entry{key: owned[:len(key):len(key)], value: owned[len(key):]})
	return nil
}

// Delete removes key; it is no error if there is none.
func (t *Tx) Delete(b Bucket, key []byte) error {
	if t.file != nil {
		return t.file.delete(b, key)
	}
	t.write(b, entry{key: append([]byte(nil), key...), deleted: true})
	return nil
}

func (t *Tx) write(b Bucket, e entry) {
	t.store.writing.set(b, e)
	t.dirty[b] = true
	t.writes++
	t.bytes += len(e.key) + len(e.value)
}

// Scan calls fn for every key with the prefix, ascending, until fn returns false. fn must not write.
func (t *Tx) Scan(b Bucket, prefix []byte, fn func(key, value []byte) bool) {
	if t.file != nil {
		over := sight{newest: &layer{}, older: &layer{}, cursors: t.file.cursor}
		over.scan(b, prefix, fn)
		return
	}
	t.sight.scan(b, prefix, fn)
}

// applyDirect runs fn in a transaction of the file.
func (s *Store) applyDirect(fn func(*Tx) error) error {
	return s.updateFile(func(file *fileTx) error { return fn(&Tx{file: file, store: s}) })
}

// applyPending runs fn over what is pending. It waits while too much is: memory is bounded by what
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
	tx := &Tx{store: s, sight: sight{newest: &s.writing, older: &r.pending.flushing, cursors: r.cursor}}
	if err := fn(tx); err != nil {
		s.writing = rebuilt(&before.active)
		return err
	}
	next := *before
	for b := range s.writing {
		if tx.dirty[b] {
			next.active[b] = s.writing[b].IsoCopy()
		}
	}
	next.writes += tx.writes
	next.bytes += tx.bytes
	s.pending.Store(&next)
	if next.writes >= s.options.FlushWrites || next.bytes >= s.options.FlushBytes {
		s.work.Broadcast()
	}
	return nil
}

// rebuilt copies a layer that readers hold into trees that may be written. It serves transactions
// that fail, which are rare.
func rebuilt(from *layer) (to layer) {
	for b, tree := range from {
		if tree != nil {
			tree.Scan(func(e entry) bool {
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
	buckets [bucketEnd]*bbolt.Bucket
	writes  int64
	bytes   int64
}

// updateFile runs fn in a write transaction of the file and commits it, unless fn returns an error.
func (s *Store) updateFile(fn func(*fileTx) error) error {
	raw, err := s.db.Begin(true)
	if err != nil {
		return fmt.Errorf("beginning a write: %w", err)
	}
	tx := fileTx{raw: raw}
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
	return nil
}

// maxPagesPerWrite is more than the pages one write can copy: a path through the tree, the
// neighbours of the value, and its part of the free list.
const maxPagesPerWrite = 64

// mayAdd is more than the file can grow by the transaction.
func (t *fileTx) mayAdd() int64 {
	return 4*t.bytes + (t.writes+1)*maxPagesPerWrite*int64(t.raw.DB().Info().PageSize)
}

// Sequential keys, such as decision ids, fill pages from the left: leave little room in them.
const sequentialFill = 0.9

func (t *fileTx) bucket(b Bucket) *bbolt.Bucket {
	if t.buckets[b] == nil {
		t.buckets[b] = t.raw.Bucket(bucketNames[b])
		if b == Decisions {
			t.buckets[b].FillPercent = sequentialFill
		}
	}
	return t.buckets[b]
}

func (t *fileTx) cursor(b Bucket) *bbolt.Cursor { return t.bucket(b).Cursor() }

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
