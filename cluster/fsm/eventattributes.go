package fsm

import (
	"encoding/binary"
	"slices"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// attributeClock tells when the event happened that set an attribute last.
type attributeClock struct {
	id nba.AttributeID
	ms int64
}

const clockBytes = 2 + 8

// maxRecent bounds the events that are kept with the clocks of their subject.
const maxRecent = 8

// eventsOfSubject is what is kept of events under a subject's key alone: the clocks of the attributes that they
// set, and the newest of the events that set any, which are not under their own keys then: an event that sets
// something is one write.
//
//	uvarint number of clocks; each: position in the dictionary (2), ms (8)
//	recent events, oldest first: hash (16), what stands under the key of others
type eventsOfSubject struct {
	stored []byte
	clocks []attributeClock
	recent []byte
	count  int // of recent
}

// open reads what is stored, nil for nothing.
func (k *eventsOfSubject) open(stored []byte) error {
	*k = eventsOfSubject{stored: stored, clocks: k.clocks[:0]}
	if stored == nil {
		return nil
	}
	n, size := binary.Uvarint(stored)
	if size <= 0 || n > nba.MaxAttributes || len(stored)-size < int(n)*clockBytes {
		return errEvents
	}
	b := stored[size:]
	for range n {
		k.clocks = append(k.clocks, attributeClock{nba.AttributeID(binary.LittleEndian.Uint16(b)), int64(binary.LittleEndian.Uint64(b[2:]))})
		b = b[clockBytes:]
	}
	k.recent = b
	for len(b) > 0 {
		_, _, rest, err := nextRecent(b)
		if err != nil {
			return err
		}
		b = rest
		k.count++
	}
	return nil
}

// nextRecent takes an event off the front of b, which is not empty.
func nextRecent(b []byte) (hash, seen, rest []byte, err error) {
	if len(b) < command.HashBytes {
		return nil, nil, nil, errEvents
	}
	hash, rest = b[:command.HashBytes], b[command.HashBytes:]
	from := rest
	for range 2 {
		_, size := binary.Uvarint(rest)
		if size <= 0 {
			return nil, nil, nil, errEvents
		}
		rest = rest[size:]
	}
	return hash, from[: len(from)-len(rest) : len(from)-len(rest)], rest, nil
}

// find is what is kept of a recent event, nil for another.
func (k *eventsOfSubject) find(hash []byte) []byte {
	for b := k.recent; len(b) > 0; {
		known, seen, rest, _ := nextRecent(b) // it was read before
		if string(known) == string(hash) {
			return seen
		}
		b = rest
	}
	return nil
}

// each calls note with what is kept of every recent event of what is stored.
func (k *eventsOfSubject) each(stored []byte, note func(seen []byte) error) error {
	if err := k.open(stored); err != nil {
		return err
	}
	for b := k.recent; len(b) > 0; {
		_, seen, rest, _ := nextRecent(b)
		if err := note(seen); err != nil {
			return err
		}
		b = rest
	}
	return nil
}

func (k *eventsOfSubject) appendClocks(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(k.clocks)))
	for _, c := range k.clocks {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(c.id))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(c.ms))
	}
	return dst
}

// without is what is stored without a recent event.
func (k *eventsOfSubject) without(hash []byte) []byte {
	out := k.appendClocks(make([]byte, 0, len(k.stored)))
	for b := k.recent; len(b) > 0; {
		known, _, rest, _ := nextRecent(b)
		if string(known) != string(hash) {
			out = append(out, b[:len(b)-len(rest)]...)
		}
		b = rest
	}
	return out
}

// remember keeps an event that set attributes with their clocks. The oldest of the recent ones gets a key of its
// own when there are too many.
func (d *Data) remember(u *update, e *command.AppliedEvent, seen []byte) error {
	k := &d.events.known
	recent := k.recent
	if k.count >= maxRecent {
		hash, oldest, rest, err := nextRecent(recent)
		if err != nil {
			return err
		}
		recent = rest
		key := d.arena.keep(append(append(d.arena.room(len(e.Key)+len(hash)), e.Key...), hash...))
		if err := u.replaceKept(store.Seen, key, nil, d.arena.copied(oldest)); err != nil {
			return err
		}
	}
	value := k.appendClocks(d.arena.room(len(k.clocks)*clockBytes + len(recent) + 64))
	value = d.arena.keep(append(append(append(value, recent...), e.Hash[:]...), seen...))
	return u.replaceKept(store.Seen, d.arena.copied(e.Key), k.stored, value)
}

// changeAttributes sets and removes attributes of the subject of an event, whose record is stored. What a later
// event set is not set by one that happened earlier and comes later; sets tells whether anything is left to set,
// so that remember must follow.
func (d *Data) changeAttributes(u *update, _ At, e *command.AppliedEvent, stored, body []byte) (sets bool, refused *nba.Error, err error) {
	change, err := command.DecodeAttributes(body, d.events.unset)
	if err != nil {
		return false, nil, err
	}
	d.events.unset = change.Unset
	if d.set.Reset(nba.SubjectRef{}, change.Set) != nil {
		return false, nba.Errorf(nba.CodeInvalid, "the attributes that the event sets are not well-formed"), nil
	}
	if d.old.Reset(nba.SubjectRef{}, stored) != nil {
		return false, nil, corruptSubject()
	}
	known := &d.events.known
	clocks, attrs, unset := advance(known.clocks, e.TimeMS, &d.set, d.events.attrs[:0], change.Unset)
	known.clocks, d.events.attrs = clocks, attrs
	if len(attrs) == 0 && len(unset) == 0 {
		return false, nil, nil // later events set all of it
	}
	if len(attrs) < d.set.Len() {
		fewer, err := record.Append(nil, attrs, 0, 0)
		if err != nil || d.set.Reset(nba.SubjectRef{}, fewer) != nil {
			return false, nil, errEvents
		}
	}
	if d.changes(unset) {
		merged, err := record.AppendMerge(d.arena.room(len(stored)+len(change.Set)), &d.old, record.Change{Set: &d.set, Unset: unset})
		if err != nil {
			return false, tooLarge(), nil
		}
		value := d.arena.keep(merged)
		record.SetVersion(value, d.old.Version()+1)
		if err := u.replaceKept(store.Subjects, d.arena.copied(e.Key), stored, value); err != nil {
			return false, nil, err
		}
	}
	return true, nil, nil
}

// advance sets the clocks of what an event of a time changes, and leaves out what a later one changed.
func advance(clocks []attributeClock, ms int64, set *record.Record, attrs []record.Attr, unset []nba.AttributeID) ([]attributeClock, []record.Attr, []nba.AttributeID) {
	takes := func(id nba.AttributeID) bool {
		at, found := slices.BinarySearchFunc(clocks, id, func(c attributeClock, id nba.AttributeID) int { return int(c.id) - int(id) })
		switch {
		case !found:
			clocks = slices.Insert(clocks, at, attributeClock{id, ms})
		case clocks[at].ms > ms:
			return false
		default:
			clocks[at].ms = ms
		}
		return true
	}
	for i := range set.Len() {
		if a := set.At(i); takes(a.ID) {
			attrs = append(attrs, a)
		}
	}
	unset = slices.DeleteFunc(unset, func(id nba.AttributeID) bool { return !takes(id) })
	return clocks, attrs, unset
}

// changes tells whether d.set and unset change anything in d.old.
func (d *Data) changes(unset []nba.AttributeID) bool {
	for i := range d.set.Len() {
		a := d.set.At(i)
		if was, ok := d.old.Attribute(a.ID); !ok || was != a.Value {
			return true
		}
	}
	for _, id := range unset {
		if _, ok := d.old.Attribute(id); ok {
			return true
		}
	}
	return false
}
