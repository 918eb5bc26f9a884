package wal

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
)

// Group is the log of one group. It is safe for concurrent use; what writes waits for its turn.
type Group struct {
	log  *Log
	id   uint16
	name string

	writing sync.Mutex // held by the call that writes

	// mu guards what follows. It changes only when the log applies what it wrote, so that the writing
	// caller reads it without.
	mu      sync.RWMutex
	ordinal uint64 // of the newest record
	first   uint64 // 0: no entries
	last    uint64
	damage  uint8
	missing uint64 // the first entry that was found damaged; 0: none
	values  []value
	entries index

	// Used while the log is recovered only.
	gap      bool   // records of the group are missing
	evidence uint64 // the newest batch that tells of the group
}

// Name is the name the group was opened with.
func (g *Group) Name() string { return g.name }

// found writes the group's name, once.
func (g *Group) found() error {
	g.writing.Lock()
	defer g.writing.Unlock()
	if g.lastOrdinal() > 0 {
		return nil
	}
	r := &request{group: g, small: true, twice: true}
	r.add(&record{kind: kindGroup, group: g.id, ordinal: 1}, []byte(g.name), nil)
	return g.log.commit(r)
}

func (g *Group) lastOrdinal() uint64 {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.ordinal
}

// state is the group as the table has it. The writing caller reads it without a lock.
func (g *Group) state() groupState {
	return groupState{g.id, g.name, g.ordinal, g.first, g.last, g.damage, g.values}
}

// Bounds are the first and the last entry; both are 0 when there is none.
func (g *Group) Bounds() (first, last uint64) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.first, g.last
}

// Append adds entries and returns when they are durable. They follow the last entry, or begin
// anywhere in an empty log, without holes. After an error none of them is in the log, unless the log
// has failed or was closed; then a restart finds the first few of them, or all.
func (g *Group) Append(entries []Entry) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	first, last := g.Bounds()
	for i := range entries {
		e := &entries[i]
		if want := last + uint64(i) + 1; e.Index == 0 || last > 0 && e.Index != want || e.Index != entries[0].Index+uint64(i) {
			return fmt.Errorf("group %s: entry %d cannot follow %d", g.name, e.Index, max(last, e.Index-min(e.Index, 1)))
		}
		if size := len(e.Data) + len(e.Extensions); size > MaxEntryBytes {
			return fmt.Errorf("group %s: entry %d has %d bytes, the log takes %d", g.name, e.Index, size, MaxEntryBytes)
		}
	}
	for done := 0; done < len(entries); {
		r, n := g.pack(entries[done:])
		if err := g.log.commit(r); err != nil {
			return g.undo(done, first, last, err)
		}
		done += n
	}
	return nil
}

// pack makes the records of as many entries as a batch takes, at least one.
func (g *Group) pack(entries []Entry) (*request, int) {
	size, n := 0, 0
	for n < len(entries) {
		e := &entries[n]
		add := recordBytes(len(e.Data) + len(e.Extensions))
		if n > 0 && int64(size+add) > g.log.options.MaxBatchBytes {
			break
		}
		size += add
		n++
	}
	r := &request{group: g, buf: make([]byte, 0, size), chain: make([]byte, 0, 4*n), places: make([]place, 0, n)}
	ordinal := g.lastOrdinal()
	for i := range entries[:n] {
		e := &entries[i]
		r.add(&record{kind: kindEntry, entryType: e.Type, group: g.id, ordinal: ordinal + uint64(i) + 1, index: e.Index,
			term: e.Term, time: e.Time, extensions: uint32(len(e.Extensions))}, e.Data, e.Extensions)
	}
	return r, n
}

// undo takes back the part of an append that was written.
func (g *Group) undo(done int, first, last uint64, cause error) error {
	if done == 0 {
		return cause
	}
	back := g.cutting(kindTail, last)
	if first == 0 {
		back = g.clearing()
	}
	if err := g.log.commit(back); err != nil {
		return errors.Join(cause, g.log.fail(fmt.Errorf("taking back what was written of an append: %w", err)))
	}
	return cause
}

func (g *Group) cutting(kind recordKind, index uint64) *request {
	r := &request{group: g, small: true, index: index}
	r.add(&record{kind: kind, group: g.id, ordinal: g.lastOrdinal() + 1, index: index}, nil, nil)
	return r
}

// clearing removes all entries, but not the knowledge that some were lost.
func (g *Group) clearing() *request { return g.cutting(kindClear, keepDamage) }

// The index of a record of kindClear.
const (
	endDamage  = 0
	keepDamage = 1
)

// TruncateHead removes the entries before first, durably. It does nothing if there are none.
func (g *Group) TruncateHead(first uint64) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	switch from, to := g.Bounds(); {
	case from == 0 || first <= from:
		return nil
	case first > to:
		return g.log.commit(g.clearing())
	}
	return g.log.commit(g.cutting(kindHead, first))
}

// TruncateTail removes the entries after last, durably. It does nothing if there are none.
func (g *Group) TruncateTail(last uint64) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	switch from, to := g.Bounds(); {
	case from == 0 || last >= to:
		return nil
	case last < from:
		return g.log.commit(g.clearing())
	}
	return g.log.commit(g.cutting(kindTail, last))
}

// Repair removes all entries and ends the damage of entries, durably. What the group lost is then
// forgotten: the caller has made sure that this harms nobody. Damage of values stays, if values are
// not given; those given replace all.
func (g *Group) Repair(values map[string][]byte) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	if damage, _ := g.Damage(); damage.Values && values == nil {
		return fmt.Errorf("group %s: the values are lost and must be given", g.name)
	}
	for key, data := range values {
		if err := g.set(key, data); err != nil {
			return err
		}
	}
	return g.log.commit(g.cutting(kindClear, endDamage))
}

// Read reads one entry. Its bytes are shared with the log and must not be changed. The error is
// ErrNotFound, ErrDamaged or what the disk said.
func (g *Group) Read(i uint64, e *Entry) error {
	g.mu.RLock()
	l := g.entries.at(i)
	if g.first == 0 || i < g.first || i > g.last {
		g.mu.RUnlock()
		return fmt.Errorf("group %s, entry %d: %w", g.name, i, ErrNotFound)
	}
	if l == nil || l.seg == nil {
		g.mu.RUnlock()
		return fmt.Errorf("group %s, entry %d is missing: %w", g.name, i, ErrDamaged)
	}
	at := *l
	if at.mem == nil {
		at.seg.readers.Add(1)
	}
	g.mu.RUnlock()
	raw := at.mem
	if raw == nil {
		raw = make([]byte, at.size)
		err := at.seg.f.readAt(raw, int64(at.off))
		at.seg.readers.Add(-1)
		if errors.Is(err, os.ErrClosed) {
			return ErrClosed
		}
		if err != nil {
			return fmt.Errorf("group %s, entry %d cannot be read: %w: %w", g.name, i, ErrDamaged, err)
		}
	}
	r, _, err := decodeRecord(raw)
	if err != nil || !r.whole || r.index != i || r.group != g.id || r.kind != kindEntry && r.kind != kindMoved {
		return fmt.Errorf("group %s, entry %d is not what was written: %w", g.name, i, ErrDamaged)
	}
	n := len(r.payload) - int(r.extensions)
	*e = Entry{Index: r.index, Term: r.term, Type: r.entryType, Time: r.time, Data: r.payload[:n:n]}
	if r.extensions > 0 {
		e.Extensions = r.payload[n:]
	}
	return nil
}

// Verify reads the entries from the given one on and tells the first that is damaged; 0: none. Damage
// that was found before and lies earlier is not told.
func (g *Group) Verify(from uint64) uint64 {
	first, last := g.Bounds()
	var e Entry
	for i := max(from, first); first > 0 && i <= last; i++ {
		if err := g.Read(i, &e); errors.Is(err, ErrDamaged) {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.missing == 0 || i < g.missing {
				g.missing = i
			}
			return i
		}
	}
	return 0
}

// Damage tells what the group lost, as far as Open and Verify found out. A group that lost entries or
// its vote has said to others what it no longer knows: it must not vote before it was repaired.
func (g *Group) Damage() (Damage, bool) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	d := Damage{Any: g.damage&damageEntries != 0, First: g.missing, Values: g.damage&damageValues != 0}
	return d, g.damage != 0 || g.missing != 0
}

// Bytes is the size on disk of the entries after the given one.
func (g *Group) Bytes(after uint64) (size int64) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for i := range g.entries.locs {
		if g.entries.base+uint64(i) > after {
			size += int64(g.entries.locs[i].size)
		}
	}
	return size
}

// Set stores a small named value durably, such as the vote. nil removes it.
func (g *Group) Set(key string, data []byte) error {
	g.writing.Lock()
	defer g.writing.Unlock()
	return g.set(key, data)
}

func (g *Group) set(key string, data []byte) error {
	if key == "" || len(key) > maxKeyBytes || len(data) > maxValueBytes {
		return fmt.Errorf("group %s: a value has a name of 1 to %d bytes and at most %d bytes", g.name, maxKeyBytes, maxValueBytes)
	}
	g.mu.RLock()
	tooMany := len(g.values) >= maxValues && !slices.ContainsFunc(g.values, func(v value) bool { return v.key == key })
	g.mu.RUnlock()
	if tooMany {
		return fmt.Errorf("group %s: at most %d values", g.name, maxValues)
	}
	r := &request{group: g, small: true, twice: true, value: value{key, slices.Clone(data)}}
	r.add(&record{kind: kindValue, group: g.id, ordinal: g.lastOrdinal() + 1}, appendValue(nil, key, data), nil)
	return g.log.commit(r)
}

// Get is the value that Set stored, nil if there is none. It must not be changed.
func (g *Group) Get(key string) []byte {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, v := range g.values {
		if v.key == key {
			return v.data
		}
	}
	return nil
}

func appendValue(dst []byte, key string, data []byte) []byte {
	return append(appendBytes(dst, key), data...)
}

func decodeValue(p []byte) (value, error) {
	d := decoder{p: p}
	key := string(d.bytes(maxKeyBytes))
	if d.bad || key == "" || len(d.p) > maxValueBytes {
		return value{}, errFormat
	}
	return value{key, slices.Clone(d.p)}, nil
}

// setValue replaces or removes a value. mu is held.
func (g *Group) setValue(v value) {
	values := slices.DeleteFunc(slices.Clone(g.values), func(old value) bool { return old.key == v.key })
	if len(v.data) > 0 {
		values = append(values, v)
	}
	g.values = values
}
