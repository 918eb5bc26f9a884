package raftgroup

import (
	"bytes"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/arbiterhq/arbiter/cluster/fsm"
)

// Limits of waiting for what became of an entry.
const (
	fateWithin = 5 * time.Second
	fateEvery  = 5 * time.Millisecond
)

// fates finds out what became of entries that this node proposed as a leader that it no longer is: raft does not
// tell. The next leader either keeps such an entry, which is then applied here too, or puts another in its place.
// The zero value is ready for use.
type fates struct {
	mu       sync.Mutex
	proposed []*proposed // under way; guarded by mu
}

// proposed is an entry under way.
type proposed struct {
	entry   []byte
	results fsm.Results
	applied bool          // guarded by fates.mu until known is closed
	known   chan struct{} // closed when it was applied
}

func (f *fates) begin(entry []byte) *proposed {
	p := &proposed{entry: entry, known: make(chan struct{})}
	f.mu.Lock()
	f.proposed = append(f.proposed, p)
	f.mu.Unlock()
	return p
}

func (f *fates) end(p *proposed) {
	f.mu.Lock()
	f.proposed = slices.DeleteFunc(f.proposed, func(other *proposed) bool { return other == p })
	f.mu.Unlock()
}

// applied looks for what is under way among entries that were applied. It is called after each batch. An entry is
// known by its bytes, which have the time of their making in them: its place is not known before raft gives it up.
func (f *fates) applied(entries []*raft.Log, answers []any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.proposed {
		for i, e := range entries {
			if p.applied || e.Type != raft.LogCommand || !bytes.Equal(e.Data, p.entry) {
				continue
			}
			// None are the answers of a state that had the entry already.
			if results, ok := answers[i].(fsm.Results); ok && len(results) > 0 {
				p.results, p.applied = results, true
				close(p.known)
			}
		}
	}
}

// fate waits until it is known what became of an entry that was appended to the log at index while this node led.
// The answers to its operations tell that it was applied. An error that wraps NotLeader tells that nothing happened
// and never will; any other that it may yet.
func (g *Group) fate(p *proposed, index uint64, cause error) (fsm.Results, error) {
	ticker := time.NewTicker(fateEvery)
	defer ticker.Stop()
	late := time.NewTimer(fateWithin)
	defer late.Stop()
	for {
		select {
		case <-p.known:
			return p.results, nil
		case <-ticker.C:
		case <-late.C:
			return nil, errUncertain(cause)
		case <-g.failed:
			return nil, errUncertain(cause)
		case <-g.quit:
			return nil, errUncertain(cause)
		}
		// What raft counts as applied is on its way to the machine, and stays where it is in the log.
		if g.raft.AppliedIndex() < index {
			continue
		}
		var there raft.Log
		if g.log.GetLog(index, &there) != nil {
			return nil, errUncertain(cause) // a snapshot took its place
		}
		if there.Type != raft.LogCommand || !bytes.Equal(there.Data, p.entry) {
			return nil, g.notLeader()
		}
	}
}
