package router

import (
	"context"
	"runtime"
	"sync"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Limits of what is sent to a leader at once.
const (
	forwardOps      = 256
	forwardBytes    = 256 << 10
	forwardInFlight = 4
	forwardQueue    = 8192
)

// forwarder sends the operations of one group to its leader. Those that come while others are under
// way travel together, so that many callers cost few messages and few log entries. The zero value is
// ready for use.
type forwarder struct {
	mu      sync.Mutex
	queue   []*forwarded
	senders int
}

// forwarded is one operation on its way.
type forwarded struct {
	node   string
	op     []byte
	result fsm.Result
	err    error
	done   chan struct{}
}

// submit sends op to node and waits for its answer. op must not change until it was answered.
func (f *forwarder) submit(ctx context.Context, s *shard, node string, op []byte) (fsm.Result, error) {
	call := &forwarded{node: node, op: op, done: make(chan struct{})}
	f.mu.Lock()
	if len(f.queue) >= forwardQueue {
		f.mu.Unlock()
		return fsm.Result{}, nba.Errorf(nba.CodeOverloaded, "too many writes are waiting: retry with a delay")
	}
	f.queue = append(f.queue, call)
	more := f.senders < forwardInFlight
	if more && s.net.begin() {
		f.senders++
		go f.send(s)
	} else if more {
		f.queue = f.queue[:len(f.queue)-1]
		f.mu.Unlock()
		return fsm.Result{}, errClosing()
	}
	f.mu.Unlock()
	select {
	case <-call.done:
		return call.result, call.err
	case <-ctx.Done():
		return fsm.Result{}, nba.Errorf(nba.CodeTimeout, "the deadline passed while the write was under way; it may still happen (%w)", ctx.Err())
	}
}

// send sends what waits until nothing does.
func (f *forwarder) send(s *shard) {
	defer s.net.end()
	for {
		runtime.Gosched() // callers that were answered a moment ago come back and join
		batch := f.take()
		if batch == nil {
			return
		}
		ops := make([][]byte, len(batch))
		for i, call := range batch {
			ops[i] = call.op
		}
		answers, err := s.net.submit(s, batch[0].node, ops)
		for i, call := range batch {
			if err != nil {
				call.err = err
			} else {
				call.result, call.err = answers[i].Result, answers[i].Err
			}
			close(call.done)
		}
	}
}

// take takes the operations that go to the same node as the first. nil tells the sender to end.
func (f *forwarder) take() []*forwarded {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, size := 0, 0
	for n < len(f.queue) && n < forwardOps && size < forwardBytes && f.queue[n].node == f.queue[0].node {
		size += len(f.queue[n].op)
		n++
	}
	if n == 0 {
		f.senders--
		f.queue = nil
		return nil
	}
	batch := f.queue[:n:n]
	f.queue = f.queue[n:]
	return batch
}
