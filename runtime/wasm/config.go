package wasm

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// FuelGlobal is the exported mutable i64 global that holds what is left of a call's fuel. The host's
// metering adds it, so it is no part of the contract in sdk/abi.
const FuelGlobal = "arbiter_fuel"

// exportInitialize holds the constructors of C, Rust and AssemblyScript guests.
const exportInitialize = "_initialize"

// PageBytes is the size of one page of linear memory.
const PageBytes = 64 << 10

// Align is the alignment, in bytes, of the input areas a guest is handed.
const Align = 16

// Config bounds a Sandbox. The zero value of every field means its default.
type Config struct {
	// Instances per module version; default GOMAXPROCS, at least 2 and at most 256.
	Instances int
	// MaxWaiters bounds the callers that wait for an instance of one module; default 1024.
	MaxWaiters int
	// MaxWait bounds how long one of them waits besides its context; default 2 s. It is the last resort
	// against a module whose instances cannot be started any more.
	MaxWait time.Duration
	// MaxCallFuel bounds the fuel of one guest call, and so the rows handed over at once; default
	// 2,000,000: a model's straight code uses that up in about a tenth of a millisecond, an empty loop
	// in about one.
	MaxCallFuel uint64
	// AuditEvery is after how many calls of an instance one is made again in a new instance, to find modules
	// that keep state; default 1024, negative never. Audits of a module take at most a hundredth of a core.
	AuditEvery int
	// StartFuel is granted to _initialize; default 10,000,000.
	StartFuel uint64
	// CacheDir keeps compiled code between runs; empty means none. It holds executable code, so it is
	// created with mode 0700 and refused if others may write to it.
	CacheDir string
	// CacheEntries bounds the modules kept in CacheDir; default 64, the oldest go first.
	CacheEntries int
	// Precompile, if set, fills dir, the cache entry of a module that is not there yet, by CompileInto in
	// a process that may be killed. Without it modules are compiled in this process, and their structure
	// must be bounded more tightly. It needs CacheDir.
	Precompile func(ctx context.Context, dir string, metered []byte, memoryPages uint32) error

	// Logger reports faults in the background; default slog.Default().
	Logger *slog.Logger
	// Registerer takes the metrics; nil means none.
	Registerer prometheus.Registerer
}

func (c Config) withDefaults() Config {
	set := func(p *int, value int) {
		if *p == 0 {
			*p = value
		}
	}
	set(&c.Instances, min(max(2, runtime.GOMAXPROCS(0)), 256))
	set(&c.MaxWaiters, 1024)
	set(&c.CacheEntries, 64)
	set(&c.AuditEvery, 1024)
	if c.MaxWait == 0 {
		c.MaxWait = 2 * time.Second
	}
	if c.MaxCallFuel == 0 {
		c.MaxCallFuel = 2_000_000
	}
	if c.StartFuel == 0 {
		c.StartFuel = 10_000_000
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Validate reports every field that is out of range.
func (c Config) Validate() error {
	var errs []error
	bound := func(name string, value, most int) {
		if value < 0 || value > most {
			errs = append(errs, fmt.Errorf("%s must be between 0 and %d", name, most))
		}
	}
	bound("Instances", c.Instances, 256)
	bound("MaxWaiters", c.MaxWaiters, 1<<20)
	if c.Precompile != nil && c.CacheDir == "" {
		errs = append(errs, errors.New("the option Precompile needs CacheDir"))
	}
	bound("CacheEntries", c.CacheEntries, 1<<16)
	if c.MaxWait < 0 {
		errs = append(errs, errors.New("MaxWait must not be negative"))
	}
	return errors.Join(errs...)
}

// Spec is what one module version is granted, taken from its manifest.
type Spec struct {
	// Digest of the artifact, for messages.
	Digest string
	// MemoryPages bounds the linear memory of an instance, in pages of 64 KiB.
	MemoryPages uint32
	// A call of n rows is granted FuelBase + n × FuelPerRow fuel.
	FuelBase   uint64
	FuelPerRow uint64
	// MaxRows is the most rows the guest takes in one call.
	MaxRows int
	// Strategy tells that the module is a strategy, called with Decide, and no scorer. Its rows are the
	// candidates of a decision.
	Strategy bool
	// Capabilities are the functions of module arbiter_v1 that are linked.
	Capabilities []string
	// SubjectFeatures and CandidateFeatures are the widths of the two inputs.
	SubjectFeatures   int
	CandidateFeatures int
	// Protocol is that of a module built for another host; nil means the contract of sdk/abi.
	Protocol Protocol
}

func (s Spec) fuel(rows int) uint64 { return s.FuelBase + uint64(rows)*s.FuelPerRow }

// chunkRows is how many rows fit in one call of at most maxCallFuel; at least 1.
func (s Spec) chunkRows(maxCallFuel uint64) int {
	rows := max(s.MaxRows, 1)
	if s.FuelPerRow == 0 || s.FuelBase >= maxCallFuel {
		return min(rows, 1)
	}
	return max(1, int(min(uint64(rows), (maxCallFuel-s.FuelBase)/s.FuelPerRow)))
}
