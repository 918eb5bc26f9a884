package wal

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
)

// segment is one file: a head, batches, and when it is full a footer.
type segment struct {
	number uint64
	salt   uint64
	f      file
	bytes  int64 // of the file
	data   int64 // where the first batch begins
	end    int64 // where the next batch goes
	// written is up to where blocks were written, by this segment or by one that had the file before.
	written int64

	// While this is the tail, the file once more: for each unit in flight, and to write units past the page cache, if
	// that can be done.
	syncers []file
	direct  file
	count   int     // of entries written
	places  []place // entries in the order written; until the footer is
	// sealed is true once the footer is durable; the keeper's.
	sealed bool

	live      atomic.Int64 // entries of groups that lie here
	liveBytes atomic.Int64
	readers   atomic.Int64
}

func (s *segment) closeSyncers() error {
	var problems []error
	for _, f := range s.syncers {
		problems = append(problems, f.close())
	}
	if s.direct != nil {
		problems = append(problems, s.direct.close())
	}
	s.syncers, s.direct = nil, nil
	return errors.Join(problems...)
}

const segmentSuffix = ".log"

func segmentName(number uint64) string { return fmt.Sprintf("%016x%s", number, segmentSuffix) }

func segmentNumber(name string) (uint64, bool) {
	hex, ok := strings.CutSuffix(name, segmentSuffix)
	if !ok || len(hex) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(hex, 16, 64)
	return n, err == nil && n > 0
}

// room tells whether a batch and its entries fit, with the footer that will follow.
func (s *segment) room(at, batch int64, entries int) bool {
	footer := int64(s.count+entries) * footerEntryBytes
	return at+batch+alignBlock(footer)+trailerBytes <= s.bytes
}

// loc is where an entry lies, and its record in memory while it is cached.
type loc struct {
	seg  *segment
	off  uint32
	size uint32
	mem  []byte
}

func (l *loc) drop() {
	if l.seg != nil {
		l.seg.live.Add(-1)
		l.seg.liveBytes.Add(-int64(l.size))
	}
	*l = loc{}
}

func (l *loc) count() {
	if l.seg != nil {
		l.seg.live.Add(1)
		l.seg.liveBytes.Add(int64(l.size))
	}
}

// index finds the entries of a group.
type index struct {
	base uint64 // index of locs[0]
	locs []loc
}

func (x *index) at(i uint64) *loc {
	if i < x.base || i-x.base >= uint64(len(x.locs)) {
		return nil
	}
	return &x.locs[i-x.base]
}

// maxHole bounds the entries that a start leaves room for between two it found.
const maxHole = 1 << 20

// set puts an entry anywhere. Entries between it and the others are left empty.
func (x *index) set(i uint64, l loc) {
	end := x.base + uint64(len(x.locs))
	switch {
	case len(x.locs) == 0, i > end && i-end > maxHole, i < x.base && x.base-i > maxHole:
		x.base, x.locs = i, append(x.locs[:0], l)
	case i < x.base:
		grown := make([]loc, uint64(len(x.locs))+x.base-i)
		copy(grown[x.base-i:], x.locs)
		grown[0] = l
		x.base, x.locs = i, grown
	case i < end:
		x.locs[i-x.base] = l
	default:
		for ; end < i; end++ {
			x.locs = append(x.locs, loc{})
		}
		x.locs = append(x.locs, l)
	}
}

// cut keeps the entries from first to last. drop is called for each of the others; it may be nil.
func (x *index) cut(first, last uint64, drop func(*loc)) {
	if drop == nil {
		drop = func(l *loc) { *l = loc{} }
	}
	for len(x.locs) > 0 && x.base < first {
		drop(&x.locs[0])
		x.base, x.locs = x.base+1, x.locs[1:]
	}
	for n := len(x.locs); n > 0 && x.base+uint64(n)-1 > last; n-- {
		drop(&x.locs[n-1])
		x.locs = x.locs[:n-1]
	}
	if len(x.locs) == 0 {
		x.base, x.locs = 0, nil
	}
}
