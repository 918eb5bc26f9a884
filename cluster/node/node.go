package node

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/arbiterhq/arbiter/cluster/fsm"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/cluster/stream"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/clock"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/nba"
)

// maxClockSkew is how far in the future a reported outcome may lie.
const maxClockSkew = 5 * time.Minute

// Node is one process of Arbiter. All methods are safe for concurrent use. Open makes it, Close ends
// it; calls after or during Close answer CodeUnavailable.
type Node struct {
	cfg     Config
	logger  *slog.Logger
	clock   clock.Clock
	metrics *metrics

	router *router.Router
	host   *serving.Host
	engine *engine.Engine

	// current is nil until the first view is built. viewMu is held while it is replaced; catalogsMu
	// may be taken while viewMu is held, not the other way round.
	current atomic.Pointer[view]
	viewMu  sync.Mutex

	catalogsMu sync.Mutex
	catalogs   map[uint64]*catalog.Catalog // by document version; guarded by catalogsMu
	texts      documentTexts

	simulations simulations
	streams     []*stream.Reader // of the settings
	sinks       map[string]openSink
	outbox      outbox

	intake

	scratch *sync.Pool
	moved   *sync.Pool // of *moved
	closing atomic.Bool

	// What a node of a cluster does besides answering; see follow.
	ctx       context.Context //nolint:containedctx // ends with the node
	cancel    context.CancelFunc
	followers sync.WaitGroup
	news      chan struct{} // a new control state was applied
	rolling   *rolling
	collector *collector
	campaigns *campaigning
	opened    time.Time
	loading   atomic.Pointer[[]string]
}

// Close stops taking calls, then ends everything Open began. Calls that are under way may fail with
// CodeUnavailable; what was acknowledged is durable.
func (n *Node) Close() error {
	if n.closing.Swap(true) {
		return nil
	}
	n.cancel()
	n.outbox.end()
	n.followers.Wait()
	n.closeStreams()
	err := n.router.Close()
	n.viewMu.Lock()
	last := n.current.Swap(nil)
	n.viewMu.Unlock()
	if last != nil {
		last.release()
	}
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return errors.Join(err, n.host.Close(ctx))
}

// closeTimeout bounds how long Close waits for guest calls, which end within a millisecond each.
const closeTimeout = 5 * time.Second

// modelFailed counts failed model calls. They are not logged one by one: a broken model would fill
// the log at the rate of the traffic.
func (n *Node) modelFailed(model string, _ error) {
	n.metrics.modelFailures.WithLabelValues(model).Inc()
}

// serving is nil while calls are taken. Whether the group that a call needs can be reached is seen
// when it gets there: one that is without a leader must not stop the others.
func (n *Node) serving() error {
	switch {
	case n.closing.Load():
		return nba.Errorf(nba.CodeUnavailable, "the node is shutting down")
	case n.current.Load() == nil:
		return nba.Errorf(nba.CodeUnavailable, "the node is starting")
	}
	return nil
}

// Ready is nil when the node can serve every call. In a cluster the error names the groups it cannot
// reach and the models it has yet to load.
func (n *Node) Ready(context.Context) error {
	if err := n.serving(); err != nil {
		return err
	}
	if err := n.router.Ready(); err != nil {
		return err
	}
	if missing := n.missing(); len(missing) > 0 && !n.router.Alone() {
		return nba.Errorf(nba.CodeUnavailable, "this node is loading active models: %s", strings.Join(missing, ", "))
	}
	return nil
}

// onControl follows the control group once the node is assembled; Open builds the first view itself.
func (n *Node) onControl(state *fsm.ControlState) {
	if n.current.Load() != nil {
		n.applyControl(state)
		select {
		case n.news <- struct{}{}:
		default: // follow looks at the newest state anyway
		}
		n.rolling.wake()
		n.campaigns.wake()
		n.collector.wake()
	}
}

// Cluster is the nodes and the groups as this node sees them.
func (n *Node) Cluster(context.Context) nba.Cluster { return n.router.Cluster() }

// HandOver gives what this node leads to others and takes no lead any more, so that they need not find
// out that it is gone. Calls are answered as before. It is for a node that is about to be closed.
func (n *Node) HandOver(ctx context.Context) {
	n.outbox.end() // what is being sent is finished here: others would send it again
	n.router.HandOver(ctx)
}
