package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// workload keeps clients busy until its context ends and checks afterwards what they were told.
type workload interface {
	// run returns when ctx has ended.
	run(ctx context.Context, c *cluster)
	// check runs when the cluster is whole again.
	check(t *testing.T, c *cluster)
	// progress counts acknowledged calls.
	progress() int64
}

// chance is a generator of its own for each client.
func chance(seed uint64, client int) *rand.Rand { return rand.New(rand.NewPCG(seed, uint64(client))) }

// pause waits a little between two calls, so that checkers can keep up with the clients.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// registers are written and read at random; Porcupine judges. Keys change with time, which keeps the
// history of each short enough to be judged.
type registers struct {
	seed    uint64
	clients int
	keys    int           // at a time
	epoch   time.Duration // how long the same keys are used
	gap     time.Duration // between two calls of a client
	current string        // the consistency of reads
	history *history
	acked   atomic.Int64
	epochs  atomic.Int64 // begun so far
}

func newRegisters(seed uint64, consistency string) *registers {
	return &registers{seed: seed, clients: 8, keys: 4, epoch: 3 * time.Second, gap: 4 * time.Millisecond,
		current: consistency, history: newHistory()}
}

func (w *registers) progress() int64 { return w.acked.Load() }

func (w *registers) key(epoch int64, k int) string { return fmt.Sprintf("reg-%d-%d", epoch, k) }

func (w *registers) run(ctx context.Context, c *cluster) {
	began := time.Now()
	var clients sync.WaitGroup
	for client := range w.clients {
		clients.Go(func() {
			random := chance(w.seed, client)
			known := map[string]uint64{}
			for n := int64(1); ctx.Err() == nil; n++ {
				epoch := int64(time.Since(began) / w.epoch)
				w.epochs.Store(max(epoch+1, w.epochs.Load()))
				key := w.key(epoch, random.IntN(w.keys))
				w.call(c.nodes[random.IntN(len(c.nodes))], random, client, key, int64(client)<<32|n, known)
				pause(ctx, w.gap)
			}
		})
	}
	clients.Wait()
}

// call does one thing to one register. known are the versions this client saw last.
func (w *registers) call(n *node, random *rand.Rand, client int, key string, value int64, known map[string]uint64) {
	in := input{key: key, kind: putOp, value: value}
	switch p := random.IntN(100); {
	case p < 45:
		in.kind = readOp
	case p < 60:
	case p < 85:
		version := known[key]
		in.ifVersion = &version
	case p < 97:
		in.kind = patchOp
	default:
		in.kind = deleteOp
	}
	begin := w.history.now()
	var a answer
	switch in.kind {
	case readOp:
		var seen register
		if seen, a = n.read(key, w.current); a.fate == applied {
			known[key] = seen.version
		}
		w.history.add(client, in, begin, output{fate: a.fate, state: seen})
	case putOp:
		if a = n.put(key, value, in.ifVersion); a.fate == applied {
			known[key] = a.version
		}
		w.history.change(client, in, begin, a)
	case patchOp:
		a = n.patch(key, value)
		w.history.change(client, in, begin, a)
	case deleteOp:
		a = n.delete(key)
		w.history.change(client, in, begin, a)
	}
	if a.fate == applied {
		w.acked.Add(1)
	}
}

// check reads every register once more on every node, then judges.
func (w *registers) check(t *testing.T, c *cluster) {
	t.Helper()
	for epoch := range w.epochs.Load() {
		for k := range w.keys {
			key := w.key(epoch, k)
			for i, n := range c.nodes {
				begin := w.history.now()
				seen, a := n.read(key, w.current)
				if a.fate != applied {
					t.Errorf("reading %s on %s when all is well: status %d %v %s", key, n.id, a.status, a.err, a.body)
					continue
				}
				w.history.add(w.clients+i, input{key: key, kind: readOp}, begin, output{state: seen})
			}
		}
	}
	w.history.check(t, c.dir, 60*time.Second)
}

// counters are raised by reading them and writing one more under the condition that nobody was faster.
type counters struct {
	seed    uint64
	clients int
	keys    int
	gap     time.Duration
	current string
	acked   []atomic.Int64 // by key
	doubt   []atomic.Int64
}

func newCounters(seed uint64, consistency string) *counters {
	const keys = 3
	return &counters{seed: seed, clients: 4, keys: keys, gap: 2 * time.Millisecond, current: consistency,
		acked: make([]atomic.Int64, keys), doubt: make([]atomic.Int64, keys)}
}

func (w *counters) progress() (total int64) {
	for i := range w.acked {
		total += w.acked[i].Load()
	}
	return total
}

func (w *counters) key(k int) string { return fmt.Sprintf("counter-%d", k) }

func (w *counters) run(ctx context.Context, c *cluster) {
	var clients sync.WaitGroup
	for client := range w.clients {
		clients.Go(func() {
			random := chance(w.seed, 100+client)
			for ctx.Err() == nil {
				k := random.IntN(w.keys)
				seen, a := c.nodes[random.IntN(len(c.nodes))].read(w.key(k), w.current)
				if a.fate == applied {
					switch c.nodes[random.IntN(len(c.nodes))].put(w.key(k), seen.value+1, &seen.version).fate {
					case applied:
						w.acked[k].Add(1)
					case doubtful:
						w.doubt[k].Add(1)
					}
				}
				pause(ctx, w.gap)
			}
		})
	}
	clients.Wait()
}

func (w *counters) check(t *testing.T, c *cluster) {
	t.Helper()
	for k := range w.keys {
		acked, doubt := w.acked[k].Load(), w.doubt[k].Load()
		for _, n := range c.nodes {
			seen, a := n.read(w.key(k), w.current)
			if a.fate != applied {
				t.Errorf("reading %s on %s: status %d %v", w.key(k), n.id, a.status, a.err)
				continue
			}
			if seen.value < acked || seen.value > acked+doubt || seen.version != uint64(seen.value) {
				t.Errorf("%s on %s is %d in version %d after %d acknowledged increments and %d in doubt", w.key(k), n.id,
					seen.value, seen.version, acked, doubt)
			}
		}
	}
	t.Logf("%d increments", w.progress())
}

// set writes each of its subjects from one client. Without a write in doubt the value is the one that
// was acknowledged last; with one it may be that of a write in doubt, which can take effect late. The
// version counts the writes that took effect.
type set struct {
	seed    uint64
	clients int
	keys    int // of each client
	gap     time.Duration
	current string
	members []member // client*keys + k
	total   atomic.Int64
}

// member belongs to one client while the clients run, and to the checker afterwards.
type member struct {
	acked, tried   int64 // values
	writes, doubts uint64
	_              [4]uint64 // a cache line of its own
}

func newSet(seed uint64, consistency string) *set {
	const clients, keys = 6, 400
	return &set{seed: seed, clients: clients, keys: keys, gap: time.Millisecond, current: consistency,
		members: make([]member, clients*keys)}
}

func (w *set) progress() int64 { return w.total.Load() }

func (w *set) key(i int) string { return fmt.Sprintf("set-%06d", i) }

func (w *set) run(ctx context.Context, c *cluster) {
	var clients sync.WaitGroup
	for client := range w.clients {
		clients.Go(func() {
			random := chance(w.seed, 200+client)
			for ctx.Err() == nil {
				n := c.nodes[random.IntN(len(c.nodes))]
				if random.IntN(20) == 0 {
					w.importSome(n, random, client)
				} else {
					w.write(n, client*w.keys+random.IntN(w.keys))
				}
				pause(ctx, w.gap)
			}
		})
	}
	clients.Wait()
}

func (w *set) write(n *node, i int) {
	m := &w.members[i]
	m.tried++
	w.account(m, n.put(w.key(i), m.tried, nil).fate)
}

func (w *set) account(m *member, f fate) {
	switch f {
	case applied:
		m.acked = m.tried
		m.writes++
		w.total.Add(1)
	case doubtful:
		m.doubts++
	}
}

// importSome writes many members in one request.
func (w *set) importSome(n *node, random *rand.Rand, client int) {
	const lines = 64
	first := random.IntN(w.keys - lines)
	var body []byte
	for k := first; k < first+lines; k++ {
		m := &w.members[client*w.keys+k]
		m.tried++
		body = fmt.Appendf(body, `{"id":%q,"attributes":{"value":%d}}`+"\n", w.key(client*w.keys+k), m.tried)
	}
	a := n.do(http.MethodPost, "/v1/subjects/import", body)
	if a.fate == applied && !acceptedAll(a.body, lines) {
		a.fate = doubtful
	}
	for k := first; k < first+lines; k++ {
		w.account(&w.members[client*w.keys+k], a.fate)
	}
}

func (w *set) check(t *testing.T, c *cluster) {
	t.Helper()
	var wrong atomic.Int64
	var readers sync.WaitGroup
	for reader := range 8 {
		readers.Go(func() {
			for i := reader; i < len(w.members); i += 8 {
				for _, n := range c.nodes {
					for _, consistency := range w.consistencies() {
						if problem := w.examine(n, i, consistency); problem != "" && wrong.Add(1) <= 10 {
							t.Error(problem)
						}
					}
				}
			}
		})
	}
	readers.Wait()
	if more := wrong.Load() - 10; more > 0 {
		t.Errorf("and %d more of this kind", more)
	}
	t.Logf("%d acknowledged writes of %d subjects", w.total.Load(), len(w.members))
}

// consistencies of the last reads: those that are current, and what each replica has of its own, which
// must be the same once all is quiet.
func (w *set) consistencies() []string {
	if w.current == "" {
		return []string{""}
	}
	return []string{w.current, "stale"}
}

func (w *set) examine(n *node, i int, consistency string) string {
	m := &w.members[i]
	seen, a := n.read(w.key(i), consistency)
	switch {
	case a.fate != applied:
		return fmt.Sprintf("reading %s on %s: status %d %v %s", w.key(i), n.id+" "+consistency, a.status, a.err, a.body)
	case m.doubts == 0 && seen.value != m.acked:
		return fmt.Sprintf("%s on %s is %d, but %d was acknowledged last", w.key(i), n.id, seen.value, m.acked)
	case seen.value > m.tried:
		return fmt.Sprintf("%s on %s is %d, but nothing above %d was ever written", w.key(i), n.id, seen.value, m.tried)
	case seen.version < m.writes || seen.version > m.writes+m.doubts:
		return fmt.Sprintf("%s on %s has version %d after %d acknowledged writes and %d in doubt", w.key(i), n.id, seen.version, m.writes, m.doubts)
	}
	return ""
}
