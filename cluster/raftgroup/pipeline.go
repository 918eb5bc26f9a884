package raftgroup

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// pipeline sends AppendEntries requests without waiting for the answers.
type pipeline struct {
	t     *transport
	node  string
	ready chan raft.AppendFuture
	room  chan struct{} // one token: an answer came
	mu    sync.Mutex
	queue []*appendFuture // in the order of sending; those at the front that are answered go to ready
	// Up to where the follower's log is the leader's, and what it knows to be committed; guarded by mu.
	matched, committed uint64
	closed             chan struct{}
	once               sync.Once
}

// appendFuture is one request of a pipeline.
type appendFuture struct {
	p        *pipeline
	start    time.Time
	request  *raft.AppendEntriesRequest
	response *raft.AppendEntriesResponse
	parts    atomic.Int32 // not answered
	mu       sync.Mutex
	done     bool // guarded by pipeline.mu
	err      error
	answered chan struct{}
}

// AppendEntriesPipeline implements raft.Transport.
func (t *transport) AppendEntriesPipeline(id raft.ServerID, _ raft.ServerAddress) (raft.AppendPipeline, error) {
	return &pipeline{
		t: t, node: string(id), ready: make(chan raft.AppendFuture, maxPipelined),
		room: make(chan struct{}, 1), closed: make(chan struct{}),
	}, nil
}

// AppendEntries implements raft.AppendPipeline.
func (p *pipeline) AppendEntries(q *raft.AppendEntriesRequest, a *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	f := &appendFuture{p: p, start: time.Now(), request: q, response: a, answered: make(chan struct{})}
	if p.known(f) {
		return f, nil
	}
	parts := split(q)
	f.parts.Store(int32(len(parts)))
	if err := p.enter(f); err != nil {
		return nil, err
	}
	var message []byte
	for i := range parts {
		message = appendEntries(message[:0], p.t.group, &parts[i])
		if err := p.t.mesh.port.Go(context.Background(), p.node, methodAppend, nil, message, f.answer); err != nil {
			f.answerAll(int32(len(parts)-i), err)
			return nil, err
		}
	}
	return f, nil
}

// known answers a request that would tell the follower nothing, if it said a moment ago that it
// follows.
func (p *pipeline) known(f *appendFuture) bool {
	q := f.request
	if len(q.Entries) > 0 || !p.t.mesh.follows(p.node, p.t.group, q.Term, q.PrevLogEntry) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) > 0 || len(p.ready) == maxPipelined || p.matched != q.PrevLogEntry || p.committed != q.LeaderCommitIndex {
		return false
	}
	*f.response = raft.AppendEntriesResponse{RPCHeader: header(p.node), Term: q.Term, LastLog: q.PrevLogEntry, Success: true}
	close(f.answered)
	p.ready <- f
	return true
}

// enter queues a request once there is a place for its answer.
func (p *pipeline) enter(f *appendFuture) error {
	for late := time.Now().Add(answerTimeout); ; {
		p.mu.Lock()
		if len(p.queue)+len(p.ready) < maxPipelined {
			p.queue = append(p.queue, f)
			p.mu.Unlock()
			return nil
		}
		p.mu.Unlock()
		select {
		case <-p.room:
		case <-time.After(time.Millisecond): // raft took an answer
		case <-p.closed:
			return errTransportClosed
		case <-p.t.closed:
			return errTransportClosed
		}
		if time.Now().After(late) {
			return errBusy
		}
	}
}

// answer takes the answer to one part. The first that is no success decides.
func (f *appendFuture) answer(b []byte, err error) {
	var a raft.AppendEntriesResponse
	if err == nil {
		err = parseEntriesAnswer(b, &a)
	}
	f.mu.Lock()
	switch {
	case f.err != nil || f.response.Term != 0 && !f.response.Success: // decided
	case err != nil:
		f.err = err
		*f.response = raft.AppendEntriesResponse{}
	default:
		*f.response = a
	}
	f.mu.Unlock()
	f.answerAll(1, nil)
}

func (f *appendFuture) answerAll(parts int32, err error) {
	if err != nil {
		f.mu.Lock()
		f.err = err
		*f.response = raft.AppendEntriesResponse{}
		f.mu.Unlock()
	}
	if f.parts.Add(-parts) > 0 {
		return
	}
	close(f.answered)
	p := f.p
	p.mu.Lock()
	defer p.mu.Unlock()
	f.done = true
	for len(p.queue) > 0 && p.queue[0].done {
		if first := p.queue[0]; first.err == nil && first.response.Success {
			p.matched, p.committed = first.request.PrevLogEntry, first.request.LeaderCommitIndex
			if n := len(first.request.Entries); n > 0 {
				p.matched = first.request.Entries[n-1].Index
			}
		}
		p.ready <- p.queue[0] // enter left a place
		p.queue[0] = nil
		p.queue = p.queue[1:]
	}
	select {
	case p.room <- struct{}{}:
	default:
	}
}

// Consumer implements raft.AppendPipeline.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.ready }

// Close implements raft.AppendPipeline.
func (p *pipeline) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Error implements raft.Future.
func (f *appendFuture) Error() error {
	<-f.answered
	return f.err
}

// Start implements raft.AppendFuture.
func (f *appendFuture) Start() time.Time { return f.start }

// Request implements raft.AppendFuture.
func (f *appendFuture) Request() *raft.AppendEntriesRequest { return f.request }

// Response implements raft.AppendFuture.
func (f *appendFuture) Response() *raft.AppendEntriesResponse { return f.response }
