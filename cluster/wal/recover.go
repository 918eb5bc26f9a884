package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// recovery reads the files of a log, the oldest first.
type recovery struct {
	log   *Log
	newer *segment // processed so far: the newest
	clean bool     // the last record says that the log was closed
	// regions are the damaged parts of the newest segment.
	regions []region
}

// region is a part of a segment where batches are missing that were once acknowledged.
type region struct {
	lost   uint64 // batches
	endSeq uint64 // of the first batch after it, or anyNumber
}

type found struct {
	seg  *segment
	head *segmentHead // nil: not begun, or lost
	lost bool         // both heads are gone of a file that held something acknowledged
}

func (l *Log) recover() error {
	files, err := l.openSegments()
	if err != nil {
		return err
	}
	r := &recovery{log: l}
	begun := 0
	for i, f := range files {
		if f.head != nil || f.lost {
			begun = i + 1
		}
	}
	for i, f := range files[:begun] {
		var after *found
		for j := i + 1; j < begun && after == nil; j++ {
			if files[j].head != nil {
				after = &files[j]
			}
		}
		if f.head == nil {
			// Both heads of a segment are gone, and what it held with them.
			l.options.Logger.Error("a file of the log is damaged throughout", "file", segmentName(f.seg.number))
			r.regions = append(r.regions, region{lost: 2, endSeq: anyNumber})
			r.clean = false
			l.lost = append(l.lost, f.seg)
			continue
		}
		if err := r.segment(f, after); err != nil {
			return fmt.Errorf("file %s: %w", segmentName(f.seg.number), err)
		}
	}
	for _, f := range files[begun:] {
		if f.seg.bytes != l.options.SegmentBytes {
			if err := errors.Join(f.seg.f.close(), l.fs.remove(segmentName(f.seg.number))); err != nil {
				return fmt.Errorf("removing an unused file: %w", err)
			}
			continue
		}
		l.spares = append(l.spares, f.seg)
	}
	l.nextNumber = 1
	if len(files) > 0 {
		l.nextNumber = files[len(files)-1].seg.number + 1
	}
	r.finish()
	if l.seq > 0 {
		l.durable = l.seq - 1
	}
	if l.tail != nil {
		l.tail.count = len(l.tail.places)
		return l.openSyncers(l.tail)
	}
	return nil
}

// openSegments opens all files, the oldest first, and reads their heads.
func (l *Log) openSegments() (files []found, err error) {
	names, err := l.fs.list()
	if err != nil {
		return nil, fmt.Errorf("listing the files: %w", err)
	}
	slices.Sort(names)
	defer func() {
		if err != nil {
			for _, f := range files {
				err = errors.Join(err, f.seg.f.close())
			}
		}
	}()
	for _, name := range names {
		number, ok := segmentNumber(name)
		if !ok {
			continue
		}
		f, err := l.fs.open(name)
		if err != nil {
			return files, fmt.Errorf("opening a file: %w", err)
		}
		files = append(files, found{seg: &segment{number: number, f: f}})
		if err := files[len(files)-1].readHead(); err != nil {
			return files, fmt.Errorf("reading %s: %w", name, err)
		}
	}
	return files, nil
}

// headWindows are how far the two copies of a head are looked for.
func headWindows() [2]int64 { return [...]int64{64 << 10, 4 << 20} }

func (f *found) readHead() (err error) {
	if f.seg.bytes, err = f.seg.f.size(); err != nil {
		return err
	}
	var raw []byte
	for _, window := range headWindows() {
		raw = make([]byte, min(window, f.seg.bytes))
		if err := f.seg.f.readAt(raw, 0); err != nil {
			return err
		}
		for at := 0; at < len(raw); at += blockBytes {
			head, size, err := decodeSegmentHead(raw[at:])
			if errors.Is(err, errNewer) {
				return err
			}
			if err != nil || head.number != f.seg.number {
				continue
			}
			f.head, f.seg.salt = head, head.salt
			f.seg.data = 2 * size
			return nil
		}
	}
	f.lost = holdsAcknowledged(raw, f.seg.number)
	return nil
}

// holdsAcknowledged tells whether a file without a head held something acknowledged: one of its batches
// says so of another. Their checksums cannot be tested, since the salt is gone with the head.
func holdsAcknowledged(raw []byte, number uint64) bool {
	first, durable := uint64(anyNumber), uint64(0)
	for at := 0; at+batchHeadBytes <= len(raw); at += blockBytes {
		h := raw[at:]
		if binary.LittleEndian.Uint32(h[4:]) == batchMagic && binary.LittleEndian.Uint64(h[12:]) == number && int(binary.LittleEndian.Uint32(h[20:])) == at {
			first, durable = min(first, binary.LittleEndian.Uint64(h[32:])), max(durable, binary.LittleEndian.Uint64(h[48:]))
		}
	}
	return durable >= first
}

// setAside puts files without heads aside, once a new file tells what the groups lost with them.
func (l *Log) setAside() error {
	if len(l.lost) == 0 {
		return nil
	}
	r := &request{small: true}
	r.add(&record{kind: kindClose}, appendTable(nil, l.table()), nil)
	l.mustRotate = true
	if l.write([]*request{r}, r); r.err != nil {
		return r.err
	}
	for _, s := range l.lost {
		if err := errors.Join(s.f.close(), l.fs.rename(segmentName(s.number), segmentName(s.number)+".damaged")); err != nil {
			return fmt.Errorf("putting a damaged file aside: %w", err)
		}
	}
	l.lost = nil
	return l.fs.syncFolder()
}

// segment reads one that was begun. after is the next that was; nil for the newest.
func (r *recovery) segment(f found, after *found) error {
	r.table(f.head)
	seg := f.seg
	seg.end = seg.data
	end, known := int64(0), false
	if after != nil {
		if places, tail, ok := r.footer(seg); ok {
			seg.end, seg.sealed = int64(tail.end), true
			for _, p := range places {
				r.place(p, seg)
			}
			r.add(seg)
			return nil
		}
		if after.head.before == seg.number {
			end, known = int64(after.head.beforeEnd), true
		}
	}
	raw := make([]byte, seg.bytes)
	if err := seg.f.readAt(raw, 0); err != nil {
		return err
	}
	if known && end <= seg.bytes && end >= seg.data {
		raw = raw[:end]
	}
	s := scan{recovery: r, seg: seg, raw: raw, seq: f.head.firstSeq, newest: after == nil, known: known}
	s.run()
	r.log.seq = s.seq
	r.add(seg)
	return nil
}

func (r *recovery) add(seg *segment) {
	l := r.log
	if r.newer != nil {
		if r.newer.sealed {
			l.segments = append(l.segments, r.newer)
		} else {
			l.sealing = append(l.sealing, r.newer)
		}
	}
	r.newer, l.tail = seg, seg
}

// footer reads where the entries of a full segment are.
func (r *recovery) footer(seg *segment) ([]place, trailer, bool) {
	block := make([]byte, trailerBytes)
	if seg.bytes < trailerBytes || seg.f.readAt(block, seg.bytes-trailerBytes) != nil {
		return nil, trailer{}, false
	}
	t, err := decodeTrailer(block, seg.salt)
	if err != nil || int64(t.end)+int64(t.length) > seg.bytes || int64(t.end) < seg.data {
		return nil, trailer{}, false
	}
	raw := make([]byte, t.length)
	if seg.f.readAt(raw, int64(t.end)) != nil || checksum(0, raw) != t.sum {
		return nil, trailer{}, false
	}
	places, err := decodeFooter(raw)
	return places, t, err == nil
}

// table takes over how the groups stood when a segment began. What the records before told is
// checked against it where some of them were missing.
func (r *recovery) table(head *segmentHead) {
	r.take(head.groups, head.firstSeq)
	r.regions = nil
	r.log.seq = head.firstSeq
	for _, g := range r.log.byID {
		g.gap = false
	}
}

func (r *recovery) take(groups []groupState, seq uint64) {
	for i := range groups {
		t := &groups[i]
		g := r.group(t.id)
		if g.name == "" {
			g.name = t.name
			r.log.byName[t.name] = g
		}
		lost := g.gap || len(r.regions) > 0 && g.ordinal != t.ordinal
		g.ordinal, g.first, g.last, g.damage, g.values, g.evidence = t.ordinal, t.first, t.last, t.damage, t.values, seq
		if lost {
			g.damage |= damageEntries
		}
		if g.first == 0 {
			g.entries.cut(anyNumber, 0, nil)
		} else {
			g.entries.cut(g.first, g.last, nil)
		}
	}
}

func (r *recovery) group(id uint16) *Group {
	g := r.log.byID[id]
	if g == nil {
		g = &Group{log: r.log, id: id}
		r.log.byID[id] = g
	}
	return g
}

func (r *recovery) place(p place, seg *segment) {
	r.group(p.group).entries.set(p.index, loc{seg: seg, off: p.offset, size: p.size})
}

// finish decides what the groups lost, and counts what lies where.
func (r *recovery) finish() {
	l := r.log
	namesLost := false
	for _, region := range r.regions {
		namesLost = namesLost || region.lost > 1
		for _, g := range l.byID {
			if g.gap || g.evidence < region.endSeq {
				g.damage |= damageEntries
				if region.lost > 1 {
					g.damage |= damageValues
				}
			}
		}
	}
	for id, g := range l.byID {
		if g.name == "" || g.ordinal == 0 && g.name != lostNames {
			namesLost = namesLost || g.name == ""
			delete(l.byID, id)
			delete(l.byName, g.name)
			continue
		}
		g.finish()
	}
	if namesLost && l.byName[lostNames] == nil {
		g := &Group{log: l, id: maxGroups - 1, name: lostNames, damage: damageEntries | damageValues}
		l.byName[lostNames], l.byID[g.id] = g, g
	}
	l.mustRotate = l.tail != nil && !r.clean
}

func (g *Group) finish() {
	if g.first == 0 {
		g.entries.cut(anyNumber, 0, nil)
		return
	}
	g.entries.cut(g.first, g.last, nil)
	for i := g.first; i <= g.last; i++ {
		at := g.entries.at(i)
		if at == nil || at.seg == nil {
			if g.missing == 0 {
				g.missing = i
			}
			if at == nil && g.entries.locs == nil {
				break // none is there
			}
			continue
		}
		at.count()
	}
}
