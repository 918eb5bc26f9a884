package raftgroup

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// raft elects a leader when it was not heard for a time, for each group by itself. With many groups
// that costs many heartbeats, or much time. Here one detector serves all groups of a node: when a
// majority of a group's voters holds the leader's node for down, or that node says that it does not
// lead, the voter that is first in line takes over, and the next one shortly after if that came to
// nothing. raft's own timeout remains, as the last resort. Whether an election is safe never depends
// on any of this: it is raft's.

const (
	// electStep is how long the next voter in line waits for the one before.
	electStep = 200 * time.Millisecond
	// electTick is how often leaderless groups are looked at, and all others.
	electTick, calmTick = 25 * time.Millisecond, 250 * time.Millisecond
	// denialTime is how long the leader's node must deny that it leads: it may have been asked before
	// its election.
	denialTime = 300 * time.Millisecond
)

// orphan is since when a group has no leader.
type orphan struct {
	since  time.Time // when this was noticed
	next   time.Time // when this node tries next
	denied time.Time // since when its leader denies to be
}

// elect runs until the mesh closes.
func (m *Mesh) elect() {
	defer m.workers.Done()
	orphans := make(map[*Group]*orphan)
	timer := time.NewTimer(calmTick)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-m.wake:
		case <-m.quit:
			return
		}
		now, pause := time.Now(), calmTick
		groups := *m.groups.Load()
		for _, g := range groups {
			if g.failure.Load() == nil && m.tend(g, now, orphans) {
				pause = electTick
			}
		}
		for g := range orphans {
			if groups[g.config.Name] != g {
				delete(orphans, g)
			}
		}
		timer.Reset(pause)
	}
}

// tend starts an election of a group if it is due. It is true while the group has no leader.
func (m *Mesh) tend(g *Group, now time.Time, orphans map[*Group]*orphan) bool {
	o := orphans[g]
	if o == nil {
		o = &orphan{}
	}
	if !m.leaderless(g, now, o) {
		o.since = time.Time{}
		if o.denied.IsZero() {
			delete(orphans, g)
		} else {
			orphans[g] = o
		}
		return !o.denied.IsZero()
	}
	orphans[g] = o
	line := m.line(g)
	rank := slices.Index(line, g.config.NodeID)
	if len(line) <= len(g.config.Voters)/2 || rank < 0 {
		o.since = time.Time{} // no majority: nobody can be elected
		return true
	}
	if o.since.IsZero() {
		o.since, o.next = now, now.Add(time.Duration(rank)*electStep)
	}
	if now.Before(o.next) {
		return true
	}
	o.next = now.Add(time.Duration(len(line)) * electStep)
	if g.raft.State() == raft.Follower {
		g.logger.Debug("standing for election", "rank", rank)
		g.wire.push(&raft.TimeoutNowRequest{RPCHeader: header(g.config.NodeID)}, nil, func(any, error) {})
	}
	return true
}

// leaderless tells whether a group needs a new leader.
func (m *Mesh) leaderless(g *Group, now time.Time, o *orphan) bool {
	if g.raft.State() == raft.Leader {
		o.denied = time.Time{}
		return false
	}
	_, id := g.raft.LeaderWithID()
	leader := string(id)
	if leader == "" {
		return true
	}
	if m.seenDown(g, leader) {
		return true
	}
	s, _, heard := m.heardOf(leader, g.config.Name)
	if denies := m.port.Alive(leader) && leader != g.config.NodeID && !(heard && (s.candid || s.term < g.raft.CurrentTerm())); !denies {
		o.denied = time.Time{}
		return false
	}
	if o.denied.IsZero() {
		o.denied = now
	}
	return now.Sub(o.denied) >= denialTime
}

// seenDown tells whether a majority of the voters holds a node for down.
func (m *Mesh) seenDown(g *Group, node string) bool {
	n := 0
	for _, by := range m.port.SeenDownBy(node) {
		if slices.Contains(g.config.Voters, by) {
			n++
		}
	}
	return n > len(g.config.Voters)/2
}

// line is the voters that can be elected, in the order in which they should try: the preferred one and
// those that follow it.
func (m *Mesh) line(g *Group) (line []string) {
	voters := g.config.Voters
	first := max(slices.Index(voters, g.config.Preferred), 0)
	for i := range voters {
		node := voters[(first+i)%len(voters)]
		if node == g.config.NodeID {
			if !g.newborn() {
				line = append(line, node)
			}
			continue
		}
		if s, _, ok := m.heardOf(node, g.config.Name); ok && !s.newborn {
			line = append(line, node)
		}
	}
	return line
}
