package project

import (
	"context"
	"errors"
	"math"

	"github.com/arbiterhq/arbiter/plugins/admission"
	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/plugins/wasmbin"
	"github.com/arbiterhq/arbiter/runtime/wasm"
)

const (
	// fuelMargin is how much more fuel a call is granted than the dearest one that was measured: other
	// rows may take other ways through the code.
	fuelMargin     = 4
	strategyMargin = 2
	// growPages are granted beyond the memory that the module begins with; Go's heap begins there.
	growPages   = 2
	growPagesGo = 64
	// growPagesForeign are granted to modules of other hosts, most of which allocate.
	growPagesForeign = 32
)

// measure fills in the limits that plugin.yaml leaves out.
func (s *Spec) measure(ctx context.Context, module []byte) (artifact.Limits, error) {
	limits := s.Manifest.Limits
	if limits.MemoryPages == 0 {
		m, err := wasmbin.Decode(module)
		if err != nil {
			return limits, err
		}
		limits.MemoryPages = growPages
		switch {
		case s.Language == Go:
			limits.MemoryPages = growPagesGo
		case s.Manifest.Adapter != nil:
			limits.MemoryPages = growPagesForeign
		}
		for _, memory := range m.Memories {
			limits.MemoryPages += int(memory.Min)
		}
	}
	if limits.FuelBase != 0 || limits.FuelPerRow != 0 {
		return limits, nil
	}
	generous := s.Manifest
	generous.Limits = limits
	generous.Limits.FuelBase, generous.Limits.FuelPerRow = probeFuel, 1
	generous.Golden, generous.Decisions = nil, nil // the cases are for Test, which tells more about a wrong one
	probe, err := artifact.Embed(module, &generous)
	if err != nil {
		return limits, err
	}
	bench, err := openBench(ctx, probe)
	if err != nil {
		return limits, err
	}
	if s.Manifest.Kind == artifact.KindStrategy {
		err := bench.measureStrategy(ctx, s, &limits)
		return limits, errors.Join(err, bench.close(ctx))
	}
	one, err := bench.dearest(ctx, s, 1)
	if err == nil && bench.maxRows() > 1 {
		var many uint64
		many, err = bench.dearest(ctx, s, bench.maxRows())
		perRow := (max(many, one) - one) / uint64(bench.maxRows()-1)
		limits.FuelPerRow = fuelMargin * int64(perRow+1)
	}
	limits.FuelBase = fuelMargin * int64(one)
	return limits, errors.Join(err, bench.close(ctx))
}

// probeFuel is granted to the calls that are measured.
const probeFuel = 1_900_000

// bench is a module in the sandbox that production uses.
type bench struct {
	sandbox  *wasm.Sandbox
	admitted *admission.Admitted
	instance *wasm.Instance
}

func openBench(ctx context.Context, module []byte) (*bench, error) {
	sandbox, err := wasm.New(wasm.Config{Instances: 1})
	if err != nil {
		return nil, err
	}
	b := &bench{sandbox: sandbox}
	if b.admitted, err = admission.Admit(ctx, sandbox, module, admission.Isolated()); err == nil {
		b.instance, err = b.admitted.Pool.Acquire(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, b.close(ctx))
	}
	return b, nil
}

func (b *bench) close(ctx context.Context) error {
	if b.instance != nil {
		b.admitted.Pool.Put(b.instance)
	}
	if b.admitted != nil {
		b.admitted.Pool.Release()
	}
	return b.sandbox.Close(ctx)
}

func (b *bench) maxRows() int { return b.instance.MaxRows() }

// score scores rows copies of one row and gives the score of the last one.
func (b *bench) score(ctx context.Context, features []*float64, subjects, rows int) (score float64, fuel uint64, err error) {
	subject, candidates := b.instance.Subject(), b.instance.Candidates(rows)
	for n, f := range features {
		value := math.NaN()
		if f != nil {
			value = *f
		}
		if n < subjects {
			wasm.PutFloat(subject, n, value)
			continue
		}
		for row := range rows {
			wasm.PutFloat(candidates, row*(len(features)-subjects)+n-subjects, value)
		}
	}
	fuel, err = b.instance.Score(ctx, rows)
	if err != nil {
		return 0, fuel, err
	}
	return b.instance.ScoreAt(rows - 1), fuel, nil
}

// dearest is the most fuel that a call of so many rows took, over the cases and a few made-up rows.
func (b *bench) dearest(ctx context.Context, s *Spec, rows int) (most uint64, err error) {
	width, subjects := len(s.Manifest.Features), s.Manifest.SubjectFeatures()
	probes := make([][]*float64, 0, len(s.Cases)+5)
	for _, c := range s.Cases {
		probes = append(probes, c.Features)
	}
	for _, value := range []float64{math.NaN(), 0, 1, -1e6, 1e6} {
		row := make([]*float64, width)
		for i := range row {
			row[i] = &value
		}
		probes = append(probes, row)
	}
	for _, probe := range probes {
		_, fuel, err := b.score(ctx, probe, subjects, rows)
		if err != nil {
			return most, err
		}
		most = max(most, fuel)
	}
	return most, nil
}
