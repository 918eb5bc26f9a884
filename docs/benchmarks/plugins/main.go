// Command pluginbench measures what a call of a plugin costs beside its rivals, in one process and in
// interleaved rounds, in processor time: the metered scorer against the same module on wazero alone, and
// against a plugin of Extism's Go SDK that computes the same. See ../plugins.md.
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"log"
	"math"
	"os"
	"runtime"
	"slices"
	"syscall"
	"time"

	extism "github.com/extism/go-sdk"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

const (
	features = 64
	rowBytes = 8 * features
	maxRows  = 500
)

func main() {
	rounds := flag.Int("rounds", 31, "rounds; the figures are medians over them")
	scorer := flag.String("scorer", "", "the module of scorer/scorer.c")
	rival := flag.String("extism", "", "the module of the folder extism")
	adapted := flag.String("adapted", "", "an Extism plugin that scores JSON: plugins/adapter/testdata/extism.wasm")
	flag.Parse()
	if err := run(*rounds, *scorer, *rival, *adapted); err != nil {
		log.Fatal(err)
	}
}

func run(rounds int, scorer, rival, adapted string) error {
	ctx := context.Background()
	module, err := os.ReadFile(scorer)
	if err != nil {
		return err
	}
	ours, err := newOurs(ctx, module)
	if err != nil {
		return err
	}
	defer ours.close(ctx)
	plain, err := newPlain(ctx, module)
	if err != nil {
		return err
	}
	defer plain.runtime.Close(ctx)
	other, err := newExtism(ctx, rival)
	if err != nil {
		return err
	}
	defer other.plugin.Close(ctx)

	same, err := newAdapted(ctx, adapted)
	if err != nil {
		return err
	}
	defer same.close(ctx)
	sameThere, err := newExtism(ctx, adapted)
	if err != nil {
		return err
	}
	defer sameThere.plugin.Close(ctx)

	input := make([]byte, maxRows*rowBytes)
	for i := range maxRows * features {
		binary.LittleEndian.PutUint64(input[8*i:], math.Float64bits(math.Sin(float64(i))))
	}
	if err := agree(ctx, ours, plain, other, input); err != nil {
		return err
	}
	fmt.Printf("%-34s %12s %12s %9s %19s\n", "medians of "+fmt.Sprint(rounds)+" rounds, per call", "ours", "the other", "ratio", "quartiles")
	for _, c := range []struct {
		name        string
		calls       int
		ours, other func() error
		inverse     bool // the ratio is other / ours
	}{
		{"1 row, beside wazero", 50000, func() error { return ours.call(ctx, 1) }, func() error { return plain.call(ctx, 1) }, false},
		{"500 rows, beside wazero", 150, func() error { return ours.call(ctx, maxRows) }, func() error { return plain.call(ctx, maxRows) }, false},
		{"1 row with its input, beside Extism", 400, func() error { return ours.exchange(ctx, input[:rowBytes]) }, func() error { return other.exchange(input[:rowBytes]) }, true},
		{"500 rows with input, beside Extism", 40, func() error { return ours.exchange(ctx, input) }, func() error { return other.exchange(input) }, true},
		{"one Extism plugin on both, JSON", 400, same.adapted, func() error { return sameThere.exchange(request) }, true},
	} {
		if err := compare(c.name, rounds, c.calls, c.ours, c.other, c.inverse); err != nil {
			return err
		}
	}
	return nil
}

// ours is the module as a node runs it: admitted, metered, pooled.
type ours struct {
	sandbox  *wasm.Sandbox
	admitted *admission.Admitted
	instance *wasm.Instance
}

func newOurs(ctx context.Context, module []byte) (*ours, error) {
	m := &artifact.Manifest{Name: "logistic", Version: "1.0.0", Kind: artifact.KindScorer, ABI: artifact.ABIVersion,
		Limits: artifact.Limits{MemoryPages: 16, FuelBase: 10_000, FuelPerRow: 3900, MaxRows: maxRows}}
	for i := range features {
		m.Features = append(m.Features, artifact.Feature{Name: fmt.Sprint("f", i), Scope: artifact.ScopeCandidate, Recipe: artifact.Recipe{ActionProperty: fmt.Sprint("f", i)}})
	}
	return admit(ctx, module, m, admission.Policy{})
}

func admit(ctx context.Context, module []byte, m *artifact.Manifest, policy admission.Policy) (*ours, error) {
	plugin, err := artifact.Embed(module, m)
	if err != nil {
		return nil, err
	}
	s, err := wasm.New(wasm.Config{Instances: 1})
	if err != nil {
		return nil, err
	}
	a, err := admission.Admit(ctx, s, plugin, policy)
	if err != nil {
		return nil, err
	}
	i, err := a.Pool.Acquire(ctx)
	return &ours{s, a, i}, err
}

func (o *ours) close(ctx context.Context) {
	o.admitted.Pool.Put(o.instance)
	o.admitted.Pool.Release()
	_ = o.sandbox.Close(ctx)
}

// call calls the guest; its input is in place.
func (o *ours) call(ctx context.Context, rows int) error {
	_, err := o.instance.Score(ctx, rows)
	return err
}

// exchange takes an instance from the pool, hands the input over and reads the scores.
func (o *ours) exchange(ctx context.Context, input []byte) error {
	o.admitted.Pool.Put(o.instance)
	i, err := o.admitted.Pool.Acquire(ctx)
	if err != nil {
		return err
	}
	o.instance = i
	rows := len(input) / rowBytes
	copy(i.Candidates(rows), input)
	if _, err := i.Score(ctx, rows); err != nil {
		return err
	}
	sink += i.ScoreAt(rows - 1)
	return nil
}

var sink float64

// request is what the adapted plugin is asked.
var request = []byte(`{"subject":{"tenure":12,"plan":"P20"},"candidates":[{"value":100},{"value":200},{"value":300}]}`)

// newAdapted admits an Extism plugin as a node does.
func newAdapted(ctx context.Context, file string) (*ours, error) {
	module, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return admit(ctx, module, &artifact.Manifest{Name: "adapted", Version: "1.0.0", Kind: artifact.KindScorer, ABI: artifact.ABIVersion,
		Adapter: &artifact.Adapter{Kind: artifact.AdapterExtism},
		Features: []artifact.Feature{{Name: "tenure", Recipe: artifact.Recipe{Attribute: "tenure"}},
			{Name: "value", Scope: artifact.ScopeCandidate, Recipe: artifact.Recipe{ActionProperty: "value"}}},
		Limits: artifact.Limits{MemoryPages: 32, FuelBase: 400_000, FuelPerRow: 50_000, MaxRows: 16}}, admission.Isolated())
}

// adapted hands the plugin a document and takes its answer.
func (o *ours) adapted() error {
	answer, _, err := o.instance.Exchange(request, nil)
	sink += float64(len(answer))
	return err
}

// plain is the module as it came from the compiler, on wazero without anything around it.
type plain struct {
	runtime wazero.Runtime
	module  api.Module
	score   api.Function
	in, out uint64
	stack   [6]uint64
}

func newPlain(ctx context.Context, module []byte) (*plain, error) {
	p := &plain{runtime: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigCompiler())}
	var err error
	if p.module, err = p.runtime.InstantiateWithConfig(ctx, module, wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize")); err != nil {
		return nil, err
	}
	p.score = p.module.ExportedFunction("arbiter_score")
	areas, err := p.module.ExportedFunction("arbiter_reserve").Call(ctx, 0, maxRows, features)
	if err != nil {
		return nil, err
	}
	p.in, p.out = areas[0]>>32, uint64(uint32(areas[0]))
	return p, nil
}

func (p *plain) call(ctx context.Context, rows int) error {
	p.stack = [6]uint64{p.in, 0, p.in, uint64(rows), features, p.out}
	return p.score.CallWithStack(ctx, p.stack[:])
}

type rival struct{ plugin *extism.Plugin }

func newExtism(ctx context.Context, file string) (*rival, error) {
	p, err := extism.NewPlugin(ctx, extism.Manifest{Wasm: []extism.Wasm{extism.WasmFile{Path: file}}}, extism.PluginConfig{}, nil)
	if err != nil {
		return nil, err
	}
	return &rival{p}, nil
}

func (r *rival) exchange(input []byte) error {
	status, out, err := r.plugin.Call("score", input)
	if err != nil || status != 0 {
		return fmt.Errorf("the Extism plugin gives status %d, %w", status, err)
	}
	sink += float64(out[len(out)-1])
	return nil
}

// agree checks that all three compute the same, to the last bits of exp.
func agree(ctx context.Context, o *ours, p *plain, r *rival, input []byte) error {
	copy(o.instance.Candidates(maxRows), input)
	if !p.module.Memory().Write(uint32(p.in), input) {
		return fmt.Errorf("the input does not fit")
	}
	if err := o.call(ctx, maxRows); err != nil {
		return err
	}
	if err := p.call(ctx, maxRows); err != nil {
		return err
	}
	_, out, err := r.plugin.Call("score", input)
	if err != nil {
		return err
	}
	theirs, _ := p.module.Memory().Read(uint32(p.out), 8*maxRows)
	for row := range maxRows {
		a := o.instance.ScoreAt(row)
		b := math.Float64frombits(binary.LittleEndian.Uint64(theirs[8*row:]))
		c := math.Float64frombits(binary.LittleEndian.Uint64(out[8*row:]))
		if a != b || math.Abs(a-c) > 1e-12 {
			return fmt.Errorf("row %d scores %v, %v on wazero and %v in Extism", row, a, b, c)
		}
	}
	return nil
}

// compare runs both sides in turn and prints medians.
func compare(name string, rounds, calls int, ours, other func() error, inverse bool) error {
	var a, b, ratios []float64
	for range rounds {
		x, err := measure(calls, ours)
		if err != nil {
			return err
		}
		y, err := measure(calls, other)
		if err != nil {
			return err
		}
		a, b = append(a, x), append(b, y)
		if inverse {
			ratios = append(ratios, y/x)
		} else {
			ratios = append(ratios, x/y)
		}
	}
	what := "x the time"
	if inverse {
		what = "x faster"
	}
	fmt.Printf("%-34s %9.0f ns %9.0f ns %8.2f  %8.2f .. %-8.2f %s\n", name, at(a, 0.5), at(b, 0.5), at(ratios, 0.5), at(ratios, 0.25), at(ratios, 0.75), what)
	return nil
}

// measure is the processor time of one call in nanoseconds.
func measure(calls int, fn func() error) (float64, error) {
	runtime.GC()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := processorTime()
	for range calls {
		if err := fn(); err != nil {
			return 0, err
		}
	}
	return float64((processorTime() - before).Nanoseconds()) / float64(calls), nil
}

func processorTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func at(values []float64, quantile float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[int(quantile*float64(len(sorted)-1))]
}
