package raftgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/arbiterhq/arbiter/cluster/store"
)

// A replica that begins with an empty folder may be a part of a new group, or one that lost its disk.
// In the second case it has forgotten which entries it acknowledged: if it voted now, it could help to
// elect a leader that does not have them, and they would be lost. So it is newborn, and neither votes
// nor stands for election, until either all voters are seen to be newborn at the same time, which
// founds the group, or a leader has brought it up to its own state.
//
// It may also have promised its vote to a leader that it does not know any more, and must not help the
// one before to commit anything. So it takes entries only from a leader that a majority of the others
// confirmed since it began: one of those would know of a later leader that has been elected. (Not
// covered is a vote that it gave to an election which is still open when it begins anew.)
//
// The mark of a newborn is a file in the group's folder: it survives restarts.

const newbornMark = "newborn"

// markNewborn makes the mark durable. It is called before the folder gets its first log entry.
func (g *Group) markNewborn() error {
	f, err := os.OpenFile(filepath.Join(g.config.Dir, newbornMark), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("marking the replica as new: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close(), store.SyncFolder(g.config.Dir)); err != nil {
		return fmt.Errorf("marking the replica as new: %w", err)
	}
	return nil
}

// readNewborn reads the mark.
func (g *Group) readNewborn() error {
	_, err := os.Stat(filepath.Join(g.config.Dir, newbornMark))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading whether the replica is new: %w", err)
	}
	g.young.Store(true)
	return nil
}

// newborn tells whether the replica may not vote.
func (g *Group) newborn() bool { return g.young.Load() }

// trusts tells whether the replica may take entries from a leader.
func (g *Group) trusts(leader string, term uint64) bool {
	if !g.newborn() {
		return true
	}
	s, asked, ok := g.mesh.heardOf(leader, g.config.Name)
	return ok && s.leads && s.term == term && s.confirmed >= 0 && asked.Add(-s.confirmed).After(g.born)
}

// grow ends the time of a newborn if it caught up with the leader whose sign this is, or if all voters
// are newborn.
func (g *Group) grow(s *sign) {
	if !g.newborn() {
		return
	}
	caughtUp := s.leads && s.confirmed >= 0 && s.confirmed < g.options.LeaseTimeout &&
		s.term == g.raft.CurrentTerm() && g.machine.Position().Index >= s.index && g.raft.LastIndex() >= s.last
	if caughtUp || g.founding() {
		g.mature()
	}
}

// founding tells whether all voters are newborn, or were until a moment ago: then they hold no more
// than the entry that names the voters, of term 1, and have not voted. A voter whose log was damaged
// is newborn too, but has seen later terms: such a group is never founded again.
func (g *Group) founding() bool {
	if g.raft.CurrentTerm() > 1 || g.raft.LastIndex() > 1 {
		return false
	}
	seats := g.seats()
	if !seats.votes(g.config.NodeID) {
		return false
	}
	for _, node := range seats.voters {
		if node == g.config.NodeID {
			continue
		}
		if s, _, ok := g.mesh.heardOf(node, g.config.Name); !ok || s.term > 1 || s.last > 1 {
			return false
		}
	}
	return true
}

// mature removes the mark. Two of them may come at once: the second finds nothing to do.
func (g *Group) mature() {
	g.growing.Do(func() {
		g.spawn(func() {
			err := os.Remove(filepath.Join(g.config.Dir, newbornMark))
			if err == nil {
				err = store.SyncFolder(g.config.Dir)
			}
			if err != nil {
				g.fail(fmt.Errorf("removing the mark of a new replica: %w", err))
				return
			}
			g.young.Store(false)
			g.mesh.due()
		})
	})
}
