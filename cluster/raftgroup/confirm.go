package raftgroup

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/peer"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// A read is linearizable if it sees everything that was acknowledged before it began. The leader
// acknowledges a write only after it applied it, so its own state will do, provided that it still led
// at some time after the read began. It asks the other voters for their terms: while a majority is in
// its own term, nobody can have been elected in a later one. raft's own VerifyLeader counts answers
// to questions that were asked earlier, and was seen to let stale reads through.
//
// One round of questions serves all reads of all groups that wait when it begins.

// Confirm returns once the state here holds everything that was acknowledged before the call, in the
// whole group. On a follower it asks the leader how far that is and waits until it is applied. The
// error has CodeUnavailable if no leader confirmed it, CodeTimeout if ctx ended before.
func (g *Group) Confirm(ctx context.Context) error {
	if g.mesh == nil {
		return g.Ready()
	}
	if g.leadTerm.Load() != 0 {
		err := g.confirmLead(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return g.confirmFollower(ctx)
}

// confirmLead confirms that this node led the group after the call began. A round that came to nothing
// since a connection broke is repeated while this node still counts as the leader.
func (g *Group) confirmLead(ctx context.Context) error {
	term := g.leadTerm.Load()
	w := &confirmation{group: g, term: term, done: make(chan bool, 1)}
	for g.leadsIn(term) {
		g.mesh.confirm.add(w)
		select {
		case ok := <-w.done:
			if ok && g.leadsIn(term) {
				return nil
			}
		case <-g.quit:
			return errClosed()
		case <-ctx.Done():
			return errConfirmTimeout(g, ctx.Err())
		}
		if !g.Leading() {
			break
		}
		select {
		case <-time.After(confirmPause):
		case <-g.quit:
			return errClosed()
		case <-ctx.Done():
			return errConfirmTimeout(g, ctx.Err())
		}
	}
	return g.errNotLeader()
}

// confirmPause is between two attempts to confirm one read.
const confirmPause = 10 * time.Millisecond

func errConfirmTimeout(g *Group, cause error) error {
	return nba.Errorf(nba.CodeTimeout, "no majority of the voters of group %s confirmed the read in time (%w)", g.config.Name, cause)
}

// leadsIn tells whether this node leads in the term and has applied all before its election.
func (g *Group) leadsIn(term uint64) bool {
	return term != 0 && g.leadTerm.Load() == term && g.raft.State() == raft.Leader && g.raft.CurrentTerm() == term && g.failure.Load() == nil
}

// confirmation is a read that waits.
type confirmation struct {
	group *Group
	term  uint64
	done  chan bool
}

// confirmer asks for confirmations.
type confirmer struct {
	mesh    *Mesh
	mu      sync.Mutex
	waiting []*confirmation
	kick    chan struct{}
}

func (c *confirmer) add(w *confirmation) {
	c.mu.Lock()
	c.waiting = append(c.waiting, w)
	first := len(c.waiting) == 1
	c.mu.Unlock()
	if first {
		select {
		case c.kick <- struct{}{}:
		default:
		}
	}
}

func (c *confirmer) run() {
	defer c.mesh.workers.Done()
	for {
		select {
		case <-c.kick:
		case <-c.mesh.quit:
			return
		}
		c.mu.Lock()
		waiting := c.waiting
		c.waiting = nil
		c.mu.Unlock()
		if len(waiting) > 0 {
			c.round(waiting)
		}
	}
}

// ballot is one group in a round.
type ballot struct {
	group   *Group
	term    uint64
	waiting []*confirmation
	needed  int // confirmations that are missing
	open    int // answers that are
	decided bool
}

// round is one round of questions.
type round struct {
	mu      sync.Mutex
	asked   time.Time
	ballots []*ballot
	open    int // ballots that are not decided
	over    chan struct{}
}

// maxRound bounds how long a round holds up the next one. Answers that come later still count.
const maxRound = 20 * time.Millisecond

// round asks the voters of all groups that wait, one message to each node.
func (c *confirmer) round(waiting []*confirmation) {
	r := &round{asked: time.Now(), over: make(chan struct{})}
	byGroup := make(map[*Group]*ballot)
	questions := make(map[string][]*ballot)
	for _, w := range waiting {
		b := byGroup[w.group]
		if b == nil {
			voters := w.group.seats().voters
			b = &ballot{group: w.group, term: w.term, needed: len(voters) / 2}
			byGroup[w.group] = b
			r.ballots = append(r.ballots, b)
			for _, node := range voters {
				if node != w.group.config.NodeID && b.needed > 0 {
					b.open++
					questions[node] = append(questions[node], b)
				}
			}
		}
		if w.term != b.term {
			w.done <- false // the term changed meanwhile
			continue
		}
		if b.needed == 0 {
			w.done <- true // nobody else votes
			continue
		}
		b.waiting = append(b.waiting, w)
	}
	for _, b := range r.ballots {
		if b.needed > 0 {
			r.open++
		}
	}
	if r.open == 0 {
		return
	}
	for node, ballots := range questions {
		var message []byte
		for _, b := range ballots {
			message = appendText(message, b.group.config.Name)
		}
		err := errUnreached
		if c.mesh.port.Alive(node) {
			err = c.mesh.port.Go(context.Background(), node, methodConfirm, nil, message, func(answer []byte, err error) {
				r.answered(node, ballots, answer, err)
			})
		}
		if err != nil {
			r.answered(node, ballots, nil, err)
		}
	}
	select {
	case <-r.over:
	default:
		timer := time.NewTimer(maxRound)
		defer timer.Stop()
		select {
		case <-r.over:
		case <-timer.C:
		case <-c.mesh.quit:
		}
	}
}

var errUnreached = peer.ErrUnreachable

// answered takes a node's answer: its term of each group it was asked about, 0 where it has
// no replica that votes.
func (r *round) answered(node string, ballots []*ballot, answer []byte, err error) {
	in := reader{rest: answer}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range ballots {
		term := uint64(0)
		if err == nil {
			term = in.number()
		}
		b.open--
		if term == b.term && !in.bad {
			b.needed--
			b.group.contacts.add(term, node, r.asked, b.group)
		}
		if !b.decided && (b.needed <= 0 || b.open < b.needed) {
			b.decided = true
			for _, w := range b.waiting {
				w.done <- b.needed <= 0
			}
			if r.open--; r.open == 0 {
				close(r.over)
			}
		}
	}
}

// handleConfirm answers which terms are current here.
func (m *Mesh) handleConfirm(_ string, request []byte, reply peer.Reply) {
	r := reader{rest: request}
	var answer []byte
	for len(r.rest) > 0 && !r.bad {
		term := uint64(0)
		if g := m.find(r.group()); g != nil && !g.newborn() {
			term = g.raft.CurrentTerm()
		}
		answer = binary.AppendUvarint(answer, term)
	}
	if r.bad {
		reply(nil, errWire)
		return
	}
	reply(answer, nil)
}

// follow is one question to the leader that several reads share.
type follow struct {
	done chan struct{}
	to   uint64
	err  error
}

// follower lets reads on a follower share their questions: those that come while one is under way
// wait for the next.
type follower struct {
	mu   sync.Mutex
	next *follow // not asked yet
	busy bool
}

// confirmFollower asks the leader how far the state must be, and waits until it is.
func (g *Group) confirmFollower(ctx context.Context) error {
	f := &g.follower
	f.mu.Lock()
	if f.next == nil {
		f.next = &follow{done: make(chan struct{})}
	}
	mine := f.next
	if !f.busy {
		if f.busy = g.spawn(g.askLeader); !f.busy {
			f.next = nil
			f.mu.Unlock()
			return errClosed()
		}
	}
	f.mu.Unlock()
	select {
	case <-mine.done:
	case <-g.quit:
		return errClosed()
	case <-ctx.Done():
		return errConfirmTimeout(g, ctx.Err())
	}
	if mine.err != nil {
		return mine.err
	}
	return g.waitApplied(ctx, mine.to)
}

// readIndexTimeout bounds a question to the leader.
const readIndexTimeout = 2 * time.Second

func (g *Group) askLeader() {
	f := &g.follower
	for {
		f.mu.Lock()
		now := f.next
		f.next = nil
		if now == nil {
			f.busy = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		now.to, now.err = g.readIndex()
		close(now.done)
	}
}

func (g *Group) readIndex() (uint64, error) {
	leader, ok := g.Leader()
	if !ok || leader == g.config.NodeID {
		return 0, g.errNotLeader()
	}
	ctx, cancel := context.WithTimeout(g.ctx, readIndexTimeout)
	defer cancel()
	answer, err := g.mesh.port.Call(ctx, leader, methodReadIndex, appendText(nil, g.config.Name))
	if err != nil {
		if isAbsent(err) {
			err = g.errNotLeader()
		}
		return 0, err
	}
	r := reader{rest: answer}
	term, index, entryTerm := r.number(), r.number(), r.number()
	if err := r.err(); err != nil {
		return 0, err
	}
	if term == g.raft.CurrentTerm() {
		g.nudge(leader, term, index, entryTerm)
	}
	return index, nil
}

// handleReadIndex answers a follower: after a confirmation that began with the question, how far the
// state stands here.
func (m *Mesh) handleReadIndex(ctx context.Context, _ string, request []byte) ([]byte, error) {
	g, r, err := m.open(request)
	if err == nil {
		err = r.err()
	}
	if err != nil {
		return nil, err
	}
	if err := g.confirmLead(ctx); err != nil {
		return nil, err
	}
	at, term := g.machine.Position(), g.raft.CurrentTerm()
	answer := binary.AppendUvarint(nil, term)
	answer = binary.AppendUvarint(answer, at.Index)
	return binary.AppendUvarint(answer, at.Term), nil
}

// applied lets calls wait for the state to reach an index.
type applied struct {
	waiting atomic.Int64
	mu      sync.Mutex
	moved   chan struct{} // closed when the state moved
}

// advanced wakes those that wait. It is called after each batch.
func (a *applied) advanced() {
	if a.waiting.Load() == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.moved != nil {
		close(a.moved)
		a.moved = nil
	}
}

func (a *applied) next() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.moved == nil {
		a.moved = make(chan struct{})
	}
	return a.moved
}

// waitApplied waits until the state holds the entry.
func (g *Group) waitApplied(ctx context.Context, index uint64) error {
	if g.machine.Position().Index >= index {
		return nil
	}
	g.applied.waiting.Add(1)
	defer g.applied.waiting.Add(-1)
	for {
		moved := g.applied.next()
		if g.machine.Position().Index >= index {
			return nil
		}
		select {
		case <-moved:
		case <-g.failed:
			return g.Ready()
		case <-g.quit:
			return errClosed()
		case <-ctx.Done():
			return nba.Errorf(nba.CodeTimeout, "the replica of group %s here did not catch up with its leader in time (%w)", g.config.Name, ctx.Err())
		}
	}
}
