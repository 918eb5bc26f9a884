//lint:file-ignore SA1019 raft still reads the fields that stand beside RPCHeader

package raftgroup

import (
	"math"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// raft elects a leader when it was not heard for a time, for each group by itself. With many groups
// that costs many heartbeats, or much time. Here one detector serves all groups of a node: when a
// majority of a group's voters holds the leader's node for down, or that node says that it does not
// lead, the voter that is first in line takes over, and the next one shortly after if that came to
// nothing. It does so only
// if a majority of the voters has no leader. raft's own timeout remains, as the last resort. Whether an election is safe never depends
// on any of this: it is raft's.

const (
	// electStep is how long the next voter in line waits for the one before.
	electStep = 200 * time.Millisecond
	// graceTime is how long a group may be without a leader for no known reason: an election may be
	// under way, as in a transfer.
	graceTime = 150 * time.Millisecond
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
		if pause == electTick {
			m.port.PingNow() // are the others without a leader too?
		}
		timer.Reset(pause)
	}
}

// tend starts an election of a group if it is due. It is true while the group has no leader.
func (m *Mesh) tend(g *Group, now time.Time, orphans map[*Group]*orphan) bool {
	o := orphans[g]
	if o == nil {
		o = &orphan{}
		orphans[g] = o
	}
	alone := m.leaderless(g, now, o)
	if g.content.Store(!alone); !alone {
		o.since = time.Time{}
		if o.denied.IsZero() {
			delete(orphans, g)
		}
		return !o.denied.IsZero()
	}
	line, agree := m.line(g)
	if g.newborn() && g.founding() { // of a group of one voter nobody else tells
		g.mature()
	}
	rank := slices.Index(line, g.config.NodeID)
	if agree <= len(g.seats().voters)/2 || rank < 0 {
		o.since = time.Time{} // nobody can be elected, or should
		return true
	}
	if o.since.IsZero() {
		o.since, o.next = now, now.Add(time.Duration(rank)*electStep)
		if _, known := g.raft.LeaderWithID(); known == "" {
			o.next = o.next.Add(graceTime)
		}
	}
	if now.Before(o.next) {
		return true
	}
	o.next = now.Add(time.Duration(len(line)) * electStep)
	g.stand(func(error) {}) // another try follows
	return true
}

// stand makes raft hold an election now, as if this node's leader had asked it to take over. done is
// called when it began.
func (g *Group) stand(done func(error)) {
	own := header(g.config.NodeID)
	if g.raft.State() == raft.Candidate {
		// One that lost an election of this kind stays a candidate until a timeout, even if another was
		// elected, and does not take over meanwhile. The first message of a later term makes it a
		// follower; this one fits no log, so it does nothing else.
		g.wire.push(&raft.AppendEntriesRequest{
			RPCHeader: own, Leader: own.Addr, Term: g.raft.CurrentTerm() + 1, PrevLogEntry: math.MaxUint64,
		}, nil, func(any, error) {})
	}
	g.wire.push(&raft.TimeoutNowRequest{RPCHeader: own}, nil, func(_ any, err error) { done(err) })
}

// leaderless tells whether a group needs a new leader, as far as this node can know.
func (m *Mesh) leaderless(g *Group, now time.Time, o *orphan) bool {
	if g.raft.State() == raft.Leader {
		o.denied = time.Time{}
		return false
	}
	_, id := g.raft.LeaderWithID()
	leader := string(id)
	if leader == "" || leader == g.config.NodeID {
		o.denied = time.Time{}
		return !m.ledElsewhere(g)
	}
	if m.seenDown(g, leader) {
		return true
	}
	s, _, heard := m.heardOf(leader, g.config.Name)
	if denies := m.port.Alive(leader) && !(heard && (s.candid || s.term < g.raft.CurrentTerm())); !denies {
		o.denied = time.Time{}
		return false
	}
	if o.denied.IsZero() {
		o.denied = now
	}
	return now.Sub(o.denied) >= denialTime
}

// ledElsewhere tells whether another voter says that it leads, in a term that is not over: this one
// will hear of it.
func (m *Mesh) ledElsewhere(g *Group) bool {
	term := g.raft.CurrentTerm()
	for _, node := range g.seats().voters {
		if node == g.config.NodeID {
			continue
		}
		if s, _, ok := m.heardOf(node, g.config.Name); ok && s.candid && s.term >= term {
			return true
		}
	}
	return false
}

// seenDown tells whether a majority of the voters holds a node for down.
func (m *Mesh) seenDown(g *Group, node string) bool {
	n := 0
	for _, by := range m.port.SeenDownBy(node) {
		if g.seats().votes(by) {
			n++
		}
	}
	return n > len(g.seats().voters)/2
}

// line is the voters that can be elected, in the order in which they should try: the preferred one and
// those that follow it. agree is how many of them know no leader: while a majority follows one, it is
// not disturbed.
func (m *Mesh) line(g *Group) (line []string, agree int) {
	voters := g.seats().voters
	first := max(slices.Index(voters, *g.preferred.Load()), 0)
	for i := range voters {
		node := voters[(first+i)%len(voters)]
		if node == g.config.NodeID {
			if !g.newborn() {
				line = append(line, node)
				agree++
			}
			continue
		}
		if s, _, ok := m.heardOf(node, g.config.Name); ok && !s.newborn {
			line = append(line, node)
			if !s.content {
				agree++
			}
		}
	}
	return line, agree
}
