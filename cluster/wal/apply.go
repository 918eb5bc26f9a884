package wal

// applied lets the groups know what is durable now. The caller leads.
func (l *Log) applied(batch []*request, seg *segment, at int64) {
	at += batchHeadBytes
	for _, r := range batch {
		if r.group != nil {
			r.group.apply(r, seg, at)
			l.remember(r, seg, at)
		}
		at += int64(len(r.buf))
	}
}

func (g *Group) apply(r *request, seg *segment, at int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ordinal += uint64(r.count)
	switch r.kind {
	case kindEntry:
		if g.first == 0 {
			g.first = r.places[0].index
		}
		for _, p := range r.places {
			g.put(p, r, seg, at)
		}
		g.last = r.places[len(r.places)-1].index
	case kindMoved:
		for _, p := range r.places {
			g.put(p, r, seg, at)
		}
	case kindHead:
		g.first = r.index
		g.cut()
	case kindTail:
		g.last = r.index
		g.cut()
	case kindClear:
		g.clear(r.index)
	case kindValue:
		g.setValue(r.value)
	}
	if r.kind == kindHead || r.kind == kindClear {
		g.log.wake() // a file may be given up
	}
}

func (g *Group) put(p place, r *request, seg *segment, at int64) {
	if old := g.entries.at(p.index); old != nil {
		old.drop()
	}
	l := loc{seg, uint32(at) + p.offset, p.size, r.buf[p.offset : p.offset+p.size]}
	l.count()
	g.entries.set(p.index, l)
}

// cut drops the entries that are truncated.
func (g *Group) cut() {
	g.entries.cut(g.first, g.last, (*loc).drop)
	if g.missing > 0 && (g.missing < g.first || g.missing > g.last) {
		g.missing = 0
	}
}

// clear drops all entries.
func (g *Group) clear(damage uint64) {
	g.first, g.last, g.missing = 0, 0, 0
	if damage == endDamage {
		g.damage = 0
	}
	g.entries.cut(anyNumber, 0, (*loc).drop)
}

// cachedRun are entries in memory.
type cachedRun struct {
	group       *Group
	first, last uint64
	bytes       int64
}

// remember notes what r keeps in memory, and forgets the oldest beyond the bound.
func (l *Log) remember(r *request, seg *segment, at int64) {
	for _, p := range r.places {
		seg.places = append(seg.places, place{p.group, p.size, uint32(at) + p.offset, p.index})
	}
	if len(r.places) > 0 {
		run := cachedRun{r.group, r.places[0].index, r.places[len(r.places)-1].index, int64(len(r.buf))}
		l.cached = append(l.cached, run)
		l.cacheBytes += run.bytes
	}
	n := 0
	for ; l.cacheBytes > l.options.CacheBytes && n < len(l.cached); n++ {
		l.cacheBytes -= l.cached[n].bytes
		l.cached[n].forget()
		l.cached[n] = cachedRun{}
	}
	l.cached = l.cached[n:]
}

func (c cachedRun) forget() {
	c.group.mu.Lock()
	defer c.group.mu.Unlock()
	for i := c.first; i <= c.last; i++ {
		if l := c.group.entries.at(i); l != nil {
			l.mem = nil
		}
	}
}
