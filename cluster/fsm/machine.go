package fsm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"
	"github.com/oklog/ulid/v2"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
)

// Result answers one operation. Err is an *nba.Error: the operation was refused and changed nothing.
type Result struct {
	Err     error
	Version uint64
	// Created is true when the subject did not exist before.
	Created bool
	// Duplicate is true when the same decision or response was already recorded.
	Duplicate bool
	// Replayed is true when the operation took effect earlier under the same idempotency key; the rest
	// is what it answered then.
	Replayed bool
	// Decision is the id that was recorded, of a decision.
	Decision ulid.ULID
	// Value is what other operations give: *nba.Dictionary, nba.CatalogVersion, nba.PluginVersion,
	// nba.Retention, Features, Marked, or Expiry.
	Value any
}

// Results are the answers to the operations of one log entry, in their order. ApplyBatch gives one
// Results for each entry, or an error when the machine has stopped.
type Results []Result

// ErrStopped is returned for every entry after the machine failed to apply one. What is wrong is
// wrapped; a restart continues after the last entry that was applied.
var ErrStopped = errors.New("state machine stopped")

var (
	keyApplied       = []byte("applied")
	keyConfiguration = []byte("configuration")
)

// Position is where in the log a machine stands.
type Position struct {
	Index, Term uint64
	// Configuration is the newest voter configuration at or before Index, as raft encoded it, and
	// ConfigurationIndex where it stood in the log. Empty before the first.
	Configuration      []byte
	ConfigurationIndex uint64
	// Digest is that of the state.
	Digest Digest
}

// machine is what both state machines share.
type machine struct {
	store    *store.Store
	rules    rules
	position atomic.Pointer[Position]
	mark     atomic.Pointer[Marked]
	failed   atomic.Pointer[error]
	restored atomic.Pointer[Restore]

	// Used within one batch.
	pairs   pairs
	marking Marked
	filling Restore
	reload  bool // a restore ended: what is in memory is made again before the next entry
}

// rules are what a machine does with operations.
type rules interface {
	// applyOp answers one operation within the transaction of the batch.
	applyOp(u *update, at At, op command.Op) (Result, error)
	// reloadState reads what the machine holds in memory, after opening and after a restore.
	reloadState() error
	// beginBatch is called before the first entry of a batch, finishBatch after the last, within the
	// transaction, and commitBatch after the transaction. finishBatch may be called more than once.
	beginBatch()
	finishBatch(u *update) error
	commitBatch()
}

// At tells an operation its place and its time.
type At struct {
	// Index is that of the entry in the log, and above all that the state held when it was restored.
	Index uint64
	// ProposedMS is when the entry was proposed, in milliseconds since 1970.
	ProposedMS int64
}

// open reads the position. It is for the constructors.
func (m *machine) open() error {
	r, err := m.store.Acquire()
	if err != nil {
		return err
	}
	position, err := ReadPosition(r.Get)
	var mark Marked
	if err == nil {
		position.Digest = readDigest(r, position.Index)
		mark, _ = parseMarked(r.Get(store.Meta, keyMark))
	}
	restored := readRestore(r)
	r.Release()
	if err != nil {
		return err
	}
	m.position.Store(position)
	m.mark.Store(&mark)
	m.restored.Store(&restored)
	return m.rules.reloadState()
}

// ReadPosition reads the position out of a state, without its digest.
func ReadPosition(get func(store.Bucket, []byte) []byte) (*Position, error) {
	p := &Position{}
	if v := get(store.Meta, keyApplied); len(v) == 16 {
		p.Index, p.Term = binary.LittleEndian.Uint64(v), binary.LittleEndian.Uint64(v[8:])
	} else if v != nil {
		return nil, fmt.Errorf("the store's log position is damaged")
	}
	if v := get(store.Meta, keyConfiguration); len(v) >= 8 {
		p.ConfigurationIndex = binary.LittleEndian.Uint64(v)
		p.Configuration = append([]byte(nil), v[8:]...)
	}
	return p, nil
}

// Position is where the machine stands. It is safe for concurrent use.
func (m *machine) Position() Position { return *m.position.Load() }

// Err is nil while the machine applies entries, and afterwards why it stopped.
func (m *machine) Err() error {
	if err := m.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Store is the store the machine writes.
func (m *machine) Store() *store.Store { return m.store }

// Apply implements raft.FSM.
func (m *machine) Apply(entry *raft.Log) any { return m.ApplyBatch([]*raft.Log{entry})[0] }

// ApplyBatch implements raft.BatchingFSM. Entries that the store holds already are skipped.
func (m *machine) ApplyBatch(entries []*raft.Log) []any {
	answers := make([]any, len(entries))
	for done := 0; done < len(entries); {
		n, err := m.applySome(entries[done:], answers[done:])
		if err != nil {
			return fill(answers, err)
		}
		done += n
	}
	return answers
}

// applySome applies entries in one transaction, up to one that ends a restore, and tells how many.
func (m *machine) applySome(entries []*raft.Log, answers []any) (done int, err error) {
	if err := m.Err(); err != nil {
		return 0, err
	}
	position := *m.position.Load()
	m.marking, m.filling, m.reload = *m.mark.Load(), *m.restored.Load(), false
	m.rules.beginBatch()
	err = m.store.Update(func(tx *store.Tx) error {
		u := &update{Tx: tx, digest: position.Digest, pairs: &m.pairs}
		for i := 0; i < len(entries) && !m.reload; i++ {
			done = i + 1
			if err := m.applyOne(u, &position, entries[i], &answers[i]); err != nil {
				return fmt.Errorf("entry %d: %w", entries[i].Index, err)
			}
		}
		if err := m.rules.finishBatch(u); err != nil {
			return err
		}
		position.Digest = u.digest
		return putApplied(u, &position)
	})
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrStopped, err)
		m.failed.Store(&err)
		return done, err
	}
	m.position.Store(&position)
	if marking := m.marking; marking != *m.mark.Load() {
		m.mark.Store(&marking)
	}
	if filling := m.filling; filling != *m.restored.Load() {
		m.restored.Store(&filling)
	}
	m.rules.commitBatch()
	if m.reload {
		if err := m.rules.reloadState(); err != nil {
			err = fmt.Errorf("%w: reading what was restored: %w", ErrStopped, err)
			m.failed.Store(&err)
			return done, err
		}
	}
	return done, nil
}

// applyOne applies an entry, unless the store holds it already.
func (m *machine) applyOne(u *update, position *Position, entry *raft.Log, answer *any) (err error) {
	if entry.Index <= position.Index {
		*answer = Results(nil)
		return nil
	}
	switch entry.Type {
	case raft.LogCommand:
		*answer, err = m.applyEntry(u, entry)
	case raft.LogConfiguration:
		position.Configuration, position.ConfigurationIndex = entry.Data, entry.Index
		err = putConfiguration(u, position)
	}
	if err == nil {
		position.Index, position.Term = entry.Index, entry.Term
	}
	return err
}

func fill(answers []any, err error) []any {
	for i := range answers {
		answers[i] = err
	}
	return answers
}

func (m *machine) applyEntry(u *update, entry *raft.Log) (Results, error) {
	e, err := command.Open(entry.Data)
	if err != nil {
		return nil, err
	}
	results := make(Results, 0, e.Len())
	for {
		op, ok := e.Next()
		if !ok {
			return results, nil
		}
		var result Result
		at := At{Index: entry.Index, ProposedMS: e.ProposedMS()}
		if op.Kind == command.StateMarked && op.Version == 1 {
			result, err = m.markState(u, at, op.Body)
		} else {
			at.Index += m.filling.Base
			result, err = m.rules.applyOp(u, at, op)
		}
		if err != nil {
			return nil, err
		}
		results = append(results, result)
	}
}

func putApplied(u *update, p *Position) error {
	v := binary.LittleEndian.AppendUint64(make([]byte, 0, 16), p.Index)
	if err := u.local(keyApplied, binary.LittleEndian.AppendUint64(v, p.Term)); err != nil {
		return err
	}
	return u.local(keyDigest, appendMarked(make([]byte, 0, 8+command.DigestBytes), Marked{Index: p.Index, Digest: p.Digest}))
}

func putConfiguration(u *update, p *Position) error {
	v := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(p.Configuration)), p.ConfigurationIndex)
	return u.local(keyConfiguration, append(v, p.Configuration...))
}

// Snapshot implements raft.FSM. It is quick: the state is streamed later, from a read transaction.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if err := m.Err(); err != nil {
		return nil, err
	}
	s, err := m.store.Snapshot()
	if err != nil {
		return nil, err
	}
	return snapshot{s}, nil
}

// Restore implements raft.FSM.
func (m *machine) Restore(from io.ReadCloser) error {
	if err := m.store.Restore(from); err != nil {
		return err
	}
	return m.open()
}

type snapshot struct{ *store.Snapshot }

// Persist implements raft.FSMSnapshot.
func (s snapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.WriteTo(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// unknownKind stops the machine: an operation it does not know would be applied elsewhere.
func unknownKind(op command.Op) error {
	return fmt.Errorf("operation %d version %d: %w", op.Kind, op.Version, command.ErrTooNew)
}

// StateBytes is the size of the state on disk, 0 if that cannot be told.
func (m *machine) StateBytes() int64 {
	size, err := m.store.Size()
	if err != nil {
		return 0
	}
	return size
}
