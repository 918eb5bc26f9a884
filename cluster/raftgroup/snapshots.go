package raftgroup

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/store"
)

// snapshots are the snapshots of a group as raft sees them. There is one: the last checkpoint of the
// store. Taking it copies nothing; sending it streams from the pages of the checkpoint; receiving one
// makes a state in a file beside the present one, which then takes its place.
//
// While raft starts, the snapshot is the place where the store stands, so raft begins after it.
type snapshots struct {
	store  *store.Store
	log    *guardedLog
	rate   int           // bytes a second of a state that is sent
	newest atomic.Uint64 // index of the newest snapshot raft knows: the log may begin after it

	mu       sync.Mutex
	received *received // a state that was received and not restored yet
	streams  int
	streamed time.Time // when the last stream ended
}

// note is what a checkpoint of the store remembers of the snapshot that raft took with it. Raft counts
// entries that the state machine does not see, so a snapshot can stand further than the state, by
// entries that hold no operations; the log may have been truncated there.
type note struct {
	Index              uint64 `json:"index"`
	Term               uint64 `json:"term"`
	Configuration      []byte `json:"configuration"`
	ConfigurationIndex uint64 `json:"configurationIndex"`
	// Received is true when the state came from another node. The log of this one may end before it.
	Received bool `json:"received,omitempty"`
}

func noteOf(meta *raft.SnapshotMeta, received bool) ([]byte, error) {
	b, err := json.Marshal(note{
		Index: meta.Index, Term: meta.Term, Received: received,
		Configuration: raft.EncodeConfiguration(meta.Configuration), ConfigurationIndex: meta.ConfigurationIndex,
	})
	if err != nil {
		return nil, fmt.Errorf("encoding a snapshot's place: %w", err)
	}
	return b, nil
}

func readNote(b []byte) (n note, err error) {
	if len(b) > 0 {
		if err := json.Unmarshal(b, &n); err != nil {
			return note{}, fmt.Errorf("the note of the last checkpoint cannot be read: %w", err)
		}
	}
	return n, nil
}

// place is where a state stands for raft: at its position, or at the snapshot it was taken for if that
// is further. It is nil for an empty state.
func place(at *fsm.Position, n note) *raft.SnapshotMeta {
	meta := &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Index: at.Index, Term: at.Term, ConfigurationIndex: at.ConfigurationIndex}
	configuration := at.Configuration
	if n.Index > at.Index || n.Index > 0 && len(configuration) == 0 {
		meta.Index, meta.Term, meta.ConfigurationIndex, configuration = n.Index, n.Term, n.ConfigurationIndex, n.Configuration
	}
	if meta.Index == 0 || len(configuration) == 0 {
		return nil
	}
	meta.Configuration = raft.DecodeConfiguration(configuration)
	meta.ID = fmt.Sprintf("%d-%d", meta.Term, meta.Index)
	return meta
}

// begin prepares the start: it checks that state and log fit together.
func (s *snapshots) begin(log *guardedLog) error {
	s.log = log
	log.settled = s.newest.Load
	n, err := readNote(s.store.Note()) // no checkpoint is made before the group runs
	if err != nil {
		return err
	}
	at, err := s.durable()
	if err != nil {
		return err
	}
	begin := uint64(0)
	if at != nil {
		begin = at.Index
	}
	s.newest.Store(n.Index)
	first, last, err := ends(log)
	if err != nil {
		return err
	}
	if n.Received && last > 0 && last < n.Index {
		// The log was to be dropped when the state was received. It is all older than the state.
		if err := log.DeleteRange(first, last); err != nil {
			return fmt.Errorf("dropping the log that a received state replaces: %w", err)
		}
		first, last = 0, 0
	}
	switch {
	case last < begin && !(last == 0 && (n.Received && begin == n.Index || log.group.Get(emptied) != nil)):
		return fmt.Errorf("the log ends at entry %d and the state at %d: the log is damaged, restore a backup of the data folder", last, begin)
	case last > 0 && first > begin+1:
		return fmt.Errorf("the log begins at entry %d and the state ends at %d: the entries between are lost, restore a backup of the data folder", first, begin)
	}
	if last > 0 {
		s.log.bytes.Store(log.group.Bytes(s.newest.Load()))
	}
	return nil
}

func ends(log *guardedLog) (first, last uint64, err error) {
	first, firstErr := log.FirstIndex()
	last, lastErr := log.LastIndex()
	if err := errors.Join(firstErr, lastErr); err != nil {
		return 0, 0, fmt.Errorf("reading the log: %w", err)
	}
	return first, last, nil
}

// durable is the place of the last checkpoint, nil if the state is empty.
func (s *snapshots) durable() (*raft.SnapshotMeta, error) {
	snapshot, err := s.store.Durable()
	if err != nil {
		return nil, err
	}
	defer snapshot.Release()
	return metaOf(snapshot)
}

func metaOf(snapshot *store.Snapshot) (*raft.SnapshotMeta, error) {
	n, err := readNote(snapshot.Note())
	if err != nil {
		return nil, err
	}
	at, err := fsm.ReadPosition(snapshot.Get)
	if err != nil {
		return nil, err
	}
	return place(at, n), nil
}

// List implements raft.SnapshotStore.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	meta, err := s.durable()
	if err != nil || meta == nil {
		return nil, err
	}
	return []*raft.SnapshotMeta{meta}, nil
}

// Open implements raft.SnapshotStore: it gives the state that was just received, for the machine to
// restore, or streams the last checkpoint, whatever id it has by now.
func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	in := s.received
	s.received = nil
	s.mu.Unlock()
	if in != nil && in.meta.ID == id {
		return &in.meta, in, nil
	}
	snapshot, err := s.store.Durable()
	if err != nil {
		return nil, nil, err
	}
	meta, err := metaOf(snapshot)
	if err == nil && meta == nil {
		err = errors.New("the state is empty")
	}
	if err != nil {
		snapshot.Release()
		return nil, nil, err
	}
	stream := snapshot.Stream()
	meta.Size = stream.Size()
	s.mu.Lock()
	s.streams++
	s.mu.Unlock()
	return meta, &sending{Stream: stream, of: s, begun: time.Now()}, nil
}

// sending is a snapshot on its way to another node.
type sending struct {
	*store.Stream
	of    *snapshots
	begun time.Time
	sent  int64
	once  sync.Once
}

// Read implements io.Reader, no faster than the rate.
func (s *sending) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	s.sent += int64(n)
	if ahead := time.Duration(float64(s.sent)/float64(s.of.rate)*float64(time.Second)) - time.Since(s.begun); ahead > 0 {
		time.Sleep(ahead)
	}
	return n, err
}

// Close implements io.Closer.
func (s *sending) Close() error {
	s.once.Do(func() {
		s.of.mu.Lock()
		s.of.streams--
		s.of.streamed = time.Now()
		s.of.mu.Unlock()
	})
	return s.Stream.Close()
}

// catchUp is how long the log is kept whole after a snapshot was sent, for the node that received it to
// fetch the entries since: without them it would need another snapshot.
const catchUp = 30 * time.Second

// sendingNow tells that another node is being given a snapshot, or catches up after one.
func (s *snapshots) sendingNow() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.streams > 0 || !s.streamed.IsZero() && time.Since(s.streamed) < catchUp
}

// received is a state that another node sent, complete, for the machine to restore.
type received struct {
	*store.Incoming
	meta raft.SnapshotMeta
}

// Close implements io.Closer: what was not restored is thrown away.
func (r *received) Close() error { return r.Abort() }

// dropReceived throws a state away that was received and never restored.
func (s *snapshots) dropReceived() error {
	s.mu.Lock()
	in := s.received
	s.received = nil
	s.mu.Unlock()
	if in == nil {
		return nil
	}
	return in.Abort()
}

// Create implements raft.SnapshotStore. What becomes of the sink tells whether a snapshot is taken here
// or received.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &sink{of: s, bytes: s.log.bytes.Load(), meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}, nil
}

// sink is a snapshot that is being taken, by checkpoint, or received, by Write.
type sink struct {
	of    *snapshots
	meta  raft.SnapshotMeta
	bytes int64 // of log the snapshot stands for
	in    *store.Incoming
}

// ID implements raft.SnapshotSink.
func (s *sink) ID() string { return s.meta.ID }

// Write implements io.Writer.
func (s *sink) Write(b []byte) (int, error) {
	if s.in == nil {
		if err := s.of.dropReceived(); err != nil {
			return 0, err
		}
		n, err := noteOf(&s.meta, true)
		if err != nil {
			return 0, err
		}
		if s.in, err = s.of.store.Receive(n); err != nil {
			return 0, err
		}
	}
	return s.in.Write(b)
}

// checkpoint makes the state durable, and with it where the log may be truncated.
func (s *sink) checkpoint() error {
	n, err := noteOf(&s.meta, false)
	if err != nil {
		return err
	}
	return s.of.store.Checkpoint(n)
}

// Close implements io.Closer.
func (s *sink) Close() error {
	if s.in != nil {
		if err := s.in.Close(); err != nil {
			return fmt.Errorf("receiving a snapshot: %w", err)
		}
		s.of.mu.Lock()
		s.of.received = &received{Incoming: s.in, meta: s.meta}
		s.of.mu.Unlock()
	}
	if s.meta.Index > s.of.newest.Load() {
		s.of.newest.Store(s.meta.Index)
		s.of.log.bytes.Add(-s.bytes)
	}
	return nil
}

// Cancel implements raft.SnapshotSink.
func (s *sink) Cancel() error {
	if s.in != nil {
		return s.in.Abort()
	}
	return nil
}

// taking is a snapshot that raft takes: a checkpoint of the store.
type taking struct{}

// Persist implements raft.FSMSnapshot. The state goes on meanwhile: the checkpoint may be later than the
// entry that raft notes, never earlier.
func (taking) Persist(to raft.SnapshotSink) error {
	own, ok := to.(*sink)
	if !ok {
		return fmt.Errorf("a snapshot for a %T", to)
	}
	return own.checkpoint()
}

// Release implements raft.FSMSnapshot.
func (taking) Release() {}

// Snapshot implements raft.FSM. It takes no time.
func (o observed) Snapshot() (raft.FSMSnapshot, error) { return taking{}, o.Err() }

// Restore implements raft.FSM.
func (o observed) Restore(from io.ReadCloser) error {
	err := o.restore(from)
	if a, ok := o.Machine.(interface{ Announce() }); ok && err == nil {
		a.Announce() // a replica that was away gets here in one step
	}
	return err
}

func (o observed) restore(from io.ReadCloser) error {
	defer o.group.applied.advanced()
	for {
		wrapper, ok := from.(raft.ReadCloserWrapper) // raft counts what is read
		if !ok {
			break
		}
		from = wrapper.WrappedReadCloser()
	}
	if in, ok := from.(*received); ok {
		return o.Machine.Restore(in.Incoming)
	}
	return o.Machine.Restore(from)
}

// keep takes snapshots, so that the log can be truncated.
func (g *Group) keep() {
	defer g.workers.Done()
	ticker := time.NewTicker(g.options.SnapshotInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if g.snapshotDue() {
				if err := g.Snapshot(); err != nil {
					g.logger.Error("taking a snapshot", "error", err)
				}
			}
		case <-g.failed:
			return
		case <-g.quit:
			return
		}
	}
}

// patience is how many times larger than usual the log may grow for a node that is given a snapshot.
const patience = 8

func (g *Group) snapshotDue() bool {
	at := g.machine.Position().Index
	newest := g.snapshots.newest.Load()
	bytes := g.log.bytes.Load()
	g.metrics.logBytes.Set(float64(bytes))
	if at <= newest {
		return false
	}
	entries, limit := g.options.SnapshotEntries, max(g.options.SnapshotBytes, g.machine.StateBytes())
	if g.snapshots.sendingNow() {
		entries, limit = patience*entries, patience*limit
	}
	return at-newest >= entries || bytes >= limit
}

// Snapshot makes the state durable now and truncates the log. A state without news is no error.
func (g *Group) Snapshot() error {
	g.proposing.RLock()
	defer g.proposing.RUnlock()
	start := time.Now()
	err := g.raft.Snapshot().Error()
	if errors.Is(err, raft.ErrNothingNewToSnapshot) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("taking a snapshot: %w", err)
	}
	g.metrics.snapshotSeconds.Observe(time.Since(start).Seconds())
	return nil
}
