package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/arbiterhq/arbiter/cluster/peer"
	"github.com/arbiterhq/arbiter/cluster/raftgroup"
	"github.com/arbiterhq/arbiter/cluster/router"
	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/serving"
	"github.com/arbiterhq/arbiter/runtime/catalog"
	"github.com/arbiterhq/arbiter/runtime/engine"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// The upward links of the architecture, checked here: each interface is declared by the layer below
// and implemented by the layer above.
var (
	_ engine.Scorer   = (*serving.Set)(nil)
	_ engine.Strategy = (*serving.Set)(nil)
)

// Open assembles a node over a data folder: it opens the groups and waits until they are ready, loads
// the active models, and builds the first view. On an error nothing is left running.
func Open(ctx context.Context, cfg Config) (_ *Node, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, logger: cfg.Logger, clock: cfg.Clock, metrics: newMetrics(cfg.Registry),
		catalogs: map[uint64]*catalog.Catalog{}, scratch: newScratchPool(), moved: &sync.Pool{New: func() any { return new(moved) }},
		intake: intake{eventReadings: newEventReadings()},
		news:   make(chan struct{}, 1), rolling: newRolling(), collector: newCollector(),
		campaigns: newCampaigning(), opened: cfg.Clock.Now().UTC(),
	}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.engine = engine.New(engine.Options{ModelFailed: n.modelFailed, StrategyFailed: n.modelFailed})
	n.host, err = serving.NewHost(hostOptions(cfg))
	if err != nil {
		return nil, fmt.Errorf("starting the model host: %w", err)
	}
	if err := n.openStreams(); err != nil {
		return nil, errors.Join(err, n.host.Close(ctx))
	}
	if n.sinks, err = openSinks(&cfg); err != nil {
		n.closeStreams()
		return nil, errors.Join(err, n.host.Close(ctx))
	}
	options := cfg.Router
	options.Dir, options.DataGroups, options.StartTimeout = cfg.DataDir, cfg.DataGroups, cfg.StartTimeout
	options.OnTimers = n.metrics.timersFired
	options.OnControl, options.Logger, options.Metrics = n.onControl, cfg.Logger, raftgroup.NewMetrics(cfg.Registry)
	if cfg.Cluster != nil {
		place := *cfg.Cluster
		place.Handlers, place.Metrics = n.handlers(), peer.NewMetrics(cfg.Registry)
		options.Cluster = &place
	}
	n.router, err = router.Open(ctx, options)
	if err != nil {
		n.closeStreams()
		return nil, errors.Join(err, closeSinks(n.sinks), n.host.Close(ctx))
	}
	n.loadActive(ctx)
	n.applyControl(n.router.Control().State())
	// What was applied between the two lines above was announced before current was set.
	n.applyControl(n.router.Control().State())
	if !n.router.Alone() {
		cfg.Registry.MustRegister(n.router.Collector())
		n.setMissing(n.router.Control().State().Plugins.Active(), nil)
		n.followers.Add(1)
		go n.follow()
	}
	n.followers.Add(1)
	go n.campaign()
	n.followers.Add(3)
	go n.collect()
	go n.rollOut()
	go n.getReady()
	if cfg.Backups.Dir != "" {
		n.followers.Add(1)
		go n.backUp()
	}
	n.readStreams()
	cfg.Registry.MustRegister(newOutboxCollector(n))
	n.outbox.begin(n)
	return n, nil
}

// hostOptions tell where and under which limits plugins are compiled and run.
func hostOptions(cfg Config) serving.Options {
	options := serving.Options{Sandbox: wasm.Config{Instances: cfg.Instances, Logger: cfg.Logger}, Registerer: cfg.Registry}
	if len(cfg.CompileWith) > 0 {
		isolation := admission.Isolation{Program: cfg.CompileWith[0], Args: cfg.CompileWith[1:]}
		options.Sandbox.CacheDir, options.Sandbox.Precompile = filepath.Join(cfg.DataDir, "cache", "wasm"), isolation.Precompile
		options.Policy = admission.Isolated()
	}
	options.Policy.MaxBytes, options.Policy.Capabilities = cfg.MaxModuleBytes, cfg.Capabilities
	return options
}

// loadActive prepares the active models. One that cannot be loaded costs its propensities, not the
// start: decisions then say that they are degraded.
func (n *Node) loadActive(ctx context.Context) {
	state := n.router.Control().State()
	for name, digest := range state.Plugins.Active() {
		if !n.router.Alone() && !n.router.Blobs().Has(digest) {
			continue // follow fetches it from another node
		}
		if err := n.load(ctx, digest); err != nil {
			n.logger.Error("an active model cannot be loaded", "plugin", name, "digest", digest, "error", err)
		}
	}
	for name, digest := range state.Plugins.LastGood() {
		if n.router.Blobs().Has(digest) {
			if err := n.load(ctx, digest); err != nil {
				n.logger.Warn("the version before the active one cannot be loaded; nothing stands in if that fails", "plugin", name, "digest", digest, "error", err)
			}
		}
	}
	for _, r := range state.Rollouts.Running() {
		if r.Stage.Comparing() && n.router.Blobs().Has(r.Digest) { // else getReady fetches it
			if err := n.load(ctx, r.Digest); err != nil {
				n.logger.Error("the version of a rollout cannot be loaded", "rollout", r.ID, "plugin", r.Plugin, "digest", r.Digest, "error", err)
			}
		}
	}
}
