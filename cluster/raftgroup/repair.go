package raftgroup

import (
	"fmt"

	"github.com/arbiterhq/arbiter/cluster/wal"
)

// A log can be damaged after it was written: a disk gives back other bytes, or none. The log finds
// that by its checksums and tells which groups are concerned. What is to be done depends on what a
// group lost:
//
//   - Entries whose effects its state holds are dropped, as a truncation would. A follower that needs
//     them is sent the state.
//   - Other entries were acknowledged to a leader, which may have counted on them. The only voter of a
//     group cannot get them back, and refuses to start. One of several drops them and is newborn: it
//     neither votes nor stands for election until a leader has brought it up to its own state. The
//     others need a majority without it, or the group waits; nothing is lost silently.

// emptied is the value that tells that a log was emptied on purpose, so that it may end before the
// state.
const emptied = "Emptied"

// repairLog looks for damage and repairs it, before raft reads the log.
func (g *Group) repairLog() error {
	settled := uint64(0)
	at, err := g.snapshots.durable()
	if err != nil {
		return err
	}
	if at != nil {
		settled = at.Index
	}
	log := g.log.group
	lost := log.Verify(settled + 1)
	damage, damaged := log.Damage()
	if !damaged {
		return nil
	}
	if !damage.Any && !damage.Values && lost == 0 {
		g.logger.Warn("the log is damaged where its entries are not needed any more, and was cut there", "damage", damage.String(), "state", settled)
		return g.keepLog(func() error { return log.TruncateHead(settled + 1) })
	}
	if !g.others(at) {
		return fmt.Errorf("the log of group %s is damaged (%s) and no other node has what is lost: restore a backup of the data folder", g.config.Name, damage)
	}
	g.logger.Error("the log is damaged: what is lost comes from the other nodes, and this one does not vote before", "damage", damage.String(), "state", settled)
	if err := g.markNewborn(); err != nil {
		return err
	}
	return g.keepLog(func() error { return g.dropLost(log, damage, lost) })
}

// keepLog changes the log so that it may be empty afterwards.
func (g *Group) keepLog(change func() error) error {
	if err := g.log.group.Set(emptied, []byte{1}); err != nil {
		return fmt.Errorf("repairing the log: %w", err)
	}
	if err := change(); err != nil {
		return fmt.Errorf("repairing the log: %w", err)
	}
	return nil
}

func (g *Group) dropLost(log *wal.Group, damage wal.Damage, lost uint64) error {
	if !damage.Any && !damage.Values {
		return log.TruncateTail(lost - 1)
	}
	values := make(map[string][]byte)
	for _, key := range stableKeys() {
		if value := log.Get(key); value != nil {
			values[key] = value // the newest that are known
		}
	}
	return log.Repair(values)
}
