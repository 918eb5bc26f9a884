package fsm

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Events are kept in the batches they came in, in the order they were applied, and numbered: a batch is one
// write, and what is old lies at the front. Beside it each event has one small entry under its subject, by
// which it is known when it comes again, found and erased.
//
//	events  eventMark                     -> numbers: see eventNumbers
//	events  eventBatch, number of first   -> format, ms, count, and each: its place in the batch, the event
//	events  eventStream, name             -> cursor
//	seen    subject key, hash             -> number of the first of its batch, its place in the batch
//	seen    subject key                   -> what events set of its attributes: see eventsOfSubject
const (
	eventMark   = 0
	eventBatch  = 1
	eventStream = 2

	batchFormat   = 1
	batchStripped = 2 // the events cannot be read any more, only recognized
	batchHead     = 1 + 8
)

var errEvents = errors.New("what is stored of events is corrupt")

// EventOutcome is what became of one event of an ApplyEvents.
type EventOutcome struct {
	// Code is "" for an event that was applied, now or earlier; else why it is among the dead letters.
	Code nba.Code
	// Duplicate is true when it was applied earlier.
	Duplicate bool
	// Number is that of the event in its group, or of the letter.
	Number uint64
}

// AppliedEvents is the Value of the result of an ApplyEvents that was not refused.
type AppliedEvents struct {
	Outcomes []EventOutcome
	// Letters is the number of the first of the letters that came with it.
	Letters uint64
}

// eventNumbers are the numbers where the parts of what is kept of events begin.
type eventNumbers struct {
	next uint64 // of the next event
	kept uint64 // from here on events can be read
	seen uint64 // from here on they are recognized
}

// eventState is what the machine holds of events in memory. All of it follows from the stored state.
type eventState struct {
	eventNumbers
	letters letterNumbers

	op     command.ApplyEvents
	steps  command.NoteStreams
	remove command.RemoveLetters
	unset  []nba.AttributeID
	attrs  []record.Attr
	known  eventsOfSubject
}

func batchKey(dst []byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, eventBatch), number)
}

// batch is a stored batch of events.
type batch struct {
	first, count uint64
	ms           int64
	stripped     bool
	events       []byte
}

func openBatch(key, value []byte) (b batch, err error) {
	if len(key) != 9 || len(value) < batchHead || value[0] != batchFormat && value[0] != batchStripped {
		return b, errEvents
	}
	b.first, b.ms, b.stripped = binary.BigEndian.Uint64(key[1:]), int64(binary.LittleEndian.Uint64(value[1:])), value[0] == batchStripped
	count, n := binary.Uvarint(value[batchHead:])
	if n <= 0 || count > command.MaxEvents {
		return b, errEvents
	}
	b.count, b.events = count, value[batchHead+n:]
	return b, nil
}

func (b *batch) end() uint64 { return b.first + b.count }

func (b *batch) head(dst []byte, stripped bool) []byte {
	format := byte(batchFormat)
	if stripped {
		format = batchStripped
	}
	dst = binary.LittleEndian.AppendUint64(append(dst, format), uint64(b.ms))
	return binary.AppendUvarint(dst, b.count)
}

// next takes the next event off the front of b; ok is false at the end.
func (b *batch) next() (e command.AppliedEvent, place uint64, ok bool, err error) {
	if len(b.events) == 0 {
		return e, 0, false, nil
	}
	place, n := binary.Uvarint(b.events)
	if n <= 0 || place >= b.count {
		return e, 0, false, errEvents
	}
	if e, b.events, ok = command.NextKept(b.events[n:]); !ok {
		return e, 0, false, errEvents
	}
	return e, place, true, nil
}

func (d *Data) reloadEvents(r *store.Reader) error {
	d.events = eventState{}
	d.events.eventNumbers = readEventNumbers(r.Get(store.Events, []byte{eventMark}))
	d.events.letters = readLetterNumbers(r.Get(store.Letters, []byte{letterMark}))
	var err error
	r.ScanBack(store.Events, []byte{eventBatch}, nil, func(key, value []byte) bool {
		var b batch
		if b, err = openBatch(key, value); err == nil {
			d.events.next = max(d.events.next, b.end())
		}
		return false
	})
	return err
}

func readEventNumbers(b []byte) (n eventNumbers) {
	if len(b) == 24 {
		n.next, n.kept, n.seen = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[16:])
	}
	return n
}

func (d *Data) saveEventNumbers(u *update) error {
	key, n := []byte{eventMark}, &d.events.eventNumbers
	value := binary.LittleEndian.AppendUint64(make([]byte, 0, 24), n.next)
	value = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(value, n.kept), n.seen)
	return u.replace(store.Events, key, u.Get(store.Events, key), value)
}

// applyEvents applies a batch of events.
func (d *Data) applyEvents(u *update, at At, body []byte) (Result, error) {
	op := &d.events.op
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	if done, refused, err := d.step(u, &op.Step); err != nil || refused != nil || done {
		return Result{Err: errorOf(refused), Duplicate: done}, err
	}
	if op.Forget != nil {
		if err := d.forgetEvents(u, op.Forget); err != nil {
			return Result{}, err
		}
	}
	letters, err := d.putLetters(u, op.Letters)
	if err != nil {
		return Result{}, err
	}
	if len(op.Events) == 0 {
		return Result{Version: d.events.next, Value: AppliedEvents{Letters: letters}}, nil
	}
	b := batch{first: d.events.next, count: uint64(len(op.Events)), ms: at.ProposedMS}
	size := batchHead + 4
	for i := range op.Events {
		size += op.Events[i].Size()
	}
	value := b.head(make([]byte, 0, size), false)
	empty := len(value)
	outcomes := make([]EventOutcome, len(op.Events))
	for i := range op.Events {
		e := &op.Events[i]
		outcome, err := d.applyEvent(u, at, e, b.first, uint64(i))
		if err != nil {
			return Result{}, err
		}
		if outcomes[i] = outcome; outcome.Code == "" && !outcome.Duplicate {
			value = e.AppendKept(binary.AppendUvarint(value, uint64(i)))
		}
	}
	result := Result{Version: b.first, Value: AppliedEvents{Outcomes: outcomes, Letters: letters}}
	if len(value) == empty {
		return result, nil
	}
	d.events.next = b.end()
	return result, u.replaceKept(store.Events, batchKey(nil, b.first), nil, value)
}

// errorOf keeps a nil *nba.Error from becoming an error.
func errorOf(err *nba.Error) error {
	if err == nil {
		return nil
	}
	return err
}

// applyEvent applies one event, unless it was applied before. first and place are its batch and its place there.
func (d *Data) applyEvent(u *update, at At, e *command.AppliedEvent, first, place uint64) (EventOutcome, error) {
	d.key = append(append(d.key[:0], e.Key...), e.Hash[:]...)
	known := &d.events.known
	if err := known.open(u.Get(store.Seen, e.Key)); err != nil {
		return EventOutcome{}, err
	}
	seen := known.find(e.Hash[:])
	if seen == nil {
		seen = u.Get(store.Seen, d.key)
	}
	if seen != nil {
		first, place, err := parseSeen(seen)
		return EventOutcome{Duplicate: true, Number: first + place}, err
	}
	stored := u.Get(store.Subjects, e.Key)
	if stored == nil {
		return d.refuseEvent(u, e, unknownSubject())
	}
	key, sets := d.arena.copied(d.key), false
	if body := e.Effects.Get(command.EffectAttributes); body != nil {
		changed, refused, err := d.changeAttributes(u, at, e, stored, body)
		if err != nil {
			return EventOutcome{}, err
		}
		if refused != nil {
			return d.refuseEvent(u, e, refused)
		}
		sets = changed
	}
	if err := d.react(u, at, e); err != nil {
		return EventOutcome{}, err
	}
	value := d.arena.keep(binary.AppendUvarint(binary.AppendUvarint(d.arena.room(2*binary.MaxVarintLen64), first), place))
	if sets {
		return EventOutcome{Number: first + place}, d.remember(u, e, value)
	}
	return EventOutcome{Number: first + place}, u.replaceKept(store.Seen, key, nil, value)
}

// react does what the catalog has strategies and journeys do when the event happens.
func (d *Data) react(u *update, at At, e *command.AppliedEvent) error {
	if body := e.Effects.Get(command.EffectStrategies); body != nil {
		if err := d.applyStrategies(u, at, e, body); err != nil {
			return err
		}
	}
	if body := e.Effects.Get(command.EffectJourneys); body != nil {
		return d.applyJourneys(u, at, e, body)
	}
	return nil
}

func parseSeen(b []byte) (first, place uint64, err error) {
	first, n := binary.Uvarint(b)
	if n <= 0 {
		return 0, 0, errEvents
	}
	place, m := binary.Uvarint(b[n:])
	if m <= 0 || n+m != len(b) {
		return 0, 0, errEvents
	}
	return first, place, nil
}

// refuseEvent puts an event among the dead letters.
func (d *Data) refuseEvent(u *update, e *command.AppliedEvent, why *nba.Error) (EventOutcome, error) {
	l := command.Letter{ReceivedMS: e.ReceivedMS, TimeMS: e.TimeMS, Code: why.Code, Reason: why.Message, Key: e.Key, Body: e.Record}
	number, err := d.putLetter(u, &l)
	return EventOutcome{Code: why.Code, Number: number}, err
}

// step moves the cursor of a stream. done tells that it is there or further already.
func (d *Data) step(u *update, s *command.StreamStep) (done bool, refused *nba.Error, err error) {
	if s.Stream == "" {
		return false, nil, nil
	}
	key := append([]byte{eventStream}, s.Stream...)
	stored := u.Get(store.Events, key)
	cursor, err := parseCursor(stored)
	switch {
	case err != nil:
		return false, nil, err
	case cursor == s.From && s.Next > s.From:
		return false, nil, u.replace(store.Events, key, stored, binary.LittleEndian.AppendUint64(nil, s.Next))
	case cursor >= s.Next:
		return true, nil, nil
	}
	return false, nba.Errorf(nba.CodeConflict, "the stream is at %d here and not at %d: read its cursor and go on from there", cursor, s.From), nil
}

func parseCursor(stored []byte) (uint64, error) {
	switch len(stored) {
	case 0:
		return 0, nil
	case 8:
		return binary.LittleEndian.Uint64(stored), nil
	}
	return 0, errEvents
}

// noteStreams moves cursors.
func (d *Data) noteStreams(u *update, body []byte) (Result, error) {
	op := &d.events.steps
	if err := op.Decode(body); err != nil {
		return Result{}, err
	}
	made := uint64(0)
	for i := range op.Steps {
		done, refused, err := d.step(u, &op.Steps[i])
		if err != nil {
			return Result{}, err
		}
		if !done && refused == nil {
			made++
		}
	}
	return Result{Version: made}, nil
}

// deleteEvents erases the events of a subject, and its dead letters.
func (d *Data) deleteEvents(u *update, subjectKey []byte) error {
	var keys, values [][]byte
	u.Scan(store.Seen, subjectKey, func(key, value []byte) bool {
		keys, values = append(keys, slices.Clone(key)), append(values, slices.Clone(value))
		return true
	})
	places := map[uint64][]uint64{} // by batch; walked in the order of batches below
	var batches []uint64
	note := func(seen []byte) error {
		first, place, err := parseSeen(seen)
		if err == nil && places[first] == nil {
			batches = append(batches, first)
		}
		places[first] = append(places[first], place)
		return err
	}
	for i, key := range keys {
		err := error(nil)
		if len(key) > len(subjectKey) {
			err = note(values[i])
		} else {
			err = d.events.known.each(values[i], note)
		}
		if err != nil {
			return err
		}
		if err := u.remove(store.Seen, key, values[i]); err != nil {
			return err
		}
	}
	for _, first := range batches {
		if err := d.eraseFrom(u, first, places[first]); err != nil {
			return err
		}
	}
	return d.deleteLetters(u, subjectKey)
}

// eraseFrom takes events out of a batch.
func (d *Data) eraseFrom(u *update, first uint64, places []uint64) error {
	key := batchKey(nil, first)
	stored := u.Get(store.Events, key)
	if stored == nil {
		return errEvents
	}
	b, err := openBatch(key, stored)
	if err != nil {
		return err
	}
	value := b.head(make([]byte, 0, len(stored)), b.stripped)
	empty := len(value)
	for {
		e, place, ok, err := b.next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if !slices.Contains(places, place) {
			value = e.AppendKept(binary.AppendUvarint(value, place))
		}
	}
	if len(value) > empty {
		return u.replaceKept(store.Events, key, stored, value)
	}
	if err := u.remove(store.Events, key, stored); err != nil {
		return err
	}
	return d.saveEventNumbers(u) // the batch may be the last, from which the next number follows
}
