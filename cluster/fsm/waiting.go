package fsm

import (
	"bytes"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"github.com/arbiterhq/arbiter/cluster/command"
	"github.com/arbiterhq/arbiter/cluster/store"
)

// queue remembers where what waits in order of time begins, so that whoever looks at its front again and
// again does not pass over all that was there before. It changes nothing of what is found. Apply calls
// raised and settle, everybody else from and advance.
type queue struct {
	bell func(Queue) // rung when something was put in
	name Queue

	mu     sync.Mutex
	fronts []front
	turn   uint64

	batch [][]byte // put in by the batch, of Apply alone
}

// front is where what lies behind a prefix begins: there is nothing between it and the key.
type front struct{ prefix, key []byte }

func (q *queue) front(prefix []byte) *front {
	for i := range q.fronts {
		if bytes.Equal(q.fronts[i].prefix, prefix) {
			return &q.fronts[i]
		}
	}
	return nil
}

// raised notes a key that the batch puts in. It is shared.
func (q *queue) raised(key []byte) { q.batch = append(q.batch, key) }

// settle is called when the batch can be seen.
func (q *queue) settle() {
	if len(q.batch) == 0 {
		return
	}
	q.mu.Lock()
	q.turn++
	for i := range q.fronts {
		f := &q.fronts[i]
		for _, key := range q.batch {
			if bytes.HasPrefix(key, f.prefix) && bytes.Compare(key, f.key) < 0 {
				f.key = key
			}
		}
	}
	q.mu.Unlock()
	clear(q.batch)
	q.batch = q.batch[:0]
	if q.bell != nil {
		q.bell(q.name)
	}
}

// reset forgets everything: the state is another.
func (q *queue) reset() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.fronts = nil
	q.turn++
}

// from is where to begin with a prefix, and the turn to tell advance. It is called before the state is read.
func (q *queue) from(prefix []byte) (key []byte, turn uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if f := q.front(prefix); f != nil {
		return f.key, q.turn
	}
	return prefix, q.turn
}

// advance tells that in the state that was read after from there is nothing of a prefix before a key; nil tells
// nothing.
func (q *queue) advance(prefix, key []byte, turn uint64) {
	if key == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if turn != q.turn {
		return
	}
	f := q.front(prefix)
	if f == nil {
		if len(q.fronts) == maxFronts {
			q.fronts = nil
		}
		q.fronts = append(q.fronts, front{prefix: bytes.Clone(prefix)})
		f = &q.fronts[len(q.fronts)-1]
	}
	f.key = key
}

// maxFronts bounds what a queue remembers: a place for each sink.
const maxFronts = 256

// Tally counts what lies in the buckets of triggers and of the outbox.
type Tally struct {
	// Triggers are pending, Shut closed and remembered.
	Triggers, Shut int64
	// Pending, Sent, Dead, Expired and Cancelled are deliveries.
	Pending, Sent, Dead, Expired, Cancelled int64
}

// Of is how many deliveries there are in a state.
func (t *Tally) Of(state command.DeliveryState) int64 { return *t.of(state) }

// Finished is how many deliveries are remembered that are not pending.
func (t *Tally) Finished() int64 { return t.Sent + t.Dead + t.Expired + t.Cancelled }

func (t *Tally) of(state command.DeliveryState) *int64 {
	switch state {
	case command.DeliverySent:
		return &t.Sent
	case command.DeliveryDead:
		return &t.Dead
	case command.DeliveryExpired:
		return &t.Expired
	case command.DeliveryCancelled:
		return &t.Cancelled
	default:
		return &t.Pending
	}
}

// Add adds the counts of another.
func (t *Tally) Add(other *Tally) {
	for i, field := range t.fields() {
		*field += *other.fields()[i]
	}
}

func (t *Tally) fields() [7]*int64 {
	return [...]*int64{&t.Triggers, &t.Shut, &t.Pending, &t.Sent, &t.Dead, &t.Expired, &t.Cancelled}
}

// outboxState is what Data holds in memory of triggers and deliveries.
type outboxState struct {
	waiting, leaving queue // triggers, deliveries

	// raisedOf counts the triggers that the entry raisedAt raised.
	raisedAt uint64
	raisedOf uint32

	tally, tallied Tally // as the batch has it, as it is stored
	counts         atomic.Pointer[Tally]

	// Below these there are no closed triggers, and of each state no finished deliveries. Nothing begins at
	// the first.
	shutFrom  []byte
	forgotten [5]int64
}

var keyTally = []byte("outbox")

// loadTally reads the counts as they are stored.
func loadTally(r *store.Reader) (t Tally) {
	v := r.Get(store.Meta, keyTally)
	for i, field := range t.fields() {
		if len(v) >= 8*(i+1) {
			*field = int64(binary.LittleEndian.Uint64(v[8*i:]))
		}
	}
	return t
}

// finishOutbox stores the counts, if the batch changed them.
func (d *Data) finishOutbox(u *update) error {
	if d.tally == d.tallied {
		return nil
	}
	d.tallied = d.tally
	v := make([]byte, 0, 7*8)
	for _, field := range d.tally.fields() {
		v = binary.LittleEndian.AppendUint64(v, uint64(*field))
	}
	return u.local(keyTally, v)
}

// commitOutbox is called when the batch can be seen.
func (d *Data) commitOutbox() {
	d.waiting.settle()
	d.leaving.settle()
	if tally := d.tally; tally != *d.counts.Load() {
		d.counts.Store(&tally)
	}
}

// reloadOutbox is called when the state is another.
func (d *Data) reloadOutbox(r *store.Reader) {
	d.tally = loadTally(r)
	tally := d.tally
	d.tallied = tally
	d.counts.Store(&tally)
	d.waiting.reset()
	d.leaving.reset()
	d.shutFrom, d.forgotten = nil, [5]int64{}
}

// Tally is how much waits and is remembered, as of the last batch. It is safe for concurrent use.
func (d *Data) Tally() Tally { return *d.counts.Load() }

// Queue is one of those that whoever leads works off.
type Queue uint8

// The queues.
const (
	QueueTriggers Queue = 1 + iota
	QueueDeliveries
	QueueTimers
)

// Ring makes Apply tell into which queue something was put, when that can be seen. bell must not wait. Call it
// before anything is applied.
func (d *Data) Ring(bell func(Queue)) {
	d.waiting.bell, d.waiting.name = bell, QueueTriggers
	d.leaving.bell, d.leaving.name = bell, QueueDeliveries
	d.timers.bell, d.timers.name = bell, QueueTimers
}
