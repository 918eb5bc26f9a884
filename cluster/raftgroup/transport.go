package raftgroup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/peer"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// transport carries the messages of one group over the port that all groups of a node share. The
// address of a voter is its node id; the port knows where that is.
//
// While a voter cannot be reached, messages of the leader to it wait in here: raft would otherwise
// try again at ever longer intervals, and let a node that came back wait for them.
type transport struct {
	mesh  *Mesh
	group string
	self  raft.ServerAddress
	term  atomic.Pointer[func() uint64] // the current term, once raft runs

	requests chan raft.RPC
	answers  chan answering
	closing  chan struct{} // closed when transfers to here shall end
	closed   chan struct{}
	once     [2]sync.Once
	workers  sync.WaitGroup
}

// answering is a request that raft was given, and how to answer it.
type answering struct {
	from  chan raft.RPCResponse
	reply func(response any, err error)
}

const (
	// maxWaitingRequests bounds the requests of others that raft has not taken; more are refused.
	maxWaitingRequests = 256
	// maxPipelined bounds the requests of a pipeline that are not answered.
	maxPipelined = 64
	// maxAppendBytes is about the size at which the entries of a request are split over several.
	maxAppendBytes = 4 << 20
	// answerTimeout bounds how long raft waits for an answer that is not to a transfer.
	answerTimeout = 10 * time.Second
	// absentPause is between attempts to reach a group that its node has not opened.
	absentPause = 100 * time.Millisecond
)

var (
	errTransportClosed = errors.New("the group is closed")
	errBusy            = errors.New("too many requests wait")
	errMayNotLead      = errors.New("the replica may not lead yet")
)

// errAbsent is the answer for a group that is not open.
func errAbsent() error { return nba.Errorf(nba.CodeNotFound, "the group is not open here") }

func isAbsent(err error) bool { return nba.CodeOf(err) == nba.CodeNotFound }

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

func newTransport(m *Mesh, group, self string) *transport {
	t := &transport{
		mesh: m, group: group, self: raft.ServerAddress(self),
		requests: make(chan raft.RPC, maxWaitingRequests), answers: make(chan answering, maxWaitingRequests),
		closing: make(chan struct{}), closed: make(chan struct{}),
	}
	t.workers.Add(1)
	go t.answer()
	return t
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.requests }

// LocalAddr implements raft.Transport.
func (t *transport) LocalAddr() raft.ServerAddress { return t.self }

// EncodePeer implements raft.Transport.
func (t *transport) EncodePeer(_ raft.ServerID, address raft.ServerAddress) []byte {
	return []byte(address)
}

// DecodePeer implements raft.Transport.
func (t *transport) DecodePeer(b []byte) raft.ServerAddress { return raft.ServerAddress(b) }

// SetHeartbeatHandler implements raft.Transport. All requests take the ordinary way: the quick one
// would change raft's term beside its main loop, and failures are found by the port.
func (t *transport) SetHeartbeatHandler(func(raft.RPC)) {}

// Close implements raft.WithClose: what waits ends.
func (t *transport) Close() error {
	t.interrupt()
	t.once[1].Do(func() { close(t.closed) })
	t.workers.Wait()
	return nil
}

// interrupt ends transfers to here: raft does nothing else while it takes one.
func (t *transport) interrupt() { t.once[0].Do(func() { close(t.closing) }) }

// interruptible is the data of a transfer, until interrupt.
type interruptible struct {
	from io.Reader
	t    *transport
}

// Read implements io.Reader.
func (i interruptible) Read(b []byte) (int, error) {
	select {
	case <-i.t.closing:
		return 0, errTransportClosed
	default:
		return i.from.Read(b)
	}
}

// push gives raft a request; reply is called once with what it answers.
func (t *transport) push(command any, data io.Reader, reply func(response any, err error)) {
	select {
	case <-t.closed:
		reply(nil, errAbsent())
		return
	default:
	}
	from := make(chan raft.RPCResponse, 1)
	rpc := raft.RPC{Command: command, Reader: data, RespChan: from}
	select {
	case t.requests <- rpc:
	default:
		reply(nil, errBusy)
		return
	}
	select {
	case t.answers <- answering{from, reply}:
	case <-t.closed:
		reply(nil, errAbsent())
	}
}

// answer hands on what raft answers, which it does in the order of the requests.
func (t *transport) answer() {
	defer t.workers.Done()
	for {
		select {
		case a := <-t.answers:
			select {
			case response := <-a.from:
				a.reply(response.Response, response.Error)
			case <-t.closed:
				a.reply(nil, errAbsent())
			}
		case <-t.closed:
			for {
				select {
				case a := <-t.answers:
					a.reply(nil, errAbsent())
				default:
					return
				}
			}
		}
	}
}

// call asks a node and waits for the answer.
func (t *transport) call(node string, m peer.Method, request []byte) ([]byte, error) {
	type outcome struct {
		answer []byte
		err    error
	}
	done := make(chan outcome, 1)
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	if err := t.mesh.port.Go(ctx, node, m, nil, request, func(answer []byte, err error) { done <- outcome{answer, err} }); err != nil {
		return nil, err
	}
	select {
	case o := <-done:
		return o.answer, o.err
	case <-ctx.Done():
		return nil, fmt.Errorf("node %s did not answer in time: %w", node, ctx.Err())
	case <-t.closed:
		return nil, errTransportClosed
	}
}

// AppendEntries implements raft.Transport. It waits while the voter cannot be reached.
func (t *transport) AppendEntries(id raft.ServerID, _ raft.ServerAddress, q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) error {
	m := methodAppend
	if q.PrevLogEntry == 0 && q.LeaderCommitIndex == 0 && len(q.Entries) == 0 {
		m = methodBeat
		if t.mesh.follows(string(id), t.group, q.Term, 0) {
			*a = raft.AppendEntriesResponse{RPCHeader: header(string(id)), Term: q.Term, Success: true}
			return nil
		}
	}
	for _, part := range split(q) {
		message := appendEntries(nil, t.group, &part)
		for {
			answer, err := t.call(string(id), m, message)
			if err == nil {
				if err := parseEntriesAnswer(answer, a); err != nil {
					return err
				}
				break
			}
			if !errors.Is(err, peer.ErrUnreachable) && !isAbsent(err) || !t.wait(string(id), q.Term) {
				return err
			}
		}
		if !a.Success {
			return nil
		}
	}
	return nil
}

// wait waits until another attempt to reach a node is due. It is false if none is of use.
func (t *transport) wait(node string, term uint64) bool {
	if t.mesh.port.Alive(node) {
		select {
		case <-time.After(absentPause):
		case <-t.closed:
			return false
		}
	} else {
		for !t.mesh.port.Alive(node) {
			select {
			case <-t.mesh.changes():
			case <-time.After(time.Second):
			case <-t.closed:
				return false
			}
			if !t.wanted(node, term) {
				return false
			}
		}
	}
	return t.wanted(node, term)
}

// wanted tells whether the leader of a term still has anything to tell a node.
func (t *transport) wanted(node string, term uint64) bool {
	g := t.mesh.find([]byte(t.group))
	return t.current(term) && (g == nil || g.seats().has(node))
}

func (t *transport) current(term uint64) bool {
	current := t.term.Load()
	return current == nil || (*current)() == term
}

// split divides a request into parts of bounded size, each of which continues where the one before
// ends.
func split(q *raft.AppendEntriesRequest) (parts []raft.AppendEntriesRequest) {
	rest := *q
	for {
		part, size, n := rest, 0, 0
		for n < len(rest.Entries) && (n == 0 || size+len(rest.Entries[n].Data) <= maxAppendBytes) {
			size += len(rest.Entries[n].Data)
			n++
		}
		part.Entries = rest.Entries[:n]
		parts = append(parts, part)
		if n == len(rest.Entries) {
			return parts
		}
		last := rest.Entries[n-1]
		rest.PrevLogEntry, rest.PrevLogTerm, rest.Entries = last.Index, last.Term, rest.Entries[n:]
	}
}

// mayLead tells whether the replica may ask for votes; see founding. raft's own timeout does not know.
func (t *transport) mayLead() bool {
	g := t.mesh.find([]byte(t.group))
	return g != nil && !g.newborn()
}

// RequestVote implements raft.Transport.
func (t *transport) RequestVote(id raft.ServerID, _ raft.ServerAddress, q *raft.RequestVoteRequest, a *raft.RequestVoteResponse) error {
	if !t.mayLead() {
		return errMayNotLead
	}
	answer, err := t.call(string(id), methodVote, appendVote(nil, t.group, q.Term, q.LastLogIndex, q.LastLogTerm, q.LeadershipTransfer))
	if err != nil {
		return err
	}
	a.Term, a.Granted, err = parseVoteAnswer(answer)
	return err
}

// RequestPreVote implements raft.WithPreVote.
func (t *transport) RequestPreVote(id raft.ServerID, _ raft.ServerAddress, q *raft.RequestPreVoteRequest, a *raft.RequestPreVoteResponse) error {
	if !t.mayLead() {
		return errMayNotLead
	}
	answer, err := t.call(string(id), methodPreVote, appendVote(nil, t.group, q.Term, q.LastLogIndex, q.LastLogTerm, false))
	if err != nil {
		return err
	}
	a.Term, a.Granted, err = parseVoteAnswer(answer)
	return err
}

// TimeoutNow implements raft.Transport.
func (t *transport) TimeoutNow(id raft.ServerID, _ raft.ServerAddress, _ *raft.TimeoutNowRequest, _ *raft.TimeoutNowResponse) error {
	_, err := t.call(string(id), methodTakeOver, appendText(nil, t.group))
	return err
}

// InstallSnapshot implements raft.Transport.
func (t *transport) InstallSnapshot(id raft.ServerID, _ raft.ServerAddress, q *raft.InstallSnapshotRequest, a *raft.InstallSnapshotResponse, data io.Reader) error {
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		select {
		case <-t.closed:
			cancel()
		case <-ctx.Done():
		}
	})
	defer func() {
		cancel()
		watching.Wait()
	}()
	answer, err := t.mesh.port.Send(ctx, string(id), methodSnapshot, appendSnapshotHead(nil, t.group, q), data)
	if err != nil {
		return err
	}
	a.Term, a.Success, err = parseVoteAnswer(answer)
	return err
}
