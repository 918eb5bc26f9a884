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

func readClocks(dst []attributeClock, b []byte) ([]attributeClock, error) {
	if len(b)%clockBytes != 0 {
		return nil, errEvents
	}
	for ; len(b) > 0; b = b[clockBytes:] {
		dst = append(dst, attributeClock{nba.AttributeID(binary.LittleEndian.Uint16(b)), int64(binary.LittleEndian.Uint64(b[2:]))})
	}
	return dst, nil
}

// changeAttributes sets and removes attributes of the subject of an event, whose record is stored. What a later
// event set is not set by one that happened earlier and comes later.
func (d *Data) changeAttributes(u *update, _ At, e *command.AppliedEvent, stored, body []byte) (*nba.Error, error) {
	change, err := command.DecodeAttributes(body, d.events.unset)
	if err != nil {
		return nil, err
	}
	d.events.unset = change.Unset
	if d.set.Reset(nba.SubjectRef{}, change.Set) != nil {
		return nba.Errorf(nba.CodeInvalid, "the attributes that the event sets are not well-formed"), nil
	}
	if d.old.Reset(nba.SubjectRef{}, stored) != nil {
		return nil, corruptSubject()
	}
	clock := u.Get(store.Seen, e.Key)
	clocks, err := readClocks(d.events.clocks[:0], clock)
	if err != nil {
		return nil, err
	}
	clocks, attrs, unset := advance(clocks, e.TimeMS, &d.set, d.events.attrs[:0], change.Unset)
	d.events.clocks, d.events.attrs = clocks, attrs
	if len(attrs) == 0 && len(unset) == 0 {
		return nil, nil //nolint:nilnil // nothing is refused: later events set all of it
	}
	if len(attrs) < d.set.Len() {
		fewer, err := record.Append(nil, attrs, 0, 0)
		if err != nil || d.set.Reset(nba.SubjectRef{}, fewer) != nil {
			return nil, errEvents
		}
	}
	if d.changes(unset) {
		merged, err := record.AppendMerge(d.arena.room(len(stored)+len(change.Set)), &d.old, record.Change{Set: &d.set, Unset: unset})
		if err != nil {
			return tooLarge(), nil
		}
		value := d.arena.keep(merged)
		record.SetVersion(value, d.old.Version()+1)
		if err := u.replaceKept(store.Subjects, d.arena.copied(e.Key), stored, value); err != nil {
			return nil, err
		}
	}
	next := d.arena.room(len(clocks) * clockBytes)
	for _, c := range clocks {
		next = binary.LittleEndian.AppendUint16(next, uint16(c.id))
		next = binary.LittleEndian.AppendUint64(next, uint64(c.ms))
	}
	value := d.arena.keep(next)
	return nil, u.replaceKept(store.Seen, d.arena.copied(e.Key), clock, value)
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
