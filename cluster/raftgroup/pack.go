package raftgroup

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/wal"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// Operation is one operation of package command: it appends its bytes, framed
// as they are packed into entries.
type Operation interface {
	Append(dst []byte) ([]byte, error)
}

// call is one operation on its way. It is reused once its answer was taken.
type call struct {
	op     []byte
	result fsm.Result
	err    error
	done   chan struct{}
}

func (c *call) answer(result fsm.Result, err error) {
	c.result, c.err = result, err
	c.done <- struct{}{}
}

// The answers that tell the caller how certain it is that nothing happened.
func errOverloaded() error {
	return nba.Errorf(nba.CodeOverloaded, "too many writes are waiting: retry with a delay")
}

func errClosed() error {
	return nba.Errorf(nba.CodeUnavailable, "the node is shutting down: nothing was written")
}

func errFull() error {
	return nba.Errorf(nba.CodeUnavailable, "the disk of the node's log is full and nothing was written: free space or enlarge the disk, reads go on and writes go on by themselves")
}

func errUncertain(err error) error {
	return nba.Errorf(nba.CodeUnavailable, "the write was interrupted and may or may not have happened: read before you retry (%w)", err)
}

// writable tells why an operation would be refused: what is proposed must also find room in the state.
func (g *Group) writable() error {
	if err := g.Ready(); err != nil {
		return err
	}
	return g.machine.Store().Writable()
}

// Submit replicates one operation and returns its answer once it is durable and applied. An answer
// with Err was refused by the state machine. A ctx that ends early leaves the operation's fate open.
func (g *Group) Submit(ctx context.Context, op Operation) (fsm.Result, error) {
	if err := g.writable(); err != nil {
		return fsm.Result{}, err
	}
	c := g.calls.Get().(*call)
	var err error
	if c.op, err = op.Append(c.op[:0]); err != nil {
		g.calls.Put(c)
		return fsm.Result{}, err
	}
	if len(c.op) > command.MaxOpBytes {
		return fsm.Result{}, nba.Errorf(nba.CodeTooLarge, "the write is larger than %d bytes", command.MaxOpBytes)
	}
	if err := g.enqueue(c); err != nil {
		g.calls.Put(c)
		return fsm.Result{}, err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return fsm.Result{}, nba.Errorf(nba.CodeTimeout, "the deadline passed while the write was under way; it may still happen (%w)", ctx.Err())
	}
	result, err := c.result, c.err
	c.result, c.err = fsm.Result{}, nil
	g.calls.Put(c)
	if err == nil {
		err = result.Err
	}
	return result, err
}

func (g *Group) enqueue(c *call) error {
	g.admission.RLock()
	defer g.admission.RUnlock()
	if g.closed {
		return errClosed()
	}
	select {
	case g.queue <- c:
		return nil
	default:
		g.metrics.refusedTotal.Inc()
		return errOverloaded()
	}
}

// pack is one worker: it gathers what waits into an entry, proposes it and hands out the answers.
// There are MaxInFlight of them, so one gathers while others wait for the disk.
func (g *Group) pack() {
	defer g.workers.Done()
	var entry command.Builder
	batch := make([]*call, 0, g.options.MaxEntryOps)
	for {
		batch = g.gather(batch[:0])
		if len(batch) == 0 {
			return
		}
		entry.Reset(time.Now().UnixMilli())
		for _, c := range batch {
			entry.Add(c.op)
		}
		g.metrics.packOps.Observe(float64(len(batch)))
		g.metrics.packBytes.Add(float64(entry.Size()))
		g.metrics.queueDepth.Set(float64(len(g.queue)))
		results, err := g.propose(entry.Bytes())
		if err != nil {
			entry.Detach() // raft may still hold it
		}
		for i, c := range batch {
			if err != nil {
				c.answer(fsm.Result{}, err)
			} else {
				c.answer(results[i], nil)
			}
		}
	}
}

// gather waits for an operation and takes those that wait with it. None means that the group ends.
func (g *Group) gather(batch []*call) []*call {
	g.packing.Lock()
	defer g.packing.Unlock()
	select {
	case <-g.quit:
		return nil
	default:
	}
	select {
	case c := <-g.queue:
		batch = append(batch, c)
	case <-g.quit:
		return nil
	}
	g.linger()
	for size := len(batch[0].op); len(batch) < g.options.MaxEntryOps && size < g.options.MaxEntryBytes; {
		select {
		case c := <-g.queue:
			batch = append(batch, c)
			size += len(c.op)
		default:
			size = g.options.MaxEntryBytes
		}
	}
	g.lastPack, g.lastPacked = time.Now(), len(batch)
	return batch
}

// linger gives others the time to join the entry that is being gathered. Callers that were answered a
// moment ago are ready to run and about to come with their next operation: without a pause this one
// would go to the disk alone and they would wait for it. While several callers are about, entries are
// also at least Linger apart: each costs a sync of the log, and many small ones cost more time
// of the processor than the decisions in them. A single caller never waits.
func (g *Group) linger() {
	runtime.Gosched()
	if g.lastPacked > 1 || len(g.queue) > 0 {
		time.Sleep(g.options.Linger - time.Since(g.lastPack))
	}
}

// refuseQueued answers what the workers left in the queue when they ended.
func (g *Group) refuseQueued() {
	for {
		select {
		case c := <-g.queue:
			c.answer(fsm.Result{}, errClosed())
		default:
			return
		}
	}
}

// Propose replicates a whole entry, as command.Builder made it, and returns the answers to its
// operations. It is for imports, whose entries are large: it waits while MaxBulkInFlight others are
// under way. The entry must not change before Propose returns, and after an error never.
func (g *Group) Propose(ctx context.Context, entry []byte) (fsm.Results, error) {
	if err := g.writable(); err != nil {
		return nil, err
	}
	g.admission.RLock()
	if g.closed {
		g.admission.RUnlock()
		return nil, errClosed()
	}
	g.bulks.Add(1)
	g.admission.RUnlock()
	defer g.bulks.Done()
	select {
	case g.bulk <- struct{}{}:
		defer func() { <-g.bulk }()
	case <-ctx.Done():
		return nil, nba.Errorf(nba.CodeTimeout, "the deadline passed before the import was written (%w)", ctx.Err())
	case <-g.quit:
		return nil, errClosed()
	}
	return g.propose(entry)
}

func (g *Group) propose(entry []byte) (fsm.Results, error) {
	g.proposing.RLock()
	defer g.proposing.RUnlock()
	if err := g.Ready(); err != nil {
		return nil, err
	}
	if g.log.full() {
		return nil, errFull()
	}
	start := time.Now()
	under := g.fates.begin(entry)
	defer g.fates.end(under)
	future := g.raft.Apply(entry, 0)
	if err := future.Error(); err != nil {
		if errors.Is(err, wal.ErrFull) {
			return nil, errFull() // the log comes first: no other node has heard of it
		}
		if errors.Is(err, raft.ErrNotLeader) || errors.Is(err, raft.ErrLeadershipTransferInProgress) {
			return nil, g.notLeader()
		}
		if errors.Is(err, raft.ErrLeadershipLost) && future.Index() > 0 && g.mesh != nil {
			return g.fate(under, future.Index(), err)
		}
		return nil, errUncertain(err)
	}
	g.metrics.commitSeconds.Observe(time.Since(start).Seconds())
	switch answer := future.Response().(type) {
	case fsm.Results:
		return answer, nil
	case error:
		return nil, errUncertain(answer)
	default:
		return nil, fmt.Errorf("the state machine answered with a %T", answer)
	}
}

// notLeader is for an operation that raft did not take.
func (g *Group) notLeader() error {
	if g.failure.Load() != nil {
		return g.errStopped()
	}
	return g.errNotLeader()
}
