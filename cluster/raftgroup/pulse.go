//lint:file-ignore SA1019 raft still reads the fields that stand beside RPCHeader

package raftgroup

import (
	"time"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/peer"
)

var _ peer.Pulse = (*Mesh)(nil)

// Answer implements peer.Pulse: it says about every replica that the asking node shares how it stands.
// This takes the place of heartbeats for each group: leaders know by it that they still lead, and
// followers how old their state may be.
func (m *Mesh) Answer(dst []byte, from string) []byte {
	now := time.Now()
	for name, g := range *m.groups.Load() {
		if g.failure.Load() == nil && g.seats().knows(from) {
			s := g.sign(now)
			dst = appendSign(dst, name, &s)
		}
	}
	return dst
}

// Heard implements peer.Pulse.
func (m *Mesh) Heard(node string, sent time.Time, answer []byte) {
	r := reader{rest: answer}
	heard := &signs{sent: sent, groups: make(map[string]sign)}
	for len(r.rest) > 0 && !r.bad {
		name := string(r.group())
		heard.groups[name] = r.sign()
	}
	if r.bad {
		m.logger.Debug("a pulse cannot be read", "node", node)
		return
	}
	m.mu.Lock()
	m.signs[node] = heard
	m.mu.Unlock()
	for name, s := range heard.groups {
		if g := m.find([]byte(name)); g != nil && g.seats().knows(node) {
			g.heard(node, sent, &s)
		}
	}
}

// heardOf is what a node said last about its replica of a group, and when it was asked.
func (m *Mesh) heardOf(node, group string) (s sign, sent time.Time, ok bool) {
	m.mu.Lock()
	heard := m.signs[node]
	m.mu.Unlock()
	if heard == nil || !m.port.Alive(node) {
		return sign{}, time.Time{}, false
	}
	s, ok = heard.groups[group]
	return s, heard.sent, ok
}

// freshTime is how long what a node said may stand for a message that it would answer in the same way.
const freshTime = 400 * time.Millisecond

// follows tells whether a node said a moment ago that its replica is a follower in the term, with a log
// that reaches the index. Messages of a leader that only ask for a sign of life then need not be sent.
func (m *Mesh) follows(node, group string, term, index uint64) bool {
	s, asked, ok := m.heardOf(node, group)
	return ok && s.term == term && !s.candid && !s.newborn && s.content && s.last >= index && time.Since(asked) < freshTime
}

// alive tells raft that its leader lives, where the leader need not do so itself; see follows.
func (g *Group) alive(leader string, term uint64) {
	if g.raft.State() == raft.Follower && !g.newborn() && time.Since(g.raft.LastContact()) > g.options.FallbackTimeout/5 {
		own := header(leader)
		g.wire.push(&raft.AppendEntriesRequest{RPCHeader: own, Leader: own.Addr, Term: term}, nil, func(any, error) {})
	}
}

// sign is how this replica stands.
func (g *Group) sign(now time.Time) sign {
	s := sign{term: g.raft.CurrentTerm(), last: g.raft.LastIndex(), candid: g.raft.State() == raft.Leader, newborn: g.newborn(), content: g.content.Load(), confirmed: -1}
	if term := g.leadTerm.Load(); term != 0 && term == s.term && s.candid {
		at := g.machine.Position()
		s.leads, s.index, s.entryTerm = true, at.Index, at.Term
		if confirmed := g.confirmedLead(term); !confirmed.IsZero() {
			s.confirmed = max(0, now.Sub(confirmed))
		}
	}
	return s
}

// heard takes what another voter said in answer to a ping sent at the given time.
func (g *Group) heard(node string, sent time.Time, s *sign) {
	g.grow(s)
	term := g.raft.CurrentTerm()
	if s.term == term && g.leadTerm.Load() == term && !s.newborn {
		g.contacts.add(term, node, sent, g)
	}
	if s.candid && s.term == term {
		g.alive(node, term)
	}
	if !s.leads {
		return
	}
	if s.term == term {
		g.nudge(node, s.term, s.index, s.entryTerm)
	}
	if s.confirmed >= 0 {
		g.age.heard(sent.Add(-s.confirmed), s.index, g.machine.Position().Index)
		if _, known := g.Age(); known {
			g.becameReady()
		}
	}
}

// nudge tells raft how far its leader's state stands, which is committed: raft itself learns it only
// with the next entries or after a while. It is the message that the leader could send: nothing to
// append after an entry of which the follower has the same.
func (g *Group) nudge(leader string, term, index, entryTerm uint64) {
	if index <= g.raft.CommitIndex() || index > g.raft.LastIndex() || g.raft.State() == raft.Leader {
		return
	}
	g.wire.push(&raft.AppendEntriesRequest{
		RPCHeader: header(leader), Leader: []byte(leader), Term: term,
		PrevLogEntry: index, PrevLogTerm: entryTerm, LeaderCommitIndex: index,
	}, nil, func(any, error) {}) // a hint
}
