package command

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// The sections of an event: what the proposer worked out of it with the catalog, for the state machine. They
// are not kept.
const (
	// EffectAttributes are the attributes that the event sets: AppendAttributes.
	EffectAttributes SectionTag = 40
	// EffectStrategies is what event strategies read from the event.
	EffectStrategies SectionTag = 41
	// EffectJourneys is what journeys read from the event.
	EffectJourneys SectionTag = 42
)

// Limits of events in one operation.
const (
	// MaxEvents bounds the events of one operation.
	MaxEvents = 4096
	// MaxEventRecord bounds the kept bytes of one event.
	MaxEventRecord = nba.MaxEventBytes + 16<<10
	// MaxStreamName bounds the name of a stream.
	MaxStreamName = maxText
	// HashBytes is the size of the hash of an event.
	HashBytes = 16
)

// EventHash stands for an event: the first bytes of a SHA-256 over the length of its source, its source and its
// id. Two events of one source and id are the same event.
func EventHash(source, id string) (hash [HashBytes]byte) {
	var room [256]byte
	b := binary.AppendUvarint(room[:0], uint64(len(source)))
	b = append(append(b, source...), id...)
	sum := sha256.Sum256(b)
	copy(hash[:], sum[:])
	return hash
}

// AppliedEvent is one event with what it is to do. Decoded, its parts share the memory of the body.
type AppliedEvent struct {
	// Hash is EventHash.
	Hash [HashBytes]byte
	// Key is the subject key of its subject.
	Key []byte
	// TimeMS is when it happened and ReceivedMS when it was accepted, in milliseconds since 1970.
	TimeMS, ReceivedMS int64
	// Record is what is kept of it: AppendEvent.
	Record []byte
	// Effects are the sections from 40 on.
	Effects Sections

	// kept are the bytes of all but Effects.
	kept []byte
}

// ForgetEvents tells what to remove from the front of what is kept of events. Nothing is searched for.
type ForgetEvents struct {
	// SeenMS is the time before which events are forgotten altogether: one that comes again is a new one.
	// KeptMS is that before which they cannot be read any more. Both are compared with the time an event was
	// accepted, in milliseconds since 1970.
	SeenMS, KeptMS int64
	// MaxKept is how many events can be read; 0: any number.
	MaxKept uint64
	// LettersMS is the time before which dead letters are removed, and MaxLetters how many there may be;
	// 0: any number.
	LettersMS  int64
	MaxLetters uint64
	// Limit bounds the batches of events, and the letters, that are removed at once: 1 to MaxForget.
	Limit uint32
}

// MaxForget bounds ForgetEvents.Limit.
const MaxForget = 1024

// StreamStep moves the cursor of a stream, such as a partition of a topic, in the group that the operation is
// for. It is refused when the stored cursor, 0 before the first step, is not From.
type StreamStep struct {
	Stream     string // "" is no stream
	From, Next uint64
}

// ApplyEvents applies events of one data group, in their order. An event that was applied before is passed over;
// one that is refused goes to the dead letters and does not hinder the others. The whole operation is refused
// if Step does not fit.
type ApplyEvents struct {
	Step   StreamStep
	Events []AppliedEvent
	// Letters are events that the proposer found could not be applied.
	Letters []Letter
	// Forget, if it is not nil, removes old events before these are applied.
	Forget *ForgetEvents
}

const (
	eventsFlagStream = 1 << 0
	eventsFlagForget = 1 << 1
	eventsFlagLetter = 1 << 2
	eventsFlags      = eventsFlagStream | eventsFlagForget | eventsFlagLetter
)

// Append appends the operation to dst. It fails when there are too many events or letters, or one is too large.
func (o *ApplyEvents) Append(dst []byte) ([]byte, error) {
	if len(o.Events) > MaxEvents || len(o.Letters) > MaxLetters {
		return dst, fmt.Errorf("%d events and %d letters in one operation: at most %d and %d", len(o.Events), len(o.Letters), MaxEvents, MaxLetters)
	}
	dst, at := beginOp(dst, EventsApplied)
	flags := byte(0)
	if o.Step.Stream != "" {
		flags |= eventsFlagStream
	}
	if o.Forget != nil {
		flags |= eventsFlagForget
	}
	if len(o.Letters) > 0 {
		flags |= eventsFlagLetter
	}
	dst = append(dst, flags)
	if o.Step.Stream != "" {
		dst = o.Step.append(dst)
	}
	if o.Forget != nil {
		dst = o.Forget.append(dst)
	}
	dst = binary.AppendUvarint(dst, uint64(len(o.Events)))
	for i := range o.Events {
		e := &o.Events[i]
		if len(e.Record) > MaxEventRecord || len(e.Effects) > MaxSections {
			return dst, fmt.Errorf("an event of %d bytes with effects of %d: at most %d and %d", len(e.Record), len(e.Effects), MaxEventRecord, MaxSections)
		}
		dst = e.Effects.append(e.AppendKept(dst))
	}
	if len(o.Letters) > 0 {
		dst = appendLetters(dst, o.Letters)
	}
	return endOp(dst, at), nil
}

// Size is at least the bytes Append will append for the event.
func (e *AppliedEvent) Size() int {
	return HashBytes + len(e.Key) + len(e.Record) + len(e.Effects) + 4*binary.MaxVarintLen32 + 2*binary.MaxVarintLen64
}

// AppendKept appends what is kept of the event: all but Effects.
func (e *AppliedEvent) AppendKept(dst []byte) []byte {
	if e.kept != nil {
		return append(dst, e.kept...)
	}
	dst = append(append(dst, e.Hash[:]...), e.Key...)
	dst = binary.AppendVarint(dst, e.TimeMS)
	dst = binary.AppendVarint(dst, e.ReceivedMS)
	dst = binary.AppendUvarint(dst, uint64(len(e.Record)))
	return append(dst, e.Record...)
}

// Decode reads the body of an EventsApplied. It reuses Events.
func (o *ApplyEvents) Decode(body []byte) error {
	r := reader{rest: body}
	flags := r.u8()
	if flags&^eventsFlags != 0 {
		return ErrMalformed
	}
	o.Step, o.Forget = StreamStep{}, nil
	if flags&eventsFlagStream != 0 {
		o.Step = r.streamStep()
	}
	if flags&eventsFlagForget != 0 {
		o.Forget = r.forgetEvents()
	}
	n := r.uvarint()
	if n > MaxEvents {
		return ErrMalformed
	}
	o.Events = o.Events[:0]
	for range n {
		var e AppliedEvent
		r.keptEvent(&e)
		e.Effects = r.sections()
		if r.bad {
			return ErrMalformed
		}
		o.Events = append(o.Events, e)
	}
	if o.Letters = o.Letters[:0]; flags&eventsFlagLetter != 0 {
		o.Letters = r.letters(o.Letters)
	}
	return r.end()
}

func (r *reader) keptEvent(e *AppliedEvent) {
	from := r.rest
	copy(e.Hash[:], r.take(HashBytes))
	e.Key = r.subject()
	e.TimeMS, e.ReceivedMS = r.varint(), r.varint()
	n := r.uvarint()
	if n > MaxEventRecord {
		r.bad = true
	}
	e.Record = r.take(int(min(n, MaxEventRecord)))
	if !r.bad {
		e.kept = from[: len(from)-len(r.rest) : len(from)-len(r.rest)]
	}
}

// NextKept takes an event that AppendKept wrote off the front of b; ok is false at the end, and when what
// follows is not one. The event shares the memory of b and has no Effects.
func NextKept(b []byte) (e AppliedEvent, rest []byte, ok bool) {
	r := reader{rest: b}
	r.keptEvent(&e)
	return e, r.rest, !r.bad
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	if r.bad || n <= 0 {
		r.bad = true
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (s *StreamStep) append(dst []byte) []byte {
	dst = appendText(dst, s.Stream)
	dst = binary.LittleEndian.AppendUint64(dst, s.From)
	return binary.LittleEndian.AppendUint64(dst, s.Next)
}

func (r *reader) streamStep() (s StreamStep) {
	s.Stream, s.From, s.Next = r.text(MaxStreamName), r.u64(), r.u64()
	r.bad = r.bad || s.Stream == "" || s.Next < s.From
	return s
}

func (f *ForgetEvents) append(dst []byte) []byte {
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.SeenMS))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.KeptMS))
	dst = binary.AppendUvarint(dst, f.MaxKept)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(f.LettersMS))
	dst = binary.AppendUvarint(dst, f.MaxLetters)
	return binary.LittleEndian.AppendUint32(dst, f.Limit)
}

func (r *reader) forgetEvents() *ForgetEvents {
	f := &ForgetEvents{SeenMS: int64(r.u64()), KeptMS: int64(r.u64()), MaxKept: r.uvarint(), LettersMS: int64(r.u64()), MaxLetters: r.uvarint()}
	if b := r.take(4); b != nil {
		f.Limit = binary.LittleEndian.Uint32(b)
	}
	r.bad = r.bad || f.Limit == 0 || f.Limit > MaxForget
	return f
}

// NoteStreams moves cursors of streams without events, as ApplyEvents does. Steps that do not fit are passed
// over, and the answer is the number of those that were made.
type NoteStreams struct {
	Steps []StreamStep
}

// MaxSteps bounds the steps of a NoteStreams.
const MaxSteps = 1024

// Append appends the operation to dst. It never fails.
func (o *NoteStreams) Append(dst []byte) ([]byte, error) {
	dst, at := beginOp(dst, StreamsNoted)
	dst = binary.AppendUvarint(dst, uint64(len(o.Steps)))
	for i := range o.Steps {
		dst = o.Steps[i].append(dst)
	}
	return endOp(dst, at), nil
}

// Decode reads the body of a StreamsNoted. It reuses Steps.
func (o *NoteStreams) Decode(body []byte) error {
	r := reader{rest: body}
	n := r.uvarint()
	if n > MaxSteps {
		return ErrMalformed
	}
	o.Steps = o.Steps[:0]
	for range n {
		o.Steps = append(o.Steps, r.streamStep())
		if r.bad {
			return ErrMalformed
		}
	}
	return r.end()
}

// SetAttributes is the body of EffectAttributes: ids to remove, ascending, and a record of those to set, whose
// consents do not matter.
type SetAttributes struct {
	Unset []nba.AttributeID
	Set   []byte
}

// AppendAttributes appends the body of EffectAttributes.
func AppendAttributes(dst []byte, a SetAttributes) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(a.Unset)))
	for _, id := range a.Unset {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(id))
	}
	return append(dst, a.Set...)
}

// DecodeAttributes reads what AppendAttributes wrote. It appends to unset[:0]; Set shares the memory of body.
func DecodeAttributes(body []byte, unset []nba.AttributeID) (a SetAttributes, err error) {
	r := reader{rest: body}
	n := r.uvarint()
	if n > nba.MaxAttributes {
		return a, ErrMalformed
	}
	ids := r.take(2 * int(n))
	a.Unset = unset[:0]
	for i := 0; i+1 < len(ids); i += 2 {
		id := nba.AttributeID(binary.LittleEndian.Uint16(ids[i:]))
		if len(a.Unset) > 0 && id <= a.Unset[len(a.Unset)-1] {
			return a, ErrMalformed
		}
		a.Unset = append(a.Unset, id)
	}
	a.Set = r.rest
	return a, r.err()
}

// NextFramed takes one operation, as its Append made it, off the front of b. The body shares its memory.
func NextFramed(b []byte) (op Op, rest []byte, err error) {
	r := reader{rest: b}
	head := r.take(opHeadBytes)
	if r.bad || uint64(binary.LittleEndian.Uint32(head[2:])) > uint64(len(r.rest)) {
		return Op{}, nil, ErrMalformed
	}
	body := r.take(int(binary.LittleEndian.Uint32(head[2:])))
	return Op{Kind: Kind(head[0]), Version: head[1], Body: body}, r.rest, nil
}

// Add appends a section. The tags of the sections of one thing must ascend; several things may share the memory
// of s.
func (s Sections) Add(tag SectionTag, body []byte) Sections { return appendSection(s, tag, body) }
