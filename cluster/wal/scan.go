package wal

// scan reads the batches of a segment that has no footer.
type scan struct {
	*recovery
	seg    *segment
	raw    []byte // the file, up to the end of its batches if that is known
	seq    uint64 // of the next batch
	newest bool   // the end of the log is here: it may be torn
	known  bool   // raw ends where the batches end
}

func (s *scan) run() {
	at := s.seg.data
	for at < int64(len(s.raw)) {
		head, err := decodeBatch(s.raw[at:], s.seg.salt, s.seg.number, at)
		if err == nil && head.seq == s.seq && at+int64(head.length) <= int64(len(s.raw)) {
			if records, whole := s.records(head, at); whole {
				s.apply(head, records, at)
				at += alignBlock(int64(head.length))
				s.seq = head.seq + 1
				continue
			}
		}
		if at = s.damaged(at); at < 0 {
			return
		}
	}
	s.seg.end = min(at, int64(len(s.raw)))
}

// spot is a record with the place it was read from.
type spot struct {
	record
	at   int64
	size int
}

// records reads those of a batch, as far as their heads are good. whole tells that all are what was
// written.
func (s *scan) records(head batchHead, at int64) (list []spot, whole bool) {
	p := s.raw[at+batchHeadBytes : min(at+int64(head.length), int64(len(s.raw)))]
	at += batchHeadBytes
	chain, whole := uint32(0), true
	for n := uint32(0); n < head.records; n++ {
		r, size, err := decodeRecord(p)
		if err != nil {
			return list, false
		}
		chain = checksum(chain, []byte{byte(r.crc), byte(r.crc >> 8), byte(r.crc >> 16), byte(r.crc >> 24)})
		list = append(list, spot{r, at, size})
		whole = whole && r.whole
		p, at = p[size:], at+int64(size)
	}
	if chain != head.chain {
		return nil, false // remains of what the file held before
	}
	return list, whole && len(p) == 0
}

// damaged deals with what is no batch at the given offset, and returns where to go on; -1 at the end.
//
// A batch tells which others were durable before it was written. So if a later one tells that this
// one was, or the next file was begun, it was acknowledged and has been damaged since. Otherwise it
// was being written when the process or the machine died: nobody was told that it was written, nor
// that those after it were, and they are all dropped.
func (s *scan) damaged(at int64) int64 {
	later := s.later(at + blockBytes)
	acknowledged := s.known || len(later) > 0 && !s.newest
	for _, b := range later {
		acknowledged = acknowledged || b.durable >= s.seq
	}
	if !acknowledged || len(later) == 0 {
		s.torn(at, later)
		return -1
	}
	next := later[0]
	if head, err := decodeBatch(s.raw[at:], s.seg.salt, s.seg.number, at); err == nil && head.seq == s.seq {
		// Its records still tell whose they are, if all their heads are good.
		records, _ := s.records(head, at)
		if len(records) == int(head.records) && !valueDamaged(records) {
			s.apply(head, records, at)
			s.seq = head.seq + 1
			return at + alignBlock(int64(head.length))
		}
	}
	lost := next.seq - s.seq
	s.log.options.Logger.Error("batches of the log are damaged", "file", segmentName(s.seg.number), "offset", at, "batches", lost)
	s.regions = append(s.regions, region{lost: lost, endSeq: next.seq})
	s.seq = next.seq
	return int64(next.offset)
}

// torn ends the log, or a file of it, at the given offset.
func (s *scan) torn(at int64, later []batchHead) {
	s.seg.end = at
	if s.known || !s.newest {
		s.regions = append(s.regions, region{lost: 2, endSeq: anyNumber})
	}
	if _, err := decodeBatch(s.raw[at:], s.seg.salt, s.seg.number, at); err == nil || len(later) > 0 {
		s.clean = false // what was cut short must not be met again
	}
	if len(later) == 0 {
		return
	}
	// The second half of a unit may be durable without the first. It repeats values, which may be
	// kept, acknowledged or not.
	if b := later[0]; b.flags&batchIsCopy != 0 && b.seq == s.seq+1 {
		if records, whole := s.records(b, int64(b.offset)); whole {
			s.apply(b, records, int64(b.offset))
		}
	}
	s.seq = later[len(later)-1].seq + 1
}

// valueDamaged tells whether the payload of a record is damaged that is needed to understand it.
func valueDamaged(records []spot) bool {
	for _, r := range records {
		if !r.whole && r.kind != kindEntry && r.kind != kindMoved {
			return true
		}
	}
	return false
}

// later are the heads of the batches that were written after the one expected.
func (s *scan) later(from int64) (list []batchHead) {
	for at := alignBlock(from); at < int64(len(s.raw)); at += blockBytes {
		if head, err := decodeBatch(s.raw[at:], s.seg.salt, s.seg.number, at); err == nil && head.seq > s.seq {
			list = append(list, head)
		}
	}
	return list
}

// apply takes over the records of a batch.
func (s *scan) apply(head batchHead, records []spot, at int64) {
	isCopy := head.flags&batchIsCopy != 0
	s.clean = false
	for i := range records {
		r := &records[i]
		switch {
		case r.kind == kindClose:
			if groups, err := decodeTable(r.payload); err == nil {
				s.take(groups, head.seq)
				s.clean = true
			}
		default:
			g := s.group(r.group)
			if isCopy && r.ordinal <= g.ordinal {
				continue
			}
			if r.ordinal != g.ordinal+1 {
				g.gap = true
			}
			g.ordinal, g.evidence = r.ordinal, head.seq
			s.record(g, r)
		}
	}
}

func (s *scan) keepPlace(r *spot) {
	p := place{r.group, uint32(r.size), uint32(r.at), r.index}
	s.seg.places = append(s.seg.places, p)
	s.place(p, s.seg)
}

// record does to a group what the record says, as Group.apply did.
func (s *scan) record(g *Group, r *spot) {
	switch r.kind {
	case kindEntry:
		if g.first == 0 {
			g.first = r.index
			g.entries.cut(anyNumber, 0, nil)
		}
		g.last = r.index
		s.keepPlace(r)
	case kindMoved:
		s.keepPlace(r)
	case kindHead:
		g.first = r.index
		g.entries.cut(g.first, g.last, nil)
	case kindTail:
		g.last = r.index
		g.entries.cut(g.first, g.last, nil)
	case kindClear:
		g.first, g.last = 0, 0
		g.entries.cut(anyNumber, 0, nil)
		if r.index == endDamage {
			g.damage = 0
		}
	case kindValue:
		if v, err := decodeValue(r.payload); err == nil {
			g.setValue(v)
		}
	case kindGroup:
		if g.name == "" && len(r.payload) <= maxNameBytes {
			g.name = string(r.payload)
			s.log.byName[g.name] = g
		}
	}
}
