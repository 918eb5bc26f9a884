package raftgroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/peer"
)

// Mesh is what the groups of a node share to reach their other voters: the port, the knowledge which
// nodes live and lead, elections, and the confirmation of reads. It is safe for concurrent use.
type Mesh struct {
	port   *peer.Port
	logger *slog.Logger

	groups  atomic.Pointer[map[string]*Group]
	mu      sync.Mutex // guards changing groups, and what follows
	change  chan struct{}
	signs   map[string]*signs // by node; its maps are replaced, not changed
	closed  bool
	confirm confirmer

	wake    chan struct{} // one token: an election may be due
	quit    chan struct{}
	workers sync.WaitGroup
}

// signs are what a node said last about its replicas.
type signs struct {
	sent   time.Time // when it was asked
	groups map[string]sign
}

// NewMesh makes a mesh over a port that is not started yet. It takes the port's pulse and the methods
// of this package. Close it after its groups and before the port.
func NewMesh(port *peer.Port, logger *slog.Logger) *Mesh {
	if logger == nil {
		logger = slog.Default()
	}
	m := &Mesh{
		port: port, logger: logger, change: make(chan struct{}), signs: make(map[string]*signs),
		wake: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	groups := make(map[string]*Group)
	m.groups.Store(&groups)
	m.confirm.mesh = m
	m.confirm.kick = make(chan struct{}, 1)
	port.SetPulse(m)
	port.OnView(m.viewChanged)
	port.HandleInline(methodBeat, m.handleAppend)
	port.HandleInline(methodAppend, m.handleAppend)
	port.HandleInline(methodVote, m.handleVote)
	port.HandleInline(methodPreVote, m.handlePreVote)
	port.HandleInline(methodTakeOver, m.handleTakeOver)
	port.HandleInline(methodConfirm, m.handleConfirm)
	port.Handle(methodReadIndex, m.handleReadIndex)
	port.HandleStream(methodSnapshot, m.handleSnapshot)
	m.workers.Add(2)
	go m.elect()
	go m.confirm.run()
	return m
}

// Close ends the mesh.
func (m *Mesh) Close() error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return nil
	}
	m.closed = true
	m.mu.Unlock()
	close(m.quit)
	m.workers.Wait()
	return nil
}

func (m *Mesh) add(g *Group) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	groups := maps.Clone(*m.groups.Load())
	if groups[g.config.Name] != nil {
		return fmt.Errorf("a group %s is open already", g.config.Name)
	}
	groups[g.config.Name] = g
	m.groups.Store(&groups)
	m.due()
	return nil
}

func (m *Mesh) remove(g *Group) {
	m.mu.Lock()
	defer m.mu.Unlock()
	groups := maps.Clone(*m.groups.Load())
	if groups[g.config.Name] == g {
		delete(groups, g.config.Name)
		m.groups.Store(&groups)
	}
}

// find is the group of a name, nil if it is not open or has stopped.
func (m *Mesh) find(name []byte) *Group {
	g := (*m.groups.Load())[string(name)]
	if g == nil || g.failure.Load() != nil {
		return nil
	}
	return g
}

// changes is closed at the next change of which nodes live.
func (m *Mesh) changes() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.change
}

func (m *Mesh) viewChanged() {
	m.mu.Lock()
	for node := range m.signs {
		if !m.port.Alive(node) {
			delete(m.signs, node) // when it comes back it may stand elsewhere
		}
	}
	close(m.change)
	m.change = make(chan struct{})
	m.mu.Unlock()
	m.due()
}

// due lets the elector look.
func (m *Mesh) due() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// open reads the name of the group of a request, and finds it.
func (m *Mesh) open(request []byte) (g *Group, r reader, err error) {
	r = reader{rest: request}
	name := r.group()
	if r.bad {
		return nil, r, errWire
	}
	if g = m.find(name); g == nil {
		return nil, r, errAbsent()
	}
	return g, r, nil
}

func (m *Mesh) handleAppend(from string, request []byte, reply peer.Reply) {
	g, r, err := m.open(request)
	if err != nil {
		reply(nil, err)
		return
	}
	q, err := parseEntries(&r, from)
	if err == nil && !g.trusts(from, q.Term) {
		err = errAbsent() // the leader tries again
	}
	if err != nil {
		reply(nil, err)
		return
	}
	g.wire.push(q, nil, func(response any, err error) {
		a, ok := response.(*raft.AppendEntriesResponse)
		if err != nil || !ok {
			reply(nil, orUnexpected(err))
			return
		}
		reply(appendEntriesAnswer(nil, a), nil)
	})
}

func orUnexpected(err error) error {
	if err == nil {
		err = errors.New("raft gave an answer of another kind")
	}
	return err
}

func (m *Mesh) handleVote(from string, request []byte, reply peer.Reply) {
	g, r, err := m.open(request)
	if err != nil {
		reply(nil, err)
		return
	}
	q, err := parseVote(&r, from)
	if err != nil {
		reply(nil, err)
		return
	}
	if g.newborn() {
		reply(appendVoteAnswer(nil, g.raft.CurrentTerm(), false), nil)
		return
	}
	g.wire.push(q, nil, func(response any, err error) {
		a, ok := response.(*raft.RequestVoteResponse)
		if err != nil || !ok {
			reply(nil, orUnexpected(err))
			return
		}
		reply(appendVoteAnswer(nil, a.Term, a.Granted), nil)
	})
}

func (m *Mesh) handlePreVote(from string, request []byte, reply peer.Reply) {
	g, r, err := m.open(request)
	if err != nil {
		reply(nil, err)
		return
	}
	v, err := parseVote(&r, from)
	if err != nil {
		reply(nil, err)
		return
	}
	if g.newborn() {
		reply(appendVoteAnswer(nil, g.raft.CurrentTerm(), false), nil)
		return
	}
	q := &raft.RequestPreVoteRequest{RPCHeader: v.RPCHeader, Term: v.Term, LastLogIndex: v.LastLogIndex, LastLogTerm: v.LastLogTerm}
	g.wire.push(q, nil, func(response any, err error) {
		a, ok := response.(*raft.RequestPreVoteResponse)
		if err != nil || !ok {
			reply(nil, orUnexpected(err))
			return
		}
		reply(appendVoteAnswer(nil, a.Term, a.Granted), nil)
	})
}

func (m *Mesh) handleTakeOver(_ string, request []byte, reply peer.Reply) {
	g, r, err := m.open(request)
	if err == nil {
		err = r.err()
	}
	if err == nil && (g.newborn() || !g.seats().votes(g.config.NodeID)) {
		err = errMayNotLead
	}
	if err != nil {
		reply(nil, err)
		return
	}
	g.stand(func(err error) { reply(nil, err) })
}

func (m *Mesh) handleSnapshot(ctx context.Context, from string, head []byte, data io.Reader) ([]byte, error) {
	g, r, err := m.open(head)
	if err != nil {
		return nil, err
	}
	q, err := parseSnapshotHead(&r, from)
	if err == nil && !g.trusts(from, q.Term) {
		err = errAbsent()
	}
	if err != nil {
		return nil, err
	}
	type outcome struct {
		response any
		err      error
	}
	done := make(chan outcome, 1)
	g.wire.push(q, interruptible{data, g.wire}, func(response any, err error) { done <- outcome{response, err} })
	o := <-done
	a, ok := o.response.(*raft.InstallSnapshotResponse)
	if o.err != nil || !ok {
		return nil, orUnexpected(o.err)
	}
	return appendVoteAnswer(nil, a.Term, a.Success), nil
}
