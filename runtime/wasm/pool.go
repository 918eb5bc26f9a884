package wasm

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/arbiterhq/arbiter/sdk/abi"
)

// Pool is one loaded module version with its instances. Load hands it out with one reference; who
// calls Acquire must hold a reference until the Instance is back. A Pool is safe for concurrent use.
type Pool struct {
	spec    Spec
	config  Config
	metrics *Metrics

	engine   wazero.Runtime
	compiled wazero.CompiledModule
	cache    wazero.CompilationCache // nil: none

	refs    atomic.Int64
	maxRows atomic.Int64

	mu      sync.Mutex
	idle    []*Instance // guarded by mu; last in, first out: the warmest memory is used again
	waiters []*waiter   // guarded by mu; in the order in which they came
	dead    []*Instance // guarded by mu; to be closed and replaced

	samples   chan *sample // capacity 1: a call to be made again
	nextAudit time.Time    // of the pool's goroutine
	impure    atomic.Bool  // an audit found that the module keeps state

	work chan struct{} // capacity 1: there are dead instances
	quit chan struct{} // closed by the last Release
}

const (
	refillBackoffMin = time.Millisecond
	refillBackoffMax = time.Second
)

// Spec is what the module was loaded with.
func (p *Pool) Spec() Spec { return p.spec }

// MaxRows is the number of rows one guest call takes: what Spec.MaxRows and Config.MaxCallFuel allow,
// or less after LimitRows.
func (p *Pool) MaxRows() int { return int(p.maxRows.Load()) }

// LimitRows lowers MaxRows to rows, but never below 1. Admission calls it with what it measured so
// that a call stays below a millisecond.
func (p *Pool) LimitRows(rows int) {
	p.maxRows.Store(int64(max(1, min(rows, p.MaxRows()))))
}

// Retain takes a reference; false means that the last one is gone and the pool is closed or closing.
func (p *Pool) Retain() bool {
	for {
		n := p.refs.Load()
		if n <= 0 {
			return false
		}
		if p.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Release gives a reference back. The last one makes the pool's goroutine close everything; Release
// itself never waits.
func (p *Pool) Release() {
	switch n := p.refs.Add(-1); {
	case n == 0:
		close(p.quit)
	case n < 0:
		panic("wasm: Pool released more often than retained")
	}
}

// waiter is a caller that found no idle instance. As in sync.Mutex, an instance that comes back goes
// to the idle ones and the first waiter is woken to compete for it, because handing it over would make
// it wait until a goroutine is scheduled, and everybody after it too. Only who has waited for
// starvedAfter is handed the next one.
type waiter struct {
	since time.Time
	turn  chan *Instance // capacity 2: a nil to try again, an instance
	woken bool           // guarded by Pool.mu; a nil was sent and not answered yet
}

const starvedAfter = time.Millisecond

// yields is how often a caller lets others run before it queues: a guest call is short, so an instance
// is missing only while its holder is not scheduled.
const yields = 4

// Acquire takes an instance, waiting for one if need be. It returns ErrBusy, the context's error, or
// a *GuestError with ReasonState for a module that was found to keep state.
func (p *Pool) Acquire(ctx context.Context) (*Instance, error) {
	if p.impure.Load() {
		return nil, errImpure()
	}
	for try := 0; ; try++ {
		p.mu.Lock()
		instance := p.take()
		if instance == nil && try == yields {
			break // with mu held
		}
		p.mu.Unlock()
		if instance != nil {
			return instance, nil
		}
		runtime.Gosched()
	}
	if len(p.waiters) >= p.config.MaxWaiters {
		p.mu.Unlock()
		p.metrics.busy.Inc()
		return nil, ErrBusy
	}
	w := &waiter{since: time.Now(), turn: make(chan *Instance, 2)}
	p.waiters = append(p.waiters, w)
	p.mu.Unlock()
	p.metrics.waits.Inc()
	instance, err := p.wait(ctx, w)
	if err != nil {
		p.metrics.busy.Inc()
	}
	return instance, err
}

// take pops an idle instance, nil if there is none. The caller holds mu.
func (p *Pool) take() *Instance {
	last := len(p.idle) - 1
	if last < 0 {
		return nil
	}
	instance := p.idle[last]
	p.idle = p.idle[:last]
	return instance
}

func (p *Pool) wait(ctx context.Context, w *waiter) (*Instance, error) {
	timer := time.NewTimer(p.config.MaxWait)
	defer timer.Stop()
	for {
		select {
		case instance := <-w.turn:
			if instance == nil {
				instance = p.tryAgain(w)
			}
			if instance != nil {
				return instance, nil
			}
		case <-ctx.Done():
			if instance := p.leave(w); instance != nil {
				p.Put(instance)
			}
			return nil, context.Cause(ctx)
		case <-timer.C:
			if instance := p.leave(w); instance != nil {
				return instance, nil
			}
			return nil, ErrBusy
		}
	}
}

// tryAgain answers a wake; nil means to go on waiting.
func (p *Pool) tryAgain(w *waiter) *Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	w.woken = false
	if !slices.Contains(p.waiters, w) {
		return nil // an instance was handed over meanwhile and is in turn
	}
	instance := p.take()
	if instance != nil {
		p.leaveQueue(w)
	}
	return instance
}

// leave takes w out of the queue for good, with an instance if one came at the last moment: on a busy
// machine w may only now have been scheduled.
func (p *Pool) leave(w *waiter) *Instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.Contains(p.waiters, w) {
		instance := p.take()
		p.leaveQueue(w)
		return instance
	}
	for { // it was handed over, perhaps behind a wake
		if instance := <-w.turn; instance != nil {
			return instance
		}
	}
}

// leaveQueue removes w, which is queued, and passes on the wake it may have got. The caller holds mu.
func (p *Pool) leaveQueue(w *waiter) {
	at := slices.Index(p.waiters, w)
	p.waiters = slices.Delete(p.waiters, at, at+1)
	if len(p.idle) > 0 {
		p.wake()
	}
}

// wake tells the first waiter, if there is one, to try again. The caller holds mu.
func (p *Pool) wake() {
	if len(p.waiters) > 0 && !p.waiters[0].woken {
		p.waiters[0].woken = true
		p.waiters[0].turn <- nil // there is room: no other nil is there
	}
}

// Put gives an instance back after calls that succeeded. One that serves a single call is replaced, and so is
// one whose memory has nearly reached its limit: the next call would fail, or collect garbage on its fuel.
func (p *Pool) Put(instance *Instance) {
	if instance.spent || instance.grown() {
		p.retire(instance)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiters) > 0 && time.Since(p.waiters[0].since) > starvedAfter {
		w := p.waiters[0]
		p.waiters = slices.Delete(p.waiters, 0, 1)
		w.turn <- instance // there is room for a nil and this
		return
	}
	p.idle = append(p.idle, instance)
	p.wake()
}

// Discard gives an instance back after a call that failed. It is closed and replaced in the background.
func (p *Pool) Discard(instance *Instance) {
	p.metrics.discarded.Inc()
	p.retire(instance)
}

// retire has the pool's goroutine close and replace an instance.
func (p *Pool) retire(instance *Instance) {
	p.mu.Lock()
	p.dead = append(p.dead, instance)
	p.mu.Unlock()
	select {
	case p.work <- struct{}{}:
	default: // the goroutine is already told
	}
}

// run replaces discarded instances until the last reference is gone and then closes everything.
func (p *Pool) run() {
	for {
		select {
		case <-p.work:
			p.refill()
		case s := <-p.samples:
			p.audit(s)
		case <-p.quit:
			if err := p.close(); err != nil {
				p.config.Logger.Error("closing a module", "digest", p.spec.Digest, "error", err)
			}
			return
		}
	}
}

// refill closes and replaces every dead instance; while starting one fails it tries again, slower and
// slower.
func (p *Pool) refill() {
	backoff := refillBackoffMin
	for {
		p.mu.Lock()
		if len(p.dead) == 0 {
			p.mu.Unlock()
			return
		}
		last := len(p.dead) - 1
		old := p.dead[last]
		p.dead = p.dead[:last]
		p.mu.Unlock()

		p.closeInstance(old)
		for {
			instance, err := p.start(context.Background())
			if err == nil {
				p.Put(instance)
				backoff = refillBackoffMin
				break
			}
			p.config.Logger.Error("starting an instance", "digest", p.spec.Digest, "error", err, "retry", backoff)
			select {
			case <-p.quit:
				return
			case <-time.After(backoff):
				backoff = min(2*backoff, refillBackoffMax)
			}
		}
	}
}

func (p *Pool) closeInstance(instance *Instance) {
	if err := instance.module.Close(context.Background()); err != nil {
		p.config.Logger.Error("closing an instance", "digest", p.spec.Digest, "error", err)
	}
}

// start makes a ready instance.
func (p *Pool) start(ctx context.Context) (instance *Instance, err error) {
	// Without a name, or the second instance would push out the first.
	module, err := instantiate(ctx, p.engine, p.compiled)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, module.Close(context.Background()))
		}
	}()
	i := &Instance{pool: p, module: module, memory: module.Memory()}
	i.ctx.instance = i
	if p.spec.Strategy {
		i.decide = module.ExportedFunction(abi.ExportDecide)
	} else {
		i.score = module.ExportedFunction(abi.ExportScore)
	}
	fuel, ok := module.ExportedGlobal(FuelGlobal).(api.MutableGlobal)
	switch {
	case p.compiled.ExportedMemories()[abi.ExportMemory] == nil:
		return nil, fmt.Errorf("the module exports no memory")
	case i.score == nil && i.decide == nil && p.spec.Protocol == nil:
		return nil, fmt.Errorf("the module has no export %s or %s", abi.ExportScore, abi.ExportDecide)
	case !ok || fuel.Type() != api.ValueTypeI64:
		return nil, fmt.Errorf("the module is not metered: no mutable i64 global %s", FuelGlobal)
	}
	i.fuel = fuel
	if p.spec.Protocol != nil {
		if err := i.open(p.spec.chunkRows(p.config.MaxCallFuel)); err != nil {
			return nil, err
		}
		p.metrics.started.Inc()
		return i, nil
	}
	if initialize := module.ExportedFunction(exportInitialize); initialize != nil && len(initialize.Definition().ParamTypes()) == 0 {
		if _, err := i.call(ctx, initialize, exportInitialize, nil, p.config.StartFuel); err != nil {
			return nil, err
		}
	}
	if p.spec.Strategy {
		err = i.buffers(ctx, abi.StartBytes, abi.StartBytes)
	} else {
		err = i.reserve(ctx, p.spec.chunkRows(p.config.MaxCallFuel))
	}
	if err != nil {
		return nil, err
	}
	i.began = uint64(i.memory.Size())
	p.metrics.started.Inc()
	return i, nil
}

// close runs in the pool's goroutine when no reference is left, so every instance is idle or dead.
func (p *Pool) close() error {
	p.mu.Lock()
	instances := append(p.idle, p.dead...)
	p.idle, p.dead = nil, nil
	p.mu.Unlock()
	ctx := context.Background()
	var errs []error
	for _, instance := range instances {
		errs = append(errs, instance.module.Close(ctx))
	}
	if p.compiled != nil {
		errs = append(errs, p.compiled.Close(ctx))
	}
	errs = append(errs, p.engine.Close(ctx))
	if p.cache != nil {
		errs = append(errs, p.cache.Close(ctx))
	}
	return errors.Join(errs...)
}
