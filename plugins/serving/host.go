// Package serving keeps the plugins that decisions use alive and calls them.
//
// A Host owns the loaded plugin versions of one node, addressed by digest. Prepare admits, compiles and
// warms one; that takes milliseconds and happens before the version may become active. NewSet then puts
// prepared versions together to an immutable Set, which is what one decision uses from beginning to
// end, so that no decision mixes versions. A Set implements engine.Scorer: it writes the features that
// the manifest asks for, as far as the subject consented to them, straight into the guest's memory.
//
// Sets are reference counted. Swapping a version is: prepare the new one, make a new Set, store it
// where decisions find it, release the old Set. Decisions that still use the old one end in peace; the
// last Release frees it.
package serving

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/nba"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

// Options configure a Host. The zero value of every field means its default.
type Options struct {
	Sandbox wasm.Config
	Policy  admission.Policy
	// MaxWarm bounds the prepared versions that no Set uses, which are kept for activation and for
	// rollback; default 16. The least recently used go first, those awaiting activation last.
	MaxWarm int
	// MaxPreparing bounds the versions being prepared at once; default 16.
	MaxPreparing int
	// PrepareTimeout bounds one preparation; default 1 minute.
	PrepareTimeout time.Duration
	// Registerer takes the metrics of the host and of its sandbox; nil means none.
	Registerer prometheus.Registerer
}

func (o Options) withDefaults() Options {
	if o.MaxWarm <= 0 {
		o.MaxWarm = 16
	}
	if o.MaxPreparing <= 0 {
		o.MaxPreparing = 16
	}
	if o.PrepareTimeout <= 0 {
		o.PrepareTimeout = time.Minute
	}
	if o.Sandbox.Registerer == nil {
		o.Sandbox.Registerer = o.Registerer
	}
	return o
}

// Host owns the loaded versions. It is safe for concurrent use.
type Host struct {
	options Options
	sandbox *wasm.Sandbox
	metrics *Metrics

	stop    context.CancelCauseFunc // ends preparations
	running context.Context
	work    sync.WaitGroup // one per preparation; Add under mu while not closed

	mu       sync.Mutex
	closed   bool               // guarded by mu
	versions map[string]*loaded // guarded by mu; by digest
	flights  map[string]*flight // guarded by mu; by digest
	serving  map[string]string  // guarded by mu; name to digest of the newest Set
	uses     uint64             // guarded by mu; counts uses, orders loaded.used

	shadows *shadows

	logsMu   sync.Mutex
	logs     map[string]*pluginLog // by plugin; guarded by logsMu
	counters map[string]*counters  // by plugin; guarded by logsMu
}

// loaded is one prepared version. The Host holds one reference to its pool, each Set another.
type loaded struct {
	manifest *artifact.Manifest
	digest   string
	pool     *wasm.Pool
	breaker  breaker
	logger   *slog.Logger
	calls    hostCalls
	tellings tellings
	sets     int    // Sets that use it; guarded by Host.mu
	used     uint64 // when it was last prepared, put into or out of a Set; guarded by Host.mu
	awaited  bool   // prepared, and not in a Set since; guarded by Host.mu
}

// flight is a preparation under way, shared by all who asked for the same digest.
type flight struct {
	done chan struct{} // closed when err is set
	err  error
}

// NewHost makes a Host. Close it after the last Set is released.
func NewHost(options Options) (*Host, error) {
	options = options.withDefaults()
	sandbox, err := wasm.New(options.Sandbox)
	if err != nil {
		return nil, fmt.Errorf("making the plugin host: %w", err)
	}
	options.Policy.MaxCallFuel = min(orDefault(options.Policy.MaxCallFuel), int64(sandbox.Config().MaxCallFuel))
	running, stop := context.WithCancelCause(context.Background())
	h := &Host{options: options, sandbox: sandbox, metrics: NewMetrics(options.Registerer), running: running, stop: stop,
		versions: map[string]*loaded{}, flights: map[string]*flight{}, serving: map[string]string{}, shadows: newShadows(),
		logs: map[string]*pluginLog{}, counters: map[string]*counters{}}
	h.work.Go(func() { h.shadows.run(running) })
	return h, nil
}

func orDefault(fuel int64) int64 {
	if fuel <= 0 {
		return 1 << 62
	}
	return fuel
}

// Policy is what Prepare admits, with the sandbox's limits taken into account.
func (h *Host) Policy() admission.Policy { return h.options.Policy }

// Prepare admits module, compiles it and starts its instances, so that NewSet can use it at once. It
// is idempotent; concurrent calls for one digest share the work, which goes on when ctx ends before it
// is done. Errors are *nba.Error: a refusal of admission, CodeOverloaded, CodeTimeout,
// CodeUnavailable.
func (h *Host) Prepare(ctx context.Context, digest string, module []byte) error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return errShutDown()
	}
	if v, ok := h.versions[digest]; ok {
		v.awaited = v.sets == 0
		h.touch(v)
		h.mu.Unlock()
		return nil
	}
	f, ok := h.flights[digest]
	if !ok {
		if len(h.flights) >= h.options.MaxPreparing {
			h.mu.Unlock()
			return nba.Errorf(nba.CodeOverloaded, "%d plugins are being prepared; try again in a moment", h.options.MaxPreparing)
		}
		f = &flight{done: make(chan struct{})}
		h.flights[digest] = f
		h.work.Add(1)
		go h.prepare(f, digest, module)
	}
	h.mu.Unlock()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return nba.Errorf(nba.CodeTimeout, "the plugin is still being prepared: %w; ask again", context.Cause(ctx))
	}
}

// prepare runs in a goroutine of its own; Close waits for it.
func (h *Host) prepare(f *flight, digest string, module []byte) {
	defer h.work.Done()
	ctx, cancel := context.WithTimeout(h.running, h.options.PrepareTimeout)
	defer cancel()
	began := time.Now()
	admitted, err := h.admit(ctx, digest, module)
	h.metrics.prepared(time.Since(began), err)

	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.flights, digest)
	f.err = err
	close(f.done)
	if err != nil {
		return
	}
	v := &loaded{manifest: admitted.Manifest, digest: digest, pool: admitted.Pool, awaited: true, logger: h.sandbox.Config().Logger}
	h.versions[digest] = v
	h.touch(v)
	h.evict()
}

func (h *Host) admit(ctx context.Context, digest string, module []byte) (*admission.Admitted, error) {
	if artifact.Digest(module) != digest {
		return nil, nba.Errorf(nba.CodePluginRefused, "rule digest: artifact: the bytes do not have the digest they are stored under; push the artifact again")
	}
	return admission.Admit(ctx, h.sandbox, module, h.options.Policy)
}

func errShutDown() error {
	return nba.Errorf(nba.CodeUnavailable, "the node is shutting down; ask another one")
}

// Prepared tells whether NewSet can use the version now. Like Prepare it counts as a use: who asks is
// about to activate the version, so it is kept.
func (h *Host) Prepared(digest string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.versions[digest]
	if ok {
		v.awaited = v.sets == 0
		h.touch(v)
	}
	return ok
}

// Manifest is the manifest of a prepared version. The caller must not change it.
func (h *Host) Manifest(digest string) (*artifact.Manifest, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.versions[digest]
	if !ok {
		return nil, false
	}
	return v.manifest, true
}

// NewSet puts prepared versions together: active maps plugin names to digests. The caller owns the
// Set's one reference. All problems come at once, as an *nba.Error: CodeUnavailable when a version is
// not prepared here or the Host is closed, CodeInvalid when a recipe does not fit the dictionary; nothing
// is kept then. The empty Set, for which every model is unknown, can always be made.
func (h *Host) NewSet(active map[string]string, dictionary *nba.Dictionary) (*Set, error) {
	return h.Serve(Plan{Active: active}, dictionary)
}

// Serve is NewSet with versions on trial, and others that are kept warm. Serving what the last Set served
// does not load anything again.
func (h *Host) Serve(plan Plan, dictionary *nba.Dictionary) (*Set, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, err := h.newSet(plan, dictionary)
	if err != nil {
		return nil, err
	}
	for name, digest := range plan.Active {
		if before, ok := h.serving[name]; ok && before != digest {
			h.metrics.swaps.Inc()
		}
		h.serving[name] = digest
	}
	return s, nil
}

// NewSetAside is NewSet for versions that do not become what the node serves: those of a decision that is
// made again, or of a simulation.
func (h *Host) NewSetAside(digests map[string]string, dictionary *nba.Dictionary) (*Set, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s, err := h.newSet(Plan{Active: digests}, dictionary)
	if err != nil {
		return nil, err
	}
	for _, m := range s.models {
		m.aside = true
	}
	return s, nil
}

// newSet makes a Set with one reference. The caller holds mu.
func (h *Host) newSet(plan Plan, dictionary *nba.Dictionary) (*Set, error) {
	if h.closed && len(plan.Active) > 0 {
		return nil, errShutDown()
	}
	s, err := h.bindAll(plan, dictionary)
	if err != nil {
		return nil, err
	}
	for v := range s.versions() {
		v.sets++
		v.awaited = false
		h.touch(v)
		if !v.pool.Retain() {
			panic("serving: a listed version is closed") // a bug of ours: the Host holds a reference
		}
	}
	s.refs.Store(1)
	h.metrics.sets.Inc()
	return s, nil
}

// free gives back what a Set held; called by its last Release.
func (h *Host) free(s *Set) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for v := range s.versions() {
		v.sets--
		h.touch(v)
		v.pool.Release()
	}
	h.evict()
	h.metrics.sets.Dec()
}

// touch marks v as used now. The caller holds mu.
func (h *Host) touch(v *loaded) {
	h.uses++
	v.used = h.uses
}

// evict drops versions no Set uses until MaxWarm of them are left, all of them once the Host is
// closed. The caller holds mu.
func (h *Host) evict() {
	keep := h.options.MaxWarm
	if h.closed {
		keep = 0
	}
	for {
		var oldest *loaded
		idle := 0
		for _, v := range h.versions {
			if v.sets > 0 {
				continue
			}
			idle++
			if oldest == nil || v.evictedBefore(oldest) {
				oldest = v
			}
		}
		if idle <= keep {
			return
		}
		delete(h.versions, oldest.digest)
		oldest.pool.Release()
	}
}

// evictedBefore orders idle versions: what was prepared for an activation that has not come yet outlives
// what was in service, or a Set that ends meanwhile would push it out.
func (v *loaded) evictedBefore(o *loaded) bool {
	if v.awaited != o.awaited {
		return o.awaited
	}
	return v.used < o.used
}

// Close ends preparations, frees all versions no Set uses and waits, until ctx ends, for the Sets that
// are still in use.
func (h *Host) Close(ctx context.Context) error {
	h.mu.Lock()
	h.closed = true
	h.evict()
	h.mu.Unlock()
	h.stop(errors.New("the plugin host is closing"))
	h.shadows.close()
	h.work.Wait()
	h.mu.Lock()
	h.evict() // what was being prepared meanwhile
	h.mu.Unlock()
	if err := h.sandbox.Close(ctx); err != nil {
		return fmt.Errorf("closing the plugin host: %w", err)
	}
	return nil
}

// Forget drops a prepared version that no Set uses: its plugin was removed.
func (h *Host) Forget(digest string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if v, ok := h.versions[digest]; ok && v.sets == 0 {
		delete(h.versions, digest)
		v.pool.Release()
	}
}
