package importer

import (
	"hash/maphash"

	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/cluster/store/record"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// batch collects encoded records. The reader fills current; keep encodes it.
type batch struct {
	current draft
	merge   bool // writes leave what they do not name
	blanks  int  // values of the body that were blank and handled by rule

	writes []router.SubjectWrite
	lines  []int  // of each write
	spans  []span // of the records in bytes, which moves while it grows
	bytes  []byte
	kept   int            // records, also those that replaced another
	index  map[uint64]int // of writes by hash of the subject
}

type span struct{ from, to int }

// draft is the record being read.
type draft struct {
	typ              nba.SubjectType
	id               span // of text
	text             []byte
	attrs            []record.Attr
	strings          []stringAttr // attributes whose value lies in text
	granted, refused nba.PurposeSet

	channels      []nba.Consent
	namesChannels bool // also if it answers to none
}

type stringAttr struct {
	attr int // position in attrs
	text span
}

func newBatch(merge bool) *batch {
	return &batch{merge: merge, index: make(map[uint64]int, BatchRecords)}
}

// begin starts a record and forgets what was read of the last one.
func (b *batch) begin() {
	d := &b.current
	*d = draft{typ: nba.DefaultSubjectType, text: d.text[:0], attrs: d.attrs[:0], strings: d.strings[:0], channels: d.channels[:0]}
}

func (d *draft) setID(prefix string, id []byte) {
	from := len(d.text)
	d.text = append(append(d.text, prefix...), id...)
	d.id = span{from, len(d.text)}
}

// add appends an attribute whose value holds no text of the body.
func (d *draft) add(id nba.AttributeID, v nba.Value) {
	d.attrs = append(d.attrs, record.Attr{ID: id, Value: v})
}

// addText appends a string attribute.
func (d *draft) addText(id nba.AttributeID, text []byte) {
	from := len(d.text)
	d.text = append(d.text, text...)
	d.strings = append(d.strings, stringAttr{attr: len(d.attrs), text: span{from, len(d.text)}})
	d.add(id, nba.Value{})
}

// keep encodes the current record and adds it. An earlier one of the same subject in the batch is
// replaced, or followed where writes are merged. line is where it begins, hash is of the subject. The
// error is record's.
func (b *batch) keep(line int, hash uint64) (replaced bool, err error) {
	d := &b.current
	text := string(d.text) // one string for the id and all values: a record costs one allocation
	for _, s := range d.strings {
		d.attrs[s.attr].Value = nba.String(text[s.text.from:s.text.to])
	}
	d.sortAttrs()
	from := len(b.bytes)
	encoded, err := record.AppendExtended(b.bytes, d.attrs, d.granted, d.refused, d.consents())
	if err != nil {
		return false, err // b.bytes keeps its length: what was appended is overwritten
	}
	b.bytes = encoded
	b.kept++
	w, at := router.SubjectWrite{Ref: nba.SubjectRef{ID: text[d.id.from:d.id.to], Type: d.typ}, Merge: b.merge}, span{from, len(encoded)}
	if i := b.find(w.Ref, hash); i >= 0 {
		replaced = true
		if !b.merge {
			b.writes[i], b.lines[i], b.spans[i] = w, line, at
			return true, nil
		}
	}
	b.writes, b.lines, b.spans = append(b.writes, w), append(b.lines, line), append(b.spans, at)
	return replaced, nil
}

// find is the position of a subject in the batch, or -1, after which it is expected to be added.
func (b *batch) find(ref nba.SubjectRef, hash uint64) int {
	i, ok := b.index[hash]
	if !ok {
		b.index[hash] = len(b.writes)
		return -1
	}
	if b.writes[i].Ref == ref {
		return i
	}
	for i := range b.writes { // two subjects share a 64-bit hash: look at all
		if b.writes[i].Ref == ref {
			return i
		}
	}
	return -1
}

// sortAttrs puts the attributes in the order of their ids. Of a mapping and of CSV they come so; the
// keys of JSON documents come in any order, mostly the same.
func (d *draft) sortAttrs() {
	for i := 1; i < len(d.attrs); i++ {
		if d.attrs[i].ID < d.attrs[i-1].ID {
			d.attrs = record.Sort(d.attrs)
			return
		}
	}
}

func (b *batch) full() bool {
	return len(b.writes) >= BatchRecords || len(b.bytes) >= batchBytes
}

// take hands the collected writes over and leaves the batch empty. The memory of the parcel is its
// own.
func (b *batch) take() parcel {
	p := parcel{writes: b.writes, lines: b.lines, records: b.kept}
	for i, at := range b.spans {
		p.writes[i].Record = b.bytes[at.from:at.to:at.to]
	}
	b.writes = make([]router.SubjectWrite, 0, len(p.writes))
	b.lines = make([]int, 0, len(p.lines))
	b.bytes = make([]byte, 0, len(b.bytes)+len(b.bytes)/16)
	b.spans, b.kept = b.spans[:0], 0
	clear(b.index)
	return p
}

// MaxTrackedSubjects bounds the memory in which a body's subjects are remembered to report
// duplicates: 11 to 22 bytes each. Of a body with more, later duplicates still win but those of
// subjects beyond the limit are not reported.
const MaxTrackedSubjects = 4 << 20

// seen remembers the subjects of a body by a 64-bit hash under a random key: a false report of a
// duplicate is possible, once in some forty million bodies of a million subjects, and harmless.
type seen struct {
	seed  maphash.Seed
	slots []uint64 // open addressing; 0 is empty
	n     int
}

func newSeen() *seen {
	return &seen{seed: maphash.MakeSeed(), slots: make([]uint64, 1<<13)}
}

// hash is that of the current record's subject.
func (s *seen) hash(d *draft) uint64 {
	return max(1, maphash.Bytes(s.seed, d.text[d.id.from:d.id.to])^uint64(d.typ.Index())*0x9E3779B97F4A7C15)
}

// insert tells whether hash is known and remembers it.
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
		s.grow()
	}
	return false
}

func (s *seen) grow() {
	old := s.slots
	s.slots, s.n = make([]uint64, 2*len(old)), 0
	for _, h := range old {
		if h != 0 {
			s.insert(h)
		}
	}
}
