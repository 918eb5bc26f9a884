package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/arbiterhq/arbiter/runtime/nba"
)

// A version becomes active in three steps: every node that answers prepares it (it fetches, verifies
// and compiles), every one says so, and only then the entry that activates it is proposed. So applying
// the entry swaps a pointer on every node, and none decides with half of a version. A node that was
// away prepares what is active before it calls itself ready.

// preparation is what other nodes are asked to have ready.
type preparation struct {
	digest  string // of a module; empty for none
	store   bool   // the module is only to be kept, not compiled
	catalog uint64 // version of a catalog document; 0 for none
}

// prepareTimeout bounds how long one node may take; settleTimeout how long an activation waits for the
// nodes that have still to apply it.
const (
	prepareTimeout = 30 * time.Second
	settleTimeout  = 2 * time.Second
	catchUpTimeout = time.Second
)

// prepareOthers asks every other node that answers and returns when all have acknowledged. One that
// cannot is an error that names it, unless it went down meanwhile.
func (n *Node) prepareOthers(ctx context.Context, what preparation) error {
	refused := n.askOthers(ctx, what)
	for node, err := range refused {
		if !slices.Contains(n.router.Others(), node) {
			continue
		}
		if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
			return nba.Errorf(nba.CodeUnavailable, "node %s did not say in time that it is ready for it, so nothing was activated: see what keeps it busy, then repeat", node)
		}
		return nba.Errorf(nba.CodeOf(err), "node %s is not ready for it, so nothing was activated: %w", node, err)
	}
	return nil
}

// spread stores a module on the other nodes, so that it does not go with this one. A majority must
// have it.
func (n *Node) spread(ctx context.Context, digest string) error {
	if n.router.Alone() {
		return nil
	}
	asked := len(n.router.Others())
	refused := n.askOthers(ctx, preparation{digest: digest, store: true})
	if have := 1 + asked - len(refused); have <= n.router.Nodes()/2 {
		return nba.Errorf(nba.CodeUnavailable, "only %d of %d nodes could keep the module: push it again once more of them answer", have, n.router.Nodes())
	}
	return nil
}

// askOthers returns the errors of those that refused.
func (n *Node) askOthers(ctx context.Context, what preparation) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	var p packer
	p.uint(n.router.Control().State().Index)
	p.text(what.digest)
	p.bool(what.store)
	p.uint(what.catalog)
	var mu sync.Mutex
	refused := map[string]error{}
	var calls sync.WaitGroup
	for _, node := range n.router.Others() {
		calls.Go(func() {
			if _, err := n.router.Call(ctx, node, methodPrepare, p.b); err != nil {
				mu.Lock()
				defer mu.Unlock()
				refused[node] = err
			}
		})
	}
	calls.Wait()
	return refused
}

// servePrepare gets ready for another node's activation.
func (n *Node) servePrepare(ctx context.Context, from string, request []byte) ([]byte, error) {
	u := unpacker{rest: string(request)}
	index := u.uint()
	what := preparation{digest: u.text(), store: u.bool(), catalog: u.uint()}
	if err := u.err(); err != nil {
		return nil, err
	}
	if err := n.serving(); err != nil {
		return nil, err
	}
	if err := n.router.Control().Wait(ctx, index); err != nil {
		return nil, err
	}
	if what.digest != "" {
		if err := n.router.Fetch(ctx, what.digest, from); err != nil || what.store {
			return nil, err
		}
		if err := n.load(ctx, what.digest); err != nil {
			return nil, err
		}
		if err := n.acceptStored(what.digest); err != nil {
			return nil, err
		}
	}
	if what.catalog != 0 {
		return nil, n.prepareCatalog(ctx, what.catalog)
	}
	return nil, nil
}

// prepareCatalog makes a document ready to be the active one on this node: it is compiled, and the models
// that it names are loaded, so that the entry that activates it swaps a pointer.
func (n *Node) prepareCatalog(ctx context.Context, version uint64) error {
	state := n.router.Control().State()
	compiled, err := n.compiled(state, version)
	if err != nil {
		return err
	}
	active := state.Plugins.Active()
	names := slices.Clone(compiled.Strategies)
	for i := range compiled.Models {
		names = append(names, compiled.Models[i].Plugin)
	}
	for _, name := range names {
		digest, ok := active[name]
		if !ok || n.host.Prepared(digest) {
			continue // one that is not active costs its propensities alone, on every node alike
		}
		if err := n.load(ctx, digest); err != nil {
			return fmt.Errorf("preparing model %s: %w", name, err)
		}
	}
	return nil
}

// settle waits a moment until the other nodes have applied what the control group agreed on here, so
// that whoever activated a version meets it on every node. One that is slow or away catches up.
func (n *Node) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	n.router.SettleControl(ctx, n.router.Control().State().Index)
}

// catchUp makes the control state here as new as what any node has acknowledged. Without a majority it
// stays as it is: reading it is then better than nothing, and a change is refused by the log.
func (n *Node) catchUp(ctx context.Context) {
	if n.router.Alone() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	if err := n.router.Control().Sync(ctx); err != nil {
		n.logger.Debug("the control state may be old", "error", err)
	}
}

// How long follow waits before it tries again what failed.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// maxLoads is how often loading an active model is tried before the node is ready without it.
const maxLoads = 5

// follow keeps the modules that the control state names on this node, and loads those that are active
// and were not prepared here, since the node was away. It runs until the node is closed.
func (n *Node) follow() {
	defer n.followers.Done()
	failures := map[string]int{}
	pause := firstRetry
	for {
		var retry <-chan time.Time
		if again := n.loadMissing(failures); again {
			retry = time.After(pause)
			pause = min(2*pause, lastRetry)
		} else {
			pause = firstRetry
		}
		select {
		case <-n.ctx.Done():
			return
		case <-n.news:
		case <-retry:
		}
	}
}

// loadMissing tells whether something is left to try again.
func (n *Node) loadMissing(failures map[string]int) (again bool) {
	state := n.router.Control().State()
	loaded := false
	for name, digest := range state.Plugins.Active() {
		if n.host.Prepared(digest) {
			continue
		}
		err := n.load(n.ctx, digest)
		if loaded = loaded || err == nil; err != nil && n.ctx.Err() == nil {
			again = true
			if failures[digest]++; failures[digest] == 1 || failures[digest] == maxLoads {
				n.logger.Error("an active model cannot be loaded; decisions use starting propensities for it", "plugin", name, "digest", digest, "error", err)
			}
		}
	}
	if loaded {
		n.refresh()
	}
	n.setMissing(state.Plugins.Active(), failures)
	for _, version := range state.Plugins.Versions() {
		if err := n.router.Fetch(n.ctx, version.Digest, ""); err != nil {
			again = true
		}
	}
	return again
}

func (n *Node) setMissing(active map[string]string, failures map[string]int) {
	missing := []string{}
	for name, digest := range active {
		if !n.host.Prepared(digest) && failures[digest] < maxLoads {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	n.loading.Store(&missing)
}

// missing are the active models this node has yet to load.
func (n *Node) missing() []string {
	if missing := n.loading.Load(); missing != nil {
		return *missing
	}
	return nil
}
