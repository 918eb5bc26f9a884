package trigger

import (
	"encoding/binary"
	"slices"
)

// entry is what is known of one strategy for one subject.
type entry struct {
	shape uint16
	// fired tells that the threshold holds and was told of, of sliding windows.
	fired bool
	// expiryMS is when the entry means nothing any more, by the clock.
	expiryMS int64
	// newestMS is the time of the newest event, or as far as the clock has come when a timer fired.
	newestMS int64
	// lagMS is how far the newest event was behind the clock.
	lagMS int64
	// timerMS is when the timer of the entry fires; 0: there is none.
	timerMS int64
	buckets []bucket
	items   []item
	// openMS is when an absence began, endMS when it last ended, and firedMS when the one began that was told
	// of; 0: not.
	openMS, endMS, firedMS int64
	template               []byte

	sets []uint32 // memory of the buckets
}

// bucket is a window, or a slice of one.
type bucket struct {
	startMS  int64
	lengthMS int64 // of a session: until its last event
	count    int64 // of TumblingCount
	fired    bool
	value    int64
	timeMS   int64    // of the value, of Last
	set      []uint32 // of Distinct, ascending
}

// item is one event of SlidingCount, or one value of Distinct in a sliding window.
type item struct {
	timeMS int64
	value  int64
}

const (
	entryFired = 1 << iota
	entryTimer
	entryTemplate
	entryAbsence
	entryLag
	entryFlags = entryFired | entryTimer | entryTemplate | entryAbsence | entryLag
)

// maxTemplate bounds the template of an entry.
const maxTemplate = 16 << 10

func (e *entry) reset() {
	*e = entry{buckets: e.buckets[:0], items: e.items[:0], sets: e.sets[:0], template: e.template[:0]}
}

// itemized tells that the entry has items instead of buckets.
func (s *Spec) itemized() bool {
	return s.Window == SlidingCount || s.Window == Sliding && s.Aggregate == Distinct
}

func (e *entry) append(dst []byte, s *Spec) []byte {
	absence := s.Raise == Absent
	flags := b2(e.fired)*entryFired | b2(e.timerMS != 0)*entryTimer | b2(len(e.template) > 0)*entryTemplate | b2(absence)*entryAbsence | b2(e.lagMS != 0)*entryLag
	dst = binary.AppendVarint(dst, e.expiryMS)
	dst = append(binary.LittleEndian.AppendUint16(dst, e.shape), flags)
	dst = binary.AppendVarint(dst, e.expiryMS-e.newestMS)
	if e.timerMS != 0 {
		dst = binary.AppendVarint(dst, e.timerMS-e.expiryMS)
	}
	if e.lagMS != 0 {
		dst = binary.AppendUvarint(dst, uint64(e.lagMS))
	}
	if len(e.template) > 0 {
		dst = append(binary.AppendUvarint(dst, uint64(len(e.template))), e.template...)
	}
	if absence {
		dst = binary.AppendVarint(dst, e.openMS)
		return binary.AppendVarint(binary.AppendVarint(dst, e.endMS), e.firedMS)
	}
	if s.itemized() {
		return e.appendItems(dst)
	}
	dst = binary.AppendUvarint(dst, uint64(len(e.buckets)))
	before := e.newestMS
	for i := range e.buckets {
		b := &e.buckets[i]
		dst = binary.AppendVarint(dst, (b.startMS-before)<<1|int64(b2(b.fired)))
		before = b.startMS
		dst = b.append(dst, s)
	}
	return dst
}

func (e *entry) appendItems(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(e.items)))
	before := e.newestMS
	for i := range e.items {
		dst = binary.AppendVarint(dst, e.items[i].timeMS-before)
		dst = binary.AppendVarint(dst, e.items[i].value)
		before = e.items[i].timeMS
	}
	return dst
}

func (b *bucket) append(dst []byte, s *Spec) []byte {
	switch s.Window {
	case Session:
		dst = binary.AppendUvarint(dst, uint64(b.lengthMS))
	case TumblingCount:
		dst = binary.AppendUvarint(dst, uint64(b.count))
	}
	switch s.Aggregate {
	case Distinct:
		dst = binary.AppendUvarint(dst, uint64(len(b.set)))
		for _, hash := range b.set {
			dst = binary.LittleEndian.AppendUint32(dst, hash)
		}
		return dst
	case Last:
		dst = binary.AppendVarint(dst, b.timeMS-b.startMS)
	}
	return binary.AppendVarint(dst, b.value)
}

// decode reads what append wrote. An entry of another shape is begun anew: ok is false.
func (e *entry) decode(body []byte, s *Spec) (ok bool, err error) {
	e.reset()
	r := reader{rest: body}
	e.expiryMS = r.time()
	shape := r.take(2)
	if r.bad {
		return false, ErrCorrupt
	}
	e.shape = binary.LittleEndian.Uint16(shape)
	flags := r.byte()
	e.fired = flags&entryFired != 0
	e.newestMS = e.expiryMS - r.varint()
	if flags&entryTimer != 0 {
		e.timerMS = e.expiryMS + r.varint()
	}
	if e.shape != s.shape() {
		return false, nil // with what it takes to clear its timer
	}
	if flags&entryLag != 0 {
		e.lagMS = int64(r.uvarint())
	}
	if flags&entryTemplate != 0 {
		size := r.uvarint()
		r.bad = r.bad || size > maxTemplate
		e.template = append(e.template, r.take(min(size, maxTemplate))...)
	}
	r.bad = r.bad || flags&^entryFlags != 0 || flags&entryAbsence != 0 != (s.Raise == Absent) || e.lagMS < 0 || e.lagMS > maxTimeMS ||
		e.newestMS < minTimeMS || e.newestMS > maxTimeMS || e.timerMS < minTimeMS || e.timerMS > maxTimeMS
	switch {
	case s.Raise == Absent:
		e.openMS, e.endMS, e.firedMS = r.time(), r.time(), r.time()
	case s.itemized():
		e.readItems(&r)
	default:
		e.readBuckets(&r, s)
	}
	return true, r.err()
}

func (e *entry) readItems(r *reader) {
	n := r.uvarint()
	if n > MaxCount {
		r.bad = true
		return
	}
	before := e.newestMS
	for ; n > 0 && !r.bad; n-- {
		before += r.varint()
		it := item{timeMS: before, value: r.varint()}
		r.bad = r.bad || before < minTimeMS || before > maxTimeMS || it.value < -maxSum || it.value > maxSum || len(e.items) > 0 && !e.items[len(e.items)-1].before(it)
		e.items = append(e.items, it)
	}
}

func (e *entry) readBuckets(r *reader, s *Spec) {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.bad = true
		return
	}
	before := e.newestMS
	for first := true; n > 0 && !r.bad; n-- {
		head := r.varint()
		b := bucket{startMS: before + head>>1, fired: head&1 != 0}
		r.bad = r.bad || b.startMS < minTimeMS || b.startMS > maxTimeMS || !first && b.startMS <= before
		before, first = b.startMS, false
		e.readBucket(r, s, &b)
		e.buckets = append(e.buckets, b)
	}
}

func (e *entry) readBucket(r *reader, s *Spec, b *bucket) {
	switch s.Window {
	case Session:
		b.lengthMS = int64(r.uvarint())
		r.bad = r.bad || b.lengthMS < 0 || b.lengthMS > maxTimeMS
	case TumblingCount:
		b.count = int64(r.uvarint())
		r.bad = r.bad || b.count < 0 || b.count >= max(s.Count, 1)
	}
	switch s.Aggregate {
	case Distinct:
		n := r.uvarint()
		if n > MaxDistinct {
			r.bad = true
			return
		}
		at := len(e.sets)
		for ; n > 0 && !r.bad; n-- {
			if raw := r.take(4); raw != nil {
				e.sets = append(e.sets, binary.LittleEndian.Uint32(raw))
				r.bad = len(e.sets)-at > 1 && e.sets[len(e.sets)-2] >= e.sets[len(e.sets)-1]
			}
		}
		b.set = e.sets[at:len(e.sets):len(e.sets)]
		return
	case Last:
		b.timeMS = b.startMS + r.varint()
		r.bad = r.bad || b.timeMS < minTimeMS || b.timeMS > maxTimeMS
	}
	b.value = r.varint()
	r.bad = r.bad || b.value < -maxSum || b.value > maxSum
}

// before is the order of items: by time, then by value.
func (a item) before(b item) bool {
	return a.timeMS < b.timeMS || a.timeMS == b.timeMS && a.value <= b.value
}

// enter adds the value of an event to a bucket, which fresh tells to be new.
func (b *bucket) enter(s *Spec, timeMS, value int64, fresh bool) {
	b.count++
	switch s.Aggregate {
	case Count:
		b.value++
	case Sum:
		b.value = saturated(b.value, value)
	case Min:
		if fresh || value < b.value {
			b.value = value
		}
	case Max:
		if fresh || value > b.value {
			b.value = value
		}
	case Last:
		if fresh || timeMS > b.timeMS || timeMS == b.timeMS && value > b.value {
			b.timeMS, b.value = timeMS, value
		}
	case Distinct:
		b.set = withHash(b.set, uint32(value))
	}
}

// absorb adds all of another bucket.
func (b *bucket) absorb(s *Spec, other *bucket) {
	switch s.Aggregate {
	case Count, Sum:
		b.value = saturated(b.value, other.value)
	case Min:
		b.value = min(b.value, other.value)
	case Max:
		b.value = max(b.value, other.value)
	case Last:
		if other.timeMS > b.timeMS || other.timeMS == b.timeMS && other.value > b.value {
			b.timeMS, b.value = other.timeMS, other.value
		}
	case Distinct:
		for _, hash := range other.set {
			b.set = withHash(b.set, hash)
		}
	}
	b.fired = b.fired || other.fired
}

// withHash adds a hash to a set that keeps the smallest ones, so that their order does not matter.
func withHash(set []uint32, hash uint32) []uint32 {
	at, known := slices.BinarySearch(set, hash)
	if known || at == MaxDistinct {
		return set
	}
	set = slices.Insert(slices.Clip(set), at, hash)
	return set[:min(len(set), MaxDistinct)]
}

// saturated is the sum, which stops at its bounds.
func saturated(a, b int64) int64 { return max(-maxSum, min(maxSum, a+b)) }

// result is the aggregate of a bucket as a value, in millionths.
func (b *bucket) result(s *Spec) int64 {
	switch s.Aggregate {
	case Count:
		return min(b.value, maxEvents) * Unit
	case Distinct:
		return int64(len(b.set)) * Unit
	default:
		return b.value
	}
}
