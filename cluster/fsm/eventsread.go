package fsm

import (
	"encoding/binary"
	"slices"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
)

// KeptEvent is an event that can be read.
type KeptEvent struct {
	// Number is its place in its group.
	Number uint64
	// Kept is the event as AppliedEvent.AppendKept wrote it; command.NextKept reads it.
	Kept []byte
}

// NumberedLetter is a dead letter with its number in its group.
type NumberedLetter struct {
	Number uint64
	// Letter is as Letter.Append wrote it; command.DecodeLetter reads it.
	Letter []byte
}

// StreamCursor is where a stream stands in this group, 0 before its first step. It is safe for concurrent use.
func (d *Data) StreamCursor(stream string) (uint64, error) {
	r, err := d.store.Acquire()
	if err != nil {
		return 0, err
	}
	defer r.Release()
	return parseCursor(r.Get(store.Events, append([]byte{eventStream}, stream...)))
}

// EventsEnd is the number that the next event of this group will have, or a greater one. It is safe for
// concurrent use.
func (d *Data) EventsEnd() (uint64, error) {
	r, err := d.store.Acquire()
	if err != nil {
		return 0, err
	}
	defer r.Release()
	end := readEventNumbers(r.Get(store.Events, []byte{eventMark})).next
	r.ScanBack(store.Events, []byte{eventBatch}, nil, func(key, value []byte) bool {
		var b batch
		if b, err = openBatch(key, value); err == nil {
			end = max(end, b.end())
		}
		return false
	})
	return end, err
}

// room is what is left of a page: so many entries, and about so many bytes, of which one entry may take all.
type room struct{ entries, bytes int }

// full takes an entry of a size, unless there is no room for it.
func (r *room) full(size int) bool {
	if r.entries == 0 || r.bytes <= 0 {
		return true
	}
	r.entries--
	r.bytes -= size
	return false
}

// EventsFrom are the events from a number on, at most limit and about maxBytes, in the order they were applied.
// next is where to go on. It is safe for concurrent use.
func (d *Data) EventsFrom(number uint64, limit, maxBytes int) (events []KeptEvent, next uint64, err error) {
	left := room{limit, maxBytes}
	r, err := d.store.Acquire()
	if err != nil {
		return nil, 0, err
	}
	defer r.Release()
	next = number
	from, bound := number-min(number, command.MaxEvents), batchKey(nil, number)
	r.ScanBack(store.Events, []byte{eventBatch}, bound, func(key, _ []byte) bool {
		if len(key) == 9 { // the batch that the number may be in
			from = max(from, binary.BigEndian.Uint64(key[1:]))
		}
		return false
	})
	from = max(from, readEventNumbers(r.Get(store.Events, []byte{eventMark})).kept)
	r.ScanBetween(store.Events, batchKey(nil, from), []byte{eventBatch + 1}, func(key, value []byte) bool {
		var b batch
		if b, err = openBatch(key, value); err != nil {
			return false
		}
		for !b.stripped {
			e, place, ok, bad := b.next()
			if err = bad; bad != nil {
				return false
			}
			if !ok {
				break
			}
			if b.first+place < number {
				continue
			}
			if left.full(e.Size()) {
				next = b.first + place
				return false
			}
			events = append(events, KeptEvent{Number: b.first + place, Kept: e.AppendKept(nil)})
		}
		next = max(next, b.end())
		return true
	})
	return events, next, err
}

// EventsOf are the events of a subject from a number on, at most limit and about maxBytes, in the order they were
// applied. next is where to go on. It reads the list of all that the subject has. It is safe for concurrent use.
func (d *Data) EventsOf(subjectKey []byte, number uint64, limit, maxBytes int) (events []KeptEvent, next uint64, err error) {
	left := room{limit, maxBytes}
	r, err := d.store.Acquire()
	if err != nil {
		return nil, 0, err
	}
	defer r.Release()
	type at struct{ first, place uint64 }
	var places []at
	note := func(seen []byte) error {
		first, place, err := parseSeen(seen)
		if err == nil && first+place >= number {
			places = append(places, at{first, place})
		}
		return err
	}
	r.Scan(store.Seen, subjectKey, func(key, value []byte) bool {
		if len(key) == len(subjectKey) {
			err = new(eventsOfSubject).each(value, note)
		} else {
			err = note(value)
		}
		return err == nil
	})
	if err != nil {
		return nil, 0, err
	}
	slices.SortFunc(places, func(a, b at) int { return int(int64(a.first+a.place) - int64(b.first+b.place)) })
	next = number
	for _, p := range places {
		key := batchKey(nil, p.first)
		stored := r.Get(store.Events, key)
		if stored == nil {
			return nil, 0, errEvents
		}
		kept, err := keptAt(key, stored, p.place)
		if err != nil {
			return nil, 0, err
		}
		if kept != nil && left.full(len(kept)) {
			return events, p.first + p.place, nil
		}
		if next = p.first + p.place + 1; kept != nil {
			events = append(events, KeptEvent{Number: p.first + p.place, Kept: kept})
		}
	}
	return events, next, nil
}

// keptAt is the event at a place of a batch, nil if it cannot be read any more.
func keptAt(key, stored []byte, place uint64) ([]byte, error) {
	b, err := openBatch(key, stored)
	if err != nil || b.stripped {
		return nil, err
	}
	for {
		e, at, ok, err := b.next()
		if err != nil || !ok {
			return nil, err
		}
		if at == place {
			return e.AppendKept(nil), nil
		}
	}
}

// LettersFrom are the dead letters from a number on, at most limit and about maxBytes, and next where to go on. It
// is safe for concurrent use.
func (d *Data) LettersFrom(number uint64, limit, maxBytes int) (letters []NumberedLetter, next uint64, err error) {
	left := room{limit, maxBytes}
	r, err := d.store.Acquire()
	if err != nil {
		return nil, 0, err
	}
	defer r.Release()
	next = number
	from := max(number, readLetterNumbers(r.Get(store.Letters, []byte{letterMark})).first)
	r.ScanBetween(store.Letters, letterKey(nil, from), []byte{letterBody + 1}, func(key, value []byte) bool {
		n := binary.BigEndian.Uint64(key[1:])
		if left.full(len(value)) {
			return false
		}
		letters, next = append(letters, NumberedLetter{Number: n, Letter: slices.Clone(value)}), n+1
		return true
	})
	return letters, next, nil
}
