package store

import (
	"sync"

	"go.etcd.io/bbolt"
)

// base is a read transaction at the state of the bbolt file that a checkpoint has. While it is open, no
// page of that state is used again, so the file can be opened there. Checkpoints share it until runs are
// merged into the file.
type base struct {
	tx   *bbolt.Tx
	refs int        // guarded by pins.mu
	mu   sync.Mutex // held while a bucket is looked up in tx
}

// pin is the state of a checkpoint: a base and runs over it, whose files are taken. It is shared by the
// store and by the snapshots that read it.
type pin struct {
	base *base
	runs []*runView
	note []byte
	refs int // guarded by pins.mu
}

// cursor is a cursor of its own for each caller.
func (p *pin) cursor(b Bucket) *bbolt.Cursor {
	p.base.mu.Lock()
	defer p.base.mu.Unlock()
	return p.base.tx.Bucket(bucketNames[b]).Cursor()
}

// pins keeps the pin of the last checkpoint, and knows whether the next one is being made.
type pins struct {
	mu      sync.Mutex
	ended   sync.Cond
	last    *pin
	running bool // a checkpoint is being made
	err     error
}

func (p *pins) init() { p.ended.L = &p.mu }

// set makes tx and runs the pin of the last checkpoint, which has the note, and lets go of the one before.
// A nil tx is that of the one before.
func (p *pins) set(tx *bbolt.Tx, runs []*runView, note []byte) {
	takeRuns(runs) // the store has them
	p.mu.Lock()
	old := p.last
	next := &pin{base: &base{tx: tx}, runs: runs, note: note, refs: 1}
	if tx == nil {
		next.base = old.base
	}
	next.base.refs++
	p.last = next
	p.mu.Unlock()
	if old != nil {
		p.release(old)
	}
}

// take gives a share of the pin of the last checkpoint; nil if there is none.
func (p *pins) take() *pin {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last != nil {
		p.last.refs++
	}
	return p.last
}

// runs are those of the last checkpoint.
func (p *pins) runs() []*runView {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		return nil
	}
	return p.last.runs
}

func (p *pins) release(old *pin) {
	p.mu.Lock()
	old.refs--
	end := old.refs == 0
	endBase := false
	if end {
		old.base.refs--
		endBase = old.base.refs == 0
	}
	p.mu.Unlock()
	if end {
		releaseRuns(old.runs)
	}
	if endBase {
		_ = old.base.tx.Rollback() // it fails only for a transaction that is closed already
	}
}

// end lets go of the last checkpoint, before the file is closed.
func (p *pins) end() {
	p.mu.Lock()
	old := p.last
	p.last = nil
	p.mu.Unlock()
	if old != nil {
		p.release(old)
	}
}

// busy tells whether a checkpoint is being made.
func (p *pins) busy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

// begin is false if a checkpoint is being made already.
func (p *pins) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running {
		return false
	}
	p.running = true
	return true
}

func (p *pins) finish(err error) {
	p.mu.Lock()
	p.running, p.err = false, err
	p.ended.Broadcast()
	p.mu.Unlock()
}

// wait waits until no checkpoint is being made.
func (p *pins) wait() {
	p.mu.Lock()
	for p.running {
		p.ended.Wait()
	}
	p.mu.Unlock()
}
