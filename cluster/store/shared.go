package store

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
)

// Shared bounds what the stores of one node take together.
type Shared struct {
	limit int64
	used  atomic.Int64
	mu    sync.Mutex
	freed sync.Cond // used fell
	// turn is held by the store that writes a slice, unless it is behind: so that the stores of a node
	// do not take all processors at one time.
	turn chan struct{}
	// syncing is held by the store that makes its file durable: one at a time, so that the log's own
	// syncs find a disk that is not busy with all of them.
	syncing chan struct{}
	// merging is held by the store that merges its runs: one at a time takes the disk and the processors. ripe are
	// the others that want to.
	merging chan struct{}
	ripeMu  sync.Mutex
	ripe    map[*Store]struct{}
	// stores is how many are open. They share runBytes of disk and runKeys in memory for their runs.
	stores            atomic.Int64
	runBytes, runKeys int64
	seed              maphash.Seed // of the tables of runs
	buffers           sync.Pool    // of *[]byte, to write runs with
}

// wantMerge notes that a store wants to merge, or that it does not any more.
func (s *Shared) wantMerge(store *Store, wants bool) {
	s.ripeMu.Lock()
	defer s.ripeMu.Unlock()
	if wants {
		s.ripe[store] = struct{}{}
	} else {
		delete(s.ripe, store)
	}
}

// ripest is how far the runs have grown of the store that needs a merge most, of those that want one.
func (s *Shared) ripest() (fill int64) {
	s.ripeMu.Lock()
	defer s.ripeMu.Unlock()
	for store := range s.ripe {
		fill = max(fill, store.runFill(store.pending.Load().runs))
	}
	return fill
}

// takeTurn waits for a turn and gives what ends it.
func takeTurn(turn chan struct{}) (release func()) {
	turn <- struct{}{}
	return func() { <-turn }
}

// DefaultMemory bounds what all stores of a node keep in memory for their files, in bytes.
const DefaultMemory = 48 << 20

// What all stores of a node may have in run files together: bytes on the disk, and keys, of which each takes
// about 20 bytes of memory.
const (
	DefaultRunBytes = 3 << 30
	DefaultRunKeys  = 2 << 20
)

// mostRunBytes is the most that one store has in its runs, however few there are.
const mostRunBytes = 256 << 20

// runShare is what one store may have in its runs.
func (s *Shared) runShare() (bytes, keys int64) {
	stores := max(1, s.stores.Load())
	return min(mostRunBytes, s.runBytes/stores), s.runKeys / stores
}

// NewShared bounds the memory for writes that are not in the files yet; 0 is DefaultMemory.
func NewShared(memory int64) *Shared {
	if memory <= 0 {
		memory = DefaultMemory
	}
	s := &Shared{
		limit: memory, turn: make(chan struct{}, 1), syncing: make(chan struct{}, 1), merging: make(chan struct{}, 1),
		runBytes: DefaultRunBytes, runKeys: DefaultRunKeys, seed: maphash.MakeSeed(), ripe: make(map[*Store]struct{}),
	}
	s.freed.L = &s.mu
	return s
}

func (s *Shared) add(n int64) {
	s.used.Add(n)
	if n < 0 {
		s.wake()
	}
}

// wait waits until there is memory, or the store that waits is stopped and woken.
func (s *Shared) wait(stopped *atomic.Bool) {
	s.mu.Lock()
	for s.full() && !stopped.Load() {
		s.freed.Wait()
	}
	s.mu.Unlock()
}

func (s *Shared) wake() {
	s.mu.Lock()
	s.freed.Broadcast()
	s.mu.Unlock()
}

// full tells that no store may take more.
func (s *Shared) full() bool { return s.used.Load() >= s.limit }

// share is the part of the memory that is in use, of a whole.
func (s *Shared) share(whole int64) int64 { return whole * s.used.Load() / s.limit }
