package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// repeats sends everything under an idempotency key, on any node, again and again until it is
// acknowledged and sometimes once more. Each key must take effect once, and answer the same each time.
type repeats struct {
	seed    uint64
	clients int
	current string
	writes  []repeated // by client
	total   atomic.Int64
}

// repeated belongs to one client while the clients run.
type repeated struct {
	puts, decisions   int               // keys acknowledged
	putOpen, decOpen  bool              // the last key was sent and never acknowledged
	told              map[string]string // key by decision id
	otherAnswers      int
	firstOtherAnswers string
}

func newRepeats(seed uint64, consistency string) *repeats {
	const clients = 4
	return &repeats{seed: seed, clients: clients, current: consistency, writes: make([]repeated, clients)}
}

func (w *repeats) progress() int64 { return w.total.Load() }

func (w *repeats) subject(client int) string { return fmt.Sprintf("repeat-%d", client) }

func (w *repeats) run(ctx context.Context, c *cluster) {
	var clients sync.WaitGroup
	for client := range w.clients {
		clients.Go(func() {
			random := chance(w.seed, 600+client)
			mine := &w.writes[client]
			mine.told = map[string]string{}
			for n := 1; ctx.Err() == nil; n++ {
				w.put(ctx, c, random, mine, client, n)
				if ctx.Err() == nil {
					w.decide(ctx, c, random, mine, client, n)
				}
			}
		})
	}
	clients.Wait()
}

// until sends the same request until it is acknowledged, and then perhaps once more.
func (w *repeats) until(ctx context.Context, c *cluster, random *rand.Rand, mine *repeated, send func(*node) answer, same func(a, b answer) bool) (first answer, acknowledged bool) {
	for ctx.Err() == nil {
		first = send(c.nodes[random.IntN(len(c.nodes))])
		if first.fate != applied {
			pause(ctx, 5*time.Millisecond)
			continue
		}
		w.total.Add(1)
		if random.IntN(3) > 0 {
			return first, true
		}
		if again := send(c.nodes[random.IntN(len(c.nodes))]); again.fate == applied && !same(first, again) {
			mine.otherAnswers++
			if mine.firstOtherAnswers == "" {
				mine.firstOtherAnswers = fmt.Sprintf("first %d %s, then %d %s", first.status, first.body, again.status, again.body)
			}
		}
		return first, true
	}
	return first, false
}

func (w *repeats) put(ctx context.Context, c *cluster, random *rand.Rand, mine *repeated, client, n int) {
	key, path := fmt.Sprintf("put-%d-%d-%d", w.seed, client, n), "/v1/subjects/"+w.subject(client)
	mine.putOpen = true
	if _, ok := w.until(ctx, c, random, mine, func(at *node) answer {
		return at.do(http.MethodPut, path, valueBody(int64(n)), "Idempotency-Key", key)
	}, func(a, b answer) bool { return a.version == b.version && a.status == b.status }); ok {
		mine.puts++
		mine.putOpen = false
	}
}

func (w *repeats) decide(ctx context.Context, c *cluster, random *rand.Rand, mine *repeated, client, n int) {
	key := fmt.Sprintf("decide-%d-%d-%d", w.seed, client, n)
	mine.decOpen = true
	if a, ok := w.until(ctx, c, random, mine, func(at *node) answer { return decide(at, w.subject(client), key) },
		func(a, b answer) bool { return string(a.body) == string(b.body) }); ok {
		mine.decisions++
		mine.decOpen = false
		var decision struct {
			DecisionID string `json:"decisionId"`
		}
		// A decision out of time proposes nothing, which leaves no interaction.
		if json.Unmarshal(a.body, &decision) == nil && strings.Contains(string(a.body), `"rank":`) {
			mine.told[decision.DecisionID] = fmt.Sprintf("%s acknowledged at %s: %s", key, time.Now().Format("15:04:05.000"), a.body)
		}
	}
}

func (w *repeats) check(t *testing.T, c *cluster) {
	t.Helper()
	for client := range w.clients {
		mine := &w.writes[client]
		if mine.otherAnswers > 0 {
			t.Errorf("%s: %d keys answered differently the second time: %s", w.subject(client), mine.otherAnswers, mine.firstOtherAnswers)
		}
		for _, n := range c.nodes {
			seen, a := n.read(w.subject(client), w.current)
			stored, err := interactions(n, w.subject(client))
			if a.fate != applied || err != nil {
				t.Errorf("reading %s on %s: status %d %v %v", w.subject(client), n.id, a.status, a.err, err)
				continue
			}
			if most := mine.puts + one(mine.putOpen); seen.version < uint64(mine.puts) || seen.version > uint64(most) {
				t.Errorf("%s on %s has version %d after %d writes under keys of their own", w.subject(client), n.id, seen.version, mine.puts)
			}
			if most := mine.decisions + one(mine.decOpen); len(stored) > most {
				t.Errorf("%s on %s has %d decisions after %d under keys of their own", w.subject(client), n.id, len(stored), mine.decisions)
			}
			for id, told := range mine.told {
				if stored[id] == 0 {
					t.Errorf("%s on %s lacks a decision: %s", w.subject(client), n.id, told)
				}
			}
		}
	}
	t.Logf("%d requests acknowledged under keys", w.total.Load())
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}
