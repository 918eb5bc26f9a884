package trigger

import "slices"

// Event is what an event brings to a strategy.
type Event struct {
	// TimeMS is when it happened and ReceivedMS when it arrived.
	TimeMS, ReceivedMS int64
	// Value is the value to aggregate, in millionths, or what stands for it, of Distinct.
	Value int64
	// Ends tells, of an absence, that this is what should follow.
	Ends bool
	// Template is kept for the triggers that are raised when no event arrives. It is not read.
	Template []byte
}

// Raised is one trigger to raise. The template is that of the event that led to it; it is valid until the next
// call.
type Raised struct {
	// Value is the aggregate, in millionths; HasValue tells that there is one.
	Value    int64
	HasValue bool
	Template []byte
}

// keepByCountMS is how long the state of a strategy without a window of time is kept after its last event.
const keepByCountMS = MaxSpanMS

// holds tells whether the threshold holds for a value.
func (s *Spec) holds(value int64) bool {
	switch {
	case !s.HasThreshold:
		return true
	case s.Below:
		return value < s.Threshold
	default:
		return value >= s.Threshold
	}
}

func floorTo(ms, size int64) int64 {
	at := ms - ms%size
	if ms%size < 0 {
		at -= size
	}
	return at
}

// work is one call on an entry: what it raises.
type work struct {
	spec   *Spec
	entry  *entry
	raised []Raised
	cancel bool
}

// event enters an event.
func (w *work) event(in *Event) {
	s, e := w.spec, w.entry
	fresh := e.shape == 0
	if fresh {
		e.shape, e.newestMS = s.shape(), in.TimeMS
	}
	newest := in.TimeMS >= e.newestMS
	if s.Raise == Absent {
		w.absence(in)
	} else {
		w.enter(in, newest)
	}
	if newest {
		e.newestMS, e.lagMS = in.TimeMS, max(0, in.ReceivedMS-in.TimeMS)
	}
	e.expiryMS = min(maxTimeMS, max(e.expiryMS, max(in.TimeMS, in.ReceivedMS)+w.keepMS()))
	w.plan()
}

// keepMS is for how long after an event the entry means something.
func (w *work) keepMS() int64 {
	s := w.spec
	switch {
	case s.Raise == Absent:
		return s.WithinMS + s.LatenessMS + s.ValidMS
	case s.Window == Tumbling, s.Window == Session:
		return s.SizeMS + s.LatenessMS
	case s.Window == Sliding:
		return s.SizeMS
	default:
		return keepByCountMS
	}
}

func (w *work) enter(in *Event, newest bool) {
	s, e := w.spec, w.entry
	switch s.Window {
	case Tumbling:
		w.advance(max(e.newestMS, in.TimeMS))
		start := floorTo(in.TimeMS, s.SizeMS)
		if start+s.SizeMS+s.LatenessMS <= e.newestMS {
			return // late
		}
		w.keepTemplate(in, newest)
		w.told(w.into(start, in), in)
	case Session:
		w.advance(max(e.newestMS, in.TimeMS))
		w.keepTemplate(in, newest)
		if b := w.intoSession(in); b != nil {
			w.told(b, in)
		}
	case Sliding, SlidingCount:
		w.slide(in)
	default:
		b := w.into(0, in)
		w.told(b, in)
		if s.Window == TumblingCount && b.count >= s.Count {
			if s.Raise == End && s.holds(b.result(s)) {
				w.raiseNow(b.result(s), in)
			}
			e.buckets = e.buckets[:0]
		}
	}
}

// into enters an event into the bucket that begins at start.
func (w *work) into(start int64, in *Event) *bucket {
	e := w.entry
	at, known := slices.BinarySearchFunc(e.buckets, start, func(b bucket, start int64) int {
		switch {
		case b.startMS < start:
			return -1
		case b.startMS > start:
			return 1
		}
		return 0
	})
	if !known {
		e.buckets = slices.Insert(e.buckets, at, bucket{startMS: start})
	}
	b := &e.buckets[at]
	b.enter(w.spec, in.TimeMS, in.Value, !known)
	return b
}

// intoSession enters an event into the session it belongs to, which may join two; nil if it is late.
func (w *work) intoSession(in *Event) *bucket {
	s, e := w.spec, w.entry
	at := 0
	for at < len(e.buckets) && e.buckets[at].startMS+e.buckets[at].lengthMS+s.SizeMS <= in.TimeMS {
		at++
	}
	// The session at this place, if any, ends after the event or less than the gap before it.
	if at == len(e.buckets) || e.buckets[at].startMS-s.SizeMS >= in.TimeMS {
		if in.TimeMS+s.SizeMS+s.LatenessMS <= e.newestMS {
			return nil
		}
		e.buckets = slices.Insert(e.buckets, at, bucket{startMS: in.TimeMS})
		e.buckets[at].enter(s, in.TimeMS, in.Value, true)
		return &e.buckets[at]
	}
	b := &e.buckets[at]
	end := max(b.startMS+b.lengthMS, in.TimeMS)
	b.rebase(min(b.startMS, in.TimeMS))
	b.lengthMS = end - b.startMS
	b.enter(s, in.TimeMS, in.Value, false)
	if at+1 < len(e.buckets) && e.buckets[at+1].startMS-s.SizeMS < end {
		next := &e.buckets[at+1]
		b.lengthMS = next.startMS + next.lengthMS - b.startMS
		b.absorb(s, next)
		e.buckets = slices.Delete(e.buckets, at+1, at+2)
	}
	return &e.buckets[at]
}

func (b *bucket) rebase(startMS int64) { b.startMS = startMS }

// told raises what an event that was entered into b gives reason to.
func (w *work) told(b *bucket, in *Event) {
	value := b.result(w.spec)
	holds := w.spec.holds(value)
	switch w.spec.Raise {
	case Each:
		if holds {
			w.raiseNow(value, in)
		}
	case Crossing:
		if holds && !b.fired {
			w.raiseNow(value, in)
		}
		b.fired = holds
	case Never: // the event alone may lead to no trigger
		b.fired = b.fired && holds
	}
}

// raiseNow raises with the template of an event.
func (w *work) raiseNow(value int64, in *Event) {
	w.raised = append(w.raised, Raised{Value: value, HasValue: w.spec.Aggregate != None, Template: in.Template})
}

// keepTemplate keeps what is needed to raise when no event arrives.
func (w *work) keepTemplate(in *Event, newest bool) {
	if w.spec.Raise == End && (newest || len(w.entry.template) == 0) && len(in.Template) <= maxTemplate {
		w.entry.template = append(w.entry.template[:0], in.Template...)
	}
}

// advance ends the windows that are over when the newest event is of a time.
func (w *work) advance(newestMS int64) {
	s, e := w.spec, w.entry
	ended := 0
	for ended < len(e.buckets) && s.endOf(&e.buckets[ended])+s.LatenessMS <= newestMS {
		if b := &e.buckets[ended]; s.Raise == End && s.holds(b.result(s)) {
			w.raised = append(w.raised, Raised{Value: b.result(s), HasValue: true, Template: slices.Clone(e.template)})
		}
		ended++
	}
	e.buckets = slices.Delete(e.buckets, 0, ended)
	e.newestMS = max(e.newestMS, newestMS)
}

// endOf is when a window of time ends.
func (s *Spec) endOf(b *bucket) int64 {
	if s.Window == Session {
		return b.startMS + b.lengthMS + s.SizeMS
	}
	return b.startMS + s.SizeMS
}

// slide enters an event into a sliding window. Whether the threshold holds is looked at without the event,
// too: what left the window meanwhile may have ended that it did.
func (w *work) slide(in *Event) {
	s, e := w.spec, w.entry
	e.newestMS = max(e.newestMS, in.TimeMS)
	w.trim()
	if before, ok := e.result(s, e.newestMS); !ok || !s.holds(before) {
		e.fired = false
	}
	if !w.insert(in) {
		return // it happened before the window
	}
	value, _ := e.result(s, e.newestMS)
	holds := s.holds(value)
	if holds && (s.Raise == Each || s.Raise == Crossing && !e.fired) {
		w.raiseNow(value, in)
	}
	e.fired = holds && (e.fired || s.Raise == Crossing)
}

// trim takes out what left a sliding window.
func (w *work) trim() {
	s, e := w.spec, w.entry
	if s.Window != Sliding {
		return
	}
	from := s.windowStart(e.newestMS)
	e.buckets = slices.DeleteFunc(e.buckets, func(b bucket) bool { return b.startMS < from })
	e.items = slices.DeleteFunc(e.items, func(it item) bool { return it.timeMS < from })
}

// windowStart is where a sliding window begins that ends at a time: at the beginning of a slice, so that the
// slice of the time itself is its last one.
func (s *Spec) windowStart(ms int64) int64 { return floorTo(ms, s.SliceMS) - s.SizeMS + s.SliceMS }

// insert enters an event into what a sliding window has; false where it has no place.
func (w *work) insert(in *Event) bool {
	s, e := w.spec, w.entry
	if s.Window == Sliding && in.TimeMS < s.windowStart(e.newestMS) {
		return false
	}
	if !s.itemized() {
		w.into(floorTo(in.TimeMS, s.SliceMS), in)
		return true
	}
	it := item{timeMS: in.TimeMS, value: in.Value}
	limit := int(s.Count)
	if s.Window == Sliding {
		limit = MaxDistinct
		it.value = int64(uint32(in.Value))
		if at := slices.IndexFunc(e.items, func(known item) bool { return known.value == it.value }); at >= 0 {
			it.timeMS = max(it.timeMS, e.items[at].timeMS)
			e.items = slices.Delete(e.items, at, at+1)
		}
	}
	at := len(e.items)
	for at > 0 && !e.items[at-1].before(it) {
		at--
	}
	if at == 0 && len(e.items) >= limit {
		return false
	}
	e.items = slices.Insert(e.items, at, it)
	if len(e.items) > limit {
		e.items = slices.Delete(e.items, 0, 1)
	}
	return true
}

// result is the aggregate as of a moment, in millionths. ok is false where there is none.
func (e *entry) result(s *Spec, nowMS int64) (value int64, ok bool) {
	var sum bucket
	found := false
	add := func(b *bucket) {
		if !found {
			sum, found = *b, true
			return
		}
		sum.absorb(s, b)
	}
	switch {
	case s.itemized():
		from := int64(minTimeMS)
		if s.Window == Sliding {
			from = s.windowStart(nowMS)
		}
		return e.itemResult(s, from, nowMS)
	case s.Window == Sliding:
		from := s.windowStart(nowMS)
		for i := range e.buckets {
			if b := &e.buckets[i]; b.startMS >= from && b.startMS <= nowMS {
				add(b)
			}
		}
	case s.Window == Tumbling, s.Window == Session:
		for i := range e.buckets {
			if b := &e.buckets[i]; b.startMS <= nowMS && nowMS < s.endOf(b) {
				add(b)
			}
		}
	default:
		for i := range e.buckets {
			add(&e.buckets[i])
		}
	}
	if !found {
		return 0, s.additive()
	}
	return sum.result(s), true
}

// additive tells that the aggregate of nothing is 0.
func (s *Spec) additive() bool {
	return s.Aggregate == Count || s.Aggregate == Sum || s.Aggregate == Distinct
}

func (e *entry) itemResult(s *Spec, fromMS, nowMS int64) (value int64, ok bool) {
	var sum bucket
	n := int64(0)
	for _, it := range e.items {
		if it.timeMS < fromMS || s.Window == Sliding && it.timeMS > nowMS {
			continue
		}
		if s.Window == SlidingCount {
			sum.enter(s, it.timeMS, it.value, n == 0)
		}
		n++
	}
	switch {
	case s.Window == Sliding:
		return n * Unit, true
	case n == 0:
		return 0, s.additive()
	}
	return sum.result(s), true
}
