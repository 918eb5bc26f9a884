package trigger

import (
	"encoding/binary"
	"errors"
	"strconv"

	"github.com/cespare/xxhash/v2"
)

// Window is how events are gathered.
type Window uint8

// The windows. The numbers are stored: append only.
const (
	// Unbounded gathers all events.
	Unbounded Window = iota
	// Tumbling windows follow one another; they begin at multiples of their size since 1970, UTC.
	Tumbling
	// Sliding is what happened within the size before the moment. It moves in steps of a slice.
	Sliding
	// Session windows end when nothing happened for the size.
	Session
	// TumblingCount windows have so many events each, in the order they arrive.
	TumblingCount
	// SlidingCount has the newest events, so many of them.
	SlidingCount

	windows
)

// Aggregate is what is made of the values of events.
type Aggregate uint8

// The aggregates. The numbers are stored: append only.
const (
	// None keeps nothing: each event stands for itself.
	None Aggregate = iota
	Count
	Sum
	Min
	Max
	// Distinct is the number of different values, up to MaxDistinct.
	Distinct
	// Last is the value of the newest event; of several of one time the greatest.
	Last

	aggregates
)

// Raise is when a strategy raises a trigger.
type Raise uint8

// When triggers are raised. The numbers are stored: append only.
const (
	// Never only counts.
	Never Raise = iota
	// Each event raises one, if the threshold, where there is one, holds after it.
	Each
	// Crossing raises one when the threshold begins to hold.
	Crossing
	// End raises one when a window ends, if the threshold, where there is one, holds then.
	End
	// Absent raises one when what should follow an event did not.
	Absent

	raises
)

// Limits of a strategy.
const (
	// MaxSpanMS bounds sizes, lateness and waiting: 90 days.
	MaxSpanMS = 90 * 24 * 3600 * 1000
	// MaxSlices bounds the slices of a sliding window.
	MaxSlices = 400
	// MaxCount bounds SlidingCount, MaxTumblingCount TumblingCount.
	MaxCount         = 256
	MaxTumblingCount = 1_000_000
	// MaxDistinct is how many different values are told apart.
	MaxDistinct = 256
	// MaxValue bounds the size of a value, in millionths.
	MaxValue = 1_000_000_000_000 * Unit
	// Unit is 1 as a value.
	Unit = 1_000_000

	// maxSum is where sums stop growing, and maxEvents where events are counted no further.
	maxSum    = 1 << 61
	maxEvents = 1 << 40
	// minTimeMS and maxTimeMS bound the times that are taken: the years 1 to 9999.
	minTimeMS = -62_135_596_800_000
	maxTimeMS = 253_402_300_799_999
)

// Spec is what the state machine needs to know of a strategy.
type Spec struct {
	Window    Window
	Aggregate Aggregate
	Raise     Raise
	// SizeMS is the size of the window, SliceMS the step of a sliding one; Count is the size of those by count.
	SizeMS, SliceMS int64
	Count           int64
	// LatenessMS is for how long after its end a window takes events that happened in it.
	LatenessMS int64
	// HasThreshold tells that Threshold counts: the aggregate is at least that, or below it if Below is true.
	HasThreshold, Below bool
	Threshold           int64
	// WithinMS is how long what should follow may take, of Absent. First counts from the first event that
	// began it, not from the last.
	WithinMS int64
	First    bool
	// ValidMS is how long after it was raised a trigger may be decided.
	ValidMS int64
}

// ErrCorrupt is returned for bytes that are not what this package writes.
var ErrCorrupt = errors.New("the state of an event strategy is malformed")

// IDOf stands for the name of a strategy in the state. No two strategies of a catalog have the same.
func IDOf(name string) uint32 { return uint32(xxhash.Sum64String(name)) }

// Stateless tells that nothing is kept: each event raises a trigger, or nothing happens.
func (s *Spec) Stateless() bool { return s.Aggregate == None && s.Raise != Absent }

// Valid tells whether s can be worked by.
func (s *Spec) Valid() bool {
	span := func(ms int64) bool { return ms >= 0 && ms <= MaxSpanMS }
	ok := s.Window < windows && s.Aggregate < aggregates && s.Raise < raises &&
		span(s.SizeMS) && span(s.SliceMS) && span(s.LatenessMS) && span(s.WithinMS) && span(s.ValidMS) &&
		s.Threshold >= -MaxValue && s.Threshold <= MaxValue
	if !ok || s.Raise == Crossing && !s.HasThreshold || s.Raise == Absent && s.WithinMS == 0 ||
		s.Aggregate == None && (s.Raise == Crossing || s.Raise == End) {
		return false
	}
	switch s.Window {
	case Tumbling, Session:
		return s.SizeMS > 0
	case Sliding:
		return s.SliceMS > 0 && s.SizeMS >= s.SliceMS && s.SizeMS/s.SliceMS <= MaxSlices && s.SizeMS%s.SliceMS == 0 && s.Raise != End
	case TumblingCount:
		return s.Count > 0 && s.Count <= MaxTumblingCount
	case SlidingCount:
		return s.Count > 0 && s.Count <= MaxCount && s.Raise != End
	default:
		return s.Raise != End
	}
}

// shape stands for what the state depends on: state of another shape is begun anew. A threshold may change
// without that.
func (s *Spec) shape() uint16 {
	var room [64]byte
	b := append(room[:0], byte(s.Window), byte(s.Aggregate), b2(s.Raise == Absent), b2(s.First))
	b = binary.AppendVarint(b, s.SizeMS)
	b = binary.AppendVarint(b, s.SliceMS)
	b = binary.AppendVarint(b, s.Count)
	return uint16(xxhash.Sum64(b)) | 1 // 0 is no shape
}

func b2(b bool) byte {
	if b {
		return 1
	}
	return 0
}

const (
	specThreshold = 1 << iota
	specBelow
	specFirst
	specFlags = specThreshold | specBelow | specFirst
)

// Append appends the bytes of s to dst.
func (s *Spec) Append(dst []byte) []byte {
	flags := b2(s.HasThreshold)*specThreshold | b2(s.Below)*specBelow | b2(s.First)*specFirst
	dst = append(dst, byte(s.Window)|byte(s.Aggregate)<<4, byte(s.Raise)|flags<<4)
	for _, n := range [...]int64{s.SizeMS, s.SliceMS, s.Count, s.LatenessMS, s.WithinMS, s.ValidMS} {
		dst = binary.AppendUvarint(dst, uint64(n))
	}
	if s.HasThreshold {
		dst = binary.AppendVarint(dst, s.Threshold)
	}
	return dst
}

func (r *reader) spec(s *Spec) {
	kinds, raise := r.byte(), r.byte()
	flags := raise >> 4
	*s = Spec{Window: Window(kinds & 15), Aggregate: Aggregate(kinds >> 4), Raise: Raise(raise & 15),
		HasThreshold: flags&specThreshold != 0, Below: flags&specBelow != 0, First: flags&specFirst != 0}
	for _, n := range [...]*int64{&s.SizeMS, &s.SliceMS, &s.Count, &s.LatenessMS, &s.WithinMS, &s.ValidMS} {
		*n = int64(r.uvarint())
	}
	if s.HasThreshold {
		s.Threshold = r.varint()
	}
	r.bad = r.bad || flags&^specFlags != 0 || !s.Valid()
}

// reader takes fields off the front of bytes. After the first that is not there, bad is set and every further
// one is zero.
type reader struct {
	rest []byte
	bad  bool
	last uint64 // the entry before, of a state
}

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *reader) varint() int64 {
	v := r.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// time is a varint that is a time.
func (r *reader) time() int64 {
	ms := r.varint()
	if ms < minTimeMS || ms > maxTimeMS {
		r.bad = true
		return 0
	}
	return ms
}

func (r *reader) err() error {
	if r.bad || len(r.rest) > 0 {
		return ErrCorrupt
	}
	return nil
}

// String is the word for a in catalogs.
func (a Aggregate) String() string {
	if a >= aggregates {
		return ""
	}
	return [...]string{"none", "count", "sum", "min", "max", "distinct", "last"}[a]
}

// WindowText describes the window of s; empty for all events.
func (s *Spec) WindowText() string {
	size := spanText(s.SizeMS)
	switch s.Window {
	case Tumbling:
		return "tumbling " + size
	case Sliding:
		return "sliding " + size + " in steps of " + spanText(s.SliceMS)
	case Session:
		return "session " + size
	case TumblingCount:
		return strconv.FormatInt(s.Count, 10) + " events each"
	case SlidingCount:
		return "the last " + strconv.FormatInt(s.Count, 10) + " events"
	default:
		return ""
	}
}

// spanText is a time span in the largest unit that it is a whole number of.
func spanText(ms int64) string {
	for _, unit := range [...]struct {
		ms   int64
		name string
	}{{24 * 3600_000, "d"}, {3600_000, "h"}, {60_000, "m"}, {1000, "s"}} {
		if ms >= unit.ms && ms%unit.ms == 0 {
			return strconv.FormatInt(ms/unit.ms, 10) + unit.name
		}
	}
	return strconv.FormatInt(ms, 10) + "ms"
}
