package importer

import (
	"context"
	"errors"
	"hash/maphash"

	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Write puts one subject: its attributes and consents become those given and no others.
type Write struct {
	Ref              nba.SubjectRef
	Attributes       []Attr
	Granted, Refused nba.PurposeSet
}

// Attr is one attribute of a Write.
type Attr = record.Attr

// batch collects records. Text is collected in one buffer, which seal turns into one string that all
// ids and string values of the batch share: one allocation instead of one a value.
type batch struct {
	records []pending
	current pending // the record being read; not yet in records
	attrs   []Attr
	text    []byte
	strings []stringAttr // attributes whose value lies in text
	mark    struct{ attrs, text, strings int }
	blanks  int // values that were blank and handled by rule
	kept    int // records kept, also those a later one replaced

	writes []Write // filled by seal
	index  map[uint64]int
}

// pending is a record whose strings still lie in batch.text.
type pending struct {
	id               span
	typ              nba.SubjectType
	attrs            span
	granted, refused nba.PurposeSet
}

type stringAttr struct {
	attr int // position in batch.attrs
	text span
}

type span struct{ from, to int }

func newBatch() *batch {
	return &batch{
		records: make([]pending, 0, BatchRecords), writes: make([]Write, 0, BatchRecords),
		index: make(map[uint64]int, BatchRecords),
	}
}

// begin starts a record.
func (b *batch) begin() {
	b.mark.attrs, b.mark.text, b.mark.strings = len(b.attrs), len(b.text), len(b.strings)
	b.current = pending{typ: nba.DefaultSubjectType, attrs: span{len(b.attrs), len(b.attrs)}}
}

func (b *batch) setID(prefix string, id []byte) {
	from := len(b.text)
	b.text = append(append(b.text, prefix...), id...)
	b.current.id = span{from, len(b.text)}
}

func (b *batch) id() []byte { return b.text[b.current.id.from:b.current.id.to] }

// add appends a value that holds no text of the body.
func (b *batch) add(id nba.AttributeID, v nba.Value) {
	b.attrs = append(b.attrs, Attr{ID: id, Value: v})
	b.current.attrs.to = len(b.attrs)
}

// addText appends a string value.
func (b *batch) addText(id nba.AttributeID, text []byte) {
	from := len(b.text)
	b.text = append(b.text, text...)
	b.strings = append(b.strings, stringAttr{attr: len(b.attrs), text: span{from, len(b.text)}})
	b.add(id, nba.Value{})
}

// sortAttrs orders the attributes of the current record by id, when the record was not written in
// that order. Records of one file mostly have one order, so the insertion sort is short.
func (b *batch) sortAttrs() {
	attrs := b.attrs[b.current.attrs.from:b.current.attrs.to]
	base := b.current.attrs.from
	sorted := true
	for i := 1; i < len(attrs); i++ {
		if attrs[i].ID < attrs[i-1].ID {
			sorted = false
			break
		}
	}
	if sorted {
		return
	}
	// Strings are found by position, so they are carried along: at holds the string of a position.
	at := make([]int, len(attrs))
	for i := range b.strings[b.mark.strings:] {
		at[b.strings[b.mark.strings+i].attr-base] = b.mark.strings + i + 1
	}
	for i := 1; i < len(attrs); i++ {
		for j := i; j > 0 && attrs[j].ID < attrs[j-1].ID; j-- {
			attrs[j], attrs[j-1] = attrs[j-1], attrs[j]
			at[j], at[j-1] = at[j-1], at[j]
		}
	}
	for i, s := range at {
		if s > 0 {
			b.strings[s-1].attr = base + i
		}
	}
}

// drop forgets the current record.
func (b *batch) drop() {
	b.attrs, b.text, b.strings = b.attrs[:b.mark.attrs], b.text[:b.mark.text], b.strings[:b.mark.strings]
}

// keep adds the current record, in the place of an earlier one of the same subject if the batch
// holds one. hash is of the subject.
func (b *batch) keep(hash uint64) (replaced bool) {
	b.kept++
	if i, ok := b.index[hash]; ok {
		old := &b.records[i]
		if old.typ == b.current.typ && string(b.text[old.id.from:old.id.to]) == string(b.id()) {
			*old = b.current
			return true
		}
		// Two subjects share a 64-bit hash. Looking through the batch keeps the promise of Sink.
		for i := range b.records {
			old := &b.records[i]
			if old.typ == b.current.typ && string(b.text[old.id.from:old.id.to]) == string(b.id()) {
				*old = b.current
				return true
			}
		}
	} else {
		b.index[hash] = len(b.records)
	}
	b.records = append(b.records, b.current)
	return false
}

func (b *batch) full() bool {
	return len(b.records) >= BatchRecords || len(b.text) >= batchTextBytes || len(b.attrs) >= batchAttrs
}

// seal makes the writes.
func (b *batch) seal() []Write {
	text := string(b.text)
	for _, s := range b.strings {
		b.attrs[s.attr].Value = nba.String(text[s.text.from:s.text.to])
	}
	b.writes = b.writes[:0]
	for i := range b.records {
		r := &b.records[i]
		b.writes = append(b.writes, Write{
			Ref:        nba.SubjectRef{ID: text[r.id.from:r.id.to], Type: r.typ},
			Attributes: b.attrs[r.attrs.from:r.attrs.to:r.attrs.to],
			Granted:    r.granted, Refused: r.refused,
		})
	}
	return b.writes
}

func (b *batch) reset() {
	clear(b.attrs) // lets go of the strings
	b.records, b.attrs, b.text, b.strings, b.blanks = b.records[:0], b.attrs[:0], b.text[:0], b.strings[:0], 0
	b.kept = 0
	clear(b.writes)
	b.writes = b.writes[:0]
	clear(b.index)
}

// MaxTrackedSubjects bounds the memory in which a body's subjects are remembered to report
// duplicates: 8 to 16 bytes each. Of a body with more, later duplicates still win but those of
// subjects beyond the limit are not reported.
const MaxTrackedSubjects = 4 << 20

// seen remembers the subjects of a body by a 64-bit hash under a random key: a false report of a
// duplicate is possible, once in some ten million bodies of a million subjects, and harmless.
type seen struct {
	seed  maphash.Seed
	slots []uint64 // open addressing; 0 is empty
	n     int
}

func newSeen() *seen {
	return &seen{seed: maphash.MakeSeed(), slots: make([]uint64, 1<<13)}
}

// keep adds the current record to its batch and tells whether its subject occurred before.
func (s *seen) keep(b *batch) (duplicate bool) {
	hash := maphash.Bytes(s.seed, b.id()) ^ uint64(b.current.typ.Index())*0x9E3779B97F4A7C15
	if hash == 0 {
		hash = 1
	}
	replaced := b.keep(hash)
	return s.insert(hash) || replaced
}

func (s *seen) insert(hash uint64) (known bool) {
	mask := uint64(len(s.slots) - 1)
	i := hash & mask
	for ; s.slots[i] != 0; i = (i + 1) & mask {
		if s.slots[i] == hash {
			return true
		}
	}
	if s.n >= MaxTrackedSubjects {
		return false
	}
	s.slots[i] = hash
	if s.n++; s.n*4 > len(s.slots)*3 {
		old := s.slots
		s.slots, s.n = make([]uint64, 2*len(old)), 0
		for _, h := range old {
			if h != 0 {
				s.insert(h)
			}
		}
	}
	return false
}

// committer owns the goroutine that hands batches to the sink.
type committer struct {
	work   chan *batch
	free   chan *batch
	failed chan struct{} // closed when err is set
	done   chan struct{} // closed when the goroutine ended

	// Written by the goroutine before failed or done is closed, read after.
	err      error
	accepted int
}

// batchesInFlight: one that is committed, one that waits for it, one that is read.
const batchesInFlight = 3

func startCommitter(ctx context.Context, sink Sink) *committer {
	c := &committer{
		work: make(chan *batch, 1), free: make(chan *batch, batchesInFlight),
		failed: make(chan struct{}), done: make(chan struct{}),
	}
	for range batchesInFlight {
		c.free <- nil // made when first taken: a short body needs one
	}
	go c.run(ctx, sink)
	return c
}

func (c *committer) run(ctx context.Context, sink Sink) {
	defer close(c.done)
	for b := range c.work {
		err := ctx.Err()
		if err == nil {
			err = sink.Import(ctx, b.seal())
		}
		if err != nil {
			c.err = err
			close(c.failed)
			return
		}
		c.accepted += b.kept
		b.reset()
		c.free <- b
	}
}

// take waits for a batch to fill.
func (c *committer) take() (*batch, error) {
	select {
	case b := <-c.free:
		if b == nil {
			b = newBatch()
		}
		return b, nil
	case <-c.failed:
		return nil, errStopped
	}
}

// commit hands a filled batch over; the next one comes from take.
func (c *committer) commit(b *batch) error {
	if len(b.records) == 0 {
		c.free <- b // has room: at most batchesInFlight exist
		return nil
	}
	select {
	case c.work <- b:
		return nil
	case <-c.failed:
		return errStopped
	}
}

// errStopped tells that the committer gave up; why is its err.
var errStopped = errors.New("the import stopped")

// close waits for the batches handed over and returns how many records became durable.
func (c *committer) close() (accepted int, err error) {
	close(c.work)
	<-c.done
	return c.accepted, c.err
}
