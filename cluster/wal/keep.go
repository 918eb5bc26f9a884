package wal

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// keep does what writers need not wait for: it ends full files, gives up those without live entries,
// and has empty ones ready. It ends with the log.
func (l *Log) keep() {
	defer l.keeper.Done()
	retry := time.NewTicker(retryFull)
	defer retry.Stop()
	for {
		select {
		case <-l.quit:
			return
		case <-l.kick:
		case <-retry.C:
			if !l.wantsSpare() {
				continue
			}
		}
		if err := l.tidy(); err != nil && !errors.Is(err, ErrFull) && !errors.Is(err, ErrClosed) {
			l.options.Logger.Error("tidying the log", "error", err)
		}
	}
}

func (l *Log) wantsSpare() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.spares) < l.options.Reserve+l.options.Spares
}

// keepsSpare tells whether a file that is given up is kept: there should be more of them when the log is
// long, since it shrinks and grows by many files at a time.
func (l *Log) keepsSpare() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.spares) < l.options.Reserve+l.options.Spares+len(l.segments)/2
}

func (l *Log) tidy() error {
	if err := l.Failed(); err != nil {
		return nil // it was logged, and everything stays as it is
	}
	if err := l.reclaim(); err != nil {
		return err
	}
	for l.wantsSpare() {
		if err := l.makeSpare(l.options.Reserve + l.options.Spares - 1); err != nil {
			return err
		}
	}
	return l.gatherOld()
}

// reclaim ends full files and gives up dead ones. The keeper calls it, and a writer that finds no
// empty file.
func (l *Log) reclaim() error {
	l.reclaiming.Lock()
	defer l.reclaiming.Unlock()
	if err := l.sealAll(); err != nil {
		return err
	}
	return l.giveUp()
}

// sealAll writes the footers of full files.
func (l *Log) sealAll() error {
	for {
		l.mu.Lock()
		if len(l.sealing) == 0 {
			l.mu.Unlock()
			return nil
		}
		seg := l.sealing[0]
		l.mu.Unlock()
		if err := seg.seal(); err != nil {
			return fmt.Errorf("ending %s: %w", segmentName(seg.number), err)
		}
		l.mu.Lock()
		l.sealing = l.sealing[1:]
		l.segments = append(l.segments, seg)
		l.mu.Unlock()
	}
}

// seal writes footer and trailer. A file that was ended early is cut.
func (s *segment) seal() error {
	if err := s.closeSyncers(); err != nil {
		return err
	}
	footer := appendFooter(nil, s.places)
	t := trailer{end: uint32(s.end), length: uint32(len(footer)), sum: checksum(0, footer)}
	at := alignBlock(s.end + int64(len(footer)))
	short := at+trailerBytes < s.bytes/2
	if !short {
		at = s.bytes - trailerBytes
	}
	if err := s.f.writeAt([][]byte{footer}, s.end); err != nil {
		return err
	}
	if err := s.f.writeAt([][]byte{t.append(nil, s.salt)}, at); err != nil {
		return err
	}
	if err := s.f.sync(); err != nil {
		return err
	}
	if short {
		// Only now: the trailer must be found at the end, whichever size the file has.
		if err := errors.Join(s.f.truncate(at+trailerBytes), s.f.sync()); err != nil {
			return err
		}
		s.bytes = at + trailerBytes
	}
	s.places, s.sealed = nil, true
	return nil
}

// giveUp makes empty files of those without live entries, or removes them. All before the tail are
// ended, so where they end is known without their neighbours.
func (l *Log) giveUp() error {
	l.mu.Lock()
	var dead []*segment
	for _, s := range l.segments {
		if s.live.Load() == 0 && s.readers.Load() == 0 {
			dead = append(dead, s)
		}
	}
	l.mu.Unlock()
	for _, s := range dead {
		if s.bytes == l.options.SegmentBytes && l.keepsSpare() {
			if err := l.recycle(s); err != nil {
				return err
			}
			continue
		}
		l.forget(s)
		if err := errors.Join(l.fs.remove(segmentName(s.number)), s.f.close()); err != nil {
			return fmt.Errorf("removing a file of the log: %w", err)
		}
	}
	return nil
}

func (l *Log) forget(s *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segments = slices.DeleteFunc(l.segments, func(other *segment) bool { return other == s })
}

// recycle makes an empty file of one that was given up: its blocks are written already, and writing
// them again is faster than writing fresh ones.
func (l *Log) recycle(s *segment) error {
	l.making.Lock()
	defer l.making.Unlock()
	l.mu.Lock()
	number := l.nextNumber
	l.nextNumber++
	l.mu.Unlock()
	l.forget(s)
	if err := l.fs.rename(segmentName(s.number), segmentName(number)); err != nil {
		return errors.Join(fmt.Errorf("renaming a file of the log: %w", err), s.f.close())
	}
	if err := l.fs.syncFolder(); err != nil {
		return errors.Join(fmt.Errorf("syncing the folder of the log: %w", err), s.f.close())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spares = append(l.spares, &segment{number: number, f: s.f, bytes: s.bytes, written: s.bytes})
	l.noteSpace()
	return nil
}

// A file is given up early when less than a fourth of it is live and several are kept.
const (
	oldShare     = 4
	keptSegments = 8
	moveBytes    = 256 << 10 // in one request
)

// gatherOld moves what is live in a file that is nearly dead, so that a group that writes little and
// truncates seldom does not keep many files.
func (l *Log) gatherOld() error {
	l.mu.Lock()
	if len(l.segments) < keptSegments || l.Full() {
		l.mu.Unlock()
		return nil
	}
	var old *segment
	for _, s := range l.segments {
		if live := s.liveBytes.Load(); live > 0 && live < l.options.SegmentBytes/oldShare && s.bytes == l.options.SegmentBytes {
			old = s
			break
		}
	}
	groups := make([]*Group, 0, len(l.byID))
	for _, g := range l.byID {
		groups = append(groups, g)
	}
	l.mu.Unlock()
	if old == nil {
		return nil
	}
	for _, g := range groups {
		if err := g.moveFrom(old); err != nil {
			return fmt.Errorf("moving the entries of group %s: %w", g.name, err)
		}
	}
	l.wake()
	return nil
}

// moveFrom writes the entries that lie in the segment once more.
func (g *Group) moveFrom(s *segment) error {
	for from := uint64(0); ; {
		r, next, err := g.moving(s, from)
		if err != nil || r == nil {
			return err
		}
		from = next
	}
}

// moving writes some of the entries from the given one on. r is nil when there is none.
func (g *Group) moving(s *segment, from uint64) (r *request, next uint64, err error) {
	g.writing.Lock()
	defer g.writing.Unlock()
	var picked []uint64
	size := int64(0)
	g.mu.RLock()
	for i := range g.entries.locs {
		l := &g.entries.locs[i]
		if at := g.entries.base + uint64(i); at >= from && l.seg == s && size < moveBytes {
			picked, size = append(picked, at), size+int64(l.size)
		}
	}
	g.mu.RUnlock()
	if len(picked) == 0 {
		return nil, 0, nil
	}
	r = &request{group: g}
	var e Entry
	for _, i := range picked {
		if err := g.Read(i, &e); errors.Is(err, ErrDamaged) {
			continue // it stays where it is
		} else if err != nil {
			return nil, 0, err
		}
		// It counts as any other record: were it lost unnoticed, an older entry with this index that lies
		// in an older file could pass for it.
		r.add(&record{kind: kindMoved, entryType: e.Type, group: g.id, ordinal: g.lastOrdinal() + uint64(r.count) + 1, index: i, term: e.Term, time: e.Time,
			extensions: uint32(len(e.Extensions))}, e.Data, e.Extensions)
	}
	if r.count > 0 {
		err = g.log.commit(r)
	}
	return r, picked[len(picked)-1] + 1, err
}
