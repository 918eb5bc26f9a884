package wal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Log is the log of a node. It is safe for concurrent use. A folder must be open once only: its
// owner holds a lock on the data folder.
type Log struct {
	options Options
	fs      fileSystem

	mu      sync.Mutex // guards all up to the next blank line
	idle    *sync.Cond // leading became false, or nothing is in flight
	queue   []*request
	leading bool // a caller is writing
	// inFlight are the units that are written and not durable, in their order; slots has a bit for
	// each, which numbers its syncer; durable is the newest batch that is.
	inFlight []*unit
	slots    uint64
	durable  uint64
	closed   bool
	failed   error
	tail     *segment
	// segments are those begun and not given up, by number; spares are not begun. The tail is not
	// among them.
	segments []*segment
	spares   []*segment
	sealing  []*segment // full, without a durable footer
	unused   []*segment // to be closed
	lost     []*segment // without heads, until they are put aside
	// nextNumber is that of the next file.
	nextNumber uint64
	fullAt     time.Time // when a file could last not be made; zero: the disk has space
	byName     map[string]*Group
	byID       map[uint16]*Group

	// The leading caller's.
	seq        uint64 // of the next batch
	mustRotate bool   // the tail is from a log that was not closed
	parts      [][]byte
	heads      []byte
	zeros      []byte
	room       []byte // to write past the page cache; nil: that cannot be done here

	finishing  sync.Mutex // held while units are answered; guards what follows
	cached     []cachedRun
	cacheBytes int64

	reclaiming sync.Mutex // held while files are ended and given up
	making     sync.Mutex // held while a file is made or renamed, so that their numbers ascend

	fullNow                          atomic.Bool
	syncs, batches, records, written atomic.Uint64

	kick   chan struct{}
	quit   chan struct{}
	keeper sync.WaitGroup
}

// Open opens the log in a folder that exists, and makes one if there is none. It reads what the
// newest file holds, and of the others where their entries are. Close ends it.
func Open(dir string, options Options) (*Log, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the folder of the log: %w", err)
	}
	if err := folder(filepath.Dir(dir)).syncFolder(); err != nil {
		return nil, fmt.Errorf("syncing the folder above the log: %w", err)
	}
	return open(folder(dir), options)
}

func open(fs fileSystem, options Options) (*Log, error) {
	options = options.Default()
	if err := options.Validate(); err != nil {
		return nil, fmt.Errorf("options of the log: %w", err)
	}
	l := &Log{
		options: options, fs: fs, byName: make(map[string]*Group), byID: make(map[uint16]*Group),
		zeros: make([]byte, 64<<10), room: newRoom(), kick: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	l.idle = sync.NewCond(&l.mu)
	if err := l.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the log: %w", err), l.closeFiles())
	}
	if err := l.setAside(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the log: %w", err), l.closeFiles())
	}
	l.keeper.Add(1)
	go l.keep()
	l.wake()
	return l, nil
}

// Close finishes what is being written, notes that nothing is missing at the end, and closes the
// files. Writes that wait are refused.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.next() // refuses those that wait
	for l.leading || l.slots != 0 {
		l.idle.Wait()
	}
	l.leading = true
	failed := l.failed
	l.mu.Unlock()
	close(l.quit)
	l.keeper.Wait()
	var problem error
	if failed == nil && l.tail != nil {
		r := &request{small: true, done: make(chan struct{}, 1)}
		r.add(&record{kind: kindClose}, appendTable(nil, l.table()), nil)
		l.write([]*request{r}, r)
		problem = r.err
	}
	return errors.Join(problem, l.closeFiles())
}

func (l *Log) closeFiles() error {
	var problems []error
	for _, s := range slices.Concat(l.segments, l.spares, l.sealing, l.unused, l.lost, []*segment{l.tail}) {
		if s != nil && s.f != nil {
			problems = append(problems, s.f.close(), s.closeSyncers())
		}
	}
	return errors.Join(problems...)
}

// Group is the log of one group. A name that is new begins an empty log.
func (l *Log) Group(name string) (*Group, error) {
	if name == "" || len(name) > maxNameBytes || name == lostNames {
		return nil, fmt.Errorf("%q cannot be the name of a group: 1 to %d bytes", name, maxNameBytes)
	}
	l.mu.Lock()
	g, found := l.byName[name]
	if !found {
		if len(l.byID) >= maxGroups {
			l.mu.Unlock()
			return nil, fmt.Errorf("the log has %d groups already", maxGroups)
		}
		id := uint16(0)
		for l.byID[id] != nil {
			id++
		}
		g = &Group{log: l, id: id, name: name}
		if l.byName[lostNames] != nil {
			g.damage = damageEntries | damageValues // it may have had a log, of which the beginning is lost
		}
		l.byName[name], l.byID[id] = g, g
	}
	l.mu.Unlock()
	return g, g.found()
}

// lostNames is a group in the table that tells that names of groups may be lost.
const lostNames = "?"

// Groups are the names of all groups, in no order.
func (l *Log) Groups() (names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, g := range l.byName {
		if name != lostNames && g.ordinal > 0 {
			names = append(names, name)
		}
	}
	return names
}

// Full tells that there is no space for entries beyond those that fit into the file in use: proposing
// more is likely to fail. It is cheap.
func (l *Log) Full() bool {
	return l.fullNow.Load()
}

// noteSpace is called when the empty files, or fullAt, changed. mu is held.
func (l *Log) noteSpace() {
	l.fullNow.Store(!l.fullAt.IsZero() && len(l.spares) <= l.options.Reserve)
}

// Failed is nil while the log takes writes, and afterwards what went wrong.
func (l *Log) Failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed
}

// Stats tells what the log did and how large it is.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Stats{
		Syncs: l.syncs.Load(), Batches: l.batches.Load(), Records: l.records.Load(), BytesWritten: l.written.Load(),
		Segments: len(l.segments) + len(l.sealing), SpareSegments: len(l.spares), Full: l.Full(),
	}
	for _, seg := range slices.Concat(l.segments, l.sealing) {
		s.LiveBytes += seg.liveBytes.Load()
	}
	if l.tail != nil {
		s.Segments++
		s.LiveBytes += l.tail.liveBytes.Load()
	}
	return s
}

// table is how all groups stand. Only the writing caller changes that.
func (l *Log) table() []groupState {
	l.mu.Lock()
	groups := make([]*Group, 0, len(l.byID))
	for _, g := range l.byID {
		groups = append(groups, g)
	}
	l.mu.Unlock()
	states := make([]groupState, 0, len(groups))
	for _, g := range groups {
		if g.ordinal > 0 || g.name == lostNames {
			states = append(states, g.state())
		}
	}
	slices.SortFunc(states, func(a, b groupState) int { return int(a.id) - int(b.id) })
	return states
}

func (l *Log) wake() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}
