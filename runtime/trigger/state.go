package trigger

import "encoding/binary"

// MaxStateBytes bounds the state of one subject for all strategies. An event that would make it larger changes
// nothing.
const MaxStateBytes = 256 << 10

const stateFormat = 1

// sweepAgainMS is the least time between two looks through a state.
const sweepAgainMS = 3600 * 1000

// Change is what became of the state of a subject, and what is to be done.
type Change struct {
	// State is the new state; nil: nothing is left. It is valid until the next call.
	State []byte
	// SetMS and ClearMS are the timer to set and the one to clear, of the strategy; 0: none.
	SetMS, ClearMS int64
	// SweepMS and UnsweepMS are the same for the timer of the subject, when its state is looked through for
	// what means nothing any more.
	SweepMS, UnsweepMS int64
	// Raised are the triggers to raise.
	Raised []Raised
	// Cancel tells that what should have followed did, after the strategy raised a trigger since it had not.
	Cancel bool
	// Full tells that the event was not entered since the state would be too large.
	Full bool
}

// Machine changes states. It keeps its memory between calls and is used by one goroutine.
type Machine struct {
	entry   entry
	work    work
	scratch []byte // of the entry
	out     []byte // of all entries
	state   []byte // with their head
}

// Event enters an event into the state of a subject, for the strategy with an id. nowMS is the time of the
// log entry; state is not changed. What is stateless needs no state: it may be nil.
func (m *Machine) Event(state []byte, id uint32, s *Spec, in *Event, nowMS int64) (Change, error) {
	in.TimeMS = max(minTimeMS+MaxSpanMS, min(maxTimeMS-4*MaxSpanMS, in.TimeMS))
	in.ReceivedMS = max(minTimeMS+MaxSpanMS, min(maxTimeMS-4*MaxSpanMS, in.ReceivedMS))
	in.Value = max(-MaxValue, min(MaxValue, in.Value))
	return m.change(state, id, s, nowMS, in, 0)
}

// Fire is called when the timer of a strategy is due. It changes nothing if that was cleared meanwhile.
func (m *Machine) Fire(state []byte, id uint32, s *Spec, timerMS, nowMS int64) (Change, error) {
	return m.change(state, id, s, nowMS, nil, timerMS)
}

// Sweep takes out what means nothing any more. It is called when the timer of the subject is due.
func (m *Machine) Sweep(state []byte, nowMS int64) (change Change, err error) {
	r, _, err := open(state) // the timer of the subject is the one that fired
	if err != nil {
		return change, err
	}
	m.out = m.out[:0]
	latest := int64(0)
	for {
		p, ok := r.part()
		if !ok {
			break
		}
		latest = m.keep(&p, nowMS, latest)
	}
	if err := r.err(); err != nil {
		return change, err
	}
	return m.finish(0, max(latest, nowMS+sweepAgainMS)), nil
}

// change replaces the entry of one strategy by what an event, or else its timer, makes of it, and leaves out
// those that expired.
func (m *Machine) change(state []byte, id uint32, s *Spec, nowMS int64, in *Event, timerMS int64) (change Change, err error) {
	r, sweepMS, err := open(state)
	if err != nil {
		return change, err
	}
	m.entry.reset()
	m.out = m.out[:0]
	latest := int64(0)
	own, next := part{id: id}, part{}
	for next.body == nil && own.body == nil {
		p, ok := r.part()
		switch {
		case !ok:
			next.body = []byte{}
		case p.id < id:
			latest = m.keep(&p, nowMS, latest)
		case p.id == id:
			own = p
		default:
			next = p
		}
	}
	before, err := m.load(&own, s, nowMS)
	if err != nil {
		return change, err
	}
	m.work = work{spec: s, entry: &m.entry, raised: m.work.raised[:0]}
	if in != nil {
		m.work.event(in)
	} else if m.entry.timerMS == timerMS {
		m.work.fire(max(timerMS, nowMS))
	}
	if e := &m.entry; e.shape != 0 && (e.expiryMS >= nowMS || e.timerMS != 0) {
		m.scratch = e.append(m.scratch[:0], s)
		own.expiryMS, own.timerMS, own.body = e.expiryMS, e.timerMS, m.scratch
		latest = m.keep(&own, nowMS, latest)
	} else {
		e.timerMS = 0
	}
	if len(next.body) > 0 {
		latest = m.keep(&next, nowMS, latest)
	}
	for {
		p, ok := r.part()
		if !ok {
			break
		}
		latest = m.keep(&p, nowMS, latest)
	}
	if err := r.err(); err != nil {
		return change, err
	}
	if len(m.out) > MaxStateBytes {
		return Change{State: state, Full: true}, nil
	}
	change = m.finish(sweepMS, latest)
	change.Raised, change.Cancel = m.work.raised, m.work.cancel
	if after := m.entry.timerMS; after != before {
		change.ClearMS, change.SetMS = before, after
	}
	return change, nil
}

// keep puts an entry into the new state, unless it expired, and gives when the last of those kept expires.
func (m *Machine) keep(p *part, nowMS, latest int64) int64 {
	if p.expiryMS < nowMS && p.timerMS == 0 {
		return latest
	}
	m.out = p.append(m.out)
	return max(latest, p.expiryMS)
}

// load reads the entry of a strategy and gives its timer. One that expired, or of another shape, is begun anew.
func (m *Machine) load(own *part, s *Spec, nowMS int64) (timerMS int64, err error) {
	if own.body == nil {
		return 0, nil
	}
	same, err := m.entry.decode(own.body, s)
	if err != nil {
		return 0, err
	}
	timerMS = m.entry.timerMS
	if !same || own.expiryMS < nowMS && timerMS == 0 {
		m.entry.reset()
	}
	return timerMS, nil
}

// finish puts the head before the parts in m.out.
func (m *Machine) finish(sweepMS, latest int64) (change Change) {
	if len(m.out) == 0 {
		return Change{UnsweepMS: sweepMS}
	}
	if sweepMS == 0 {
		sweepMS, change.SweepMS = latest, latest
	}
	m.state = binary.AppendVarint(append(m.state[:0], stateFormat), sweepMS)
	m.state = append(m.state, m.out...)
	change.State = m.state
	return change
}

// part is the entry of one strategy as it lies in a state.
type part struct {
	id       uint32
	expiryMS int64
	timerMS  int64 // 0: it has no timer
	body     []byte
}

func (p *part) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, p.id)
	return append(binary.AppendUvarint(dst, uint64(len(p.body))), p.body...)
}

// open reads the head of a state.
func open(state []byte) (r reader, sweepMS int64, err error) {
	r.rest = state
	if state == nil {
		return r, 0, nil
	}
	if r.byte() != stateFormat {
		return r, 0, ErrCorrupt
	}
	sweepMS = r.time()
	if r.bad {
		return r, 0, ErrCorrupt
	}
	return r, sweepMS, nil
}

// part takes the next entry off the front; ok is false at the end, and when it is malformed.
func (r *reader) part() (p part, ok bool) {
	if r.bad || len(r.rest) == 0 {
		return p, false
	}
	id := r.take(4)
	if id == nil {
		return p, false
	}
	p.id, p.body = binary.BigEndian.Uint32(id), r.take(r.uvarint())
	if r.bad {
		return p, false
	}
	head := reader{rest: p.body}
	p.expiryMS = head.time()
	head.take(2)
	timed := head.byte()&entryTimer != 0
	head.varint()
	if timed {
		p.timerMS = p.expiryMS + head.varint()
	}
	if head.bad || r.last >= uint64(p.id)+1 {
		r.bad = true
		return p, false
	}
	r.last = uint64(p.id) + 1
	return p, true
}

// Read is the aggregate of a strategy for a subject as of a moment, in millionths. ok is false where there is
// none: nothing happened yet, or not within the window, and the aggregate of nothing is not 0.
func (m *Machine) Read(state []byte, id uint32, s *Spec, nowMS int64) (value int64, ok bool, err error) {
	r, _, err := open(state)
	if err != nil || s.Aggregate == None {
		return 0, false, err
	}
	for {
		p, more := r.part()
		if !more {
			break
		}
		if p.id != id {
			continue
		}
		same, err := m.entry.decode(p.body, s)
		if err != nil || !same || p.expiryMS < nowMS {
			return 0, err == nil && s.additive(), err
		}
		value, ok = m.entry.result(s, nowMS)
		return value, ok, nil
	}
	return 0, s.additive(), r.err()
}

// Timer is a timer that a state counts on.
type Timer struct {
	// ID is that of the strategy, 0 of the timer of the subject.
	ID uint32
	MS int64
}

// Timers are all timers that a state counts on, so that they can be cleared with it.
func Timers(state []byte) (timers []Timer, err error) {
	r, sweepMS, err := open(state)
	if err != nil {
		return nil, err
	}
	if sweepMS != 0 {
		timers = append(timers, Timer{MS: sweepMS})
	}
	for {
		p, ok := r.part()
		if !ok {
			return timers, r.err()
		}
		if p.timerMS != 0 {
			timers = append(timers, Timer{ID: p.id, MS: p.timerMS})
		}
	}
}
