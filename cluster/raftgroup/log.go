package raftgroup

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// errLogFailed is what every write to the log gives after the first one failed.
var errLogFailed = errors.New("the log failed before and is closed for writing")

// guardedLog is the log of a group. After a write fails, nothing more is written: what is on disk is
// then unknown, and going on could acknowledge entries that a restart does not find.
type guardedLog struct {
	*wal.WAL
	onError func(error)
	broken  atomic.Bool
	bytes   atomic.Int64 // appended since the last snapshot
}

// StoreLog implements raft.LogStore.
func (l *guardedLog) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore.
func (l *guardedLog) StoreLogs(entries []*raft.Log) error {
	if l.broken.Load() {
		return errLogFailed
	}
	if err := l.WAL.StoreLogs(entries); err != nil {
		l.broken.Store(true)
		err = fmt.Errorf("writing the log: %w", err)
		l.onError(err)
		return err
	}
	size := 0
	for _, e := range entries {
		size += len(e.Data)
	}
	l.bytes.Add(int64(size))
	return nil
}
