package project

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/arbiterhq/arbiter/plugins/artifact"
	"github.com/arbiterhq/arbiter/runtime/wasm"
	"github.com/arbiterhq/arbiter/sdk/abi"
)

// Report is what Test found.
type Report struct {
	// Checks are in the order in which they ran.
	Checks []Check
	// MemoryBytes is the linear memory after all calls.
	MemoryBytes int
	// MaxFuel is the most fuel a call of one row used, Limits what the manifest grants.
	MaxFuel uint64
	Limits  artifact.Limits
}

// Check is one rule or case.
type Check struct {
	Name string
	// Err is nil when the plugin passed.
	Err error
	// Fuel is what the calls used, 0 when nothing was called.
	Fuel uint64
}

// Failed tells how many checks failed.
func (r *Report) Failed() (n int) {
	for _, c := range r.Checks {
		if c.Err != nil {
			n++
		}
	}
	return n
}

// Test admits an artifact as a node does and runs the rules of the contract and the cases of the
// project. The error tells that the artifact could not run at all; what it does wrong is in the report.
func Test(ctx context.Context, module []byte, s *Spec) (_ *Report, err error) {
	bare := s.Manifest
	bare.Golden, bare.Decisions = nil, nil // the cases below tell more than a refused golden row
	trial, err := artifact.Embed(module, &bare)
	if err != nil {
		return nil, err
	}
	b, err := openBench(ctx, trial)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.close(ctx)) }()
	r := &Report{Limits: s.Manifest.Limits}
	t := &trialRun{ctx: ctx, bench: b, spec: s, report: r}
	t.add("admission", nil, 0)
	if s.Manifest.Kind == artifact.KindStrategy {
		t.decisions()
	} else {
		if s.Manifest.Adapter == nil { // the host keeps the areas of the others
			t.geometry()
		}
		t.pure()
		t.batches()
		for _, c := range s.Cases {
			t.testCase(c)
		}
	}
	if b.instance != nil {
		r.MemoryBytes = b.instance.MemoryBytes()
	}
	return r, nil
}

type trialRun struct {
	ctx    context.Context
	bench  *bench
	spec   *Spec
	report *Report
}

func (t *trialRun) add(name string, err error, fuel uint64) {
	t.report.Checks = append(t.report.Checks, Check{Name: name, Err: err, Fuel: fuel})
}

// geometry asks for shapes that the manifest does not promise: each must be refused.
func (t *trialRun) geometry() {
	spec := t.bench.admitted.Pool.Spec()
	for _, g := range []struct {
		name                    string
		subjects, candidates, n int
	}{
		{"contract: another number of subject features is refused", spec.SubjectFeatures + 1, spec.CandidateFeatures, 1},
		{"contract: another number of candidate features is refused", spec.SubjectFeatures, spec.CandidateFeatures + 1, 1},
		{"contract: more rows than limits.maxRows are refused", spec.SubjectFeatures, spec.CandidateFeatures, t.spec.Manifest.Limits.MaxRows + 1},
	} {
		t.add(g.name, t.refuses(g.subjects, g.candidates, g.n), 0)
	}
}

func (t *trialRun) refuses(subjects, candidates, rows int) error {
	other := t.bench.admitted.Pool.Spec()
	other.SubjectFeatures, other.CandidateFeatures, other.MaxRows = subjects, candidates, rows
	other.FuelBase, other.FuelPerRow = probeFuel, 1 // so that all rows are asked for at once
	pool, err := t.bench.sandbox.Load(t.ctx, t.bench.admitted.Metered, other)
	if err == nil {
		pool.Release()
		return errors.New("arbiter_reserve served it; return -1 for every geometry but that of the manifest")
	}
	if wasm.ReasonOf(err) != wasm.ReasonLayout {
		return err
	}
	return nil
}

// pure scores every case twice, with all others between: no state may be left.
func (t *trialRun) pure() {
	var total uint64
	first := make([]float64, len(t.spec.Cases))
	for round := range 2 {
		for i, c := range t.spec.Cases {
			score, fuel, err := t.score(c.Features, 1)
			total += fuel
			if err != nil {
				t.add("contract: the same row gives the same score", err, total)
				return
			}
			if round == 1 && !same(score, first[i]) {
				t.add("contract: the same row gives the same score", fmt.Errorf("case %q gave %v at first and %v later; keep no state between calls", c.Name, first[i], score), total)
				return
			}
			first[i] = score
		}
	}
	t.add("contract: the same row gives the same score", nil, total)
}

// batches scores each case alone and as the last of many rows.
func (t *trialRun) batches() {
	rows := t.bench.maxRows()
	if rows < 2 {
		return
	}
	var total uint64
	for _, c := range t.spec.Cases {
		alone, _, err := t.score(c.Features, 1)
		if err == nil {
			var many float64
			var fuel uint64
			many, fuel, err = t.bench.score(t.ctx, c.Features, t.spec.Manifest.SubjectFeatures(), rows)
			total += fuel
			if err == nil && !same(alone, many) {
				err = fmt.Errorf("case %q gives %v alone and %v as row %d; rows must not influence one another", c.Name, alone, many, rows)
			}
		}
		if err != nil {
			t.add(fmt.Sprintf("contract: %d rows in one call", rows), err, total)
			return
		}
	}
	t.add(fmt.Sprintf("contract: %d rows in one call", rows), nil, total)
}

func (t *trialRun) testCase(c Case) {
	score, fuel, err := t.score(c.Features, 1)
	switch {
	case err != nil:
	case math.IsNaN(c.Score) && !math.IsNaN(score):
		err = fmt.Errorf("the score is %v, and the case wants the plugin to abstain", score)
	case !math.IsNaN(c.Score) && !(&artifact.GoldenRow{Score: c.Score}).MatchesScore(score):
		err = fmt.Errorf("the score is %v, and the case wants %v", score, c.Score)
	case t.spec.Manifest.Output != artifact.OutputValue && (score < 0 || score > 1):
		err = fmt.Errorf("the score %v is not a probability; write output: value, or bring it between 0 and 1", score)
	}
	t.add("case: "+c.Name, err, fuel)
}

func (t *trialRun) score(features []*float64, rows int) (score float64, fuel uint64, err error) {
	score, fuel, err = t.bench.score(t.ctx, features, t.spec.Manifest.SubjectFeatures(), rows)
	t.report.MaxFuel = max(t.report.MaxFuel, fuel)
	return score, fuel, err
}

func same(a, b float64) bool {
	return math.Float64bits(a) == math.Float64bits(b) || math.IsNaN(a) && math.IsNaN(b)
}

// Conformance runs the vectors of the contract against a build of the conformance plugin, on one
// instance and in order. The error names the first vector that failed.
func Conformance(ctx context.Context, module []byte) (err error) {
	b, err := openBench(ctx, module)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close(ctx)) }()
	if b.admitted.Manifest.Kind == artifact.KindStrategy {
		return conformStrategy(ctx, b)
	}
	vectors, _, err := abi.Load("scorer.json")
	if err != nil {
		return err
	}
	t := &trialRun{ctx: ctx, bench: b, report: &Report{}}
	spec := b.admitted.Pool.Spec()
	for _, call := range vectors.Calls {
		switch {
		case call.Refused:
			err = t.refuses(call.SubjectFeatures, call.CandidateFeatures, call.Rows)
		case call.Rows == 0 || call.Status != 0 || call.SubjectFeatures != spec.SubjectFeatures:
			continue // the host never calls like this; the guest's own test does
		default:
			err = t.vector(call)
		}
		if err != nil {
			return fmt.Errorf("vector %q: %w", call.Name, err)
		}
	}
	return nil
}

func (t *trialRun) vector(call abi.Call) error {
	instance := t.bench.instance
	for n, f := range call.Subject {
		wasm.PutFloat(instance.Subject(), n, orMissing(f))
	}
	candidates := instance.Candidates(call.Rows)
	for row, features := range call.Candidates {
		for n, f := range features {
			wasm.PutFloat(candidates, row*len(features)+n, orMissing(f))
		}
	}
	if _, err := instance.Score(t.ctx, call.Rows); err != nil {
		return err
	}
	for row, want := range call.Scores {
		if got := instance.ScoreAt(row); !same(got, orMissing(want)) {
			return fmt.Errorf("row %d: the score is %v, want %v", row, got, orMissing(want))
		}
	}
	return nil
}

func orMissing(f *float64) float64 {
	if f == nil {
		return math.NaN()
	}
	return *f
}
