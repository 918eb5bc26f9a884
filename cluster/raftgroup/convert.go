package raftgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"

	"github.com/arbiterhq/arbiter/cluster/store"
	"github.com/arbiterhq/arbiter/cluster/wal"
)

// openLog opens the group's part of the node's log, or a log of its own if the node has none for it.
// What a folder of an earlier release holds, in a log of raft-wal, is taken over.
func (g *Group) openLog() error {
	shared, own := g.config.Log, false
	if shared == nil {
		var err error
		if shared, err = wal.Open(filepath.Join(g.config.Dir, "log"), wal.Options{SegmentBytes: int64(g.options.SegmentBytes), Logger: g.logger}); err != nil {
			return err
		}
		own = true
	}
	part, err := shared.Group(g.config.Name)
	if err == nil {
		g.log = &guardedLog{group: part, shared: shared, own: own, onError: g.fail, settled: func() uint64 { return 0 }}
		err = g.convertLog(filepath.Join(g.config.Dir, "wal"))
	}
	if err != nil && own {
		err = errors.Join(err, shared.Close())
	}
	return err
}

// converted is the value that tells that the log of raft-wal was taken over.
const converted = "Converted"

// stableKeys are what raft keeps beside the entries.
func stableKeys() [3]string { return [...]string{"CurrentTerm", "LastVoteTerm", "LastVoteCand"} }

// convertLog takes over the log of raft-wal in dir, if there is one, and removes it. Cut short, it
// begins anew: the old log goes when the new one is complete.
func (g *Group) convertLog(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if len(g.log.group.Get(converted)) == 0 {
		if err := g.copyLog(dir); err != nil {
			return fmt.Errorf("taking over the log of an earlier release: %w", err)
		}
		if err := g.log.group.Set(converted, []byte{1}); err != nil {
			return fmt.Errorf("taking over the log of an earlier release: %w", err)
		}
		g.logger.Info("took over the log of an earlier release; it cannot open this folder any more")
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("removing the log of an earlier release: %w", err)
	}
	return store.SyncFolder(g.config.Dir)
}

func (g *Group) copyLog(dir string) (err error) {
	if _, err := mendTail(dir); err != nil {
		return err
	}
	old, err := raftwal.Open(dir, raftwal.WithSegmentSize(g.options.SegmentBytes), raftwal.WithLogger(newHCLog(g.logger)))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	_, have := g.log.group.Bounds()
	if err := g.log.group.TruncateHead(have + 1); err != nil {
		return err
	}
	first, firstErr := old.FirstIndex()
	last, lastErr := old.LastIndex()
	if err := errors.Join(firstErr, lastErr); err != nil {
		return err
	}
	var batch []*raft.Log
	size := 0
	for i := first; i <= last && i > 0; i++ {
		entry := new(raft.Log)
		if err := old.GetLog(i, entry); err != nil {
			return fmt.Errorf("entry %d: %w", i, err)
		}
		if batch, size = append(batch, entry), size+len(entry.Data); size < 1<<20 && i < last {
			continue
		}
		if err := g.log.StoreLogs(batch); err != nil {
			return err
		}
		batch, size = batch[:0], 0
	}
	g.log.bytes.Store(0)
	return g.copyValues(old)
}

func (g *Group) copyValues(old *raftwal.WAL) error {
	keys := stableKeys()
	for i, key := range keys {
		if i == len(keys)-1 {
			value, err := old.Get([]byte(key))
			if err == nil {
				err = g.log.Set([]byte(key), value)
			}
			if err != nil {
				return err
			}
			continue
		}
		value, err := old.GetUint64([]byte(key))
		if err == nil {
			err = g.log.SetUint64([]byte(key), value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
