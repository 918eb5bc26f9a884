package store

import (
	"bytes"

	"github.com/tidwall/btree"
	"go.etcd.io/bbolt"
)

// entry is the newest write of a key that the file does not hold yet.
type entry struct {
	key, value []byte
	deleted    bool
}

func entryLess(a, b entry) bool { return bytes.Compare(a.key, b.key) < 0 }

// degree of the trees. A snapshot copies the nodes that the next Update touches, so they are small.
const degree = 16

// layer holds writes by bucket and key. A nil tree is empty.
type layer [bucketEnd]*btree.BTreeG[entry]

func (l *layer) get(b Bucket, key []byte) (entry, bool) {
	if l[b] == nil {
		return entry{}, false
	}
	return l[b].Get(entry{key: key})
}

func (l *layer) set(b Bucket, e entry) {
	if l[b] == nil {
		l[b] = btree.NewBTreeGOptions(entryLess, btree.Options{Degree: degree, NoLocks: true})
	}
	l[b].Set(e)
}

// under appends the entries of bucket b whose keys have the prefix, ascending.
func (l *layer) under(dst []entry, b Bucket, prefix []byte) []entry {
	return l.while(dst, b, prefix, func(key []byte) bool { return bytes.HasPrefix(key, prefix) })
}

// while appends the entries of bucket b from a key on as long as they are within, ascending.
func (l *layer) while(dst []entry, b Bucket, from []byte, within func(key []byte) bool) []entry {
	if l[b] != nil {
		l[b].Ascend(entry{key: from}, func(e entry) bool {
			if !within(e.key) {
				return false
			}
			dst = append(dst, e)
			return true
		})
	}
	return dst
}

// pending is what Update applied and the file does not hold yet. It is immutable: every Update and
// every flush puts another in its place. Reads look into active, then flushing, then the file.
type pending struct {
	active   layer // grows until it is flushed
	flushing layer // on its way into the file
	// seq counts the commits of the file. A read transaction begun while seq was the same sees
	// everything that is neither active nor flushing.
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

// sight is what one reader or writer sees: layers over a read transaction, the newest first.
type sight struct {
	newest, older *layer
	cursors       func(Bucket) *bbolt.Cursor
}

func (s *sight) get(b Bucket, key []byte) []byte {
	for _, l := range [...]*layer{s.newest, s.older} {
		if e, ok := l.get(b, key); ok {
			if e.deleted {
				return nil
			}
			return e.value
		}
	}
	if k, v := s.cursors(b).Seek(key); k != nil && bytes.Equal(k, key) {
		return v
	}
	return nil
}

// entries merges what the layers hold under a prefix.
func (s *sight) entries(b Bucket, prefix []byte) []entry {
	return merge(s.newest.under(nil, b, prefix), s.older.under(nil, b, prefix))
}

// merge joins the entries of two layers, of which the first is the newer.
func merge(newest, older []entry) []entry {
	if len(older) == 0 {
		return newest
	}
	merged := make([]entry, 0, len(newest)+len(older))
	for len(newest) > 0 && len(older) > 0 {
		switch order := bytes.Compare(newest[0].key, older[0].key); {
		case order <= 0:
			merged, newest = append(merged, newest[0]), newest[1:]
			if order == 0 {
				older = older[1:]
			}
		default:
			merged, older = append(merged, older[0]), older[1:]
		}
	}
	return append(append(merged, newest...), older...)
}

// scan calls fn for every key with the prefix, ascending, until fn returns false.
func (s *sight) scan(b Bucket, prefix []byte, fn func(key, value []byte) bool) {
	s.scanWhile(b, prefix, func(key []byte) bool { return bytes.HasPrefix(key, prefix) }, fn)
}

// scanBetween calls fn for every key from one on and below another, ascending, until fn returns false.
func (s *sight) scanBetween(b Bucket, from, below []byte, fn func(key, value []byte) bool) {
	s.scanWhile(b, from, func(key []byte) bool { return bytes.Compare(key, below) < 0 }, fn)
}

func (s *sight) scanWhile(b Bucket, from []byte, within func(key []byte) bool, fn func(key, value []byte) bool) {
	over := merge(s.newest.while(nil, b, from, within), s.older.while(nil, b, from, within))
	c := s.cursors(b)
	k, v := c.Seek(from)
	for {
		if k != nil && !within(k) {
			k = nil
		}
		switch {
		case k == nil && len(over) == 0:
			return
		case len(over) == 0 || k != nil && bytes.Compare(k, over[0].key) < 0:
			if !fn(k, v) {
				return
			}
			k, v = c.Next()
		default:
			e := over[0]
			over = over[1:]
			if k != nil && bytes.Equal(k, e.key) {
				k, v = c.Next()
			}
			if !e.deleted && !fn(e.key, e.value) {
				return
			}
		}
	}
}

// scanBack calls fn for every key with the prefix that is not above from, descending, until fn
// returns false. An empty from begins at the last key with the prefix.
func (s *sight) scanBack(b Bucket, prefix, from []byte, fn func(key, value []byte) bool) {
	over := s.entries(b, prefix)
	for len(from) > 0 && len(over) > 0 && bytes.Compare(over[len(over)-1].key, from) > 0 {
		over = over[:len(over)-1]
	}
	c := s.cursors(b)
	k, v := seekBack(c, prefix, from)
	for {
		if k != nil && !bytes.HasPrefix(k, prefix) {
			k = nil
		}
		last := len(over) - 1
		switch {
		case k == nil && last < 0:
			return
		case last < 0 || k != nil && bytes.Compare(k, over[last].key) > 0:
			if !fn(k, v) {
				return
			}
			k, v = c.Prev()
		default:
			e := over[last]
			over = over[:last]
			if k != nil && bytes.Equal(k, e.key) {
				k, v = c.Prev()
			}
			if !e.deleted && !fn(e.key, e.value) {
				return
			}
		}
	}
}

// seekBack finds the last key of the file that is not above from, or that has the prefix.
func seekBack(c *bbolt.Cursor, prefix, from []byte) (k, v []byte) {
	if len(from) == 0 {
		from = afterPrefix(prefix)
	}
	if from == nil {
		return c.Last()
	}
	if k, v = c.Seek(from); k == nil {
		return c.Last()
	}
	if bytes.Compare(k, from) > 0 || !bytes.HasPrefix(k, prefix) {
		return c.Prev()
	}
	return k, v
}

// afterPrefix is the least key above all keys with the prefix, or nil if there is none.
func afterPrefix(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		if prefix[i] != 0xff {
			return append(bytes.Clone(prefix[:i]), prefix[i]+1)
		}
	}
	return nil
}
