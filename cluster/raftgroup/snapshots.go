package raftgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/fsm"
)

// snapshots are the snapshots of a group on disk. While raft starts, they answer instead with the
// place where the store stands: the store already holds what a replay of the log would build, so
// raft begins after it and the start takes as long for a long log as for a short one.
type snapshots struct {
	*raft.FileSnapshotStore
	dir      string
	starting atomic.Bool
	start    atomic.Pointer[raft.SnapshotMeta] // answered by List while starting, if not nil
	newest   atomic.Uint64                     // index of the newest snapshot on disk
	log      *guardedLog
}

// begin prepares the start at the given position of the state, which holds every snapshot on disk.
func (s *snapshots) begin(log *guardedLog, at fsm.Position, walDir string) error {
	s.log = log
	onDisk, err := s.FileSnapshotStore.List()
	if err != nil {
		return fmt.Errorf("listing the snapshots: %w", err)
	}
	first, firstErr := log.FirstIndex()
	last, lastErr := log.LastIndex()
	if err := errors.Join(firstErr, lastErr); err != nil {
		return fmt.Errorf("reading the log: %w", err)
	}
	begin := at.Index
	var start *raft.SnapshotMeta
	if at.Index > 0 && len(at.Configuration) > 0 {
		start = &raft.SnapshotMeta{
			Version: raft.SnapshotVersionMax, ID: "store", Index: at.Index, Term: at.Term,
			Configuration: raft.DecodeConfiguration(at.Configuration), ConfigurationIndex: at.ConfigurationIndex,
		}
	}
	if len(onDisk) > 0 {
		s.newest.Store(onDisk[0].Index)
	}
	// A snapshot stands further than the state it holds, where the entries before it hold no
	// operations. If the log was truncated there, the start is at the snapshot.
	if first > begin+1 && len(onDisk) > 0 && onDisk[0].Index > begin {
		start, begin = onDisk[0], onDisk[0].Index
	}
	switch {
	case last < begin:
		return fmt.Errorf("the log ends at entry %d and the state at %d: the log is damaged, restore a backup of the data folder", last, begin)
	case first > begin+1:
		return fmt.Errorf("the log begins at entry %d and the state ends at %d: the entries between are lost, restore a backup of the data folder", first, begin)
	}
	s.start.Store(start)
	s.starting.Store(true)
	if last > 0 {
		s.log.bytes.Store(estimate(walDir, first, last, max(s.newest.Load(), first)))
	}
	return nil
}

// estimate is the part of the log's size on disk that is newer than the entry after.
func estimate(dir string, first, last, after uint64) int64 {
	total := int64(0)
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && filepath.Ext(d.Name()) == ".wal" {
			if info, err := d.Info(); err == nil {
				total += info.Size()
			}
		}
		return nil // an estimate: what cannot be read does not count
	})
	if last <= after {
		return 0
	}
	return int64(float64(total) * float64(last-after) / float64(last-first+1))
}

// begun ends the start: from here on List tells what is on disk.
func (s *snapshots) begun() { s.starting.Store(false) }

// List implements raft.SnapshotStore.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	if s.starting.Load() {
		if start := s.start.Load(); start != nil {
			return []*raft.SnapshotMeta{start}, nil
		}
		return nil, nil
	}
	return s.FileSnapshotStore.List()
}

// Create implements raft.SnapshotStore.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, transport raft.Transport) (raft.SnapshotSink, error) {
	sink, err := s.FileSnapshotStore.Create(version, index, term, configuration, configurationIndex, transport)
	if err != nil {
		return nil, err
	}
	return &durableSink{SnapshotSink: sink, store: s, index: index, bytes: s.log.bytes.Load()}, nil
}

// durableSink makes a snapshot durable before raft may truncate the log: the store of the library
// syncs the files and the folder of all snapshots, but not the folder the files are in.
type durableSink struct {
	raft.SnapshotSink
	store *snapshots
	index uint64
	bytes int64 // of log the snapshot stands for
}

// Close implements raft.SnapshotSink.
func (d *durableSink) Close() error {
	if err := d.SnapshotSink.Close(); err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(d.store.dir, d.ID()))
	if err != nil {
		return fmt.Errorf("opening a snapshot to sync it: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("syncing a snapshot: %w", err)
	}
	if d.index > d.store.newest.Load() {
		d.store.newest.Store(d.index)
		d.store.log.bytes.Add(-d.bytes)
	}
	return nil
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

func (g *Group) snapshotDue() bool {
	at := g.machine.Position().Index
	newest := g.snapshots.newest.Load()
	bytes := g.log.bytes.Load()
	g.metrics.logBytes.Set(float64(bytes))
	if at <= newest {
		return false
	}
	return at-newest >= g.options.SnapshotEntries || bytes >= max(g.options.SnapshotBytes, g.machine.StateBytes())
}

// Snapshot takes a snapshot now and truncates the log. A state without news is no error.
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
