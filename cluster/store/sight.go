package store

import (
	"bytes"
	"hash/maphash"

	"go.etcd.io/bbolt"
)

// cursors look into a bbolt file as of one state.
type cursors interface {
	cursor(b Bucket) *bbolt.Cursor
}

// sight is what one reader or writer sees: layers over runs over a read transaction, the newest first.
type sight struct {
	newest, older *layer
	sieves        [2]*sieve // of both; nil: the layer is empty
	runs          []*runView
	seed          maphash.Seed
	file          cursors
	probe         *entry // for the layers; nil where those are empty
}

func (s *sight) get(b Bucket, key []byte) []byte {
	hash := hashOf(s.seed, b, key)
	for i, l := range [...]*layer{s.newest, s.older} {
		if s.sieves[i] == nil || !s.sieves[i].may(hash) {
			continue
		}
		if e, ok := l.get(b, key, s.probe); ok {
			return e.present()
		}
	}
	for _, v := range s.runs {
		if e, ok := v.get(b, key, hash); ok {
			return e.present()
		}
	}
	if k, v := s.file.cursor(b).Seek(key); k != nil && bytes.Equal(k, key) {
		return v
	}
	return nil
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
	sources := make([]source, 0, 3+len(s.runs))
	for _, l := range [...]*layer{s.newest, s.older} {
		if over := l.while(nil, b, from, within); len(over) > 0 {
			sources = append(sources, source{list: over})
		}
	}
	for _, v := range s.runs {
		order := v.order(b)
		n, _ := v.file.seek(order, from)
		sources = append(sources, source{view: v, order: order[n:]})
	}
	sources = append(sources, source{cursor: s.file.cursor(b), from: from})
	walk(sources, 1, within, fn)
}

// scanBack calls fn for every key with the prefix that is not above from, descending, until fn
// returns false. An empty from begins at the last key with the prefix.
func (s *sight) scanBack(b Bucket, prefix, from []byte, fn func(key, value []byte) bool) {
	within := func(key []byte) bool { return bytes.HasPrefix(key, prefix) }
	above := afterPrefix(prefix) // the least key that is too great
	if len(from) > 0 {
		above = append(bytes.Clone(from), 0)
	}
	sources := make([]source, 0, 3+len(s.runs))
	for _, l := range [...]*layer{s.newest, s.older} {
		over := l.while(nil, b, prefix, func(key []byte) bool { return within(key) && (above == nil || bytes.Compare(key, above) < 0) })
		if len(over) > 0 {
			sources = append(sources, source{list: over})
		}
	}
	for _, v := range s.runs {
		order := v.order(b)
		if above != nil {
			n, _ := v.file.seek(order, above)
			order = order[:n]
		}
		sources = append(sources, source{view: v, order: order})
	}
	sources = append(sources, source{cursor: s.file.cursor(b), from: above})
	walk(sources, -1, within, fn)
}

// source gives the entries of one place in an order. What it is at is in entry, unless it is at its end.
type source struct {
	entry
	ended bool
	// One of these is what is left.
	list   []entry
	view   *runView
	order  []uint32
	cursor *bbolt.Cursor
	from   []byte // where the cursor begins: at it, or below it if it goes back
}

// next goes one entry on, forth or back. begin is true for the first.
func (s *source) next(step int, begin bool) {
	switch {
	case s.cursor != nil:
		s.nextOfFile(step, begin)
	case s.view != nil:
		if s.ended = len(s.order) == 0; s.ended {
			return
		}
		at := 0
		if step < 0 {
			at = len(s.order) - 1
		}
		_, s.entry = s.view.file.entryAt(s.order[at])
		s.order = cut(s.order, step)
	default:
		if s.ended = len(s.list) == 0; s.ended {
			return
		}
		at := 0
		if step < 0 {
			at = len(s.list) - 1
		}
		s.entry = s.list[at]
		s.list = cut(s.list, step)
	}
}

// cut takes the first or the last away.
func cut[E any](list []E, step int) []E {
	if step < 0 {
		return list[:len(list)-1]
	}
	return list[1:]
}

func (s *source) nextOfFile(step int, begin bool) {
	c := s.cursor
	switch {
	case begin && step > 0:
		s.key, s.value = c.Seek(s.from)
	case begin && s.from == nil:
		s.key, s.value = c.Last()
	case begin:
		if s.key, s.value = c.Seek(s.from); s.key == nil {
			s.key, s.value = c.Last()
		} else {
			s.key, s.value = c.Prev()
		}
	case step > 0:
		s.key, s.value = c.Next()
	default:
		s.key, s.value = c.Prev()
	}
	s.ended = s.key == nil
}

// walk merges sources, the newest first: of each key the newest entry counts. It ends with the first key
// that is not within, or when fn returns false.
func walk(sources []source, step int, within func(key []byte) bool, fn func(key, value []byte) bool) {
	for i := range sources {
		sources[i].next(step, true)
	}
	for {
		first := -1
		for i := range sources {
			if !sources[i].ended && (first < 0 || step*bytes.Compare(sources[i].key, sources[first].key) < 0) {
				first = i
			}
		}
		if first < 0 || !within(sources[first].key) {
			return
		}
		e := sources[first].entry
		for i := range sources {
			if i == first || !sources[i].ended && bytes.Equal(sources[i].key, e.key) {
				sources[i].next(step, false)
			}
		}
		if !e.deleted && !fn(e.key, e.value) {
			return
		}
	}
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
