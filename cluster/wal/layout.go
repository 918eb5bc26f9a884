package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

// The sizes and marks of docs/format/log.md. Everything is little endian.
const (
	formatVersion = 1
	blockBytes    = 4096 // a batch begins with a block, so that no block is written twice

	segmentMagic = "ARBLOG01"
	footerMagic  = 0x46425241 // "ARBF"
	batchMagic   = 0x42425241 // "ARBB"

	segmentHeadBytes = 72
	batchHeadBytes   = 56
	recordHeadBytes  = 56
	trailerBytes     = blockBytes

	maxNameBytes  = 64
	maxKeyBytes   = 64
	maxValueBytes = 1024
	maxGroups     = 4096
	maxValues     = 64
)

type recordKind uint8

// The kinds of records. Numbers are never reused.
const (
	kindEntry   recordKind = 1 // an entry of a group
	kindMoved   recordKind = 2 // a copy of an entry, from a segment that is given up
	kindHead    recordKind = 3 // entries before index are gone
	kindTail    recordKind = 4 // entries after index are gone
	kindClear   recordKind = 5 // all entries are gone, and what damage they had
	kindValue   recordKind = 6 // a named value, such as the vote
	kindGroup   recordKind = 7 // the name of a group
	kindClose   recordKind = 8 // the log was closed; the payload is the table of groups
	lastKind               = kindClose
	batchIsCopy            = 1 // flag of a batch: it repeats values of the batch before
)

var errFormat = errors.New("not the format of a log")

// checksums is CRC-32C.
func checksum(crc uint32, p []byte) uint32 {
	return crc32.Update(crc, crc32.MakeTable(crc32.Castagnoli), p)
}

func alignBlock(n int64) int64 { return (n + blockBytes - 1) &^ (blockBytes - 1) }
func align8(n int) int         { return (n + 7) &^ 7 }

// record is one decoded record. Its payload is the data and then the extensions.
type record struct {
	kind       recordKind
	entryType  uint8
	group      uint16
	ordinal    uint64
	index      uint64
	term       uint64
	time       int64
	extensions uint32 // bytes of the payload's end
	payload    []byte
	crc        uint32 // of the head
	whole      bool   // the payload is what was written
}

// appendRecord appends r, of which payload is given in two parts, and returns the checksum of its head.
func appendRecord(dst []byte, r *record, data, extensions []byte) ([]byte, uint32) {
	start := len(dst)
	dst = append(dst, make([]byte, recordHeadBytes)...)
	dst = append(append(dst, data...), extensions...)
	payload := dst[start+recordHeadBytes:]
	for range align8(len(payload)) - len(payload) {
		dst = append(dst, 0)
	}
	h := dst[start:]
	binary.LittleEndian.PutUint32(h[4:], checksum(0, payload))
	binary.LittleEndian.PutUint32(h[8:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(h[12:], uint32(len(extensions)))
	binary.LittleEndian.PutUint16(h[16:], r.group)
	h[18], h[19] = byte(r.kind), r.entryType
	binary.LittleEndian.PutUint64(h[24:], r.ordinal)
	binary.LittleEndian.PutUint64(h[32:], r.index)
	binary.LittleEndian.PutUint64(h[40:], r.term)
	binary.LittleEndian.PutUint64(h[48:], uint64(r.time))
	crc := checksum(0, h[4:recordHeadBytes])
	binary.LittleEndian.PutUint32(h, crc)
	return dst, crc
}

// recordBytes is the size of a record in the file.
func recordBytes(payload int) int { return recordHeadBytes + align8(payload) }

// decodeRecord reads the record at the beginning of p and tells its size. A head that is damaged is
// an error; a damaged payload is not, see record.whole.
func decodeRecord(p []byte) (r record, size int, err error) {
	if len(p) < recordHeadBytes {
		return r, 0, errFormat
	}
	r.crc = binary.LittleEndian.Uint32(p)
	if checksum(0, p[4:recordHeadBytes]) != r.crc {
		return r, 0, errFormat
	}
	length := binary.LittleEndian.Uint32(p[8:])
	r.extensions = binary.LittleEndian.Uint32(p[12:])
	r.group = binary.LittleEndian.Uint16(p[16:])
	r.kind, r.entryType = recordKind(p[18]), p[19]
	r.ordinal = binary.LittleEndian.Uint64(p[24:])
	r.index = binary.LittleEndian.Uint64(p[32:])
	r.term = binary.LittleEndian.Uint64(p[40:])
	r.time = int64(binary.LittleEndian.Uint64(p[48:]))
	if int64(length) > int64(len(p)-recordHeadBytes) || r.extensions > length || r.kind == 0 || r.kind > lastKind {
		return r, 0, errFormat
	}
	r.payload = p[recordHeadBytes : recordHeadBytes+int(length) : recordHeadBytes+int(length)]
	r.whole = checksum(0, r.payload) == binary.LittleEndian.Uint32(p[4:])
	size = min(recordBytes(int(length)), len(p))
	return r, size, nil
}

// batchHead begins each batch.
type batchHead struct {
	flags   uint16
	segment uint64
	offset  uint32 // of the batch in its file
	length  uint32 // with the head, without the padding to a block
	records uint32
	seq     uint64 // counts the batches of the log
	chain   uint32 // checksum of the checksums of the records' heads
	// durable is the newest batch that was known to be durable when this one was written.
	durable uint64
}

func (b batchHead) append(dst []byte, salt uint64) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, batchHeadBytes)...)
	h := dst[start:]
	binary.LittleEndian.PutUint32(h[4:], batchMagic)
	binary.LittleEndian.PutUint16(h[8:], b.flags)
	binary.LittleEndian.PutUint64(h[12:], b.segment)
	binary.LittleEndian.PutUint32(h[20:], b.offset)
	binary.LittleEndian.PutUint32(h[24:], b.length)
	binary.LittleEndian.PutUint32(h[28:], b.records)
	binary.LittleEndian.PutUint64(h[32:], b.seq)
	binary.LittleEndian.PutUint32(h[40:], b.chain)
	binary.LittleEndian.PutUint64(h[48:], b.durable)
	binary.LittleEndian.PutUint32(h, batchSum(h, salt))
	return dst
}

// batchSum covers the salt of the segment, so that no content can be mistaken for a batch.
func batchSum(h []byte, salt uint64) uint32 {
	var s [8]byte
	binary.LittleEndian.PutUint64(s[:], salt)
	return checksum(checksum(0, s[:]), h[4:batchHeadBytes])
}

func decodeBatch(p []byte, salt, segment uint64, offset int64) (b batchHead, err error) {
	if len(p) < batchHeadBytes || binary.LittleEndian.Uint32(p[4:]) != batchMagic ||
		batchSum(p, salt) != binary.LittleEndian.Uint32(p) {
		return b, errFormat
	}
	b = batchHead{
		flags: binary.LittleEndian.Uint16(p[8:]), segment: binary.LittleEndian.Uint64(p[12:]),
		offset: binary.LittleEndian.Uint32(p[20:]), length: binary.LittleEndian.Uint32(p[24:]),
		records: binary.LittleEndian.Uint32(p[28:]), seq: binary.LittleEndian.Uint64(p[32:]), chain: binary.LittleEndian.Uint32(p[40:]),
		durable: binary.LittleEndian.Uint64(p[48:]),
	}
	if b.segment != segment || int64(b.offset) != offset || b.length < batchHeadBytes {
		return b, errFormat
	}
	return b, nil
}

// groupState is a group in the table that begins each segment: how it stood when the segment began.
type groupState struct {
	id      uint16
	name    string
	ordinal uint64
	first   uint64 // 0: no entries
	last    uint64
	damage  uint8 // damageEntries, damageValues
	values  []value
}

type value struct {
	key  string
	data []byte
}

const (
	damageEntries = 1
	damageValues  = 2
)

func appendTable(dst []byte, groups []groupState) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(groups)))
	for _, g := range groups {
		dst = binary.AppendUvarint(dst, uint64(g.id))
		dst = appendBytes(dst, g.name)
		for _, v := range []uint64{g.ordinal, g.first, g.last, uint64(g.damage), uint64(len(g.values))} {
			dst = binary.AppendUvarint(dst, v)
		}
		for _, v := range g.values {
			dst = appendBytes(dst, v.key)
			dst = appendBytes(dst, v.data)
		}
	}
	return dst
}

func appendBytes[T string | []byte](dst []byte, v T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(v))), v...)
}

// decoder reads what the append functions wrote. After a failure everything is zero.
type decoder struct {
	p   []byte
	bad bool
}

func (d *decoder) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(d.p)
	if n <= 0 || v > limit {
		d.bad, d.p = true, nil
		return 0
	}
	d.p = d.p[n:]
	return v
}

func (d *decoder) bytes(limit uint64) []byte {
	n := d.uvarint(limit)
	if n > uint64(len(d.p)) {
		d.bad, d.p = true, nil
		return nil
	}
	v := d.p[:n:n]
	d.p = d.p[n:]
	return v
}

const anyNumber = ^uint64(0)

func decodeTable(p []byte) ([]groupState, error) {
	d := decoder{p: p}
	n := d.uvarint(maxGroups)
	groups := make([]groupState, 0, min(n, 1024))
	for ; n > 0 && !d.bad; n-- {
		g := groupState{id: uint16(d.uvarint(maxGroups)), name: string(d.bytes(maxNameBytes)),
			ordinal: d.uvarint(anyNumber), first: d.uvarint(anyNumber), last: d.uvarint(anyNumber), damage: uint8(d.uvarint(damageEntries | damageValues))}
		for k := d.uvarint(maxValues); k > 0 && !d.bad; k-- {
			g.values = append(g.values, value{string(d.bytes(maxKeyBytes)), slices.Clone(d.bytes(maxValueBytes))})
		}
		if g.last < g.first || (g.first == 0) != (g.last == 0) {
			d.bad = true
		}
		groups = append(groups, g)
	}
	if d.bad || len(d.p) > 0 {
		return nil, errFormat
	}
	return groups, nil
}

// segmentHead begins each segment, twice.
type segmentHead struct {
	number   uint64
	salt     uint64
	created  int64  // milliseconds since 1970
	firstSeq uint64 // of the first batch
	before   uint64 // number of the segment before; 0: none
	// beforeEnd is where its batches end. Everything before it was durable when this one began.
	beforeEnd uint32
	groups    []groupState
}

// append makes both copies, each a number of blocks.
func (s *segmentHead) append(dst []byte) []byte {
	h := make([]byte, segmentHeadBytes, 2*blockBytes)
	h = appendTable(h, s.groups)
	copy(h, segmentMagic)
	binary.LittleEndian.PutUint32(h[12:], formatVersion)
	binary.LittleEndian.PutUint32(h[16:], uint32(len(h)))
	binary.LittleEndian.PutUint32(h[20:], s.beforeEnd)
	binary.LittleEndian.PutUint64(h[24:], s.number)
	binary.LittleEndian.PutUint64(h[32:], s.salt)
	binary.LittleEndian.PutUint64(h[40:], uint64(s.created))
	binary.LittleEndian.PutUint64(h[48:], s.firstSeq)
	binary.LittleEndian.PutUint64(h[56:], s.before)
	binary.LittleEndian.PutUint32(h[8:], checksum(0, h[12:]))
	h = append(h, make([]byte, int(alignBlock(int64(len(h))))-len(h))...)
	return append(append(dst, h...), h...)
}

// decodeSegmentHead reads one copy and tells how many bytes it takes with its padding.
func decodeSegmentHead(p []byte) (*segmentHead, int64, error) {
	if len(p) < segmentHeadBytes || string(p[:8]) != segmentMagic {
		return nil, 0, errFormat
	}
	length := int64(binary.LittleEndian.Uint32(p[16:]))
	if length < segmentHeadBytes || length > int64(len(p)) || checksum(0, p[12:length]) != binary.LittleEndian.Uint32(p[8:]) {
		return nil, 0, errFormat
	}
	if v := binary.LittleEndian.Uint32(p[12:]); v != formatVersion {
		return nil, 0, fmt.Errorf("%w: version %d of the log is newer than this program", errNewer, v)
	}
	s := &segmentHead{
		beforeEnd: binary.LittleEndian.Uint32(p[20:]), number: binary.LittleEndian.Uint64(p[24:]), salt: binary.LittleEndian.Uint64(p[32:]),
		created: int64(binary.LittleEndian.Uint64(p[40:])), firstSeq: binary.LittleEndian.Uint64(p[48:]), before: binary.LittleEndian.Uint64(p[56:]),
	}
	var err error
	if s.groups, err = decodeTable(p[segmentHeadBytes:length]); err != nil {
		return nil, 0, err
	}
	return s, alignBlock(length), nil
}

var errNewer = errors.New("unknown format")

// place is where a record lies in its segment.
type place struct {
	group  uint16
	size   uint32
	offset uint32
	index  uint64
}

// The footer lists the entries of a full segment, in the order they were written, so that a start
// need not read them. The trailer, in the last block of the file, tells where it is.
const footerEntryBytes = 18

func appendFooter(dst []byte, places []place) []byte {
	for _, p := range places {
		dst = binary.LittleEndian.AppendUint16(dst, p.group)
		dst = binary.LittleEndian.AppendUint32(dst, p.size)
		dst = binary.LittleEndian.AppendUint32(dst, p.offset)
		dst = binary.LittleEndian.AppendUint64(dst, p.index)
	}
	return dst
}

func decodeFooter(p []byte) ([]place, error) {
	if len(p)%footerEntryBytes != 0 {
		return nil, errFormat
	}
	places := make([]place, 0, len(p)/footerEntryBytes)
	for ; len(p) > 0; p = p[footerEntryBytes:] {
		places = append(places, place{binary.LittleEndian.Uint16(p), binary.LittleEndian.Uint32(p[2:]),
			binary.LittleEndian.Uint32(p[6:]), binary.LittleEndian.Uint64(p[10:])})
	}
	return places, nil
}

// trailer ends the file of a full segment.
type trailer struct {
	end    uint32 // of the batches; the footer begins there
	length uint32 // of the footer
	sum    uint32 // checksum of the footer
}

func (t trailer) append(dst []byte, salt uint64) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, trailerBytes)...)
	h := dst[start:]
	binary.LittleEndian.PutUint32(h[4:], footerMagic)
	binary.LittleEndian.PutUint32(h[8:], t.end)
	binary.LittleEndian.PutUint32(h[12:], t.length)
	binary.LittleEndian.PutUint32(h[16:], t.sum)
	binary.LittleEndian.PutUint64(h[20:], salt)
	binary.LittleEndian.PutUint32(h, checksum(0, h[4:28]))
	return dst
}

func decodeTrailer(p []byte, salt uint64) (t trailer, err error) {
	if len(p) < 28 || binary.LittleEndian.Uint32(p[4:]) != footerMagic || checksum(0, p[4:28]) != binary.LittleEndian.Uint32(p) ||
		binary.LittleEndian.Uint64(p[20:]) != salt {
		return t, errFormat
	}
	return trailer{binary.LittleEndian.Uint32(p[8:]), binary.LittleEndian.Uint32(p[12:]), binary.LittleEndian.Uint32(p[16:])}, nil
}
