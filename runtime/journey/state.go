package journey

import "encoding/binary"

const stateFormat = 1

// State is where one subject stands in all journeys. The zero State is that of one in none. It is used by
// one goroutine at a time.
type State struct {
	// Next numbers the instance that begins next.
	Next uint64
	// Open are the instances that have not ended, in the order they began.
	Open []Instance
	// Ended is how the last instance of each journey ended, in the order they did.
	Ended []Ended
	// Moves are the last moves, oldest first.
	Moves []Moved
}

// Instance is one run of a subject through a journey.
type Instance struct {
	Journey, Key, Stage string
	// Number tells it from all others that the subject had.
	Number uint64
	// Digest identifies the definition by which it moved last.
	Digest [DigestBytes]byte
	// BegunMS is when it began, SinceMS when it came into its stage, EventMS the time of the newest event
	// that it knows of; DueMS is when its stage times out, 0 for never.
	BegunMS, SinceMS, EventMS, DueMS int64
	// Data are the fields carried along, in the order of their names.
	Data []Field
}

// Ended is the end of an instance. With AtMS 0 none was open: an event would have ended one.
type Ended struct {
	Journey, Key, Stage string
	AtMS                int64
	// EventMS is the time of the newest event that the instance knew of.
	EventMS int64
}

// Moved is one move. From is empty where an instance began; To is a final stage where it ended, or empty if
// it ended without one.
type Moved struct {
	Journey, Key, From, To string
	Number                 uint64
	AtMS                   int64
	Cause                  Cause
	Detail                 string
}

// Empty tells whether there is nothing to be kept.
func (s *State) Empty() bool { return len(s.Open) == 0 && len(s.Ended) == 0 && len(s.Moves) == 0 }

// Append appends the bytes of s to dst.
func (s *State) Append(dst []byte) []byte {
	dst = binary.AppendUvarint(append(dst, stateFormat), s.Next)
	dst = binary.AppendUvarint(dst, uint64(len(s.Open)))
	for i := range s.Open {
		dst = s.Open[i].append(dst)
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.Ended)))
	for i := range s.Ended {
		e := &s.Ended[i]
		dst = appendText(appendText(appendText(dst, e.Journey), e.Key), e.Stage)
		dst = binary.AppendVarint(binary.AppendVarint(dst, e.AtMS), e.EventMS)
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.Moves)))
	for i := range s.Moves {
		m := &s.Moves[i]
		dst = appendText(appendText(appendText(appendText(dst, m.Journey), m.Key), m.From), m.To)
		dst = binary.AppendVarint(binary.AppendUvarint(dst, m.Number), m.AtMS)
		dst = appendText(append(dst, byte(m.Cause)), m.Detail)
	}
	return dst
}

func (in *Instance) append(dst []byte) []byte {
	dst = appendText(appendText(appendText(dst, in.Journey), in.Key), in.Stage)
	dst = append(binary.AppendUvarint(dst, in.Number), in.Digest[:]...)
	// Times after the first are near it.
	dst = binary.AppendVarint(binary.AppendVarint(dst, in.BegunMS), in.SinceMS-in.BegunMS)
	dst = binary.AppendVarint(dst, in.EventMS-in.BegunMS)
	if in.DueMS == 0 {
		dst = append(dst, 0)
	} else {
		dst = binary.AppendVarint(append(dst, 1), in.DueMS-in.BegunMS)
	}
	return appendFields(dst, in.Data)
}

// Decode reads what Append wrote; no bytes are the zero State. s does not share the memory of b.
func (s *State) Decode(b []byte) error {
	*s = State{Open: s.Open[:0], Ended: s.Ended[:0], Moves: s.Moves[:0]}
	if len(b) == 0 {
		return nil
	}
	r := reader{rest: string(b)}
	if r.byte() != stateFormat {
		return ErrMalformed
	}
	s.Next = r.uvarint(1<<63 - 1)
	for range r.count(MaxOpen) {
		s.Open = append(s.Open, r.instance())
	}
	for range r.count(MaxEffects) {
		s.Ended = append(s.Ended, Ended{Journey: r.name(), Key: r.text(MaxKeyBytes), Stage: r.text(MaxNameBytes), AtMS: r.varint(), EventMS: r.varint()})
	}
	for range r.count(MaxMoves) {
		m := Moved{Journey: r.name(), Key: r.text(MaxKeyBytes), From: r.text(MaxNameBytes), To: r.text(MaxNameBytes),
			Number: r.uvarint(1<<63 - 1), AtMS: r.varint(), Cause: Cause(r.byte()), Detail: r.text(MaxTextBytes)}
		r.bad = r.bad || m.Cause == 0 || m.Cause >= causeEnd
		s.Moves = append(s.Moves, m)
	}
	return r.end()
}

func (r *reader) instance() (in Instance) {
	in.Journey, in.Key, in.Stage = r.name(), r.text(MaxKeyBytes), r.name()
	in.Number = r.uvarint(1<<63 - 1)
	copy(in.Digest[:], r.take(DigestBytes))
	in.BegunMS = r.varint()
	in.SinceMS, in.EventMS = in.BegunMS+r.varint(), in.BegunMS+r.varint()
	switch r.byte() {
	case 0:
	case 1:
		in.DueMS = in.BegunMS + r.varint()
		r.bad = r.bad || in.DueMS == 0
	default:
		r.bad = true
	}
	in.Data = r.fields()
	return in
}

// Of is the open instance of a journey that moved last, and how many are open; nil for none.
func (s *State) Of(journey string) (newest *Instance, open int) {
	for i := range s.Open {
		in := &s.Open[i]
		if in.Journey != journey {
			continue
		}
		open++
		if newest == nil || in.SinceMS >= newest.SinceMS {
			newest = in
		}
	}
	return newest, open
}

// LastEnd is how the last instance of a journey ended; nil if none has.
func (s *State) LastEnd(journey string) *Ended {
	for i := range s.Ended {
		if s.Ended[i].Journey == journey {
			return &s.Ended[i]
		}
	}
	return nil
}

// Field is the value of a field of an instance; ok is false when it does not have it.
func (in *Instance) Field(name string) (v Value, ok bool) {
	for i := range in.Data {
		if in.Data[i].Name == name {
			return in.Data[i].Value, true
		}
	}
	return Value{}, false
}

// Fit appends the bytes of s to dst, without its moves where they would be too many bytes. ok is false when it
// is too large even so.
func (s *State) Fit(dst []byte) (b []byte, ok bool) {
	at := len(dst)
	if b = s.Append(dst); len(b)-at <= MaxStateBytes {
		return b, true
	}
	s.Moves = s.Moves[:0]
	b = s.Append(b[:at])
	return b, len(b)-at <= MaxStateBytes
}

// Holder is a subject whose state can be read with it, as of the same log index: bytes for State.Decode, none
// for one that is in no journey. They are valid as long as the subject.
type Holder interface {
	JourneyBytes() ([]byte, error)
}
