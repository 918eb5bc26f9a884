package wal

import (
	"bytes"
	"testing"
)

// FuzzRecord: no bytes make the decoder fail otherwise than with an error, and what it takes is what
// the encoder makes.
func FuzzRecord(f *testing.F) {
	seed, _ := appendRecord(nil, &record{kind: kindEntry, group: 3, ordinal: 9, index: 7, term: 2, extensions: 3}, []byte("data"), []byte("ext"))
	f.Add(seed)
	f.Add(seed[:recordHeadBytes])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, p []byte) {
		r, size, err := decodeRecord(p)
		if err != nil || !r.whole {
			return
		}
		n := len(r.payload) - int(r.extensions)
		again, _ := appendRecord(nil, &r, r.payload[:n], r.payload[n:])
		if !bytes.Equal(again[:recordHeadBytes+len(r.payload)], p[:recordHeadBytes+len(r.payload)]) && p[20]|p[21]|p[22]|p[23] == 0 {
			t.Errorf("encoded again it differs")
		}
		if size > len(p) {
			t.Errorf("size %d of %d bytes", size, len(p))
		}
	})
}

func FuzzSegmentHead(f *testing.F) {
	head := segmentHead{number: 5, salt: 77, firstSeq: 3, before: 4, beforeEnd: 8192, groups: []groupState{
		{id: 0, name: "control", ordinal: 5, first: 1, last: 4, values: []value{{"CurrentTerm", []byte{1}}}},
		{id: 1, name: "data-00", ordinal: 2, damage: damageEntries},
	}}
	f.Add(head.append(nil))
	f.Add([]byte(segmentMagic))
	f.Fuzz(func(t *testing.T, p []byte) {
		if h, size, err := decodeSegmentHead(p); err == nil && (h == nil || size < segmentHeadBytes) {
			t.Errorf("a head of %d bytes", size)
		}
		if groups, err := decodeTable(p); err == nil {
			if again, err := decodeTable(appendTable(nil, groups)); err != nil || len(again) != len(groups) {
				t.Errorf("%d groups encoded again are %d, %v", len(groups), len(again), err)
			}
		}
		_, _ = decodeBatch(p, 77, 5, 0)
		_, _ = decodeFooter(p)
		_, _ = decodeTrailer(p, 77)
		_, _ = decodeValue(p)
	})
}

// FuzzOpen opens a log of which some bytes are others: it may be damaged, but opening, reading and
// writing must not panic or hang, and nothing but what was written is read.
func FuzzOpen(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint32(8192), uint8(0))
	f.Add(bytes.Repeat([]byte{0}, 4096), uint32(0), uint8(1))
	f.Add([]byte{0xff}, uint32(8192+24), uint8(0))
	f.Fuzz(func(t *testing.T, p []byte, at uint32, file uint8) {
		d := newDisk(1)
		l := openDisk(t, d)
		a := group(t, l, "a")
		for i := uint64(1); i <= 40; i++ {
			appendOne(t, a, i, string(bytes.Repeat([]byte{byte(i)}, 3000)))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		names, _ := d.list()
		if n := d.names[segmentName(1+uint64(file)%uint64(len(names)))]; n != nil && int64(at) < int64(len(n.content)) {
			copy(n.content[at:], p)
		}
		l, err := open(d, smallOptions())
		if err != nil {
			return
		}
		defer l.Close()
		g, err := l.Group("a")
		if err != nil {
			t.Fatal(err)
		}
		first, last := g.Bounds()
		for i := first; i <= last && i > 0; i++ {
			var e Entry
			if g.Read(i, &e) == nil && (e.Index != i || len(e.Data) != 3000 || e.Data[0] != byte(i)) {
				t.Errorf("entry %d is another", i)
			}
		}
		if err := g.Repair(map[string][]byte{"term": {1}}); err != nil {
			t.Error(err)
		}
		appendOne(t, g, 100, "after")
	})
}
