package wal

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"syscall"
)

// request is what one caller writes: records of one group and of one kind.
type request struct {
	group  *Group
	buf    []byte  // the records
	chain  []byte  // the checksums of their heads
	count  int     // records
	places []place // of entries, offset in buf
	kind   recordKind
	index  uint64
	value  value
	// small may use the reserve when the disk is full; twice is written in two batches, so that
	// one bad block does not lose it.
	small, twice bool

	err  error
	lead bool // the caller must write for all that wait
	done chan struct{}
}

// add appends a record.
func (r *request) add(rec *record, data, extensions []byte) {
	start := len(r.buf)
	var crc uint32
	r.buf, crc = appendRecord(r.buf, rec, data, extensions)
	r.chain = append(r.chain, byte(crc), byte(crc>>8), byte(crc>>16), byte(crc>>24))
	r.count++
	r.kind = rec.kind
	if rec.kind == kindEntry || rec.kind == kindMoved {
		r.places = append(r.places, place{rec.group, uint32(len(r.buf) - start), uint32(start), rec.index})
	}
}

// commit writes r together with what others write, and returns when it is durable. Of the callers
// that wait, one writes for all: there is no goroutine to hand over to. While it waits for the disk
// others write the next unit, up to MaxInFlight; units are answered in their order.
func (l *Log) commit(r *request) error {
	r.done = make(chan struct{}, 1)
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return ErrClosed
	}
	l.queue = append(l.queue, r)
	if l.leading || !l.free() {
		l.mu.Unlock()
		<-r.done
		if !r.lead {
			return r.err
		}
		l.mu.Lock()
	}
	l.leading = true
	batch := l.take()
	l.mu.Unlock()
	l.write(batch, r)
	return r.err
}

// free tells whether another unit may be in flight. mu is held.
func (l *Log) free() bool { return bits.OnesCount64(l.slots) < l.options.MaxInFlight }

// next lets another caller write, if one waits and may. mu is held.
func (l *Log) next() {
	switch {
	case l.leading:
	case l.closed:
		for _, r := range l.queue {
			r.err = ErrClosed
			r.done <- struct{}{}
		}
		l.queue = nil
		l.idle.Broadcast()
	case len(l.queue) > 0 && l.free():
		l.leading = true
		l.queue[0].lead = true
		l.queue[0].done <- struct{}{}
	}
}

// take removes from the queue what goes into one batch. mu is held.
func (l *Log) take() []*request {
	size, n := int64(0), 0
	for _, r := range l.queue {
		if n > 0 && size+int64(len(r.buf)) > l.options.MaxBatchBytes {
			break
		}
		size += int64(len(r.buf))
		n++
	}
	batch := make([]*request, n)
	copy(batch, l.queue)
	left := copy(l.queue, l.queue[n:])
	clear(l.queue[left:])
	l.queue = l.queue[:left]
	return batch
}

// write makes the requests durable and lets their groups know. The caller leads, and its request is
// lead; it leads no longer afterwards.
func (l *Log) write(batch []*request, lead *request) {
	u, refused := l.place(batch)
	l.mu.Lock()
	l.leading = false
	if u != nil {
		u.lead = lead
		l.inFlight = append(l.inFlight, u)
		for u.slot = 0; l.slots&(1<<u.slot) != 0; u.slot++ {
		}
		l.slots |= 1 << u.slot
	}
	l.next()
	l.mu.Unlock()
	answer(refused, lead)
	if u == nil {
		return
	}
	err := u.seg.syncers[u.slot].sync()
	l.syncs.Add(1)
	if err != nil {
		err = l.fail(fmt.Errorf("syncing the log: %w", err))
	}
	l.finish(u, err)
}

// answer lets the callers go on, but for the one that writes for the others.
func answer(batch []*request, lead *request) {
	for _, r := range batch {
		if r != lead {
			r.done <- struct{}{}
		}
	}
}

// finish ends the unit and those before it: a sync makes durable all that was written before.
func (l *Log) finish(u *unit, err error) {
	l.finishing.Lock()
	defer l.finishing.Unlock()
	l.mu.Lock()
	n := 0
	if !u.finished {
		n = slices.Index(l.inFlight, u) + 1
	}
	done := slices.Clone(l.inFlight[:n])
	if err == nil {
		err = l.failed // nothing is acknowledged any more
	}
	l.mu.Unlock()
	for _, d := range done {
		d.finished = true
		if err != nil {
			refuse(d.requests, err)
			continue
		}
		l.applied(d.requests, d.seg, d.at)
		l.batches.Add(d.batches)
		l.records.Add(uint64(d.records))
		l.written.Add(uint64(d.bytes))
	}
	l.mu.Lock()
	l.inFlight = slices.Delete(l.inFlight, 0, n)
	l.slots &^= 1 << u.slot // last: who waits for it must find everything applied
	if n > 0 && err == nil {
		l.durable = done[n-1].seq + done[n-1].batches - 1
	}
	if l.slots == 0 {
		l.idle.Broadcast()
	}
	l.next()
	l.mu.Unlock()
	for _, d := range done {
		answer(d.requests, d.lead)
	}
}

// drain waits until nothing is in flight. The caller leads.
func (l *Log) drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.slots != 0 {
		l.idle.Wait()
	}
}

// place writes the requests behind all others, not durably yet, and gives those it refused.
func (l *Log) place(batch []*request) (u *unit, refused []*request) {
	if err := l.Failed(); err != nil {
		return nil, refuse(batch, err)
	}
	u = newUnit(batch)
	seg, birth := l.tail, []byte(nil)
	if seg == nil || l.mustRotate || !seg.room(seg.end, u.bytes, u.entries) {
		l.drain() // all before the head of a file is durable, and the head tells of it
		if err := l.Failed(); err != nil {
			return nil, refuse(batch, err)
		}
		var err error
		if seg, birth, err = l.rotate(u); err != nil {
			small, large := bySize(batch)
			if len(small) > 0 && len(large) > 0 {
				u, refused = l.place(small)
				return u, append(refused, refuse(large, err)...)
			}
			return nil, refuse(batch, err)
		}
	}
	u.seg, u.at, u.seq = seg, max(seg.end, int64(len(birth))), l.seq
	if err := l.put(u, birth); err != nil {
		return nil, refuse(batch, err)
	}
	seg.end = u.at + u.bytes
	seg.count += u.entries
	l.seq += u.batches
	return u, nil
}

// put writes a unit, after the head of its file if that is new.
func (l *Log) put(u *unit, birth []byte) error {
	parts := l.parts[:0]
	if birth != nil {
		parts = append(parts, birth)
	}
	parts = l.layOut(parts, u)
	parts = l.ahead(parts, u)
	err := l.writeUnit(u.seg, parts, u.at-int64(len(birth)))
	clear(parts[:cap(parts)])
	l.parts = parts[:0]
	if err == nil {
		if birth != nil {
			l.born(u.seg, u.at)
		}
		return nil
	}
	if birth != nil {
		l.unborn(u.seg)
	}
	if isFull(err) {
		l.mustRotate = true // what of it was written must not be met again
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return l.fail(fmt.Errorf("writing the log: %w", err))
}

// writeUnit writes the parts of a unit, which begin and end with a block.
func (l *Log) writeUnit(seg *segment, parts [][]byte, at int64) error {
	if seg.direct != nil && l.room != nil {
		err := seg.direct.writeAt(parts, at)
		if !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
		l.room = nil // the file system takes such a file, but not such a write
	}
	return seg.f.writeAt(parts, at)
}

// aheadBytes are written beyond the end of the log from time to time.
const aheadBytes = 256 << 10

// ahead appends zeros to parts when a small unit comes to blocks that were never written. A sync of
// such blocks has to note in the file system that they are; of those written before it has not, and
// is faster.
func (l *Log) ahead(parts [][]byte, u *unit) [][]byte {
	end := u.at + u.bytes
	if end <= u.seg.written {
		return parts
	}
	u.seg.written = end
	if u.bytes > aheadBytes/4 {
		return parts
	}
	u.seg.written = min(end+aheadBytes, u.seg.bytes)
	for end < u.seg.written {
		n := min(u.seg.written-end, int64(len(l.zeros)))
		parts, end = append(parts, l.zeros[:n]), end+n
	}
	return parts
}

// bySize tells the requests that may use the reserve from the others.
func bySize(batch []*request) (small, large []*request) {
	for _, r := range batch {
		if r.small {
			small = append(small, r)
		} else {
			large = append(large, r)
		}
	}
	return small, large
}

func refuse(batch []*request, err error) []*request {
	for _, r := range batch {
		r.err = err
	}
	return batch
}

// unit is what one sync makes durable: a batch, and a second with the values once more.
type unit struct {
	requests, twice []*request
	lead            *request // of the caller that writes it
	size, twiceSize int64    // with heads, without padding
	bytes           int64    // in the file
	batches         uint64
	records         int
	entries         int

	seg      *segment
	at       int64
	seq      uint64
	slot     int
	finished bool // guarded by finishing
}

func newUnit(batch []*request) *unit {
	u := &unit{requests: batch, size: batchHeadBytes, twiceSize: batchHeadBytes}
	for _, r := range batch {
		u.size += int64(len(r.buf))
		u.records += r.count
		u.entries += len(r.places)
		if r.twice {
			u.twice = append(u.twice, r)
			u.twiceSize += int64(len(r.buf))
		}
	}
	u.bytes, u.batches = alignBlock(u.size), 1
	if len(u.twice) > 0 {
		u.bytes, u.batches = u.bytes+alignBlock(u.twiceSize), 2
	}
	return u
}

// layOut appends the bytes of the unit to parts.
func (l *Log) layOut(parts [][]byte, u *unit) [][]byte {
	l.mu.Lock()
	durable := l.durable
	l.mu.Unlock()
	l.heads = l.heads[:0]
	one := func(requests []*request, size, at int64, seq uint64, flags uint16) {
		head := batchHead{flags: flags, segment: u.seg.number, offset: uint32(at), length: uint32(size), seq: seq, durable: durable}
		for _, r := range requests {
			head.chain = checksum(head.chain, r.chain)
			head.records += uint32(r.count)
		}
		n := len(l.heads)
		l.heads = head.append(l.heads, u.seg.salt)
		parts = append(parts, l.heads[n:len(l.heads):len(l.heads)])
		for _, r := range requests {
			parts = append(parts, r.buf)
		}
		if pad := alignBlock(size) - size; pad > 0 {
			parts = append(parts, l.zeros[:pad])
		}
	}
	one(u.requests, u.size, u.at, u.seq, 0)
	if len(u.twice) > 0 {
		one(u.twice, u.twiceSize, u.at+alignBlock(u.size), u.seq+1, batchIsCopy)
	}
	return parts
}

// fail closes the log for writing.
func (l *Log) fail(err error) error {
	err = fmt.Errorf("%w: %w", ErrFailed, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = err
		l.options.Logger.Error("the log takes no writes any more", "error", err)
	}
	return err
}

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
