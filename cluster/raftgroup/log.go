package raftgroup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/wal"
)

// errLogFailed is what every write to the log gives after the first one failed.
var errLogFailed = errors.New("the log failed before and is closed for writing")

// guardedLog is the log of a group: its part of the node's log, as raft wants it, entries and votes.
// After a write fails, nothing more is written: what is on disk is then unknown, and going on could
// acknowledge entries that a restart does not find. A full disk is no failure: the entries were not
// written, which is known, and the log takes others when there is space.
type guardedLog struct {
	group   *wal.Group
	shared  *wal.Log
	own     bool // shared is ours to close
	onError func(error)
	// settled is the last entry whose effects the state holds.
	settled func() uint64
	broken  atomic.Bool
	bytes   atomic.Int64 // appended since the last snapshot
}

var (
	_ raft.LogStore          = (*guardedLog)(nil)
	_ raft.StableStore       = (*guardedLog)(nil)
	_ raft.MonotonicLogStore = (*guardedLog)(nil)
)

// Close closes the log, if it is the group's own.
func (l *guardedLog) Close() error {
	if l.own {
		return l.shared.Close()
	}
	return nil
}

// full tells that the disk has no space for entries.
func (l *guardedLog) full() bool { return l.shared.Full() }

// FirstIndex implements raft.LogStore.
func (l *guardedLog) FirstIndex() (uint64, error) {
	first, _ := l.group.Bounds()
	return first, nil
}

// LastIndex implements raft.LogStore.
func (l *guardedLog) LastIndex() (uint64, error) {
	_, last := l.group.Bounds()
	return last, nil
}

// GetLog implements raft.LogStore. A damaged entry whose effects the state holds is as good as one
// that was truncated: who needs it is sent a snapshot.
func (l *guardedLog) GetLog(index uint64, entry *raft.Log) error {
	var e wal.Entry
	err := l.group.Read(index, &e)
	if errors.Is(err, wal.ErrNotFound) || errors.Is(err, wal.ErrDamaged) && index <= l.settled() {
		return raft.ErrLogNotFound
	}
	if err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	*entry = raft.Log{Index: e.Index, Term: e.Term, Type: raft.LogType(e.Type), Data: e.Data, Extensions: e.Extensions}
	if e.Time != 0 {
		entry.AppendedAt = time.Unix(0, e.Time)
	}
	return nil
}

// StoreLog implements raft.LogStore.
func (l *guardedLog) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// fullPause bounds how often a group whose disk is full tries: raft gives up its lead after each
// failure and may be elected again at once.
const fullPause = 200 * time.Millisecond

// StoreLogs implements raft.LogStore.
func (l *guardedLog) StoreLogs(entries []*raft.Log) error {
	if l.broken.Load() {
		return errLogFailed
	}
	list := make([]wal.Entry, len(entries))
	size := 0
	for i, e := range entries {
		list[i] = wal.Entry{Index: e.Index, Term: e.Term, Type: uint8(e.Type), Data: e.Data, Extensions: e.Extensions}
		if !e.AppendedAt.IsZero() {
			list[i].Time = e.AppendedAt.UnixNano()
		}
		size += len(e.Data)
	}
	if err := l.wrote(l.group.Append(list)); err != nil {
		if errors.Is(err, wal.ErrFull) {
			time.Sleep(fullPause)
		}
		return err
	}
	l.bytes.Add(int64(size))
	return nil
}

// wrote stops the group after a write that failed otherwise than for want of space.
func (l *guardedLog) wrote(err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("writing the log: %w", err)
	if !errors.Is(err, wal.ErrFull) && l.broken.CompareAndSwap(false, true) {
		l.onError(err)
	}
	return err
}

// DeleteRange implements raft.LogStore.
func (l *guardedLog) DeleteRange(from, to uint64) error {
	first, last := l.group.Bounds()
	switch {
	case first == 0 || to < first || from > last:
		return nil
	case from <= first:
		return l.wrote(l.group.TruncateHead(to + 1))
	case to >= last:
		return l.wrote(l.group.TruncateTail(from - 1))
	}
	return fmt.Errorf("entries %d to %d cannot be removed from the middle of a log of %d to %d", from, to, first, last)
}

// IsMonotonic implements raft.MonotonicLogStore: the log has no holes.
func (l *guardedLog) IsMonotonic() bool { return true }

// Set implements raft.StableStore.
func (l *guardedLog) Set(key, value []byte) error { return l.wrote(l.group.Set(string(key), value)) }

// Get implements raft.StableStore.
func (l *guardedLog) Get(key []byte) ([]byte, error) { return l.group.Get(string(key)), nil }

// SetUint64 implements raft.StableStore.
func (l *guardedLog) SetUint64(key []byte, value uint64) error {
	return l.Set(key, binary.BigEndian.AppendUint64(nil, value))
}

// GetUint64 implements raft.StableStore.
func (l *guardedLog) GetUint64(key []byte) (uint64, error) {
	raw := l.group.Get(string(key))
	if len(raw) == 0 {
		return 0, nil
	}
	if len(raw) != 8 {
		return 0, fmt.Errorf("the value %s has %d bytes", key, len(raw))
	}
	return binary.BigEndian.Uint64(raw), nil
}
