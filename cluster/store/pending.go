package store

import (
	"bytes"
	"sync/atomic"

	"github.com/tidwall/btree"
)

// entry is the newest write of a key that the file does not hold yet.
type entry struct {
	key, value []byte
	deleted    bool
}

// present is the value that reads give: nil for a key that was deleted, and for no other.
func (e *entry) present() []byte {
	if e.deleted {
		return nil
	}
	return e.value
}

func entryLess(a, b *entry) bool { return bytes.Compare(a.key, b.key) < 0 }

// degree of the trees. A snapshot copies the nodes that the next Update touches, so they are small, and hold
// pointers.
const degree = 8

// sieve tells quickly of most keys that a layer does not hold them: it has a bit for some of the hash of a
// key. It may know keys that came into the layer later, or never did.
type sieve [sieveBits / 64]atomic.Uint64

const sieveBits = 64 << 10

func (s *sieve) add(hash uint64) {
	if word, bit := &s[hash%sieveBits/64], uint64(1)<<(hash%64); word.Load()&bit == 0 {
		word.Or(bit)
	}
}

func (s *sieve) may(hash uint64) bool { return s[hash%sieveBits/64].Load()&(1<<(hash%64)) != 0 }

// layer holds writes by bucket and key. A nil tree is empty.
type layer [bucketEnd]*btree.BTreeG[*entry]

// get uses probe to look for a key: one made for each look would be memory that is thrown away.
func (l *layer) get(b Bucket, key []byte, probe *entry) (entry, bool) {
	if l[b] == nil {
		return entry{}, false
	}
	probe.key = key
	e, ok := l[b].Get(probe)
	probe.key = nil
	if !ok {
		return entry{}, false
	}
	return *e, true
}

// set keeps e, which may not change any more.
func (l *layer) set(b Bucket, e *entry) {
	if l[b] == nil {
		l[b] = btree.NewBTreeGOptions(entryLess, btree.Options{Degree: degree, NoLocks: true})
	}
	l[b].Set(e)
}

// while appends the entries of bucket b from a key on as long as they are within, ascending.
func (l *layer) while(dst []entry, b Bucket, from []byte, within func(key []byte) bool) []entry {
	if l[b] != nil {
		l[b].Ascend(&entry{key: from}, func(e *entry) bool {
			if !within(e.key) {
				return false
			}
			dst = append(dst, *e)
			return true
		})
	}
	return dst
}

// pending is what Update applied and the bbolt file does not hold yet. It is immutable: every Update, every
// flush and every merge puts another in its place. Reads look into active, then flushing, then the runs,
// then the bbolt file.
type pending struct {
	active   layer // grows until it is flushed
	flushing layer // on its way into a run
	// sieves are those of active and flushing.
	sieves [2]*sieve
	runs   []*runView // the newest first
	// seq counts the changes of runs. A read transaction begun while seq was the same sees everything
	// that is neither active, nor flushing, nor in a run.
	seq uint64
	// load is that of active, flushes tells whether flushing holds anything, and flushLoad what.
	load, flushLoad load
	flushes         bool
}

// load measures a layer: a write of a key that the layer has already counts again.
type load struct{ writes, bytes int }

// entryBytes is about what an entry takes beside its key and value.
const entryBytes = 128

// cost is about the memory it takes.
func (l load) cost() int64 { return int64(l.bytes) + entryBytes*int64(l.writes) }

// cost is about the memory that everything pending takes.
func (p *pending) cost() int64 { return p.load.cost() + p.flushLoad.cost() }
