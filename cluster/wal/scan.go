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
// Every batch was durable before the next was written. So if batches follow, this one was
// acknowledged and has been damaged since. If none follows, it was being written when the process or
// the machine died, and nobody was told that it was written.
func (s *scan) damaged(at int64) int64 {
	next, follows := s.find(at + blockBytes)
	if follows && next.flags&batchIsCopy != 0 && s.newest && next.seq == s.seq+1 {
		// The second half of the unit that was being written may be durable without the first. It
		// repeats values, which may be kept, acknowledged or not.
		if _, more := s.find(int64(next.offset) + blockBytes); !more {
			if records, whole := s.records(next, int64(next.offset)); whole {
				s.apply(next, records, int64(next.offset))
			}
			s.seq = next.seq + 1 // is not used again
			follows, s.clean = false, false
		}
	}
	if !follows {
		s.seg.end = at
		if s.known || !s.newest {
			s.regions = append(s.regions, region{lost: 2, endSeq: anyNumber})
		}
		if _, err := decodeBatch(s.raw[at:], s.seg.salt, s.seg.number, at); err == nil {
			s.clean = false // what was cut short must not be met again
		}
		return -1
	}
	lost := next.seq - s.seq
	if head, err := decodeBatch(s.raw[at:], s.seg.salt, s.seg.number, at); err == nil && head.seq == s.seq {
		// Its records still tell whose they are, if all their heads are good.
		records, _ := s.records(head, at)
		if len(records) == int(head.records) && !valueDamaged(records) {
			s.apply(head, records, at)
			s.seq = head.seq + 1
			return at + alignBlock(int64(head.length))
		}
	}
	s.log.options.Logger.Error("batches of the log are damaged", "file", segmentName(s.seg.number), "offset", at, "batches", lost)
	s.regions = append(s.regions, region{lost: lost, endSeq: next.seq})
	s.seq = next.seq
	return int64(next.offset)
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

// find looks for a batch that was written later than the one expected.
func (s *scan) find(from int64) (batchHead, bool) {
	for at := alignBlock(from); at < int64(len(s.raw)); at += blockBytes {
		if head, err := decodeBatch(s.raw[at:], s.seg.salt, s.seg.number, at); err == nil && head.seq >= s.seq {
			return head, true
		}
	}
	return batchHead{}, false
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
		case r.kind == kindMoved:
			s.keepPlace(r)
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
