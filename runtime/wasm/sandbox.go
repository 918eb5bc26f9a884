package wasm

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Sandbox validates and loads modules. It is safe for concurrent use; modules are compiled one at a
// time, because compilation is expensive and the compiled-code cache must not see the same bytes twice
// at once.
type Sandbox struct {
	config  Config
	metrics *Metrics
	slot    chan struct{} // capacity 1: held while compiling

	mu      sync.Mutex
	closed  bool          // guarded by mu
	live    int           // guarded by mu; pools not closed yet
	drained chan struct{} // closed when closed is set and live is 0
}

// New makes a Sandbox. Close it when every Pool is released.
func New(config Config) (*Sandbox, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("sandbox configuration: %w", err)
	}
	config = config.withDefaults()
	if config.CacheDir != "" {
		if err := ensurePrivate(config.CacheDir); err != nil {
			return nil, err
		}
	}
	return &Sandbox{config: config, metrics: NewMetrics(config.Registerer), slot: make(chan struct{}, 1),
		drained: make(chan struct{})}, nil
}

// Config is the configuration with its defaults filled in.
func (s *Sandbox) Config() Config { return s.config }

// Validate checks that module is valid WebAssembly (core 2.0, with SIMD) that needs at most
// memoryPages pages. It must see the original bytes, before fuel is injected: a body that names the
// global that injection adds is invalid before and valid after. It compiles nothing to machine code.
func (s *Sandbox) Validate(ctx context.Context, module []byte, memoryPages uint32) (err error) {
	defer recovered(&err)
	config := wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2).
		WithMemoryLimitPages(memoryPages).WithDebugInfoEnabled(false)
	runtime := wazero.NewRuntimeWithConfig(ctx, config)
	defer func() {
		if cerr := runtime.Close(context.Background()); err == nil && cerr != nil {
			err = fmt.Errorf("closing the validator: %w", cerr)
		}
	}()
	compiled, err := runtime.CompileModule(ctx, module)
	if err != nil {
		return err
	}
	return compiled.Close(context.Background())
}

// Load compiles a metered module and starts its instances. The caller owns the Pool's one reference.
// ctx bounds the wait for other compilations; a compilation that has begun cannot be cancelled.
func (s *Sandbox) Load(ctx context.Context, metered []byte, spec Spec) (*Pool, error) {
	if spec.SubjectFeatures < 0 || spec.CandidateFeatures < 0 || spec.MemoryPages == 0 {
		return nil, fmt.Errorf("loading %s: a width is negative or the memory limit is 0", spec.Digest)
	}
	select {
	case s.slot <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-s.slot }()
	if err := s.enter(); err != nil {
		return nil, err
	}
	p := &Pool{spec: spec, config: s.config, metrics: s.metrics,
		samples: make(chan *sample, 1), work: make(chan struct{}, 1), quit: make(chan struct{})}
	p.maxRows.Store(int64(spec.chunkRows(s.config.MaxCallFuel)))
	p.refs.Store(1)
	began := time.Now()
	if err := s.compile(ctx, p, metered); err != nil {
		s.metrics.compileErrors.Inc()
		s.leave()
		return nil, err
	}
	s.metrics.compileSeconds.Observe(time.Since(began).Seconds())
	for range s.config.Instances {
		instance, err := p.start(ctx)
		if err != nil {
			if cerr := p.close(); cerr != nil {
				s.config.Logger.Error("closing a module", "digest", spec.Digest, "error", cerr)
			}
			s.leave()
			return nil, err
		}
		p.idle = append(p.idle, instance)
	}
	go func() {
		defer s.leave()
		p.run()
	}()
	return p, nil
}

// compile makes the Runtime and the machine code, from the cache if it is there. A damaged cache entry
// makes wazero fail for good, so on an error the entry is dropped and the module compiled afresh.
func (s *Sandbox) compile(ctx context.Context, p *Pool, metered []byte) error {
	var dir string
	sealed := false
	if s.config.CacheDir != "" {
		var err error
		if dir, err = cacheEntry(s.config.CacheDir, metered); err != nil {
			return err
		}
		if sealed, err = s.precompile(ctx, dir, metered, p.spec.MemoryPages); err != nil {
			return err
		}
	}
	err := compileIn(ctx, p, metered, dir)
	if err != nil && dir != "" {
		if rerr := dropEntry(dir); rerr != nil {
			return fmt.Errorf("dropping a damaged cache entry: %w", rerr)
		}
		sealed = false
		err = compileIn(ctx, p, metered, dir)
	}
	if err != nil {
		return err
	}
	if dir != "" {
		if !sealed { // it was compiled here
			if err := sealEntry(dir); err != nil {
				s.config.Logger.Warn("keeping compiled code", "error", err)
			}
		}
		if err := pruneCache(s.config.CacheDir, s.config.CacheEntries); err != nil {
			s.config.Logger.Warn("pruning the compiled-code cache", "error", err)
		}
	}
	return nil
}

// precompile checks the cache entry, and has Config.Precompile fill an empty one. sealed tells that there is
// one that is sealed.
func (s *Sandbox) precompile(ctx context.Context, dir string, metered []byte, memoryPages uint32) (sealed bool, err error) {
	usable, err := checkEntry(dir)
	if err != nil || usable || s.config.Precompile == nil {
		return usable, err
	}
	if err := s.config.Precompile(ctx, dir, metered, memoryPages); err != nil {
		return false, err
	}
	return true, sealEntry(dir)
}

// CompileInto compiles a metered module into the compiled-code cache in dir and keeps nothing else. It
// is what a child process does for Config.Precompile: if the module is a compile bomb, only that process
// dies of it.
func CompileInto(ctx context.Context, dir string, metered []byte, memoryPages uint32) error {
	p := &Pool{spec: Spec{MemoryPages: memoryPages}, config: Config{}.withDefaults()}
	if err := compileIn(ctx, p, metered, dir); err != nil {
		return err
	}
	return p.close()
}

func compileIn(ctx context.Context, p *Pool, metered []byte, dir string) (err error) {
	config := wazero.NewRuntimeConfigCompiler().WithCoreFeatures(api.CoreFeaturesV2).
		WithMemoryLimitPages(p.spec.MemoryPages).WithDebugInfoEnabled(false)
	p.cache = nil
	if dir != "" {
		if p.cache, err = wazero.NewCompilationCacheWithDir(dir); err != nil {
			return fmt.Errorf("opening the compiled-code cache: %w", err)
		}
		config = config.WithCompilationCache(p.cache)
	}
	p.engine = wazero.NewRuntimeWithConfig(ctx, config)
	if p.compiled, err = compileModule(ctx, p.engine, metered); err == nil {
		err = link(ctx, p.engine, p.compiled, p.spec.Protocol)
	}
	if err == nil {
		err = linkHost(ctx, p.engine, p.compiled, p.spec.Capabilities)
	}
	if err != nil {
		if cerr := p.close(); cerr != nil {
			p.config.Logger.Error("closing a module", "digest", p.spec.Digest, "error", cerr)
		}
	}
	return err
}

func compileModule(ctx context.Context, r wazero.Runtime, metered []byte) (compiled wazero.CompiledModule, err error) {
	defer recovered(&err)
	return r.CompileModule(ctx, metered)
}

func instantiate(ctx context.Context, r wazero.Runtime, compiled wazero.CompiledModule) (module api.Module, err error) {
	defer recovered(&err)
	module, err = r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, &GuestError{Reason: ReasonTrap, Function: "start", Detail: "the module could not be instantiated: " +
			guestError("", err, 0).Detail}
	}
	return module, nil
}

// recovered turns a panic of wazero's decoder or compiler, which bytes from outside may provoke, into
// an error.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the WebAssembly compiler panicked: %v", r)
	}
}

func (s *Sandbox) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	s.live++
	s.metrics.pools.Inc()
	return nil
}

func (s *Sandbox) leave() {
	s.metrics.pools.Dec()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live--
	if s.closed && s.live == 0 {
		close(s.drained)
	}
}

// Live is the number of pools that are not closed yet.
func (s *Sandbox) Live() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.live
}

// Close refuses new modules and waits until every Pool is released and closed, or until ctx ends.
func (s *Sandbox) Close(ctx context.Context) error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		if s.live == 0 {
			close(s.drained)
		}
	}
	s.mu.Unlock()
	select {
	case <-s.drained:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("closing the sandbox: %d modules are still in use: %w", s.Live(), context.Cause(ctx))
	}
}
