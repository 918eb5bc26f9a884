package store

import (
	"bytes"
	"hash/maphash"
	"sort"
	"sync"
	"sync/atomic"
)

// runView is what a run file holds as of one flush, and where: the newest entry of each key. It is
// immutable but for the orders, which are made when they are needed.
type runView struct {
	file *runFile
	end  int64 // of the last run
	keys int
	seed maphash.Seed
	// table finds keys by hash: the upper half of the hash and the place of the entry, 0 for none.
	table  []uint64
	orders [bucketEnd]atomic.Pointer[[]uint32] // places by key
	mu     sync.Mutex                          // held while an order is made
}

// hashOf is what the tables of a store find a key by.
func hashOf(seed maphash.Seed, b Bucket, key []byte) uint64 {
	return maphash.Bytes(seed, key) ^ uint64(b+1)*0x9E3779B97F4A7C15
}

// get finds the newest entry of a key.
func (v *runView) get(b Bucket, key []byte, hash uint64) (e entry, ok bool) {
	mask := uint64(len(v.table) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		slot := v.table[i]
		if slot == 0 {
			return entry{}, false
		}
		if slot>>32 != hash>>32 {
			continue
		}
		if at, e := v.file.entryAt(uint32(slot)); at == b && bytes.Equal(e.key, key) {
			return e, true
		}
	}
}

const leastTable = 64

// put enters the place of an entry into the table, which has room.
func (v *runView) put(ref uint32) {
	b, key := v.file.keyAt(ref)
	hash := hashOf(v.seed, b, key)
	entered := hash>>32<<32 | uint64(ref)
	mask := uint64(len(v.table) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		slot := v.table[i]
		if slot == 0 {
			v.table[i] = entered
			v.keys++
			return
		}
		if slot>>32 == hash>>32 {
			if at, present := v.file.keyAt(uint32(slot)); at == b && bytes.Equal(present, key) {
				v.table[i] = entered
				return
			}
		}
	}
}

// grow makes room for more keys in a table that nobody else sees.
func (v *runView) grow(more int) {
	size := max(leastTable, len(v.table))
	for 4*(v.keys+more) > 3*size {
		size *= 2
	}
	if size == len(v.table) {
		return
	}
	old := v.table
	v.table, v.keys = make([]uint64, size), 0
	for _, slot := range old {
		if slot != 0 {
			v.put(uint32(slot))
		}
	}
}

// extended is the view with one more run, which ends at end and has entries at these places.
func (v *runView) extended(refs []uint32, end int64) *runView {
	next := &runView{file: v.file, end: end, keys: v.keys, seed: v.seed}
	next.table = append(make([]uint64, 0, len(v.table)), v.table...)
	next.grow(len(refs))
	for _, ref := range refs {
		next.put(ref)
	}
	// Orders that somebody needed are kept up: that is quicker than to make them again.
	for b := range v.orders {
		next.orders[b].Store(v.orders[b].Load())
	}
	for at := 0; at < len(refs); {
		b, _ := v.file.keyAt(refs[at])
		n := v.file.inBucket(refs[at:], b)
		if order := next.orders[b].Load(); order != nil {
			next.orders[b].Store(new(v.file.mergeOrders(*order, refs[at:at+n])))
		}
		at += n
	}
	return next
}

// order lists the places of the newest entries of a bucket by their keys.
func (v *runView) order(b Bucket) []uint32 {
	if order := v.orders[b].Load(); order != nil {
		return *order
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if order := v.orders[b].Load(); order != nil {
		return *order
	}
	// The runs are sorted: merge neighbours until there is one.
	var lists [][]uint32
	for at := int64(0); at < v.end; {
		var refs []uint32
		refs, at = v.file.next(at, nil)
		if b > 0 {
			refs = refs[v.file.inBucket(refs, b-1):]
		}
		if n := v.file.inBucket(refs, b); n > 0 {
			lists = append(lists, refs[:n])
		}
	}
	for len(lists) > 1 {
		merged := lists[:0]
		for i := 0; i < len(lists); i += 2 {
			if i+1 < len(lists) {
				merged = append(merged, v.file.mergeOrders(lists[i], lists[i+1]))
			} else {
				merged = append(merged, lists[i])
			}
		}
		lists = merged
	}
	order := []uint32{}
	if len(lists) == 1 {
		order = lists[0]
	}
	v.orders[b].Store(&order)
	return order
}

// inBucket counts how many places of a run are in bucket b or one before it.
func (f *runFile) inBucket(refs []uint32, b Bucket) int {
	return sort.Search(len(refs), func(i int) bool { other, _ := f.keyAt(refs[i]); return other > b })
}

// mergeOrders merges places of one bucket; where both have a key, the newer has it.
func (f *runFile) mergeOrders(older, newer []uint32) []uint32 {
	merged := make([]uint32, 0, len(older)+len(newer))
	for _, ref := range newer {
		_, key := f.keyAt(ref)
		n, equal := f.seek(older, key)
		merged = append(append(merged, older[:n]...), ref)
		if equal {
			n++
		}
		older = older[n:]
	}
	return append(merged, older...)
}

// seek counts the places of an order whose keys are less than a key, near its beginning first, and tells
// whether the one after has the key.
func (f *runFile) seek(order []uint32, key []byte) (n int, equal bool) {
	low, step := 0, 1
	for low+step <= len(order) {
		if _, present := f.keyAt(order[low+step-1]); bytes.Compare(present, key) >= 0 {
			break
		}
		low += step
		step *= 2
	}
	high := min(low+step-1, len(order))
	for low < high {
		middle := int(uint(low+high) / 2)
		if _, present := f.keyAt(order[middle]); bytes.Compare(present, key) < 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	if low < len(order) {
		_, present := f.keyAt(order[low])
		equal = bytes.Equal(present, key)
	}
	return low, equal
}

// takeRuns takes the files of the views, or none of them if one is closed already.
func takeRuns(views []*runView) bool {
	for i, v := range views {
		if !v.file.take() {
			releaseRuns(views[:i])
			return false
		}
	}
	return true
}

func releaseRuns(views []*runView) {
	for _, v := range views {
		v.file.release()
	}
}

// without are the views whose files are not among others.
func without(views, others []*runView) (rest []*runView) {
	for _, v := range views {
		among := false
		for _, other := range others {
			among = among || v.file == other.file
		}
		if !among {
			rest = append(rest, v)
		}
	}
	return rest
}
