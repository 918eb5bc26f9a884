package wal

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// retryFull is how long a full disk is not asked again by writers.
const retryFull = time.Second

// rotate takes the next file and makes its head. Nothing is written yet.
func (l *Log) rotate(u *unit) (*segment, []byte, error) {
	small := true
	for _, r := range u.requests {
		small = small && r.small
	}
	head := segmentHead{salt: rand.Uint64(), created: time.Now().UnixMilli(), firstSeq: l.seq, groups: l.table()}
	if l.tail != nil {
		head.before, head.beforeEnd = l.tail.number, uint32(l.tail.end)
	}
	birth := head.append(nil) // its number comes later, and does not change its size
	need := int64(len(birth)) + u.bytes + alignBlock(int64(u.entries)*footerEntryBytes) + trailerBytes
	seg, err := l.spareFor(need, small)
	if err != nil {
		return nil, nil, err
	}
	seg.salt, head.number = head.salt, seg.number
	if err := l.openSyncers(seg); err != nil {
		l.unborn(seg)
		return nil, nil, err
	}
	return seg, head.append(birth[:0]), nil
}

// openSyncers opens the file once for each unit in flight. A failed write is told once to each that
// has the file open: two syncs at a time on one handle could take the answer from each other.
func (l *Log) openSyncers(seg *segment) error {
	for len(seg.syncers) < l.options.MaxInFlight {
		f, err := l.fs.open(segmentName(seg.number))
		if err != nil {
			return fmt.Errorf("opening a file of the log: %w", err)
		}
		seg.syncers = append(seg.syncers, f)
	}
	if l.room == nil || seg.direct != nil {
		return nil
	}
	f, err := l.fs.openDirect(segmentName(seg.number), l.room)
	if errors.Is(err, errors.ErrUnsupported) {
		l.room = nil
		return nil
	}
	if err != nil {
		return fmt.Errorf("opening a file of the log: %w", err)
	}
	seg.direct = f
	return nil
}

func (l *Log) spareFor(need int64, small bool) (*segment, error) {
	if need > l.options.SegmentBytes {
		return l.large(need)
	}
	return l.spare(small)
}

// large makes a file for an entry that no other takes. The empty files get later numbers, since files
// are begun in the order of their numbers.
func (l *Log) large(size int64) (*segment, error) {
	l.making.Lock()
	defer l.making.Unlock()
	l.mu.Lock()
	number := l.nextNumber
	l.nextNumber++
	spares := slices.Clone(l.spares)
	l.mu.Unlock()
	size = alignBlock(size)
	f, err := l.fs.create(segmentName(number), size)
	if err == nil {
		for _, s := range spares {
			if err = l.renumber(s); err != nil {
				break
			}
		}
		if err = errors.Join(err, l.fs.syncFolder()); err != nil {
			err = errors.Join(err, f.close())
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.SortFunc(l.spares, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	if err != nil {
		return nil, l.noSpare(err)
	}
	return &segment{number: number, f: f, bytes: size}, nil
}

// renumber gives an empty file the next number. making is held.
func (l *Log) renumber(s *segment) error {
	l.mu.Lock()
	number := l.nextNumber
	l.nextNumber++
	l.mu.Unlock()
	if err := l.fs.rename(segmentName(s.number), segmentName(number)); err != nil {
		return err
	}
	s.number = number
	return nil
}

// spare takes an empty file, or makes one. Those that are small may take the last.
func (l *Log) spare(small bool) (*segment, error) {
	keep := l.options.Reserve
	if small {
		keep = 0
	}
	for {
		l.mu.Lock()
		if len(l.spares) > keep {
			seg := l.spares[0]
			l.spares = l.spares[1:]
			l.noteSpace()
			l.mu.Unlock()
			l.wake()
			return seg, nil
		}
		asked := l.fullAt
		l.mu.Unlock()
		if reclaimed, err := l.tryReclaim(keep); err != nil {
			return nil, err
		} else if reclaimed {
			continue
		}
		if !asked.IsZero() && time.Since(asked) < retryFull {
			return nil, fmt.Errorf("%w: free some space, it is taken up again within seconds", ErrFull)
		}
		if err := l.makeSpare(keep); err != nil {
			return nil, err
		}
	}
}

// tryReclaim tells whether there are now more empty files than are kept back.
func (l *Log) tryReclaim(keep int) (bool, error) {
	if err := l.reclaim(); err != nil {
		return false, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.spares) > keep, nil
}

// makeSpare makes an empty file, unless there are more than enough.
func (l *Log) makeSpare(enough int) error {
	l.making.Lock()
	defer l.making.Unlock()
	l.mu.Lock()
	number, have := l.nextNumber, len(l.spares)
	if have <= enough {
		l.nextNumber++ // also after a failure: the name may be taken then
	}
	l.mu.Unlock()
	if have > enough {
		return nil
	}
	f, err := l.fs.create(segmentName(number), l.options.SegmentBytes)
	if err == nil {
		if err = l.fs.syncFolder(); err != nil {
			err = errors.Join(err, f.close())
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		return l.noSpare(err)
	}
	if !l.fullAt.IsZero() {
		l.fullAt = time.Time{}
		l.options.Logger.Info("the disk of the log has space again")
	}
	l.spares = append(l.spares, &segment{number: number, f: f, bytes: l.options.SegmentBytes})
	l.noteSpace()
	return nil
}

// noSpare notes that a file could not be made. mu is held.
func (l *Log) noSpare(err error) error {
	if !isFull(err) {
		return fmt.Errorf("making a file of the log: %w", err)
	}
	if l.fullAt.IsZero() {
		l.options.Logger.Warn("the disk is full: the log takes no entries beyond its last file until there is space", "error", err)
	}
	l.fullAt = time.Now()
	l.noteSpace()
	return fmt.Errorf("%w: %w", ErrFull, err)
}

// unborn gives a file back that was not begun. A large one is left to the next start to remove.
func (l *Log) unborn(seg *segment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seg.bytes != l.options.SegmentBytes {
		l.unused = append(l.unused, seg)
		return
	}
	l.spares = append([]*segment{seg}, l.spares...)
	l.noteSpace()
}

// born makes seg the tail.
func (l *Log) born(seg *segment, data int64) {
	seg.data, seg.end = data, data
	l.mustRotate = false
	l.mu.Lock()
	if l.tail != nil {
		l.sealing = append(l.sealing, l.tail)
	}
	l.tail = seg
	l.mu.Unlock()
	l.wake()
}
